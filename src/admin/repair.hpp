// sliding_sync.repair(): makes right what verify() finds.
#pragma once

#include "admin/verify.hpp"

namespace sliding_sync {

struct RepairedRow {
    const char* table;
    std::string room_id;
    std::optional<std::string> user_id;
    std::string reasons;                ///< codes, separated by ", "
    std::optional<std::string> before;  ///< the row as JSON
    std::optional<std::string> after;   ///< nothing in a dry run
};

/// Repairs slice after slice in the caller's transaction, keeps each row in sliding_sync.repairs, and drains
/// the quarantine. In a dry run nothing is written. `report` gets every row: its room and user are those
/// whose caches a running homeserver should drop.
void repair(const VerifyOptions& options, bool dry_run,
            const std::function<void(const RepairedRow&)>& report);

}  // namespace sliding_sync
