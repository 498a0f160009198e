// What the row of a room in sliding_sync_joined_rooms must be (docs/rules.md#sliding_sync_joined_rooms).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "rules/room_state.hpp"

namespace sliding_sync::rules {

struct JoinedRoom {
    std::string room_id;
    std::int64_t event_stream_ordering = 0;
    std::optional<std::int64_t> bump_stamp;
    RoomState state;

    friend bool operator==(const JoinedRoom&, const JoinedRoom&) = default;
};

struct JoinedRoomFacts {
    std::string room_id;
    bool in_rooms = false;     ///< the foreign key to `rooms` can be met
    StateEvents state_events;  ///< today's current state
    /// Highest stream ordering, of any sign, of the events that are neither outlier nor rejected (D5, D7).
    std::optional<std::int64_t> latest_ordering;
    std::optional<std::int64_t> latest_bump_ordering;  ///< the same among the bump types
};

/// The row as a from-scratch recompute gives it. No row unless the room is in `rooms`, has a stored relevant
/// current-state event and an eligible event (D8, D9, D12). The ordering may be negative (D13), a bump stamp
/// is positive or NULL (H49). Throws nothing but std::bad_alloc.
[[nodiscard]] std::optional<JoinedRoom> derive_joined_room(const JoinedRoomFacts& facts);

}  // namespace sliding_sync::rules
