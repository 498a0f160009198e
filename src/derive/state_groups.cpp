#include "derive/state_groups.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

namespace {

// Most groups differ from the one before by one membership: what an index entry holds is all that is
// read of them.
constexpr std::size_t few_differences = 8;

// Of types and state keys.
bool has_relevant_state(const Rows& rows) noexcept {
    for (std::size_t i = 0; i < rows.count; ++i) {
        if (rows[i][1].text().empty() && rules::state_kind(rows[i][0].text())) {
            return true;
        }
    }
    return false;
}

}  // namespace

StateGroups::StateGroups(const HomeserverSchema& s)
    : is_here_(s.has_state_groups), groups_of_events_("groups_of_events", s, "event_to_state_groups",
                                                      {{"event_id", TEXTOID}}, {"state_group"}),
      groups_("state_groups", s, "state_groups", {{"id", INT8OID}}, {}),
      edges_("state_group_edges", s, "state_group_edges", {{"state_group", INT8OID}}, {"prev_state_group"}),
      differences_("state_group_differences", s, "state_groups_state", {{"state_group", INT8OID}},
                   {"type", "state_key"}),
      // A handful of rows: one look from the first to the last of the types costs less than one a type ...
      state_of_differences_("state_of_differences", s, "state_groups_state",
                            {{"state_group", INT8OID},
                             {"type", TEXTOID, KeyComparison::at_least},
                             {"type", TEXTOID, KeyComparison::at_most},
                             {"state_key", TEXTOID}},
                            {"type", "event_id"}),
      // ... but not here, among everything that the room had then, its members too.
      state_of_roots_("state_of_roots", s, "state_groups_state",
                      {{"state_group", INT8OID}, {"type", TEXTOID}, {"state_key", TEXTOID}},
                      {"type", "event_id"}) {}

// Where the group hangs, and what it holds itself. A purge can leave the edge of a group behind: what then
// hangs on it must not be believed, so that there is a group at all is known from its rows, or looked up.
void StateGroups::read(LookupScope& scope, std::int64_t id, Group& group) {
    const Rows edges = edges_.find(scope, {id});
    for (std::size_t i = 0; i < edges.count; ++i) {
        group.previous = std::max(group.previous, edges[i][0].optional_number());
    }
    bool is_there = false;
    const auto take = [&](const Rows& rows) {
        is_there = is_there || rows.count > 0;
        for (std::size_t i = 0; i < rows.count; ++i) {
            if (const auto kind = rules::state_kind(rows[i][0].text())) {
                group.state[static_cast<std::size_t>(*kind)] = rows[i][1].text();
            }
        }
    };
    constexpr auto& types = rules::relevant_state_types;
    if (!group.previous) {
        for (const std::string_view type : types) {
            take(state_of_roots_.find(scope, {id, type, ""}));
        }
    } else if (const Rows first = differences_.find(scope, {id}, few_differences); first.count > 0) {
        is_there = true;
        if (first.count == few_differences || has_relevant_state(first)) {
            take(state_of_differences_.find(scope, {id, types.front(), types.back(), ""}));
        }
    }
    if (!is_there && groups_.find(scope, {id}).count == 0) {
        group.progress = Group::Progress::broken;
    }
}

std::vector<std::optional<StateEventIds>> StateGroups::after(std::span<const std::string_view> event_ids) {
    std::vector<std::optional<StateEventIds>> result(event_ids.size());
    if (!is_here_) {
        return result;
    }
    LookupScope scope;
    rules::StateGroups<std::string_view> groups;
    const auto read_group = [&](std::int64_t id, Group& group) { read(scope, id, group); };
    for (std::size_t i = 0; i < event_ids.size(); ++i) {
        const Rows rows = groups_of_events_.find(scope, {event_ids[i]});
        if (rows.count == 0) {
            continue;
        }
        result[i] = rules::whole_state(rules::complete_group(groups, rows[0][0].number, read_group));
    }
    return result;
}

}  // namespace sliding_sync
