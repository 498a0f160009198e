"""Fixtures that every test may use."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from collections.abc import Iterator

import pytest

from harness import processes
from harness.cluster import Cluster


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--without-extension",
        action="store_true",
        help="prove the harness: the homeserver tests without our triggers",
    )


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The session's private cluster, with the extension installed. Its log is searched for crashes."""
    with Cluster(extension=not request.config.getoption("--without-extension")) as running:
        yield running


@pytest.fixture
def server_directory() -> Iterator[Path]:
    """A temporary folder that belongs to the servers' user."""
    directory = Path(tempfile.mkdtemp(prefix="sliding_sync_test_", dir="/tmp"))
    processes.give_to_server(directory)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
