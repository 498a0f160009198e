// Rows of an open table through one of its indexes, without a plan: found, or locked.
#pragma once

#include "pg/cell.hpp"
#include "pg/key_index.hpp"

extern "C" {
#include "access/genam.h"
#include "access/skey.h"
#include "executor/tuptable.h"
#include "storage/buf.h"
#include "utils/snapshot.h"
}

namespace sliding_sync {

/// A column that is read.
struct FetchedColumn {
    AttrNumber number;
    Oid type;
    AttrNumber in_index = 0;  ///< from 1; none: 0
};

/// The scans of one table by one key, opened once and used for many values. Finding reads with the snapshot
/// that is active when it is opened, and from the index alone where that holds every column; locking sees
/// what is not committed yet. What is open belongs to the resource owner: after an error the abort closes it,
/// and `forget` is called instead of `close`.
class IndexLookup {
public:
    /// `key` and `columns` stay where they are until it is closed.
    void open(PgFrame frame, Relation table, const KeyIndex& key_index, std::span<const KeyColumn> key,
              std::span<FetchedColumn> columns);
    /// Raises nothing: it runs where an error would jump over C++ frames.
    void close() noexcept;
    void forget() noexcept;
    [[nodiscard]] bool is_open() const noexcept {
        return index_ != nullptr;
    }

    [[nodiscard]] Rows find(PgFrame frame, std::initializer_list<KeyValue> key, std::size_t max_rows);
    /// The row of a unique key, once it is locked against every other change.
    [[nodiscard]] Rows lock(PgFrame frame, std::initializer_list<KeyValue> key);

private:
    enum class Locked { yes, look_again };

    void find_columns_in_index();
    void set_keys(std::initializer_list<KeyValue> key);
    void begin_lock_scan();
    [[nodiscard]] Locked lock_found();
    [[nodiscard]] bool next_row();
    [[nodiscard]] bool next_visible_entry();
    void copy_row(PgFrame frame, Rows& rows, std::size_t& capacity);
    [[nodiscard]] Cell cell(PgFrame frame, const FetchedColumn& column);

    std::span<const KeyColumn> key_;
    std::span<FetchedColumn> columns_;
    std::array<std::size_t, max_key_columns> key_positions_{};  ///< of the scan keys, in `key_`
    std::array<ScanKeyData, max_key_columns> scan_keys_{};
    int last_column_ = 0;
    bool is_index_enough_ = false;  ///< it holds all columns that are asked for

    Relation table_ = nullptr;
    Relation index_ = nullptr;
    IndexScanDesc scan_ = nullptr;
    IndexScanDesc lock_scan_ = nullptr;  ///< sees what is not committed yet
    SnapshotData uncommitted_{};
    TupleTableSlot* slot_ = nullptr;
    Buffer visibility_page_ = InvalidBuffer;
};

}  // namespace sliding_sync
