#include "cli/backfill.hpp"

namespace sliding_sync::cli {

ExitCode run_backfill(const Connector& connector, const Options& options) {
    (void)connector;
    (void)options;
    throw Failure(ExitCode::error, "not yet");
}

}  // namespace sliding_sync::cli
