// The one entrance of the street: from changed keys to written rows. Triggers, backfill, catch-up and repair all
// come through here; nothing else writes the derived tables.
#pragma once

#include "derive/compare.hpp"

namespace sliding_sync {

struct Refreshed {
    std::uint64_t joined_rooms = 0;  ///< rooms looked at
    std::uint64_t memberships = 0;   ///< memberships looked at
    std::uint64_t rows_written = 0;  ///< rows inserted, updated or deleted
    std::uint64_t failed = 0;        ///< keys that went into quarantine

    Refreshed& operator+=(const Refreshed& other) noexcept;
};

/// Makes the rows of these keys what they should be. Runs as the owner of the derived tables. A failure that the
/// homeserver could not handle removes the rows concerned instead (sliding_sync.on_failure), with a WARNING.
///
/// A recall reads what other transactions may be changing just now. It locks what it reads, so that each of them either
/// comes first, and is seen, or waits for this transaction and then sees its rows or is told to try again.
Refreshed refresh(Homeserver& homeserver, Changes changes,
                  rules::Occasion occasion = rules::Occasion::change);

/// A transaction that reads one moment does not see a row which somebody else, a backfill for instance, has made since
/// from what the transaction is about to change. It would leave that row behind, wrong, or fail on a foreign key: so it
/// has to be tried again (40001) when such rows `exist`.
void refuse_hidden_rows(bool exist);

/// Removes every derived row: when nobody can tell any more which of them are right.
Refreshed remove_everything(Homeserver& homeserver);

}  // namespace sliding_sync
