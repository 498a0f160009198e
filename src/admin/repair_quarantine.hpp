// Tries the keys in quarantine again.
#pragma once

#include <cstdint>

namespace sliding_sync {

struct Repaired {
    std::int64_t repaired = 0;
    std::int64_t left_over = 0;
};

/// Refreshes every key in sliding_sync.quarantine as if all of its facts had changed, and takes out those that went
/// through. A look-up that failed names no key: it stays until a verify has looked at all rows. Runs as the caller,
/// who needs DELETE on the table; the rows are written as the owner of the derived tables.
Repaired repair_quarantine();

}  // namespace sliding_sync
