// The two derived tables, described once: everything that reads, writes, creates or compares them goes by
// these lists. A new column of the homeserver's tables is added here, and in rules/.
#pragma once

#include <cstdint>
#include <tuple>

#include "rules/joined_room.hpp"
#include "rules/membership_snapshot.hpp"

namespace sliding_sync {

inline constexpr const char* joined_rooms_table = "sliding_sync_joined_rooms";
inline constexpr const char* membership_snapshots_table = "sliding_sync_membership_snapshots";

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

/// One row a room that the homeserver is in.
struct JoinedRoomColumns {
    using Row = rules::JoinedRoom;
    static constexpr const char* name = joined_rooms_table;

    static constexpr auto columns = std::tuple_cat(
        std::tuple{Column{"room_id", ColumnRole::key, fields::OfRow<&Row::room_id>{}},
                   Column{"event_stream_ordering", ColumnRole::ordering,
                          fields::OfRow<&Row::event_stream_ordering>{}},
                   Column{"bump_stamp", ColumnRole::ordering, fields::OfRow<&Row::bump_stamp>{}}},
        state_columns);
};

/// One row a room and local user.
struct MembershipSnapshotColumns {
    using Row = rules::MembershipSnapshot;
    static constexpr const char* name = membership_snapshots_table;

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
};

/// Calls `visit(column)` for each column in its order.
template <typename Table, typename Visit>
constexpr void visit_columns(Visit visit) {
    std::apply([&](const auto&... column) { (visit(column), ...); }, Table::columns);
}

}  // namespace sliding_sync
