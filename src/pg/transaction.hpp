// Subtransactions, settings that end with them, and what is known of the running transaction.
#pragma once

#include "guard/boundary.hpp"

namespace sliding_sync {

/// Which errors of a subtransaction are kept from the statement's user. Cancel, shutdown and lack of memory
/// never are.
struct Swallow {
    bool failures;       ///< everything that is none of the others
    bool lock_timeouts;  ///< 55P03
    bool conflicts;      ///< 40001
    bool deadlocks;      ///< 40P01
    static const Swallow
        all_but_retries;  ///< what a homeserver does not answer by doing its transaction again
    static const Swallow all_but_cancel;  ///< there is another way
    static const Swallow contention;      ///< only what another transaction is the cause of
};
inline constexpr Swallow Swallow::all_but_retries{true, true, false, false};
inline constexpr Swallow Swallow::all_but_cancel{true, true, true, true};
inline constexpr Swallow Swallow::contention{false, true, true, true};

/// Runs `body` in a subtransaction of its own. Returns nothing when it went through; otherwise the error,
/// after the subtransaction was rolled back. The only place where a server error may be swallowed
/// (docs/boundary.md); errors that may not are raised again.
[[nodiscard]] std::optional<PgError> run_in_subtransaction(const std::function<void()>& body,
                                                           Swallow swallow = Swallow::all_but_retries);

/// Settings that are made while one is open end with it. Where an exception ends it, the (sub)transaction
/// that is aborted sets them back.
class OwnSettings {
public:
    OwnSettings() noexcept;
    ~OwnSettings();
    OwnSettings(const OwnSettings&) = delete;
    OwnSettings& operator=(const OwnSettings&) = delete;

    /// Until it ends. Never by assigning the server's variable: where code of others sets it meanwhile, what
    /// the server goes back to would be ours, for the rest of the session.
    void set(const char* name, const char* value) const;

private:
    int exceptions_;
    int level_;
};

/// For its lifetime no lock is waited for longer than a millisecond, if one could not be had within
/// lock_timeout before in this transaction: a locked table costs it one wait, and not one for each of its
/// keys.
class NoSecondWait {
public:
    explicit NoSecondWait(bool is_wanted = true);

private:
    std::optional<OwnSettings> settings_;
};

/// For its lifetime a lock is waited for so long at most: shorter than deadlock_timeout, so that we are no
/// victim of a deadlock and make no other transaction one.
class ShortWaits {
public:
    ShortWaits();

private:
    OwnSettings settings_;
};

/// For its lifetime, in which no code of others runs, lock_timeout does not count.
class UnlimitedWaits {
public:
    explicit UnlimitedWaits(bool is_wanted) noexcept;
    ~UnlimitedWaits();
    UnlimitedWaits(const UnlimitedWaits&) = delete;
    UnlimitedWaits& operator=(const UnlimitedWaits&) = delete;

private:
    int lock_timeout_;
};

/// The transaction is over: the next one waits again.
void forget_lock_timeouts() noexcept;

/// Sets a setting until the transaction ends.
void set_local(const char* name, const char* value);

/// Under this, no name means an object of another schema.
inline constexpr const char* safe_search_path = "pg_catalog, pg_temp";

/// Lets sorts and hashes have maintenance_work_mem for its lifetime, as the server does where it checks a new
/// foreign key: for a pass over whole tables.
class MaintenanceMemory {
public:
    MaintenanceMemory();

private:
    OwnSettings settings_;
};

/// Plans that are kept are used for its lifetime, also where plan_cache_mode, which may be set for a role or
/// a database, asks the server to plan each execution anew.
class KeptPlans {
public:
    KeptPlans();

private:
    std::optional<OwnSettings> settings_;
};

/// True when each statement of the transaction has a snapshot of its own, foreign key checks too.
[[nodiscard]] bool is_read_committed() noexcept;

/// True when the server looks for circles of dependencies: its 40001 must not be swallowed.
[[nodiscard]] bool is_serializable() noexcept;

/// True when the row version with this xmin was written by the running transaction.
[[nodiscard]] bool written_by_this_transaction(std::uint32_t xmin);

}  // namespace sliding_sync
