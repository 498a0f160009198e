// The rows of a derived table: read, locked, compared by key, written. Both tables have the same, made from
// their columns.
#pragma once

#include "derive/derived_columns.hpp"
#include "pg/key_locks.hpp"
#include "pg/parameter_rows.hpp"
#include "pg/table_reader.hpp"

namespace sliding_sync {

/// A row as it is stored now.
template <typename Table>
struct Stored {
    bool written_by_this_transaction = false;  ///< then another writer may have made it, by other rules
    std::optional<typename Table::Row> row;
};

/// What differs between what is stored and what must be, in key order. Points into the comparisons that it
/// was made of.
template <typename Table>
struct RowChanges {
    using Row = typename Table::Row;
    std::vector<const Row*> insert;
    /// Rows that give up their ordering come first: another may take it over.
    std::vector<const Row*> update;
    std::size_t giving_up = 0;
    std::vector<typename Table::Key> remove;

    void add(const typename Table::Key& key, const std::optional<Row>& stored,
             const std::optional<Row>& expected);
};

/// Raises 27000 unless a statement has written as many rows as it was to: a trigger or rule of the table
/// swallows some, or a row that was not there has been inserted by another writer meanwhile.
void require_written(std::size_t written, std::size_t expected, const char* table);

/// Every function works inside an open SpiConnection, and returns rows in the order of the keys.
template <typename Table>
class DerivedTable {
public:
    using Key = typename Table::Key;
    using Row = typename Table::Row;

    explicit DerivedTable(const HomeserverSchema& schema);

    /// The row that the scope's snapshot shows.
    std::optional<Row> find(LookupScope& scope, const Key& key);
    std::vector<Stored<Table>> stored(std::span<const Key> keys);
    /// The same rows as they are by now, locked in the order of the (sorted) keys until the transaction ends.
    /// Of a key without a row, or with one that this transaction may have inserted itself, the key is locked,
    /// if there is `locks`.
    std::vector<Stored<Table>> lock(std::span<const Key> keys, KeyLocks* locks = nullptr);

    /// The keys of the rows with this ordering, which only one may have.
    std::vector<Key> with_ordering(std::int64_t event_stream_ordering);

    /// Whether the transaction's own snapshot, by which its foreign keys are checked, shows what the row
    /// refers to.
    bool can_be_referred_to(const Row& row);

    /// Writes rows that are locked, or missing, by then, and returns how many. What a statement was to write
    /// and did not is an error (require_written): for a row that another writer has inserted meanwhile 27000,
    /// or 40001 where the server tells; the next attempt sees it.
    std::uint64_t write(const RowChanges<Table>& changes);

    /// Removes the rows of these keys; returns how many there were, as far as the table's own triggers and
    /// rules let them go.
    std::uint64_t remove(std::span<const Key> keys);

    /// Removes every row; returns how many there were.
    std::uint64_t remove_all();

private:
    Stored<Table> stored_row(const Key& key, const Rows& rows);

    TableReader rows_;
    TableReader orderings_;
    Statement references_;
    RowsStatement insert_;
    RowsStatement update_;
    Statement remove_;
    Statement remove_all_;
    Oid namespace_oid_;
};

extern template class DerivedTable<JoinedRooms>;
extern template class DerivedTable<MembershipSnapshots>;
extern template struct RowChanges<JoinedRooms>;
extern template struct RowChanges<MembershipSnapshots>;

}  // namespace sliding_sync
