#include "derive/compare.hpp"

namespace sliding_sync {

namespace {

// Current state of rooms, read at most once in a pass.
class StateReader {
public:
    explicit StateReader(RoomFacts& rooms) : rooms_(rooms) {}

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
        const auto read = rooms_.current_state(missing);
        for (std::size_t i = 0; i < missing.size(); ++i) {
            states_[missing[i]] = read[i];
        }
    }

    [[nodiscard]] const rules::StateEvents& of(std::string_view room_id) const {
        return states_.at(room_id);
    }

private:
    RoomFacts& rooms_;
    std::map<std::string_view, rules::StateEvents> states_;
};

// The state after the events of these memberships; what is not known stays empty.
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
    std::vector<std::string_view> room_ids;
    std::vector<StateEventIds> state_ids;
    for (std::size_t i = 0; i < positions.size(); ++i) {
        room_ids.push_back(keys[positions[i]].room_id);
        state_ids.push_back(state[i].value_or(StateEventIds{}));
    }
    const auto events = statements.rooms.events(room_ids, state_ids);
    for (std::size_t i = 0; i < positions.size(); ++i) {
        inputs[positions[i]].state_events = events[i];
    }
}

// Fetches the state that each membership's source asks for (docs/rules.md#source-of-the-state-columns).
std::vector<rules::SnapshotInput> snapshot_inputs(Statements& statements, StateReader& state,
                                                  std::span<const MembershipKey> keys,
                                                  std::span<rules::MembershipFacts> memberships,
                                                  const Hints& hints,
                                                  std::vector<rules::SnapshotSource>& sources) {
    std::vector<rules::SnapshotInput> inputs(keys.size());

    std::map<std::string_view, rules::StateEvents> wiped;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        const rules::MembershipFacts& membership = memberships[i];
        if (membership.mode == rules::RefreshMode::live && !membership.event_id.empty() &&
            !membership.room_has_current_state) {
            wiped.emplace(keys[i].room_id, rules::StateEvents{});
        }
    }
    if (!wiped.empty()) {
        std::vector<std::string_view> room_ids;
        std::vector<std::optional<std::int64_t>> oldest;
        for (const auto& [room_id, unused] : wiped) {
            const auto found = hints.oldest_new.find(room_id);
            room_ids.push_back(room_id);
            oldest.push_back(found != hints.oldest_new.end() ? std::optional(found->second) : std::nullopt);
        }
        const auto state_before = statements.rooms.wiped_state(room_ids, oldest);
        for (std::size_t i = 0; i < room_ids.size(); ++i) {
            wiped[room_ids[i]] = state_before[i];
        }
    }

    std::vector<std::string_view> current;
    std::vector<MembershipKey> invited;
    std::vector<std::string_view> but_not;
    std::vector<std::size_t> invited_positions;
    std::vector<std::size_t> left_positions;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        rules::MembershipFacts& membership = memberships[i];
        if (const auto found = wiped.find(keys[i].room_id); found != wiped.end()) {
            membership.room_had_current_state = rules::has_relevant_state(found->second);
        }
        sources[i] = rules::snapshot_source(membership);
        if (sources[i] == rules::SnapshotSource::current_state) {
            current.push_back(keys[i].room_id);
        } else if (sources[i] == rules::SnapshotSource::wiped_state) {
            inputs[i].state_events = wiped.at(keys[i].room_id);
        } else if (sources[i] == rules::SnapshotSource::earlier_invite) {
            invited.push_back(keys[i]);
            but_not.push_back(membership.event_id);
            invited_positions.push_back(i);
        } else if (sources[i] == rules::SnapshotSource::state_group) {
            left_positions.push_back(i);
        }
    }
    read_state_groups(statements, keys, memberships, left_positions, inputs);
    state.read(current);
    for (std::size_t i = 0; i < keys.size(); ++i) {
        if (sources[i] == rules::SnapshotSource::current_state) {
            inputs[i].state_events = state.of(keys[i].room_id);
        }
    }
    if (!invited.empty()) {
        auto invites = statements.memberships.earlier_invites(invited, but_not);
        for (std::size_t i = 0; i < invited.size(); ++i) {
            rules::SnapshotInput& input = inputs[invited_positions[i]];
            input.earlier_invite_json = std::move(invites[i].json);
            input.earlier_invite_membership = std::move(invites[i].membership);
            input.earlier_invite_redacted = invites[i].redacted;
        }
    }
    return inputs;
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
    StateReader state(facts);
    const std::vector<bool> in_rooms = facts.in_rooms(room_ids_of(rooms));

    // A row that was right before needs only what changed; one that is new, or that somebody else may have written
    // in this transaction, is made from scratch.
    std::vector<std::string_view> need_state;
    std::vector<std::string_view> need_orderings;
    std::vector<bool> from_scratch(rooms.size());
    for (std::size_t i = 0; i < rooms.size(); ++i) {
        from_scratch[i] = !stored[i].row || stored[i].written_by_this_transaction;
        if (!in_rooms[i]) {
            continue;
        }
        if (from_scratch[i] || rooms[i].state) {
            need_state.push_back(rooms[i].room_id);
        }
    }
    state.read(need_state);
    for (std::size_t i = 0; i < rooms.size(); ++i) {
        if (!in_rooms[i] || !(from_scratch[i] || rooms[i].orderings)) {
            continue;
        }
        // a room without relevant state has no row, however many events it has
        if ((from_scratch[i] || rooms[i].state) && !rules::has_relevant_state(state.of(rooms[i].room_id))) {
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
        const bool state_is_new = from_scratch[i] || room.state;
        rules::JoinedRoomFacts room_facts;
        room_facts.room_id = room.room_id;
        room_facts.in_rooms = in_rooms[i];
        if (in_rooms[i] && state_is_new) {
            room_facts.state_events = state.of(room.room_id);
        }
        if (const auto found = orderings.find(room.room_id); found != orderings.end()) {
            room_facts.latest_ordering = found->second.latest;
            room_facts.latest_bump_ordering = found->second.latest_bump;
        } else if (stored[i].row) {
            room_facts.latest_ordering = std::max(stored[i].row->event_stream_ordering,
                                                  room.latest.value_or(stored[i].row->event_stream_ordering));
            room_facts.latest_bump_ordering = std::max(stored[i].row->bump_stamp, room.latest_bump);
        }
        std::optional<rules::JoinedRoom> expected;
        if (state_is_new || !in_rooms[i]) {
            expected = rules::derive_joined_room(room_facts);
        } else if (room_facts.latest_ordering) {
            expected = stored[i].row;
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
                                                      const Hints& hints, rules::RefreshMode mode) {
    StateReader state(statements.rooms);
    std::vector<rules::MembershipFacts> memberships =
        statements.memberships.facts(keys, stored, hints.before, mode);
    std::vector<rules::SnapshotSource> sources(keys.size());
    const std::vector<rules::SnapshotInput> inputs =
        snapshot_inputs(statements, state, keys, memberships, hints, sources);
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
