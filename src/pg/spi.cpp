#include "pg/spi.hpp"

#include "pg/fault_injection.hpp"
#include "pg/versions.hpp"

#include <exception>
#include <tuple>

extern "C" {
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "jit/jit.h"
#include "optimizer/cost.h"
#include "storage/ipc.h"
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
    bool is_null = false;
    const Datum value = SPI_getbinval(tuple, description, column + 1, &is_null);
    return is_null ? null_cell : cell_of(value, TupleDescAttr(description, column)->atttypid);
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

// Our statements look rows up by their keys, for a handful of keys or for thousands, and are planned once, perhaps
// while the tables are still empty: anything but nested loops over index scans would be right only by accident, and so
// would be one whose outer side is a table. They are planned as for big tables, then. Where the server must scan a
// small table all the same, the price it sees would make it compile the statement.
class KeyLookupPlanning {
public:
    KeyLookupPlanning() noexcept : outer_hook_(versions::relation_hook) {
        next_hook = outer_hook_;
        versions::relation_hook = pretend_to_be_big;
        for (std::size_t i = 0; i < settings.size(); ++i) {
            before_[i] = *settings[i];
            *settings[i] = false;
        }
    }
    ~KeyLookupPlanning() {
        for (std::size_t i = 0; i < settings.size(); ++i) {
            *settings[i] = before_[i];
        }
        versions::relation_hook = outer_hook_;
    }
    KeyLookupPlanning(const KeyLookupPlanning&) = delete;
    KeyLookupPlanning& operator=(const KeyLookupPlanning&) = delete;

private:
    static constexpr double big_tuples = 1e8;
    static constexpr BlockNumber big_pages = 1'000'000;

    static inline const std::array<bool*, 7> settings{&enable_seqscan, &enable_material,  &enable_hashjoin,
                                                      &enable_hashagg, &enable_mergejoin, &enable_bitmapscan,
                                                      &jit_enabled};
    std::array<bool, 7> before_{};

    // Runs inside the planner; C calls only.
    template <class... Arguments>
    static void pretend_to_be_big(Arguments... arguments) {
        if (next_hook != nullptr) {
            next_hook(arguments...);
        }
        auto* const info = std::get<RelOptInfo*>(std::tuple(arguments...));
        if (info->rtekind != RTE_RELATION) {
            return;
        }
        info->tuples = std::max(info->tuples, big_tuples);
        info->pages = std::max(info->pages, big_pages);
        ListCell* cell = nullptr;
        foreach (cell, info->indexlist) {
            auto* const index = static_cast<IndexOptInfo*>(lfirst(cell));
            index->tuples = std::max(index->tuples, big_tuples);
            index->pages = std::max(index->pages, big_pages);
        }
    }

    static inline versions::RelationHook next_hook = nullptr;
    versions::RelationHook outer_hook_;
};

bool must_be_planned(SPIPlanPtr plan) {
    auto* const source = static_cast<CachedPlanSource*>(linitial(SPI_plan_get_plan_sources(plan)));
    return !source->is_valid || source->gplan == nullptr || !source->gplan->is_valid;
}

}  // namespace

SpiConnection::SpiConnection() : exceptions_(std::uncaught_exceptions()) {
    call_pg([] {
        check_result(SPI_connect(), "SPI_connect");
        // LookupScope toasted values after a statement needs a snapshot that is older than theirs.
        PushActiveSnapshot(has_fixed_snapshot() ? GetActiveSnapshot() : GetLatestSnapshot());
    });
}

SpiConnection::~SpiConnection() {
    // While an exception passes, the (sub)transaction is being aborted, and that closes the connection.
    if (std::uncaught_exceptions() == exceptions_) {
        PopActiveSnapshot();
        SPI_finish();
    }
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

// Freeing a plan reads nothing and cannot fail: it may happen in whatever state a transaction is. When the backend exits,
// what it would be freed from is gone.
Statement::~Statement() {
    if (plan_ != nullptr && !proc_exit_inprogress) {
        SPI_freeplan(plan_);
    }
}

Rows Statement::run(const Arguments& arguments, SnapshotKind view) {
    if (arguments.values_.size() != types_.size()) {
        throw Error(ERRCODE_INTERNAL_ERROR,
                    std::string("sliding_sync: wrong number of parameters for ") + name_);
    }
    auto* const values = const_cast<Datum*>(arguments.values_.data());
    const char* const nulls = arguments.nulls_.data();
    call_pg([&] {
        inject_fault(name_);
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
        const KeyLookupPlanning planning;
        call_pg([&] { ReleaseCachedPlan(SPI_plan_get_cached_plan(plan_), CurrentResourceOwner); });
    }
    return call_pg([&]() -> Rows {
        const bool is_read_only = view != SnapshotKind::current || has_fixed_snapshot();
        if (is_read_only) {
            push_snapshot(view);
        }
        const int code =
            SPI_execute_snapshot(plan_, values, nulls, is_read_only ? InvalidSnapshot : GetLatestSnapshot(),
                                 InvalidSnapshot, is_read_only, true, 0);
        if (is_read_only) {
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

Rows query_once(const std::string& sql, const std::vector<Oid>& types, const Arguments& arguments) {
    auto* const values = const_cast<Datum*>(arguments.values_.data());
    return call_pg([&] {
        SPIPlanPtr const plan =
            SPI_prepare(sql.c_str(), static_cast<int>(types.size()), const_cast<Oid*>(types.data()));
        if (plan == nullptr) {
            check_result(SPI_result, sql.c_str());
        }
        check_result(SPI_execute_snapshot(plan, values, arguments.nulls_.data(), GetLatestSnapshot(),
                                          InvalidSnapshot, false, true, 0),
                     sql.c_str());
        return read_rows();
    });
}

}  // namespace sliding_sync
