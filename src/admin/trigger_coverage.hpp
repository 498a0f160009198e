// Since when nothing can have changed a homeserver's tables without the triggers
// (sliding_sync.trigger_coverage).
#pragma once

#include "guard/boundary.hpp"

namespace sliding_sync {

/// What may have escaped the triggers since every row was last known to be right.
struct TriggerCoverage {
    bool is_known = false;  ///< there is a mark at all
    /// Tables or triggers were made, dropped, altered, rewritten or truncated: derived rows may be anything.
    bool has_changed_tables = true;
    bool has_bypassed_writes = true;  ///< the triggers have noted what they could not act on
    bool has_coverage_gaps =
        true;  ///< something may escape at this moment; the end of it changes tables or triggers

    /// What was right then may be wrong now.
    [[nodiscard]] bool has_gap() const noexcept {
        return !is_known || has_changed_tables || has_bypassed_writes;
    }
};

[[nodiscard]] TriggerCoverage read_trigger_coverage(const std::string& schema);

/// From now on the triggers cover everything: forgets the bypassed writes that are visible now, and remembers
/// the tables as they are. The caller looks at every row afterwards; until then the tables do not count as
/// complete.
void begin_coverage(const std::string& schema);

/// The same where tables that were complete stay so.
void restart_coverage(const std::string& schema);

/// Every row has been looked at. Returns whether everything was watched meanwhile; otherwise nothing is
/// noted.
bool record_complete(const std::string& schema);
void record_caught_up(const std::string& schema);

/// The owner of the extension's own tables: they are written as this role, since no other role may.
[[nodiscard]] Oid bookkeeper();

}  // namespace sliding_sync
