#include "cli/offline/comparison.hpp"

#include "cli/offline/state_events.hpp"

namespace sliding_sync::cli::offline {

namespace {

template <typename Map, typename Key>
std::optional<typename Map::mapped_type> found_in(const Map& map, const Key& key) {
    const auto place = map.find(key);
    return place == map.end() ? std::nullopt : std::optional(place->second);
}

// The state that each membership's way asks for.
class SnapshotInputs {
public:
    SnapshotInputs(Reader& reader, const std::vector<rules::MembershipFacts>& facts)
        : reader_(reader), facts_(facts), events_(reader), inputs_(facts.size()) {
        read_current_state();
        read_state_groups();
        read_invites();
    }

    [[nodiscard]] const rules::SnapshotInput& of(std::size_t place) const {
        return inputs_[place];
    }

private:
    [[nodiscard]] std::vector<std::size_t> from(rules::SnapshotSource source) const {
        std::vector<std::size_t> places;
        for (std::size_t i = 0; i < facts_.size(); ++i) {
            if (rules::snapshot_source(facts_[i]) == source) {
                places.push_back(i);
            }
        }
        return places;
    }

    void read_current_state() {
        const auto places = from(rules::SnapshotSource::current_state);
        std::set<std::string> rooms;
        for (const std::size_t place : places) {
            rooms.insert(facts_[place].room_id);
        }
        const auto ids = reader_.current_state(Texts(rooms.begin(), rooms.end()));
        std::vector<StateEventIds> all;
        for (const auto& [room_id, state] : ids) {
            all.push_back(state);
        }
        events_.read(all);
        for (const std::size_t place : places) {
            if (const auto state = found_in(ids, facts_[place].room_id)) {
                inputs_[place].state_events = events_.of(facts_[place].room_id, *state);
            }
        }
    }

    void read_state_groups() {
        const auto places = from(rules::SnapshotSource::state_group);
        Texts ids;
        for (const std::size_t place : places) {
            ids.push_back(facts_[place].event_id);
        }
        const auto states = state_after(reader_, ids);
        std::vector<StateEventIds> all;
        for (const auto& state : states) {
            all.push_back(state.value_or(StateEventIds{}));
        }
        events_.read(all);
        for (std::size_t i = 0; i < places.size(); ++i) {
            inputs_[places[i]].state_events = events_.of(facts_[places[i]].room_id, all[i]);
        }
    }

    void read_invites() {
        const auto places = from(rules::SnapshotSource::earlier_invite);
        MembershipKeys keys;
        Texts but_not;
        for (const std::size_t place : places) {
            keys.push_back({facts_[place].room_id, facts_[place].user_id});
            but_not.push_back(facts_[place].event_id);
        }
        const auto invites = reader_.earlier_invites(keys, but_not);
        for (std::size_t i = 0; i < places.size(); ++i) {
            rules::SnapshotInput& input = inputs_[places[i]];
            input.earlier_invite_json = invites[i].json;
            input.earlier_invite_membership = invites[i].membership;
            input.earlier_invite_redacted = invites[i].redacted;
        }
    }

    Reader& reader_;
    const std::vector<rules::MembershipFacts>& facts_;
    StateEventReader events_;
    std::vector<rules::SnapshotInput> inputs_;
};

}  // namespace

std::vector<RoomComparison> compare_rooms(Reader& reader, const Texts& room_ids) {
    std::vector<RoomComparison> result;
    if (room_ids.empty()) {
        return result;
    }
    const auto in_rooms = reader.in_rooms(room_ids);
    const auto stored = reader.stored_rooms(room_ids);
    const Texts present(in_rooms.begin(), in_rooms.end());
    const auto ids = reader.current_state(present);
    StateEventReader events(reader);
    std::vector<StateEventIds> all;
    for (const auto& [room_id, state] : ids) {
        all.push_back(state);
    }
    events.read(all);
    Texts with_state;
    for (const auto& [room_id, state] : ids) {
        if (rules::has_relevant_state(events.of(room_id, state))) {
            with_state.push_back(room_id);
        }
    }
    const auto orderings = reader.orderings(with_state);
    for (const std::string& room_id : room_ids) {
        rules::JoinedRoomFacts facts;
        facts.room_id = room_id;
        facts.in_rooms = in_rooms.count(room_id) > 0;
        if (const auto state = found_in(ids, room_id)) {
            facts.state_events = events.of(room_id, *state);
        }
        if (const auto found = found_in(orderings, room_id)) {
            facts.latest_ordering = found->latest;
            facts.latest_bump_ordering = found->latest_bump;
        }
        result.push_back({room_id, found_in(stored, room_id), rules::derive_joined_room(facts)});
    }
    return result;
}

std::vector<MembershipComparison> compare_memberships(Reader& reader, const MembershipKeys& keys,
                                                      rules::RefreshMode mode) {
    std::vector<MembershipComparison> result;
    if (keys.empty()) {
        return result;
    }
    const auto stored = reader.stored_snapshots(keys);
    std::vector<rules::MembershipFacts> all = reader.membership_facts(keys);
    for (std::size_t i = 0; i < keys.size(); ++i) {
        all[i].mode = mode;
        all[i].previous = found_in(stored, keys[i]);
    }
    const SnapshotInputs inputs(reader, all);
    for (std::size_t i = 0; i < keys.size(); ++i) {
        const rules::MembershipFacts& facts = all[i];
        result.push_back({keys[i], facts.previous, rules::derive_membership_snapshot(facts, inputs.of(i)),
                          rules::snapshot_source(facts),
                          facts.membership == "join" && !facts.in_current_state});
    }
    return result;
}

}  // namespace sliding_sync::cli::offline
