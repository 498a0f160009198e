// What a room has ever said of itself: for judging snapshots whose moment cannot be read any more
// (docs/rules.md#history).
#pragma once

#include <array>
#include <vector>

#include "rules/membership_snapshot.hpp"

namespace sliding_sync::rules {

/// A room's relevant state events since its creation, each read without its redactions.
struct RoomHistory {
    bool is_complete = false;  ///< it begins with the room's creation
    std::vector<RoomState> states;
    /// By StateKind: one of the events is gone, or its content may have been, so that it may have told
    /// anything.
    std::array<bool, state_kind_count> is_lost{};

    /// One event of the room, by its kind; nothing there: it is not stored any more.
    void add(StateKind kind, StateEvents event);

    /// True when some event has given each of these columns, or may have, or it is empty.
    [[nodiscard]] bool contains(const RoomState& state) const;
};

/// Whether a snapshot may say this of its past.
[[nodiscard]] bool may_be_of_the_past(const RoomHistory& history, SnapshotSource source,
                                      const RoomState& state);

/// Whether an invite may say what the room never said: a leave may have inherited what an invite before it
/// told.
[[nodiscard]] bool may_come_from_invite(SnapshotSource source, bool has_earlier_invite) noexcept;

}  // namespace sliding_sync::rules
