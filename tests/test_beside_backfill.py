"""A homeserver's transactions over a hundred rooms beside a first backfill, which commits rows that they do not see."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from oracle import check
from synthetic import database as databases
from synthetic.database import SCHEMA, copied, create_homeserver
from synthetic.load import ATTEMPTS, RETRIED
from synthetic.many_rooms import make_rooms

Connection = psycopg.Connection[Any]

ROOMS, MESSAGES, ROOMS_A_TRANSACTION, ROUNDS = 10_000, 2, 100, 20
OPEN = 0.1  # seconds between the last statement and COMMIT

_NEWEST = "(SELECT max(stream_ordering) FROM events WHERE room_id = %(room)s)"
_JSON = "UPDATE event_json SET json = json || ' ' WHERE event_id = (SELECT event_id FROM current_state_events WHERE"
# what is changed in each room, and what the backfill writes meanwhile
CHANGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "stored JSON": (
        "joined_rooms",
        (_JSON + " room_id = %(room)s AND type = 'm.room.create' AND state_key = '')",),
    ),
    "messages": ("joined_rooms", ("SELECT soft_fail(%(room)s, '@u1:hs.test')",)),
    "current state": ("joined_rooms", ("SELECT state_reset(%(room)s, 'm.room.name')",)),
    "rejections": (
        "joined_rooms",
        ("UPDATE events SET rejection_reason = 'x' WHERE room_id = %(room)s AND type = 'm.room.message'",),
    ),
    "forgotten": ("memberships", ("UPDATE room_memberships SET forgotten = 1 - forgotten WHERE room_id = %(room)s",)),
    "memberships": ("memberships", ("SELECT rewrite_memberships(%(room)s)",)),
    "joins": ("both", ("""SELECT "join"(%(room)s, '@new' || nextval('event_counter') || ':hs.test')""",)),
    "events deleted": (
        "both",
        (
            "DELETE FROM event_json WHERE event_id = (SELECT event_id FROM events WHERE type = 'm.room.message'"
            f" AND stream_ordering = {_NEWEST})",
            f"DELETE FROM events WHERE type = 'm.room.message' AND stream_ordering = {_NEWEST}",
        ),
    ),
}


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> str:
    name = create_homeserver(cluster, "beside_backfill_template", owner=SUPERUSER)
    with connect(cluster, name) as connection:
        make_rooms(connection, ROOMS, messages=MESSAGES)
    return name


@pytest.fixture
def database(cluster: Cluster, template: str) -> Iterator[str]:
    with copied(cluster, template, "beside_backfill") as name:
        yield name


def connect(cluster: Cluster, database: str) -> Connection:
    return databases.connect(cluster, database, SUPERUSER)


@contextmanager
def backfill(cluster: Cluster, database: str, what: str) -> Iterator[None]:
    """Fills the emptied tables, again and again until the block ends; then to the end."""
    stop, failures = threading.Event(), []
    filling = connect(cluster, database)

    def fill() -> None:
        try:
            filling.execute("SET sliding_sync.enabled = off")
            while not stop.is_set():
                filling.execute("TRUNCATE sliding_sync_joined_rooms, sliding_sync_membership_snapshots")
                filling.execute(
                    "CALL sliding_sync.backfill(tables => %s, batch_size => 50, pause => '10 ms', restart => true)", [what]
                )
        except psycopg.errors.QueryCanceled:
            pass
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        filling.cancel()
        thread.join()
    assert not failures, failures
    with filling:
        filling.execute("CALL sliding_sync.backfill(restart => true)")


def attempts(connection: Connection, statements: tuple[str, ...], rooms: list[str]) -> list[str]:
    """One transaction with a homeserver's retries; the SQLSTATEs of those that failed."""
    failed: list[str] = []
    while len(failed) < ATTEMPTS:
        try:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            for room in rooms:
                for statement in statements:
                    connection.execute(statement, {"room": room})
            time.sleep(OPEN)
            connection.execute("COMMIT")
            return failed
        except psycopg.Error as error:
            connection.execute("ROLLBACK")
            assert error.sqlstate in RETRIED, error
            failed.append(error.sqlstate or "")
    return failed


_PLAYS = [("stored JSON", ROUNDS), *((change, ROUNDS // 3) for change in CHANGES if change != "stored JSON")]


@pytest.mark.parametrize(
    ("change", "rounds"), [*_PLAYS, *(pytest.param(change, 20 * ROUNDS, marks=pytest.mark.long) for change in CHANGES)]
)
def test_no_transaction_loses_to_a_backfill(cluster: Cluster, database: str, change: str, rounds: int) -> None:
    """H20: none needs more than a second attempt."""
    what, statements = CHANGES[change]
    rng = random.Random(change)
    failed: list[list[str]] = []
    with connect(cluster, database) as connection:
        with backfill(cluster, database, what):
            time.sleep(0.3)
            while len(failed) < rounds and not any(len(round) == ATTEMPTS for round in failed):
                numbers = rng.sample(range(1, ROOMS + 1), ROOMS_A_TRANSACTION)
                failed.append(attempts(connection, statements, [f"!room{number}:hs.test" for number in numbers]))
        print(f"{change}: {len(failed)} transactions, failed attempts {[len(round) for round in failed]}")
        wrong = connection.execute("SELECT * FROM sliding_sync.verify() WHERE severity <> 'unverifiable' LIMIT 20").fetchall()
        lost = connection.execute("SELECT room_id, user_id, message FROM sliding_sync.quarantine LIMIT 20").fetchall()
    assert not wrong and not lost, (wrong, lost)
    assert max(map(len, failed)) < 2, failed


def test_the_oracle_finds_nothing_either(cluster: Cluster, database: str) -> None:
    """All changes in turn, over few rooms, so that the backfill meets each of them."""
    rng = random.Random(1)
    with connect(cluster, database) as connection:
        connection.execute("SET sliding_sync.enabled = off; SET session_replication_role = replica")
        for table in ("current_state_events", "local_current_membership", "room_memberships", "events", "event_json", "rooms"):
            connection.execute(f"DELETE FROM {table} WHERE room_id > '!room12'")  # type: ignore[arg-type]
        connection.execute("RESET sliding_sync.enabled; RESET session_replication_role; ANALYZE")
        rooms = [room for (room,) in connection.execute("SELECT room_id FROM rooms")]
        failed = []
        with backfill(cluster, database, "both"):
            for _ in range(3):
                for _, statements in CHANGES.values():
                    failed.append(attempts(connection, statements, rng.sample(rooms, min(20, len(rooms)))))
        findings = check(connection, SCHEMA)
    print(f"{len(rooms)} rooms, failed attempts {[len(round) for round in failed]}")
    assert not findings, "\n".join(map(str, findings[:20]))
    assert max(map(len, failed)) < 2, failed
