"""A homeserver newer than any that the extension knows: it is told in so many words, and no row is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from oracle import check
from oracle.finding import ROW
from synthetic import columns
from synthetic.columns import READ, WRITTEN
from synthetic.database import (
    ANNA,
    DERIVED_TABLES,
    OWNER,
    ROOM,
    SCHEMA,
    connect,
    copied,
    create_homeserver,
    make_room,
)
from synthetic.plain_homeserver import Column

Connection = psycopg.Connection[Any]

# What reads every row, or one.
CALLS = (
    "SELECT * FROM sliding_sync.catch_up()",
    "CALL sliding_sync.backfill()",
    "SELECT * FROM sliding_sync.verify()",
    "SELECT * FROM sliding_sync.repair()",
    "SELECT sliding_sync.attach()",
)
# Of an older homeserver they are missing, and read where they are there.
OPTIONAL = [("redactions", "recheck")]
NEEDED = [column for column in READ + WRITTEN if column not in OPTIONAL]


@pytest.fixture(scope="module")
def known(cluster: Cluster) -> str:
    """To be copied: a homeserver with rooms, right and ready."""
    name = make_room(cluster, create_homeserver(cluster, "known homeserver"))
    cluster.execute("CALL sliding_sync.backfill()", name)
    return name


@pytest.fixture
def connection(cluster: Cluster, known: str) -> Iterator[Connection]:
    with copied(cluster, known, "newer", OWNER) as name, connect(cluster, name, SUPERUSER) as connection:
        assert ready(connection) == (True, [])
        yield connection


def ready(connection: Connection) -> tuple[bool, list[str]]:
    row = connection.execute("SELECT * FROM sliding_sync.ready()").fetchone()
    assert row
    return row


def findings(connection: Connection) -> dict[str, tuple[str, str]]:
    rows = connection.execute("SELECT code, detail, remedy FROM sliding_sync.health").fetchall()
    return {code: (detail, remedy) for code, detail, remedy in rows}


def assert_is_told(connection: Connection, column: Column, what: str) -> None:
    """By ready(), by health with the column's name, and by each call, none of which may say that all is done."""
    table, name = column
    before = ready(connection)
    assert before == (False, ["column_missing", "bypassed_writes"])
    detail, remedy = findings(connection)["column_missing"]
    assert f"Table {table}: {name} {what}" in detail and "86 to 94" in detail
    assert "Install a version" in remedy and f"sliding_sync.detach('{SCHEMA}')" in remedy
    for call in CALLS:
        with pytest.raises(psycopg.errors.InvalidObjectDefinition) as failure:
            connection.execute(call)
        said = failure.value.diag
        assert said.message_primary and f'"{SCHEMA}.{table}" does not have the shape' in said.message_primary
        assert said.message_detail and f'"{name}"' in said.message_detail
        assert said.message_hint and "86 to 94" in said.message_hint
    assert ready(connection) == before


def assert_all_is_well_again(connection: Connection) -> None:
    assert ready(connection) == (False, ["bypassed_writes"])
    connection.execute("SELECT sliding_sync.catch_up()")
    assert ready(connection) == (True, [])
    assert not check(connection, SCHEMA)


@pytest.mark.parametrize("column", NEEDED, ids=".".join)
def test_a_column_has_another_name(connection: Connection, column: Column) -> None:
    columns.rename(connection, column, "renamed")
    assert_is_told(connection, column, "is missing")
    columns.rename(connection, (column[0], "renamed"), column[1])
    assert_all_is_well_again(connection)


@pytest.mark.parametrize("column", WRITTEN, ids=".".join)
def test_a_column_has_another_type(connection: Connection, column: Column) -> None:
    before = columns.type_of(connection, column)
    # varchar is read and written like text
    columns.alter_type(connection, column, "char(200)" if before == "text" else None)
    assert_is_told(connection, column, f"has type {columns.type_of(connection, column)} instead of {before}")
    columns.alter_type(connection, column, before)
    assert_all_is_well_again(connection)


@pytest.mark.parametrize("column", OPTIONAL, ids=".".join)
def test_a_column_that_older_homeservers_lack(connection: Connection, column: Column) -> None:
    columns.drop(connection, column)
    assert_all_is_well_again(connection)


@pytest.mark.parametrize("table", DERIVED_TABLES)
def test_a_derived_table_has_a_column_that_must_be_filled(
    cluster: Cluster, connection: Connection, table: str
) -> None:
    """Rows that are there stay right, new ones cannot be made: they are absent, and the reason names the column."""
    connection.execute(f"ALTER TABLE {table} ADD COLUMN more text NOT NULL DEFAULT ''")
    connection.execute(f"ALTER TABLE {table} ALTER COLUMN more DROP DEFAULT")
    with connect(cluster, connection.info.dbname) as homeserver:
        homeserver.execute("SELECT rename(%s, %s, 'Coffee')", (ROOM, ANNA))
        homeserver.execute("SELECT create_room('!new:hs.test', %s, name => 'New')", (ANNA,))
    wrong = check(connection, SCHEMA)
    assert {(found.table, found.key[0], found.column, found.actual) for found in wrong} == {
        (table, "!new:hs.test", ROW, "absent")
    }
    assert ready(connection) == (False, ["bypassed_writes", "quarantine"])
    assert f'null value in column "more" of relation "{table}"' in findings(connection)["quarantine"][0]
    connection.execute("SELECT sliding_sync.catch_up()")
    assert ready(connection) == (False, ["quarantine"])

    connection.execute(f"ALTER TABLE {table} ALTER COLUMN more SET DEFAULT ''")
    connection.execute("SELECT sliding_sync.repair_quarantine()")
    assert_all_is_well_again(connection)
