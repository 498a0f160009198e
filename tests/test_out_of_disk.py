"""The disk is full for our tables, while what the homeserver itself writes still fits.

A backend that may write no file beyond a size (RLIMIT_FSIZE) meets the server's error for a full disk where a table has
just that size; neither a mount nor a privilege is needed. The limit counts for every file, so it has to be above the
size of a segment of the write-ahead log, and the tables that are to be full have to grow up to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from harness import processes
from harness.cluster import Cluster
from oracle import check
from synthetic.database import ANNA, BERT, SCHEMA, connect, create_homeserver

Connection = psycopg.Connection[Any]

PAGE = 8192
LARGE = (17 << 20) // PAGE  # pages; a segment of the log has 16 MiB

# Rows of nobody, one a page: with this fill factor nothing else is put next to them.
_FILL: dict[str, LiteralString] = {
    "sliding_sync_joined_rooms": "INSERT INTO sliding_sync_joined_rooms (room_id, event_stream_ordering, room_name)"
    " SELECT 'junk' || n, -1000000 - n, repeat('x', %s) FROM generate_series(%s::int, %s) n",
    "sliding_sync_membership_snapshots": "INSERT INTO sliding_sync_membership_snapshots (room_id, user_id, sender,"
    " membership_event_id, membership, event_stream_ordering, event_instance_name, room_name)"
    " SELECT 'junk', n, '', 'junk' || n, 'join', -1000000 - n, '', repeat('x', %s) FROM generate_series(%s::int, %s) n",
    "sliding_sync.quarantine": "INSERT INTO sliding_sync.quarantine (schema_name, table_name, room_id, reason,"
    " sqlstate, message) SELECT 'junk', '', n, '', '', repeat('x', %s) FROM generate_series(%s::int, %s) n",
}


@pytest.fixture
def database(cluster: Cluster) -> Iterator[str]:
    name = create_homeserver(cluster, "out of disk")
    with connect(cluster, name) as connection:
        for room in ("!a:hs.test", "!b:hs.test"):
            connection.execute("SELECT create_room(%s, %s, name => 'Old')", (room, ANNA))
    yield name
    cluster.drop_database(name)


def administrator(cluster: Cluster, database: str) -> Connection:
    connection = connect(cluster, database, "postgres")
    connection.execute("SET session_replication_role = replica")  # no foreign keys, no triggers
    return connection


def size(connection: Connection, table: str) -> int:
    return int(connection.execute("SELECT pg_relation_size(%s)", [table]).fetchone()[0])


def fill(cluster: Cluster, database: str, *tables: str) -> int:
    """Makes the tables as large as the limit that is returned: they cannot grow by a page, nor is there room inside."""
    with administrator(cluster, database) as connection:
        for table in tables:
            if table == "sliding_sync.quarantine":  # no rows of a replica enter it
                connection.execute("SET session_replication_role = origin")
            connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off, fillfactor = 100)")
            connection.execute(f"VACUUM {table}")
            before, number = size(connection, table), 0
            while size(connection, table) == before:  # no room to move to for the rows that are there
                number += 1
                connection.execute(_FILL[table], [1, number, number])
            connection.execute(f"ALTER TABLE {table} SET (fillfactor = 10)")
            while (missing := LARGE - size(connection, table) // PAGE) > 0:
                connection.execute(_FILL[table], [700, number + 1, number + missing])
                number += missing
            assert size(connection, table) == LARGE * PAGE
        connection.execute("CHECKPOINT")
    return LARGE * PAGE + PAGE // 2  # the last half page is written, and the server sees that it was a half


def clear(cluster: Cluster, database: str) -> None:
    with administrator(cluster, database) as connection:
        connection.execute("DELETE FROM sliding_sync_joined_rooms WHERE event_stream_ordering < -1000000")
        connection.execute("DELETE FROM sliding_sync_membership_snapshots WHERE event_stream_ordering < -1000000")
        connection.execute("SET session_replication_role = origin")
        connection.execute("DELETE FROM sliding_sync.quarantine WHERE reason = ''")


@contextmanager
def full_disk(connection: Connection, limit: int) -> Iterator[None]:
    def set_limit(size: int | str) -> None:  # as the server's own user, who may do so
        pid = connection.info.backend_pid
        processes.run(["prlimit", "--pid", pid, f"--fsize={size}:"], cwd=Path("/"))

    set_limit(limit)
    try:
        yield
    finally:
        set_limit("unlimited")


def full(cluster: Cluster) -> str:
    """Of a full disk, or from 16 on, where the server itself tries to write the other half page, of a file too large."""
    return "53100" if cluster.server_major() < 16 else "XX000"


def quarantined(cluster: Cluster, database: str) -> list[tuple[str, str | None, str, str]]:
    return cluster.execute(
        "SELECT room_id, user_id, reason, sqlstate FROM sliding_sync.quarantine WHERE reason <> '' ORDER BY 1, 2",
        database,
    )


def names(cluster: Cluster, database: str) -> dict[str, str | None]:
    query = f"SELECT room_id, room_name FROM {SCHEMA}.sliding_sync_joined_rooms WHERE room_id LIKE '!%'"
    return dict(cluster.execute(query, database))


def recovered(cluster: Cluster, database: str, keys: int) -> None:
    """There is space again: what is in quarantine comes back, and every row is right."""
    clear(cluster, database)
    with connect(cluster, database, "postgres") as connection:
        repaired = connection.execute("SELECT repaired, remaining FROM sliding_sync.repair_quarantine()").fetchone()
        assert repaired == (keys, 0)
        assert check(connection, SCHEMA) == []


def test_a_rooms_row_does_not_fit(cluster: Cluster, database: str) -> None:
    limit = fill(cluster, database, "sliding_sync_joined_rooms")
    with connect(cluster, database) as connection, full_disk(connection, limit):
        connection.execute("SELECT create_room('!c:hs.test', %s, name => 'C')", [ANNA])  # to be inserted
        connection.execute("SELECT rename('!a:hs.test', %s, 'New')", [ANNA])  # to be updated
        assert names(cluster, database) == {"!b:hs.test": "Old"}
        assert quarantined(cluster, database) == [
            (room, None, "refresh_failed", full(cluster)) for room in ("!a:hs.test", "!c:hs.test")
        ]
        connection.execute("SELECT send_message('!a:hs.test', %s)", [ANNA])  # it stays like that
        assert names(cluster, database) == {"!b:hs.test": "Old"}
    recovered(cluster, database, keys=2)
    assert names(cluster, database) == {"!a:hs.test": "New", "!b:hs.test": "Old", "!c:hs.test": "C"}


def test_a_membership_does_not_fit(cluster: Cluster, database: str) -> None:
    limit = fill(cluster, database, "sliding_sync_membership_snapshots")
    snapshots = f"SELECT user_id FROM {SCHEMA}.sliding_sync_membership_snapshots WHERE room_id = '!a:hs.test'"
    with connect(cluster, database) as connection, full_disk(connection, limit):
        connection.execute('SELECT "join"(%s, %s)', ["!a:hs.test", BERT])
        assert cluster.execute(snapshots, database) == [(ANNA,)]
        assert quarantined(cluster, database) == [("!a:hs.test", BERT, "refresh_failed", full(cluster))]
    recovered(cluster, database, keys=1)
    assert sorted(cluster.execute(snapshots, database)) == [(ANNA,), (BERT,)]


def test_a_message_does_not_fit(cluster: Cluster, database: str) -> None:
    """Raising two numbers is not worth a subtransaction: this error reaches the homeserver, and nothing is wrong."""
    limit = fill(cluster, database, "sliding_sync_joined_rooms")
    with connect(cluster, database) as connection, full_disk(connection, limit):
        with pytest.raises(psycopg.Error, match="could not extend file") as raised:
            connection.execute("SELECT send_message('!a:hs.test', %s)", [ANNA])
        assert raised.value.sqlstate == full(cluster)
    recovered(cluster, database, keys=0)


def test_not_even_quarantine_fits(cluster: Cluster, database: str) -> None:
    """The row is removed, the note that is lost is counted, and the homeserver's transaction goes on."""
    cluster.execute("CALL sliding_sync.backfill()", database)
    limit = fill(cluster, database, "sliding_sync_joined_rooms", "sliding_sync.quarantine")
    with connect(cluster, database) as connection, full_disk(connection, limit):
        connection.execute("SELECT rename('!a:hs.test', %s, 'New')", [ANNA])
        assert names(cluster, database) == {"!b:hs.test": "Old"}
    assert quarantined(cluster, database) == []
    clear(cluster, database)
    assert cluster.execute("SELECT is_ready FROM sliding_sync.ready()", database) == [(False,)]
    assert cluster.execute("SELECT had_gap FROM sliding_sync.catch_up()", database) == [(True,)]
    recovered(cluster, database, keys=0)
    assert names(cluster, database) == {"!a:hs.test": "New", "!b:hs.test": "Old"}
