"""A played homeserver with the tables that room lists read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from harness.cluster import Cluster
from synthetic.database import OWNER, SCHEMA, connect, create_homeserver

Connection = psycopg.Connection[Any]

LIST_SCHEMA = Path(__file__).parents[1] / "list_schema.sql"


def create_template(cluster: Cluster, name: str) -> str:
    create_homeserver(cluster, name)
    with cluster.connect(name, OWNER) as connection:
        connection.execute(f"SET search_path = {SCHEMA}")
        connection.execute(LIST_SCHEMA.read_text())  # type: ignore[call-overload]
    return name


@contextmanager
def copy_of(cluster: Cluster, template: str) -> Iterator[Connection]:
    """A session of the tables' owner in a copy of its own."""
    name = cluster.create_database(f"{template}_copy", OWNER, template)
    try:
        with connect(cluster, name) as connection:
            yield connection
    finally:
        cluster.drop_database(name)


def grant_reading(cluster: Cluster, database: str, role: str) -> None:
    """What a program needs that only shows lists, and explains them."""
    cluster.create_role(role)
    cluster.execute(f"GRANT USAGE ON SCHEMA {SCHEMA} TO {role}", database)  # type: ignore[arg-type]
    cluster.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO {role}", database)  # type: ignore[arg-type]
    cluster.execute(
        "GRANT EXECUTE ON FUNCTION sliding_sync.compare_rooms(text[], text), sliding_sync.verify(text, text, text,"
        f" text, text, text, double precision, boolean) TO {role}",  # type: ignore[arg-type]
        database,
    )


def answer_by_queries(cluster: Cluster, database: str, role: str) -> None:
    """A role whose lists are not read through the indexes: row security stands on a table, although it hides nothing."""
    grant_reading(cluster, database, role)
    table = f"{SCHEMA}.sliding_sync_membership_snapshots"
    cluster.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY", database)  # type: ignore[arg-type]
    cluster.execute(f"CREATE POLICY all_rows ON {table} TO {role} USING (true)", database)  # type: ignore[arg-type]
