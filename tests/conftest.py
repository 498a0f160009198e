"""Fixtures that every test may use."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import processes
from harness.cluster import Cluster
from harness.folders import make_folder


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


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The session's private cluster, with the extension installed. Its log is searched for crashes."""
    with Cluster(extension=not request.config.getoption("--without-extension")) as running:
        yield running


@pytest.fixture
def server_directory() -> Iterator[Path]:
    """A temporary folder that belongs to the servers' user."""
    directory = make_folder("test")
    processes.give_to_server(directory)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
