// Writes rows of the derived tables, and only those that differ: the end of the pipeline.
#pragma once

#include "derive/fact_sql.hpp"
#include "pg/table_reader.hpp"
#include "rules/joined_room.hpp"
#include "rules/membership_snapshot.hpp"

namespace sliding_sync {

/// New orderings of one room, as the inserted events gave them.
struct OrderingAdvance {
    std::string_view room_id;
    std::int64_t latest;
    std::optional<std::int64_t> latest_bump;
    bool may_be_written =
        false;  ///< by another writer in this transaction: then the room needs a closer look
};

/// What differs between what is stored and what must be, in key order. Points into the comparisons that it was made of.
struct JoinedRoomChanges {
    std::vector<const rules::JoinedRoom*> insert;
    /// Rows that give up their ordering come first: another may take it over.
    std::vector<const rules::JoinedRoom*> update;
    std::size_t giving_up = 0;
    std::vector<std::string_view> remove;

    void add(std::string_view room_id, const std::optional<rules::JoinedRoom>& stored,
             const std::optional<rules::JoinedRoom>& expected);
};

struct MembershipChanges {
    std::vector<const rules::MembershipSnapshot*> insert;
    std::vector<const rules::MembershipSnapshot*> update;
    std::vector<MembershipKey> remove;

    void add(const MembershipKey& key, const std::optional<rules::MembershipSnapshot>& stored,
             const std::optional<rules::MembershipSnapshot>& expected);
};

/// Raises 27000 unless a statement has written as many rows as it was to: a trigger or rule of the table swallows some, or a
/// row that was not there has been inserted by somebody else meanwhile.
void require_written(std::size_t written, std::size_t expected, const char* table);

/// Writes rows that are locked, or missing, by then. What a statement was to write and did not, is an error
/// (require_written).
class RowWriter {
public:
    explicit RowWriter(const HomeserverSchema& schema);

    /// The short cut of a message: raises the two numbers of one row, never lowers them; answers how many rows it has written.
    /// Nothing when the room needs a closer look: there is no such row, somebody else has written it, or another room's
    /// row has the ordering.
    std::optional<std::uint64_t> advance_orderings(const OrderingAdvance& room);

    /// Both answer how many rows they have written. For a row that somebody else has inserted meanwhile they raise 27000, or
    /// 40001 where the server tells: the next attempt sees it.
    std::uint64_t joined_rooms(const JoinedRoomChanges& changes);
    std::uint64_t memberships(const MembershipChanges& changes);

    /// Removes the rows of these keys; answers how many there were, as far as the table's own triggers and rules let them go.
    std::uint64_t remove_joined_rooms(std::span<const std::string_view> room_ids);
    std::uint64_t remove_memberships(std::span<const MembershipKey> keys);

    /// Removes every row of both tables; answers how many there were.
    std::uint64_t remove_all();

    /// Removes everything that refers to a room which is being deleted, the homeserver's own queue included (H31);
    /// answers whose snapshots went.
    std::vector<MembershipKey> remove_room(std::string_view room_id);

private:
    enum class Raised { yes, not_yet, look_closer };
    Raised look_at(const OrderingAdvance& room);
    bool is_held_by_another(const OrderingAdvance& room);

    // A homeserver that keeps the row itself has raised it before us: then a look is cheaper than an UPDATE that finds
    // nothing to do. Whatever was right last time is tried first.
    bool look_first_ = false;
    bool has_joined_rooms_;
    bool has_membership_snapshots_;
    bool has_recalculate_queue_;
    Statement raise_;
    TableReader stored_orderings_;
    TableReader holders_;
    RowsStatement insert_joined_rooms_;
    RowsStatement update_joined_rooms_;
    Statement remove_joined_rooms_;
    RowsStatement insert_memberships_;
    RowsStatement update_memberships_;
    Statement remove_memberships_;
    Statement remove_all_joined_rooms_;
    Statement remove_all_memberships_;
    Statement remove_joined_room_;
    Statement remove_memberships_of_room_;
    Statement remove_queue_of_room_;
};

}  // namespace sliding_sync
