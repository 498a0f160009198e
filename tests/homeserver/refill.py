"""Databases whose derived tables are empty or stale, and what the homeserver's own background updates make of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from harness.cluster import Cluster
from harness.synapse import ROLE, Synapse
from homeserver import scenario, writers
from homeserver.checks import assert_nothing_failed
from homeserver.comparison import Tables, read_tables
from homeserver.scenario import Step, World

QUEUE = "sliding_sync_joined_rooms_to_recalculate"


@dataclass(frozen=True)
class Emptied:
    """A database for cloning: triggers attached, nobody connected, both derived tables empty."""

    stop: str  # the step of the scenario after which it was taken
    database: str
    names: Mapping[str, str]  # of rooms and users, by id
    live: Tables  # what stood in the derived tables


@contextmanager
def emptied_databases(cluster: Cluster, version: str, stops: Sequence[Step]) -> Iterator[list[Emptied]]:
    """The whole scenario on a real homeserver, and a database as it was after each of some steps."""
    cluster.create_role(ROLE)
    database = cluster.create_database("scenario", ROLE)
    taken: list[Emptied] = []
    try:
        with Synapse(version, cluster, database) as synapse:
            synapse.wait_for_background_updates()
            cluster.execute("CREATE EXTENSION sliding_sync", database)
            world, begin = World(synapse), 0
            for stop in stops:
                end = scenario.STEPS.index(stop) + 1
                scenario.play(world, lambda _: None, scenario.STEPS[begin:end])
                assert_nothing_failed(synapse)
                synapse.stop()
                taken.append(_emptied_copy(cluster, world, stop.__name__))
                synapse.start()
                begin = end
        yield taken
    finally:
        for name in (database, *(emptied.database for emptied in taken)):
            cluster.drop_database(name)


def _emptied_copy(cluster: Cluster, world: World, stop: str) -> Emptied:
    database = cluster.create_database(f"emptied after {stop}", ROLE, template=world.synapse.database)
    with cluster.connect(database) as connection:
        live = read_tables(connection, writers.REAL)
        for table in writers.TABLES:
            connection.execute(f"TRUNCATE public.{table}")
    return Emptied(stop, database, dict(world.names), live)


def refilled_by_synapse(cluster: Cluster, version: str, emptied: Emptied) -> Tables:
    """Both tables as the homeserver's background updates fill them, which its start-up check asks for."""
    database = cluster.create_database("refilled", ROLE, template=emptied.database)
    try:
        with Synapse(version, cluster, database) as synapse, cluster.connect(database) as connection:
            synapse.wait_for_background_updates()
            assert_nothing_failed(synapse)
            assert connection.execute(f"SELECT FROM {QUEUE}").fetchall() == []
            tables = read_tables(connection, writers.REAL)
        assert all(tables.values()), "the homeserver's background updates did not run"
        return tables
    finally:
        cluster.drop_database(database)


# What a version that is older than the tables can do without the triggers: deleting would meet the foreign keys.
NEGLECTED_STEPS = (
    *scenario.steps(scenario.knock, scenario.rejoin_forgotten),
    *scenario.steps(scenario.last_leaves, scenario.deactivate),
    scenario.last_words,
)


@contextmanager
def neglected_database(cluster: Cluster, version: str, older: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """A database, with the names of its rooms and users, that was right until an older version went on without triggers.

    Nobody is connected, and the triggers are at work again.
    """
    cluster.create_role(ROLE)
    database = cluster.create_database("neglected", ROLE)
    try:
        # The newer version's default is a room version that the older one may not know.
        with Synapse(version, cluster, database, configuration={"default_room_version": "10"}) as synapse:
            synapse.wait_for_background_updates()
            cluster.execute("CREATE EXTENSION sliding_sync", database)
            world = World(synapse)
            scenario.play(world, lambda _: None, scenario.steps(scenario.users, scenario.change_profile))
            cluster.execute(f"ALTER DATABASE {database} SET sliding_sync.enabled = off")
            synapse.change_version(older)
            scenario.play(world, lambda _: None, NEGLECTED_STEPS)
            assert_nothing_failed(synapse)
        cluster.execute(f"ALTER DATABASE {database} RESET sliding_sync.enabled")
        yield database, dict(world.names)
    finally:
        cluster.drop_database(database)
