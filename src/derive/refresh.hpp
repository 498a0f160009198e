// The one entrance of the street: from changed keys to written rows. Triggers, backfill, catch-up and repair all
// come through here; nothing else writes the derived tables.
#pragma once

#include "derive/homeserver.hpp"

namespace sliding_sync {

/// What happened to a room, as far as its row in sliding_sync_joined_rooms may depend on it.
struct RoomChange {
    std::string_view room_id;
    bool orderings = false;  ///< eligible events may have gone: look for the newest again
    bool state = false;      ///< relevant current state may have changed
    bool touched =
        false;  ///< nothing of the row changed, but another writer may have written the row just now
    std::optional<std::int64_t> latest;       ///< newest eligible event that was inserted
    std::optional<std::int64_t> latest_bump;  ///< the same among the bump types
    std::optional<std::int64_t> oldest_new;   ///< no event that was inserted has a smaller ordering
};

struct Changes {
    std::vector<RoomChange> rooms;           ///< each room once
    std::vector<MembershipKey> memberships;  ///< each once
};

struct Refreshed {
    std::uint64_t joined_rooms = 0;  ///< rooms looked at
    std::uint64_t memberships = 0;   ///< memberships looked at
    std::uint64_t rows_written = 0;  ///< rows inserted, updated or deleted
    std::uint64_t failed = 0;        ///< keys that went into quarantine

    Refreshed& operator+=(const Refreshed& other) noexcept;
};

/// Makes the rows of these keys what they should be. Runs as the owner of the derived tables. A failure that the
/// homeserver could not handle removes the rows concerned instead (sliding_sync.on_failure), with a WARNING.
Refreshed refresh(Homeserver& homeserver, Changes changes);

/// Removes every derived row: when nobody can tell any more which of them are right.
Refreshed remove_everything(Homeserver& homeserver);

}  // namespace sliding_sync
