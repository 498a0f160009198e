#include "server/row_lock.hpp"

extern "C" {
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
}

namespace sliding_sync {

namespace {

// C calls only: runs inside call_pg.
void lock_newest_version(const RowPlace& row) {
    Relation const table = table_open(static_cast<Oid>(row.table), RowShareLock);
    TupleTableSlot* const newest = table_slot_create(table, nullptr);
    ItemPointerData place;
    ItemPointerSet(&place, static_cast<BlockNumber>(row.place >> 16),
                   static_cast<OffsetNumber>(row.place & 0xFFFF));
    PushActiveSnapshot(GetLatestSnapshot());
    TM_FailureData failure;
    // the answers that are left are "gone" and "changed by this very command", which holds it already
    (void)table_tuple_lock(table, &place, GetActiveSnapshot(), newest, GetCurrentCommandId(true),
                           LockTupleNoKeyExclusive, LockWaitBlock, TUPLE_LOCK_FLAG_FIND_LAST_VERSION,
                           &failure);
    PopActiveSnapshot();
    ExecDropSingleTupleTableSlot(newest);
    table_close(table, NoLock);
}

}  // namespace

void lock_newest_versions(std::span<const RowPlace> rows) {
    call_pg([&] {
        CommandCounterIncrement();
        for (const RowPlace& row : rows) {
            lock_newest_version(row);
        }
    });
}

}  // namespace sliding_sync
