"""Real homeservers play the whole scenario while the triggers keep the tables."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.cluster import Cluster
from harness.synapse import ROLE, Synapse
from homeserver import comparison, deliberate, writers
from homeserver.checks import (
    Connection,
    assert_nothing_failed,
    check_room_lists,
    drift,
    look_away,
    play_and_check,
    row_versions,
)
from homeserver.scenario import World

VERSIONS = ("1.163.2", "1.118.0")


@pytest.fixture(scope="module", params=VERSIONS)
def blank(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[tuple[str, str]]:
    """A version, and a database as its first start leaves it, with the triggers attached: a template."""
    version: str = request.param
    cluster.create_role(ROLE)
    database = cluster.create_database(f"blank {version}", ROLE)
    with Synapse(version, cluster, database) as synapse:
        synapse.wait_for_background_updates()
    if cluster.has_extension:
        with cluster.connect(database) as connection:
            connection.execute("CREATE EXTENSION sliding_sync")
            attached = connection.execute(
                "SELECT count(*) FROM pg_trigger"
                " WHERE NOT tgisinternal AND tgrelid = 'public.events'::regclass"
            ).fetchone()
            assert attached and attached[0] > 0, "CREATE EXTENSION found the tables but attached nothing"
    yield version, database
    cluster.drop_database(database)


@pytest.fixture
def database(blank: tuple[str, str], cluster: Cluster) -> Iterator[str]:
    yield cluster.create_database("homeserver", ROLE, template=blank[1])
    cluster.drop_database("homeserver")


def test_triggers_write_what_synapse_writes(blank: tuple[str, str], database: str, cluster: Cluster) -> None:
    """Two writers side by side, and the homeserver then goes on with the triggers' tables as with its own."""
    with cluster.connect(database, ROLE) as connection:
        writers.make_copies(connection)

    with (
        cluster.connect(database) as connection,
        Synapse(blank[0], cluster, database, writers.SEARCH_PATH) as synapse,
    ):

        world = World(synapse)

        def look(step: str) -> list[str]:
            found = comparison.differences(connection, world.names)
            return deliberate.unexplained(step, found) + drift(connection, world.names)

        play_and_check(world, look=look if cluster.has_extension else look_away)
        assert not comparison.is_empty(connection, writers.COPY), "the homeserver did not write the copies"
        if cluster.has_extension:
            assert not comparison.is_empty(connection, writers.REAL), (
                "the triggers did not write the real tables"
            )
            check_adoption(world, connection)


def check_adoption(world: World, connection: Connection) -> None:
    """Only triggers have written the real tables: the homeserver finds nothing to do and lists every room."""
    before = row_versions(connection)
    world.synapse.restart(search_path=None)
    world.synapse.wait_for_background_updates()
    assert row_versions(connection) == before, "the homeserver's start-up rewrote rows"
    check_room_lists(world, connection)

    world.alice.set_name(world.rooms["space"], "The last name")
    world.bob.leave(world.rooms["space"])
    check_room_lists(world, connection)
    assert drift(connection, world.names) == []
    assert_nothing_failed(world.synapse)


def test_both_write_the_same_tables(blank: tuple[str, str], database: str, cluster: Cluster) -> None:
    """The ordinary installation: homeserver and triggers write the same rows in the same transactions."""
    with cluster.connect(database) as connection, Synapse(blank[0], cluster, database) as synapse:
        world = World(synapse)

        def look(_step: str) -> list[str]:
            return drift(connection, world.names)

        play_and_check(world, look=look if cluster.has_extension else look_away)
        check_room_lists(world, connection)
        if cluster.has_extension:
            check_queued_room_can_be_deleted(world, connection)
            assert drift(connection, world.names) == []
            check_corrections(world, connection)
        assert_nothing_failed(synapse)


def check_corrections(world: World, connection: Connection) -> None:
    """What the homeserver wrote by other rules is in the log, without rooms and users, and is counted."""
    logged = connection.execute(
        "SELECT table_name, column_name, case_codes, homeserver_value, corrected_value FROM sliding_sync.corrections"
    ).fetchall()
    assert ("sliding_sync_joined_rooms", "tombstone_successor_room_id") in [row[:2] for row in logged]  # D1
    assert all(before != after for _, _, _, before, after in logged)
    total = "SELECT sum(value) FROM sliding_sync.metrics WHERE name = 'sliding_sync_corrected_values'"
    assert connection.execute(total).fetchone() == (len(logged),)


def check_queued_room_can_be_deleted(world: World, connection: Connection) -> None:
    """A room waiting in the homeserver's own queue made its deletion fail (element-hq/synapse#19822)."""
    room = world.rooms["direct"]
    connection.execute("INSERT INTO sliding_sync_joined_rooms_to_recalculate VALUES (%s)", (room,))
    world.admin.delete_room(room)
    left = connection.execute("SELECT 1 FROM rooms WHERE room_id = %s", (room,)).fetchall()
    assert left == []
