#include "derive/state_groups.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

namespace {

struct Group {
    std::optional<std::int64_t> previous;
    StateEventIds state{};
    enum class Progress : std::uint8_t { unread, open, known, broken } progress = Progress::unread;
};

using Groups = std::unordered_map<std::int64_t, Group>;

// Completes the group's state from the chain before it. Deep chains are no reason to recurse, and one that bites its
// own tail ends where it does.
void complete(Groups& groups, std::int64_t id) {
    using Progress = Group::Progress;
    std::vector<Group*> path;
    const Group* base = nullptr;
    bool is_broken = false;
    for (std::optional<std::int64_t> at = id; at;) {
        const auto found = groups.find(*at);
        if (found == groups.end() || found->second.progress == Progress::open ||
            found->second.progress == Progress::broken) {
            is_broken = true;
            break;
        }
        if (found->second.progress == Progress::known) {
            base = &found->second;
            break;
        }
        found->second.progress = Progress::open;
        path.push_back(&found->second);
        at = found->second.previous;
    }
    for (auto group = path.rbegin(); group != path.rend(); ++group) {
        (*group)->progress = is_broken ? Progress::broken : Progress::known;
        for (std::size_t kind = 0; base != nullptr && kind < rules::state_kind_count; ++kind) {
            if ((*group)->state[kind].empty()) {
                (*group)->state[kind] = base->state[kind];
            }
        }
        base = *group;
    }
}

}  // namespace

StateGroups::StateGroups(const HomeserverSchema& s)
    : is_here_(s.has_state_groups),
      groups_of_events_(
          "groups_of_events",
          sql_text("SELECT k.n, g.state_group FROM pg_catalog.unnest($1) WITH ORDINALITY k(event_id, n) "
                   "JOIN %S.event_to_state_groups g ON g.event_id %= k.event_id",
                   s.name),
          {TEXTARRAYOID}),
      chains_("state_group_chains",
              // a group with several predecessors: the highest one wins, as readers of the homeserver have it
              sql_text("WITH RECURSIVE chain(id, previous) AS ("
                       "SELECT g.id, (SELECT e.prev_state_group FROM %S.state_group_edges e "
                       "WHERE e.state_group %= g.id ORDER BY e.prev_state_group DESC LIMIT 1) "
                       "FROM pg_catalog.unnest($1) k(id) JOIN %S.state_groups g ON g.id %= k.id "
                       "UNION SELECT g.id, (SELECT e.prev_state_group FROM %S.state_group_edges e "
                       "WHERE e.state_group %= g.id ORDER BY e.prev_state_group DESC LIMIT 1) "
                       "FROM chain c JOIN %S.state_groups g ON g.id %= c.previous) "
                       "SELECT c.id, c.previous FROM chain c",
                       s.name),
              {INT8ARRAYOID}),
      relevant_state_("relevant_group_state",
                      sql_text("SELECT s.state_group, s.type, s.event_id FROM pg_catalog.unnest($1) k(id) "
                               "CROSS JOIN LATERAL (SELECT * FROM %S.state_groups_state x "
                               "WHERE x.state_group %= k.id AND x.state_key %= '' AND x.type %= ANY (" +
                                   relevant_types_array() + ") OFFSET 0) s",
                               s.name),
                      {INT8ARRAYOID}) {}

std::vector<std::optional<StateEventIds>> StateGroups::after(std::span<const std::string_view> event_ids) {
    std::vector<std::optional<StateEventIds>> result(event_ids.size());
    if (!is_here_ || event_ids.empty()) {
        return result;
    }
    std::vector<std::optional<std::int64_t>> group_of(event_ids.size());
    const Rows of_events = groups_of_events_.run(Arguments().texts(event_ids));
    for (std::size_t i = 0; i < of_events.count; ++i) {
        group_of[position(of_events[i][0])] = of_events[i][1].number;
    }
    std::vector<std::optional<std::int64_t>> ids;
    for (const auto& group : group_of) {
        if (group) {
            ids.push_back(group);
        }
    }
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());

    Groups groups;
    const Rows chains = chains_.run(Arguments().numbers(ids));
    ids.clear();
    for (std::size_t i = 0; i < chains.count; ++i) {
        groups[chains[i][0].number].previous = chains[i][1].optional_number();
        ids.emplace_back(chains[i][0].number);
    }
    std::sort(ids.begin(), ids.end());
    const Rows state = relevant_state_.run(Arguments().numbers(ids));
    for (std::size_t i = 0; i < state.count; ++i) {
        if (const auto kind = rules::state_kind(state[i][1].text())) {
            groups[state[i][0].number].state[static_cast<std::size_t>(*kind)] = state[i][2].text();
        }
    }
    constexpr auto create = static_cast<std::size_t>(rules::StateKind::create);
    for (std::size_t i = 0; i < event_ids.size(); ++i) {
        if (!group_of[i] || !groups.contains(*group_of[i])) {
            continue;
        }
        complete(groups, *group_of[i]);
        const Group& group = groups[*group_of[i]];
        if (group.progress == Group::Progress::known && !group.state[create].empty()) {
            result[i] = group.state;
        }
    }
    return result;
}

}  // namespace sliding_sync
