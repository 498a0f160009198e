"""Servers that die under load, standbys that take over, and the extension going while everybody writes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from generator import generate
from harness import processes
from harness.cluster import SUPERUSER, Cluster
from harness.standby import Standby
from oracle import Finding, Watcher, check
from synthetic.database import ANNA, OWNER, SCHEMA, connect, create_homeserver, derived_rows
from synthetic.load import Outcome, Rooms, play, prepare

Connection = psycopg.Connection[Any]

CLIENTS = 6
DATABASE = "mortal"
BEFORE = 0.8  # seconds of load before and after each blow


@pytest.fixture
def mortal(servers: Cluster) -> Iterator[Cluster]:
    """With a new homeserver in it."""
    create_homeserver(servers, DATABASE)
    yield servers
    servers.drop_database(DATABASE)


@pytest.fixture
def rooms(mortal: Cluster) -> Rooms:
    rooms = Rooms(CLIENTS, shared=4, own=3)
    with connect(mortal, DATABASE) as connection:
        prepare(connection, rooms)
    return rooms


@contextmanager
def load(server: Callable[[], Cluster], rooms: Rooms, seed: int) -> Iterator[Outcome]:
    """Clients that write to whatever `server` names, until the block ends; then what they met with."""
    stop, outcome = threading.Event(), Outcome()

    def run() -> None:
        nonlocal outcome
        outcome += play(
            lambda: connect(server(), DATABASE), rooms, seed=seed, stop=stop, writes_tables=bool(seed % 2)
        )

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield outcome
    finally:
        stop.set()
        thread.join()
    print(outcome)


def assert_right(cluster: Cluster) -> None:
    with connect(cluster, DATABASE) as connection:
        findings = check(connection, SCHEMA)
    assert not findings, "\n".join(map(str, findings[:30]))


def assert_goes_on(cluster: Cluster, rooms: Rooms) -> None:
    """Writes are right as ever."""
    with load(lambda: cluster, rooms, 99) as outcome:
        time.sleep(2 * BEFORE)
    assert outcome.effective.total() > 50 and not outcome.disconnections and not outcome.errors, (
        outcome.examples
    )
    assert_right(cluster)


def expect_crashes(cluster: Cluster, number: int) -> None:
    """The log tells of these crashes and of no others."""
    crashes = [line for line in cluster.read_log().splitlines() if "terminated by signal" in line]
    assert len(crashes) == number and all("signal 9" in line for line in crashes), crashes
    cluster.log.write_text("")


def busy_backend(cluster: Cluster) -> int:
    """One that is just committing, if there is one."""
    for _ in range(50):
        rows = cluster.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = 'mortal' AND pid <> pg_backend_pid()"
            " AND state = 'active' ORDER BY query <> 'COMMIT', random()"
        )
        if rows:
            return int(rows[0][0])
    raise AssertionError("nobody writes")


def kill_postmaster(cluster: Cluster) -> None:
    """Its backends end when they notice; until then nobody else may touch the data."""
    orphans = processes.children(cluster.postmaster())
    cluster.stop(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while any(Path("/proc", str(pid)).exists() for pid in orphans):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("blows", [3, pytest.param(30, marks=pytest.mark.long)])
def test_backends_are_killed(mortal: Cluster, rooms: Rooms, blows: int) -> None:
    with load(lambda: mortal, rooms, 1) as outcome:
        for _ in range(blows):
            time.sleep(BEFORE)
            mortal.wait_until_ready()
            os.kill(busy_backend(mortal), signal.SIGKILL)
            time.sleep(0.2)
            mortal.wait_until_ready()
            assert_right_or_gone(mortal)
    assert outcome.disconnections >= blows
    assert not outcome.errors and not outcome.exhausted, outcome.examples
    expect_crashes(mortal, blows)
    assert_right(mortal)
    assert_goes_on(mortal, rooms)


def assert_right_or_gone(cluster: Cluster) -> None:
    """Right at any moment, also while everybody writes."""
    try:
        assert_right(cluster)
    except psycopg.OperationalError:
        cluster.wait_until_ready()
        assert_right(cluster)


@pytest.mark.parametrize("blows", [2, pytest.param(20, marks=pytest.mark.long)])
@pytest.mark.parametrize("how", ["kill the postmaster", "immediate shutdown", "fast shutdown"])
def test_the_server_goes_down(mortal: Cluster, rooms: Rooms, how: str, blows: int) -> None:
    with load(lambda: mortal, rooms, 2) as outcome:
        for _ in range(blows):
            time.sleep(BEFORE)
            if how == "kill the postmaster":
                kill_postmaster(mortal)
            else:
                mortal.stop(signal.SIGQUIT if how == "immediate shutdown" else signal.SIGINT)
            mortal.start()
            assert_right(mortal)
        time.sleep(BEFORE)
    assert outcome.disconnections >= blows
    assert not outcome.errors and not outcome.exhausted, outcome.examples
    assert_right(mortal)
    assert_goes_on(mortal, rooms)


def test_prepared_transactions_outlive_a_crash(mortal: Cluster, rooms: Rooms) -> None:
    """Derived rows are written before PREPARE, and are right when another session commits after the crash."""
    with connect(mortal, DATABASE) as connection:
        watcher = Watcher(connection, SCHEMA)
        for name in ("kept", "dropped"):
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            connection.execute(
                "SELECT create_room(%s, '@anna:hs.test', name => 'Tea')", (f"!{name}:hs.test",)
            )
            connection.execute("SELECT rename(%s, '@anna:hs.test', 'Coffee')", (f"!{name}:hs.test",))
            connection.execute(f"PREPARE TRANSACTION '{name}'")
        assert not watcher.check_step()
    kill_postmaster(mortal)
    mortal.start()
    with connect(mortal, DATABASE) as connection:
        watcher = Watcher(connection, SCHEMA)
        connection.execute("COMMIT PREPARED 'kept'")
        connection.execute("ROLLBACK PREPARED 'dropped'")
        assert not watcher.check_step()
        names = connection.execute(
            "SELECT room_name FROM sliding_sync_joined_rooms"
            " WHERE room_id IN ('!kept:hs.test', '!dropped:hs.test')"
        ).fetchall()
        assert names == [("Coffee",)]
    assert_goes_on(mortal, rooms)


_DONE = """
    SELECT coalesce(sum(items_done), 0), count(DISTINCT r.run_id) FROM sliding_sync.run_ranges
        RIGHT JOIN sliding_sync.runs r USING (run_id)
"""
_KEYS = """
    SELECT (SELECT count(*) FROM homeserver.rooms) + (SELECT count(*) FROM homeserver.local_current_membership)
"""


@pytest.mark.parametrize("blows", [2, pytest.param(20, marks=pytest.mark.long)])
@pytest.mark.parametrize("how", ["kill the backend", "kill the postmaster"])
def test_a_backfill_is_killed(mortal: Cluster, how: str, blows: int) -> None:
    """The next call goes on where it was: equal rows to one that was left alone, each key was met once."""
    with connect(mortal, DATABASE, options="-c sliding_sync.enabled=off") as connection:
        generate(connection, SCHEMA, rooms=100, seed=5)
    mortal.create_database("undisturbed", OWNER, DATABASE)
    mortal.execute("CALL sliding_sync.backfill()", "undisturbed")
    keys = mortal.execute(_KEYS, DATABASE)[0][0]
    for blow in range(1, blows + 1):
        with ThreadPoolExecutor(1) as pool:
            slow = "CALL sliding_sync.backfill(batch_size => 3, pause => '2 ms')"
            call = pool.submit(mortal.execute, slow, DATABASE)
            while mortal.execute(_DONE, DATABASE)[0][0] < keys * blow / (blows + 1):
                assert not call.done(), "finished before anything could be done to it"
                time.sleep(0.01)
            if how == "kill the backend":
                os.kill(busy_with(mortal, "CALL"), signal.SIGKILL)
                time.sleep(0.2)
            else:
                kill_postmaster(mortal)
                mortal.start()
            with pytest.raises(psycopg.OperationalError):
                call.result()
        mortal.wait_until_ready()
    mortal.execute("CALL sliding_sync.backfill()", DATABASE)
    assert mortal.execute(_DONE, DATABASE) == [(keys, 1)]
    with connect(mortal, DATABASE) as one, connect(mortal, "undisturbed") as other:
        assert derived_rows(one) == derived_rows(other)
    assert_right(mortal)
    mortal.drop_database("undisturbed")
    if how == "kill the backend":
        expect_crashes(mortal, blows)


def busy_with(cluster: Cluster, statement: str) -> int:
    query = sql.SQL("SELECT pid FROM pg_stat_activity WHERE datname = {} AND query LIKE {}")
    rows = cluster.execute(query.format(sql.Literal(DATABASE), sql.Literal(statement + "%")))
    return int(rows[0][0])


def test_a_standby_takes_over(mortal: Cluster, rooms: Rooms) -> None:
    """It is right at any moment, when it is promoted in the middle of the load, and afterwards."""
    with Standby(mortal) as standby:
        current = mortal
        with load(lambda: current, rooms, 3) as outcome:
            for _ in range(3):
                time.sleep(0.4)
                assert_right(standby)  # while it follows
            mortal.stop(signal.SIGQUIT)
            standby.promote()
            current = standby
            assert_right(standby)
            time.sleep(BEFORE)
        assert outcome.disconnections
        assert not outcome.errors and not outcome.exhausted, outcome.examples
        assert_right(standby)
        assert_goes_on(standby, rooms)
    mortal.start()


def drop_extension(cluster: Cluster) -> tuple[list[Finding], int]:
    """Until no deadlock is resolved against us. What is wrong at that moment, and how often it was tried."""
    for attempt in range(1, 21):
        try:
            with connect(cluster, DATABASE, SUPERUSER, autocommit=False) as connection:
                connection.execute("DROP EXTENSION sliding_sync")
                # all locks are ours: nobody else writes before we commit
                findings = check(connection, SCHEMA)
                connection.commit()
                return findings, attempt
        except psycopg.errors.DeadlockDetected:
            continue
    raise AssertionError("the writers never let the extension go")


def test_the_extension_is_dropped_under_load(mortal: Cluster, rooms: Rooms) -> None:
    """Writers meet nothing but what they retry, and at that moment every row is right. Then it comes back."""
    # a newer homeserver: an older one needs the tables dropped with the extension (README)
    with load(lambda: mortal, rooms, 5) as outcome:
        time.sleep(BEFORE)
        wrong_then, attempts = drop_extension(mortal)
        time.sleep(BEFORE)
    mortal.execute("CREATE EXTENSION sliding_sync", DATABASE)
    print(f"dropped after {attempts} attempts")
    assert not wrong_then
    # once the triggers are gone, a purge may meet the row of a room whose newest event it deletes (H27)
    assert set(outcome.errors) <= {"23503 sliding_sync_joined_rooms"}, outcome.examples
    assert not outcome.exhausted and not outcome.disconnections, outcome.examples
    with connect(mortal, DATABASE) as connection:
        assert connection.execute("SELECT count(*) > 10 FROM sliding_sync_joined_rooms").fetchone() == (True,)
        watcher = Watcher(connection, SCHEMA)
        connection.execute("SELECT create_room('!after:hs.test', '@anna:hs.test', name => 'Tea')")
        assert not watcher.check_step()


# -- a standby that is only read


@pytest.fixture
def followed(servers: Cluster) -> Iterator[Cluster]:
    create_homeserver(servers, "followed")
    yield servers
    servers.drop_database("followed")


def test_a_hot_standby(followed: Cluster) -> None:
    """H87: what only looks works there, and what would write is refused."""
    with connect(followed, "followed") as connection:
        connection.execute("SELECT create_room('!standby:hs.test', %s, name => 'Standby')", (ANNA,))
        with Standby(followed) as standby, connect(standby, "followed", SUPERUSER) as there:
            assert derived_rows(there) == derived_rows(connection)
            assert not check(there, SCHEMA)
            attached = there.execute("SELECT attached_schemas FROM sliding_sync.version()").fetchone()
            assert attached == ([SCHEMA],)
            assert there.execute("SELECT * FROM sliding_sync.last_flush()").fetchone() == (None,) * 4
            assert there.execute("SELECT * FROM sliding_sync.flush()").fetchone() == (0, 0, 0)
            for statement in (
                "SELECT * FROM sliding_sync.ready()",
                "SELECT * FROM sliding_sync.preflight('upgrade')",
                "TABLE sliding_sync.status",
                "TABLE sliding_sync.health",
                "TABLE sliding_sync.progress",
                "TABLE sliding_sync.metrics",
            ):
                there.execute(statement)  # type: ignore[arg-type]
            for statement in (
                "SELECT sliding_sync.detach()",
                "SELECT send_message('!standby:hs.test', '@anna:hs.test')",
                "DELETE FROM sliding_sync_joined_rooms",
            ):
                with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                    there.execute(statement)  # type: ignore[arg-type]


def test_repair_on_a_hot_standby(followed: Cluster) -> None:
    """H87: refused as everything that writes is."""
    with connect(followed, "followed") as connection:
        connection.execute("SELECT create_room('!repair:hs.test', %s, name => 'Repair')", (ANNA,))
    followed.execute(
        "INSERT INTO sliding_sync.quarantine (schema_name, table_name, room_id, reason, sqlstate, message)"
        " VALUES ('homeserver', 'sliding_sync_joined_rooms', '!repair:hs.test', 'refresh_failed', '58030',"
        " 'no error')",
        "followed",
    )
    try:
        with Standby(followed) as standby:
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                standby.execute("SELECT sliding_sync.repair_quarantine()", "followed")
    finally:
        repaired = followed.execute("SELECT repaired FROM sliding_sync.repair_quarantine()", "followed")
        assert repaired == [(1,)]
