// Tries the keys in quarantine again.
#pragma once

#include <cstdint>

namespace sliding_sync {

struct Repaired {
    std::int64_t repaired = 0;
    std::int64_t remaining = 0;
};

/// Refreshes every key in sliding_sync.quarantine, of every attached homeserver, as if all of its facts had changed, and takes out those that went
/// through. A look-up that failed names no key: its note stays until a backfill has looked at all rows. Reads and writes
/// as the owners of the tables concerned; the caller needs no rights on them.
Repaired repair_quarantine();

}  // namespace sliding_sync
