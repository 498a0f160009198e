"""Every statement of the pipeline fails in turn: the homeserver's transaction commits all the same, a derived row is
absent rather than wrong, quarantine says why, and repair drains it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Iterator

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from oracle import Finding, Watcher
from oracle.finding import ROW
from property.random_homeserver import live
from synthetic.database import SCHEMA, connect, copied
from synthetic.faults import injected

SOURCE = Path(__file__).resolve().parents[1] / "src"
STATEMENTS = sorted(
    {
        name
        for file in (SOURCE / "derive").glob("*.cpp")
        for name in re.findall(r'\w_\(\s*"([a-z_]+)"', file.read_text())
    }
    | {
        name
        for names in re.findall(r"StatementNames names\{([^}]*)\}", (SOURCE / "derive/derived_columns.hpp").read_text())
        for name in re.findall(r'"([a-z_]+)"', names)
    }
)
assert len(STATEMENTS) > 40 and {"insert_snapshots", "advance_orderings"} <= set(STATEMENTS)


def life(connection: psycopg.Connection[Any], seed: int, transactions: int) -> Iterator[None]:
    """A homeserver's transactions, and something that none of them does."""
    for number in live(connection, seed, transactions):
        yield
        if number % 7 == 6:
            connection.execute("TRUNCATE redactions, local_current_membership")
            yield


def quarantined(connection: psycopg.Connection[Any]) -> set[tuple[str, ...]]:
    rows = connection.execute("SELECT room_id, user_id FROM sliding_sync.quarantine").fetchall()
    return {tuple(part for part in row if part) for row in rows}  # (): keys that could not be found out


def wrong(findings: list[Finding], excused: set[tuple[str, ...]]) -> list[Finding]:
    """Findings that are more than the absence of a row in quarantine, or its return with a later change."""
    return [
        finding
        for finding in findings
        if finding.column != ROW
        or (finding.reason != "untouched" and not {(), tuple(finding.key), tuple(finding.key[:1])} & excused)
    ]


@pytest.fixture(scope="module")
def lively_homeserver(cluster: Cluster, empty_homeserver: str) -> str:
    """To be copied: a homeserver with something to lose."""
    name = cluster.create_database("lively homeserver", SUPERUSER, empty_homeserver)
    with connect(cluster, name, SUPERUSER) as connection:
        watcher = Watcher(connection, SCHEMA)
        for _ in life(connection, seed=3, transactions=25):
            assert watcher.check_step() == []
    return name


@pytest.fixture
def lively(cluster: Cluster, lively_homeserver: str) -> Iterator[psycopg.Connection[Any]]:
    """A session in such a homeserver, with plans from before anything fails."""
    with copied(cluster, lively_homeserver) as name, connect(cluster, name, SUPERUSER) as connection:
        for _ in life(connection, seed=6, transactions=5):
            pass
        yield connection


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_failing_statement_costs_rows_and_nothing_else(lively: psycopg.Connection[Any], statement: str) -> None:
    connection = lively
    watcher = Watcher(connection, SCHEMA)
    with injected(connection, statement):
        for _ in life(connection, seed=4, transactions=40):
            findings = watcher.check_step()
            known = quarantined(connection)
            # A failed look-up names no key; and a row that went missing earlier stays missing until its key changes.
            assert not wrong(findings, known), (statement, wrong(findings, known))

    repaired, remaining = connection.execute("SELECT repaired, remaining FROM sliding_sync.repair_quarantine()").fetchone()
    assert remaining == connection.execute(
        "SELECT count(*) FROM sliding_sync.quarantine WHERE table_name = ''"
    ).fetchone()[0]
    watcher.accept_step()
    for _ in life(connection, seed=5, transactions=15):
        assert watcher.check_step() == []


def test_a_row_that_cannot_even_be_removed_is_not_left_wrong(lively: psycopg.Connection[Any]) -> None:
    """The one error that a homeserver sees of ours: its transaction is rolled back, and nothing is wrong."""
    connection = lively
    watcher = Watcher(connection, SCHEMA)
    room = connection.execute(f"SELECT room_id FROM {SCHEMA}.sliding_sync_joined_rooms LIMIT 1").fetchone()[0]
    with injected(connection, "!*:58030"):
        with pytest.raises(psycopg.errors.IoError):
            connection.execute("SELECT rename(%s, '@anna:hs.test', 'new')", [room])
    assert watcher.check_step() == []


@pytest.mark.parametrize("sqlstate", ["40001", "40P01", "57014", "53200"])
def test_what_a_homeserver_handles_itself_reaches_it(connection: psycopg.Connection[Any], sqlstate: str) -> None:
    connection.execute("SELECT create_room('!s:hs.test', '@anna:hs.test')")
    with injected(connection, f"current_state:{sqlstate}"), pytest.raises(psycopg.Error) as raised:
        connection.execute("SELECT rename('!s:hs.test', '@anna:hs.test', 'new')")
    assert raised.value.sqlstate == sqlstate
    assert quarantined(connection) == set()


def test_a_room_that_keeps_failing_is_not_even_tried_and_others_are(connection: psycopg.Connection[Any]) -> None:
    rooms = [f"!f{number}:hs.test" for number in range(10)]
    for room in rooms:
        connection.execute("SELECT create_room(%s, '@anna:hs.test')", [room])
    joined = f"SELECT room_name FROM {SCHEMA}.sliding_sync_joined_rooms WHERE room_id = %s"
    reasons = "SELECT DISTINCT room_id, reason FROM sliding_sync.quarantine ORDER BY 1, 2"
    with injected(connection, "current_state"):
        for _ in range(7):
            connection.execute("SELECT rename('!f0:hs.test', '@anna:hs.test', 'new')")
        for room in rooms[1:]:
            connection.execute("SELECT rename(%s, '@anna:hs.test', 'new')", [room])
        assert connection.execute(reasons).fetchall() == [(room, "refresh_failed") for room in rooms]

        connection.execute("SELECT rename('!f0:hs.test', '@anna:hs.test', 'new')")  # the eighth in a row of this room
    connection.execute("SELECT rename('!f0:hs.test', '@anna:hs.test', 'newer')")
    assert connection.execute(joined, ["!f0:hs.test"]).fetchall() == []
    assert ("!f0:hs.test", "circuit_breaker_open") in connection.execute(reasons).fetchall()
    with connection.transaction():  # beside it, in one transaction and alone, other rooms go on
        connection.execute("SELECT rename('!f0:hs.test', '@anna:hs.test', 'newest')")
        connection.execute("SELECT rename('!f1:hs.test', '@anna:hs.test', 'newest')")
    assert connection.execute(joined, ["!f1:hs.test"]).fetchall() == [("newest",)]

    connection.execute("CREATE TABLE operations.anything ()")  # the catalog changes: as after a migration
    connection.execute("SELECT rename('!f0:hs.test', '@anna:hs.test', 'last')")
    assert connection.execute(joined, ["!f0:hs.test"]).fetchall() == [("last",)]
    assert connection.execute("SELECT remaining FROM sliding_sync.repair_quarantine()").fetchone() == (0,)
    assert connection.execute(joined, ["!f3:hs.test"]).fetchall() == [("new",)]


def test_a_failing_release_loses_no_membership(connection: psycopg.Connection[Any]) -> None:
    """What is removed lest a DELETE fails is more than the room's row: it comes back at once, or with the repair."""
    connection.execute("SELECT create_room('!d:hs.test', '@anna:hs.test')")
    connection.execute("""SELECT "join"('!d:hs.test', '@bert:hs.test')""")
    message = connection.execute("SELECT send_message('!d:hs.test', '@anna:hs.test')").fetchone()[0]
    connection.execute("SELECT send_message('!d:hs.test', '@anna:hs.test')")
    snapshots = f"SELECT user_id FROM {SCHEMA}.sliding_sync_membership_snapshots WHERE room_id = '!d:hs.test' ORDER BY 1"
    before = connection.execute(snapshots).fetchall()
    assert len(before) == 2
    with injected(connection, "rooms_of_ordering"):
        connection.execute("DELETE FROM events WHERE event_id = %s", [message])
    assert quarantined(connection) == {("!d:hs.test",)}
    assert connection.execute("SELECT repaired, remaining FROM sliding_sync.repair_quarantine()").fetchone() == (1, 0)
    assert connection.execute(snapshots).fetchall() == before


def test_one_poisoned_room_costs_only_its_own_row(connection: psycopg.Connection[Any]) -> None:
    for number in range(9):
        connection.execute("SELECT create_room(%s, '@anna:hs.test')", [f"!p{number}:hs.test"])
    connection.execute(f"ALTER TABLE {SCHEMA}.sliding_sync_joined_rooms ADD CHECK (room_name <> 'poison')")
    with connection.transaction():
        for number in range(9):
            name = "poison" if number == 4 else "fine"
            connection.execute("SELECT rename(%s, '@anna:hs.test', %s)", [f"!p{number}:hs.test", name])
    names = connection.execute(
        f"SELECT room_id, room_name FROM {SCHEMA}.sliding_sync_joined_rooms WHERE room_id LIKE '!p%' ORDER BY room_id"
    ).fetchall()
    assert names == [(f"!p{number}:hs.test", "fine") for number in range(9) if number != 4]
    assert quarantined(connection) == {("!p4:hs.test",)}


def test_an_ordering_may_move_to_another_room(connection: psycopg.Connection[Any]) -> None:
    """Orderings are unique: the row that gives one up is written before the row that takes it."""
    connection.execute("SET sliding_sync.on_failure = error")
    connection.execute("SELECT create_room('!a:hs.test', '@anna:hs.test'), create_room('!b:hs.test', '@anna:hs.test')")
    moved = connection.execute("SELECT send_message('!b:hs.test', '@anna:hs.test')").fetchone()[0]
    connection.execute("UPDATE events SET room_id = '!a:hs.test' WHERE event_id = %s", [moved])
    watcher = Watcher(connection, SCHEMA)
    connection.execute("UPDATE events SET room_id = '!b:hs.test' WHERE event_id = %s", [moved])
    assert watcher.check_step() == []
