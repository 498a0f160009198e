#pragma once

#include <string>

#include "cli/options.hpp"

namespace sliding_sync::cli {

/// The command line for a shell, without --restart and without a password.
[[nodiscard]] std::string command_again(const Options& options);

}  // namespace sliding_sync::cli
