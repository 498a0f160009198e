// The definition of the derived tables, as a homeserver of schema 94 has them, for homeservers that are older
// than the tables: constraints and indexes here, columns in derive/derived_columns.hpp.
#pragma once

#include "derive/derived_table_sql.hpp"

namespace sliding_sync {

/// `%S` is the schema.
template <typename Table>
inline constexpr const char* constraints_and_indexes = nullptr;

template <>
inline constexpr const char* constraints_and_indexes<JoinedRooms> = R"(
    CONSTRAINT sliding_sync_joined_rooms_pkey PRIMARY KEY (room_id),
    CONSTRAINT sliding_sync_joined_rooms_event_stream_ordering_fkey
        FOREIGN KEY (event_stream_ordering) REFERENCES %S.events (stream_ordering),
    CONSTRAINT sliding_sync_joined_rooms_room_id_fkey FOREIGN KEY (room_id) REFERENCES %S.rooms (room_id)
);
CREATE UNIQUE INDEX sliding_sync_joined_rooms_event_stream_ordering
    ON %S.sliding_sync_joined_rooms (event_stream_ordering);
)";

template <>
inline constexpr const char* constraints_and_indexes<MembershipSnapshots> = R"(
    CONSTRAINT sliding_sync_membership_snapshots_pkey PRIMARY KEY (room_id, user_id),
    CONSTRAINT sliding_sync_membership_snapshots_event_stream_ordering_fkey
        FOREIGN KEY (event_stream_ordering) REFERENCES %S.events (stream_ordering),
    CONSTRAINT sliding_sync_membership_snapshots_membership_event_id_fkey
        FOREIGN KEY (membership_event_id) REFERENCES %S.events (event_id),
    CONSTRAINT sliding_sync_membership_snapshots_room_id_fkey
        FOREIGN KEY (room_id) REFERENCES %S.rooms (room_id)
);
CREATE UNIQUE INDEX sliding_sync_membership_snapshots_event_stream_ordering
    ON %S.sliding_sync_membership_snapshots (event_stream_ordering);
CREATE INDEX sliding_sync_membership_snapshots_membership_event_id_idx
    ON %S.sliding_sync_membership_snapshots (membership_event_id);
CREATE INDEX sliding_sync_membership_snapshots_user_id_stream_ordering
    ON %S.sliding_sync_membership_snapshots (user_id, event_stream_ordering);
)";

/// CREATE TABLE and its indexes; a template for sql_text.
template <typename Table>
[[nodiscard]] std::string create_table_text() {
    std::string text = std::string("CREATE TABLE %S.") + Table::name + " (\n";
    for_each_column<Table>([&](const auto& column, const SqlType& type) {
        text += std::string("    ") + column.name + " " + type.name + type.constraints + ",\n";
    });
    return text + constraints_and_indexes<Table>;
}

}  // namespace sliding_sync
