#include "server/spi.hpp"

#include "server/catalog.hpp"
#include "server/settings.hpp"

#include <exception>

extern "C" {
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "jit/jit.h"
#include "optimizer/cost.h"
#include "optimizer/plancat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
}

namespace sliding_sync {

namespace {

// C calls only: runs inside call_pg.
Datum text_datum(std::string_view value) {
    return PointerGetDatum(cstring_to_text_with_len(value.data(), static_cast<int>(value.size())));
}

Cell read_cell(HeapTuple tuple, TupleDesc description, int column) {
    Cell cell{nullptr, 0, 0, false};
    const Datum value = SPI_getbinval(tuple, description, column + 1, &cell.is_null);
    if (cell.is_null) {
        return cell;
    }
    switch (TupleDescAttr(description, column)->atttypid) {
    case TEXTOID:
    case VARCHAROID: {
        auto* text = reinterpret_cast<struct varlena*>(PG_DETOAST_DATUM_PACKED(value));
        cell.data = VARDATA_ANY(text);
        cell.size = VARSIZE_ANY_EXHDR(text);
        break;
    }
    case NAMEOID:
        cell.data = NameStr(*DatumGetName(value));
        cell.size = strlen(cell.data);
        break;
    case INT8OID:
        cell.number = DatumGetInt64(value);
        break;
    case INT4OID:
        cell.number = DatumGetInt32(value);
        break;
    case INT2OID:
        cell.number = DatumGetInt16(value);
        break;
    case BOOLOID:
        cell.number = DatumGetBool(value) ? 1 : 0;
        break;
    case OIDOID:
    case XIDOID:
        cell.number = DatumGetUInt32(value);
        break;
    case TIDOID: {
        auto* const place = reinterpret_cast<ItemPointer>(DatumGetPointer(value));
        cell.number = (static_cast<std::int64_t>(ItemPointerGetBlockNumber(place)) << 16) |
                      ItemPointerGetOffsetNumber(place);
        break;
    }
    default:
        raise_pg_error(ERRCODE_INTERNAL_ERROR, "sliding_sync: a result column has an unexpected type",
                       psprintf("Column %d has type %s.", column + 1,
                                format_type_be(TupleDescAttr(description, column)->atttypid)));
    }
    return cell;
}

Rows read_rows() {
    Rows rows;
    if (SPI_tuptable == nullptr) {
        return rows;
    }
    TupleDesc const description = SPI_tuptable->tupdesc;
    rows.count = SPI_tuptable->numvals;
    rows.columns = static_cast<std::size_t>(description->natts);
    rows.cells = static_cast<Cell*>(MemoryContextAllocHuge(
        CurrentMemoryContext, std::max<std::size_t>(1, rows.count * rows.columns) * sizeof(Cell)));
    for (std::size_t row = 0; row < rows.count; ++row) {
        for (std::size_t column = 0; column < rows.columns; ++column) {
            rows.cells[row * rows.columns + column] =
                read_cell(SPI_tuptable->vals[row], description, static_cast<int>(column));
        }
    }
    return rows;
}

void check_result(int code, const char* sql) {
    if (code < 0) {
        raise_pg_error(ERRCODE_INTERNAL_ERROR, psprintf("sliding_sync: %s", SPI_result_code_string(code)),
                       psprintf("Statement: %s", sql));
    }
}

ArrayType* array_of(Datum* elements, bool* nulls, std::size_t count, Oid type) {
    int16 length = 0;
    bool by_value = false;
    char alignment = 0;
    switch (type) {
    case TEXTOID:
        length = -1;
        alignment = TYPALIGN_INT;
        break;
    case INT8OID:
        length = sizeof(int64);
        by_value = FLOAT8PASSBYVAL;
        alignment = TYPALIGN_DOUBLE;
        break;
    default:  // BOOLOID
        length = 1;
        by_value = true;
        alignment = TYPALIGN_CHAR;
        break;
    }
    int dimensions[1] = {static_cast<int>(count)};
    int lower_bounds[1] = {1};
    return construct_md_array(elements, nulls, 1, dimensions, lower_bounds, type, length, by_value,
                              alignment);
}

template <typename Value>
Datum array_datum(std::span<const Value> values, Oid type, Datum (*convert)(const Value&),
                  bool (*is_null)(const Value&)) {
    return call_pg([&]() -> Datum {
        const std::size_t count = values.size();
        if (count == 0) {
            return PointerGetDatum(construct_empty_array(type));
        }
        auto* elements =
            static_cast<Datum*>(MemoryContextAllocHuge(CurrentMemoryContext, count * sizeof(Datum)));
        auto* nulls = static_cast<bool*>(MemoryContextAllocHuge(CurrentMemoryContext, count * sizeof(bool)));
        for (std::size_t i = 0; i < count; ++i) {
            nulls[i] = is_null(values[i]);
            elements[i] = nulls[i] ? Datum{0} : convert(values[i]);
        }
        return PointerGetDatum(array_of(elements, nulls, count, type));
    });
}

int last_resorts = 0;
int moments = 0;
int scopes_as_of_now = 0;

// Our statements look rows up by their keys, for a handful of keys or for thousands, and are planned once, perhaps
// while the tables are still empty: anything but nested loops over index scans would be right only by accident. Where
// the server must scan a small table all the same, the price it sees would make it compile the statement.
class KeyLookupPlanning {
public:
    explicit KeyLookupPlanning(Indexes indexes) noexcept : outer_hook_(get_relation_info_hook) {
        if (indexes == Indexes::of_membership_keys) {
            next_hook = outer_hook_;
            get_relation_info_hook = hide_wide_indexes;
        }
        for (std::size_t i = 0; i < settings.size(); ++i) {
            before_[i] = *settings[i];
            *settings[i] = false;
        }
    }
    ~KeyLookupPlanning() {
        for (std::size_t i = 0; i < settings.size(); ++i) {
            *settings[i] = before_[i];
        }
        get_relation_info_hook = outer_hook_;
    }
    KeyLookupPlanning(const KeyLookupPlanning&) = delete;
    KeyLookupPlanning& operator=(const KeyLookupPlanning&) = delete;

private:
    static inline const std::array<bool*, 6> settings{&enable_seqscan,   &enable_material,   &enable_hashjoin,
                                                      &enable_mergejoin, &enable_bitmapscan, &jit_enabled};
    std::array<bool, 6> before_{};

    // Runs inside the planner; C calls only.
    static void hide_wide_indexes(PlannerInfo* root, Oid relation, bool inherits, RelOptInfo* info) {
        if (next_hook != nullptr) {
            next_hook(root, relation, inherits, info);
        }
        const char* const name = get_rel_name(relation);
        if (name == nullptr || (strcmp(name, membership_snapshots_table) != 0 &&
                                strcmp(name, table_name(BaseTable::local_current_membership)) != 0 &&
                                strcmp(name, table_name(BaseTable::current_state_events)) != 0)) {
            return;
        }
        List* narrow = NIL;
        ListCell* cell = nullptr;
        foreach (cell, info->indexlist) {
            auto* const index = static_cast<IndexOptInfo*>(lfirst(cell));
            if (index->unique && index->indpred == NIL) {
                narrow = lappend(narrow, index);
            }
        }
        if (narrow != NIL) {
            info->indexlist = narrow;
        }
    }

    static inline get_relation_info_hook_type next_hook = nullptr;
    get_relation_info_hook_type outer_hook_;
};

bool must_be_planned(SPIPlanPtr plan) {
    auto* const source = static_cast<CachedPlanSource*>(linitial(SPI_plan_get_plan_sources(plan)));
    return !source->is_valid || source->gplan == nullptr || !source->gplan->is_valid;
}

// sliding_sync.fault is "name" or "name:SQLSTATE", with "*" for every name, and "!" before it to reach last resorts.
void fail_on_purpose(const char* name) {
    const bool everywhere = fault[0] == '!';
    const char* const wanted = everywhere ? fault + 1 : fault;
    const char* const colon = strchr(wanted, ':');
    const std::size_t length = colon != nullptr ? static_cast<std::size_t>(colon - wanted) : strlen(wanted);
    const bool is_meant =
        (length == 1 && wanted[0] == '*') || (strlen(name) == length && strncmp(wanted, name, length) == 0);
    if (!is_meant || (last_resorts > 0 && !everywhere)) {
        return;
    }
    int sqlstate = ERRCODE_INTERNAL_ERROR;
    if (colon != nullptr && strlen(colon + 1) == 5) {
        sqlstate = MAKE_SQLSTATE(colon[1], colon[2], colon[3], colon[4], colon[5]);
    }
    raise_pg_error(sqlstate, psprintf("fault injected at %s", name));
}

}  // namespace

LastResort::LastResort() noexcept {
    ++last_resorts;
}

LastResort::~LastResort() {
    --last_resorts;
}

SpiConnection::SpiConnection() : exceptions_(std::uncaught_exceptions()) {
    call_pg([] {
        check_result(SPI_connect(), "SPI_connect");
        // Reading toasted values after a statement needs a snapshot that is older than theirs.
        PushActiveSnapshot(moments > 0 ? GetActiveSnapshot() : GetTransactionSnapshot());
    });
}

SpiConnection::~SpiConnection() {
    // While an exception passes, the (sub)transaction is being aborted, and that closes the connection.
    if (std::uncaught_exceptions() == exceptions_) {
        PopActiveSnapshot();
        SPI_finish();
    }
}

OneMoment::OneMoment() : exceptions_(std::uncaught_exceptions()) {
    call_pg([] { PushActiveSnapshot(GetTransactionSnapshot()); });
    ++moments;
}

OneMoment::~OneMoment() {
    --moments;
    if (std::uncaught_exceptions() == exceptions_) {
        PopActiveSnapshot();
    }
}

AsOfNow::AsOfNow() noexcept {
    ++scopes_as_of_now;
}

AsOfNow::~AsOfNow() {
    --scopes_as_of_now;
}

Arguments& Arguments::text(std::string_view value) {
    values_.push_back(call_pg([&] { return text_datum(value); }));
    nulls_.push_back(' ');
    return *this;
}

Arguments& Arguments::number(std::optional<std::int64_t> value) {
    values_.push_back(Int64GetDatum(value.value_or(0)));
    nulls_.push_back(value ? ' ' : 'n');
    return *this;
}

Arguments& Arguments::optional_text(const std::optional<std::string>& value) {
    values_.push_back(value ? call_pg([&] { return text_datum(*value); }) : Datum{0});
    nulls_.push_back(value ? ' ' : 'n');
    return *this;
}

Arguments& Arguments::real(double value) {
    values_.push_back(call_pg([&] { return Float8GetDatum(value); }));
    nulls_.push_back(' ');
    return *this;
}

Arguments& Arguments::boolean(bool value) {
    values_.push_back(BoolGetDatum(value));
    nulls_.push_back(' ');
    return *this;
}

void Arguments::add(Datum value, bool is_null) {
    values_.push_back(value);
    nulls_.push_back(is_null ? 'n' : ' ');
}

Arguments& Arguments::texts(std::span<const std::string_view> values) {
    if (is_single_row_) {
        return text(values.front());
    }
    add(array_datum<std::string_view>(
        values, TEXTOID, [](const std::string_view& value) { return text_datum(value); },
        [](const std::string_view&) { return false; }));
    return *this;
}

Arguments& Arguments::texts(std::span<const std::optional<std::string_view>> values) {
    if (is_single_row_) {
        const std::optional<std::string_view>& value = values.front();
        add(value ? call_pg([&] { return text_datum(*value); }) : Datum{0}, !value);
        return *this;
    }
    add(array_datum<std::optional<std::string_view>>(
        values, TEXTOID, [](const std::optional<std::string_view>& value) { return text_datum(*value); },
        [](const std::optional<std::string_view>& value) { return !value.has_value(); }));
    return *this;
}

Arguments& Arguments::numbers(std::span<const std::optional<std::int64_t>> values) {
    if (is_single_row_) {
        return number(values.front());
    }
    add(array_datum<std::optional<std::int64_t>>(
        values, INT8OID, [](const std::optional<std::int64_t>& value) { return Int64GetDatum(*value); },
        [](const std::optional<std::int64_t>& value) { return !value.has_value(); }));
    return *this;
}

Arguments& Arguments::booleans(std::span<const bool> values) {
    if (is_single_row_) {
        return boolean(values.front());
    }
    add(array_datum<bool>(
        values, BOOLOID, [](const bool& value) { return BoolGetDatum(value); },
        [](const bool&) { return false; }));
    return *this;
}

Rows Statement::run(const Arguments& arguments, View view) {
    if (arguments.values_.size() != types_.size()) {
        throw Error(ERRCODE_INTERNAL_ERROR,
                    std::string("sliding_sync: wrong number of parameters for ") + name_);
    }
    auto* const values = const_cast<Datum*>(arguments.values_.data());
    const char* const nulls = arguments.nulls_.data();
    call_pg([&] {
        if (fault != nullptr && fault[0] != '\0') {
            fail_on_purpose(name_);
        }
        if (plan_ == nullptr) {
            // one generic plan: the shapes of our statements do not depend on the values
            SPIPlanPtr const fresh = SPI_prepare_cursor(sql_.c_str(), static_cast<int>(types_.size()),
                                                        types_.data(), CURSOR_OPT_GENERIC_PLAN);
            if (fresh == nullptr) {
                check_result(SPI_result, sql_.c_str());
            }
            SPI_keepplan(fresh);
            plan_ = fresh;
        }
    });
    if (must_be_planned(plan_)) {
        const KeyLookupPlanning planning(indexes_);
        call_pg([&] { ReleaseCachedPlan(SPI_plan_get_cached_plan(plan_), CurrentResourceOwner); });
    }
    return call_pg([&]() -> Rows {
        if (view == View::before_transaction) {
            // Our own changes carry command ids from FirstCommandId up; a snapshot that stops there sees none.
            PushCopiedSnapshot(GetTransactionSnapshot());
            GetActiveSnapshot()->curcid = FirstCommandId;
        } else if (view == View::latest) {
            CommandCounterIncrement();  // else what the running statement has changed would not count
            PushActiveSnapshot(GetLatestSnapshot());
        }
        const bool has_own_snapshot = view != View::current;
        const Snapshot snapshot =
            !has_own_snapshot && scopes_as_of_now > 0 ? GetLatestSnapshot() : InvalidSnapshot;
        const int code = SPI_execute_snapshot(plan_, values, nulls, snapshot, InvalidSnapshot,
                                              has_own_snapshot || moments > 0, true, 0);
        if (has_own_snapshot) {
            PopActiveSnapshot();
        }
        check_result(code, sql_.c_str());
        processed_ = SPI_processed;
        return read_rows();
    });
}

std::string quoted_literal(std::string_view text) {
    const std::string owned(text);
    return call_pg([&]() -> const char* { return quote_literal_cstr(owned.c_str()); });
}

std::string quoted_identifier(std::string_view text) {
    const std::string owned(text);
    return call_pg([&]() -> const char* { return quote_identifier(owned.c_str()); });
}

void run_once(const std::string& sql) {
    call_pg([&] { check_result(SPI_execute(sql.c_str(), false, 0), sql.c_str()); });
}

Rows query_once(const std::string& sql) {
    return call_pg([&] {
        check_result(SPI_execute(sql.c_str(), false, 0), sql.c_str());
        return read_rows();
    });
}

Rows query_once(const std::string& sql, const std::vector<Oid>& types, const Arguments& arguments) {
    auto* const values = const_cast<Datum*>(arguments.values_.data());
    return call_pg([&] {
        check_result(SPI_execute_with_args(sql.c_str(), static_cast<int>(types.size()),
                                           const_cast<Oid*>(types.data()), values, arguments.nulls_.data(),
                                           false, 0),
                     sql.c_str());
        return read_rows();
    });
}

}  // namespace sliding_sync
