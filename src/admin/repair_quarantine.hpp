// Tries the keys in quarantine again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace sliding_sync {

struct Repaired {
    std::int64_t repaired = 0;
    std::int64_t remaining = 0;
};

/// Refreshes every key in sliding_sync.quarantine, of one attached homeserver or of all, as if all of its
/// facts had changed, and takes out those that went through, but for notes that another transaction holds on
/// to. A look-up that failed names no key: its note stays until a backfill has looked at all rows. Reads and
/// writes as the owners of the tables concerned; the caller needs no rights on them.
Repaired repair_quarantine(const std::optional<std::string>& schema = std::nullopt);

}  // namespace sliding_sync
