// Subtransactions, and the identity and settings under which the derived tables are written.
#pragma once

#include "guard/boundary.hpp"

namespace sliding_sync {

/// Which errors of a subtransaction are kept from whoever runs the statement. Cancel, shutdown and lack of memory never are.
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

/// Runs `body` in a subtransaction of its own. Returns nothing when it went through; otherwise the error, after the
/// subtransaction was rolled back. The only place where a server error may be swallowed (docs/boundary.md); errors
/// that may not are raised again.
[[nodiscard]] std::optional<PgError> run_in_subtransaction(const std::function<void()>& body,
                                                           Swallow swallow = Swallow::all_but_retries);

/// Sets a setting until the transaction ends.
void set_local(const char* name, const char* value);

/// Under this, no name means anything of somebody else's.
inline constexpr const char* safe_search_path = "pg_catalog, pg_temp";

/// Settings that are made while one is open end with it. Where an exception ends it, the (sub)transaction that is aborted
/// sets them back.
class OwnSettings {
public:
    OwnSettings() noexcept;
    ~OwnSettings();
    OwnSettings(const OwnSettings&) = delete;
    OwnSettings& operator=(const OwnSettings&) = delete;

private:
    int exceptions_;
    int level_;
};

/// Lets sorts and hashes have maintenance_work_mem for its lifetime, as the server does where it checks a new foreign
/// key: for a pass over whole tables.
class MaintenanceMemory {
public:
    MaintenanceMemory();

private:
    OwnSettings settings_;
};

/// True when each statement of the transaction has a snapshot of its own, foreign key checks too.
[[nodiscard]] bool is_read_committed() noexcept;

/// True when the server looks for circles of dependencies: its 40001 must not be swallowed.
[[nodiscard]] bool is_serializable() noexcept;

/// True when the row version with this xmin was written by the running transaction.
[[nodiscard]] bool written_by_this_transaction(std::uint32_t xmin);

/// Reads and writes as the owner of the tables for its lifetime, as foreign key checks do: whoever changed the base tables
/// needs no rights on the derived ones, and no code of theirs runs with more rights than they have. A transaction that
/// became read only after its changes may still be completed.
///
/// Where the session is not the owner's own, the owner's code (triggers, rules, views, policies, index expressions) is kept
/// from the session as in VACUUM and REINDEX: a security-restricted operation under a search_path of its own. It makes no
/// temporary tables, prepared statements or cursors, what it sets is set back, and deferred triggers fire at once.
/// Where an exception ends it, the (sub)transaction that is aborted sets everything back.
class WriteAs {
public:
    explicit WriteAs(Oid owner);
    ~WriteAs();
    WriteAs(const WriteAs&) = delete;
    WriteAs& operator=(const WriteAs&) = delete;

    /// True inside one that is restricted: what is changed there is refreshed at commit, restricted as well.
    [[nodiscard]] static bool is_restricting() noexcept;

private:
    Oid user_ = InvalidOid;
    int security_context_ = 0;
    class Restriction {
    public:
        Restriction() noexcept;
        ~Restriction();
        Restriction(const Restriction&) = delete;
        Restriction& operator=(const Restriction&) = delete;

    private:
        OwnSettings settings_;
    };

    bool read_only_;
    std::optional<Restriction> restriction_;
};

}  // namespace sliding_sync
