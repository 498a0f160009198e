#include "pg/parameter_rows.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

namespace {

Oid array_of(Oid type) noexcept {
    switch (type) {
    case INT8OID:
        return INT8ARRAYOID;
    case BOOLOID:
        return BOOLARRAYOID;
    default:
        return TEXTARRAYOID;
    }
}

std::string source(const ParameterRows& rows, bool is_single) {
    std::string values;
    std::string names;
    for (std::size_t i = 0; i < rows.columns.size(); ++i) {
        const std::string parameter = "$" + std::to_string(i + 1);
        values += i > 0 ? ", " : "";
        values +=
            is_single ? parameter + " AS " + rows.columns[i].first : "pg_catalog.unnest(" + parameter + ")";
        names += std::string(rows.columns[i].first) + ", ";
    }
    return is_single ? "(SELECT " + values + ", 1::bigint AS n) " + rows.alias
                     : "ROWS FROM (" + values + ") WITH ORDINALITY " + rows.alias + "(" + names + "n)";
}

std::string filled(std::string text, const std::string& rows) {
    constexpr std::string_view place = "{rows}";
    return text.replace(text.find(place), place.size(), rows);
}

std::vector<Oid> types(const ParameterRows& rows, bool is_single) {
    std::vector<Oid> result;
    for (const auto& [name, type] : rows.columns) {
        result.push_back(is_single ? type : array_of(type));
    }
    return result;
}

}  // namespace

RowsStatement::RowsStatement(const char* name, std::string_view text, std::string_view schema,
                             const ParameterRows& rows)
    : many_(name, filled(sql_text(text, schema), source(rows, false)), types(rows, false)),
      one_(name, filled(sql_text(text, schema), source(rows, true)), types(rows, true)) {}

Rows RowsStatement::run(const Arguments& arguments) {
    Statement& statement = arguments.is_single_row() ? one_ : many_;
    const Rows rows = statement.run(arguments);
    processed_ = statement.processed();
    return rows;
}

}  // namespace sliding_sync
