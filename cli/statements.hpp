// The SQL behind each command, and what it locks.
#pragma once

#include <string>
#include <vector>

#include "cli/options.hpp"

namespace sliding_sync::cli {

/// Backfill sends its statement in each of its sessions.
[[nodiscard]] std::string statement_of(const Options& options);

/// In words, one a line: what it locks, how long, and whom that keeps waiting.
[[nodiscard]] std::vector<std::string> locks_of(const std::string& command);

/// Commands that need program, library and SQL of the same version; the others may be what one looks with.
[[nodiscard]] bool needs_same_version(const std::string& command);

}  // namespace sliding_sync::cli
