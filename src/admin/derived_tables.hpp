// The definition of the derived tables, as a homeserver of schema 94 has them, for homeservers that are older
// than the tables.
#pragma once

#include <array>

namespace sliding_sync {

struct ColumnDefinition {
    const char* name;
    const char* type;
    bool not_null;
};

inline constexpr std::array<ColumnDefinition, 7> joined_rooms_columns{{
    {"room_id", "text", true},
    {"event_stream_ordering", "bigint", true},
    {"bump_stamp", "bigint", false},
    {"room_type", "text", false},
    {"room_name", "text", false},
    {"is_encrypted", "boolean", true},
    {"tombstone_successor_room_id", "text", false},
}};

inline constexpr std::array<ColumnDefinition, 13> membership_snapshots_columns{{
    {"room_id", "text", true},
    {"user_id", "text", true},
    {"sender", "text", true},
    {"membership_event_id", "text", true},
    {"membership", "text", true},
    {"forgotten", "integer", true},
    {"event_stream_ordering", "bigint", true},
    {"event_instance_name", "text", true},
    {"has_known_state", "boolean", true},
    {"room_type", "text", false},
    {"room_name", "text", false},
    {"is_encrypted", "boolean", true},
    {"tombstone_successor_room_id", "text", false},
}};

/// `%S` is the schema.
inline constexpr const char* create_joined_rooms = R"(
CREATE TABLE %S.sliding_sync_joined_rooms (
    room_id text NOT NULL,
    event_stream_ordering bigint NOT NULL,
    bump_stamp bigint,
    room_type text,
    room_name text,
    is_encrypted boolean DEFAULT false NOT NULL,
    tombstone_successor_room_id text,
    CONSTRAINT sliding_sync_joined_rooms_pkey PRIMARY KEY (room_id),
    CONSTRAINT sliding_sync_joined_rooms_event_stream_ordering_fkey
        FOREIGN KEY (event_stream_ordering) REFERENCES %S.events (stream_ordering),
    CONSTRAINT sliding_sync_joined_rooms_room_id_fkey FOREIGN KEY (room_id) REFERENCES %S.rooms (room_id)
);
CREATE UNIQUE INDEX sliding_sync_joined_rooms_event_stream_ordering
    ON %S.sliding_sync_joined_rooms (event_stream_ordering);
)";

inline constexpr const char* create_membership_snapshots = R"(
CREATE TABLE %S.sliding_sync_membership_snapshots (
    room_id text NOT NULL,
    user_id text NOT NULL,
    sender text NOT NULL,
    membership_event_id text NOT NULL,
    membership text NOT NULL,
    forgotten integer DEFAULT 0 NOT NULL,
    event_stream_ordering bigint NOT NULL,
    event_instance_name text NOT NULL,
    has_known_state boolean DEFAULT false NOT NULL,
    room_type text,
    room_name text,
    is_encrypted boolean DEFAULT false NOT NULL,
    tombstone_successor_room_id text,
    CONSTRAINT sliding_sync_membership_snapshots_pkey PRIMARY KEY (room_id, user_id),
    CONSTRAINT sliding_sync_membership_snapshots_event_stream_ordering_fkey
        FOREIGN KEY (event_stream_ordering) REFERENCES %S.events (stream_ordering),
    CONSTRAINT sliding_sync_membership_snapshots_membership_event_id_fkey
        FOREIGN KEY (membership_event_id) REFERENCES %S.events (event_id),
    CONSTRAINT sliding_sync_membership_snapshots_room_id_fkey FOREIGN KEY (room_id) REFERENCES %S.rooms (room_id)
);
CREATE UNIQUE INDEX sliding_sync_membership_snapshots_event_stream_ordering
    ON %S.sliding_sync_membership_snapshots (event_stream_ordering);
CREATE INDEX sliding_sync_membership_snapshots_membership_event_id_idx
    ON %S.sliding_sync_membership_snapshots (membership_event_id);
CREATE INDEX sliding_sync_membership_snapshots_user_id_stream_ordering
    ON %S.sliding_sync_membership_snapshots (user_id, event_stream_ordering);
)";

}  // namespace sliding_sync
