// The state of a room after an event, from the homeserver's state groups
// (docs/rules.md#state-after-an-event).
#pragma once

#include "derive/fact_sql.hpp"
#include "pg/table_reader.hpp"
#include "rules/state_groups.hpp"

namespace sliding_sync {

/// The ids of a room's relevant state events by StateKind; empty where the state has no such event.
using StateEventIds = std::array<std::string_view, rules::state_kind_count>;

/// State groups form chains: each holds what changed against the one before it, the first one of a chain
/// everything. Chains may be of any depth, and an administrator's tools rewrite them.
class StateGroups {
public:
    explicit StateGroups(const HomeserverSchema& schema);

    /// In the order of the events, inside an open SpiConnection. Nothing where it is not known: an event
    /// without a state group, a chain with a missing link, a state without the room's create event (it was
    /// stored incompletely), or a state store in another database. Each group is read once for all events.
    std::vector<std::optional<StateEventIds>> after(std::span<const std::string_view> event_ids);

private:
    using Group = rules::StateGroup<std::string_view>;

    void read(LookupScope& scope, std::int64_t id, Group& group);

    bool is_here_;
    TableReader groups_of_events_;
    TableReader groups_;
    TableReader edges_;
    TableReader differences_;
    TableReader state_of_differences_;
    TableReader state_of_roots_;
};

}  // namespace sliding_sync
