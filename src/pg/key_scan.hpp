// Rows of a table by the values of some columns, read without a plan: with the rights of whoever calls, and
// of the very moment that the calling statement sees, like a CallerQuery. What cannot be read so is left to
// one.
#pragma once

#include "pg/key_index.hpp"

extern "C" {
#include "access/genam.h"
#include "access/skey.h"
#include "executor/tuptable.h"
#include "storage/itemptr.h"
}

namespace sliding_sync {

struct ScannedColumn {
    const char* name;
    Oid type;  ///< TEXTOID stands for every type that holds text
};

/// A table as it is to be read, and what the catalog says of it. Lives as long as the backend.
class ScannedTable {
public:
    /// `is_unique`: no two rows have the same key.
    ScannedTable(const char* table, std::vector<KeyColumn> key, std::vector<ScannedColumn> columns,
                 bool is_unique)
        : table_name_(table), key_(std::move(key)), columns_(std::move(columns)), is_unique_(is_unique),
          numbers_(columns_.size()) {}
    ScannedTable(const ScannedTable&) = delete;
    ScannedTable& operator=(const ScannedTable&) = delete;

private:
    friend class KeyScan;
    void look_up(PgFrame frame, Oid namespace_oid);
    [[nodiscard]] bool is_the_one(Relation table) const noexcept;
    [[nodiscard]] bool find_columns(PgFrame frame, Relation table);
    [[nodiscard]] bool find_index(PgFrame frame, Relation table);

    const char* table_name_;
    std::vector<KeyColumn> key_;
    std::vector<ScannedColumn> columns_;
    bool is_unique_;

    std::uint64_t generation_ = 0;
    Oid namespace_oid_ = InvalidOid;
    Oid table_oid_ = InvalidOid;
    KeyIndex index_;
    std::vector<AttrNumber> numbers_;
};

/// One table that is open for its lifetime.
class KeyScan {
public:
    KeyScan(ScannedTable& table, Oid namespace_oid);
    ~KeyScan();
    KeyScan(const KeyScan&) = delete;
    KeyScan& operator=(const KeyScan&) = delete;

    /// False where only a query reads the table as its owner means it, or finds its rows: a view, a
    /// partitioned table, row security, rights to some columns, other types, no fitting index.
    [[nodiscard]] bool is_open() const noexcept {
        return scan_ != nullptr;
    }

    // Values point into the table's page, and last until the next row.

    /// Begins to look for rows with this key.
    void look_for(PgFrame frame, std::initializer_list<Datum> key);
    /// Begins to walk through all of the index, in its order.
    void walk(PgFrame frame);
    /// Goes on to the next entry of the index. Whether there is a row that can be seen, fetch() says.
    [[nodiscard]] bool next_entry(PgFrame frame);
    /// Where the index says that the row is: another time fetch() finds it there without the index.
    [[nodiscard]] ItemPointerData place() const noexcept {
        return place_;
    }
    /// While walking: the first column of the index, which is text.
    [[nodiscard]] std::string_view entry_text(PgFrame frame);
    /// Whether a row can be seen at this place, which may be any: the caller compares its key.
    [[nodiscard]] bool fetch(PgFrame frame, ItemPointerData place);
    /// The next row with the key.
    [[nodiscard]] bool next(PgFrame frame) {
        while (next_entry(frame)) {
            if (fetch(frame, place_)) {
                return true;
            }
        }
        return false;
    }

    /// What statistics say about the number of rows; below 0: nothing.
    [[nodiscard]] double estimated_rows() const noexcept {
        return table_->rd_rel->reltuples;
    }
    /// Does the index have the order of bytes?
    [[nodiscard]] bool is_in_order_of_bytes() const noexcept {
        return is_in_order_of_bytes_;
    }

    [[nodiscard]] Datum value(PgFrame, std::size_t column, bool& is_null) {
        return slot_getattr(slot_, numbers_[column], &is_null);
    }
    [[nodiscard]] std::optional<std::int64_t> number(PgFrame frame, std::size_t column);
    [[nodiscard]] std::optional<bool> truth(PgFrame frame, std::size_t column);
    /// Without a pointer to it: NULL.
    [[nodiscard]] std::string_view text(PgFrame frame, std::size_t column);

private:
    void begin(PgFrame frame);

    static constexpr std::size_t max_columns = 16;

    ScannedTable& scanned_;
    // As of when it was opened: code of the tables' owner that runs in between may look the same table up in
    // another schema.
    KeyIndex key_index_;
    std::array<AttrNumber, max_columns> numbers_{};
    int exceptions_;
    Relation table_ = nullptr;
    Relation index_ = nullptr;
    IndexScanDesc scan_ = nullptr;
    IndexScanDesc walk_ = nullptr;     ///< without a key
    IndexScanDesc current_ = nullptr;  ///< one of both
    TupleTableSlot* slot_ = nullptr;
    BlockNumber pages_ = 0;
    bool is_in_order_of_bytes_ = false;
    ItemPointerData place_{};
    std::array<ScanKeyData, max_key_columns> keys_{};
};

}  // namespace sliding_sync
