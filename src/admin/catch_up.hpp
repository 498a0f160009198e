// sliding_sync.catch_up(): for a homeserver's start, after a time without the triggers.
#pragma once

#include "admin/attached_homeserver.hpp"

namespace sliding_sync {

enum class CatchUpMode : std::uint8_t {
    repair,  ///< wrong rows are made right at once
    remove,  ///< wrong rows are removed, and noted in quarantine for repair_quarantine() to make them later
};

/// The mode of that name; raises 22023 for any other word.
[[nodiscard]] CatchUpMode parse_catch_up_mode(const std::string& text);

struct CaughtUp {
    bool had_gap = false;           ///< something may have changed without the triggers
    std::int64_t joined_rooms = 0;  ///< wrong, or missing
    std::int64_t memberships = 0;   ///< wrong, or missing
    std::int64_t rows_written = 0;
    std::int64_t quarantined = 0;
};

/// Returns when no wrong row is left. Costs next to nothing when everything has been watched since the last
/// time; otherwise every row is compared. Nothing less would do: a row that was written since, for an event
/// that the triggers saw, is as new as its room, and still has the name that they did not see.
CaughtUp catch_up(const AttachedHomeserver& attached, CatchUpMode mode);

/// Makes the snapshots anew whose history cannot be true; a look at every membership. Returns how many it
/// wrote.
std::int64_t rewrite_history(const AttachedHomeserver& attached);

}  // namespace sliding_sync
