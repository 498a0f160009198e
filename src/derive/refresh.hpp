// The one entry point of the pipeline: from changed keys to written rows. Triggers, backfill, catch-up and
// repair all come through here; nothing else writes the derived tables.
//
//   refresh()          sorts the keys, as every writer does, and takes the fast path for a plain message;
//                      rooms before memberships
//   refresh_passes()   500 keys each, so that the JSON of one pass fits into memory
//   refresh_pass()     one pass under the failure policy (derive/failure.hpp): a subtransaction; where it
//                      fails, halves, down to the key that loses its row. A row of another key that holds an
//                      ordering which ours must have is taken away, ours written, and the other one made
//                      again: the next round
//   TableRefresh       derive/table_refresh.hpp: the three steps of a pass, each with a snapshot taken after
//                      the step before:
//     1. lock          rows that exist, by their key, waiting for whoever inserts or changes them; of keys
//                      without a row, or with one that this transaction may have inserted, the key itself
//                      (pg/key_locks.hpp)
//     2. compare       reads the facts and derives the rows (derive/compare_joined_rooms.cpp,
//                      derive/compare_memberships.cpp)
//     3. write         what differs: removes, updates, inserts, each one statement
//                      (derive/derived_table.cpp). Where the table has triggers of others, the rows are read
//                      again and compared
//
// Locks: row locks are held until the transaction ends. The lock of a key is released at the end of its pass
// if a row stands there by then, which others meet, and always in recompute mode; else it is held like a row
// lock. With more than one pass of keys in live mode all keys in the same parts of the schema are locked.
//
// Ownership: Changes and what they point into belong to the caller; a RefreshScope lives for one refresh and
// keeps what its passes ask more than once; everything else lives for one pass, inside its SpiConnection.
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

/// Makes the rows of these keys what they should be. Runs as the owner of the derived tables. A failure that
/// the homeserver could not handle removes the rows concerned instead (sliding_sync.on_failure), with a
/// WARNING.
///
/// One policy at every isolation level: a row is locked as it is by now (one that is not there is met in its
/// unique index), then what it is made of is read as it is by now, then it is written. So of two transactions
/// that change what one row is made of, the second one sees what the first has done. Keys are taken in their
/// order, rooms before memberships.
///
/// A recompute reads what other transactions may be changing just now, also where no row is there to be
/// locked. It locks what it reads, so that each of them either comes first, and is seen, or waits for this
/// transaction and then sees its rows.
Refreshed refresh(const Homeserver& homeserver, Changes changes,
                  rules::RefreshMode mode = rules::RefreshMode::live);

/// Removes every derived row: when any of them may be wrong.
Refreshed remove_everything(const Homeserver& homeserver);

}  // namespace sliding_sync
