// Filling both tables: sessions that share one run, and what is seen of them meanwhile.
#pragma once

#include "cli/session.hpp"

namespace sliding_sync::cli {

[[nodiscard]] ExitCode run_backfill(const Connector& connector, const Options& options);

}  // namespace sliding_sync::cli
