#include "pg/snapshot.hpp"

#include <exception>

extern "C" {
#include "access/xact.h"
#include "utils/snapmgr.h"
}

namespace sliding_sync {

namespace {

int moments = 0;

}  // namespace

void push_snapshot(PgFrame, SnapshotKind view) {
    if (view == SnapshotKind::current && has_fixed_snapshot()) {
        PushActiveSnapshot(GetActiveSnapshot());
        return;
    }
    CommandCounterIncrement();  // else what the running statement has changed would not count
    PushCopiedSnapshot(view == SnapshotKind::transaction ? GetTransactionSnapshot() : GetLatestSnapshot());
    if (view == SnapshotKind::before_transaction) {
        // Our own changes carry command ids from FirstCommandId up; a snapshot that stops there sees none.
        GetActiveSnapshot()->curcid = FirstCommandId;
    }
}

FixedSnapshot::FixedSnapshot() : exceptions_(std::uncaught_exceptions()) {
    call_pg([] { PushActiveSnapshot(GetLatestSnapshot()); });
    ++moments;
}

FixedSnapshot::~FixedSnapshot() {
    Assert(moments > 0);
    --moments;
    if (std::uncaught_exceptions() == exceptions_) {
        PopActiveSnapshot();
    }
}

bool has_fixed_snapshot() noexcept {
    return moments > 0;
}

}  // namespace sliding_sync
