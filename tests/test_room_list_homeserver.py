"""sliding_sync.room_list() says what a running Synapse answers to a client that asks for the first time."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from harness.cluster import Cluster
from harness.synapse import ROLE, Synapse
from lists.questions import answer, random_filters
from lists.synapse_population import SynapseLife

QUESTIONS = int(os.environ.get("SLIDING_SYNC_QUESTIONS", "150"))
VERSION = "1.163.2"


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[str]:
    cluster.create_role(ROLE)
    name = cluster.create_database("list_homeserver", ROLE)
    yield name
    cluster.drop_database(name)


def test_random_questions(cluster: Cluster, database: str) -> None:
    with Synapse(VERSION, cluster, database) as synapse, cluster.connect(database) as connection:
        synapse.wait_for_background_updates()
        connection.execute("CREATE EXTENSION sliding_sync")
        life = SynapseLife(synapse, 1)
        life.begin(rooms=24)
        rng = random.Random(1)
        told = 0
        for _ in range(4):
            for _ in range(80):
                life.step()
            for _ in range(QUESTIONS // 4):
                told += compare(life, connection, rng)
        assert told > QUESTIONS
        assert not synapse.api.failed


def compare(life: SynapseLife, connection: psycopg.Connection, rng: random.Random) -> int:
    user = rng.choice(life.users)
    # what Synapse does not answer
    filters = replace(random_filters(rng, life.rooms), spaces=None, room_name_like=None)
    start = rng.choice([0, 0, 0, 1, 3, 9])
    end = start + rng.choice([0, 1, 4, 9, 99])
    count, rooms = life.ask(user, filters, start, end)
    question = {"user": user.user_id, "filters": filters, "range_start": start, "range_end": end}
    ours = answer(connection, question)
    listed = [room.room_id for room in ours]
    assert set(listed) == set(rooms), question
    if start > 0 or end < count - 1:  # it does not sort what it sends whole
        assert listed == rooms, question
    assert {room.total for room in ours} <= {count}, question
    whole = answer(connection, question | {"range_start": 0, "range_end": None})
    assert len(whole) == count, question
    return len(rooms)
