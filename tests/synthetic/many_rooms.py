"""Rooms by the thousand, all alike, written set by set."""

from __future__ import annotations

from typing import Any

import psycopg

from generator.load import STAGE, store_events

Connection = psycopg.Connection[Any]

SPAN = 1000  # between the orderings of two rooms

# Each event of each room: create, name, members, messages.
_EVENTS = """
    INSERT INTO chunk
    SELECT '$%(prefix)s' || r || '_' || n, room_id, '@u1:hs.test', type, state_key,
        CASE WHEN type = 'm.room.member' THEN 'join' END, NULL, false, NULL, '{}', r * %(span)s::bigint + n,
        r * %(span)s::bigint + n, json_build_object('type', type, 'room_id', room_id, 'sender', '@u1:hs.test',
            'state_key', state_key, 'content', content::json), NULL, NULL, false
    FROM generate_series(1, %(rooms)s) r CROSS JOIN LATERAL (SELECT '!%(prefix)s' || r || ':hs.test' AS room_id) room
    CROSS JOIN LATERAL (
        SELECT 1 AS n, 'm.room.create' AS type, '' AS state_key, '{"room_version": "10"}' AS content
        UNION ALL SELECT 2, 'm.room.name', '', '{"name": "Room ' || r || '"}'
        UNION ALL SELECT 2 + m, 'm.room.member', '@u' || m || ':hs.test', '{"membership": "join"}'
            FROM generate_series(1, %(members)s) m
        UNION ALL SELECT 2 + %(members)s + m, 'm.room.message', NULL, '{"body": "hello"}'
            FROM generate_series(1, %(messages)s) m
    ) kind
"""
_STATE = (
    "INSERT INTO current_state_events (event_id, room_id, type, state_key, membership, event_stream_ordering)"
    " SELECT event_id, room_id, type, state_key, membership, stream_ordering FROM chunk WHERE state_key IS NOT NULL",
    "INSERT INTO local_current_membership (room_id, user_id, event_id, membership, event_stream_ordering)"
    " SELECT room_id, state_key, event_id, membership, stream_ordering FROM chunk WHERE type = 'm.room.member'",
)


def make_rooms(
    connection: Connection, rooms: int, *, members: int = 1, messages: int = 1, prefix: str = "room", span: int = SPAN
) -> None:
    """As if they were older than the triggers: without their rows in the derived tables."""
    numbers = {"rooms": rooms, "members": members, "messages": messages, "span": span, "prefix": prefix}
    assert 2 + members + messages <= span
    connection.execute("SET sliding_sync.enabled = off; SET session_replication_role = replica")
    with connection.transaction():
        connection.execute(STAGE)
        connection.execute(_EVENTS % numbers)
        store_events(connection)
        for statement in _STATE:
            connection.execute(statement)
    connection.execute(f"SELECT setval('events_stream_seq', {span * (rooms + 2)})")
    connection.execute("RESET sliding_sync.enabled; RESET session_replication_role")
    connection.execute("VACUUM ANALYZE")
