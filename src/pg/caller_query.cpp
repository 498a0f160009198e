#include "pg/caller_query.hpp"

#include "pg/transaction.hpp"
#include "pg/versions.hpp"

#include <exception>

extern "C" {
#include "executor/tstoreReceiver.h"
#include "utils/snapmgr.h"
}

namespace sliding_sync {

namespace {

// Each combination of filters is a text of its own, and few are in use; a client that tries them all shall
// not fill memory.
constexpr std::size_t most_queries = 128;

}  // namespace

CallerConnection::CallerConnection() : exceptions_(std::uncaught_exceptions()) {
    call_pg([](PgFrame frame) { check_result(frame, SPI_connect(), "SPI_connect"); });
}

CallerConnection::~CallerConnection() {
    if (std::uncaught_exceptions() == exceptions_) {
        SPI_finish();
    }
}

Rows CallerQuery::execute(const Arguments& arguments, ReturnSetInfo* result) {
    plan_.require_parameters(arguments.values_.size());
    call_pg([&](PgFrame frame) { plan_.prepare(frame); });
    SPIPlanPtr const plan = plan_.planned();
    const KeptPlans kept;
    auto* const values = const_cast<Datum*>(arguments.values_.data());
    const char* const nulls = arguments.nulls_.data();
    return call_pg([&](PgFrame frame) -> Rows {
        const auto count = static_cast<int>(arguments.values_.size());
        ParamListInfo const parameters = makeParamList(count);
        for (int i = 0; i < count; ++i) {
            parameters->params[i] = {values[i], nulls[i] == 'n', PARAM_FLAG_CONST,
                                     plan_.types()[static_cast<std::size_t>(i)]};
        }
        SPIExecuteOptions options{};
        options.params = parameters;
        options.read_only = true;
        if (result != nullptr) {
            options.must_return_tuples = true;
            options.dest = CreateTuplestoreDestReceiver();
            SetTuplestoreDestReceiverParams(
                options.dest, result->setResult, result->econtext->ecxt_per_query_memory, false,
                result->setDesc,
                "the function is declared otherwise than the library of sliding_sync expects");
        }
        check_result(frame, SPI_execute_plan_extended(plan, &options), plan_.sql());
        return result == nullptr ? read_rows(frame) : Rows{};
    });
}

Rows CallerQuery::run(const Arguments& arguments) {
    return execute(arguments, nullptr);
}

void CallerQuery::return_rows(FunctionCallInfo call, const Arguments& arguments) {
    static_cast<void>(execute(arguments, reinterpret_cast<ReturnSetInfo*>(call->resultinfo)));
}

std::shared_ptr<CallerQuery> caller_query(const std::string& sql, const std::vector<Oid>& types,
                                          Joins joins) {
    static std::unordered_map<std::string, std::shared_ptr<CallerQuery>> queries[2];
    auto& kept = queries[static_cast<std::size_t>(joins)];
    if (const auto known = kept.find(sql); known != kept.end()) {
        return known->second;
    }
    if (kept.size() >= most_queries) {
        kept.clear();
    }
    return kept.emplace(sql, std::make_shared<CallerQuery>(sql, types, joins)).first->second;
}

void begin_rows(FunctionCallInfo call) {
    call_pg([&] { versions::begin_expected_rows(call); });
}

}  // namespace sliding_sync
