"""What others see of a call while it works, and what is left of one that is cancelled."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from harness.cluster import SUPERUSER, Cluster
from synthetic.database import SCHEMA, connect, copied
from synthetic.growth import make_rooms

Connection = psycopg.Connection[Any]
ROOMS = 1200


@pytest.fixture
def database(cluster: Cluster, empty_homeserver: str) -> Iterator[str]:
    with copied(cluster, empty_homeserver) as name:
        with connect(cluster, name, SUPERUSER) as connection:
            make_rooms(connection, ROOMS, members=2, messages=1, span=100)
            connection.execute("CALL sliding_sync.backfill()")
            connection.execute("ANALYZE")
        yield name


@contextmanager
def at_work(cluster: Cluster, database: str, statement: str) -> Iterator[tuple[Connection, list[BaseException]]]:
    """In another session, which gets no further than the memberships, until the end of the block."""
    errors: list[BaseException] = []
    with connect(cluster, database, SUPERUSER) as worker, connect(cluster, database, SUPERUSER) as blocker:

        def work() -> None:
            try:
                worker.execute(statement)  # type: ignore[call-overload]
            except psycopg.Error as error:
                errors.append(error)

        with blocker.transaction():
            blocker.execute("LOCK TABLE sliding_sync_membership_snapshots IN ACCESS EXCLUSIVE MODE")
            thread = threading.Thread(target=work)
            thread.start()
            until(lambda: blocker.execute("SELECT FROM pg_locks WHERE pid = %s AND NOT granted", [worker.info.backend_pid]).fetchall())
            yield worker, errors
        thread.join()
        (shown,) = blocker.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", [worker.info.backend_pid]).fetchone() or ()
        assert shown == statement  # again


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("command", "statement"),
    [
        ("verify", "SELECT * FROM sliding_sync.verify()"),
        ("repair", "SELECT * FROM sliding_sync.repair()"),
        ("catch_up", "SELECT * FROM sliding_sync.catch_up()"),
        ("verify", "SELECT * FROM sliding_sync.finish_background_updates()"),
    ],
)
def test_a_session_that_verifies(cluster: Cluster, database: str, command: str, statement: str) -> None:
    with connect(cluster, database, SUPERUSER) as watcher:
        progress = watcher.cursor(row_factory=dict_row)
        if command == "catch_up":
            watcher.execute(f'ALTER TABLE {SCHEMA}.rooms DISABLE TRIGGER "A_sliding_sync"')
            watcher.execute(f'ALTER TABLE {SCHEMA}.rooms ENABLE ALWAYS TRIGGER "A_sliding_sync"')
        with at_work(cluster, database, statement) as (worker, errors):
            (row,) = progress.execute("SELECT * FROM sliding_sync.progress").fetchall()
            found = {name: row[name] for name in ("command", "run_id", "schema_name", "phase", "table_name", "sessions")}
            assert found == {
                "command": command,
                "run_id": None,
                "schema_name": SCHEMA,
                "phase": "working",
                "table_name": "sliding_sync_membership_snapshots",
                "sessions": [worker.info.backend_pid],
            }
            assert (row["items_done"], row["items_total"]) == (0, 2 * ROOMS)
            assert watcher.execute("SELECT FROM sliding_sync.metrics WHERE name LIKE 'sliding_sync_run%'").fetchall() == []
            assert watcher.execute("SELECT FROM sliding_sync.health WHERE code = 'run_interrupted'").fetchall() == []
        assert not errors
        assert progress.execute("SELECT * FROM sliding_sync.progress").fetchall() == []


def test_how_far_it_is(cluster: Cluster, database: str) -> None:
    """Numbers that grow; what is looked at in part has no total."""
    seen: set[tuple[int, int | None]] = set()
    with connect(cluster, database, SUPERUSER) as watcher, connect(cluster, database, SUPERUSER) as worker:
        done = threading.Event()

        def work() -> None:
            while not done.is_set():
                worker.execute("SELECT count(*) FROM sliding_sync.verify(tables => 'joined_rooms')")

        thread = threading.Thread(target=work)
        thread.start()
        try:
            until(
                lambda: seen.update(watcher.execute("SELECT items_done, items_total FROM sliding_sync.progress").fetchall())
                or any(0 < items < ROOMS for items, _ in seen)
            )
        finally:
            done.set()
            thread.join()
    assert {total for _, total in seen} == {ROOMS}


def test_who_sees_it(cluster: Cluster, database: str) -> None:
    with at_work(cluster, database, "SELECT * FROM sliding_sync.verify(first_room => '!room2')"):
        with connect(cluster, database, SUPERUSER) as watcher:
            assert watcher.execute("SELECT items_total FROM sliding_sync.progress").fetchall() == [(None,)]
            watcher.execute("SET ROLE pg_monitor")
            assert watcher.execute("SELECT count(*) FROM sliding_sync.progress").fetchall() == [(1,)]
            watcher.execute("SET ROLE pg_database_owner")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                watcher.execute("SELECT FROM sliding_sync.progress")


@pytest.mark.parametrize(
    ("statement", "hint"),
    [
        ("CALL sliding_sync.backfill()", "The same call goes on where this one stopped."),
        ("SELECT * FROM sliding_sync.verify()", None),
    ],
)
def test_a_call_that_is_cancelled(cluster: Cluster, database: str, statement: str, hint: str | None) -> None:
    """One line, and the way to go on; not which statement of ours it was."""
    with connect(cluster, database, SUPERUSER) as watcher:
        with at_work(cluster, database, statement) as (worker, errors):
            watcher.execute("SELECT pg_cancel_backend(%s)", [worker.info.backend_pid])
            until(lambda: errors)
        (error,) = errors
        assert isinstance(error, psycopg.errors.QueryCanceled)
        assert error.diag.message_primary == "canceling statement due to user request"
        assert (error.diag.message_hint, error.diag.context, error.diag.internal_query) == (hint, None, None)
        watcher.execute("CALL sliding_sync.backfill()")
        assert watcher.execute("SELECT * FROM sliding_sync.ready()").fetchall() == [(True, [])]
