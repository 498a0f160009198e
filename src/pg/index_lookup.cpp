#include "pg/index_lookup.hpp"

#include "pg/versions.hpp"

extern "C" {
#include "access/tableam.h"
#include "access/visibilitymap.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/predicate.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
}

namespace sliding_sync {

namespace {

// In memory that outlives the page that the value may point into.
Cell kept_cell(PgFrame frame, Datum value, Oid type) {
    Cell cell = cell_of(frame, value, type);
    if (is_text(type)) {
        auto* const stored = reinterpret_cast<struct varlena*>(DatumGetPointer(value));
        if (!VARATT_IS_COMPRESSED(stored) && !VARATT_IS_EXTERNAL(stored)) {
            cell.data = static_cast<const char*>(memcpy(palloc(cell.size), cell.data, cell.size));
        }
    }
    return cell;
}

}  // namespace

void IndexLookup::open(PgFrame, Relation table, const KeyIndex& key_index, std::span<const KeyColumn> key,
                       std::span<FetchedColumn> columns) {
    Assert(!is_open() && key.size() <= max_key_columns);
    table_ = table;
    key_ = key;
    columns_ = columns;
    key_positions_ = key_index.keys;
    Relation const index = index_open(key_index.index, AccessShareLock);
    for (std::size_t i = 0; i < key.size(); ++i) {
        const AttrNumber column = key_index.index_columns[i];
        const KeyOperator comparison = key_operator(key[key_index.keys[i]]);
        ScanKeyEntryInitialize(&scan_keys_[i], 0, column, comparison.strategy, InvalidOid,
                               index->rd_indcollation[column - 1],
                               static_cast<RegProcedure>(comparison.procedure), Datum{0});
    }
    slot_ = table_slot_create(table_, nullptr);
    scan_ = versions::begin_index_scan(table_, index, GetActiveSnapshot(), key.size());
    index_ = index;
    find_columns_in_index();
    scan_->xs_want_itup = is_index_enough_;
}

void IndexLookup::find_columns_in_index() {
    is_index_enough_ = true;
    last_column_ = 0;
    for (FetchedColumn& column : columns_) {
        const auto& held = index_->rd_index->indkey;
        const auto* const found = std::find(held.values, held.values + held.dim1, column.number);
        column.in_index =
            static_cast<AttrNumber>(found == held.values + held.dim1 ? 0 : found - held.values + 1);
        is_index_enough_ = is_index_enough_ && column.in_index > 0;
        last_column_ = std::max<int>(last_column_, column.number);
    }
}

void IndexLookup::close() noexcept {
    if (is_open()) {
        if (BufferIsValid(visibility_page_)) {
            ReleaseBuffer(visibility_page_);
        }
        index_endscan(scan_);
        if (lock_scan_ != nullptr) {
            index_endscan(lock_scan_);
        }
        ExecDropSingleTupleTableSlot(slot_);
        index_close(index_, NoLock);
    }
    forget();
}

void IndexLookup::forget() noexcept {
    table_ = index_ = nullptr;
    lock_scan_ = nullptr;
    visibility_page_ = InvalidBuffer;
}

void IndexLookup::set_keys(std::initializer_list<KeyValue> key) {
    Assert(key.size() == key_.size());
    for (std::size_t i = 0; i < key_.size(); ++i) {
        const std::size_t position = key_positions_[i];
        const KeyValue& value = key.begin()[position];
        scan_keys_[i].sk_argument = key_[position].type == INT8OID
                                        ? Int64GetDatum(value.number)
                                        : PointerGetDatum(cstring_to_text_with_len(
                                              value.text.data(), static_cast<int>(value.text.size())));
    }
}

// -- finding

Rows IndexLookup::find(PgFrame frame, std::initializer_list<KeyValue> key, std::size_t max_rows) {
    CHECK_FOR_INTERRUPTS();
    set_keys(key);
    index_rescan(scan_, scan_keys_.data(), static_cast<int>(key_.size()), nullptr, 0);
    Rows rows;
    rows.columns = columns_.size();
    std::size_t capacity = 0;
    while (rows.count < max_rows && next_row()) {
        copy_row(frame, rows, capacity);
    }
    ExecClearTuple(slot_);
    return rows;
}

bool IndexLookup::next_row() {
    if (is_index_enough_) {
        return next_visible_entry();
    }
    if (!index_getnext_slot(scan_, ForwardScanDirection, slot_)) {
        return false;
    }
    slot_getsomeattrs(slot_, last_column_);
    return true;
}

// The table's page is fetched only where not everybody sees all that is on it, as in the server's index-only
// scans.
bool IndexLookup::next_visible_entry() {
    while (ItemPointer const position = index_getnext_tid(scan_, ForwardScanDirection)) {
        const BlockNumber page = ItemPointerGetBlockNumber(position);
        if (VM_ALL_VISIBLE(table_, page, &visibility_page_)) {
            PredicateLockPage(table_, page, scan_->xs_snapshot);
            return true;
        }
        if (index_fetch_heap(scan_, slot_)) {
            return true;
        }
    }
    return false;
}

void IndexLookup::copy_row(PgFrame frame, Rows& rows, std::size_t& capacity) {
    if (rows.count == capacity) {
        const std::size_t larger = std::max<std::size_t>(1, 2 * capacity);
        auto* const cells = static_cast<Cell*>(MemoryContextAllocHuge(
            CurrentMemoryContext, std::max<std::size_t>(1, larger * rows.columns) * sizeof(Cell)));
        std::copy(rows.cells, rows.cells + rows.count * rows.columns, cells);
        rows.cells = cells;
        capacity = larger;
    }
    Cell* const row = rows.cells + rows.count * rows.columns;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        row[i] = cell(frame, columns_[i]);
    }
    ++rows.count;
}

Cell IndexLookup::cell(PgFrame frame, const FetchedColumn& column) {
    bool is_null = false;
    const Datum value = is_index_enough_
                            ? index_getattr(scan_->xs_itup, column.in_index, scan_->xs_itupdesc, &is_null)
                        : column.number > 0 ? slot_getattr(slot_, column.number, &is_null)
                                            : slot_getsysattr(slot_, column.number, &is_null);
    return is_null ? null_cell : kept_cell(frame, value, column.type);
}

// -- locking

void IndexLookup::begin_lock_scan() {
    LockRelation(table_, RowExclusiveLock);  // what comes next is a write
    InitDirtySnapshot(uncommitted_);
    lock_scan_ = versions::begin_index_scan(table_, index_, &uncommitted_, key_.size());
    CommandCounterIncrement();  // what this command has changed would be invisible to the lock
}

Rows IndexLookup::lock(PgFrame frame, std::initializer_list<KeyValue> key) {
    if (lock_scan_ == nullptr) {
        begin_lock_scan();
    }
    set_keys(key);
    Rows rows;
    rows.columns = columns_.size();
    do {
        CHECK_FOR_INTERRUPTS();
        index_rescan(lock_scan_, scan_keys_.data(), static_cast<int>(key_.size()), nullptr, 0);
        if (!index_getnext_slot(lock_scan_, ForwardScanDirection, slot_)) {
            return rows;
        }
    } while (lock_found() == Locked::look_again);
    slot_getsomeattrs(slot_, last_column_);
    std::size_t capacity = 0;
    const bool is_index_enough = std::exchange(is_index_enough_, false);
    copy_row(frame, rows, capacity);
    is_index_enough_ = is_index_enough;
    ExecClearTuple(slot_);
    return rows;
}

// Locks the version of a row that the scan found, which may not be committed.
IndexLookup::Locked IndexLookup::lock_found() {
    const TransactionId inserter = uncommitted_.xmin;
    ItemPointerData position = slot_->tts_tid;
    if (TransactionIdIsValid(inserter)) {
        const uint32 token = uncommitted_.speculativeToken;
        ExecClearTuple(slot_);
        token != 0 ? SpeculativeInsertionWait(inserter, token)
                   : XactLockTableWait(inserter, table_, &position, XLTW_InsertIndex);
        return Locked::look_again;
    }
    bool is_null = false;
    const Datum xmin = slot_getsysattr(slot_, MinTransactionIdAttributeNumber, &is_null);
    if (TransactionIdIsCurrentTransactionId(DatumGetTransactionId(xmin))) {
        return Locked::yes;  // no other transaction can touch what is not committed
    }
    TM_FailureData failure{};
    const TM_Result result =
        table_tuple_lock(table_, &position, GetActiveSnapshot(), slot_, GetCurrentCommandId(true),
                         LockTupleNoKeyExclusive, LockWaitBlock, TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
    // A newer version may have another key; locked, it is found again if it has not.
    return result == TM_Ok && !failure.traversed ? Locked::yes : Locked::look_again;
}

}  // namespace sliding_sync
