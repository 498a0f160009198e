"""sliding_sync.room_list() and room_list_changes() say what the independent oracle says, whatever users have done."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from harness.cluster import Cluster
from lists.homeserver import copy_of, create_template
from lists.population import USERS, Life
from lists.questions import answer, arguments, call, random_filters, random_question
from oracle.room_list import Filters, ListedRoom, RoomLists
from synthetic.database import SCHEMA

Connection = psycopg.Connection[Any]

# 10,000 by hand: SLIDING_SYNC_QUESTIONS=5000 of two databases
QUESTIONS = int(os.environ.get("SLIDING_SYNC_QUESTIONS", "400"))


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> Iterator[str]:
    yield create_template(cluster, "room_list")
    cluster.drop_database("room_list")


@pytest.mark.parametrize("seed", [1, 2])
def test_random_questions(cluster: Cluster, template: str, seed: int) -> None:
    with copy_of(cluster, template) as connection:
        life = Life(connection, seed)
        life.begin(rooms=40)
        for _ in range(600):
            life.step()
        if seed == 2:  # the number of rooms is known then: most users are in most of them, and indexes are merged
            connection.execute("ANALYZE")
        lists = RoomLists(connection, SCHEMA)
        rng = random.Random(seed)
        rooms_told = 0
        for _ in range(QUESTIONS):
            question = random_question(rng, life.rooms)
            expected = lists.ask(**question)
            assert answer(connection, question) == expected, question
            rooms_told += len(expected)
        assert rooms_told > QUESTIONS  # the questions were about something


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
