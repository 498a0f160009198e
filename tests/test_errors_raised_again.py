"""Rows that can neither be made nor removed: the homeserver is told why, each time anew, long after the subtransaction of
the error is gone. And nothing but that transaction is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from harness.cluster import Cluster
from oracle import Watcher
from synthetic.database import SCHEMA

Connection = psycopg.Connection[Any]

ROOM, ANNA = "!a:hs.test", "@anna:hs.test"
# more than the failures after which nothing is tried for a while
ATTEMPTS = 13
LONG = "x" * 3000  # more than a block of the memory context that the error is copied to

REFUSE = f"""
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_ARGV[0] = TG_OP OR TG_ARGV[0] = 'all' THEN
        RAISE EXCEPTION 'refused: %', '{LONG}' USING ERRCODE = 'AB123', DETAIL = 'a detail', HINT = 'a hint',
            TABLE = TG_TABLE_NAME, CONSTRAINT = 'a_constraint';
    END IF;
    RETURN coalesce(NEW, OLD);
END $$
"""


@pytest.fixture
def connection(connection: Connection) -> Iterator[Connection]:
    """A homeserver with a room, and a session whose backend must be the same at its end."""
    connection.execute("SELECT create_room(%s, %s, name => 'A')", [ROOM, ANNA])
    connection.execute(REFUSE)
    backend = connection.info.backend_pid
    yield connection
    assert connection.execute("SELECT pg_backend_pid()").fetchone() == (backend,)


def refuse(connection: Connection, what: str) -> None:
    connection.execute(
        "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR DELETE ON sliding_sync_joined_rooms FOR EACH ROW "
        f"EXECUTE FUNCTION refuse('{what}')"
    )


def check_refusal(error: psycopg.Error) -> None:
    told = error.diag
    assert told.sqlstate == "AB123"
    assert told.message_primary == f"refused: {LONG}"
    assert (told.message_detail, told.message_hint) == ("a detail", "a hint")
    assert (told.table_name, told.constraint_name) == ("sliding_sync_joined_rooms", "a_constraint")
    assert told.context and "PL/pgSQL function refuse() line 4 at RAISE" in told.context


RENAMES = {
    "at commit": ["SELECT rename('{room}', '{user}', '{name}')"],
    "after savepoints": ["SAVEPOINT a", "SELECT rename('{room}', '{user}', '{name}')", "SAVEPOINT b", "RELEASE a"],
    "two rooms": ["SELECT create_room('!{name}:hs.test', '{user}')", "SELECT rename('{room}', '{user}', '{name}')"],
    "at a deletion": [
        "DELETE FROM event_forward_extremities",
        "DELETE FROM events WHERE stream_ordering = (SELECT max(stream_ordering) FROM events)",
    ],
    "in flush()": ["SELECT rename('{room}', '{user}', '{name}')", "SELECT sliding_sync.flush()"],
}


@pytest.mark.parametrize("end", ["COMMIT", "PREPARE TRANSACTION 'again'"])
@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("rename", RENAMES)
def test_the_table_refuses_every_write(connection: Connection, rename: str, level: str, end: str) -> None:
    refuse(connection, "all")
    watcher = Watcher(connection, SCHEMA)
    for attempt in range(ATTEMPTS):
        connection.execute(f"BEGIN ISOLATION LEVEL {level}")
        with pytest.raises(psycopg.Error) as raised:
            for statement in RENAMES[rename]:
                connection.execute(statement.format(room=ROOM, user=ANNA, name=f"n{attempt}"))
            connection.execute(end)
        check_refusal(raised.value)
        connection.execute("ROLLBACK")
    assert watcher.check_step() == []
    connection.execute("DROP TRIGGER refuse ON sliding_sync_joined_rooms")
    connection.execute("SELECT rename(%s, %s, 'at last')", [ROOM, ANNA])
    assert watcher.check_step() == []


def test_a_block_that_catches_it(connection: Connection) -> None:
    refuse(connection, "all")
    connection.execute("BEGIN")
    for attempt in range(ATTEMPTS):
        connection.execute("SAVEPOINT a")
        with pytest.raises(psycopg.Error) as raised:
            connection.execute("SELECT rename(%s, %s, %s), sliding_sync.flush()", [ROOM, ANNA, f"n{attempt}"])
        check_refusal(raised.value)
        connection.execute("ROLLBACK TO a")
    connection.execute(f"""
        DO $$
        DECLARE caught text; message text;
        BEGIN
            FOR attempt IN 1..{ATTEMPTS} LOOP
                BEGIN
                    PERFORM rename('{ROOM}', '{ANNA}', 'n' || attempt);
                    PERFORM sliding_sync.flush();
                EXCEPTION WHEN OTHERS THEN
                    GET STACKED DIAGNOSTICS caught = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
                    ASSERT caught = 'AB123' AND length(message) = {len("refused: " + LONG)};
                END;
            END LOOP;
        END $$
    """)
    connection.execute("ROLLBACK")


@contextmanager
def locked(cluster: Cluster, database: str, table: str) -> Iterator[None]:
    with cluster.connect(database, autocommit=False) as other:
        other.execute(f"LOCK TABLE {SCHEMA}.{table}")
        yield


@pytest.mark.parametrize("table", ["sliding_sync_joined_rooms", "sliding_sync_membership_snapshots"])
def test_somebody_holds_the_table_longer_than_the_homeserver_waits(
    cluster: Cluster, connection: Connection, table: str
) -> None:
    watcher = Watcher(connection, SCHEMA)
    connection.execute("SET lock_timeout = '20ms'")
    change = f"""SELECT rename('{ROOM}', '{ANNA}', 'other'), "join"('{ROOM}', '@bert:hs.test')"""
    with locked(cluster, connection.info.dbname, table):
        for _ in range(ATTEMPTS):
            with pytest.raises(psycopg.errors.LockNotAvailable) as raised:
                connection.execute(change)
            assert raised.value.diag.message_primary == "canceling statement due to lock timeout"
    assert watcher.check_step() == []
    connection.execute("SET lock_timeout = 0")
    connection.execute("CREATE TABLE operations.anything ()")  # the catalog changes: refreshes are tried again at once
    connection.execute(change)
    assert watcher.check_step() == []


def test_a_backfill_gives_up(connection: Connection) -> None:
    """Removing works, making does not: the first hundred rooms are quarantined, the next failure ends the call."""
    for number in range(120):
        connection.execute("SELECT create_room(%s, %s)", [f"!{number:03}:hs.test", ANNA])
    connection.execute("DELETE FROM sliding_sync_joined_rooms")
    refuse(connection, "INSERT")
    for _ in range(2):
        with pytest.raises(psycopg.Error) as raised:
            connection.execute("CALL sliding_sync.backfill(restart => true)")
        check_refusal(raised.value)
