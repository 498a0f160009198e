// The state of a room after an event (docs/rules.md#state-after-an-event): groups of state, each of which
// holds what differs from the one before.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "rules/event_types.hpp"

namespace sliding_sync::rules {

/// Text: what the event ids are kept in. An empty one: no such event.
template <typename Text>
struct StateGroup {
    enum class Progress : std::uint8_t { open, known, broken };

    std::optional<std::int64_t> previous;  ///< of several, the highest, as readers of the homeserver have it
    std::array<Text, state_kind_count> state{};  ///< what it holds itself; once it is known, the whole
    Progress progress = Progress::open;          ///< `broken` from the start: there is no such group
};

template <typename Text>
using StateGroups = std::unordered_map<std::int64_t, StateGroup<Text>>;

/// Goes back along the chain to what is known or has nothing before it, and completes each group on the way
/// back from the one before. `read(id, group)` fills a group that is not among them yet. Deep chains are no
/// reason to recurse, and one that bites its own tail ends where it does.
template <typename Text, typename Read>
const StateGroup<Text>& complete_group(StateGroups<Text>& groups, std::int64_t id, Read read) {
    using Group = StateGroup<Text>;
    using Progress = typename Group::Progress;
    std::vector<Group*> path;
    const Group* base = nullptr;
    bool is_broken = false;
    for (std::optional<std::int64_t> at = id; at;) {
        const auto [place, is_new] = groups.try_emplace(*at);
        Group& group = place->second;
        if (is_new) {
            read(*at, group);
        }
        if (group.progress == Progress::known) {
            base = &group;
            break;
        }
        if (!is_new || group.progress == Progress::broken) {
            is_broken = true;
            break;
        }
        path.push_back(&group);
        at = group.previous;
    }
    for (auto group = path.rbegin(); group != path.rend(); ++group) {
        (*group)->progress = is_broken ? Progress::broken : Progress::known;
        for (std::size_t kind = 0; base != nullptr && kind < state_kind_count; ++kind) {
            if ((*group)->state[kind].empty()) {
                (*group)->state[kind] = base->state[kind];
            }
        }
        base = *group;
    }
    return groups.at(id);
}

/// The whole state; nothing where the chain is broken, or never heard of the room's creation.
template <typename Text>
[[nodiscard]] std::optional<std::array<Text, state_kind_count>> whole_state(const StateGroup<Text>& group) {
    const bool is_whole = group.progress == StateGroup<Text>::Progress::known &&
                          !group.state[static_cast<std::size_t>(StateKind::create)].empty();
    return is_whole ? std::optional(group.state) : std::nullopt;
}

}  // namespace sliding_sync::rules
