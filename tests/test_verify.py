"""verify() and repair(): no false alarm while a homeserver is at work or on a standby, and of what was spoiled it finds
just the rows that the oracle finds."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from generator.load import generate
from harness.cluster import SUPERUSER, Cluster
from harness.standby import Standby
from oracle import check
from oracle.check import check_picture
from oracle.finding import JOINED_ROOMS, ROW, SNAPSHOTS
from oracle.history import alternatives
from oracle.picture import Picture, take_picture
from oracle.values import HISTORY_COLUMNS
from synthetic.database import OWNER, SCHEMA, connect, create_homeserver
from synthetic.load import Rooms, play, prepare

Connection = psycopg.Connection[Any]
Place = tuple[str, tuple[str, ...], str]  # table, key, column

WRONG = ("visible", "hidden")
CLIENTS = 8


@pytest.fixture(scope="module")
def empty(cluster: Cluster) -> str:
    return create_homeserver(cluster, "verified")


@pytest.fixture(scope="module")
def grown(cluster: Cluster) -> str:
    """A homeserver with a past of which every row is right."""
    name = create_homeserver(cluster, "verified and grown")
    with connect(cluster, name) as connection:
        generate(connection, SCHEMA, 40)
    with connect(cluster, name, SUPERUSER) as connection:
        assert not check(connection, SCHEMA)
        assert not [finding for finding in verify(connection) if finding["severity"] in WRONG]
    return name


def verify(connection: Connection, **arguments: object) -> list[dict[str, Any]]:
    return _call(connection, "verify", arguments)


def repair(connection: Connection, **arguments: object) -> list[dict[str, Any]]:
    return _call(connection, "repair", arguments)


def _call(connection: Connection, function: str, arguments: dict[str, object]) -> list[dict[str, Any]]:
    named = sql.SQL(", ").join(sql.SQL("{} => %s").format(sql.Identifier(name)) for name in arguments)
    query = sql.SQL("SELECT * FROM sliding_sync.{}({})").format(sql.Identifier(function), named)
    cursor = connection.cursor(row_factory=dict_row)
    return cursor.execute(query, list(arguments.values())).fetchall()


# -- no false alarm


@pytest.mark.parametrize("writes_tables", [False, True], ids=["older homeserver", "newer homeserver"])
def test_no_false_alarm_while_everybody_writes(cluster: Cluster, empty: str, writes_tables: bool) -> None:
    name = cluster.create_database("verified under load", OWNER, empty)
    rooms, stop = Rooms(CLIENTS, shared=6, own=3), threading.Event()
    with connect(cluster, name) as connection:
        prepare(connection, rooms)
    runs: Counter[str] = Counter()

    def look(level: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        with connect(cluster, name, SUPERUSER) as connection:
            while not stop.is_set() and not found:
                connection.execute(f"BEGIN ISOLATION LEVEL {level} READ ONLY")
                found = [finding for finding in verify(connection) if finding["severity"] in WRONG]
                connection.execute("COMMIT")
                runs[level] += 1
        return found

    with ThreadPoolExecutor() as pool:
        looks = [pool.submit(look, level) for level in ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")]
        try:
            outcome = play(
                lambda: connect(cluster, name),
                rooms,
                seed=5,
                transactions=250,
                writes_tables=writes_tables,
                one_writer_a_room=True,
            )
        finally:
            stop.set()
        alarms = [finding for looking in looks for finding in looking.result()]
    print(outcome, dict(runs))
    assert not alarms, alarms[:10]
    assert all(count > 5 for count in runs.values()), "who hardly looks finds nothing"
    with connect(cluster, name, SUPERUSER) as connection:
        connection.execute("UPDATE sliding_sync_joined_rooms SET bump_stamp = 1")
        assert [finding for finding in verify(connection) if finding["severity"] in WRONG]
    cluster.drop_database(name)


@pytest.fixture
def primary() -> Iterator[Cluster]:
    """A cluster of its own: what is copied to a standby should be small."""
    with Cluster() as running:
        create_homeserver(running, "followed")
        yield running


def test_on_a_hot_standby(primary: Cluster) -> None:
    """It works there, also while the primary's changes arrive, and finds what is wrong on the primary."""
    rooms, stop = Rooms(2, shared=4, own=3), threading.Event()
    with connect(primary, "followed") as connection:
        prepare(connection, rooms)
        generate(connection, SCHEMA, 20)
    with Standby(primary) as standby, connect(standby, "followed", SUPERUSER) as there:
        with ThreadPoolExecutor() as pool:
            load = pool.submit(play, lambda: connect(primary, "followed"), rooms, seed=6, stop=stop)
            try:
                for _ in range(20):
                    assert not [finding for finding in verify(there) if finding["severity"] in WRONG]
            finally:
                stop.set()
            assert load.result().effective.total() > 0
        # a room of the generator's: those of the load may have been purged
        [(spoiled,)] = primary.execute(
            "UPDATE homeserver.sliding_sync_joined_rooms SET room_name = 'Wrong' WHERE room_id ="
            " (SELECT min(room_id) FROM homeserver.sliding_sync_joined_rooms WHERE room_id LIKE '!room%')"
            " RETURNING room_id",
            "followed",
        )
        wait_for_replay(primary, standby)
        for rows in (verify(there), repair(there, dry_run=True)):
            assert [row["room_id"] for row in rows if row.get("severity") != "unverifiable"] == [
                spoiled
            ]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            repair(there)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            there.execute("SELECT sliding_sync.catch_up()")


def wait_for_replay(primary: Cluster, standby: Cluster) -> None:
    # of what is inserted, not only written: commits are asynchronous
    ((position,),) = primary.execute("SELECT pg_current_wal_insert_lsn()::text")
    query = sql.SQL("SELECT pg_last_wal_replay_lsn() >= {}::pg_lsn").format(sql.Literal(position))
    while standby.execute(query) != [(True,)]:
        pass


# -- what was spoiled

_NAMES = ("Never", "", None)
_STATE: dict[str, tuple[object, ...]] = {
    "room_type": ("m.never", None),
    "room_name": _NAMES,
    "is_encrypted": (True, False),
    "tombstone_successor_room_id": ("!never", None),
}
_COLUMNS: dict[str, dict[str, tuple[object, ...]]] = {
    JOINED_ROOMS: {"bump_stamp": (None, 1, 1 << 40), **_STATE},
    SNAPSHOTS: {
        "sender": ("@never:hs.test",),
        "membership": ("join", "leave", "invite"),
        "forgotten": (0, 1),
        "event_instance_name": ("never", "master"),
        "has_known_state": (True, False),
        **_STATE,
    },
}
_KEY = {JOINED_ROOMS: ("room_id",), SNAPSHOTS: ("room_id", "user_id")}


class Vandal:
    """Spoils rows, at most one thing a row and some rows altogether; all from a seed."""

    def __init__(self, connection: Connection, seed: int) -> None:
        self._connection, self._random = connection, random.Random(seed)
        free = connection.execute(
            "SELECT event_id, room_id, stream_ordering FROM events WHERE NOT EXISTS (SELECT FROM"
            " sliding_sync_joined_rooms j WHERE j.event_stream_ordering = stream_ordering) AND NOT EXISTS"
            " (SELECT FROM sliding_sync_membership_snapshots m WHERE m.membership_event_id = event_id)"
            " AND stream_ordering IS NOT NULL ORDER BY event_id"
        ).fetchall()
        self._random.shuffle(free)
        self._free = free

    def spoil(self, share: float) -> int:
        spoiled = 0
        for table, key in _KEY.items():
            rows = self._connection.execute(f"SELECT {', '.join(key)} FROM {table} ORDER BY {', '.join(key)}")
            for row in rows.fetchall():
                if self._random.random() < share:
                    self._spoil_row(table, dict(zip(key, row)))
                    spoiled += 1
        for _ in range(3):
            spoiled += self._add_rows()
        return spoiled

    def _spoil_row(self, table: str, key: dict[str, str]) -> None:
        where = sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in key)
        choice = self._random.random()
        if choice < 0.15:
            query = sql.SQL("DELETE FROM {} WHERE {}").format(sql.Identifier(table), where)
            self._connection.execute(query, list(key.values()))
            return
        value: object
        if choice < 0.25 and table == SNAPSHOTS:
            column, value = "membership_event_id", self._free.pop()[0]
        elif choice < 0.35:
            column, value = "event_stream_ordering", self._free.pop()[2]
        else:
            column = self._random.choice(sorted(_COLUMNS[table]))
            value = self._random.choice(_COLUMNS[table][column])
        query = sql.SQL("UPDATE {} SET {} = %s WHERE {}")
        query = query.format(sql.Identifier(table), sql.Identifier(column), where)
        self._connection.execute(query, [value, *key.values()])

    def _add_rows(self) -> int:
        event_id, room_id, ordering = self._free.pop()
        room = self._connection.execute(
            "INSERT INTO sliding_sync_joined_rooms (room_id, event_stream_ordering) VALUES (%s, %s)"
            " ON CONFLICT DO NOTHING",
            [room_id, ordering],
        )
        event_id, room_id, ordering = self._free.pop()
        self._connection.execute(
            "INSERT INTO sliding_sync_membership_snapshots (room_id, user_id, sender, membership_event_id,"
            " membership, event_stream_ordering, event_instance_name)"
            " VALUES (%s, '@never:hs.test', '@never:hs.test', %s, 'join', %s, 'master') ON CONFLICT DO NOTHING",
            [room_id, event_id, ordering],
        )
        return room.rowcount + 1


def places_of_verify(findings: list[dict[str, Any]]) -> dict[Place, str]:
    return {
        (
            finding["table_name"],
            tuple(part for part in (finding["room_id"], finding["user_id"]) if part is not None),
            finding["column_name"] or ROW,
        ): finding["reason"]
        for finding in findings
    }


def places_of_oracle(picture: Picture) -> dict[Place, str]:
    return {
        (finding.table, finding.key, finding.column): str(finding) for finding in check_picture(picture)
    }


def facts(places: Iterable[Place]) -> set[Place]:
    """Without those that are of the past."""
    return {place for place in places if not is_history(place)}


def past_rows(places: Iterable[Place]) -> set[tuple[str, ...]]:
    return {place[1] for place in places if is_history(place)}


def is_history(place: Place) -> bool:
    return place[0] == SNAPSHOTS and place[2] in HISTORY_COLUMNS


def rows(connection: Connection, table: str) -> set[str]:
    """All rows, without what they say of the past."""
    past = list(HISTORY_COLUMNS) if table == SNAPSHOTS else []
    found = connection.execute(f"SELECT (to_jsonb(t) - %s::text[])::text FROM {table} t", [past])
    return {text for (text,) in found}


@pytest.mark.parametrize("seed", range(8))
def test_of_what_was_spoiled_both_find_the_same(cluster: Cluster, grown: str, seed: int) -> None:
    """Of the past they judge by different means. The oracle knows the state at a row's moment from the stream of
    changes, so that a value of another time is wrong; verify() calls it unverifiable, and a repair leaves it alone.
    Where the oracle knows nothing, verify() still finds what the room never said, and what can be known by now; and a
    row of another membership is to be remade, whether what it says happens to fit or not.
    """
    name = cluster.create_database("spoiled", OWNER, grown)
    with connect(cluster, name, SUPERUSER) as connection:
        before = {table: rows(connection, table) for table in _KEY}
        assert Vandal(connection, seed).spoil(0.25) > 40
        findings, picture = verify(connection), take_picture(connection, SCHEMA)
        by_verify = places_of_verify([finding for finding in findings if finding["severity"] in WRONG])
        in_doubt = past_rows(
            places_of_verify([finding for finding in findings if finding["severity"] not in WRONG])
        )
        by_oracle = places_of_oracle(picture)
        assert facts(by_verify) == facts(by_oracle)
        assert past_rows(by_oracle) <= past_rows(by_verify) | in_doubt
        of_another_membership = {key for (_, key, _), why in by_verify.items() if why == "wrong_membership"}
        for room_id, user_id in past_rows(by_verify) - past_rows(by_oracle) - of_another_membership:
            reasons = {by_verify.get((SNAPSHOTS, (room_id, user_id), column)) for column in HISTORY_COLUMNS}
            assert reasons <= {"history_unknown", None} or not alternatives(picture, (room_id, user_id))

        repaired = {(row["table_name"], row["room_id"], row["user_id"]) for row in repair(connection)}
        assert repaired == {(table, *key, None)[:3] for table, key, _ in by_verify}
        assert not [finding for finding in verify(connection) if finding["severity"] in WRONG]
        remaining = places_of_oracle(take_picture(connection, SCHEMA))
        assert not facts(remaining) and past_rows(remaining) <= in_doubt
        assert {table: rows(connection, table) for table in _KEY} == before
    cluster.drop_database(name)
