// Changes that the triggers see but must not act on: they are only noted to have happened, so that catch_up()
// and ready() know of them without looking at every row.
#pragma once

#include "guard/boundary.hpp"

extern "C" {
#include "utils/rel.h"
}

namespace sliding_sync {

enum class BypassReason : std::uint8_t {
    disabled,  ///< sliding_sync.enabled is off
    replica,   ///< session_replication_role is replica: rows arrive as they are elsewhere
    moved,     ///< the table has another name, schema or owner than a homeserver's, and may come back
    deleted,   ///< rows of a derived table that should be there
};

/// Once a row: nothing but a comparison after the first of a table. Plain C in style; may be left by longjmp.
void record_bypassed_write(Oid table, BypassReason reason);

[[nodiscard]] bool has_bypassed_writes() noexcept;

/// Before commit: leaves a row in sliding_sync.bypassed_writes, or a new version of one that is there
/// already, for catch_up() must not take that one away before it can see this transaction's changes. A table
/// that was moved counts if it was a homeserver's when rows were last known to be right, and not because
/// somebody put our trigger on it. What fails costs a WARNING, and not the transaction.
void write_bypassed_writes();

void forget_bypassed_writes() noexcept;

}  // namespace sliding_sync
