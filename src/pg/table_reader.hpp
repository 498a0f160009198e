// Rows of a table by the values of some columns, without a plan: setting an executor up costs several times
// what it costs to fetch the row or two that a key has.
//
// A reader is made once for a table and a key, and used for many keys. In a LookupScope, which is one
// snapshot, its first look-up opens the table:
//   1. the table is found by its name, again where the catalog has changed, and locked (ACCESS SHARE); only
//      then its columns and the index are chosen, since only then the catalog stands still, and the name is
//      compared once more
//   2. the index is opened and scanned by an IndexLookup, from the index alone where it has all columns
//   3. where no index fits, or a SELECT of this user would return other rows (partitions, children, row
//      security) or none (no right), a prepared statement of the same meaning does it, and says what is wrong
// Locking a row is the same with another scan, which sees rows that are not committed: it waits for the
// transaction that inserts or changes the row, and locks the newest version. At REPEATABLE READ, SELECT FOR
// UPDATE would raise 40001 there.
//
// Ownership: what is open belongs to the scope, which closes it when it ends. While an exception passes it
// closes nothing: the abort of the (sub)transaction does, and the reader, which knows its scope by a number
// that is never given twice, forgets what it had. Scopes are nested: code of the tables' owner may run inside
// a look-up and look up itself. A reader that an outer scope has open uses its statement in an inner one.
#pragma once

#include "pg/catalog.hpp"
#include "pg/index_lookup.hpp"
#include "pg/spi.hpp"

namespace sliding_sync {

class TableReader;

/// The snapshot that several look-ups share, and the tables that they have opened. Lives inside an open
/// SpiConnection; nothing is written while it is open.
class LookupScope {
public:
    explicit LookupScope(SnapshotKind view = SnapshotKind::current);
    ~LookupScope();
    LookupScope(const LookupScope&) = delete;
    LookupScope& operator=(const LookupScope&) = delete;

    [[nodiscard]] SnapshotKind view() const noexcept {
        return view_;
    }

private:
    friend class TableReader;
    [[nodiscard]] static bool is_open(std::uint64_t number) noexcept;

    SnapshotKind view_;
    int exceptions_;
    std::uint64_t number_;  // never given twice: what a failed reading has left open is known by it
    std::vector<TableReader*> readers_;
    LookupScope* outer_;
};

enum class LockWait { wait, refuse };

/// Looks rows of one table up, or locks them. Where anything is out of the ordinary (no fitting index, a
/// partitioned table, policies, rights that the user lacks) a statement with the same meaning does it, and
/// says what is wrong.
class TableReader {
public:
    /// `name` is what sliding_sync.inject_fault calls the reader; a column may be xmin.
    TableReader(const char* name, const Schema& schema, const char* table, std::vector<KeyColumn> key,
                std::vector<const char*> columns);
    TableReader(const TableReader&) = delete;
    TableReader& operator=(const TableReader&) = delete;

    /// Rows whose key columns compare so with `key`, in no order: all of them, or the first `most`. Raises
    /// what the server raises, as PgError.
    Rows find(LookupScope& scope, std::initializer_list<KeyValue> key, std::size_t max_rows = SIZE_MAX);

    /// The same, but nothing where only a statement could look, and fail, or where the table would be waited
    /// for: for who has no subtransaction open.
    std::optional<Rows> find_by_index(LookupScope& scope, std::initializer_list<KeyValue> key,
                                      std::size_t max_rows = SIZE_MAX);

    /// The row that a unique key has by now, locked against every other change until the transaction ends;
    /// waits for a transaction that is inserting, updating or deleting it. What is to be right after it is
    /// read in a later scope.
    Rows lock(LookupScope& scope, std::initializer_list<KeyValue> key);

private:
    friend class LookupScope;

    void open(LookupScope& scope, LockWait wait);
    void open_table(PgFrame frame, LockWait wait);
    void close() noexcept;
    [[nodiscard]] bool is_the_one() const;
    [[nodiscard]] bool find_columns();
    [[nodiscard]] bool is_by_index(const LookupScope& scope) const noexcept;
    Rows by_statement(std::optional<Statement>& statement, const char* lock, const LookupScope& scope,
                      std::initializer_list<KeyValue> key);

    const char* name_;
    Oid namespace_oid_;
    std::string schema_name_;
    const char* table_name_;
    std::vector<KeyColumn> key_;
    std::vector<const char*> column_names_;
    // made when one is needed: their texts would cost each connection's first transaction 0.2 M instructions
    std::optional<Statement> statement_;
    std::optional<Statement> lock_statement_;

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
