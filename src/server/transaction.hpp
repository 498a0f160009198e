// Subtransactions, and the identity and settings under which the derived tables are written.
#pragma once

#include "guard/boundary.hpp"

namespace sliding_sync {

/// Runs `body` in a subtransaction of its own. Returns nullptr when it went through; otherwise the error, after the
/// subtransaction was rolled back. The only place where a server error may be swallowed (design section 6.4).
/// Errors that the homeserver retries or must see (serialization, deadlock, cancel, shutdown, out of memory) are
/// raised again.
[[nodiscard]] ErrorData* run_in_subtransaction(const std::function<void()>& body);

/// True when statements of one transaction see different snapshots: rows must be locked before they are read.
[[nodiscard]] bool is_read_committed() noexcept;

/// True when the row version with this xmin was written by the running transaction.
[[nodiscard]] bool written_by_this_transaction(std::uint32_t xmin);

/// Writes as the owner of the derived tables for its lifetime, as foreign key checks do: whoever changed the base
/// tables needs no rights on the derived ones, and no code of theirs runs with more rights than they have. A
/// transaction that became read only after its changes may still be completed.
class WriteAs {
public:
    explicit WriteAs(Oid owner) noexcept;
    ~WriteAs();
    WriteAs(const WriteAs&) = delete;
    WriteAs& operator=(const WriteAs&) = delete;

private:
    Oid user_;
    int security_context_;
    bool read_only_;
};

}  // namespace sliding_sync
