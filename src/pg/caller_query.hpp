// Queries that a function of the SQL surface runs for its caller: with the caller's rights, and of the very
// moment that the calling statement sees. They write nothing and take no snapshot of their own, so they also
// work in a read-only transaction, on a standby and in a parallel worker.
#pragma once

#include "pg/spi.hpp"

extern "C" {
#include "fmgr.h"
}

namespace sliding_sync {

/// Connects for its lifetime, like SpiConnection, but stays at the caller's snapshot.
class CallerConnection {
public:
    CallerConnection();
    ~CallerConnection();
    CallerConnection(const CallerConnection&) = delete;
    CallerConnection& operator=(const CallerConnection&) = delete;

private:
    int exceptions_;
};

/// One query whose plan is kept as long as the object lives, for all parameter values.
class CallerQuery {
public:
    CallerQuery(std::string sql, std::vector<Oid> types, Joins joins)
        : plan_(std::move(sql), std::move(types), joins) {}

    /// Both run inside an open CallerConnection.
    [[nodiscard]] Rows run(const Arguments& arguments);
    /// The rows become those of the set that `call` returns, as the server makes them: nothing is done for
    /// each.
    void return_rows(FunctionCallInfo call, const Arguments& arguments);

private:
    [[nodiscard]] Rows execute(const Arguments& arguments, ReturnSetInfo* result);

    QueryPlan plan_;
};

/// The query of this text, made when it is asked for the first time in this backend.
[[nodiscard]] std::shared_ptr<CallerQuery> caller_query(const std::string& sql, const std::vector<Oid>& types,
                                                        Joins joins = Joins::nested);

/// Makes `call` return a set of rows, so far an empty one.
void begin_rows(FunctionCallInfo call);

}  // namespace sliding_sync
