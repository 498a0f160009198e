#include "pg/table_reader.hpp"

#include "pg/fault_injection.hpp"
#include "pg/versions.hpp"

#include <exception>

extern "C" {
#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/visibilitymap.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/predicate.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
}

namespace sliding_sync {

namespace {

struct Operator {
    const char* sql;
    StrategyNumber strategy;
    int procedure;
};

Operator how_to_compare(const KeyColumn& column) noexcept {
    const bool is_number = column.type == INT8OID;
    switch (column.comparison) {
    case KeyComparison::at_least:
        return {">=", BTGreaterEqualStrategyNumber, is_number ? F_INT8GE : F_TEXT_GE};
    case KeyComparison::at_most:
        return {"<=", BTLessEqualStrategyNumber, is_number ? F_INT8LE : F_TEXT_LE};
    case KeyComparison::equal:
        break;
    }
    return {"=", BTEqualStrategyNumber, is_number ? F_INT8EQ : F_TEXTEQ};
}

std::string select_text(const Schema& schema, const char* table, std::span<const KeyColumn> key,
                        const std::vector<const char*>& columns, const char* lock = "") {
    std::string text = "SELECT ";
    for (const char* const column : columns) {
        text += std::string(column == columns.front() ? "" : ", ") + column;
    }
    text += " FROM " + schema.name + "." + table;
    for (std::size_t i = 0; i < key.size(); ++i) {
        text += (i == 0 ? " WHERE " : " AND ") + std::string(key[i].name) + " OPERATOR(pg_catalog." +
                how_to_compare(key[i]).sql + ") $" + std::to_string(i + 1);
    }
    return text + lock;
}

std::vector<Oid> types_of(std::span<const KeyColumn> key) {
    std::vector<Oid> types;
    for (const KeyColumn& column : key) {
        types.push_back(column.type);
    }
    return types;
}

// Whoever reads these tables through a statement sees the same rows, and may see them. C calls only.
bool is_readable_as_it_is(Relation table) {
    const Form_pg_class form = table->rd_rel;
    return form->relkind == RELKIND_RELATION && !form->relrowsecurity && !form->relhassubclass &&
           (form->relowner == GetUserId() ||
            pg_class_aclcheck(RelationGetRelid(table), GetUserId(), ACL_SELECT) == ACLCHECK_OK);
}

// The types that a reader fetches itself.
bool is_fetched(Oid type) noexcept {
    return is_text(type) || type == INT8OID || type == INT4OID || type == BOOLOID;
}

// In memory that outlives the page that the value may point into. C calls only.
Cell kept_cell(Datum value, Oid type) {
    Cell cell = cell_of(value, type);
    if (is_text(type)) {
        auto* const stored = reinterpret_cast<struct varlena*>(DatumGetPointer(value));
        if (!VARATT_IS_COMPRESSED(stored) && !VARATT_IS_EXTERNAL(stored)) {
            cell.data = static_cast<const char*>(memcpy(palloc(cell.size), cell.data, cell.size));
        }
    }
    return cell;
}

}  // namespace

namespace {

LookupScope* innermost = nullptr;

}  // namespace

LookupScope::LookupScope(SnapshotKind view)
    : view_(view), exceptions_(std::uncaught_exceptions()), outer_(innermost) {
    static std::uint64_t numbers = 0;
    number_ = ++numbers;
    call_pg([&] { push_snapshot(view); });
    innermost = this;
}

LookupScope::~LookupScope() {
    innermost = outer_;
    // While an exception passes, the abort of the (sub)transaction closes what is open.
    if (std::uncaught_exceptions() == exceptions_) {
        for (TableReader* const reader : readers_) {
            if (reader->scope_ == number_) {
                reader->close();
            }
        }
        PopActiveSnapshot();
    }
}

bool LookupScope::is_open(std::uint64_t number) noexcept {
    for (const LookupScope* scope = innermost; scope != nullptr; scope = scope->outer_) {
        if (scope->number_ == number) {
            return true;
        }
    }
    return false;
}

TableReader::TableReader(const char* name, const Schema& schema, const char* table,
                         std::vector<KeyColumn> key, std::vector<const char*> columns)
    : name_(name), namespace_oid_(schema.namespace_oid), table_name_(table), key_(std::move(key)),
      column_names_(std::move(columns)),
      statement_(name, select_text(schema, table, key_, column_names_), types_of(key_)),
      lock_statement_(name, select_text(schema, table, key_, column_names_, " FOR NO KEY UPDATE"),
                      types_of(key_)),
      columns_(column_names_.size()) {}

Rows TableReader::find(LookupScope& scope, std::initializer_list<KeyValue> key, std::size_t max_rows) {
    open(scope);
    if (scope_ == scope.number_ && index_ != nullptr) {
        return call_pg([&]() -> Rows { return scan(key, max_rows); });
    }
    Rows rows = by_statement(statement_, scope, key);
    rows.count = std::min(rows.count, max_rows);
    return rows;
}

std::optional<Rows> TableReader::find_by_index(LookupScope& scope, std::initializer_list<KeyValue> key) {
    open(scope);
    if (scope_ != scope.number_ || index_ == nullptr) {
        return std::nullopt;
    }
    return call_pg([&]() -> Rows { return scan(key, SIZE_MAX); });
}

Rows TableReader::lock(LookupScope& scope, std::initializer_list<KeyValue> key) {
    open(scope);
    if (scope_ == scope.number_ && index_ != nullptr) {
        return call_pg([&]() -> Rows { return scan_and_lock(key); });
    }
    return by_statement(lock_statement_, scope, key);
}

Rows TableReader::by_statement(Statement& statement, const LookupScope& scope,
                               std::initializer_list<KeyValue> key) {
    Arguments arguments;
    for (std::size_t i = 0; i < key_.size(); ++i) {
        const KeyValue& value = key.begin()[i];
        key_[i].type == INT8OID ? arguments.number(value.number) : arguments.text(value.text);
    }
    return statement.run(arguments, scope.view_);
}

// What is open belongs to one reading: code of the tables' owner that runs in its middle reads by the statement.
void TableReader::open(LookupScope& scope) {
    if (scope_ == scope.number_ || LookupScope::is_open(scope_)) {
        return;
    }
    scope.readers_.push_back(this);
    table_ = index_ = nullptr;
    lock_scan_ = nullptr;
    visibility_page_ = InvalidBuffer;
    call_pg([&] {
        inject_fault(name_);
        if (generation_ != catalog_generation()) {
            table_oid_ = get_relname_relid(table_name_, namespace_oid_);
        }
        table_ = OidIsValid(table_oid_) ? try_table_open(table_oid_, AccessShareLock) : nullptr;
        if (table_ == nullptr) {
            return;
        }
        // only now, with the table locked, the catalog stands still
        if (generation_ != catalog_generation()) {
            generation_ = catalog_generation();
            key_index_ = find_columns() ? find_key_index(table_, key_) : KeyIndex{};
        }
        if (!is_the_one()) {
            generation_ = 0;
        } else if (OidIsValid(key_index_.index) && is_readable_as_it_is(table_)) {
            begin_scan();
        }
    });
    scope_ = scope.number_;
}

// Nothing of this raises an error: it runs where one would jump over C++ frames.
void TableReader::close() noexcept {
    if (index_ != nullptr) {
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
    if (table_ != nullptr) {
        table_close(table_, NoLock);
    }
    scope_ = 0;
}

// It may have been renamed while its lock was waited for.
bool TableReader::is_the_one() const {
    return RelationGetNamespace(table_) == namespace_oid_ &&
           strcmp(RelationGetRelationName(table_), table_name_) == 0;
}

// False when one is missing, or holds what a reader does not fetch itself.
bool TableReader::find_columns() {
    last_column_ = 0;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        if (strcmp(column_names_[i], "xmin") == 0) {
            columns_[i] = {MinTransactionIdAttributeNumber, XIDOID, 0};
            continue;
        }
        auto* const attribute = find_attribute(RelationGetDescr(table_), column_names_[i]);
        if (attribute == nullptr || !is_fetched(attribute->atttypid)) {
            return false;
        }
        columns_[i] = {attribute->attnum, attribute->atttypid, 0};
        last_column_ = std::max<int>(last_column_, attribute->attnum);
    }
    return true;
}

void TableReader::find_columns_in_index(Relation index) {
    is_index_enough_ = true;
    for (Column& column : columns_) {
        const auto& held = index->rd_index->indkey;
        const auto* const found = std::find(held.values, held.values + held.dim1, column.number);
        column.in_index =
            static_cast<AttrNumber>(found == held.values + held.dim1 ? 0 : found - held.values + 1);
        is_index_enough_ = is_index_enough_ && column.in_index > 0;
    }
}

void TableReader::begin_scan() {
    Relation const index = index_open(key_index_.index, AccessShareLock);
    find_columns_in_index(index);
    slot_ = table_slot_create(table_, nullptr);
    for (std::size_t i = 0; i < key_.size(); ++i) {
        const AttrNumber column = key_index_.index_columns[i];
        const Operator comparison = how_to_compare(key_[key_index_.keys[i]]);
        ScanKeyEntryInitialize(&scan_keys_[i], 0, column, comparison.strategy, InvalidOid,
                               index->rd_indcollation[column - 1],
                               static_cast<RegProcedure>(comparison.procedure), Datum{0});
    }
    scan_ = versions::begin_index_scan(table_, index, GetActiveSnapshot(), key_.size());
    scan_->xs_want_itup = is_index_enough_;
    index_ = index;
}

void TableReader::set_keys(std::initializer_list<KeyValue> key) {
    for (std::size_t i = 0; i < key_.size(); ++i) {
        const std::size_t place = key_index_.keys[i];
        const KeyValue& value = key.begin()[place];
        scan_keys_[i].sk_argument = key_[place].type == INT8OID
                                        ? Int64GetDatum(value.number)
                                        : PointerGetDatum(cstring_to_text_with_len(
                                              value.text.data(), static_cast<int>(value.text.size())));
    }
}

Rows TableReader::scan(std::initializer_list<KeyValue> key, std::size_t max_rows) {
    CHECK_FOR_INTERRUPTS();
    set_keys(key);
    index_rescan(scan_, scan_keys_.data(), static_cast<int>(key_.size()), nullptr, 0);
    Rows rows;
    rows.columns = columns_.size();
    std::size_t room = 0;
    while (rows.count < max_rows && next_row()) {
        copy_row(rows, room);
    }
    ExecClearTuple(slot_);
    return rows;
}

void TableReader::copy_row(Rows& rows, std::size_t& room) {
    if (rows.count == room) {
        const std::size_t expected = std::max<std::size_t>(1, 2 * room);
        auto* const cells = static_cast<Cell*>(MemoryContextAllocHuge(
            CurrentMemoryContext, std::max<std::size_t>(1, expected * rows.columns) * sizeof(Cell)));
        std::copy(rows.cells, rows.cells + rows.count * rows.columns, cells);
        rows.cells = cells;
        room = expected;
    }
    Cell* const row = rows.cells + rows.count * rows.columns;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        row[i] = cell(columns_[i]);
    }
    ++rows.count;
}

void TableReader::begin_lock_scan() {
    LockRelation(table_, RowExclusiveLock);  // what comes next is a write
    InitDirtySnapshot(uncommitted_);
    lock_scan_ = versions::begin_index_scan(table_, index_, &uncommitted_, key_.size());
    CommandCounterIncrement();  // what this command has changed would be invisible to the lock
}

Rows TableReader::scan_and_lock(std::initializer_list<KeyValue> key) {
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
    std::size_t room = 0;
    const bool is_index_enough = std::exchange(is_index_enough_, false);
    copy_row(rows, room);
    is_index_enough_ = is_index_enough;
    ExecClearTuple(slot_);
    return rows;
}

// Locks the version of a row that the scan found, which may not be committed.
TableReader::Locked TableReader::lock_found() {
    const TransactionId inserter = uncommitted_.xmin;
    ItemPointerData place = slot_->tts_tid;
    if (TransactionIdIsValid(inserter)) {
        const uint32 token = uncommitted_.speculativeToken;
        ExecClearTuple(slot_);
        token != 0 ? SpeculativeInsertionWait(inserter, token)
                   : XactLockTableWait(inserter, table_, &place, XLTW_InsertIndex);
        return Locked::look_again;
    }
    bool is_null = false;
    const Datum xmin = slot_getsysattr(slot_, MinTransactionIdAttributeNumber, &is_null);
    if (TransactionIdIsCurrentTransactionId(DatumGetTransactionId(xmin))) {
        return Locked::yes;  // nobody else can touch what is not committed
    }
    TM_FailureData failure{};
    const TM_Result result =
        table_tuple_lock(table_, &place, GetActiveSnapshot(), slot_, GetCurrentCommandId(true),
                         LockTupleNoKeyExclusive, LockWaitBlock, TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
    // A newer version may have another key; locked, it is found again if it has not.
    return result == TM_Ok && !failure.traversed ? Locked::yes : Locked::look_again;
}

bool TableReader::next_row() {
    if (is_index_enough_) {
        return next_visible_entry();
    }
    if (!index_getnext_slot(scan_, ForwardScanDirection, slot_)) {
        return false;
    }
    slot_getsomeattrs(slot_, last_column_);
    return true;
}

// The table's page is fetched only where not everybody sees all that is on it, as in the server's index-only scans.
bool TableReader::next_visible_entry() {
    while (ItemPointer const place = index_getnext_tid(scan_, ForwardScanDirection)) {
        const BlockNumber page = ItemPointerGetBlockNumber(place);
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

Cell TableReader::cell(const Column& column) {
    bool is_null = false;
    const Datum value = is_index_enough_
                            ? index_getattr(scan_->xs_itup, column.in_index, scan_->xs_itupdesc, &is_null)
                        : column.number > 0 ? slot_getattr(slot_, column.number, &is_null)
                                            : slot_getsysattr(slot_, column.number, &is_null);
    return is_null ? null_cell : kept_cell(value, column.type);
}

}  // namespace sliding_sync
