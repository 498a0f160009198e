#include "pg/query_plan.hpp"

extern "C" {
#include "utils/plancache.h"
}

namespace sliding_sync {

namespace {

Cell read_cell(HeapTuple tuple, TupleDesc description, int column) {
    bool is_null = false;
    const Datum value = SPI_getbinval(tuple, description, column + 1, &is_null);
    return is_null ? null_cell : cell_of(value, TupleDescAttr(description, column)->atttypid);
}

}  // namespace

bool must_be_planned(SPIPlanPtr plan) {
    auto* const source = static_cast<CachedPlanSource*>(linitial(SPI_plan_get_plan_sources(plan)));
    return !source->is_valid || source->gplan == nullptr || !source->gplan->is_valid;
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

}  // namespace sliding_sync
