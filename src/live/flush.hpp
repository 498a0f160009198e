// When the noted keys of a transaction become rows: before it commits or is prepared.
#pragma once

#include "live/pending_keys.hpp"

namespace sliding_sync {

/// Refreshes all noted keys and forgets them; again and again, since deferred triggers that our own writes
/// set off may note more. Runs in the transaction callback, outside any subtransaction of the user.
void flush_before_commit();

/// Refreshes all noted keys but keeps them noted: what the transaction goes on to change is refreshed again
/// before commit, and a rollback to a savepoint takes nothing away that was needed. For reading one's own
/// writes.
Refreshed flush_now();

/// What the last flush before commit of this session did.
struct LastFlush {
    Refreshed refreshed;
    double microseconds = 0;
    bool any = false;
};
[[nodiscard]] const LastFlush& last_flush() noexcept;

/// Registers the transaction callbacks; once a backend.
void watch_transactions();

}  // namespace sliding_sync
