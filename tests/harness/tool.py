"""The program sliding-sync, as an administrator starts it: with files, pipes or a terminal for its output."""

from __future__ import annotations

import fcntl
import functools
import os
import subprocess
from pathlib import Path

import pexpect

from harness import processes
from harness.cluster import SUPERUSER, Cluster
from harness.environment import PROJECT

Done = subprocess.CompletedProcess[str]


@functools.cache
def program() -> Path:
    """Built when needed. SLIDING_SYNC_TOOL names another one, with sanitizers for instance."""
    if other := os.environ.get("SLIDING_SYNC_TOOL"):
        return Path(other)
    with (PROJECT / "Makefile").open() as makefile:
        fcntl.flock(makefile, fcntl.LOCK_EX)
        done = subprocess.run(
            ["make", "-s", "-C", str(PROJECT), "tool"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
    if done.returncode != 0:
        raise RuntimeError(f"make tool failed:\n{done.stdout[-6000:]}")
    return PROJECT / "build/tool/cli/sliding-sync"


class Tool:
    """The program, told by variables which cluster is meant."""

    def __init__(self, cluster: Cluster, database: str, user: str = SUPERUSER) -> None:
        self.cluster = cluster
        self.variables = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(cluster.port),
            "PGUSER": user,
            "PGDATABASE": database,
            "TERM": "xterm",
            "LSAN_OPTIONS": f"suppressions={PROJECT / 'tests/lsan.supp'}:print_suppressions=0",
        }

    def environment(self, **variables: str) -> dict[str, str]:
        return processes.server_environment(**(self.variables | variables))

    def run(self, *arguments: str, **variables: str) -> Done:
        """To its end, without a terminal."""
        return subprocess.run(
            [program(), *arguments],
            env=self.environment(**variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            start_new_session=True,  # no terminal at all, not even /dev/tty
        )

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [program(), *arguments],
            env=self.environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def in_terminal(
        self, *arguments: str, size: tuple[int, int] = (24, 80), **variables: str
    ) -> pexpect.spawn[str]:
        """On a terminal of its own; size in lines and columns."""
        return pexpect.spawn(
            str(program()),
            list(arguments),
            env=self.environment(**variables),
            dimensions=size,
            encoding="utf-8",
            timeout=60,
        )
