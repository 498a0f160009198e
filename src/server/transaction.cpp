#include "server/transaction.hpp"

#include "server/deferred_triggers.hpp"

extern "C" {
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
}

namespace sliding_sync {

namespace {

bool is_swallowed(int sqlstate, Swallow swallow) noexcept {
    switch (sqlstate) {
    case ERRCODE_QUERY_CANCELED:
    case ERRCODE_ADMIN_SHUTDOWN:
    case ERRCODE_CRASH_SHUTDOWN:
    case ERRCODE_OUT_OF_MEMORY:
        return false;
    case ERRCODE_LOCK_NOT_AVAILABLE:
        return swallow.lock_timeouts;
    case ERRCODE_T_R_SERIALIZATION_FAILURE:
        return swallow.conflicts;
    case ERRCODE_T_R_DEADLOCK_DETECTED:
        return swallow.deadlocks;
    default:
        return swallow.failures;
    }
}

// C calls only.
void set(const char* name, const char* value, GucAction until) {
    set_config_option(name, value, superuser() ? PGC_SUSET : PGC_USERSET, PGC_S_SESSION, until, true, 0,
                      false);
}

}  // namespace

std::optional<PgError> run_in_subtransaction(const std::function<void()>& body, Swallow swallow) {
    MemoryContext const context = CurrentMemoryContext;
    ResourceOwner const owner = CurrentResourceOwner;
    call_pg([&] {
        BeginInternalSubTransaction(nullptr);
        MemoryContextSwitchTo(context);
    });
    std::optional<PgError> error;
    std::exception_ptr other;  // not the server's: it goes on, but only after our level is closed
    try {
        body();
    } catch (const PgError& caught) {
        error = caught;
    } catch (...) {
        other = std::current_exception();
    }
    const bool is_done = !error && other == nullptr;
    call_pg([&] {
        if (is_done) {
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
    if (error && !is_swallowed(error->sqlstate(), swallow)) {
        throw PgError(*error);
    }
    return error;
}

void set_local(const char* name, const char* value) {
    call_pg([&] { set(name, value, GUC_ACTION_LOCAL); });
}

OwnSettings::OwnSettings() noexcept : exceptions_(std::uncaught_exceptions()), level_(NewGUCNestLevel()) {}

OwnSettings::~OwnSettings() {
    if (std::uncaught_exceptions() == exceptions_) {
        AtEOXact_GUC(false, level_);
    }
}

MaintenanceMemory::MaintenanceMemory() {
    set_local("work_mem", std::to_string(std::max(work_mem, maintenance_work_mem)).c_str());
}

bool is_read_committed() noexcept {
    return !IsolationUsesXactSnapshot();
}

bool is_serializable() noexcept {
    return IsolationIsSerializable();
}

bool written_by_this_transaction(std::uint32_t xmin) {
    return call_pg([&] { return TransactionIdIsCurrentTransactionId(xmin); });
}

namespace {

int restricting = 0;  // how many restrictions are open

}  // namespace

WriteAs::Restriction::Restriction() noexcept {
    ++restricting;
}

WriteAs::Restriction::~Restriction() {
    --restricting;
}

WriteAs::WriteAs(Oid owner) : read_only_(XactReadOnly) {
    if (!OidIsValid(owner)) {
        throw Error(ERRCODE_UNDEFINED_TABLE, "the homeserver has no derived tables of its own", "",
                    "Call SELECT sliding_sync.attach().");
    }
    GetUserIdAndSecContext(&user_, &security_context_);
    const bool is_own_session = owner == user_ && owner == GetSessionUserId();
    const bool is_within_another = owner == user_ && restricting > 0;
    SetUserIdAndSecContext(owner, security_context_ | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS |
                                      (is_own_session ? 0 : SECURITY_RESTRICTED_OPERATION));
    XactReadOnly = XactReadOnly && RecoveryInProgress();
    if (!is_own_session && !is_within_another) {
        restriction_.emplace();
        set_local("search_path", safe_search_path);
        fire_deferred_triggers_at_once(owner);
    }
}

WriteAs::~WriteAs() {
    SetUserIdAndSecContext(user_, security_context_);
    XactReadOnly = read_only_;
}

bool WriteAs::is_restricting() noexcept {
    return restricting > 0;
}

}  // namespace sliding_sync
