#include "derive/room_history.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

RoomHistories::RoomHistories(const HomeserverSchema& s, RoomFacts& rooms)
    : is_kept_(s.has_state_changes), rooms_(rooms),
      changes_("state_changes", sql_text(state_changes_text(), s.name), {TEXTARRAYOID}),
      stored_events_("stored_state_events", sql_text(stored_state_events_text(), s.name), {TEXTARRAYOID}) {}

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
        histories[positions[i]]->add(kinds[i], std::move(events[i]));
    }
}

}  // namespace sliding_sync
