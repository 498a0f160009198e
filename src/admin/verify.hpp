// sliding_sync.verify(): what is wrong in the derived tables, without touching them.
#pragma once

#include "admin/attached_homeserver.hpp"
#include "admin/run_log.hpp"
#include "admin/verified_slice.hpp"

namespace sliding_sync {

struct VerifyOptions {
    AttachedHomeserver homeserver;
    RunScope scope;
    std::optional<std::string> room;    ///< this room and its memberships only
    std::optional<std::string> member;  ///< memberships of this user only
    double sample = 1;                  ///< share of the keys to look at, chosen by chance
    bool history = true;                ///< also judge what snapshots say of the past
    const char* function = "verify";    ///< what was called, as its progress is shown
};

/// Looks at slice after slice, each at one moment, so that no transaction seen half can look like an error;
/// works on a standby as well. `report` gets each slice that has findings. The statement that calls it keeps
/// its own view of the database until the end, as every statement does: on a busy homeserver verify ranges.
void verify(const VerifyOptions& options, const std::function<void(const VerifiedSlice&)>& report);

}  // namespace sliding_sync
