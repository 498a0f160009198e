// What verify() has found among some hundred keys, and what puts it right.
#pragma once

#include "derive/refresh.hpp"
#include "shared/finding.hpp"

namespace sliding_sync {

/// The findings of a slice, those of a row together, and the slice's keys that have one which a repair can
/// remedy.
struct VerifiedSlice {
    using Membership = std::pair<std::string, std::string>;

    Findings findings;
    std::vector<std::string> rooms;
    std::vector<Membership> memberships;
    std::vector<Membership> impossible;  ///< memberships whose history is not believed
};

/// Makes the rows right that the slice has found wrong.
Refreshed refresh_slice(const Homeserver& homeserver, const VerifiedSlice& slice);

/// Makes the snapshots anew whose history is not believed, and only those.
Refreshed rebuild_history(const Homeserver& homeserver, const VerifiedSlice& slice);

/// Removes the rows that the slice has found wrong, and records them in quarantine, to be made later.
Refreshed remove_slice(const Homeserver& homeserver, const VerifiedSlice& slice);

}  // namespace sliding_sync
