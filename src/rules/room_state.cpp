#include "rules/room_state.hpp"

#include <algorithm>
#include <cstddef>

#include "rules/json.hpp"

namespace sliding_sync::rules {

namespace {

/// `content.<key>` of an event as a reader sees it; absent where there is nothing to see.
Value visible_value(const StateEvents& events, StateKind kind, std::string_view key) {
    const auto& event = events[static_cast<std::size_t>(kind)];
    // A redacted event keeps an empty content; a create event is never redacted on read
    // (docs/rules.md#redactions).
    if (!event || event->rejected || (event->redacted && kind != StateKind::create)) {
        return {};
    }
    return content_value(event->json, key);
}

}  // namespace

RoomState derive_room_state(const StateEvents& events) {
    return {
        .room_type = visible_value(events, StateKind::create, "type").column(),
        .room_name = visible_value(events, StateKind::name, "name").column(),
        .is_encrypted = visible_value(events, StateKind::encryption, "algorithm").present(),
        .tombstone_successor_room_id =
            visible_value(events, StateKind::tombstone, "replacement_room").column(),
    };
}

bool has_relevant_state(const StateEvents& events) noexcept {
    return std::ranges::any_of(events, [](const auto& event) { return event.has_value(); });
}

}  // namespace sliding_sync::rules
