#include "derive/state_groups.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

struct StateGroups::Group {
    std::optional<std::int64_t> previous;
    StateEventIds state{};
    enum class Progress : std::uint8_t { unread, open, known, broken } progress = Progress::unread;
};

// Completes the group's state from the chain before it. Deep chains are no reason to recurse, and one that bites its
// own tail ends where it does.
void StateGroups::complete(Groups& groups, std::int64_t id) {
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

StateGroups::StateGroups(const HomeserverSchema& s)
    : is_here_(s.has_state_groups),
      groups_of_events_(
          "groups_of_events",
          sql_text("SELECT k.n, g.state_group FROM pg_catalog.unnest($1) WITH ORDINALITY k(event_id, n) "
                   "JOIN %S.event_to_state_groups g ON g.event_id %= k.event_id",
                   s.name),
          {TEXTARRAYOID}),
      predecessors_("state_group_predecessors",
                    // of several predecessors the highest wins, as readers of the homeserver have it
                    sql_text("SELECT g.id, (SELECT e.prev_state_group FROM %S.state_group_edges e "
                             "WHERE e.state_group %= g.id ORDER BY e.prev_state_group DESC LIMIT 1) "
                             "FROM pg_catalog.unnest($1) k(id) JOIN %S.state_groups g ON g.id %= k.id",
                             s.name),
                    {INT8ARRAYOID}),
      state_of_differences_(
          "state_of_differences",
          // A handful of rows each: one look from the first to the last of the types costs less than one a type.
          sql_text(
              "SELECT s.state_group, s.type, s.event_id FROM pg_catalog.unnest($1) k(id) CROSS JOIN LATERAL "
              "(SELECT * FROM %S.state_groups_state x WHERE x.state_group %= k.id AND x.state_key %= '' "
              "AND x.type %>= '" +
                  std::string(rules::relevant_state_types.front()) + "' AND x.type %<= '" +
                  std::string(rules::relevant_state_types.back()) + "' OFFSET 0) s",
              s.name),
          {INT8ARRAYOID}),
      state_of_roots_("state_of_roots",
                      // everything that the room had then, its members among it
                      sql_text("SELECT s.state_group, s.type, s.event_id FROM pg_catalog.unnest($1) k(id) "
                               "CROSS JOIN LATERAL (SELECT * FROM %S.state_groups_state x "
                               "WHERE x.state_group %= k.id AND x.state_key %= '' AND x.type %= ANY (" +
                                   relevant_types_array() + ") OFFSET 0) s",
                               s.name),
                      {INT8ARRAYOID}) {}

// Goes back along all chains at once, a link each time, until there is nothing that has not been read.
void StateGroups::read_chains(Groups& groups, std::vector<std::optional<std::int64_t>> ids) {
    while (!ids.empty()) {
        std::sort(ids.begin(), ids.end());
        ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
        const Rows rows = predecessors_.run(Arguments().numbers(ids));
        ids.clear();
        for (std::size_t i = 0; i < rows.count; ++i) {
            groups[rows[i][0].number].previous = rows[i][1].optional_number();
        }
        for (std::size_t i = 0; i < rows.count; ++i) {
            if (!rows[i][1].is_null && !groups.contains(rows[i][1].number)) {
                ids.emplace_back(rows[i][1].number);
            }
        }
    }
}

void StateGroups::read_state(Groups& groups) {
    std::vector<std::optional<std::int64_t>> differences;
    std::vector<std::optional<std::int64_t>> roots;
    for (const auto& [id, group] : groups) {
        (group.previous ? differences : roots).emplace_back(id);
    }
    const auto read = [&](Statement& statement, std::vector<std::optional<std::int64_t>>& ids) {
        std::sort(ids.begin(), ids.end());
        const Rows rows = statement.run(Arguments().numbers(ids));
        for (std::size_t i = 0; i < rows.count; ++i) {
            if (const auto kind = rules::state_kind(rows[i][1].text())) {
                groups[rows[i][0].number].state[static_cast<std::size_t>(*kind)] = rows[i][2].text();
            }
        }
    };
    read(state_of_differences_, differences);
    read(state_of_roots_, roots);
}

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
    Groups groups;
    read_chains(groups, std::move(ids));
    read_state(groups);
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
