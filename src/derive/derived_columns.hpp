// The two derived tables as the server's statements need them. DDL, shape check, INSERT, UPDATE and decoding
// all come from their columns.
#pragma once

#include "derive/homeserver_schema.hpp"

extern "C" {
#include "catalog/pg_type_d.h"
}

namespace sliding_sync {

struct MembershipKey {
    std::string_view room_id;
    std::string_view user_id;

    friend auto operator<=>(const MembershipKey&, const MembershipKey&) = default;
};

/// What sliding_sync.inject_fault calls the statements on a table (DerivedTable).
struct StatementNames {
    const char *rows, *with_ordering, *references, *insert, *update, *remove, *remove_all;
};

/// One row a room that the homeserver is in.
struct JoinedRooms : JoinedRoomColumns {
    using Key = std::string_view;                    ///< room id
    static constexpr std::uint16_t lock_number = 1;  ///< for KeyLocks
    static constexpr StatementNames names{
        "joined_rooms",        "rooms_of_ordering",   "references_of_room",     "insert_joined_rooms",
        "update_joined_rooms", "remove_joined_rooms", "remove_all_joined_rooms"};
    static constexpr std::size_t key_columns = 1;

    static TableShape shape(const HomeserverSchema& schema) noexcept {
        return schema.joined_rooms;
    }
};

/// One row a room and local user.
struct MembershipSnapshots : MembershipSnapshotColumns {
    using Key = MembershipKey;
    static constexpr std::uint16_t lock_number = 2;
    static constexpr StatementNames names{
        "snapshots",        "snapshots_of_ordering", "references_of_snapshot", "insert_snapshots",
        "update_snapshots", "remove_snapshots",      "remove_all_snapshots"};
    static constexpr std::size_t key_columns = 2;

    static TableShape shape(const HomeserverSchema& schema) noexcept {
        return schema.membership_snapshots;
    }
};

/// What a column of this C++ type is in SQL. Numbers travel as bigint; where there is a NOT NULL there is a
/// value.
struct SqlType {
    const char* name;
    const char* constraints;
    ColumnKind kind;
    Oid parameter;
};

template <typename Value>
[[nodiscard]] constexpr SqlType sql_type() {
    if constexpr (std::is_same_v<Value, std::string>) {
        return {"text", " NOT NULL", ColumnKind::text, TEXTOID};
    } else if constexpr (std::is_same_v<Value, std::optional<std::string>>) {
        return {"text", "", ColumnKind::text, TEXTOID};
    } else if constexpr (std::is_same_v<Value, std::int64_t>) {
        return {"bigint", " NOT NULL", ColumnKind::bigint, INT8OID};
    } else if constexpr (std::is_same_v<Value, std::optional<std::int64_t>>) {
        return {"bigint", "", ColumnKind::bigint, INT8OID};
    } else if constexpr (std::is_same_v<Value, std::int32_t>) {
        return {"integer", " DEFAULT 0 NOT NULL", ColumnKind::integer, INT8OID};
    } else {
        static_assert(std::is_same_v<Value, bool>);
        return {"boolean", " DEFAULT false NOT NULL", ColumnKind::boolean, BOOLOID};
    }
}

/// What a row of the table holds in this column.
template <typename Table, typename Column>
using ColumnValue =
    std::remove_cvref_t<decltype(std::declval<Column>().field(std::declval<typename Table::Row&>()))>;

/// Calls `visit(column, sql_type)` for each column in its order.
template <typename Table, typename Visit>
constexpr void for_each_column(Visit visit) {
    visit_columns<Table>([&]<typename Column>(const Column& column) {
        visit(column, sql_type<ColumnValue<Table, Column>>());
    });
}

/// The columns as the shape of a table is checked.
template <typename Table>
[[nodiscard]] constexpr auto column_specs() {
    return std::apply(
        []<typename... Column>(const Column&... column) {
            return std::array{ColumnSpec{column.name, column.role == ColumnRole::key
                                                          ? ColumnKind::key
                                                          : sql_type<ColumnValue<Table, Column>>().kind}...};
        },
        Table::columns);
}

}  // namespace sliding_sync
