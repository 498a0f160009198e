// What the rows of a pass must be: facts are read for all of its keys at once, then the rules derive each
// row.
//
// Rooms, in phases: which are in `rooms`; which rows there are to start from; the current state of those
// whose state may have changed or that have no row to start from; the orderings of those that lost events;
// the row. A row to start from is the stored one, or the one from before this transaction where the
// transaction has written it: another writer may have made that one, by other rules. What changed is added to
// it: for a message the two orderings only.
//
// Memberships, in phases: their facts (derive/membership_facts.cpp); the source of the state columns of each,
// by the rules (docs/rules.md#source-of-the-state-columns); what the sources ask for, each kind in one look:
// state groups, current state, the state before a wipe, earlier invites; the row.
//
// Locks: none are taken here. The rows (`stored`) are locked by the caller where something is to be written,
// and all facts are read after that, so that of two transactions the second one sees what the first has
// changed. Only current state in live mode is read from the rooms' rows, which the same refresh has made
// right before.
//
// Ownership: keys point into the caller's Changes; facts and JSON into memory of the open SpiConnection. What
// outlives a pass is copied into the RefreshScope: the state before a wipe, asked once a room.
#include "derive/compare.hpp"

namespace sliding_sync {

namespace {

// Current state of rooms, read at most once in a pass.
class StateReader {
public:
    /// `rows_are_right`: those of the rooms have been refreshed before
    StateReader(RoomFacts& rooms, bool rows_are_right) : rooms_(rooms), rows_are_right_(rows_are_right) {}

    void read(const std::vector<std::string_view>& room_ids) {
        std::vector<std::string_view> missing;
        for (const std::string_view room_id : room_ids) {
            if (states_.emplace(room_id, rules::StateEvents{}).second) {
                missing.push_back(room_id);
            }
        }
        if (missing.empty()) {
            return;
        }
        const auto read =
            rows_are_right_ ? rooms_.current_state_by_rows(missing) : rooms_.current_state(missing);
        for (std::size_t i = 0; i < missing.size(); ++i) {
            states_[missing[i]] = read[i];
        }
    }

    [[nodiscard]] const rules::StateEvents& of(std::string_view room_id) const {
        return states_.at(room_id);
    }

private:
    RoomFacts& rooms_;
    bool rows_are_right_;
    std::map<std::string_view, rules::StateEvents> states_;
};

// The state after the events of these memberships, where it is known. In live mode the transaction may have
// deleted its events.
void read_state_groups(Statements& statements, std::span<const MembershipKey> keys,
                       std::span<const rules::MembershipFacts> memberships,
                       const std::vector<std::size_t>& positions, std::vector<rules::SnapshotInput>& inputs) {
    if (positions.empty()) {
        return;
    }
    std::vector<std::string_view> event_ids;
    for (const std::size_t place : positions) {
        event_ids.push_back(memberships[place].event_id);
    }
    const auto state = statements.state_groups.after(event_ids);
    std::vector<std::size_t> known;
    std::vector<std::string_view> room_ids;
    std::vector<StateEventIds> state_ids;
    for (std::size_t i = 0; i < positions.size(); ++i) {
        if (state[i]) {
            known.push_back(positions[i]);
            room_ids.push_back(keys[positions[i]].room_id);
            state_ids.push_back(*state[i]);
        }
    }
    const bool is_live = memberships[positions.front()].mode == rules::RefreshMode::live;
    const auto events = is_live ? statements.rooms.wiped_events(room_ids, std::move(state_ids))
                                : statements.rooms.events(room_ids, state_ids);
    for (std::size_t i = 0; i < known.size(); ++i) {
        inputs[known[i]].state_events = events[i];
    }
}

bool may_be_wiped(const rules::MembershipFacts& membership) noexcept {
    return membership.mode == rules::RefreshMode::live && !membership.event_id.empty() &&
           !membership.room_has_current_state;
}

// What there was in rooms that have no current state now.
void read_wiped_states(Statements& statements, std::span<const MembershipKey> keys,
                       std::span<rules::MembershipFacts> memberships, RefreshScope& scope) {
    std::vector<std::string_view> room_ids;
    std::vector<std::optional<std::int64_t>> oldest;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        const std::string_view room_id = keys[i].room_id;
        const bool is_next = room_ids.empty() || room_ids.back() != room_id;  // keys are in order
        if (is_next && may_be_wiped(memberships[i]) && !scope.wiped_state.contains(room_id)) {
            const auto found = scope.oldest_new.find(room_id);
            room_ids.push_back(room_id);
            oldest.push_back(found != scope.oldest_new.end() ? std::optional(found->second) : std::nullopt);
        }
    }
    if (!room_ids.empty()) {
        const auto state_before = statements.rooms.wiped_state(room_ids, oldest);
        for (std::size_t i = 0; i < room_ids.size(); ++i) {
            scope.wiped_state.try_emplace(std::string(room_ids[i]), state_before[i]);
        }
    }
    for (rules::MembershipFacts& membership : memberships) {
        if (may_be_wiped(membership)) {
            membership.room_had_current_state =
                rules::has_relevant_state(scope.wiped_state.find(membership.room_id)->second.events());
        }
    }
}

void read_earlier_invites(Statements& statements, std::span<const MembershipKey> keys,
                          std::span<const rules::MembershipFacts> memberships,
                          const std::vector<std::size_t>& positions,
                          std::vector<rules::SnapshotInput>& inputs) {
    if (positions.empty()) {
        return;
    }
    std::vector<MembershipKey> invited;
    std::vector<std::string_view> but_not;
    for (const std::size_t place : positions) {
        invited.push_back(keys[place]);
        but_not.push_back(memberships[place].event_id);
    }
    auto invites = statements.memberships.earlier_invites(invited, but_not);
    for (std::size_t i = 0; i < positions.size(); ++i) {
        rules::SnapshotInput& input = inputs[positions[i]];
        input.earlier_invite_json = std::move(invites[i].json);
        input.earlier_invite_membership = std::move(invites[i].membership);
        input.earlier_invite_redacted = invites[i].redacted;
    }
}

// Fetches the state that each membership's source asks for (docs/rules.md#source-of-the-state-columns).
std::vector<rules::SnapshotInput> snapshot_inputs(Statements& statements, StateReader& state,
                                                  std::span<const MembershipKey> keys,
                                                  std::span<rules::MembershipFacts> memberships,
                                                  RefreshScope& scope,
                                                  std::vector<rules::SnapshotSource>& sources) {
    read_wiped_states(statements, keys, memberships, scope);
    std::vector<rules::SnapshotInput> inputs(keys.size());
    std::vector<std::string_view> current;
    std::vector<std::size_t> invited;
    std::vector<std::size_t> left;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        sources[i] = rules::snapshot_source(memberships[i]);
        if (sources[i] == rules::SnapshotSource::current_state) {
            current.push_back(keys[i].room_id);
        } else if (sources[i] == rules::SnapshotSource::wiped_state) {
            // unless its state group tells
            inputs[i].state_events = scope.wiped_state.find(keys[i].room_id)->second.events();
            left.push_back(i);
        } else if (sources[i] == rules::SnapshotSource::earlier_invite) {
            invited.push_back(i);
        } else if (sources[i] == rules::SnapshotSource::state_group) {
            left.push_back(i);
        }
    }
    read_state_groups(statements, keys, memberships, left, inputs);
    state.read(current);
    for (std::size_t i = 0; i < keys.size(); ++i) {
        if (sources[i] == rules::SnapshotSource::current_state) {
            inputs[i].state_events = state.of(keys[i].room_id);
        }
    }
    read_earlier_invites(statements, keys, memberships, invited, inputs);
    return inputs;
}

// The rows that the changes of this transaction are added to. One that it has written itself may be somebody
// else's work, by other rules: what stood there before, locked since then, is as right as any other row. It
// must not be looked for among the events: there can be many since the last one that bumps. Nothing: the row
// is made from scratch.
std::vector<std::optional<rules::JoinedRoom>>
rows_to_start_from(Statements& statements, std::span<const RoomChange> rooms,
                   std::span<const Stored<JoinedRooms>> stored) {
    std::vector<std::optional<rules::JoinedRoom>> result(rooms.size());
    std::vector<std::size_t> written;
    for (std::size_t i = 0; i < rooms.size(); ++i) {
        if (!stored[i].written_by_this_transaction) {
            result[i] = stored[i].row;
        } else if (stored[i].row && !rooms[i].is_later_flush && !(rooms[i].orderings && rooms[i].state)) {
            written.push_back(i);
        }
    }
    if (!written.empty()) {
        LookupScope before(SnapshotKind::before_transaction);
        for (const std::size_t place : written) {
            result[place] = statements.joined_rooms.find(before, rooms[place].room_id);
        }
    }
    return result;
}

// A rejection may have been stored before its event, by a transaction that has ended.
std::vector<bool> are_hints_rejected(RoomFacts& facts, std::span<const RoomChange> rooms) {
    std::vector<std::string_view> event_ids;
    for (const RoomChange& room : rooms) {
        event_ids.push_back(room.latest_event_id);
        event_ids.push_back(room.latest_bump_event_id);
    }
    const std::vector<bool> are_rejected = facts.are_rejected(event_ids);
    std::vector<bool> result;
    for (std::size_t i = 0; i < rooms.size(); ++i) {
        result.push_back(are_rejected[2 * i] || are_rejected[2 * i + 1]);
    }
    return result;
}

std::vector<std::span<const std::string_view>> new_redactions_of(std::span<const RoomChange> rooms) {
    std::vector<std::span<const std::string_view>> redaction_ids;
    for (const RoomChange& room : rooms) {
        redaction_ids.emplace_back(room.new_redactions);
    }
    return redaction_ids;
}

void add_banned(Redactions& redacted, std::span<const RoomChange> rooms, std::vector<bool>& is_redacted) {
    LookupScope scope;
    for (std::size_t i = 0; i < rooms.size(); ++i) {
        if (rooms[i].has_member_events && !rooms[i].state) {
            is_redacted[i] = is_redacted[i] || redacted.has_bans(scope, rooms[i].room_id);
        }
    }
}

}  // namespace

RoomChange whole_room(std::string_view room_id) noexcept {
    RoomChange room;
    room.room_id = room_id;
    room.orderings = true;
    room.state = true;
    return room;
}

std::vector<std::string_view> room_ids_of(std::span<const RoomChange> rooms) {
    std::vector<std::string_view> room_ids;
    room_ids.reserve(rooms.size());
    for (const RoomChange& room : rooms) {
        room_ids.push_back(room.room_id);
    }
    return room_ids;
}

std::vector<RoomComparison> compare_joined_rooms(Statements& statements, std::span<const RoomChange> rooms,
                                                 std::span<const Stored<JoinedRooms>> stored) {
    RoomFacts& facts = statements.rooms;
    StateReader state(facts, false);
    const std::vector<bool> in_rooms = facts.in_rooms(room_ids_of(rooms));
    const std::vector<std::optional<rules::JoinedRoom>> starts =
        rows_to_start_from(statements, rooms, stored);

    const std::vector<bool> is_hint_rejected = are_hints_rejected(facts, rooms);
    std::vector<bool> is_state_redacted = statements.redacted.redact_state(new_redactions_of(rooms));
    add_banned(statements.redacted, rooms, is_state_redacted);

    // What a row to start from said needs only what changed; without one it is made from scratch.
    const auto state_is_new = [&](std::size_t i) {
        return !starts[i] || rooms[i].state || is_state_redacted[i];
    };
    std::vector<std::string_view> need_state;
    std::vector<std::string_view> need_orderings;
    for (std::size_t i = 0; i < rooms.size(); ++i) {
        if (in_rooms[i] && state_is_new(i)) {
            need_state.push_back(rooms[i].room_id);
        }
    }
    state.read(need_state);
    for (std::size_t i = 0; i < rooms.size(); ++i) {
        if (!in_rooms[i] || !(!starts[i] || rooms[i].orderings || is_hint_rejected[i])) {
            continue;
        }
        // a room without relevant state has no row, however many events it has
        if (state_is_new(i) && !rules::has_relevant_state(state.of(rooms[i].room_id))) {
            continue;
        }
        need_orderings.push_back(rooms[i].room_id);
    }
    std::map<std::string_view, Orderings> orderings;
    if (!need_orderings.empty()) {
        const auto read = facts.orderings(need_orderings);
        for (std::size_t i = 0; i < need_orderings.size(); ++i) {
            orderings[need_orderings[i]] = read[i];
        }
    }

    std::vector<RoomComparison> result;
    result.reserve(rooms.size());
    for (std::size_t i = 0; i < rooms.size(); ++i) {
        const RoomChange& room = rooms[i];
        rules::JoinedRoomFacts room_facts;
        room_facts.room_id = room.room_id;
        room_facts.in_rooms = in_rooms[i];
        if (in_rooms[i] && state_is_new(i)) {
            room_facts.state_events = state.of(room.room_id);
        }
        if (const auto found = orderings.find(room.room_id); found != orderings.end()) {
            room_facts.latest_ordering = found->second.latest;
            room_facts.latest_bump_ordering = found->second.latest_bump;
        } else if (const auto& start = starts[i]) {
            room_facts.latest_ordering =
                std::max(start->event_stream_ordering, room.latest.value_or(start->event_stream_ordering));
            room_facts.latest_bump_ordering = std::max(start->bump_stamp, room.latest_bump);
        }
        std::optional<rules::JoinedRoom> expected;
        if (state_is_new(i) || !in_rooms[i]) {
            expected = rules::derive_joined_room(room_facts);
        } else if (room_facts.latest_ordering) {
            expected = starts[i];
            expected->event_stream_ordering = *room_facts.latest_ordering;
            expected->bump_stamp = room_facts.latest_bump_ordering;
        }
        result.push_back({room.room_id, stored[i].row, std::move(expected)});
    }
    return result;
}

std::vector<MembershipComparison> compare_memberships(Statements& statements,
                                                      std::span<const MembershipKey> keys,
                                                      std::span<const Stored<MembershipSnapshots>> stored,
                                                      RefreshScope& scope, rules::RefreshMode mode) {
    StateReader state(statements.rooms, mode == rules::RefreshMode::live);
    std::vector<rules::MembershipFacts> memberships = statements.memberships.facts(keys, stored, scope, mode);
    std::vector<rules::SnapshotSource> sources(keys.size());
    const std::vector<rules::SnapshotInput> inputs =
        snapshot_inputs(statements, state, keys, memberships, scope, sources);
    std::vector<MembershipComparison> result;
    result.reserve(keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
        const rules::MembershipFacts& facts = memberships[i];
        const bool has_source_conflict =
            mode != rules::RefreshMode::live && facts.membership == "join" && !facts.in_current_state;
        result.push_back({{keys[i], stored[i].row, rules::derive_membership_snapshot(facts, inputs[i])},
                          sources[i],
                          has_source_conflict});
    }
    return result;
}

}  // namespace sliding_sync
