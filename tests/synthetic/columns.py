"""The columns that the extension reads and writes, and what a migration may do to one of them."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from synthetic.plain_homeserver import Column

Connection = psycopg.Connection[Any]

_READ = {
    "events": "event_id room_id type sender outlier instance_name stream_ordering topological_ordering"
    " state_key rejection_reason",
    "event_json": "event_id room_id json internal_metadata",
    "rejections": "event_id",
    "redactions": "event_id redacts recheck",
    "room_ban_redactions": "room_id user_id redacting_event_id redact_end_ordering",
    "rooms": "room_id",
    "room_memberships": "event_id room_id user_id sender membership forgotten",
    "current_state_events": "event_id room_id type state_key",
    "local_current_membership": "room_id user_id event_id membership",
}
_STATE = "room_type room_name is_encrypted tombstone_successor_room_id"
_WRITTEN = {
    "sliding_sync_joined_rooms": f"room_id event_stream_ordering bump_stamp {_STATE}",
    "sliding_sync_membership_snapshots": "room_id user_id sender membership_event_id membership forgotten"
    f" event_stream_ordering event_instance_name has_known_state {_STATE}",
}

READ: list[Column] = [(table, name) for table, names in _READ.items() for name in names.split()]
WRITTEN: list[Column] = [(table, name) for table, names in _WRITTEN.items() for name in names.split()]

# The type that a migration would choose, and back.
_OTHER_TYPE = {"text": "varchar", "bigint": "numeric", "integer": "bigint", "boolean": "integer"}


def rename(connection: Connection, column: Column, to: str) -> None:
    table, name = column
    execute(connection, "ALTER TABLE {} RENAME COLUMN {} TO {}", table, name, to)


def drop(connection: Connection, column: Column) -> None:
    """Without CASCADE: foreign keys of other tables have to go first, as without the extension."""
    table, name = column
    for key in _foreign_keys(connection, column, others_only=True):
        _drop_constraint(connection, *key)
    execute(connection, "ALTER TABLE {} DROP COLUMN {}", table, name)


def type_of(connection: Connection, column: Column) -> str:
    row = connection.execute(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attname = %s AND NOT attisdropped",
        column,
    ).fetchone()
    assert row is not None
    return str(row[0])


def alter_type(connection: Connection, column: Column, to: str | None = None) -> None:
    """To the other type of its kind, unless one is named."""
    table, name = column
    before = type_of(connection, column)
    to = to or _OTHER_TYPE[before]
    if "numeric" in (before, to):  # which no foreign key connects with bigint
        for key in _foreign_keys(connection, column):
            _drop_constraint(connection, *key)
    if "boolean" in (before, to):  # whose default has no cast
        execute(connection, "ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT", table, name)
    query = sql.SQL("ALTER TABLE {0} ALTER COLUMN {1} TYPE {2} USING {1}::{2}")
    connection.execute(query.format(sql.Identifier(table), sql.Identifier(name), sql.SQL(to)))


def add_column(connection: Connection, table: str) -> None:
    """And fills it, which rewrites every row."""
    execute(
        connection, "ALTER TABLE {} ADD COLUMN {} text NOT NULL DEFAULT md5(random()::text)", table, "added"
    )


def replace(connection: Connection, column: Column) -> None:
    """By a copy with another number: add, fill, drop, rename, as the swap of stream_ordering2 does."""
    table, name = column
    definitions = _definitions(connection, column)
    kind = sql.SQL(type_of(connection, column))
    query = sql.SQL("ALTER TABLE {} ADD COLUMN copy {}").format(sql.Identifier(table), kind)
    connection.execute(query)
    execute(connection, "UPDATE {} SET copy = {}", table, name)
    drop(connection, column)
    rename(connection, (table, "copy"), name)
    for definition in definitions:
        connection.execute(definition)


# -- what hangs on a column

_KEY_OF = (
    " (conrelid = %(table)s::regclass AND (SELECT attnum FROM pg_attribute WHERE attrelid = conrelid"
    " AND attname = %(name)s) = ANY (conkey)) "
)
_REFERS_TO = (
    " (confrelid = %(table)s::regclass AND (SELECT attnum FROM pg_attribute WHERE attrelid = confrelid"
    " AND attname = %(name)s) = ANY (confkey)) "
)


def _foreign_keys(connection: Connection, column: Column, others_only: bool = False) -> list[tuple[str, str]]:
    which = _REFERS_TO if others_only else f"({_KEY_OF} OR {_REFERS_TO})"
    return connection.execute(
        f"SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'f' AND {which}",
        {"table": column[0], "name": column[1]},
    ).fetchall()


def _definitions(connection: Connection, column: Column) -> list[str]:
    """Statements that make constraints and indexes of the column again, foreign keys last."""
    rows = connection.execute(
        "SELECT format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', conrelid::regclass, conname,"
        " pg_get_constraintdef(oid)) FROM pg_constraint"
        f" WHERE ({_KEY_OF} OR {_REFERS_TO}) AND contype IN ('p', 'u', 'f')"
        " UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index"
        " JOIN pg_attribute a ON attrelid = indrelid AND attnum = ANY (indkey)"
        " WHERE indrelid = %(table)s::regclass AND attname = %(name)s AND NOT indisprimary"
        " AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype = 'u')",
        {"table": column[0], "name": column[1]},
    ).fetchall()
    return sorted((text for (text,) in rows), key=lambda text: "FOREIGN KEY" in text)


def _drop_constraint(connection: Connection, table: str, name: str) -> None:
    query = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}")
    connection.execute(query.format(sql.SQL(table), sql.Identifier(name)))


def an_index(connection: Connection, table: str) -> str:
    row = connection.execute(
        "SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid"
        " WHERE indrelid = %s::regclass AND indpred IS NULL AND indisunique",
        (table,),
    ).fetchone()
    assert row is not None
    return str(row[0])


def execute(connection: Connection, query: str, *names: str) -> None:
    """A statement with identifiers in the places of {}."""
    identifiers = [sql.Identifier(name) for name in names]
    connection.execute(sql.SQL(query).format(*identifiers))
