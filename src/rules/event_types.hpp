// The Matrix event types and room versions that decide what a row of the derived tables holds.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace sliding_sync::rules {

/// The four pairs (event type, state key "") whose content becomes columns (docs/rules.md#terms).
enum class StateKind : std::uint8_t { create, encryption, name, tombstone };
inline constexpr std::size_t state_kind_count = 4;

/// Event types in the order of `StateKind`.
inline constexpr std::array<std::string_view, state_kind_count> relevant_state_types{
    "m.room.create", "m.room.encryption", "m.room.name", "m.room.tombstone"};

/// Event types that move a room to the top of a client's list (`bump_stamp`).
inline constexpr std::array<std::string_view, 7> bump_types{
    "m.room.create", "m.room.message", "m.room.encrypted", "m.sticker",
    "m.call.invite", "m.poll.start",   "m.beacon_info"};

/// The relevant state kind of an event type; nothing for every other type.
[[nodiscard]] std::optional<StateKind> state_kind(std::string_view event_type) noexcept;

/// True for the types that raise `bump_stamp` (docs/rules.md#eligible-events); state events of these types
/// count as well.
[[nodiscard]] bool is_bump_type(std::string_view event_type) noexcept;

}  // namespace sliding_sync::rules
