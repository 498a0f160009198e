"""A homeserver moves from SQLite to PostgreSQL with its own tool, `synapse_port_db`, while the triggers are there."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    row_versions,
)
from homeserver.scenario import World

VERSION = "1.163.2"
OFF = "-c sliding_sync.enabled=off"


@pytest.fixture
def database(cluster: Cluster) -> Iterator[str]:
    """As the first start leaves it, with the triggers attached."""
    if not cluster.has_extension:
        pytest.skip("asks what triggers do")
    cluster.create_role(ROLE)
    database = cluster.create_database("ported", ROLE)
    with Synapse(VERSION, cluster, database) as synapse:
        synapse.wait_for_background_updates()
    cluster.execute("CREATE EXTENSION sliding_sync", database)
    yield database
    cluster.drop_database(database)


def test_from_sqlite_to_postgresql(database: str, cluster: Cluster, server_directory: Path) -> None:
    file = server_directory / "homeserver.db"
    sqlite = {"database": {"name": "sqlite3", "args": {"database": str(file)}}}
    with (
        cluster.connect(database) as connection,
        Synapse(VERSION, cluster, database, configuration=sqlite) as synapse,
    ):
        wait_for_background_updates(file)
        world = World(synapse)
        # Up to the first step at which we choose to write something else than the homeserver.
        play_and_check(world, scenario.steps(scenario.users, scenario.redact_message))
        wait_for_background_updates(file)
        synapse.stop()

        synapse.port_from(file, OFF)
        for table in writers.TABLES:
            assert rows_here(connection, table) == rows_there(file, table) != []
        assert drift(connection, world.names) == []

        before = row_versions(connection)
        synapse.more_configuration.clear()
        synapse.start()
        synapse.wait_for_background_updates()
        assert row_versions(connection) == before
        check_room_lists(world, connection)
        with drift_after_each_request(world, connection):
            play_and_check(world, scenario.steps(scenario.redact_name, scenario.rejoin_forgotten))
            scenario.last_words(world)
        check_room_lists(world, connection)
        assert_nothing_failed(synapse)


def wait_for_background_updates(file: Path, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while pending := read(file, "SELECT update_name FROM background_updates"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"background updates still pending: {pending}")
        time.sleep(0.1)


def read(file: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def rows_there(file: Path, table: str) -> list[tuple[Any, ...]]:
    return read(file, f"SELECT * FROM {table} ORDER BY event_stream_ordering")


def rows_here(connection: Connection, table: str) -> list[tuple[Any, ...]]:
    # True is 1 in both languages.
    return connection.execute(f"SELECT * FROM {table} ORDER BY event_stream_ordering").fetchall()
