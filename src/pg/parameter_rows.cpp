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

// Before the schema's name is put in, which may be anything.
std::string filled(std::string_view statement, const std::string& rows) {
    constexpr std::string_view place = "%R";
    std::string text(statement);
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

Rows RowsStatement::run(const Arguments& arguments) {
    const bool is_single = arguments.is_single_row();
    std::optional<Statement>& made = is_single ? one_ : many_;
    if (!made) {
        made.emplace(name_, sql_text(filled(text_, source(rows_, is_single)), schema_),
                     types(rows_, is_single));
    }
    Statement& statement = *made;
    const Rows rows = statement.run(arguments);
    processed_ = statement.processed();
    return rows;
}

}  // namespace sliding_sync
