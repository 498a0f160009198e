// Finds the keys that only a look into the tables can tell.
#pragma once

#include "derive/fact_sql.hpp"
#include "pg/table_reader.hpp"

namespace sliding_sync {

struct RoomOfRedaction {
    std::string_view room_id;
    std::string_view redaction_id;  ///< empty: the event asked for is of the room's state itself
};

/// Answers live as long as the open SpiConnection they were read in.
class KeyLookup {
public:
    explicit KeyLookup(const HomeserverSchema& schema);

    /// Rooms whose state may read differently because one of these events redacts, or is redacted. Current
    /// state is not asked: another transaction may be changing it just now, and only a look at the room's
    /// locked row tells.
    std::vector<RoomOfRedaction> rooms_of_redactions(std::span<const std::string_view> event_ids);
    /// Those that are not stored, nor were before this transaction.
    std::vector<std::string_view> missing_events(std::vector<std::string_view> event_ids);
    /// Rooms of these events.
    std::vector<std::string_view> rooms_of_events(std::span<const std::string_view> event_ids);
    /// Local memberships whose event is one of these, or is redacted by one of these.
    std::vector<MembershipKey> memberships_of_events(std::span<const std::string_view> event_ids);
    /// All local memberships of these rooms.
    std::vector<MembershipKey> memberships_of_rooms(std::span<const std::string_view> room_ids);

    /// Those whose row is missing, knows no state, or is of an event from before `events` named senders and
    /// users: what came or went of the room's events can have changed no other.
    std::vector<MembershipKey> incomplete_memberships_of_rooms(std::span<const std::string_view> room_ids);
    /// Those of the keys that are local memberships.
    std::vector<MembershipKey> local_memberships(std::span<const MembershipKey> keys);

    /// The next rooms in key order after `after` that have a row or might need one.
    std::vector<std::string_view> rooms_after(std::string_view after, std::int64_t limit);
    /// The next snapshots whose membership is gone or another one.
    std::vector<MembershipKey> stale_memberships_after(const MembershipKey& after, std::int64_t limit);

    /// A part of a range of keys; `is_last` when nothing of the range is left behind it.
    template <typename Key>
    struct Page {
        std::vector<Key> keys;
        bool is_last = false;
    };
    /// Rooms, and memberships and snapshots, up to a room (nothing: no end). An empty user stands for the end
    /// of its room.
    Page<std::string_view> rooms_between(std::string_view after, const std::optional<std::string>& up_to,
                                         std::int64_t limit);
    Page<MembershipKey> memberships_between(const MembershipKey& after,
                                            const std::optional<std::string>& up_to, std::int64_t limit);

    /// A share of all keys, drawn from the tables without reading the others' keys: of a big table, pages.
    std::vector<std::string_view> drawn_rooms(double share, bool are_pages);
    std::vector<MembershipKey> drawn_memberships(double share, bool are_pages);

    /// Memberships and snapshots of a room, a user, or both; at least one is given.
    std::vector<MembershipKey> memberships_of(const std::optional<std::string>& room_id,
                                              const std::optional<std::string>& user_id);

    /// The room before this one in key order; empty when it is the first.
    std::string_view room_before(std::string_view room_id);

private:
    [[nodiscard]] Rows draw(std::string_view sql, double share, bool are_pages) const;

    std::string schema_name_;  // quoted as an identifier
    TableReader named_events_;
    Statement rooms_of_redactions_;
    Statement rooms_of_events_;
    Statement memberships_of_events_;
    Statement memberships_of_rooms_;
    Statement incomplete_memberships_;
    TableReader local_memberships_;
    Statement rooms_between_;
    Statement memberships_between_;
    Statement memberships_of_room_;
    Statement memberships_of_user_;
    Statement room_before_;
    Statement stale_memberships_after_;
};

}  // namespace sliding_sync
