#include "pg/result_rows.hpp"

#include "pg/sql_call.hpp"
#include "pg/versions.hpp"

extern "C" {
#include "utils/memutils.h"
#include "utils/tuplestore.h"
}

namespace sliding_sync {

ResultRows::ResultRows(FunctionCallInfo call) : result_(reinterpret_cast<ReturnSetInfo*>(call->resultinfo)) {
    columns_ = call_pg([&] {
        versions::begin_result_rows(call);
        MemoryContext const caller = MemoryContextSwitchTo(result_->econtext->ecxt_per_query_memory);
        AttInMetadata* const columns = TupleDescGetAttInMetadata(result_->setDesc);
        MemoryContextSwitchTo(caller);
        return columns;
    });
    scratch_ = call_pg([&] {
        return AllocSetContextCreate(result_->econtext->ecxt_per_query_memory, "sliding_sync result row",
                                     ALLOCSET_SMALL_SIZES);
    });
}

void ResultRows::add(std::span<const std::optional<std::string>> values) {
    require_columns(columns_->tupdesc->natts, values.size());
    std::vector<char*> texts;
    for (const auto& value : values) {
        texts.push_back(value ? const_cast<char*>(value->c_str()) : nullptr);
    }
    call_pg([&] {
        MemoryContext const caller = MemoryContextSwitchTo(scratch_);
        tuplestore_puttuple(result_->setResult, BuildTupleFromCStrings(columns_, texts.data()));
        MemoryContextSwitchTo(caller);
        MemoryContextReset(scratch_);
    });
}

}  // namespace sliding_sync
