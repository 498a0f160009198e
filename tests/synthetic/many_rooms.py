"""Rooms by the thousand, all alike, written set by set."""

from __future__ import annotations

from typing import Any

import psycopg

Connection = psycopg.Connection[Any]

SPAN = 1000  # between the orderings of two rooms

# Each event of each room: create, name, members, messages.
_EVENTS = """
    CREATE TEMP TABLE made AS
    SELECT '$%(prefix)s' || r || '_' || n AS event_id, '!%(prefix)s' || r || ':hs.test' AS room_id, kind.type,
        kind.state_key, kind.content, r * %(span)s::bigint + n AS ordering
    FROM generate_series(1, %(rooms)s) r CROSS JOIN LATERAL (
        SELECT 1 AS n, 'm.room.create' AS type, '' AS state_key, '{"room_version": "10"}' AS content
        UNION ALL SELECT 2, 'm.room.name', '', '{"name": "Room ' || r || '"}'
        UNION ALL SELECT 2 + m, 'm.room.member', '@u' || m || ':hs.test', '{"membership": "join"}'
            FROM generate_series(1, %(members)s) m
        UNION ALL SELECT 2 + %(members)s + m, 'm.room.message', NULL, '{"body": "hello"}'
            FROM generate_series(1, %(messages)s) m
    ) kind
"""
_TABLES = (
    "INSERT INTO rooms (room_id, creator, is_public, room_version, has_auth_chain_index)"
    " SELECT DISTINCT room_id, '@u1:hs.test', false, '10', true FROM made",
    "INSERT INTO event_json (event_id, room_id, internal_metadata, json, format_version) SELECT event_id, room_id,"
    " '{}', json_build_object('type', type, 'room_id', room_id, 'sender', '@u1:hs.test', 'state_key', state_key,"
    " 'content', content::json), 3 FROM made",
    "INSERT INTO events (instance_name, stream_ordering, topological_ordering, depth, event_id, room_id, type,"
    " processed, outlier, origin_server_ts, received_ts, sender, contains_url, state_key) SELECT 'master', ordering,"
    " ordering, ordering, event_id, room_id, type, true, false, 0, 0, '@u1:hs.test', false, state_key FROM made",
    "INSERT INTO state_events (event_id, room_id, type, state_key) SELECT event_id, room_id, type, state_key FROM made"
    " WHERE state_key IS NOT NULL",
    "INSERT INTO current_state_events (event_id, room_id, type, state_key, membership, event_stream_ordering)"
    " SELECT event_id, room_id, type, state_key, CASE WHEN type = 'm.room.member' THEN 'join' END, ordering FROM made"
    " WHERE state_key IS NOT NULL",
    "INSERT INTO room_memberships (event_id, event_stream_ordering, user_id, sender, room_id, membership)"
    " SELECT event_id, ordering, state_key, '@u1:hs.test', room_id, 'join' FROM made WHERE type = 'm.room.member'",
    "INSERT INTO local_current_membership (room_id, user_id, event_id, membership, event_stream_ordering)"
    " SELECT room_id, state_key, event_id, 'join', ordering FROM made WHERE type = 'm.room.member'",
)


def make_rooms(
    connection: Connection, rooms: int, *, members: int = 1, messages: int = 1, prefix: str = "room", span: int = SPAN
) -> None:
    """As if they were older than the triggers: without their rows in the derived tables."""
    numbers = {"rooms": rooms, "members": members, "messages": messages, "span": span, "prefix": prefix}
    assert 2 + members + messages <= span
    connection.execute("SET sliding_sync.enabled = off; SET session_replication_role = replica")
    connection.execute(_EVENTS % numbers)
    for statement in _TABLES:
        connection.execute(statement)
    connection.execute(f"DROP TABLE made; SELECT setval('events_stream_seq', {span * (rooms + 2)})")
    connection.execute("RESET sliding_sync.enabled; RESET session_replication_role")
    connection.execute("VACUUM ANALYZE")
