// What the row of a (room, local user) in sliding_sync_membership_snapshots must be
// (docs/rules.md#sliding_sync_membership_snapshots).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "rules/room_state.hpp"
#include "rules/stripped_state.hpp"

namespace sliding_sync::rules {

struct MembershipSnapshot {
    std::string room_id;
    std::string user_id;
    std::string sender;
    std::string membership_event_id;
    std::string membership;
    std::int32_t forgotten = 0;  ///< 0 or 1
    std::int64_t event_stream_ordering = 0;
    std::string event_instance_name;
    bool has_known_state = false;
    RoomState state;

    friend bool operator==(const MembershipSnapshot&, const MembershipSnapshot&) = default;
};

/// Where a snapshot takes its state columns from.
enum class SnapshotSource : std::uint8_t {
    keep,           ///< the membership did not change: history stays as it is (A5, D23, D24)
    current_state,  ///< the membership event is in current state, or the room has some
    wiped_state,    ///< the last local user left: current state as it was before this transaction's wipe (H7)
    stripped_state,   ///< invite or knock from outside
    inherit,          ///< out-of-band leave, or nothing left to read: the previous snapshot's columns (H8)
    earlier_invite,   ///< without a previous snapshot: the user's latest other invite or knock (D22)
    state_group,      ///< asked for later: the room's state after the membership event
    unknown_history,  ///< unchanged leave without a snapshot: left to backfill, which reads state groups
    none,             ///< no row: no membership, or its event or room is not stored (H48, H50)
};

/// Why a snapshot is derived.
enum class RefreshMode : std::uint8_t {
    live,       ///< this transaction changed what it depends on
    recompute,  ///< asked for later: a row of the same membership keeps its history where it is known
    rebuild,    ///< the same, but what the stored row says of the room is not believed
};

/// The membership as the base tables hold it, and what was there before this transaction.
struct MembershipFacts {
    RefreshMode mode = RefreshMode::live;
    std::string room_id;
    std::string user_id;
    bool in_rooms = false;  ///< the foreign key to `rooms` can be met

    // local_current_membership and its event; event_id is empty when there is no membership row
    std::string event_id;
    std::string membership;
    bool event_stored = false;  ///< in `events`, as a membership of this user in this room
    /// events.stream_ordering, whatever the membership row says (H47).
    std::optional<std::int64_t> stream_ordering;
    std::optional<std::string> sender;                   ///< events.sender
    std::optional<std::string> room_memberships_sender;  ///< stands in for a missing events.sender (H46)
    std::optional<std::string> instance_name;
    bool outlier = false;
    bool redacted = false;  ///< as `is_redacted` says
    std::string json;       ///< event_json.json; empty when not stored
    std::string internal_metadata;
    std::optional<std::int32_t> forgotten;  ///< room_memberships.forgotten of the event

    bool in_current_state = false;  ///< current state's member event of this user is event_id
    /// Of a recalled invite or knock that came out of band and is not in current state: whether it may have
    /// been once.
    bool may_have_been_in_state = false;
    bool room_has_current_state = false;  ///< current_state_events has any row of the room
    /// Asked only when the room has none now: this transaction has wiped relevant state, or brought some and
    /// wiped it. A state that was empty was not wiped by it: an invitee's leave may stand there after the
    /// homeserver has left.
    bool room_had_current_state = false;

    // before this transaction; for a recompute, as stored now
    /// The same event id stood in local_current_membership, and it did not enter current state just now:
    /// an out-of-band invite that becomes part of a joined room's state is a change (O5, O13, H80).
    bool membership_unchanged = false;
    std::optional<MembershipSnapshot> previous;
};

/// For a change, which source applies (docs/rules.md#live-mode): the first that fits of `none`, an unchanged
/// membership, current state, an out-of-band membership, an empty current state; current state again for the
/// rest. `keep` and `inherit` are given only when there is a previous snapshot. For a recompute, what a
/// backfill can still know (docs/rules.md#recompute-mode): today's state for a join, its own stripped state
/// for an invite or knock, the state after the event for a leave or ban, the earlier invite when that came
/// out of band. Throws nothing but std::bad_alloc.
[[nodiscard]] SnapshotSource snapshot_source(const MembershipFacts& facts);

/// Whether an event is that of this membership: one of another room, type or user is none of it (H52). An
/// event from before `events` named users: the user of room_memberships, or nobody else.
[[nodiscard]] bool is_its_event(const MembershipFacts& facts, std::string_view room_id, std::string_view type,
                                const std::optional<std::string_view>& state_key,
                                const std::optional<std::string_view>& member) noexcept;

/// Whether the event itself tells more than that somebody is in a room or has left it: stripped state, where
/// the membership came from, and a sender that stands nowhere else. Otherwise json, internal_metadata and
/// redacted stay empty.
[[nodiscard]] bool tells_more(const MembershipFacts& facts) noexcept;

/// Whether `may_have_been_in_state` matters: for invites and knocks from outside only.
[[nodiscard]] bool may_be_from_outside(const MembershipFacts& facts) noexcept;

/// The state that belongs to `snapshot_source(facts)`; unused members stay empty.
struct SnapshotInput {
    /// current_state: today's; wiped_state: before the wipe; state_group: after the event, empty where it is
    /// not known
    StateEvents state_events;
    std::string earlier_invite_json;  ///< earlier_invite: empty when there is none
    std::string earlier_invite_membership;
    bool earlier_invite_redacted = false;
};

/// The row, or nothing when there must be none (`none`) or its history has to be looked up
/// (`unknown_history`). Only the state columns and `has_known_state` depend on the source; all others are
/// today's facts, with `event_instance_name` "master" for a missing or empty name (H45). `forgotten` is that
/// of the membership event; where `room_memberships` has no row of it, the previous snapshot's stays if it
/// was of the same event, and is false otherwise (H21). Throws nothing but std::bad_alloc.
[[nodiscard]] std::optional<MembershipSnapshot> derive_membership_snapshot(const MembershipFacts& facts,
                                                                           const SnapshotInput& input);

}  // namespace sliding_sync::rules
