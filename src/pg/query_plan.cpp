#include "pg/query_plan.hpp"

#include "pg/transaction.hpp"
#include "pg/versions.hpp"

#include <tuple>

extern "C" {
#include "jit/jit.h"
#include "optimizer/cost.h"
#include "storage/ipc.h"
#include "utils/plancache.h"
#include "utils/resowner.h"
}

namespace sliding_sync {

namespace {

// Our statements look rows up by their keys, for a handful of keys or for thousands, and are planned once,
// perhaps while the tables are still empty: anything but nested loops over index scans would be right only by
// accident, and so would be one whose outer side is a table. They are planned as for big tables, then. Where
// the server must scan a small table all the same, the price it sees would make it compile the statement.
class KeyLookupPlanning {
public:
    explicit KeyLookupPlanning(Joins joins) {
        for (const Setting& setting : planner_settings) {
            const bool is_wanted =
                setting.variable == (joins == Joins::nested ? &enable_nestloop : &enable_mergejoin);
            if (*setting.variable != is_wanted) {
                settings_.set(setting.name, is_wanted ? "on" : "off");
            }
        }
        if (depth++ == 0 && !is_hooked) {
            next_hook = versions::relation_hook;
            versions::relation_hook = hook;
            is_hooked = true;
        }
    }
    // A library that was loaded meanwhile may have put its hook before ours, which then stays.
    ~KeyLookupPlanning() {
        if (--depth == 0 && versions::relation_hook == hook) {
            versions::relation_hook = next_hook;
            is_hooked = false;
        }
    }
    KeyLookupPlanning(const KeyLookupPlanning&) = delete;
    KeyLookupPlanning& operator=(const KeyLookupPlanning&) = delete;

private:
    static constexpr double big_tuples = 1e8;
    static constexpr BlockNumber big_pages = 1'000'000;

    struct Setting {
        const char* name;
        bool* variable;
    };
    static inline const std::array<Setting, 9> planner_settings{{{"enable_seqscan", &enable_seqscan},
                                                                 {"enable_material", &enable_material},
                                                                 {"enable_hashjoin", &enable_hashjoin},
                                                                 {"enable_hashagg", &enable_hashagg},
                                                                 {"enable_nestloop", &enable_nestloop},
                                                                 {"enable_mergejoin", &enable_mergejoin},
                                                                 {"enable_bitmapscan", &enable_bitmapscan},
                                                                 {"enable_memoize", &enable_memoize},
                                                                 {"jit", &jit_enabled}}};
    OwnSettings settings_;

    // Runs inside the planner: plain C in style.
    template <class... Arguments>
    static void pretend_to_be_big(Arguments... arguments) {
        if (next_hook != nullptr) {
            next_hook(arguments...);
        }
        auto* const info = std::get<RelOptInfo*>(std::tuple(arguments...));
        if (depth == 0 || info->rtekind != RTE_RELATION) {
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

    static inline const versions::RelationHook hook = pretend_to_be_big;
    // The planner may run code of the tables' owner that leads here again.
    static inline int depth = 0;
    static inline versions::RelationHook next_hook = nullptr;
    static inline bool is_hooked = false;
};

// True when the plan was never made, or is no longer valid. Reads no catalog.
bool must_be_planned(SPIPlanPtr plan) {
    auto* const source = static_cast<CachedPlanSource*>(linitial(SPI_plan_get_plan_sources(plan)));
    if (source->query_list == NIL) {
        // A rule has made nothing of it. That depends on no relation: nobody says when the rule has gone.
        source->is_valid = false;
    }
    return !source->is_valid || source->gplan == nullptr || !source->gplan->is_valid;
}

Cell read_cell(PgFrame frame, HeapTuple tuple, TupleDesc description, int column) {
    bool is_null = false;
    const Datum value = SPI_getbinval(tuple, description, column + 1, &is_null);
    return is_null ? null_cell : cell_of(frame, value, TupleDescAttr(description, column)->atttypid);
}

}  // namespace

// Freeing a plan reads nothing and cannot fail: it may happen in whatever state a transaction is. When the
// backend exits, what it would be freed from is gone.
QueryPlan::~QueryPlan() {
    if (plan_ != nullptr && !proc_exit_inprogress) {
        SPI_freeplan(plan_);
    }
}

void QueryPlan::require_parameters(std::size_t count) const {
    if (count != types_.size()) {
        throw Error(ERRCODE_INTERNAL_ERROR, "sliding_sync: wrong number of parameters for " + sql_);
    }
}

void QueryPlan::prepare(PgFrame frame) {
    if (plan_ != nullptr) {
        return;
    }
    SPIPlanPtr const fresh = SPI_prepare_cursor(sql_.c_str(), static_cast<int>(types_.size()), types_.data(),
                                                CURSOR_OPT_GENERIC_PLAN);
    if (fresh == nullptr) {
        check_result(frame, SPI_result, sql_.c_str());
    }
    SPI_keepplan(fresh);
    plan_ = fresh;
}

SPIPlanPtr QueryPlan::planned() {
    Assert(plan_ != nullptr);
    if (must_be_planned(plan_)) {
        const KeyLookupPlanning planning(joins_);
        call_pg([&] { ReleaseCachedPlan(SPI_plan_get_cached_plan(plan_), CurrentResourceOwner); });
    }
    return plan_;
}

Rows read_rows(PgFrame frame) {
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
                read_cell(frame, SPI_tuptable->vals[row], description, static_cast<int>(column));
        }
    }
    return rows;
}

void check_result(PgFrame, int code, const char* sql) {
    if (code < 0) {
        raise_pg_error(ERRCODE_INTERNAL_ERROR, psprintf("sliding_sync: %s", SPI_result_code_string(code)),
                       psprintf("Statement: %s", sql));
    }
}

}  // namespace sliding_sync
