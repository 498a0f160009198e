// What the snapshots of a pass must be: facts are read for all of its memberships at once, then the rules
// derive each row.
//
// In phases: their facts (derive/membership_facts.cpp); the source of the state columns of each, by the rules
// (docs/rules.md#source-of-the-state-columns); what the sources ask for, each kind in one look: state groups,
// current state, the state before a wipe, earlier invites; the row.
//
// Locks: none are taken here, as for rooms. In live mode current state is read from the rooms' rows, which
// the same refresh has made right before.
//
// Ownership: keys point into the caller's Changes; facts and JSON into memory of the open SpiConnection. What
// outlives a pass is copied into the RefreshScope: the state before a wipe, asked once a room.
#include "derive/compare.hpp"

namespace sliding_sync {

namespace {

// Current state of rooms, read at most once in a pass.
class StateReader {
public:
    /// `rows_are_right`: the rooms' own rows have been refreshed before
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

}  // namespace

std::vector<MembershipComparison> compare_memberships(Statements& statements,
                                                      std::span<const MembershipKey> keys,
                                                      std::span<const Stored<MembershipSnapshots>> stored,
                                                      RefreshScope& scope, rules::RefreshMode mode) {
    Assert(stored.size() == keys.size() && std::is_sorted(keys.begin(), keys.end()));
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
