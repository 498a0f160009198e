// Rows of the derived tables, by the list of their columns.
#pragma once

#include "cli/offline/reader.hpp"

namespace sliding_sync::cli::offline {

/// The columns of the table's alias, separated by commas.
template <typename Table>
[[nodiscard]] std::string column_list(std::string_view alias) {
    std::string list;
    visit_columns<Table>([&](const auto& column) {
        list += (list.empty() ? "" : ", ") + std::string(alias) + "." + column.name;
    });
    return list;
}

inline void read_value(const Value& value, std::string& field) {
    field = value.value_or("");
}
inline void read_value(const Value& value, std::optional<std::string>& field) {
    field = value;
}
inline void read_value(const Value& value, bool& field) {
    field = value == "t";
}
inline void read_value(const Value& value, std::optional<std::int64_t>& field) {
    field = optional_number(value);
}
inline void read_value(const Value& value, std::int64_t& field) {
    field = optional_number(value).value_or(0);
}
inline void read_value(const Value& value, std::int32_t& field) {
    field = static_cast<std::int32_t>(optional_number(value).value_or(0));
}

/// Of the columns in their order.
template <typename Table>
[[nodiscard]] typename Table::Row derived_row(const std::vector<Value>& values) {
    typename Table::Row row;
    std::size_t i = 0;
    visit_columns<Table>([&](const auto& column) { read_value(values.at(i++), column.field(row)); });
    return row;
}

}  // namespace sliding_sync::cli::offline
