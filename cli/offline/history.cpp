#include "cli/offline/history.hpp"

#include "cli/offline/state_events.hpp"
#include "rules/room_history.hpp"

namespace sliding_sync::cli::offline {

namespace {

using rules::RoomHistory;
using rules::StateKind;

using Histories = std::map<std::string, RoomHistory>;

// Rows: position of the room, type, event.
void add_events(Reader& reader, const Texts& room_ids, const Rows& rows, Histories& histories) {
    std::vector<StateEventIds> ids(rows.values.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
        ids[i][static_cast<std::size_t>(*rules::state_kind(*rows.values[i][1]))] = *rows.values[i][2];
    }
    StateEventReader events(reader);
    events.read(ids);
    for (std::size_t i = 0; i < ids.size(); ++i) {
        const std::string& room_id = room_ids[position(rows.values[i][0])];
        histories[room_id].add(*rules::state_kind(*rows.values[i][1]), events.of(room_id, ids[i]));
    }
}

Histories histories_of(Reader& reader, const Texts& room_ids) {
    Histories result;
    if (!reader.tables().has_state_changes || room_ids.empty()) {
        return result;
    }
    const Rows rows = reader.ask(state_changes_text(), {room_ids});
    for (const auto& row : rows.values) {
        RoomHistory& history = result[room_ids[position(row[0])]];
        history.is_complete = history.is_complete || rules::state_kind(*row[1]) == StateKind::create;
    }
    add_events(reader, room_ids, rows, result);
    return result;
}

// Events that never were in current state: it costs too much to be asked of each room.
void add_stored_events(Reader& reader, const Texts& room_ids, Histories& histories) {
    if (!room_ids.empty()) {
        add_events(reader, room_ids, reader.ask(stored_state_events_text(), {room_ids}), histories);
    }
}

void judge_unexplained(Reader& reader, const std::vector<const MembershipComparison*>& memberships,
                       Findings& findings) {
    MembershipKeys keys;
    Texts event_ids;
    for (const MembershipComparison* membership : memberships) {
        keys.push_back(membership->key);
        event_ids.push_back(membership->stored->membership_event_id);
    }
    const auto invites = reader.earlier_invites(keys, event_ids);
    for (std::size_t i = 0; i < keys.size(); ++i) {
        const bool is_possible =
            rules::may_come_from_invite(memberships[i]->source, !invites[i].membership.empty());
        add_history_findings(findings, *memberships[i]->stored, *memberships[i]->expected,
                             is_possible ? FindingReason::history_unverifiable
                                         : FindingReason::history_impossible);
    }
}

}  // namespace

void judge_history(Reader& reader, const MembershipKeys& keys, Findings& findings) {
    const auto from_scratch = compare_memberships(reader, keys, rules::RefreshMode::rebuild);
    std::vector<const MembershipComparison*> to_check;
    std::set<std::string> rooms;
    for (const MembershipComparison& membership : from_scratch) {
        if (membership.stored && membership.expected && membership.stored != membership.expected) {
            to_check.push_back(&membership);
            rooms.insert(membership.key.room_id);
        }
    }
    auto histories = histories_of(reader, Texts(rooms.begin(), rooms.end()));
    const auto is_possible = [&](const MembershipComparison& membership) {
        return rules::may_be_of_the_past(histories[membership.key.room_id], membership.source,
                                         membership.stored->state);
    };
    std::set<std::string> unclear;
    for (const MembershipComparison* membership : to_check) {
        if (!is_possible(*membership)) {
            unclear.insert(membership->key.room_id);
        }
    }
    add_stored_events(reader, Texts(unclear.begin(), unclear.end()), histories);
    std::vector<const MembershipComparison*> unexplained;
    for (const MembershipComparison* membership : to_check) {
        if (is_possible(*membership)) {
            add_history_findings(findings, *membership->stored, *membership->expected,
                                 FindingReason::history_unverifiable);
        } else {
            unexplained.push_back(membership);
        }
    }
    judge_unexplained(reader, unexplained, findings);
}

}  // namespace sliding_sync::cli::offline
