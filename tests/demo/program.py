"""The program sliding-sync at work on the demo's homeserver, on the terminal of whoever watches."""

from __future__ import annotations

import os
import subprocess

from demo import screen
from demo.homeserver import DATABASE
from harness.cluster import SUPERUSER, Cluster
from harness.tool import program


class Program:
    def __init__(self, cluster: Cluster) -> None:
        connection = {"PGHOST": "127.0.0.1", "PGPORT": str(cluster.port), "PGUSER": SUPERUSER, "PGDATABASE": DATABASE}
        self.environment = os.environ | connection | {"PSQL_PAGER": ""}

    def run(self, *arguments: str) -> int:
        """Shows the command, then what it prints; its exit status."""
        screen.fact(" ".join(["$ sliding-sync", *arguments]))
        return subprocess.run([program(), *arguments], env=self.environment).returncode


def fill_and_verify(cluster: Cluster) -> None:
    tool = Program(cluster)
    screen.heading("sliding-sync: every row looked at, while the homeserver runs")
    tool.run("backfill", "-j", "2", "--batch-size", "100", "--pause", "50 ms")
    tool.run("status")
    screen.heading("A row is broken by hand, found, and mended")
    cluster.execute(
        "UPDATE sliding_sync_joined_rooms SET room_name = 'Broken by hand' WHERE room_id = (SELECT min(room_id)"
        " FROM sliding_sync_joined_rooms WHERE room_name IS NOT NULL)",
        DATABASE,
    )
    screen.remark(f"exit status {tool.run('verify', '--no-history')}")
    screen.remark("the same without the extension, with SELECT alone")
    tool.run("verify", "--no-extension", "--no-history")
    tool.run("repair")
    screen.remark(f"exit status {tool.run('verify', '--no-history')}")
