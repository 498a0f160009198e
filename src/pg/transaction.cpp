#include "pg/transaction.hpp"

extern "C" {
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/resowner.h"
}

namespace sliding_sync {

namespace {

bool is_swallowed(const PgError& error, Swallow swallow) noexcept {
    if (error.is_raised_by_code()) {
        return swallow.failures;
    }
    switch (error.sqlstate()) {
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

bool has_lock_timed_out = false;

void set(PgFrame, const char* name, const char* value, GucAction until) {
    set_config_option(name, value, superuser() ? PGC_SUSET : PGC_USERSET, PGC_S_SESSION, until, true, 0,
                      false);
}

void wait_at_most(const OwnSettings& settings, int milliseconds) {
    settings.set("lock_timeout", std::to_string(milliseconds).c_str());
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
    const bool is_detail_hidden = hide_detail(false);
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
        hide_detail(is_detail_hidden);
        std::rethrow_exception(other);
    }
    if (error && !is_swallowed(*error, swallow)) {
        hide_detail(is_detail_hidden);
        throw PgError(*error);
    }
    // without lock_timeout the code of a function has asked for the lock NOWAIT
    if (error && error->sqlstate() == ERRCODE_LOCK_NOT_AVAILABLE && LockTimeout > 0) {
        has_lock_timed_out = true;
    }
    return error;
}

NoSecondWait::NoSecondWait(bool is_wanted) {
    if (is_wanted && has_lock_timed_out && LockTimeout > 0) {
        wait_at_most(settings_.emplace(), 1);
    }
}

ShortWaits::ShortWaits() {
    constexpr int longest = 300;  // as a batch of a backfill
    wait_at_most(settings_, LockTimeout > 0 ? std::min(LockTimeout, longest) : longest);
}

UnlimitedWaits::UnlimitedWaits(bool is_wanted) noexcept : lock_timeout_(LockTimeout) {
    LockTimeout = is_wanted ? 0 : LockTimeout;
}

UnlimitedWaits::~UnlimitedWaits() {
    LockTimeout = lock_timeout_;
}

void forget_lock_timeouts() noexcept {
    has_lock_timed_out = false;
}

void set_local(const char* name, const char* value) {
    call_pg([&](PgFrame frame) { set(frame, name, value, GUC_ACTION_LOCAL); });
}

OwnSettings::OwnSettings() noexcept : exceptions_(std::uncaught_exceptions()), level_(NewGUCNestLevel()) {}

void OwnSettings::set(const char* name, const char* value) const {
    call_pg([&](PgFrame frame) { sliding_sync::set(frame, name, value, GUC_ACTION_SAVE); });
}

OwnSettings::~OwnSettings() {
    if (std::uncaught_exceptions() == exceptions_) {
        AtEOXact_GUC(false, level_);
    }
}

MaintenanceMemory::MaintenanceMemory() {
    settings_.set("work_mem", std::to_string(std::max(work_mem, maintenance_work_mem)).c_str());
}

// A level of settings costs what a look-up does: only who has asked for worse pays it.
KeptPlans::KeptPlans() {
    if (plan_cache_mode == PLAN_CACHE_MODE_FORCE_CUSTOM_PLAN) {
        settings_.emplace().set("plan_cache_mode", "auto");
    }
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

}  // namespace sliding_sync
