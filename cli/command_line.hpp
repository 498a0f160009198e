// The options as CLI11 knows them: help, man page and completion are made from the same description.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/options.hpp"

namespace sliding_sync::cli {

inline constexpr const char* program_name = "sliding-sync";
inline constexpr const char* version_line = "sliding-sync (sliding_sync) " SLIDING_SYNC_VERSION;

/// The parser writes into `options`.
[[nodiscard]] std::unique_ptr<CLI::App> make_parser(Options& options);

/// What the parser cannot know: which of the words was the database. Raises Failure.
void settle_words(Options& options);

}  // namespace sliding_sync::cli
