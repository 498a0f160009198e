"""Databases with the homeserver's tables and its operations, with or without the triggers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from harness import processes
from harness.cluster import SUPERUSER, Cluster

TESTS = Path(__file__).resolve().parents[1]

SCHEMA, OPERATIONS = "homeserver", "operations"
OWNER = "homeserver_owner"  # an ordinary role, as a homeserver has
SEARCH_PATH = f"{OPERATIONS}, {SCHEMA}"


def create_homeserver(
    cluster: Cluster, name: str, *, extension: bool = True, owner: str = OWNER, old_schema: bool = False
) -> str:
    """A database with an empty homeserver that belongs to an ordinary role."""
    cluster.create_role(owner)
    cluster.create_database(name, owner)
    for schema, file, path in (
        (SCHEMA, "base_schema.sql", SCHEMA),
        (OPERATIONS, "homeserver_ops.sql", SEARCH_PATH),
    ):
        cluster.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)), name, owner)
        script = ("\\set old_schema 1\n" if old_schema else "") + (TESTS / file).read_text()
        run_psql(cluster, name, script, user=owner, search_path=path)
    if extension:
        cluster.execute("CREATE EXTENSION sliding_sync", name)
    return name


def connect(
    cluster: Cluster, database: str, user: str = OWNER, *, autocommit: bool = True, **more: Any
) -> psycopg.Connection[Any]:
    """A session that finds the operations and the tables by their short names."""
    connection = cluster.connect(database, user, autocommit=autocommit, **more)
    with connection.cursor() as cursor:
        cursor.execute(f"SET search_path = {SEARCH_PATH}")
        cursor.execute("SET client_min_messages = error")
    if not autocommit:
        connection.commit()
    return connection


def run_psql(
    cluster: Cluster, database: str, script: str, *, user: str = SUPERUSER, search_path: str | None = None
) -> str:
    """Runs a script with psql, up to its first error; its output."""
    folder = cluster.root / "run"
    path = folder / f"{database}.sql"
    path.write_text(script)
    path.chmod(0o644)
    options = "-c client_min_messages=warning" + (f" -c search_path={search_path}" if search_path else "")
    return processes.run(
        [cluster.bin / "psql", "-q", "-X", "-v", "ON_ERROR_STOP=1", *flags(cluster, user), "-d", database]
        + ["-f", path],
        cwd=folder,
        PGOPTIONS=options.replace(", ", ","),
    )


def flags(cluster: Cluster, user: str = SUPERUSER) -> list[str]:
    """How a client program connects."""
    info = cluster.conninfo(user=user)
    return ["-h", info["host"], "-p", str(info["port"]), "-U", info["user"]]
