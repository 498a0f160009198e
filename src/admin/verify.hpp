// sliding_sync.verify(): what is wrong in the derived tables, without touching them.
#pragma once

#include "admin/attached_homeserver.hpp"
#include "admin/finding.hpp"
#include "admin/run_log.hpp"

namespace sliding_sync {

struct VerifyOptions {
    AttachedHomeserver homeserver;
    RunScope scope;
    std::optional<std::string> room;    ///< this room and its memberships only
    std::optional<std::string> member;  ///< memberships of this user only
    double sample = 1;                  ///< share of the keys to look at, chosen by chance
    bool history = true;                ///< also judge what snapshots say of the past
};

/// The findings of a slice, those of a row together, and the slice's keys that have one which a repair can remedy.
struct VerifiedSlice {
    Findings findings;
    std::vector<std::string> rooms;
    std::vector<std::pair<std::string, std::string>> memberships;
    std::vector<std::pair<std::string, std::string>>
        impossible;  ///< memberships whose history is not believed
};

/// Looks at slice after slice, each at one moment, so that no transaction seen half can look like an error; works on a
/// standby as well. `report` gets each slice that has findings. The statement that calls it keeps its own view of the database until the
/// end, as every statement does: on a busy homeserver verify ranges.
void verify(const VerifyOptions& options, const std::function<void(const VerifiedSlice&)>& report);

}  // namespace sliding_sync
