// The one entry point of the pipeline: from changed keys to written rows. Triggers, backfill, catch-up and repair all
// come through here; nothing else writes the derived tables.
#pragma once

#include "derive/compare.hpp"

namespace sliding_sync {

struct Refreshed {
    std::uint64_t joined_rooms = 0;  ///< rooms looked at
    std::uint64_t memberships = 0;   ///< memberships looked at
    std::uint64_t rows_written = 0;  ///< rows inserted, updated or deleted
    std::uint64_t quarantined = 0;   ///< keys that went into quarantine

    Refreshed& operator+=(const Refreshed& other) noexcept;
};

/// Makes the rows of these keys what they should be. Runs as the owner of the derived tables. A failure that the
/// homeserver could not handle removes the rows concerned instead (sliding_sync.on_failure), with a WARNING.
///
/// One policy at every isolation level: a row is locked as it is by now (one that is not there is met in its unique index),
/// then what it is made of is read as it is by now, then it is written. So of two transactions that change what one row is
/// made of, the second one sees what the first has done. Keys are taken in their order, rooms before memberships.
///
/// A recompute reads what other transactions may be changing just now, also where no row is there to be locked. It locks what
/// it reads, so that each of them either comes first, and is seen, or waits for this transaction and then sees its rows.
Refreshed refresh(const Homeserver& homeserver, Changes changes,
                  rules::RefreshMode mode = rules::RefreshMode::live);

/// Removes every derived row: when any of them may be wrong.
Refreshed remove_everything(const Homeserver& homeserver);

}  // namespace sliding_sync
