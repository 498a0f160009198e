"""Synapse's own test module of the two tables, run against the triggers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import processes
from harness.cluster import SUPERUSER, Cluster
from harness.environment import PROJECT, synapse_python, synapse_suite

MODULE = "tests.storage.test_sliding_sync_tables"
RUNNER = PROJECT / "tests/harness/table_suite_runner.py"

# It asserts that a message does not create a missing row of a joined room. Ours is made by any event (H89).
DELIBERATE = "SlidingSyncTablesTestCase.test_joined_room_nothing_if_not_in_table_when_bumped"


@dataclass(frozen=True)
class Outcome:
    run: int
    failed: list[str]
    skipped: int
    output: str


def run_suite(version: str, cluster: Cluster, directory: Path) -> Outcome:
    """In a process of its own, in `directory`."""
    python = synapse_python(version)
    output = processes.run(
        [python, "-P", "-c", RUNNER.read_text(), MODULE, "attach" if cluster.has_extension else "plain"],
        cwd=directory,
        PYTHONPATH=str(synapse_suite(version)),
        SYNAPSE_POSTGRES="1",
        SYNAPSE_POSTGRES_HOST="127.0.0.1",
        SYNAPSE_POSTGRES_PORT=str(cluster.port),
        SYNAPSE_POSTGRES_USER=SUPERUSER,
    )
    return Outcome(**json.loads(output.rstrip().splitlines()[-1]), output=output)


def reasons(output: str) -> str:
    """The tail of trial's report of failures, for the message of a failing assertion."""
    return re.split(r"^={20,}$", output, maxsplit=1, flags=re.MULTILINE)[-1][-6000:]


@pytest.mark.parametrize(("version", "tests"), [("1.163.2", 44), ("1.118.0", 41)])
def test_synapse_passes_its_own_suite(
    version: str, tests: int, cluster: Cluster, server_directory: Path
) -> None:
    outcome = run_suite(version, cluster, server_directory)
    expected = [DELIBERATE] if cluster.has_extension else []
    assert outcome.failed == expected, reasons(outcome.output)
    assert (outcome.run, outcome.skipped) == (tests, 0)
