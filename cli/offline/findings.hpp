// Differences in the words and columns of sliding_sync.verify().
#pragma once

#include "cli/database.hpp"
#include "shared/finding.hpp"

namespace sliding_sync::cli::offline {

/// Rows as verify() returns them.
[[nodiscard]] Rows rows_of(const Findings& findings);

}  // namespace sliding_sync::cli::offline
