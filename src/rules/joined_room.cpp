#include "rules/joined_room.hpp"

namespace sliding_sync::rules {

std::optional<JoinedRoom> derive_joined_room(const JoinedRoomFacts& facts) {
    if (!facts.in_rooms || !has_relevant_state(facts.state_events) || !facts.latest_ordering) {
        return std::nullopt;
    }
    JoinedRoom row{
        .room_id = facts.room_id,
        .event_stream_ordering = *facts.latest_ordering,
        .bump_stamp = std::nullopt,
        .state = derive_room_state(facts.state_events),
    };
    if (facts.latest_bump_ordering.value_or(0) > 0) {
        row.bump_stamp = facts.latest_bump_ordering;
    }
    return row;
}

}  // namespace sliding_sync::rules
