// Statements over rows of parameters: thousands for a backfill, one for nearly every transaction of a
// homeserver.
#pragma once

#include "pg/spi.hpp"
#include "shared/sql_text.hpp"

namespace sliding_sync {

/// Columns of the parameters $1, $2, ... and of a last column `n`: the row's position, from 1.
struct ParameterRows {
    const char* alias;
    std::vector<std::pair<const char*, Oid>> columns;
};

/// Two statements with the same text but for the rows: one takes an array a column, the other, for a single
/// row, plain values, which spares the executor half of its work.
class RowsStatement {
public:
    /// `%R` in the template stands for the rows.
    RowsStatement(const char* name, std::string text, std::string_view schema, ParameterRows rows)
        : name_(name), text_(std::move(text)), schema_(schema), rows_(std::move(rows)) {}

    /// As Statement::run; the arguments tell which of the two it is.
    Rows run(const Arguments& arguments);

    [[nodiscard]] std::uint64_t processed() const noexcept {
        return processed_;
    }

private:
    const char* name_;
    std::string text_;
    std::string schema_;
    ParameterRows rows_;
    // made when needed: of most, a connection needs neither or one
    std::optional<Statement> many_;
    std::optional<Statement> one_;
    std::uint64_t processed_ = 0;
};

}  // namespace sliding_sync
