"""The harness itself: it must notice what it is there to notice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from harness.cluster import Cluster
from harness.commit_gate import CommitGate
from harness.environment import PROJECT
from harness.folders import remove_abandoned
from homeserver import deliberate
from homeserver.comparison import JOINED, Difference


def test_a_crashed_backend_is_noticed() -> None:
    cluster = Cluster(extension=False)
    with pytest.raises(AssertionError, match="crashed"), cluster:
        with cluster.connect() as connection, pytest.raises(psycopg.OperationalError):
            os.kill(connection.info.backend_pid, signal.SIGSEGV)
            connection.execute("SELECT pg_sleep(10)")
    assert not cluster.root.exists() and not cluster.data.exists()


def test_a_killed_run_leaves_nothing_behind() -> None:
    """Neither a server, which ends with its parent, nor a folder, which the next run removes."""
    code = (
        "import os, time\nfrom harness.cluster import Cluster\nwith Cluster(extension=False) as c:\n"
        "    print(c.data, c.connect().info.backend_pid, flush=True)\n    time.sleep(60)\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", code], cwd=PROJECT / "tests", stdout=subprocess.PIPE, text=True
    )
    assert run.stdout
    data, backend = run.stdout.readline().split()
    run.kill()
    run.wait()
    deadline = time.monotonic() + 20
    while Path(data, "postmaster.pid").exists() or Path("/proc", backend).exists():
        assert time.monotonic() < deadline, "the server outlived the run that started it"
        time.sleep(0.05)
    remove_abandoned(Path(data).parent)
    assert not Path(data).exists()


def test_the_server_does_not_run_as_root() -> None:
    with Cluster(extension=False) as cluster, cluster.connect() as connection:
        assert os.stat(f"/proc/{connection.info.backend_pid}").st_uid != 0


def test_a_difference_that_nobody_chose_is_reported() -> None:
    chosen = Difference(JOINED, "named", None, "room_name", None, "Named")
    assert deliberate.unexplained("redact_name", {chosen}) == []
    # too early, not there, with another value, and one more than chosen
    assert deliberate.unexplained("messages", {chosen}) != []
    assert deliberate.unexplained("redact_name", set()) != []
    assert (
        deliberate.unexplained("redact_name", {Difference(JOINED, "named", None, "room_name", "", "Named")})
        != []
    )
    other = Difference(JOINED, "plain", None, "room_name", None, "Named")
    assert deliberate.unexplained("redact_name", {chosen, other}) == [str(other)]


def test_the_gate_looks_before_the_client_hears_of_a_commit(cluster: Cluster) -> None:
    cluster.execute("CREATE TABLE gate (number integer)")
    seen: list[int] = []
    with cluster.connect() as other:

        def look() -> None:
            seen.append(len(other.execute("TABLE gate").fetchall()))

        with CommitGate(cluster.port, look) as gate:
            arguments = cluster.conninfo() | gate.ARGUMENTS | {"port": gate.port}
            with psycopg.connect(**arguments) as client:
                client.execute("INSERT INTO gate VALUES (1)")
                assert set(seen) == {0}
                client.commit()
                assert seen[-1] == 1
                client.execute("INSERT INTO gate SELECT generate_series(1, 100000)")
                client.rollback()
                assert seen[-1] == 1
                assert len(client.execute("SELECT repeat('x', 1000) FROM generate_series(1, 1000)").fetchall()) == 1000
    cluster.execute("DROP TABLE gate")


def test_the_gate_tells_when_the_look_failed(cluster: Cluster) -> None:
    def look() -> None:
        raise LookupError("nobody is there")

    with pytest.raises(LookupError), CommitGate(cluster.port, look) as gate:
        with psycopg.connect(**cluster.conninfo() | gate.ARGUMENTS | {"port": gate.port}) as client:
            client.execute("SELECT 1")
