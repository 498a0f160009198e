"""A server that is recovered from a base backup and archived WAL, up to a moment in the middle of writing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness import processes
from harness.base_backup import BaseBackup
from harness.cluster import SUPERUSER, Cluster
from oracle import check
from synthetic.database import ANNA, ROOM, SCHEMA, connect, create_homeserver
from synthetic.load import Outcome, Rooms, play, prepare

Connection = psycopg.Connection[Any]

DATABASE = "archived"
CLIENTS = 4


@pytest.fixture
def origin() -> Iterator[tuple[Cluster, Path]]:
    """A server that archives its WAL, and where."""
    cluster = Cluster()
    archive = cluster.root / "archive"
    archive.mkdir()
    processes.give_to_server(archive)
    cluster.settings |= {"archive_mode": "on", "archive_command": f"cp %p {archive}/%f"}
    with cluster:
        create_homeserver(cluster, DATABASE)
        yield cluster, archive


@contextmanager
def recovered(origin: Cluster, archive: Path, backup: BaseBackup) -> Iterator[BaseBackup]:
    """The server as it was at the restore point `wanted`."""
    ((wal,),) = origin.execute("SELECT pg_walfile_name(pg_switch_wal())")
    deadline = time.monotonic() + 60
    while not (archive / str(wal)).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    try:
        backup.recover(archive, "wanted")
        yield backup
        backup.stop()
    finally:
        backup.destroy()


def ready(cluster: Cluster) -> tuple[bool, list[str]]:
    ((is_ready, reasons),) = cluster.execute("SELECT is_ready, reasons FROM sliding_sync.ready()", DATABASE)
    return is_ready, reasons


def assert_right(cluster: Cluster) -> None:
    with connect(cluster, DATABASE) as connection:
        findings = check(connection, SCHEMA)
        assert not findings, "\n".join(map(str, findings[:30]))


def send(connection: Connection) -> str:
    """A message into a room that no client of the load knows."""
    ((event_id,),) = connection.execute("SELECT send_message(%s, %s)", (ROOM, ANNA)).fetchall()
    return str(event_id)


def newest_message(cluster: Cluster) -> str:
    with connect(cluster, DATABASE) as connection:
        query = "SELECT event_id FROM events WHERE room_id = %s ORDER BY stream_ordering DESC LIMIT 1"
        ((event_id,),) = connection.execute(query, (ROOM,)).fetchall()
    return str(event_id)


def others_after(cluster: Cluster, event_id: str) -> int:
    """How many events of other rooms came after this one."""
    with connect(cluster, DATABASE) as connection:
        query = """
            SELECT count(*) FROM events WHERE room_id <> %s
                AND stream_ordering > (SELECT stream_ordering FROM events WHERE event_id = %s)
        """
        ((count,),) = connection.execute(query, (ROOM, event_id)).fetchall()
    return int(count)


def test_a_moment_in_the_middle_of_the_load(origin: tuple[Cluster, Path]) -> None:
    """Every row is right there, the server is ready without a backfill, and writing goes on."""
    server, archive = origin
    server.execute("CALL sliding_sync.backfill()", DATABASE)
    rooms = Rooms(CLIENTS, shared=4, own=3)
    with connect(server, DATABASE) as connection:
        prepare(connection, rooms)
        connection.execute("SELECT create_room(%s, %s)", (ROOM, ANNA))
        begun = send(connection)
    backup = BaseBackup(server)
    backup.create()
    stop, outcome = threading.Event(), Outcome()

    def write(cluster: Cluster, seed: int) -> None:
        nonlocal outcome
        outcome += play(lambda: connect(cluster, DATABASE), rooms, seed=seed, stop=stop, writes_tables=False)

    thread = threading.Thread(target=write, args=(server, 1))
    thread.start()
    time.sleep(1)
    with connect(server, DATABASE) as connection:
        before = send(connection)
        server.execute("SELECT pg_create_restore_point('wanted')")
        send(connection)
    time.sleep(1)
    stop.set()
    thread.join()
    assert outcome.effective.total() > 50 and not outcome.errors, outcome.examples
    with recovered(server, archive, backup) as again:
        assert_right(again)
        assert ready(again) == (True, [])
        # neither a moment earlier nor one later, and the load wrote on both sides of it
        assert newest_message(again) == before
        assert others_after(again, begun) > 20 and others_after(server, before) > 20
        stop.clear()
        thread = threading.Thread(target=write, args=(again, 2))
        thread.start()
        time.sleep(1)
        stop.set()
        thread.join()
        assert not outcome.errors, outcome.examples
        assert_right(again)


def test_a_moment_after_a_bypassed_write(origin: tuple[Cluster, Path]) -> None:
    """The recovered server knows of it, as the origin did."""
    server, archive = origin
    with connect(server, DATABASE, SUPERUSER) as connection:
        connection.execute("SELECT create_room('!r:hs.test', '@anna:hs.test', name => 'N')")
        connection.execute("CALL sliding_sync.backfill()")
        backup = BaseBackup(server)
        backup.create()
        connection.execute("SET sliding_sync.enabled = off")
        connection.execute("SELECT \"join\"('!r:hs.test', '@bert:hs.test')")
        connection.execute("SELECT pg_create_restore_point('wanted')")
        connection.execute("SELECT * FROM sliding_sync.catch_up()")
    assert ready(server) == (True, [])
    with recovered(server, archive, backup) as again:
        assert ready(again) == (False, ["bypassed_writes"])
        again.execute("SELECT * FROM sliding_sync.catch_up()", DATABASE)
        assert ready(again) == (True, [])
        assert_right(again)
