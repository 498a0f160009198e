// Whether a snapshot may tell of a past that nobody can read any more.
#pragma once

#include "cli/offline/findings.hpp"

namespace sliding_sync::cli::offline {

/// Adds findings for those snapshots, of a slice, that a comparison from scratch would not give.
void judge_history(Reader& reader, const MembershipKeys& keys, Rows& findings);

}  // namespace sliding_sync::cli::offline
