// What rows are and what they must be: changed keys -> facts -> rules, up to the point where something is
// written or reported.
#pragma once

#include "derive/homeserver.hpp"

namespace sliding_sync {

/// What happened to a room, as far as its row in sliding_sync_joined_rooms may depend on it.
struct RoomChange {
    std::string_view room_id;
    bool orderings = false;  ///< eligible events may have gone: look for the newest again
    bool state = false;      ///< relevant current state may have changed
    bool may_be_rewritten =
        false;  ///< nothing of the row changed, but another writer may have written the row just now
    bool is_later_flush = false;         ///< an earlier flush of this transaction has taken other changes
    std::optional<std::int64_t> latest;  ///< newest eligible event that was inserted
    std::optional<std::int64_t> latest_bump;  ///< the same among the bump types
    std::string_view latest_event_id;  ///< its event; the rejection of an event may have come before it
    std::string_view latest_bump_event_id;
    std::optional<std::int64_t> oldest_new;  ///< no event that was inserted has a smaller ordering
    /// A row of `room_ban_redactions` may have named one of them as what redacts, before it was stored.
    bool has_member_events = false;
    /// Events that have begun to redact. Anybody in a room may send redactions that nobody accepts: only
    /// these are judged, not all that name the same event.
    std::vector<std::string_view> new_redactions;
};

struct Changes {
    std::vector<RoomChange> rooms;           ///< each room once
    std::vector<MembershipKey> memberships;  ///< each once
    MembershipsBefore before;
    bool keep_changing = false;  ///< they change again whenever their rows are written: the rows have to go
};

/// A row as it is stored, and as it must be; nothing: there must be no row.
template <typename Table>
struct Comparison {
    typename Table::Key key;
    std::optional<typename Table::Row> stored;
    std::optional<typename Table::Row> expected;
};

using RoomComparison = Comparison<JoinedRooms>;

struct MembershipComparison : Comparison<MembershipSnapshots> {
    rules::SnapshotSource source = rules::SnapshotSource::none;
    /// Asked for later than the change: the user has joined, but current state does not say so.
    bool has_source_conflict = false;
};

[[nodiscard]] std::vector<std::string_view> room_ids_of(std::span<const RoomChange> rooms);

/// Both return in the order of their keys, inside an open SpiConnection, and write nothing. `stored` are the
/// rows of the keys; where something is to be written they are locked, and what the rows must be is read
/// after that.
std::vector<RoomComparison> compare_joined_rooms(Statements& statements, std::span<const RoomChange> rooms,
                                                 std::span<const Stored<JoinedRooms>> stored);
std::vector<MembershipComparison> compare_memberships(Statements& statements,
                                                      std::span<const MembershipKey> keys,
                                                      std::span<const Stored<MembershipSnapshots>> stored,
                                                      RefreshScope& scope, rules::RefreshMode mode);

/// A room of which everything is to be looked at.
[[nodiscard]] RoomChange whole_room(std::string_view room_id) noexcept;

}  // namespace sliding_sync
