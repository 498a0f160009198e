// The SQL behind each command, and what it locks.
#pragma once

#include <string>
#include <vector>

#include "cli/options.hpp"

namespace sliding_sync::cli {

/// Of backfill both, the second one with a variable of psql.
[[nodiscard]] std::string statement_of(const Options& options);

/// Tells which run this is, and then each session works on it.
[[nodiscard]] std::string begin_backfill_statement(const Options& options);
[[nodiscard]] std::string backfill_statement(const Options& options, std::string_view run_id);

/// In words, one a line: what it locks, how long, and whom that keeps waiting.
[[nodiscard]] std::vector<std::string> locks_of(const std::string& command);

/// Commands that need program, library and SQL of the same version; the others may be what one looks with.
[[nodiscard]] bool needs_same_version(const std::string& command);

}  // namespace sliding_sync::cli
