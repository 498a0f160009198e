#include "server/view.hpp"

#include <exception>

extern "C" {
#include "access/xact.h"
#include "utils/snapmgr.h"
}

namespace sliding_sync {

namespace {

int moments = 0;

}  // namespace

void push_view(View view) {
    if (view == View::current && is_one_moment()) {
        PushActiveSnapshot(GetActiveSnapshot());
        return;
    }
    CommandCounterIncrement();  // else what the running statement has changed would not count
    PushCopiedSnapshot(view == View::transaction ? GetTransactionSnapshot() : GetLatestSnapshot());
    if (view == View::before_transaction) {
        // Our own changes carry command ids from FirstCommandId up; a snapshot that stops there sees none.
        GetActiveSnapshot()->curcid = FirstCommandId;
    }
}

OneMoment::OneMoment() : exceptions_(std::uncaught_exceptions()) {
    call_pg([] { PushActiveSnapshot(GetLatestSnapshot()); });
    ++moments;
}

OneMoment::~OneMoment() {
    --moments;
    if (std::uncaught_exceptions() == exceptions_) {
        PopActiveSnapshot();
    }
}

bool is_one_moment() noexcept {
    return moments > 0;
}

}  // namespace sliding_sync
