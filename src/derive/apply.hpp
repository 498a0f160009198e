// Writes rows of the derived tables, and only those that differ: the end of the street.
#pragma once

#include "derive/fact_sql.hpp"
#include "rules/joined_room.hpp"
#include "rules/membership_snapshot.hpp"
#include "server/table_reader.hpp"

namespace sliding_sync {

/// New orderings of one room, as the inserted events gave them.
struct RaisedOrderings {
    std::string_view room_id;
    std::int64_t latest;
    std::optional<std::int64_t> latest_bump;
    bool may_be_written =
        false;  ///< by another writer in this transaction: then the room needs a closer look
};

/// Differences between what is stored and what should be, in key order.
struct JoinedRoomChanges {
    std::vector<rules::JoinedRoom> insert;
    std::vector<rules::JoinedRoom>
        update;  ///< rows that give up their ordering first: another may take it over
    std::size_t giving_up = 0;
    std::vector<std::string_view> remove;

    /// Compares one room; `wanted` is nothing when there must be no row.
    void add(std::string_view room_id, const std::optional<rules::JoinedRoom>& stored,
             std::optional<rules::JoinedRoom> wanted);
};

struct MembershipChanges {
    std::vector<rules::MembershipSnapshot> insert;
    std::vector<rules::MembershipSnapshot> update;
    std::vector<MembershipKey> remove;

    void add(const MembershipKey& key, const std::optional<rules::MembershipSnapshot>& stored,
             std::optional<rules::MembershipSnapshot> wanted);
};

/// Keys that a concurrent transaction inserted meanwhile: to be locked, read and compared once more.
template <typename Key>
struct Applied {
    std::uint64_t written = 0;
    std::vector<Key> again;
};

class Apply {
public:
    explicit Apply(const HomeserverSchema& schema);

    /// The fast path: raises the two numbers of existing rows, never lowers them. Answers (in `again`) the rooms
    /// that have no row.
    Applied<std::string_view> raise_orderings(std::span<const RaisedOrderings> rooms);

    Applied<std::string_view> joined_rooms(const JoinedRoomChanges& changes);
    Applied<MembershipKey> memberships(const MembershipChanges& changes);

    /// Removes the rows of these keys whatever they hold; answers how many there were.
    std::uint64_t remove_joined_rooms(std::span<const std::string_view> room_ids);
    std::uint64_t remove_memberships(std::span<const MembershipKey> keys);

    /// Returns when nobody is inserting rows with these keys any more, whom a removal would not see; raises 40001 when
    /// they have and this transaction cannot see them. Outside any SpiConnection; leaves nothing behind.
    void await_joined_rooms(std::span<const std::string_view> room_ids);
    void await_memberships(std::span<const MembershipKey> keys);

    /// Removes every row of both tables; answers how many there were.
    std::uint64_t remove_all();

    /// Removes the snapshots that name this event; answers whose they were.
    std::vector<MembershipKey> remove_memberships_of_event(std::string_view event_id);

    /// Removes everything that refers to a room which is being deleted, the homeserver's own queue included (H31);
    /// answers whose snapshots went.
    std::vector<MembershipKey> remove_room(std::string_view room_id);

private:
    Applied<std::string_view> raise_one(const RaisedOrderings& room);
    enum class Raised { yes, not_yet, no_row, by_somebody };
    Raised look_at(const RaisedOrderings& room);

    // A homeserver that keeps the row itself has raised it before us: then a look is cheaper than an UPDATE that finds
    // nothing to do. Whatever was right last time is tried first.
    bool look_first_ = false;
    bool has_joined_rooms_;
    bool has_membership_snapshots_;
    bool has_recalculate_queue_;
    Statement raise_one_;
    Statement raise_many_;
    Statement existing_joined_rooms_;
    TableReader stored_orderings_;
    RowsStatement insert_joined_rooms_;
    RowsStatement update_joined_rooms_;
    Statement remove_joined_rooms_;
    RowsStatement insert_memberships_;
    RowsStatement update_memberships_;
    Statement remove_memberships_;
    Statement await_joined_rooms_;
    Statement await_memberships_;
    Statement remove_all_joined_rooms_;
    Statement remove_all_memberships_;
    Statement remove_memberships_of_event_;
    Statement remove_memberships_of_room_;
    Statement remove_queue_of_room_;
};

}  // namespace sliding_sync
