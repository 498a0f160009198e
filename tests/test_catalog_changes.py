"""What a session remembers of tables goes stale when these change, and not when others do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from oracle import Watcher, check
from synthetic.database import ANNA, BASE_TABLES, BERT, SCHEMA, connect, copied

Connection = psycopg.Connection[Any]

ROOM, ROOMS = "!room1:hs.test", 50


@pytest.fixture
def session(cluster: Cluster, empty_homeserver: str) -> Iterator[Connection]:
    """A new one, that remembers nothing. The first room's name is redacted, the second one's by a ban."""
    with copied(cluster, empty_homeserver) as database:
        with connect(cluster, database, SUPERUSER) as connection:
            connection.execute("CREATE TABLE unconcerned (a integer)")
            connection.execute("SELECT create_room('!room' || i || ':hs.test', %s) FROM generate_series(1, %s) i", (ANNA, ROOMS))
            connection.execute('SELECT "join"(%s, %s)', (ROOM, BERT))
            connection.execute("SELECT redact(%s, %s, rename(%s, %s, 'Redacted'))", (ROOM, ANNA, ROOM, ANNA))
            connection.execute("CALL sliding_sync.backfill()")
        with connect(cluster, database, SUPERUSER) as connection:
            yield connection
            findings = check(connection, SCHEMA)
            assert not findings, "\n".join(map(str, findings[:30]))


_ROWS_READ = f"""
    SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_scan, 0) + coalesce(idx_tup_fetch, 0))
    FROM pg_stat_xact_all_tables WHERE schemaname = '{SCHEMA}'
"""


def rows_read(session: Connection, statement: str) -> int:
    """By the refresh of many rooms with a message each, where this has been said before it."""
    with session.transaction(force_rollback=True):
        session.execute("SELECT send_message('!room' || i || ':hs.test', %s) FROM generate_series(1, %s) i", (ANNA, ROOMS))
        session.execute(statement)  # type: ignore[call-overload]
        before = session.execute(_ROWS_READ).fetchone()
        session.execute("SELECT sliding_sync.flush()")
        after = session.execute(_ROWS_READ).fetchone()
    assert before and after
    return int(after[0] - before[0])


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TEMP TABLE another (a integer)",
        "ALTER TABLE unconcerned ADD COLUMN b integer",
        "ALTER TABLE unconcerned RENAME TO still_unconcerned",
        "CREATE INDEX ON unconcerned (a)",
        "CREATE TEMP TABLE events (a integer)",
        "DROP TABLE unconcerned",
        "ALTER TABLE pg_catalog.pg_description SET (fillfactor = 90)",
    ],
)
def test_another_table_costs_nothing(session: Connection, statement: str) -> None:
    session.execute("SET allow_system_table_mods = on")
    rows_read(session, "SELECT 1")  # makes the plans
    assert rows_read(session, statement) == rows_read(session, "SELECT 1")
    concerned = rows_read(session, "ALTER TABLE redactions SET (fillfactor = 90)")
    assert concerned > 2 * rows_read(session, "SELECT 1")  # it can be told


# Table -> what its trigger does not see, in a room that is pending for a message.
UNSEEN = {
    "events": f"SELECT send_message('{ROOM}', '{ANNA}')",
    "event_json": f"UPDATE event_json SET json = replace(json, 'Tea', 'Mate') WHERE room_id = '{ROOM}'",
    "current_state_events": f"DELETE FROM current_state_events WHERE room_id = '{ROOM}' AND type = 'm.room.encryption'",
    "redactions": "DELETE FROM redactions",
    "rejections": "INSERT INTO rejections SELECT event_id, 'auth_error', '' FROM events"
    " WHERE stream_ordering = (SELECT max(stream_ordering) FROM events)",
}


@pytest.mark.parametrize("table", UNSEEN)
def test_a_trigger_that_is_off_for_a_while(session: Connection, table: str) -> None:
    """The pending room is computed from the tables then, whichever table it was and whatever the session has read before."""
    with session.transaction():
        session.execute("SELECT send_message(%s, %s)", (ROOM, ANNA))
        session.execute(f'ALTER TABLE {table} DISABLE TRIGGER "A_sliding_sync"')  # type: ignore[call-overload]
        session.execute(UNSEEN[table])  # type: ignore[call-overload]
        session.execute(f'ALTER TABLE {table} ENABLE ALWAYS TRIGGER "A_sliding_sync"')  # type: ignore[call-overload]


@pytest.mark.parametrize("table", ["rejections", "room_ban_redactions"])
def test_a_table_that_comes_and_goes(session: Connection, table: str) -> None:
    """Under the eyes of a session that has remembered that it is there, or not."""
    watcher = Watcher(session, SCHEMA)
    for statement in (
        f"ALTER TABLE {table} RENAME TO put_away; CREATE TABLE {SCHEMA}.{table} (LIKE put_away INCLUDING ALL)",
        f"ALTER TABLE {table} SET SCHEMA public; CREATE VIEW {SCHEMA}.{table} AS SELECT * FROM public.{table}",
        f"DROP VIEW {SCHEMA}.{table}; ALTER TABLE put_away RENAME TO {table}",
    ):
        session.execute("SELECT rename(%s, %s, 'Tea')", (ROOM, ANNA))
        session.execute(statement)  # type: ignore[call-overload]
        session.execute("SELECT rename(%s, %s, 'Coffee')", (ROOM, ANNA))
        assert not watcher.check_step(), statement


_PLANS = "SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'SPI Plan'"


def test_schemas_come_and_go(connection: Connection) -> None:
    """A session that sees many, as a test suite or a migration does, keeps no plans of those that are gone."""
    tables = [*BASE_TABLES, "sliding_sync_joined_rooms", "sliding_sync_membership_snapshots"]
    kept = []
    for number in range(12):
        schema = f"passing_{number}"
        connection.execute(f"CREATE SCHEMA {schema}")  # type: ignore[arg-type]
        for table in tables:
            connection.execute(f"CREATE TABLE {schema}.{table} (LIKE {SCHEMA}.{table} INCLUDING ALL)")  # type: ignore[arg-type]
        connection.execute(
            f"CREATE TRIGGER one AFTER INSERT ON {schema}.rooms FOR EACH ROW EXECUTE FUNCTION sliding_sync.collect();"  # type: ignore[arg-type]
            f"INSERT INTO {schema}.rooms (room_id, is_public, room_version) VALUES ('!r', false, '10')"
        )
        row = connection.execute(_PLANS).fetchone()
        assert row is not None
        kept.append(row[0])
        connection.execute(f"DROP SCHEMA {schema} CASCADE")  # type: ignore[arg-type]
    assert kept[2] > 0 and len(set(kept[2:])) == 1, kept
