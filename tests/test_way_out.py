"""Failures whose way out is blocked, and rooms that keep failing: each costs its own rows, and no homeserver's transaction."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from harness.cluster import Cluster
from oracle.finding import JOINED_ROOMS, SNAPSHOTS
from synthetic.faults import injected
from three_rooms import (  # noqa: F401  fixtures among them
    A,
    ANNA,
    B,
    C,
    CHANGES,
    connect,
    connection,
    Connection,
    database,
    join,
    judge,
    judge_after_failures,
    message,
    noted,
    one,
    rename,
    template,
    TIMES,
)


# -- the way out of a failure is blocked


@contextmanager
def held(cluster: Cluster, database: str, lock: str) -> Iterator[None]:
    """By somebody else, for as long as the block lasts."""
    with connect(cluster, database) as holder, holder.transaction(force_rollback=True):
        holder.execute(lock)  # type: ignore[arg-type]
        yield


def counters(connection: Connection) -> dict[tuple[str, str], float]:
    rows = connection.execute(
        "SELECT name, labels::text, value FROM sliding_sync.metrics WHERE name LIKE '%\\_total' AND name NOT LIKE '%table%'"
    ).fetchall()
    return {(name, labels): value for name, labels, value in rows}


@pytest.mark.parametrize("fault", ["current_state", "rooms_of_redactions", "*"])
@pytest.mark.parametrize(
    "lock",
    [
        "LOCK TABLE sliding_sync.quarantine",
        "LOCK TABLE sliding_sync.quarantine IN SHARE MODE",
        "LOCK TABLE sliding_sync.attachments",
    ],
)
def test_a_note_that_cannot_be_written_is_counted(
    cluster: Cluster, database: str, connection: Connection, fault: str, lock: str
) -> None:
    name = rename(connection, A)
    before = counters(connection)
    connection.execute("SET lock_timeout = '50ms'")
    with held(cluster, database, lock):
        with injected(connection, fault):
            for number in range(TIMES):
                rename(connection, A, f"New {number}")
                connection.execute("SELECT redact(%s, %s, %s)", (A, ANNA, name))
                message(connection, A)
        # which rooms a redaction concerns may be what could not be read
        absent = {(A,)} if fault == "current_state" else {(room,) for room in (A, B, C)}
        judge(connection, absent)
        rename(connection, B)
        judge(connection, absent - {(B,)})
    after = counters(connection)
    assert any(value > before.get(key, 0) for key, value in after.items()), "nobody would know that rows are absent"


@pytest.mark.parametrize("table", [JOINED_ROOMS, SNAPSHOTS])
def test_a_derived_table_that_somebody_locks(
    cluster: Cluster, database: str, connection: Connection, table: str
) -> None:
    """Whether its rows are still right nobody can tell: the homeserver's own lock_timeout ends its transaction, not the server."""
    connection.execute("SET lock_timeout = '50ms'")
    with held(cluster, database, f"LOCK TABLE {table}"):
        for number in range(TIMES + 2):
            with pytest.raises(psycopg.errors.LockNotAvailable):
                if table == JOINED_ROOMS:
                    rename(connection, A, f"New {number}")
                else:
                    join(connection, A, f"@new{number}:hs.test")
    judge(connection)
    for number in range(3):
        rename(connection, A, f"Newer {number}")
        join(connection, A, f"@newer{number}:hs.test")
        rename(connection, B, f"Newer {number}")
    judge_after_failures(connection, A)


@pytest.mark.parametrize("change", ["message", "name", "join"])
def test_a_row_that_somebody_locks(cluster: Cluster, database: str, connection: Connection, change: str) -> None:
    connection.execute("SET lock_timeout = '50ms'")
    with held(cluster, database, f"SELECT FROM {JOINED_ROOMS} WHERE room_id = '{A}' FOR UPDATE"):
        for _ in range(TIMES):
            with pytest.raises(psycopg.errors.LockNotAvailable):
                CHANGES[change](connection, A)
            CHANGES[change](connection, B)
    judge(connection)
    CHANGES[change](connection, A)
    judge_after_failures(connection, A)


@pytest.mark.parametrize("table", [JOINED_ROOMS, SNAPSHOTS])
def test_derived_tables_that_are_dropped_after_rows_were_deleted(connection: Connection, table: str) -> None:
    """The rows' way back is gone at the commit, and the commit succeeds."""
    with connection.transaction():
        connection.execute(f"DELETE FROM {table}")
        connection.execute(f"DROP TABLE {JOINED_ROOMS}, {SNAPSHOTS} CASCADE")
    rename(connection, A)
    message(connection, B)


def test_several_sessions_fail_and_none_waits_for_the_others(
    cluster: Cluster, database: str, connection: Connection
) -> None:
    def fail(room: str, failures: list[BaseException]) -> None:
        try:
            with connect(cluster, database) as session:
                session.execute("SET sliding_sync.inject_fault = 'current_state'")
                for number in range(TIMES):
                    rename(session, room, f"New {number}")
        except BaseException as failure:
            failures.append(failure)

    failures: list[BaseException] = []
    threads = [threading.Thread(target=fail, args=(room, failures)) for room in (A, B, C)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    judge(connection, {(A,), (B,), (C,)})


JAPAN = "\u65e5\u672c"
REFUSE_JAPAN = f"""
    CREATE FUNCTION operations.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.room_name LIKE '{JAPAN}%' THEN RAISE EXCEPTION USING MESSAGE = NEW.room_name, DETAIL = NEW.room_name; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {JOINED_ROOMS} FOR EACH ROW EXECUTE FUNCTION operations.refuse();
"""


@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "KOI8R", "EUC_KR"])
def test_a_warning_that_the_client_cannot_read(connection: Connection, encoding: str) -> None:
    """The error's text, or the room's id, has no equivalent in the client's encoding."""
    thai = "!\u0e44\u0e17\u0e22:hs.test"
    connection.execute("SELECT create_room(%s, %s)", (thai, ANNA))
    connection.execute(REFUSE_JAPAN)
    connection.execute("SET client_min_messages = warning")
    name = '{"name": "\\u65e5\\u672c"}'
    for _ in range(TIMES):
        connection.execute(f"SET client_encoding = '{encoding}'")
        connection.execute("SELECT set_state(%s, %s, 'm.room.name', '', %s)", (A, ANNA, name))
        connection.execute("SET sliding_sync.inject_fault = 'current_state'")
        connection.execute(
            "SELECT rename(room_id, sender, 'New') FROM events WHERE room_id LIKE '!_%:hs.test' AND room_id > '!~'"
            " AND type = 'm.room.create'"
        )
        connection.execute("SET sliding_sync.inject_fault = ''")
        connection.execute("SET client_encoding = 'UTF8'")
        judge(connection, {(A,), (thai,)})
    assert {(A, None), (thai, None)} <= noted(connection)
    assert one(connection, "SELECT count(*) FROM events WHERE type = 'm.room.name'") == 3 + 2 * TIMES


# -- one bad room among healthy ones


def test_a_room_that_always_fails_costs_no_other(connection: Connection) -> None:
    rooms = [f"!h{number}:hs.test" for number in range(12)]
    for room in rooms:
        connection.execute("SELECT create_room(%s, %s)", (room, ANNA))
    connection.execute(f"ALTER TABLE {JOINED_ROOMS} ADD CONSTRAINT no_poison CHECK (room_name NOT LIKE 'poison%')")
    for number in range(3 * TIMES):
        rename(connection, A, f"poison {number}")
        with connection.transaction():
            for room in (*rooms[:5], A, *rooms[5:]):
                rename(connection, room, f"poison {number}" if room == A else f"fine {number}")
        rename(connection, rooms[number % len(rooms)], f"finer {number}")
        message(connection, rooms[-1])
        judge(connection, {(A,)})
    assert noted(connection) == {(A, None)}
    assert one(connection, "SELECT count(*) FROM sliding_sync.quarantine WHERE room_id <> %s", A) == 0
    connection.execute(f"ALTER TABLE {JOINED_ROOMS} DROP CONSTRAINT no_poison")
    rename(connection, A, "sane")
    judge(connection)


def test_many_rooms_that_fail_once_or_twice_open_no_breaker(connection: Connection) -> None:
    """Each of them is tried."""
    rooms = [f"!h{number}:hs.test" for number in range(20)]
    for room in rooms:
        connection.execute("SELECT create_room(%s, %s)", (room, ANNA))
    connection.execute(f"ALTER TABLE {JOINED_ROOMS} ADD CONSTRAINT no_poison CHECK (room_name NOT LIKE 'poison%')")
    for _ in range(2):
        for room in rooms:
            rename(connection, room, "poison")
    rename(connection, A)
    judge(connection, {(room,) for room in rooms})
    for room in rooms:
        rename(connection, room, "sane")  # without a look at the catalog in between
    judge(connection)
    reasons = {reason for (reason,) in connection.execute("SELECT reason FROM sliding_sync.quarantine")}
    assert reasons <= {"refresh_failed"}


def test_a_success_closes_the_breaker(connection: Connection) -> None:
    connection.execute(f"ALTER TABLE {JOINED_ROOMS} ADD CONSTRAINT no_poison CHECK (room_name NOT LIKE 'poison%')")
    for _ in range(5):
        for _ in range(6):
            rename(connection, A, "poison")
        rename(connection, A, "sane")
        judge(connection)


def test_a_member_that_always_fails_costs_no_other(connection: Connection) -> None:
    connection.execute(f"ALTER TABLE {SNAPSHOTS} ADD CHECK (user_id <> '@poison:hs.test') NOT VALID")
    for number in range(TIMES + 2):
        join(connection, A, "@poison:hs.test")
        join(connection, A, f"@new{number}:hs.test")
        rename(connection, A, f"New {number}")
        judge(connection, {(A, "@poison:hs.test")})
    assert noted(connection) == {(A, "@poison:hs.test")}
