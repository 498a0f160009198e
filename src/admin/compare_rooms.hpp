// sliding_sync.compare_rooms(): the rows of rooms as they are and as they must be, column by column, right or
// wrong.
#pragma once

#include "admin/attached_homeserver.hpp"

namespace sliding_sync {

struct ComparedColumn {
    std::string_view room_id;
    const char* name;
    std::optional<std::string> expected;
    std::optional<std::string> actual;
    bool has_expected_row;
    bool has_actual_row;
};

/// Every column of every room, at one moment a slice of rooms; changes nothing, and works on a standby.
void compare_rooms(const AttachedHomeserver& homeserver, std::span<const std::string> room_ids,
                   const std::function<void(const ComparedColumn&)>& report);

}  // namespace sliding_sync
