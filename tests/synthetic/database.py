"""Databases with the homeserver's tables and its operations, with or without the triggers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from harness import processes
from harness.cluster import SUPERUSER, Cluster

SCHEMA, OPERATIONS = "homeserver", "operations"
OWNER = "homeserver_owner"  # an ordinary role, as a homeserver has
SEARCH_PATH = f"{OPERATIONS}, {SCHEMA}"

ROOM, ANNA, BERT = "!r:hs.test", "@anna:hs.test", "@bert:hs.test"
BASE_TABLES = (
    "events",
    "event_json",
    "rejections",
    "redactions",
    "room_ban_redactions",
    "rooms",
    "room_memberships",
    "current_state_events",
    "local_current_membership",
)
DERIVED_TABLES = ("sliding_sync_joined_rooms", "sliding_sync_membership_snapshots")


def create_homeserver(
    cluster: Cluster, name: str, *, extension: bool = True, owner: str = OWNER, old_schema: bool = False
) -> str:
    """A database with an empty homeserver that belongs to an ordinary role, or to the `owner`; with the triggers."""
    cluster.create_role(owner)
    cluster.create_database(name, owner)
    add_homeserver(cluster, name, owner=owner, old_schema=old_schema)
    if extension:
        cluster.execute("CREATE EXTENSION sliding_sync", name)
    return name


def add_homeserver(cluster: Cluster, name: str, *, owner: str = SUPERUSER, old_schema: bool = False) -> None:
    """The tables and the operations, in a database that is there."""
    with cluster.connect(name, owner) as connection:
        connection.execute(f"CREATE SCHEMA {OPERATIONS}; CREATE EXTENSION sliding_sync_test SCHEMA {OPERATIONS}")
        connection.execute(f"CALL {OPERATIONS}.make_homeserver(%s, %s)", (SCHEMA, old_schema))


@contextmanager
def copied(cluster: Cluster, template: str, name: str = "of a test", owner: str = SUPERUSER) -> Iterator[str]:
    """A copy of a database that nobody is connected to."""
    cluster.drop_database(name)  # left behind where a server went down
    cluster.create_database(name, owner, template)
    yield name
    cluster.drop_database(name)


def make_room(cluster: Cluster, name: str) -> str:
    """Anna's room Tea, in that database."""
    with connect(cluster, name) as connection:
        connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
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


def derived_rows(connection: psycopg.Connection[Any]) -> dict[str, list[Any]]:
    query = f"SELECT t::text FROM {SCHEMA}.%s t ORDER BY 1"
    found = {table: connection.execute(query % table).fetchall() for table in DERIVED_TABLES}
    assert all(found.values()), "a comparison of nothing proves nothing"
    return found


def assert_nothing_in_quarantine(cluster: Cluster, database: str) -> None:
    assert not cluster.execute("SELECT * FROM sliding_sync.quarantine", database)


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
