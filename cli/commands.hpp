#pragma once

#include "cli/exit_code.hpp"
#include "cli/options.hpp"

namespace sliding_sync::cli {

/// Does what the command line asked for. Raises Failure, ServerError, ConnectionLost.
[[nodiscard]] ExitCode run_command(const Options& options);

}  // namespace sliding_sync::cli
