"""Plans the world in scratch tables, writes the homeserver's tables from them, puts indexes and triggers back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

SCRATCH = "population"
_HERE = Path(__file__).parent
_TABLES = (
    "rooms events event_json state_events room_memberships local_current_membership current_state_events"
    " redactions rejections event_to_state_groups state_groups state_groups_state state_group_edges"
    " event_forward_extremities event_edges room_depth devices"
    " sliding_sync_joined_rooms sliding_sync_membership_snapshots"
).split()

Connection = psycopg.Connection[Any]
Report = Callable[[str, int], None]


@dataclass(frozen=True)
class Shape:
    """How much of everything there is. At scale 1: 20,000 rooms, 202,000 local memberships, 1.76 million events."""

    scale: float
    seed: int = 1
    # Events of versions 1 and 2 carry their ids. Of all others a homeserver makes the id out of the event's hash, and would
    # not believe ours: version 2 where a real homeserver shall read them.
    room_version: str = "10"
    talk: float = 1.0  # share of the messages: memberships alone fill disks more slowly

    def numbers(self) -> dict[str, int]:
        rooms = max(40, round(20_000 * self.scale))
        far = rooms // 10
        large = min(50_000, max(500, round(50_000 * self.scale)))
        return {
            "seed": self.seed,
            "talk_permille": round(1000 * self.talk),
            "our_rooms": rooms - far,
            "far_rooms": far,
            "large_members": large,
            # a prime step visits every user once; no multiple of it may be their number
            "local_users": max(1000, round(10_000 * self.scale)) // 10 * 10 + 1,
            "remote_users": max(3000, 3 * large, round(200_000 * self.scale)) // 10 * 10 + 1,
        }


def populate(
    connection: Connection,
    schema: str,
    shape: Shape,
    derived: bool = False,
    report: Report = lambda step, rows: None,
) -> None:
    """Fills the schema's empty tables; with `derived` the room list tables too, as they should be."""
    connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
    if connection.execute("SELECT EXISTS (SELECT FROM events)").fetchone() == (True,):
        raise ValueError("the homeserver has events already: this fills empty tables only")
    for setting in ("work_mem = '256MB'", "maintenance_work_mem = '512MB'", "synchronous_commit = off", "jit = off"):
        connection.execute(f"SET {setting}")
    connection.execute(f"DROP SCHEMA IF EXISTS {SCRATCH} CASCADE")
    connection.execute(f"CREATE SCHEMA {SCRATCH}")
    connection.execute(sql.SQL("SET search_path = {}, {}").format(sql.Identifier(SCRATCH), sql.Identifier(schema)))
    for name, value in shape.numbers().items():
        connection.execute(f"CREATE FUNCTION {name}() RETURNS bigint IMMUTABLE PARALLEL SAFE RETURN {value}::bigint")
    version = sql.Literal(shape.room_version).as_string(connection)
    connection.execute(f"CREATE FUNCTION version() RETURNS text IMMUTABLE PARALLEL SAFE RETURN {version}::text")

    _run(connection, schema, "plan.sql", report)
    with _bare_tables(connection, schema, report):
        _run(connection, schema, "tables.sql", report)
        if derived:
            _run(connection, schema, "derived.sql", report)
    connection.execute(f"DROP SCHEMA {SCRATCH} CASCADE")
    connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
    connection.execute("VACUUM ANALYZE")
    report("vacuum and analyze", 0)
    for setting in ("work_mem", "maintenance_work_mem", "synchronous_commit", "jit", "search_path"):
        connection.execute(f"RESET {setting}")


def _run(connection: Connection, schema: str, file: str, report: Report) -> None:
    """The statements of a file, each below a line with its title. Those for absent tables are left out."""
    text = (_HERE / file).read_text()
    for title, statements in re.findall(r"^-- \* (.+)\n((?:(?!-- \* ).*\n)*)", text, re.M):
        target = re.search(r"^INSERT INTO (\w+)", statements, re.M)
        if target and not _exists(connection, schema, target[1]):
            continue
        rows = 0
        for statement in statements.split(";\n"):
            if statement.strip():
                rows = connection.execute(statement).rowcount  # type: ignore[arg-type]
        report(title, max(rows, 0))


def _exists(connection: Connection, schema: str, table: str) -> bool:
    name = sql.Identifier(schema, table).as_string(connection)
    return connection.execute("SELECT to_regclass(%s) IS NOT NULL", [name]).fetchone() == (True,)


# What hangs on the tables, in the order in which it has to be made again.
_HANGING = """
    SELECT conrelid::regclass::text, contype = 'f', 'CONSTRAINT ' || quote_ident(conname),
           'ADD CONSTRAINT ' || quote_ident(conname) || ' ' || pg_get_constraintdef(oid)
    FROM pg_constraint WHERE contype = ANY (%(kinds)s)
        AND (conrelid = ANY (%(tables)s::regclass[]) OR confrelid = ANY (%(tables)s::regclass[]))
"""
_INDEXES = """
    SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
    WHERE indrelid = ANY (%(tables)s::regclass[])
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
"""


@contextmanager
def _bare_tables(connection: Connection, schema: str, report: Report) -> Iterator[None]:
    """The tables without keys, indexes and triggers, which come back at the end."""
    tables = [
        sql.Identifier(schema, table).as_string(connection) for table in _TABLES if _exists(connection, schema, table)
    ]
    foreign = connection.execute(_HANGING, {"tables": tables, "kinds": ["f"]}).fetchall()
    unique = connection.execute(_HANGING, {"tables": tables, "kinds": ["p", "u"]}).fetchall()
    indexes = connection.execute(_INDEXES, {"tables": tables}).fetchall()
    for table, _, name, _ in [*foreign, *unique]:
        connection.execute(f"ALTER TABLE {table} DROP {name}")
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    for table in tables:
        connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")

    yield

    for table, _, name, definition in unique:
        connection.execute(f"ALTER TABLE {table} {definition}")
    report("unique keys", 0)
    for _, definition in indexes:
        connection.execute(definition)
    report("indexes", 0)
    for table, _, name, definition in foreign:
        connection.execute(f"ALTER TABLE {table} {definition}")
    report("foreign keys", 0)
    for table in tables:
        connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
