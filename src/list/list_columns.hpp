// The tables that a list is read from, and their columns in the order of these enumerations.
#pragma once

#include "pg/key_scan.hpp"

namespace sliding_sync {

namespace membership_column {
enum : std::size_t {
    room_id,
    sender,
    membership,
    forgotten,
    position,
    has_known_state,
    is_encrypted,
    room_type,
    room_name,
    membership_event_id,
    tombstone
};
}
namespace joined_column {
enum : std::size_t { room_id, position, bump_stamp, is_encrypted, room_type, room_name, tombstone };
}
namespace version_column {
enum : std::size_t { room_id, room_version };
}
namespace ignored_column {
enum : std::size_t { ignored_user_id };
}

/// By user.
[[nodiscard]] ScannedTable& scanned_memberships();
/// By room, which is unique.
[[nodiscard]] ScannedTable& scanned_joined_rooms();
[[nodiscard]] ScannedTable& scanned_rooms();
/// By the user who ignores.
[[nodiscard]] ScannedTable& scanned_ignored_users();

}  // namespace sliding_sync
