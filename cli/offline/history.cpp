#include "cli/offline/history.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "cli/offline/state_events.hpp"
#include "rules/json.hpp"

namespace sliding_sync::cli::offline {

namespace {

using rules::RoomState;
using rules::StateKind;

/// A room's relevant state events since its creation, each read without its redactions.
struct RoomHistory {
    bool is_complete = false;
    std::vector<RoomState> states;
    std::array<bool, rules::state_kind_count> is_lost{};  ///< one of them may have told anything

    template <typename Column>
    [[nodiscard]] bool has(StateKind kind, const RoomState& wanted, Column RoomState::*column) const {
        return wanted.*column == Column{} || is_lost[static_cast<std::size_t>(kind)] ||
               std::any_of(states.begin(), states.end(),
                           [&](const RoomState& state) { return state.*column == wanted.*column; });
    }

    [[nodiscard]] bool contains(const RoomState& state) const {
        return has(StateKind::create, state, &RoomState::room_type) &&
               has(StateKind::name, state, &RoomState::room_name) &&
               has(StateKind::encryption, state, &RoomState::is_encrypted) &&
               has(StateKind::tombstone, state, &RoomState::tombstone_successor_room_id);
    }

    void add(StateKind kind, rules::StateEvents events) {
        auto& event = events[static_cast<std::size_t>(kind)];
        bool& lost = is_lost[static_cast<std::size_t>(kind)];
        if (!event) {
            lost = true;
            return;
        }
        const bool was_redacted = event->redacted;
        event->redacted = false;
        event->rejected = false;
        states.push_back(rules::derive_room_state(events));
        // Redacted content is pruned some time later. Only a room's creation always says what it said.
        const bool may_be_pruned =
            states.back() == RoomState{} && (kind != StateKind::create || was_redacted);
        lost = lost || !rules::is_readable(event->json) || may_be_pruned;
    }
};

using Histories = std::map<std::string, RoomHistory>;

// Rows: room, type, event.
void add_events(Reader& reader, const Rows& rows, Histories& histories) {
    std::vector<StateEventIds> ids(rows.values.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
        ids[i][static_cast<std::size_t>(*rules::state_kind(*rows.values[i][1]))] = *rows.values[i][2];
    }
    StateEventReader events(reader);
    events.read(ids);
    for (std::size_t i = 0; i < ids.size(); ++i) {
        const std::string& room_id = *rows.values[i][0];
        histories[room_id].add(*rules::state_kind(*rows.values[i][1]), events.of(room_id, ids[i]));
    }
}

Histories histories_of(Reader& reader, const Texts& room_ids) {
    Histories result;
    if (!reader.homeserver().has_state_changes || room_ids.empty()) {
        return result;
    }
    const Rows rows = reader.ask(fmt::format(
        "SELECT DISTINCT k.room_id, d.type, x.event_id FROM unnest({}) k(room_id) JOIN {} d ON d.room_id = "
        "k.room_id "
        "AND d.state_key = '' AND d.type = ANY ({}) CROSS JOIN LATERAL (VALUES (d.event_id), "
        "(d.prev_event_id)) "
        "x(event_id) WHERE x.event_id IS NOT NULL",
        sql_array(room_ids), reader.homeserver().table("current_state_delta_stream"), relevant_types()));
    for (const auto& row : rows.values) {
        RoomHistory& history = result[*row[0]];
        history.is_complete = history.is_complete || rules::state_kind(*row[1]) == StateKind::create;
    }
    add_events(reader, rows, result);
    return result;
}

// Events that never were in current state: it costs too much to be asked of each room.
void add_stored_events(Reader& reader, const Texts& room_ids, Histories& histories) {
    if (room_ids.empty()) {
        return;
    }
    const Rows rows = reader.ask(fmt::format(
        "SELECT k.room_id, e.type, e.event_id FROM unnest({}) k(room_id) JOIN {} e ON e.room_id = k.room_id "
        "AND e.state_key = '' AND e.type = ANY ({})",
        sql_array(room_ids), reader.homeserver().table("events"), relevant_types()));
    add_events(reader, rows, histories);
}

// What an invite says of a room is the inviter's word, not the room's.
bool tells_of_an_invite(rules::SnapshotSource source) noexcept {
    return source == rules::SnapshotSource::stripped_state || source == rules::SnapshotSource::earlier_invite;
}

// A leave may have inherited what an invite before it told.
void judge_unexplained(Reader& reader, const std::vector<const MembershipComparison*>& memberships,
                       Rows& findings) {
    MembershipKeys keys;
    Texts event_ids;
    for (const MembershipComparison* membership : memberships) {
        keys.push_back(membership->key);
        event_ids.push_back(membership->stored->membership_event_id);
    }
    const auto invites = reader.earlier_invites(keys, event_ids);
    for (std::size_t i = 0; i < keys.size(); ++i) {
        const bool is_leave = memberships[i]->source == rules::SnapshotSource::state_group;
        add_history_findings(findings, *memberships[i], is_leave && !invites[i].membership.empty());
    }
}

}  // namespace

void judge_history(Reader& reader, const MembershipKeys& keys, Rows& findings) {
    const auto from_scratch = compare_memberships(reader, keys, rules::RefreshMode::rebuild);
    std::vector<const MembershipComparison*> doubtful;
    std::set<std::string> rooms;
    for (const MembershipComparison& membership : from_scratch) {
        if (membership.stored && membership.expected && membership.stored != membership.expected) {
            doubtful.push_back(&membership);
            rooms.insert(membership.key.room_id);
        }
    }
    auto histories = histories_of(reader, Texts(rooms.begin(), rooms.end()));
    const auto is_possible = [&](const MembershipComparison& membership) {
        const auto history = histories.find(membership.key.room_id);
        return history == histories.end() || !history->second.is_complete ||
               tells_of_an_invite(membership.source) || history->second.contains(membership.stored->state);
    };
    std::set<std::string> unclear;
    for (const MembershipComparison* membership : doubtful) {
        if (!is_possible(*membership)) {
            unclear.insert(membership->key.room_id);
        }
    }
    add_stored_events(reader, Texts(unclear.begin(), unclear.end()), histories);
    std::vector<const MembershipComparison*> unexplained;
    for (const MembershipComparison* membership : doubtful) {
        if (is_possible(*membership)) {
            add_history_findings(findings, *membership, true);
        } else {
            unexplained.push_back(membership);
        }
    }
    judge_unexplained(reader, unexplained, findings);
}

}  // namespace sliding_sync::cli::offline
