"""A real homeserver of each step of Synapse's schema; and one database that is carried through all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.cluster import Cluster
from harness.synapse import ROLE, Synapse
from homeserver import scenario, writers
from homeserver.checks import (
    Connection,
    assert_nothing_failed,
    check_room_lists,
    drift,
    drift_after_each_request,
    play_and_check,
)
from homeserver.scenario import World

pytestmark = pytest.mark.long

SCHEMAS = {
    "1.112.0": 86,  # older than the tables
    "1.115.0": 87,
    "1.118.0": 88,
    "1.130.0": 92,
    "1.150.0": 93,
    "1.163.2": 94,
}
OLDEST = "1.112.0"
# From the version before in SCHEMAS, as docs/upgrade.md lists them.
REASONS_AFTER_UPGRADE = {
    "1.130.0": ["bypassed_writes"],
    "1.150.0": ["trigger_missing", "bypassed_writes"],
    "1.163.2": ["bypassed_writes"],
}
# The newest version's default is a room version that the older ones do not know.
CONFIGURATION = {"default_room_version": "10"}

# What is played in each version of the carried database: together the whole scenario.
PARTS = (
    scenario.steps(scenario.users, scenario.retract_invite),
    scenario.steps(scenario.messages, scenario.change_profile),
    scenario.steps(scenario.knock, scenario.redact_creation),
    scenario.steps(scenario.unusable_name, scenario.rejoin_forgotten),
    scenario.steps(scenario.purge_history, scenario.forget_abandoned),
    scenario.steps(scenario.all_at_once, scenario.last_words),
)


@pytest.fixture
def database(cluster: Cluster) -> Iterator[str]:
    cluster.create_role(ROLE)
    yield cluster.create_database("schema steps", ROLE)
    cluster.drop_database("schema steps")


def ready(connection: Connection) -> tuple[bool, list[str]]:
    row = connection.execute("SELECT * FROM sliding_sync.ready()").fetchone()
    assert row
    return row


def assert_schema(connection: Connection, version: str) -> None:
    assert connection.execute("SELECT version FROM schema_version").fetchall() == [(SCHEMAS[version],)]


def lose_half_the_rows(connection: Connection) -> None:
    """As where the homeserver's own background updates are half done."""
    for table in writers.TABLES:
        connection.execute(
            f"DELETE FROM {table} WHERE room_id IN"
            f" (SELECT room_id FROM rooms ORDER BY room_id LIMIT (SELECT count(*) / 2 FROM rooms))"
        )


def wrong_rows(connection: Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT * FROM sliding_sync.verify() WHERE severity <> 'unverifiable'").fetchall()


@pytest.mark.parametrize("version", SCHEMAS)
def test_attached_to_a_homeserver_at_work(database: str, cluster: Cluster, version: str) -> None:
    with cluster.connect(database) as connection, Synapse(
        version, cluster, database, configuration=CONFIGURATION
    ) as synapse:
        synapse.wait_for_background_updates()
        assert_schema(connection, version)
        world = World(synapse)
        play_and_check(world, scenario.steps(scenario.users, scenario.redact_creation))

        if version != OLDEST:
            lose_half_the_rows(connection)
        connection.execute("CREATE EXTENSION sliding_sync")
        assert ready(connection) == (False, ["never_completed"])
        assert drift(connection), "nothing is left for the backfill"
        connection.execute("CALL sliding_sync.backfill()")
        assert drift(connection, world.names) == []
        assert ready(connection) == (True, [])

        with drift_after_each_request(world, connection):
            play_and_check(world, scenario.steps(scenario.unusable_name, scenario.last_words))
        assert ready(connection) == (True, [])
        assert wrong_rows(connection) == []
        if version != OLDEST:
            check_room_lists(world, connection)
        assert_nothing_failed(synapse)


def apply_remedies(connection: Connection) -> None:
    """As docs/upgrade.md says: those of `health`, until there is none."""
    for _ in range(3):
        for (remedy,) in connection.execute("SELECT remedy FROM sliding_sync.health").fetchall():
            connection.execute(remedy)


def test_one_database_through_every_step(database: str, cluster: Cluster) -> None:
    """Attached from the first version on; each upgrade's background updates run beside the homeserver's work."""
    with cluster.connect(database) as connection, Synapse(
        OLDEST, cluster, database, configuration=CONFIGURATION
    ) as synapse:
        synapse.wait_for_background_updates()
        connection.execute("CREATE EXTENSION sliding_sync")
        connection.execute("CALL sliding_sync.backfill()")
        world = World(synapse)
        for version, part in zip(SCHEMAS, PARTS, strict=True):
            if version != OLDEST:
                synapse.change_version(version)
            with drift_after_each_request(world, connection):
                play_and_check(world, part)
            synapse.wait_for_background_updates()
            assert_schema(connection, version)
            assert drift(connection, world.names) == []
            # a new table is without triggers until then
            assert ready(connection)[1] == REASONS_AFTER_UPGRADE.get(version, []), version
            apply_remedies(connection)
            assert ready(connection) == (True, [])
            assert wrong_rows(connection) == []
            if version != OLDEST:
                check_room_lists(world, connection)
            assert_nothing_failed(synapse)
        with drift_after_each_request(world, connection):
            scenario.last_words(world)
        assert drift(connection, world.names) == []
        assert ready(connection) == (True, [])
