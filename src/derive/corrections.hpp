// What another writer, the homeserver itself, has written into a derived row in the same transaction and the
// flush has corrected: what the triggers are worth (docs/sql-reference.md).
#pragma once

#include "derive/fact_sql.hpp"
#include "shared/finding.hpp"

namespace sliding_sync {

/// Whether a row that this transaction has written is another writer's: none of them is ours yet. Never where
/// the log is switched off.
[[nodiscard]] bool may_note_corrections() noexcept;
/// From now on some are ours.
void note_own_rows() noexcept;
/// The transaction is over.
void forget_own_rows() noexcept;

/// Adds a row for each of them to sliding_sync.corrections, as the owner of that table, in a subtransaction.
/// Does without where that would fail, wait, or may fail the homeserver's transaction: at SERIALIZABLE
/// isolation who reads the log could be the cause. Does nothing when the log is full, switched off or gone.
void log_corrections(const HomeserverSchema& schema, const Findings& corrections);

/// Takes out what is older than thirty days, and the older half of a log that is full.
void prune_corrections();

}  // namespace sliding_sync
