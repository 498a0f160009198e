// Whether a snapshot may tell of a past that nobody can read any more.
#pragma once

#include "cli/offline/comparison.hpp"
#include "shared/finding.hpp"

namespace sliding_sync::cli::offline {

/// Adds findings for those snapshots, of a slice, that a comparison from scratch would not give.
void judge_history(Reader& reader, const MembershipKeys& keys, Findings& findings);

}  // namespace sliding_sync::cli::offline
