// What happens when a step of the street fails (design section 4).
#pragma once

#include "guard/boundary.hpp"

namespace sliding_sync {

/// Runs `work` in a subtransaction. What fails there, and could not be handled by the homeserver, costs the derived
/// rows concerned and not its transaction: `remove` takes them away, and a WARNING tells why. An absent row is filled
/// by the next change or by a backfill; a wrong one would be believed. The error is raised with
/// sliding_sync.on_failure = error, when it must reach the client, and when not even the removal works.
void or_remove(const std::function<void()>& work, const std::function<void()>& remove);

}  // namespace sliding_sync
