"""A real homeserver whose own background updates were ended for it reads from the tables at its next start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from harness.cluster import Cluster
from harness.matrix_client import User
from harness.synapse import ROLE, Synapse
from oracle import check

VERSION = "1.163.2"
UPDATES = (
    "sliding_sync_prefill_joined_rooms_to_recalculate_table_bg_update",
    "sliding_sync_joined_rooms_bg_update",
    "sliding_sync_membership_snapshots_bg_update",
)


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[str]:
    cluster.create_role(ROLE)
    name = cluster.create_database("ends updates", ROLE)
    yield name
    cluster.drop_database(name)


def room_list(user: User) -> set[str]:
    return {room for step in user.sliding_sync()["lists"]["all"]["ops"] for room in step["room_ids"]}


def test_ended_updates_stay_ended(cluster: Cluster, database: str) -> None:
    with Synapse(VERSION, cluster, database) as synapse:
        synapse.wait_for_background_updates()
        alice, bob = synapse.register("alice"), synapse.register("bob")
        rooms = {alice.create_room(name=f"Room {i}") for i in range(3)}
        for room in rooms:
            alice.invite(room, bob)
        bob.join(min(rooms))
        synapse.stop()

        # as after an upgrade of a database that is older than the tables
        with cluster.connect(database) as connection:
            connection.execute("DELETE FROM sliding_sync_joined_rooms")
            connection.execute("DELETE FROM sliding_sync_membership_snapshots")
            connection.execute("CREATE EXTENSION sliding_sync")
            for name in UPDATES:
                connection.execute(
                    "INSERT INTO background_updates (ordering, update_name, progress_json, depends_on)"
                    " VALUES (8701, %s, '{}', %s)",
                    (name, UPDATES[0] if name == UPDATES[1] else None),
                )
            connection.execute(
                "INSERT INTO sliding_sync_joined_rooms_to_recalculate SELECT room_id FROM rooms"
            )
            finish = "SELECT * FROM sliding_sync.finish_background_updates()"
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
                connection.execute(finish)
            connection.execute("CALL sliding_sync.backfill()")
            assert connection.execute(finish).fetchone() == (sorted(UPDATES), 3)
            before = row_versions(connection)

            synapse.start()
            # it has not even begun one: neither a row nor a queued room is there, without any waiting
            assert pending(connection) == (0, 0)
            assert room_list(alice) == room_list(bob) == rooms
            assert row_versions(connection) == before
            alice.set_name(min(rooms), "Later")
            rooms.add(alice.create_room(name="New"))
            assert room_list(alice) == rooms
            assert pending(connection) == (0, 0)
            assert check(connection, "public") == []
            assert connection.execute("SELECT is_ready FROM sliding_sync.ready()").fetchone() == (True,)
        assert not synapse.errors(), synapse.errors()
        assert not synapse.api.failed


def pending(connection: psycopg.Connection[Any]) -> tuple[int, int] | None:
    return connection.execute(
        "SELECT (SELECT count(*) FROM background_updates),"
        " (SELECT count(*) FROM sliding_sync_joined_rooms_to_recalculate)"
    ).fetchone()


def row_versions(connection: psycopg.Connection[Any]) -> list[Any]:
    return [
        connection.execute(f"SELECT ctid::text, xmin::text FROM {table} ORDER BY 1").fetchall()
        for table in ("sliding_sync_joined_rooms", "sliding_sync_membership_snapshots")
    ]
