"""Fixtures that every test may use."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness import processes
from harness.cluster import SUPERUSER, Cluster
from harness.folders import make_folder
from synthetic.attacker import arm
from synthetic.database import OWNER, connect, copied, create_homeserver, make_room


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--without-extension",
        action="store_true",
        help="prove the harness: the homeserver tests without our triggers",
    )
    parser.addoption(
        "--installation",
        type=Path,
        metavar="TREE",
        help="run the servers of this tree, made by `make install` of PostgreSQL, instead of Debian's",
    )
    parser.addoption(
        "--perturb",
        action="store_true",
        help="the servers' C library fills memory that is new or free with garbage",
    )


def pytest_configure(config: pytest.Config) -> None:
    Cluster.installation = config.getoption("--installation")
    if config.getoption("--perturb"):
        Cluster.environment = {"MALLOC_PERTURB_": "165"}


# Where files run side by side, these must not come last.
_LONGEST = (
    "cli_backfill", "synapse_table_suite", "homeserver", "every_function", "cli", "regress", "crash", "versions",
    "random_operations",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    files = [f"test_{name}.py" for name in _LONGEST]
    items.sort(key=lambda item: files.index(item.path.name) if item.path.name in files else len(files))


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The session's private cluster, with the extension installed. Its log is searched for crashes."""
    with Cluster(extension=not request.config.getoption("--without-extension")) as running:
        yield running


@pytest.fixture(scope="session")
def empty_homeserver(cluster: Cluster) -> str:
    """To be copied: an empty homeserver of the superuser's, with the triggers."""
    return create_homeserver(cluster, "empty homeserver", owner=SUPERUSER)


@pytest.fixture
def connection(cluster: Cluster, empty_homeserver: str) -> Iterator[psycopg.Connection[Any]]:
    """The superuser's session in an empty homeserver of the test's own."""
    with copied(cluster, empty_homeserver) as name, connect(cluster, name, SUPERUSER) as connection:
        yield connection


@pytest.fixture(scope="session")
def tea_room(cluster: Cluster) -> str:
    """To be copied: a homeserver with one room, of an ordinary role, with the triggers."""
    return make_room(cluster, create_homeserver(cluster, "tea room"))


@pytest.fixture(scope="session")
def armed_tea_room(cluster: Cluster, tea_room: str) -> str:
    """The same with an attacker."""
    name = cluster.create_database("armed tea room", OWNER, tea_room)
    arm(cluster, name)
    return name


@pytest.fixture(scope="module")
def servers() -> Iterator[Cluster]:
    """A cluster of a module's own: it dies and comes back, or is copied to a standby."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def server_directory() -> Iterator[Path]:
    """A temporary folder that belongs to the servers' user."""
    directory = make_folder("test")
    processes.give_to_server(directory)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
