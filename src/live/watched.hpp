// The columns that the fact readers of src/derive use, table by table, and what a change of each concerns.
// What a changed row makes pending follows from them, and from nothing else. C calls only: runs once a row.
#pragma once

#include "live/pending_keys.hpp"
#include "live/row.hpp"

namespace sliding_sync {

/// What reads differently by a change; several may be added together.
using Concerns = unsigned;
constexpr Concerns nothing = 0;
constexpr Concerns its_room = 1U;        ///< the row of the room that the row names
constexpr Concerns its_redaction = 2U;   ///< what the event redacts or rejects, or by what it is redacted
constexpr Concerns its_membership = 4U;  ///< the snapshot that is made of the event
constexpr Concerns what_is_unknown =
    8U;  ///< snapshots of the room that know nothing, and take it from elsewhere

struct WatchedColumn {
    ColumnSpec spec;
    Concerns concerns;
};

template <std::size_t count>
constexpr std::array<ColumnSpec, count> specs_of(const std::array<WatchedColumn, count>& watched) noexcept {
    std::array<ColumnSpec, count> specs{};
    for (std::size_t i = 0; i < count; ++i) {
        specs[i] = watched[i].spec;
    }
    return specs;
}

/// A row that comes or goes is a change of every column; so is one of which not every column can be read.
template <std::size_t count>
Concerns concerns_of(const std::array<WatchedColumn, count>& watched, const Change<count>& change,
                     bool is_complete) {
    Concerns concerns = nothing;
    for (std::size_t i = 0; i < count; ++i) {
        if (!is_complete || !change.before || !change.after || change.after->differs(*change.before, i)) {
            concerns |= watched[i].concerns;
        }
    }
    return concerns;
}

/// Reads the row with the columns of its table. Without the columns that name what it concerns, anything may
/// have changed.
template <const auto& watched, typename Collect>
void read_and_collect(const TriggerData& trigger, PendingKeys& keys, Collect collect) {
    constexpr std::size_t count = std::size(watched);
    static constexpr std::array<ColumnSpec, count> specs = specs_of(watched);
    static constinit ColumnNumbers<count> cache;
    const ColumnNumbers<count>& columns = column_numbers(cache, trigger.tg_relation, specs);
    if (!columns.has_keys) {
        keys.unreadable = true;
        return;
    }
    const Change<count> change = read_change(trigger, columns);
    if (const Concerns concerns = concerns_of(watched, change, columns.is_complete); concerns != nothing) {
        collect(keys, change, concerns, columns.is_complete);
    }
}

template <std::size_t count, typename Note>
void for_each_row(const Change<count>& change, Note note) {
    for (const auto& row : {change.before, change.after}) {
        if (row) {
            note(*row);
        }
    }
}

/// One function for each base table.
void collect_events(const TriggerData& trigger, PendingKeys& keys);
void collect_event_json(const TriggerData& trigger, PendingKeys& keys);
void collect_rejections(const TriggerData& trigger, PendingKeys& keys);
void collect_redactions(const TriggerData& trigger, PendingKeys& keys);
void collect_room_ban_redactions(const TriggerData& trigger, PendingKeys& keys);
void collect_rooms(const TriggerData& trigger, PendingKeys& keys);
void collect_room_memberships(const TriggerData& trigger, PendingKeys& keys);
void collect_current_state_events(const TriggerData& trigger, PendingKeys& keys);
void collect_local_current_membership(const TriggerData& trigger, PendingKeys& keys);

}  // namespace sliding_sync
