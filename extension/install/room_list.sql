-- A user's room list, for whoever may read the homeserver's tables.

CREATE FUNCTION sliding_sync.lower_case(value text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sliding_sync_lower_case';
COMMENT ON FUNCTION sliding_sync.lower_case(text) IS
    'each code point by its simple lower-case mapping, whatever the collation: how room names are compared and sorted';

CREATE FUNCTION sliding_sync.known_room_versions() RETURNS text[]
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sliding_sync_known_room_versions';
COMMENT ON FUNCTION sliding_sync.known_room_versions() IS
    'the room versions that the newest supported Synapse knows without experimental settings; rooms of others are in no list';

CREATE FUNCTION sliding_sync.room_list(
    user_id text,
    is_dm boolean DEFAULT NULL,
    is_encrypted boolean DEFAULT NULL,
    is_invite boolean DEFAULT NULL,
    room_types text[] DEFAULT NULL,
    not_room_types text[] DEFAULT NULL,
    tags text[] DEFAULT NULL,
    not_tags text[] DEFAULT NULL,
    spaces text[] DEFAULT NULL,
    room_name_like text DEFAULT NULL,
    sort_by text DEFAULT 'recency',
    range_start bigint DEFAULT 0,
    range_end bigint DEFAULT NULL,
    known_versions text[] DEFAULT sliding_sync.known_room_versions(),
    target_schema text DEFAULT NULL
) RETURNS TABLE (place bigint, total bigint, room_id text, membership text, sender text, membership_event_id text,
    room_name text, room_type text, is_encrypted boolean, has_known_state boolean, tombstone_successor_room_id text,
    event_stream_ordering bigint, bump_stamp bigint)
    LANGUAGE c STABLE PARALLEL SAFE ROWS 100 AS 'MODULE_PATHNAME', 'sliding_sync_room_list';
COMMENT ON FUNCTION sliding_sync.room_list IS
    'the rooms that a client of this user sees, filtered and sorted as MSC4186 says; reads with the rights of the caller';

CREATE FUNCTION sliding_sync.room_list_changes(
    user_id text,
    since bigint,
    is_dm boolean DEFAULT NULL,
    is_encrypted boolean DEFAULT NULL,
    is_invite boolean DEFAULT NULL,
    room_types text[] DEFAULT NULL,
    not_room_types text[] DEFAULT NULL,
    tags text[] DEFAULT NULL,
    not_tags text[] DEFAULT NULL,
    spaces text[] DEFAULT NULL,
    room_name_like text DEFAULT NULL,
    known_versions text[] DEFAULT sliding_sync.known_room_versions(),
    target_schema text DEFAULT NULL
) RETURNS TABLE (place bigint, total bigint, room_id text, membership text, sender text, membership_event_id text,
    room_name text, room_type text, is_encrypted boolean, has_known_state boolean, tombstone_successor_room_id text,
    event_stream_ordering bigint, bump_stamp bigint, change text)
    LANGUAGE c STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'sliding_sync_room_list_changes';
COMMENT ON FUNCTION sliding_sync.room_list_changes IS
    'what changed in room_list(), sorted by recency, since this position: entered, updated or left; changes without a position are not reported';
