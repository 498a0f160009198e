// Differences in the words and columns of sliding_sync.verify().
#pragma once

#include "cli/offline/comparison.hpp"

namespace sliding_sync::cli::offline {

/// Rows as verify() returns them.
[[nodiscard]] Rows no_findings();

/// True when something was added.
bool add_findings(Rows& findings, const RoomComparison& room);
bool add_findings(Rows& findings, const MembershipComparison& membership);
void add_history_findings(Rows& findings, const MembershipComparison& from_scratch, bool is_possible);
void add_source_conflict(Rows& findings, const MembershipComparison& membership);

}  // namespace sliding_sync::cli::offline
