"""Two transactions over the same rooms, in any order: their own statements never meet, so neither may their commits in a
circle. A third one holds a row, lest the two run one after the other by chance."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from interleaving.rooms import Model, copy_rooms, leave_room_for_copies, make_models
from interleaving.sessions import Session, play
from oracle import check
from synthetic import database as databases
from synthetic.database import SCHEMA, create_homeserver

Connection = psycopg.Connection[Any]

COPIES, ROUNDS, MANY = 1200, 60, 700  # more than one pass
LEVELS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]

# For each of the two sessions what raises two numbers, what takes a closer look, and what concerns memberships. No two of
# different sessions write the same row of the homeserver's.
_MESSAGE = "SELECT soft_fail('{room}', '@anna:hs.test')"
_RESIGN = "UPDATE event_json SET json = json || ' ' WHERE event_id = '{%s}'"
CHANGES = (
    (_MESSAGE, _RESIGN % "create", "SELECT forget('{room}', '@carl:hs.test')", _MESSAGE + "; " + _RESIGN % "create"),
    (_MESSAGE, _RESIGN % "name", "SELECT rewrite_memberships('{room}')", "SELECT rewrite_memberships('{room}'); " + _MESSAGE),
)


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[tuple[str, Model]]:
    name = create_homeserver(cluster, "order_of_keys", owner=SUPERUSER)
    with connect(cluster, name) as connection:
        model, _ = make_models(connection)
        copy_rooms(connection, model, 1, COPIES)
        leave_room_for_copies(connection, COPIES)
        connection.execute("VACUUM ANALYZE")
    yield name, model
    cluster.drop_database(name)


def connect(cluster: Cluster, database: str) -> Connection:
    return databases.connect(cluster, database, SUPERUSER, options="-c deadlock_timeout=20ms")


def statements(rng: random.Random, model: Model, session: int, copies: list[int]) -> str:
    """A change of each room, in an order of its own."""
    return "; ".join(rng.choice(CHANGES[session]).format(**model.names(copy)) for copy in rng.sample(copies, len(copies)))


@pytest.mark.parametrize("rooms", [3, MANY], ids=["few rooms", "more than a pass"])
@pytest.mark.parametrize("level", LEVELS)
def test_two_transactions_never_wait_in_a_circle(
    cluster: Cluster, database: tuple[str, Model], level: str, rooms: int
) -> None:
    name, model = database
    rng = random.Random(f"{level} {rooms}")
    failures, committed = [], 0
    with (
        connect(cluster, name) as holder,
        connect(cluster, name) as a,
        connect(cluster, name) as b,
        connect(cluster, name) as monitor,
    ):
        for _ in range(ROUNDS if rooms == 3 else 4):
            copies = rng.sample(range(1, COPIES + 1), rooms)
            held = model.names(rng.choice(copies))["room"]
            sessions = Session(a), Session(b)
            third = Session(holder)
            begin = [(session, "begin", f"BEGIN ISOLATION LEVEL {level}; SELECT 1") for session in sessions]
            change = [
                (session, "statement", statements(rng, model, number, copies)) for number, session in enumerate(sessions)
            ]
            commit = [(session, "commit", "COMMIT") for session in sessions]
            lock = f"BEGIN; SELECT FROM sliding_sync_joined_rooms WHERE room_id = '{held}' FOR UPDATE"
            play([*begin, *change, (third, "lock", lock), *commit, (third, "release", "COMMIT")], monitor)
            failures += [failure for session in sessions for failure in session.failures]
            committed += sum(session.has_committed for session in sessions)
        findings = check(monitor, SCHEMA)
    print(f"{committed} transactions committed, {len(failures)} failures")
    assert not findings, "\n".join(map(str, findings[:30]))
    deadlocks = [failure for failure in failures if failure.sqlstate == "40P01"]
    assert not deadlocks, f"{len(deadlocks)}, the first one: {deadlocks[0]}"
    if level == "REPEATABLE READ":  # a transaction that is but a message locks nothing before its UPDATE
        failures = [failure for failure in failures if "GREATEST(j.event_stream_ordering" not in failure.message]
    if level != "SERIALIZABLE":
        assert not failures, f"{len(failures)}, the first one: {failures[0]}"
