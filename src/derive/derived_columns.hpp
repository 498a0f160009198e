// The two derived tables, described once. DDL, shape check, INSERT, UPDATE, decoding and verify's columns all come from the
// lists below: a new column of the homeserver's tables is added here, and in rules/.
#pragma once

#include "derive/homeserver_schema.hpp"
#include "rules/joined_room.hpp"
#include "rules/membership_snapshot.hpp"

extern "C" {
#include "catalog/pg_type_d.h"
}

namespace sliding_sync {

struct MembershipKey {
    std::string_view room_id;
    std::string_view user_id;

    friend auto operator<=>(const MembershipKey&, const MembershipKey&) = default;
};

/// What verify() calls a difference in a column.
enum class ColumnRole : std::uint8_t {
    key,
    ordering,
    membership_event_id,
    membership,  ///< another column that the membership event gives
    instance_name,
    forgotten,
    has_known_state,
    state,
    room_name,
};

/// A column: its name, its role, and the field of a row that holds its value.
template <typename Field>
struct Column {
    const char* name;
    ColumnRole role;
    Field field;
};
template <typename Field>
Column(const char*, ColumnRole, Field) -> Column<Field>;

namespace fields {

template <auto member>
struct OfRow {
    template <typename Row>
    auto& operator()(Row& row) const noexcept {
        return row.*member;
    }
};
template <auto member>
struct OfState {
    template <typename Row>
    auto& operator()(Row& row) const noexcept {
        return row.state.*member;
    }
};

}  // namespace fields

/// What both tables say of a room's state.
inline constexpr auto state_columns =
    std::tuple{Column{"room_type", ColumnRole::state, fields::OfState<&rules::RoomState::room_type>{}},
               Column{"room_name", ColumnRole::room_name, fields::OfState<&rules::RoomState::room_name>{}},
               Column{"is_encrypted", ColumnRole::state, fields::OfState<&rules::RoomState::is_encrypted>{}},
               Column{"tombstone_successor_room_id", ColumnRole::state,
                      fields::OfState<&rules::RoomState::tombstone_successor_room_id>{}}};

/// What sliding_sync.inject_fault calls the statements on a table (DerivedTable).
struct StatementNames {
    const char *rows, *with_ordering, *references, *insert, *update, *remove, *remove_all;
};

/// One row a room that the homeserver is in.
struct JoinedRooms {
    using Row = rules::JoinedRoom;
    using Key = std::string_view;                    ///< room id
    static constexpr std::uint16_t lock_number = 1;  ///< for KeyLocks
    static constexpr const char* name = joined_rooms_table;
    static constexpr StatementNames names{
        "joined_rooms",        "rooms_of_ordering",   "references_of_room",     "insert_joined_rooms",
        "update_joined_rooms", "remove_joined_rooms", "remove_all_joined_rooms"};
    static constexpr std::size_t key_columns = 1;

    static constexpr auto columns = std::tuple_cat(
        std::tuple{Column{"room_id", ColumnRole::key, fields::OfRow<&Row::room_id>{}},
                   Column{"event_stream_ordering", ColumnRole::ordering,
                          fields::OfRow<&Row::event_stream_ordering>{}},
                   Column{"bump_stamp", ColumnRole::ordering, fields::OfRow<&Row::bump_stamp>{}}},
        state_columns);

    static TableShape shape(const HomeserverSchema& schema) noexcept {
        return schema.joined_rooms;
    }
    static bool is_plain(const HomeserverSchema& schema) noexcept {
        return schema.joined_rooms_is_plain;
    }
};

/// One row a room and local user.
struct MembershipSnapshots {
    using Row = rules::MembershipSnapshot;
    using Key = MembershipKey;
    static constexpr std::uint16_t lock_number = 2;
    static constexpr const char* name = membership_snapshots_table;
    static constexpr StatementNames names{
        "snapshots",        "snapshots_of_ordering", "references_of_snapshot", "insert_snapshots",
        "update_snapshots", "remove_snapshots",      "remove_all_snapshots"};
    static constexpr std::size_t key_columns = 2;

    static constexpr auto columns = std::tuple_cat(
        std::tuple{
            Column{"room_id", ColumnRole::key, fields::OfRow<&Row::room_id>{}},
            Column{"user_id", ColumnRole::key, fields::OfRow<&Row::user_id>{}},
            Column{"sender", ColumnRole::membership, fields::OfRow<&Row::sender>{}},
            Column{"membership_event_id", ColumnRole::membership_event_id,
                   fields::OfRow<&Row::membership_event_id>{}},
            Column{"membership", ColumnRole::membership, fields::OfRow<&Row::membership>{}},
            Column{"forgotten", ColumnRole::forgotten, fields::OfRow<&Row::forgotten>{}},
            Column{"event_stream_ordering", ColumnRole::membership,
                   fields::OfRow<&Row::event_stream_ordering>{}},
            Column{"event_instance_name", ColumnRole::instance_name,
                   fields::OfRow<&Row::event_instance_name>{}},
            Column{"has_known_state", ColumnRole::has_known_state, fields::OfRow<&Row::has_known_state>{}}},
        state_columns);

    static TableShape shape(const HomeserverSchema& schema) noexcept {
        return schema.membership_snapshots;
    }
    static bool is_plain(const HomeserverSchema& schema) noexcept {
        return schema.membership_snapshots_is_plain;
    }
};

/// What a column of this C++ type is in SQL. Numbers travel as bigint; where there is a NOT NULL there is a value.
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

/// Calls `visit(column, sql_type)` for each column in its order.
template <typename Table, typename Visit>
constexpr void for_each_column(Visit visit) {
    using Row = typename Table::Row;
    std::apply(
        [&](const auto&... column) {
            (visit(column, sql_type<std::remove_cvref_t<decltype(column.field(std::declval<Row&>()))>>()),
             ...);
        },
        Table::columns);
}

/// The columns as the shape of a table is checked.
template <typename Table>
[[nodiscard]] std::vector<ColumnSpec> column_specs() {
    std::vector<ColumnSpec> specs;
    for_each_column<Table>([&](const auto& column, const SqlType& type) {
        specs.push_back({column.name, column.role == ColumnRole::key ? ColumnKind::key : type.kind});
    });
    return specs;
}

}  // namespace sliding_sync
