#include "server/view.hpp"

#include <exception>

extern "C" {
#include "access/xact.h"
#include "utils/snapmgr.h"
}

namespace sliding_sync {

namespace {

int moments = 0;
int scopes_as_of_now = 0;

}  // namespace

void push_view(View view) {
    switch (view) {
    case View::current:
        if (is_one_moment()) {
            PushActiveSnapshot(GetActiveSnapshot());
            return;
        }
        CommandCounterIncrement();
        PushActiveSnapshot(is_as_of_now() ? GetLatestSnapshot() : GetTransactionSnapshot());
        return;
    case View::before_transaction:
        // Our own changes carry command ids from FirstCommandId up; a snapshot that stops there sees none.
        PushCopiedSnapshot(GetTransactionSnapshot());
        GetActiveSnapshot()->curcid = FirstCommandId;
        return;
    case View::latest:
        CommandCounterIncrement();  // else what the running statement has changed would not count
        PushActiveSnapshot(GetLatestSnapshot());
        return;
    }
}

OneMoment::OneMoment() : exceptions_(std::uncaught_exceptions()) {
    call_pg([] { PushActiveSnapshot(GetTransactionSnapshot()); });
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

AsOfNow::AsOfNow() noexcept {
    ++scopes_as_of_now;
}

AsOfNow::~AsOfNow() {
    --scopes_as_of_now;
}

bool is_as_of_now() noexcept {
    return scopes_as_of_now > 0;
}

}  // namespace sliding_sync
