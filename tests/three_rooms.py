"""Three rooms of a homeserver, to be spoiled: fixtures and helpers of the tests about failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from oracle import check
from oracle.finding import ROW
from synthetic import database as databases
from synthetic.database import SCHEMA, copied, create_homeserver

Connection = psycopg.Connection[Any]

ANNA, BERT = "@anna:hs.test", "@bert:hs.test"
A, B, C = (f"!{name}:hs.test" for name in "abc")
TIMES = 10  # more than a breaker takes


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> Iterator[str]:
    name = create_homeserver(cluster, "bad_rows_template", owner=SUPERUSER)
    with connect(cluster, name) as connection:
        for room in (A, B, C):
            connection.execute("SELECT create_room(%s, %s, name => 'Old')", (room, ANNA))
            connection.execute('SELECT "join"(%s, %s)', (room, BERT))
            message(connection, room)
    yield name
    cluster.drop_database(name)


@pytest.fixture
def database(cluster: Cluster, template: str) -> Iterator[str]:
    with copied(cluster, template, "bad_rows") as name:
        yield name


@pytest.fixture
def connection(cluster: Cluster, database: str) -> Iterator[Connection]:
    with connect(cluster, database) as connection:
        yield connection


def connect(cluster: Cluster, database: str) -> Connection:
    return databases.connect(cluster, database, SUPERUSER)


def message(connection: Connection, room: str) -> str:
    return str(one(connection, "SELECT send_message(%s, %s)", room, ANNA))


def rename(connection: Connection, room: str, name: str = "New") -> str:
    return str(one(connection, "SELECT rename(%s, %s, %s)", room, ANNA, name))


def join(connection: Connection, room: str, user: str = "@carl:hs.test") -> str:
    return str(one(connection, 'SELECT "join"(%s, %s)', room, user))


def touch(connection: Connection, *rooms: str) -> None:
    """Whatever the row says is looked at, and nothing changes."""
    connection.execute(
        "UPDATE events SET rejection_reason = CASE WHEN rejection_reason IS NULL THEN 'x' END"
        " WHERE type = 'm.room.join_rules' AND room_id = ANY (%s)",
        [list(rooms)],
    )


def one(connection: Connection, query: str, *arguments: object) -> Any:
    row = connection.execute(query, arguments).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row[0]


@contextmanager
def without_triggers(connection: Connection) -> Iterator[None]:
    """As a script does that switches all triggers off."""
    connection.execute("SET session_replication_role = replica; SET sliding_sync.enabled = off")
    yield
    connection.execute("RESET session_replication_role; RESET sliding_sync.enabled")


def judge(connection: Connection, absent: set[tuple[str, ...]] = frozenset()) -> None:  # type: ignore[assignment]
    """All is right, but that these rows may be absent."""
    wrong = [
        finding
        for finding in check(connection, SCHEMA)
        if not ((finding.column, finding.actual) == (ROW, "absent") and finding.key in absent)
    ]
    assert not wrong, "\n".join(map(str, wrong))


def judge_after_failures(connection: Connection, room: str) -> None:
    """The breaker of this room may be open for a while yet: what is absent is noted."""
    absent = {finding.key for finding in check(connection, SCHEMA) if (finding.column, finding.actual) == (ROW, "absent")}
    judge(connection, {key for key in absent if key[0] == room})
    assert absent <= {tuple(part for part in note if part) for note in noted(connection)}


def noted(connection: Connection) -> set[tuple[str | None, ...]]:
    return set(connection.execute("SELECT room_id, user_id FROM sliding_sync.quarantine").fetchall())


CHANGES: dict[str, Callable[[Connection, str], object]] = {
    "message": message,
    "name": rename,
    "join": join,
    "update": touch,
    "two messages": lambda connection, room: connection.execute(
        "SELECT send_message(%s, %s), send_message(%s, %s)", (room, ANNA, room, ANNA)
    ),
}
