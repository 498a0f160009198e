"""Writes chapters to a homeserver's tables, set by set, in a homeserver's order of statements."""

from __future__ import annotations

from typing import Any, Callable, LiteralString

import psycopg
from psycopg import sql

from generator.world import SERVER, Chapter, World

# Events that are to be stored.
STAGE: LiteralString = """
    CREATE TEMP TABLE chunk (
        event_id text, room_id text, sender text, type text, state_key text, membership text, redacts text,
        outlier boolean, rejected text, metadata text, depth bigint, stream_ordering bigint, json text,
        state_group bigint, prev_state_group bigint, starts_group boolean
    ) ON COMMIT DROP
"""

# Events, each with what belongs to it; the state groups are there before the events are.
_EVENTS: tuple[LiteralString, ...] = (
    "INSERT INTO rooms (room_id, creator, is_public, room_version, has_auth_chain_index)"
    " SELECT DISTINCT ON (room_id) room_id, sender, false, '10', true FROM chunk ON CONFLICT DO NOTHING",
    "INSERT INTO state_groups (id, room_id, event_id)"
    " SELECT state_group, room_id, event_id FROM chunk WHERE starts_group",
    "INSERT INTO state_group_edges (state_group, prev_state_group)"
    " SELECT state_group, prev_state_group FROM chunk WHERE starts_group AND prev_state_group IS NOT NULL",
    "INSERT INTO state_groups_state (state_group, room_id, type, state_key, event_id)"
    " SELECT state_group, room_id, type, state_key, event_id FROM chunk WHERE starts_group",
    "INSERT INTO event_json (event_id, room_id, internal_metadata, json, format_version)"
    " SELECT event_id, room_id, metadata, json, 3 FROM chunk",
    "INSERT INTO events (instance_name, stream_ordering, topological_ordering, depth, event_id, room_id,"
    " type, processed, outlier, origin_server_ts, received_ts, sender, contains_url, state_key,"
    " rejection_reason)"
    " SELECT 'master', stream_ordering, depth, depth, event_id, room_id, type, true,"
    " outlier, 0, 0, sender, false, state_key, rejected FROM chunk",
    "INSERT INTO state_events (event_id, room_id, type, state_key)"
    " SELECT event_id, room_id, type, state_key FROM chunk WHERE state_key IS NOT NULL",
    "INSERT INTO event_to_state_groups (event_id, state_group)"
    " SELECT event_id, state_group FROM chunk WHERE state_group IS NOT NULL",
    "INSERT INTO rejections (event_id, reason, last_check)"
    " SELECT event_id, rejected, '0' FROM chunk WHERE rejected IS NOT NULL",
    "INSERT INTO redactions (event_id, redacts, received_ts)"
    " SELECT event_id, redacts, 0 FROM chunk WHERE redacts IS NOT NULL",
    "INSERT INTO room_memberships (event_id, event_stream_ordering, user_id, sender, room_id, membership)"
    " SELECT event_id, stream_ordering, state_key, sender, room_id, membership FROM chunk"
    " WHERE type = 'm.room.member'",
    "INSERT INTO local_current_membership (room_id, user_id, event_id, membership, event_stream_ordering)"
    " SELECT room_id, state_key, event_id, membership, stream_ordering FROM chunk"
    " WHERE type = 'm.room.member' AND outlier AND state_key LIKE %(local)s"
    " ON CONFLICT (room_id, user_id) DO UPDATE SET event_id = excluded.event_id,"
    " membership = excluded.membership, event_stream_ordering = excluded.event_stream_ordering",
)

# The keys of current state that change, then the memberships of the server's own users.
_STATE: tuple[LiteralString, ...] = (
    "CREATE TEMP TABLE change ON COMMIT DROP AS"
    " SELECT DISTINCT ON (room_id, type, state_key) room_id, type, state_key, event_id, membership,"
    " stream_ordering, min(stream_ordering) OVER (PARTITION BY room_id) AS stream_id FROM chunk"
    " WHERE starts_group ORDER BY room_id, type, state_key, stream_ordering DESC",
    "INSERT INTO current_state_delta_stream (stream_id, room_id, type, state_key, event_id, prev_event_id)"
    " SELECT n.stream_id, room_id, type, state_key, n.event_id, c.event_id FROM change n"
    " LEFT JOIN current_state_events c USING (room_id, type, state_key) WHERE room_id <> ALL (%(left)s)",
    "INSERT INTO current_state_delta_stream (stream_id, room_id, type, state_key, event_id, prev_event_id)"
    " SELECT (SELECT min(stream_id) FROM change n WHERE n.room_id = c.room_id),"
    " room_id, type, state_key, NULL, event_id"
    " FROM current_state_events c WHERE room_id = ANY (%(left)s)",
    "DELETE FROM current_state_events WHERE room_id = ANY (%(left)s)",
    "DELETE FROM current_state_events c USING change n"
    " WHERE (c.room_id, c.type, c.state_key) = (n.room_id, n.type, n.state_key)",
    "INSERT INTO current_state_events (room_id, type, state_key, event_id, membership, event_stream_ordering)"
    " SELECT room_id, type, state_key, event_id, membership, stream_ordering FROM change"
    " WHERE room_id <> ALL (%(left)s)",
    "DELETE FROM local_current_membership l USING change n"
    " WHERE n.type = 'm.room.member' AND (l.room_id, l.user_id) = (n.room_id, n.state_key)",
    "INSERT INTO local_current_membership (room_id, user_id, event_id, membership, event_stream_ordering)"
    " SELECT room_id, state_key, event_id, membership, stream_ordering FROM change"
    " WHERE type = 'm.room.member' AND state_key LIKE %(local)s",
)


def generate(
    connection: psycopg.Connection[Any],
    schema: str,
    rooms: int,
    seed: int = 1,
    report: Callable[[Chapter], None] = lambda chapter: None,
) -> World:
    """Adds a world to the schema, chapter by chapter, each in a transaction; `report` is told after each."""
    connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
    first = "SELECT nextval('events_stream_seq'), nextval('state_group_id_seq')"
    first_ordering, first_group = connection.execute(first).fetchone() or (1, 1)
    world = World(rooms, seed, first_ordering, first_group)
    for chapter in world.chapters():
        if chapter.events:
            with connection.transaction():
                _write(connection, chapter)
        report(chapter)
    connection.execute(
        "SELECT setval('events_stream_seq', %s), setval('events_backfill_stream_seq', %s),"
        " setval('state_group_id_seq', %s)",
        [world.last_ordering, world.last_backfill_ordering, world.last_group],
    )
    return world


def store_events(connection: psycopg.Connection[Any]) -> None:
    """The events of the stage, each with what belongs to it; none of them enters current state."""
    for statement in _EVENTS:
        connection.execute(statement, {"local": f"%:{SERVER}"})


def _write(connection: psycopg.Connection[Any], chapter: Chapter) -> None:
    connection.execute(STAGE)
    with connection.cursor().copy("COPY chunk FROM STDIN") as copy:
        for event in chapter.events:
            copy.write_row(event)
    connection.execute("ANALYZE chunk")
    store_events(connection)
    for statement in _STATE:
        connection.execute(statement, {"local": f"%:{SERVER}", "left": chapter.left_rooms})
    with connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE room_memberships SET forgotten = 1 WHERE room_id = %s AND user_id = %s", chapter.forgotten
        )
