// Reads what the rules need, for sets of keys: the "facts" of the street (docs/architecture.md).
#pragma once

#include "rules/joined_room.hpp"
#include "rules/membership_snapshot.hpp"
#include "server/catalog.hpp"
#include "server/spi.hpp"

namespace sliding_sync {

struct MembershipKey {
    std::string_view room_id;
    std::string_view user_id;

    friend auto operator<=>(const MembershipKey&, const MembershipKey&) = default;
};

/// A room and its row as they are stored now.
struct StoredRoom {
    bool in_rooms = false;
    bool written_by_this_transaction = false;  ///< then somebody else may have written it, by other rules
    std::optional<rules::JoinedRoom> row;
};

/// Newest eligible events of a room: neither outlier nor rejected, with a stream ordering (D5-D7, H72).
struct Orderings {
    std::optional<std::int64_t> latest;
    std::optional<std::int64_t> latest_bump;
};

/// A membership's facts and its snapshot as stored now.
struct StoredMembership {
    rules::MembershipFacts facts;
    std::optional<rules::MembershipSnapshot> row;
};

/// The user's latest other invite or knock (D22); empty json when there is none.
struct EarlierInvite {
    std::string json;
    std::string membership;
    bool redacted = false;
};

/// Every function answers in the order of its keys, inside an open SpiConnection; views in the answers live as long
/// as that connection. Bad data is never an error here: what is missing or unreadable comes out empty.
class Facts {
public:
    explicit Facts(const HomeserverSchema& schema);

    /// Locks the stored rows in the order of the (sorted) keys. Needed before reading at READ COMMITTED only.
    void lock_joined_rooms(std::span<const std::string_view> room_ids);
    void lock_memberships(std::span<const MembershipKey> keys);

    std::vector<StoredRoom> joined_rooms(std::span<const std::string_view> room_ids);
    std::vector<Orderings> orderings(std::span<const std::string_view> room_ids);

    /// The stored relevant events of current state.
    std::vector<rules::StateEvents> current_state(std::span<const std::string_view> room_ids);

    /// The same for rooms whose current state is gone: what stood there before this transaction, overlaid with the
    /// newest relevant state events that it stored itself, none of which is older than `oldest[i]` (nothing: it
    /// stored none). A last leave and a name change in one transaction meet only here (H7).
    std::vector<rules::StateEvents> wiped_state(std::span<const std::string_view> room_ids,
                                                std::span<const std::optional<std::int64_t>> oldest);

    std::vector<StoredMembership> memberships(std::span<const MembershipKey> keys);
    std::vector<EarlierInvite> earlier_invites(std::span<const MembershipKey> keys,
                                               std::span<const std::string_view> but_not_event_ids);

    /// Rooms whose current state holds one of these events, or an event redacted by one of them.
    std::vector<std::string_view> rooms_of_state_events(std::span<const std::string_view> event_ids);
    /// Rooms of these events.
    std::vector<std::string_view> rooms_of_events(std::span<const std::string_view> event_ids);
    /// Memberships whose event is one of these.
    std::vector<MembershipKey> memberships_of_events(std::span<const std::string_view> event_ids);
    /// All local memberships of these rooms.
    std::vector<MembershipKey> memberships_of_rooms(std::span<const std::string_view> room_ids);

    /// What of a room stands in the way of events that are being deleted: foreign keys (H26, H29).
    struct References {
        bool joined_room = false;  ///< the room's row points at an event that is gone
        bool snapshots = false;    ///< the room has membership snapshots at all
    };
    References references(std::string_view room_id);

    /// The next rooms in key order after `after` that have a row or might need one; and the next snapshots whose
    /// membership is gone or another one. Both for changes that concern whole tables.
    std::vector<std::string_view> rooms_after(std::string_view after, std::int64_t limit);
    std::vector<MembershipKey> stale_memberships_after(const MembershipKey& after, std::int64_t limit);

private:
    struct Target;
    std::vector<bool> redacted(std::span<const Target> targets);
    std::vector<rules::StateEvents> state_events(Rows rows, std::size_t room_count);

    bool has_ban_redactions_;
    bool has_joined_rooms_;
    bool has_membership_snapshots_;
    Statement lock_joined_rooms_;
    Statement lock_memberships_;
    Statement joined_rooms_;
    Statement orderings_;
    Statement current_state_;
    Statement current_state_ids_;
    Statement new_state_ids_;
    Statement visible_before_;
    Statement state_events_by_id_;
    Statement redactions_;
    Statement ban_redactions_;
    Statement memberships_;
    Statement memberships_before_;
    Statement earlier_invites_;
    Statement rooms_of_state_events_;
    Statement rooms_of_events_;
    Statement memberships_of_events_;
    Statement memberships_of_rooms_;
    Statement joined_room_reference_;
    Statement snapshot_reference_;
    Statement rooms_after_;
    Statement stale_memberships_after_;
};

}  // namespace sliding_sync
