// Rows of a table by the values of some columns, without a plan: setting an executor up costs several times what it
// costs to fetch the row or two that a key has.
#pragma once

#include "pg/catalog.hpp"
#include "pg/key_index.hpp"
#include "pg/spi.hpp"

extern "C" {
#include "access/genam.h"
#include "access/skey.h"
#include "storage/buf.h"
#include "utils/snapshot.h"
}

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

/// What a key column must hold.
struct KeyValue {
    KeyValue(std::string_view value) noexcept : text(value), number(0) {}
    KeyValue(const std::string& value) noexcept : text(value), number(0) {}
    KeyValue(const char* value) noexcept : text(value), number(0) {}
    KeyValue(std::int64_t value) noexcept : text(), number(value) {}
    std::string_view text;
    std::int64_t number;
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
    struct Column {
        AttrNumber number;
        Oid type;
        AttrNumber in_index;  ///< from 1; none: 0
    };

    void open(LookupScope& scope);
    void close() noexcept;
    [[nodiscard]] bool is_the_one() const;
    [[nodiscard]] bool find_columns();
    void find_columns_in_index(Relation index);
    void begin_scan();
    void set_keys(std::initializer_list<KeyValue> key);
    Rows scan(std::initializer_list<KeyValue> key, std::size_t max_rows);
    void begin_lock_scan();
    Rows scan_and_lock(std::initializer_list<KeyValue> key);
    enum class Locked { yes, look_again };
    Locked lock_found();
    Rows by_statement(Statement& statement, const LookupScope& scope, std::initializer_list<KeyValue> key);
    void copy_row(Rows& rows, std::size_t& room);
    [[nodiscard]] bool next_row();
    [[nodiscard]] bool next_visible_entry();
    Cell cell(const Column& column);

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
    std::vector<Column> columns_;
    int last_column_ = 0;
    bool is_index_enough_ = false;  ///< it holds all columns that are asked for

    // what is open, in the reading of this number
    std::uint64_t scope_ = 0;
    Relation table_ = nullptr;
    Relation index_ = nullptr;  ///< nothing: the statement is used
    IndexScanDesc scan_ = nullptr;
    IndexScanDesc lock_scan_ = nullptr;  ///< sees what is not committed yet
    SnapshotData uncommitted_{};
    TupleTableSlot* slot_ = nullptr;
    Buffer visibility_page_ = InvalidBuffer;
    std::array<ScanKeyData, max_key_columns> scan_keys_{};
};

}  // namespace sliding_sync
