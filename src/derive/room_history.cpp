#include "derive/room_history.hpp"

#include "rules/json.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

namespace {

template <typename Column>
bool any_state_has(const RoomHistory& history, rules::StateKind kind, const Column& value,
                   Column rules::RoomState::*column) {
    return value == Column{} || history.is_lost[static_cast<std::size_t>(kind)] ||
           std::any_of(history.states.begin(), history.states.end(),
                       [&](const rules::RoomState& state) { return state.*column == value; });
}

// Redacted content is pruned some time later, and a purge of history may take the redaction away after that. Only a
// room's creation always says what it said.
bool may_have_lost_its_content(rules::StateKind kind, bool was_redacted, const rules::RoomState& state) {
    return state == rules::RoomState{} && (kind != rules::StateKind::create || was_redacted);
}

}  // namespace

bool RoomHistory::contains(const rules::RoomState& state) const {
    using rules::RoomState;
    using rules::StateKind;
    return any_state_has(*this, StateKind::create, state.room_type, &RoomState::room_type) &&
           any_state_has(*this, StateKind::name, state.room_name, &RoomState::room_name) &&
           any_state_has(*this, StateKind::encryption, state.is_encrypted, &RoomState::is_encrypted) &&
           any_state_has(*this, StateKind::tombstone, state.tombstone_successor_room_id,
                         &RoomState::tombstone_successor_room_id);
}

RoomHistories::RoomHistories(const HomeserverSchema& s, RoomFacts& rooms)
    : is_kept_(s.has_state_changes), rooms_(rooms),
      changes_(
          "state_changes",
          sql_text("SELECT DISTINCT k.n, d.type, x.event_id "
                   "FROM pg_catalog.unnest($1) WITH ORDINALITY k(room_id, n) "
                   "JOIN %S.current_state_delta_stream d ON d.room_id %= k.room_id AND d.state_key %= '' "
                   "AND d.type %= ANY (" +
                       relevant_types_array() +
                       ") CROSS JOIN LATERAL (VALUES (d.event_id), (d.prev_event_id)) x(event_id) "
                       "WHERE x.event_id IS NOT NULL",
                   s.name),
          {TEXTARRAYOID}),
      stored_events_("stored_state_events",
                     sql_text("SELECT k.n, e.type, e.event_id FROM pg_catalog.unnest($1) WITH ORDINALITY "
                              "k(room_id, n) JOIN %S.events e ON e.room_id %= k.room_id "
                              "AND e.state_key %= '' AND e.type %= ANY (" +
                                  relevant_types_array() + ")",
                              s.name),
                     {TEXTARRAYOID}) {}

std::vector<RoomHistory> RoomHistories::of(std::span<const std::string_view> room_ids) {
    std::vector<RoomHistory> result(room_ids.size());
    if (!is_kept_ || room_ids.empty()) {
        return result;
    }
    const Rows rows = changes_.run(Arguments().texts(room_ids));
    std::vector<RoomHistory*> histories;
    for (RoomHistory& history : result) {
        histories.push_back(&history);
    }
    for (std::size_t i = 0; i < rows.count; ++i) {
        RoomHistory& history = result[position(rows[i][0])];
        history.is_complete =
            history.is_complete || rules::state_kind(rows[i][1].text()) == rules::StateKind::create;
    }
    add(rows, room_ids, histories);
    return result;
}

void RoomHistories::add_stored_events(std::span<const std::string_view> room_ids,
                                      std::span<RoomHistory* const> histories) {
    add(stored_events_.run(Arguments().texts(room_ids)), room_ids, histories);
}

// Rows: position of the room, type, event.
void RoomHistories::add(const Rows& rows, std::span<const std::string_view> room_ids,
                        std::span<RoomHistory* const> histories) {
    std::vector<std::string_view> rooms;
    std::vector<std::size_t> positions;
    std::vector<rules::StateKind> kinds;
    std::vector<StateEventIds> ids;
    for (std::size_t i = 0; i < rows.count; ++i) {
        const auto kind = rules::state_kind(rows[i][1].text());
        if (!kind) {
            continue;
        }
        const std::size_t room = position(rows[i][0]);
        StateEventIds one{};
        one[static_cast<std::size_t>(*kind)] = rows[i][2].text();
        rooms.push_back(room_ids[room]);
        positions.push_back(room);
        kinds.push_back(*kind);
        ids.push_back(one);
    }
    std::vector<rules::StateEvents> events = rooms_.events(rooms, ids);
    for (std::size_t i = 0; i < events.size(); ++i) {
        RoomHistory& history = *histories[positions[i]];
        bool& is_lost = history.is_lost[static_cast<std::size_t>(kinds[i])];
        auto& event = events[i][static_cast<std::size_t>(kinds[i])];
        if (!event) {
            is_lost = true;
            continue;
        }
        const bool was_redacted = event->redacted;
        event->redacted = false;
        event->rejected = false;
        history.states.push_back(rules::derive_room_state(events[i]));
        is_lost = is_lost || !rules::is_readable(event->json) ||
                  may_have_lost_its_content(kinds[i], was_redacted, history.states.back());
    }
}

}  // namespace sliding_sync
