// What another writer, the homeserver itself, has written into a derived row in the same transaction and the
// flush has corrected: what the triggers are worth (docs/sql-reference.md).
#pragma once

#include "derive/fact_sql.hpp"
#include "shared/finding.hpp"

namespace sliding_sync {

/// Adds a row for each of them to sliding_sync.corrections, as the owner of that table, in a subtransaction.
/// Does without where that would fail, wait, or may fail the homeserver's transaction: at SERIALIZABLE
/// isolation who reads the log could be the cause. Does nothing when the log is full, switched off or gone.
void log_corrections(const HomeserverSchema& schema, const Findings& corrections);

/// Takes out what is older than thirty days, and the older half of a log that is full.
void prune_corrections();

}  // namespace sliding_sync
