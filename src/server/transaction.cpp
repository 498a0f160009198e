#include "server/transaction.hpp"

extern "C" {
#include "access/xact.h"
#include "access/xlog.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
}

namespace sliding_sync {

namespace {

bool must_reach_the_client(int sqlstate) noexcept {
    return sqlstate == ERRCODE_T_R_SERIALIZATION_FAILURE || sqlstate == ERRCODE_T_R_DEADLOCK_DETECTED ||
           sqlstate == ERRCODE_QUERY_CANCELED || sqlstate == ERRCODE_ADMIN_SHUTDOWN ||
           sqlstate == ERRCODE_CRASH_SHUTDOWN || sqlstate == ERRCODE_OUT_OF_MEMORY;
}

}  // namespace

ErrorData* run_in_subtransaction(const std::function<void()>& body) {
    MemoryContext const context = CurrentMemoryContext;
    ResourceOwner const owner = CurrentResourceOwner;
    call_pg([&] {
        BeginInternalSubTransaction(nullptr);
        MemoryContextSwitchTo(context);
    });
    ErrorData* error = nullptr;
    std::exception_ptr other;  // not the server's: it goes on, but only after our level is closed
    try {
        body();
    } catch (const PgError& caught) {
        error = caught.data();
    } catch (...) {
        other = std::current_exception();
    }
    call_pg([&] {
        if (error == nullptr && other == nullptr) {
            ReleaseCurrentSubTransaction();
        } else {
            RollbackAndReleaseCurrentSubTransaction();
        }
        MemoryContextSwitchTo(context);
        CurrentResourceOwner = owner;
    });
    if (other != nullptr) {
        std::rethrow_exception(other);
    }
    if (error != nullptr && must_reach_the_client(error->sqlerrcode)) {
        throw PgError(error);
    }
    return error;
}

bool is_read_committed() noexcept {
    return !IsolationUsesXactSnapshot();
}

bool written_by_this_transaction(std::uint32_t xmin) {
    return call_pg([&] { return TransactionIdIsCurrentTransactionId(xmin); });
}

WriteAs::WriteAs(Oid owner) noexcept : read_only_(XactReadOnly) {
    GetUserIdAndSecContext(&user_, &security_context_);
    SetUserIdAndSecContext(owner, security_context_ | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
    XactReadOnly = XactReadOnly && RecoveryInProgress();
}

WriteAs::~WriteAs() {
    SetUserIdAndSecContext(user_, security_context_);
    XactReadOnly = read_only_;
}

}  // namespace sliding_sync
