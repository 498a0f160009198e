// The statements on a derived table, made from its columns. Templates for sql_text: %S is the schema.
#pragma once

#include "derive/derived_columns.hpp"
#include "pg/key_index.hpp"
#include "pg/parameter_rows.hpp"

namespace sliding_sync {

template <typename Table>
[[nodiscard]] std::vector<const char*> column_names(bool keys, bool others) {
    std::vector<const char*> names;
    for_each_column<Table>([&](const auto& column, const SqlType&) {
        if (column.role == ColumnRole::key ? keys : others) {
            names.push_back(column.name);
        }
    });
    return names;
}

template <typename Table>
[[nodiscard]] std::vector<KeyColumn> key_columns() {
    std::vector<KeyColumn> key;
    for (const char* const name : column_names<Table>(true, false)) {
        key.push_back({name, TEXTOID});
    }
    return key;
}

template <typename Table>
[[nodiscard]] std::vector<const char*> read_columns() {
    std::vector<const char*> columns = column_names<Table>(false, true);
    columns.insert(columns.begin(), "xmin");
    return columns;
}

/// Each name in a pattern, where it stands for "#".
[[nodiscard]] inline std::string joined(const std::vector<const char*>& names, std::string_view pattern,
                                        std::string_view separator) {
    std::string list;
    for (const char* const name : names) {
        list += list.empty() ? "" : separator;
        for (const char c : pattern) {
            c == '#' ? list += name : list += c;
        }
    }
    return list;
}

template <typename Table>
[[nodiscard]] ParameterRows parameter_rows() {
    ParameterRows rows{"v", {}};
    for_each_column<Table>([&](const auto& column, const SqlType& type) {
        rows.columns.emplace_back(column.name, type.parameter);
    });
    return rows;
}

template <typename Table>
[[nodiscard]] std::string insert_text() {
    const std::string columns = joined(column_names<Table>(true, true), "#", ", ");
    return std::string("INSERT INTO %S.") + Table::name + " (" + columns + ") SELECT " + columns +
           " FROM %R ON CONFLICT (" + joined(column_names<Table>(true, false), "#", ", ") + ") DO NOTHING";
}

template <typename Table>
[[nodiscard]] std::string update_text() {
    return std::string("UPDATE %S.") + Table::name + " t SET " +
           joined(column_names<Table>(false, true), "# = v.#", ", ") + " FROM %R WHERE " +
           joined(column_names<Table>(true, false), "t.# %= v.#", " AND ");
}

template <typename Table>
[[nodiscard]] std::string remove_text() {
    if (Table::key_columns == 1) {
        return std::string("DELETE FROM %S.") + Table::name + " t WHERE t.room_id %= ANY ($1)";
    }
    return std::string("DELETE FROM %S.") + Table::name +
           " t USING ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) v(room_id, user_id) "
           "WHERE t.room_id %= v.room_id AND t.user_id %= v.user_id";
}

template <typename Table>
[[nodiscard]] std::string references_text() {
    std::string text = "SELECT EXISTS (SELECT FROM %S.events e WHERE e.stream_ordering %= $1) "
                       "AND EXISTS (SELECT FROM %S.rooms r WHERE r.room_id %= $2)";
    if (Table::key_columns == 2) {
        text += " AND EXISTS (SELECT FROM %S.events e WHERE e.event_id %= $3)";
    }
    return text;
}

}  // namespace sliding_sync
