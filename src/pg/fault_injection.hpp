// Statements that fail on purpose: how tests reach every step of the failure policy
// (sliding_sync.inject_fault).
#pragma once

#include "guard/boundary.hpp"

namespace sliding_sync {

/// Whether sliding_sync.inject_fault names anything at all.
[[nodiscard]] bool is_injecting_faults() noexcept;

/// Raises if sliding_sync.inject_fault means the statement of this name. The setting is "name" or
/// "name:SQLSTATE", with "*" for every name, and "!" before it to reach last resorts.
void inject_fault(PgFrame frame, const char* name);

/// While one is open, statements are the last resort after a failure: sliding_sync.inject_fault reaches them
/// only with a "!" before the name, so that tests can tell a step that fails from a remedy that fails.
class LastResort {
public:
    LastResort() noexcept;
    ~LastResort();
    LastResort(const LastResort&) = delete;
    LastResort& operator=(const LastResort&) = delete;
};

}  // namespace sliding_sync
