"""examples/small-homeserver: one that is not Synapse, with no more tables and columns than docs/implementers.md names."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from harness.cluster import Cluster
from harness.environment import PROJECT
from oracle import check
from oracle.room_list import RoomLists
from synthetic.database import OWNER

_spec = importlib.util.spec_from_file_location("homeserver", PROJECT / "examples/small-homeserver/homeserver.py")
assert _spec and _spec.loader
example = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(example)

USERS = [f"@{name}:hs.test" for name in ("anna", "bert", "carl")]


@pytest.fixture
def connection(cluster: Cluster) -> Iterator[psycopg.Connection[Any]]:
    cluster.create_role(OWNER)
    name = cluster.create_database("small", OWNER)
    with cluster.connect(name, OWNER) as owner:
        owner.execute(example.TABLES)
    cluster.execute("CREATE EXTENSION sliding_sync", name)
    with cluster.connect(name) as connection:
        connection.execute(
            f"GRANT EXECUTE ON FUNCTION sliding_sync.catch_up(text, text) TO {OWNER};"
            f"GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA sliding_sync TO {OWNER}"
        )
    with cluster.connect(name, OWNER) as connection:
        yield connection
    cluster.drop_database(name)


def test_a_user_sees_what_was_written(connection: psycopg.Connection[Any]) -> None:
    server, (anna, bert, _) = example.Homeserver(connection), USERS
    assert connection.execute("SELECT * FROM sliding_sync.ready()").fetchall() == [(True, [])]
    server.create("!tea", anna, "Tea")
    server.create("!cake", anna, "Cake")
    assert server.rooms_of(anna) == [("!cake", "Cake"), ("!tea", "Tea")]
    server.set_membership("!tea", bert, bert, "join")
    assert server.rooms_of(bert) == [("!tea", "Tea")]
    event = server.send("!tea", anna, "m.room.name", {"name": "Coffee"}, "")
    assert server.changes(bert, int(event[1:]) - 1) == [("!tea", "updated")]
    assert server.rooms_of(anna) == [("!tea", "Coffee"), ("!cake", "Cake")]
    server.redact("!tea", anna, event)
    assert server.rooms_of(bert) == [("!tea", None)]
    server.set_membership("!tea", anna, bert, "leave")
    server.set_membership("!cake", anna, bert, "invite")
    assert [room for room, _ in server.rooms_of(bert)][:1] == ["!cake"]


# What the oracle reads besides and this homeserver does not have, made when nothing is written any more: the past of
# the state, and empty tables.
_FOR_THE_ORACLE = """
ALTER TABLE small.redactions ADD have_censored boolean DEFAULT false;
CREATE TABLE small.rejections (event_id text);
CREATE TABLE small.state_events (event_id text, state_key text);
CREATE TABLE small.current_state_delta_stream (
    room_id text, stream_id bigint, type text, state_key text, event_id text, prev_event_id text);
INSERT INTO small.current_state_delta_stream
    SELECT room_id, stream_ordering, type, state_key, event_id,
           lag(event_id) OVER (PARTITION BY room_id, type, state_key ORDER BY stream_ordering)
    FROM small.events WHERE state_key IS NOT NULL;
CREATE TABLE small.event_to_state_groups (event_id text, state_group bigint);
CREATE TABLE small.state_group_edges (state_group bigint, prev_state_group bigint);
CREATE TABLE small.state_groups_state (state_group bigint, type text, event_id text, state_key text);
CREATE TABLE small.room_tags (user_id text, room_id text, tag text);
CREATE TABLE small.ignored_users (ignorer_user_id text, ignored_user_id text);
CREATE TABLE small.account_data (user_id text, account_data_type text, content text);
"""


@pytest.mark.parametrize("seed", range(3))
def test_random_writes(connection: psycopg.Connection[Any], seed: int) -> None:
    server, draw = example.Homeserver(connection), random.Random(seed)
    rooms = [f"!{number}" for number in range(8)]
    names: list[tuple[str, str]] = []
    for number, room in enumerate(rooms):
        server.create(room, USERS[0], f"Room {number}")
    for _ in range(200):
        room, user = draw.choice(rooms), draw.choice(USERS)
        match draw.randrange(5):
            case 0:
                server.send(room, USERS[0], "m.room.message", {"body": "x"})
            case 1:
                names.append((room, server.send(room, USERS[0], "m.room.name", {"name": str(draw.random())}, "")))
            case 2 if names:
                server.redact(names[-1][0], USERS[0], names[-1][1])
            case 3:
                server.send(room, USERS[0], "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"}, "")
            case _:
                server.set_membership(room, user, user, draw.choice(["join", "leave", "invite", "ban"]))
    connection.execute(_FOR_THE_ORACLE)
    assert not check(connection, "small")
    lists = RoomLists(connection, "small")
    for user in USERS:
        assert server.rooms_of(user) == [(room.room_id, room.room_name) for room in lists.ask(user)]
    connection.execute("SET sliding_sync.enabled = off")
    connection.execute("UPDATE small.sliding_sync_joined_rooms SET room_name = 'Wrong' WHERE room_id = '!0'")
    assert [finding.key for finding in check(connection, "small")] == [("!0",)], "a check that finds nothing"
