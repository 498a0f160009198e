// From the relevant current-state events of a room to the four state columns (docs/rules.md#state-columns).
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "rules/event_types.hpp"

namespace sliding_sync::rules {

/// A relevant state event that is stored (`events` and `event_json`). The view lives as long as the facts.
struct StateEvent {
    std::string_view json;
    bool redacted = false;  ///< as `is_redacted` says; ignored for m.room.create
    bool rejected = false;  ///< a rejected event is invisible to readers: its column is empty
};

/// By StateKind; nothing where current state has no such event or the event is not stored.
using StateEvents = std::array<std::optional<StateEvent>, state_kind_count>;

/// The columns shared by both derived tables.
struct RoomState {
    std::optional<std::string> room_type;
    std::optional<std::string> room_name;
    bool is_encrypted = false;
    std::optional<std::string> tombstone_successor_room_id;

    friend bool operator==(const RoomState&, const RoomState&) = default;
};

/// The columns by the rules of docs/rules.md#state-columns: create `type`, name `name`, tombstone
/// `replacement_room`, encrypted when the encryption event has an `algorithm` that is not null, whatever its
/// type. What is missing, redacted, rejected, unreadable or of the wrong type is an empty column (D1-D4).
/// Throws nothing but std::bad_alloc.
[[nodiscard]] RoomState derive_room_state(const StateEvents& events);

/// True when at least one relevant event is stored, rejected and unreadable ones too: the question is whether
/// the room's state is known, not what it says (`has_known_state`,
/// docs/rules.md#source-of-the-state-columns).
[[nodiscard]] bool has_relevant_state(const StateEvents& events) noexcept;

}  // namespace sliding_sync::rules
