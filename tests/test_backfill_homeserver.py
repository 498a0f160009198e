"""Databases of a real homeserver with empty derived tables: backfill writes what the homeserver itself would."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.cluster import Cluster
from harness.synapse import ROLE, Synapse
from homeserver import scenario, writers
from homeserver.checks import Connection, assert_nothing_failed, drift, row_versions
from homeserver.comparison import Tables, compare, read_tables
from homeserver.deliberate import BACKFILL, unexplained
from homeserver.refill import Emptied, emptied_databases, refilled_by_synapse
from homeserver.scenario import Step

VERSION = "1.163.2"


def test_backfill_writes_what_background_updates_write(cluster: Cluster) -> None:
    """Before rooms are deleted, and at the end."""
    compare_after(cluster, (scenario.redact_tombstone, scenario.last_words))


@pytest.mark.long
def test_backfill_after_many_steps(cluster: Cluster) -> None:
    compare_after(cluster, scenario.steps(scenario.invite, scenario.last_words)[::2])


def compare_after(cluster: Cluster, stops: Sequence[Step]) -> None:
    if not cluster.has_extension:
        pytest.skip("asks what backfill does")
    with emptied_databases(cluster, VERSION, stops) as databases:
        for emptied in databases:
            check_backfill(cluster, emptied, refilled_by_synapse(cluster, VERSION, emptied))


def check_backfill(cluster: Cluster, emptied: Emptied, theirs: Tables) -> None:
    database = cluster.create_database("backfilled", ROLE, template=emptied.database)
    try:
        with cluster.connect(database) as connection:
            connection.execute("CALL sliding_sync.backfill()")
            found = compare(read_tables(connection, writers.REAL), theirs, emptied.names)
            wrong = unexplained(emptied.stop, found, BACKFILL) + drift(connection, dict(emptied.names))
            assert not wrong, f"after {emptied.stop}:\n" + "\n".join(wrong)
            check_adoption(cluster, database, connection)
    finally:
        cluster.drop_database(database)


def check_adoption(cluster: Cluster, database: str, connection: Connection) -> None:
    """The homeserver starts on the filled tables and finds nothing to do."""
    before = row_versions(connection)
    with Synapse(VERSION, cluster, database) as synapse:
        synapse.wait_for_background_updates()
        assert_nothing_failed(synapse)
    assert row_versions(connection) == before, "the homeserver's start-up rewrote rows"
