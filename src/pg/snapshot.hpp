// Which rows are seen: the snapshots that statements and readers work with.
#pragma once

#include "guard/boundary.hpp"

namespace sliding_sync {

/// Which rows a statement sees. Both are of this moment at every isolation level: a derived row must be right
/// when this transaction commits, and then it stands beside what others have committed by now. What a
/// transaction at REPEATABLE READ saw when it began matters only to the checks of its own foreign keys.
enum class SnapshotKind {
    current,             ///< everything committed by now, and this transaction's own changes
    before_transaction,  ///< the same without this transaction's own changes: read-only
    transaction,         ///< what the transaction's own statements see: read-only
};

/// Makes what the view sees the active snapshot, until PopActiveSnapshot.
void push_snapshot(PgFrame frame, SnapshotKind view);

/// While one is open, every statement reads the same moment: several of them together tell the truth although
/// other transactions commit between them. Reads only; opened outside any SpiConnection.
class FixedSnapshot {
public:
    FixedSnapshot();
    ~FixedSnapshot();
    FixedSnapshot(const FixedSnapshot&) = delete;
    FixedSnapshot& operator=(const FixedSnapshot&) = delete;

private:
    int exceptions_;
};

[[nodiscard]] bool has_fixed_snapshot() noexcept;

}  // namespace sliding_sync
