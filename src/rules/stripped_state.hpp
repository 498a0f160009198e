// From the stripped state that came with an invite or a knock to the four state columns
// (docs/rules.md#stripped-state).
#pragma once

#include <string_view>

#include "rules/room_state.hpp"

namespace sliding_sync::rules {

struct StrippedState {
    bool has_known_state = false;  ///< false without a valid ("m.room.create", "") element
    RoomState state;               ///< empty when nothing is known
};

/// `membership` is the event's membership: "invite" reads `unsigned.invite_room_state`, "knock"
/// `unsigned.knock_room_state`, everything else knows nothing. A redacted event has lost both
/// (docs/rules.md#redactions). An element counts when it is an object with string `type`, `state_key` and
/// `sender` and object `content`; of several for one (type, state key) the last one counts (H63). Values that
/// are no usable string are empty columns, never an error (D30); throws nothing but std::bad_alloc.
[[nodiscard]] StrippedState read_stripped_state(std::string_view event_json, std::string_view membership,
                                                bool redacted);

}  // namespace sliding_sync::rules
