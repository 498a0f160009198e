// What all statements that run through the server programming interface have in common: their plan, and how
// their rows are read.
#pragma once

#include "pg/cell.hpp"

extern "C" {
#include "executor/spi.h"
}

namespace sliding_sync {

/// How a plan joins tables: by look-ups in indexes, or, where a large part of a table is wanted, by walking
/// through whole indexes.
enum class Joins : std::uint8_t { nested, merged };

/// The text of a statement, and its plan, which is kept as long as this lives. There is one generic plan: the
/// shapes of our statements do not depend on the values.
class QueryPlan {
public:
    /// `types` are the types of $1, $2, ...
    explicit QueryPlan(std::string sql, std::vector<Oid> types, Joins joins = Joins::nested)
        : sql_(std::move(sql)), types_(std::move(types)), joins_(joins) {}
    ~QueryPlan();
    QueryPlan(const QueryPlan&) = delete;
    QueryPlan& operator=(const QueryPlan&) = delete;

    [[nodiscard]] const char* sql() const noexcept {
        return sql_.c_str();
    }
    [[nodiscard]] const std::vector<Oid>& types() const noexcept {
        return types_;
    }

    /// Raises XX000 where a statement has another number of parameters.
    void require_parameters(std::size_t count) const;

    /// Parses the statement, the first time.
    void prepare(PgFrame frame);

    /// The plan of the prepared statement, planned first where it is not or no longer valid.
    [[nodiscard]] SPIPlanPtr planned();

private:
    std::string sql_;
    std::vector<Oid> types_;
    Joins joins_;
    SPIPlanPtr plan_ = nullptr;
};

/// Raises what the interface returns instead of raising it.
void check_result(PgFrame frame, int code, const char* sql);

/// What the last statement returned.
[[nodiscard]] Rows read_rows(PgFrame frame);

}  // namespace sliding_sync
