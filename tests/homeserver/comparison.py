"""Where the triggers' rows and the homeserver's own rows differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from homeserver import writers

ROW = "(row)"  # in place of a column: one side has no such row
PRESENT, ABSENT = "present", "absent"
SNAPSHOT, JOINED = writers.SNAPSHOTS, writers.JOINED_ROOMS

_KEYS = {JOINED: ("room_id",), SNAPSHOT: ("room_id", "user_id")}

Row = dict[str, Any]
Rows = dict[tuple[str, ...], Row]
Tables = Mapping[str, Rows]


@dataclass(frozen=True)
class Difference:
    table: str
    room: str  # the scenario's name of the room, its id when it has none
    user: str | None
    column: str
    ours: Any
    synapse: Any

    def __str__(self) -> str:
        who = f"{self.room}, {self.user}" if self.user else self.room
        return f"{self.table} [{who}] {self.column}: ours {self.ours!r}, Synapse's {self.synapse!r}"


def read_rows(connection: psycopg.Connection[Any], schema: str, table: str) -> Rows:
    cursor = connection.cursor(row_factory=dict_row)
    rows = cursor.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, table))).fetchall()
    return {tuple(row[column] for column in _KEYS[table]): row for row in rows}


def read_tables(connection: psycopg.Connection[Any], schema: str) -> Tables:
    return {table: read_rows(connection, schema, table) for table in writers.TABLES}


def differences(connection: psycopg.Connection[Any], names: Mapping[str, str]) -> set[Difference]:
    """All of them, from one snapshot of the database. `names` maps ids to what the scenario calls them."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        ours = read_tables(connection, writers.REAL)
        theirs = read_tables(connection, writers.COPY)
    return compare(ours, theirs, names)


def compare(ours: Tables, theirs: Tables, names: Mapping[str, str]) -> set[Difference]:
    found: set[Difference] = set()
    for table in writers.TABLES:
        for key in ours[table].keys() | theirs[table].keys():
            room, user = (names.get(part, part) for part in (*key, "")[:2])
            for column, values in _differing(ours[table].get(key), theirs[table].get(key)):
                found.add(Difference(table, room, user or None, column, *values))
    return found


def _differing(ours: Row | None, theirs: Row | None) -> list[tuple[str, tuple[Any, Any]]]:
    if ours is None or theirs is None:
        return [(ROW, (PRESENT if ours else ABSENT, PRESENT if theirs else ABSENT))]
    return [(column, (ours[column], theirs[column])) for column in ours if ours[column] != theirs[column]]


def is_empty(connection: psycopg.Connection[Any], schema: str) -> bool:
    """A writer that wrote nothing would make every comparison pass or fail for the wrong reason."""
    return not all(read_rows(connection, schema, table) for table in writers.TABLES)
