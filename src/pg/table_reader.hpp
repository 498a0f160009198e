// Rows of a table by the values of some columns, without a plan: setting an executor up costs several times what it
// costs to fetch the row or two that a key has.
#pragma once

#include "pg/catalog.hpp"
#include "pg/index_lookup.hpp"
#include "pg/spi.hpp"

namespace sliding_sync {

class TableReader;

/// The moment that several look-ups share, and the tables that they have opened. Lives inside an open SpiConnection
/// and holds no writes; one at a time.
class LookupScope {
public:
    explicit LookupScope(SnapshotKind view = SnapshotKind::current);
    ~LookupScope();
    LookupScope(const LookupScope&) = delete;
    LookupScope& operator=(const LookupScope&) = delete;

private:
    friend class TableReader;
    [[nodiscard]] static bool is_open(std::uint64_t number) noexcept;

    SnapshotKind view_;
    int exceptions_;
    std::uint64_t number_;  // never given twice: what a failed reading has left open is known by it
    std::vector<TableReader*> readers_;
    LookupScope* outer_;
};

/// Looks rows of one table up, or locks them. Where anything is out of the ordinary (no fitting index, a partitioned table, policies,
/// rights that the user lacks) a statement with the same meaning does it, and says what is wrong.
class TableReader {
public:
    /// `name` is what sliding_sync.inject_fault calls the reader; a column may be xmin.
    TableReader(const char* name, const Schema& schema, const char* table, std::vector<KeyColumn> key,
                std::vector<const char*> columns);
    TableReader(const TableReader&) = delete;
    TableReader& operator=(const TableReader&) = delete;

    /// Rows whose key columns compare so with `key`, in no order: all of them, or the first `most`. Raises what the
    /// server raises, as PgError.
    Rows find(LookupScope& scope, std::initializer_list<KeyValue> key, std::size_t max_rows = SIZE_MAX);

    /// The same, but nothing where only a statement could look, and fail: for who has no subtransaction open.
    std::optional<Rows> find_by_index(LookupScope& scope, std::initializer_list<KeyValue> key);

    /// The row that a unique key has by now, locked against every other change until the transaction ends; waits for
    /// whoever is inserting, updating or deleting it. What is to be right after it is read in a reading that begins later.
    Rows lock(LookupScope& scope, std::initializer_list<KeyValue> key);

private:
    friend class LookupScope;

    void open(LookupScope& scope);
    void open_table(PgFrame frame);
    void close() noexcept;
    [[nodiscard]] bool is_the_one() const;
    [[nodiscard]] bool find_columns();
    [[nodiscard]] bool is_by_index(const LookupScope& scope) const noexcept;
    Rows by_statement(Statement& statement, const LookupScope& scope, std::initializer_list<KeyValue> key);

    const char* name_;
    Oid namespace_oid_;
    const char* table_name_;
    std::vector<KeyColumn> key_;
    std::vector<const char*> column_names_;
    Statement statement_;
    Statement lock_statement_;

    // what the catalog says, until it changes
    std::uint64_t generation_ = 0;
    Oid table_oid_ = InvalidOid;
    KeyIndex key_index_;
    std::vector<FetchedColumn> columns_;

    // what is open, in the scope of this number
    std::uint64_t scope_ = 0;
    Relation table_ = nullptr;
    IndexLookup lookup_;  ///< not open: the statement is used
};

}  // namespace sliding_sync
