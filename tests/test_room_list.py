"""sliding_sync.room_list() and room_list_changes() say what the independent oracle says, whatever users have done."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from harness.cluster import Cluster
from lists.homeserver import LIST_SCHEMA, answer_by_queries, copy_of, create_template
from lists.population import USERS, Life
from lists.questions import answer, arguments, call, random_filters, random_question
from oracle.room_list import Filters, ListedRoom, RoomLists
from synthetic.database import OWNER, SCHEMA, add_homeserver, connect

Connection = psycopg.Connection[Any]

# of each of two databases, in two ways: 10,000
QUESTIONS = int(os.environ.get("SLIDING_SYNC_QUESTIONS", "2500"))


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> Iterator[str]:
    yield create_template(cluster, "room_list")
    cluster.drop_database("room_list")


@pytest.mark.parametrize("way", ["indexes", "queries"])
@pytest.mark.parametrize("seed", [1, 2])
def test_random_questions(cluster: Cluster, template: str, seed: int, way: str) -> None:
    with copy_of(cluster, template) as connection:
        life = Life(connection, seed)
        life.begin(rooms=40)
        for _ in range(600):
            life.step()
        if seed == 2:  # the number of rooms is known then: most users are in most of them, and indexes are merged
            connection.execute("ANALYZE")
        lists = RoomLists(connection, SCHEMA)
        if way == "queries":
            answer_by_queries(cluster, connection.info.dbname, "asks_by_queries")
        with cluster.connect(connection.info.dbname, "asks_by_queries" if way == "queries" else OWNER) as asking:
            rng = random.Random(seed)
            rooms_told = 0
            for _ in range(QUESTIONS):
                question = random_question(rng, life.rooms)
                expected = lists.ask(**question)
                assert answer(asking, question) == expected, question
                rooms_told += len(expected)
        assert rooms_told > QUESTIONS  # the questions were about something


MOVES = [
    "VACUUM", "VACUUM FULL", "ANALYZE", "UPDATE rooms SET is_public = is_public", "CLUSTER rooms USING rooms_pkey",
    "UPDATE sliding_sync_joined_rooms SET bump_stamp = bump_stamp",
    "CLUSTER sliding_sync_membership_snapshots USING sliding_sync_membership_snapshots_pkey",
    # to the very pages that others stood on, in another order
    "CREATE TABLE kept AS SELECT * FROM sliding_sync_joined_rooms; TRUNCATE sliding_sync_joined_rooms;"
    " INSERT INTO sliding_sync_joined_rooms SELECT * FROM kept ORDER BY random(); DROP TABLE kept",
]  # fmt: skip


@pytest.mark.parametrize("locale", ["LOCALE 'C'", "LOCALE 'C' LOCALE_PROVIDER icu ICU_LOCALE 'en'"])
def test_rows_that_move(cluster: Cluster, locale: str) -> None:
    """A session remembers where rows were. They are elsewhere the next time, and other rows, or no page at all, in their place."""
    name = "moving"
    cluster.create_role(OWNER)
    cluster.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' {locale} OWNER {OWNER}")  # type: ignore[arg-type]
    try:
        add_homeserver(cluster, name, owner=OWNER)
        with cluster.connect(name, OWNER) as connection:
            connection.execute(f"SET search_path = {SCHEMA}")
            connection.execute(LIST_SCHEMA.read_text())  # type: ignore[call-overload]
        cluster.execute("CREATE EXTENSION sliding_sync", name)
        with connect(cluster, name) as connection:
            ask_while_rows_move(cluster, connection)
    finally:
        cluster.drop_database(name)


def ask_while_rows_move(cluster: Cluster, connection: Connection) -> None:
    life = Life(connection, 7)
    life.begin(rooms=60)
    rng = random.Random(7)
    for _ in range(40):
        for _ in range(20):
            life.step()
        for statement in rng.choice(MOVES).split("; "):
            connection.execute(statement)  # type: ignore[arg-type]
        lists = RoomLists(connection, SCHEMA)
        with connect(cluster, connection.info.dbname) as newcomer:
            for user in USERS:
                question = {"user": user, "filters": Filters(), "sort_by": rng.choice(["recency", "bump", "name"])}
                expected = lists.ask(**question)
                assert answer(connection, question) == expected
                assert answer(newcomer, question) == expected


def applied(old: list[str], changes: list[Any]) -> set[str]:
    """The rooms of a list after its changes."""
    rooms = set(old)
    for change in changes:
        (rooms.discard if change[-1] == "left" else rooms.add)(change[2])
    return rooms


@pytest.mark.parametrize("seed", range(6))
def test_random_changes(cluster: Cluster, template: str, seed: int) -> None:
    with copy_of(cluster, template) as connection:
        life = Life(connection, 100 + seed)
        life.begin(rooms=30)
        for _ in range(300):
            life.step()
        rng = random.Random(seed)
        for _ in range(25):
            before = RoomLists(connection, SCHEMA)
            since = connection.execute("SELECT coalesce(max(stream_ordering), 0) FROM events").fetchall()[0][0]
            for _ in range(rng.choice([0, 1, 2, 5, 15])):
                life.step(positions_only=True)
            after = RoomLists(connection, SCHEMA)
            for user in USERS:
                check_all_changes(connection, user, since, before, after)
                filters = random_filters(rng, life.rooms)
                if filters.spaces is None:  # a space's children have no position
                    question = {"user": user, "filters": filters, "since": since}
                    changes = call(connection, "room_list_changes", arguments(question))
                    old = [room.room_id for room in before.ask(user, filters)]
                    new = {room.room_id: room for room in after.ask(user, filters)}
                    assert applied(old, changes) == set(new), question
                    for *columns, change in changes:
                        assert change == "left" or columns == [*new[columns[2]]._replace(total=None)], question


def check_all_changes(connection: Connection, user: str, since: int, before: RoomLists, after: RoomLists) -> None:
    """Without filters every change is told exactly."""
    old = {room.room_id: room for room in before.ask(user)}
    new = {room.room_id: room for room in after.ask(user)}
    expected = {}
    for room_id, room in new.items():
        if room_id not in old:
            expected[room_id] = (room.place, "entered")
        elif room.event_stream_ordering > since:
            expected[room_id] = (room.place, "updated")
    expected |= {room_id: (None, "left") for room_id in old.keys() - new.keys()}
    rows = call(connection, "room_list_changes", {"user_id": user, "since": since})
    assert {row[2]: (row[0], row[-1]) for row in rows} == expected, (user, since)
    for *columns, change in rows:
        assert change == "left" or ListedRoom(*columns) == new[columns[2]]._replace(total=None)


def test_children_of_spaces(cluster: Cluster, template: str) -> None:
    """Who is a child, redacted or not, and of which spaces."""
    anna, bert = USERS[:2]
    with copy_of(cluster, template) as connection:
        for name in ("space", "inner", "other", "a", "b", "c", "d", "e"):
            kind = "m.space" if name in ("space", "inner", "other") else None
            connection.execute("SELECT create_room(%s, %s, room_type => %s)", [f"!{name}", bert if name == "other" else anna, kind])

        def name_child(space: str, child: str, content: str = '{"via": ["x"]}') -> str:
            query = "SELECT set_state(%s, %s, 'm.space.child', %s, %s)"
            return str(connection.execute(query, [f"!{space}", anna, f"!{child}", content]).fetchall()[0][0])

        def children(*spaces: str) -> set[str]:
            filters = Filters(spaces=[f"!{space}" for space in spaces])
            rows = answer(connection, {"user": anna, "filters": filters})
            assert rows == RoomLists(connection, SCHEMA).ask(anna, filters)
            return {row.room_id[1:] for row in rows}

        name_child("space", "space")
        name_child("space", "inner")
        name_child("inner", "a")
        named = {child: name_child("space", child) for child in "bcde"}
        name_child("other", "a")
        assert children("space") == {"inner", "b", "c", "d", "e"}
        assert children("space", "inner") == {"inner", "a", "b", "c", "d", "e"}
        assert children("other") == children() == set()  # not joined; none at all
        name_child("space", "b", "{}")
        connection.execute("SELECT redact('!space', %s, %s)", [bert, named["c"]])
        # by somebody of another server, and to be checked: does not count
        connection.execute("SELECT redact('!space', '@x:remote.test', %s, %s)", [named["d"], '{"recheck_redaction": true}'])
        assert children("space") == {"inner", "d", "e"}
        connection.execute("UPDATE redactions SET recheck = false")
        assert children("space") == {"inner", "e"}
        ban = connection.execute("SELECT ban('!space', %s, %s)", [anna, bert]).fetchall()[0][0]
        connection.execute('SELECT "join"(%s, %s)', ["!space", anna])
        connection.execute("SELECT redact_all_of('!space', %s, %s)", [anna, ban])
        assert children("space") == set()


def test_a_room_that_changed_and_is_no_newer(cluster: Cluster, template: str) -> None:
    """After a purge a room that was just joined may stand further down: its place is counted."""
    anna, bert = USERS[:2]
    with copy_of(cluster, template) as connection:
        for name in "abcde":
            connection.execute("SELECT create_room(%s, %s)", [f"!{name}", anna])
            if name != "b":
                connection.execute('SELECT "join"(%s, %s)', [f"!{name}", bert])
        since = connection.execute("SELECT max(stream_ordering) FROM events").fetchall()[0][0]
        connection.execute('SELECT "join"(%s, %s)', ["!b", bert])
        connection.execute(
            "UPDATE sliding_sync_joined_rooms j SET event_stream_ordering = (SELECT min(e.stream_ordering) FROM events e"
            " WHERE e.room_id = j.room_id) WHERE room_id = '!b'"
        )
        listed = {room.room_id: room for room in RoomLists(connection, SCHEMA).ask(bert)}
        assert listed["!b"].place == 3
        rows = call(connection, "room_list_changes", {"user_id": bert, "since": since})
        assert [(row[2], row[0], row[-1]) for row in rows] == [("!b", 3, "entered")]
