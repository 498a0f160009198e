"""A homeserver's empty tables with their operations and the triggers, for tests that write SQL."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from harness.cluster import Cluster

TESTS = Path(__file__).parent
SCHEMA, OPERATIONS = "homeserver", "operations"


def make_homeserver(cluster: Cluster, database: str) -> None:
    """Base schema in SCHEMA, homeserver_ops.sql in OPERATIONS, and CREATE EXTENSION, which attaches."""
    for schema, file in ((SCHEMA, "base_schema.sql"), (OPERATIONS, "homeserver_ops.sql")):
        cluster.execute(f"CREATE SCHEMA {schema}", database)
        info = cluster.conninfo(database)
        path = SCHEMA if schema == SCHEMA else f"{OPERATIONS},{SCHEMA}"
        subprocess.run(
            [cluster.bin / "psql", "-q", "-X", "-v", "ON_ERROR_STOP=1", "-h", info["host"], "-p", str(info["port"])]
            + ["-U", info["user"], "-d", database, "-f", str(TESTS / file)],
            env=os.environ | {"PGOPTIONS": f"-c client_min_messages=warning -c search_path={path}"},
            stdout=subprocess.DEVNULL,
            check=True,
        )
    cluster.execute("CREATE EXTENSION sliding_sync", database)
