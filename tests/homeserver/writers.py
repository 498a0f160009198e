"""Two writers side by side: the homeserver writes copies of the tables, the triggers write the real ones.

The homeserver does not qualify table names, so a schema in front of its search path is enough.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

REAL = "public"
COPY = "synapse_copy"
SEARCH_PATH = f"{COPY},{REAL}"

JOINED_ROOMS = "sliding_sync_joined_rooms"
SNAPSHOTS = "sliding_sync_membership_snapshots"
TABLES = (JOINED_ROOMS, SNAPSHOTS)

# A starting homeserver makes these in the first schema of its path if they are not there, and then takes the
# database for a new one. So that schema has them too.
_BOOKKEEPING = ("schema_version", "schema_compat_version", "applied_schema_deltas", "applied_module_schemas")


def make_copies(connection: psycopg.Connection[Any]) -> None:
    """Empty copies of both tables with the same constraints, owned by the caller."""
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(COPY)))
    # With an empty search path the definitions of the foreign keys come out qualified.
    connection.execute("SET search_path = ''")
    for table in TABLES:
        copy, real = sql.Identifier(COPY, table), sql.Identifier(REAL, table)
        connection.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(copy, real))
        keys = connection.execute(
            "SELECT conname, pg_catalog.pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint"
            " WHERE conrelid = %s::regclass AND contype = 'f'",
            (f"{REAL}.{table}",),
        ).fetchall()
        assert keys, f"{table} has lost its foreign keys"
        for name, definition in keys:
            connection.execute(
                sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(
                    copy, sql.Identifier(name), sql.SQL(definition)
                )
            )
    connection.execute("RESET search_path")
    for table in _BOOKKEEPING:
        copy, real = sql.Identifier(COPY, table), sql.Identifier(REAL, table)
        connection.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(copy, real))
        connection.execute(sql.SQL("INSERT INTO {} TABLE {}").format(copy, real))
