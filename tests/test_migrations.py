"""A homeserver's migration of any column, in one transaction with its writes: neither is in the other's way.

What must hold, whatever was done to a column that we read or write: the migration commits, the transactions
after it commit, and a row that exists is right. When the column is back, the next change makes everything
right again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import sql

from harness.cluster import Cluster
from oracle import Watcher, check
from synthetic import columns
from synthetic.columns import READ, WRITTEN
from synthetic.database import OWNER, SCHEMA, connect, copied, create_homeserver
from synthetic.plain_homeserver import AFTER, BEFORE, BERT, DORA, LATER, Column, PlainHomeserver

Connection = psycopg.Connection[Any]
Key = tuple[str, ...]
Rows = dict[Key, dict[str, str | None]]

COLUMNS = [pytest.param(column, id=".".join(column)) for column in READ + WRITTEN]
TABLES = list(dict.fromkeys(table for table, _ in READ))
WITH_ROOM = {table for table, column in READ if column == "room_id"}
_KEY = {
    "sliding_sync_joined_rooms": ("room_id",),
    "sliding_sync_membership_snapshots": ("room_id", "user_id"),
}


@dataclass
class Past:
    """A homeserver with a past, in a database to clone; and how its life goes on without a migration."""

    database: str
    server: PlainHomeserver
    rows: list[Rows]  # after the migration's own transaction, after each step of AFTER, and after LATER


def run(server: PlainHomeserver, *steps: Callable[[PlainHomeserver], object]) -> None:
    """One transaction at the level of a homeserver's sessions."""
    with server.connection.transaction():
        server.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for step in steps:
            step(server)


def go_on(server: PlainHomeserver) -> Iterator[tuple[str, Rows]]:
    for name, step in AFTER.items():
        run(server, step)
        yield name, derived_rows(server)


def message(server: PlainHomeserver) -> object:
    return server.message()


@pytest.fixture(scope="module")
def past(cluster: Cluster) -> Past:
    database = create_homeserver(cluster, "migrations")
    with connect(cluster, database) as connection:
        server = PlainHomeserver(connection, SCHEMA)
        # It names columns itself: a migration would have to change it too.
        for table in ("room_memberships", "local_current_membership", "current_state_events"):
            connection.execute(f"DROP TRIGGER check_event_stream_ordering ON {table}")
        # Their conditions have no meaning for a column of another type.
        connection.execute("DROP INDEX event_contains_url_index, events_jump_to_date_idx")
        for step in BEFORE:
            run(server, step)
    cluster.create_database("unmigrated", template=database)
    with connect(cluster, "unmigrated") as connection:
        twin = _twin(server, connection)
        run(twin, message, message)
        rows = [derived_rows(twin)]
        rows += [after for _, after in go_on(twin)]
        run(twin, *LATER)
        rows.append(derived_rows(twin))
        assert not check(connection, SCHEMA)
    return Past(database, server, rows)


def _twin(server: PlainHomeserver, connection: Connection) -> PlainHomeserver:
    return PlainHomeserver(connection, SCHEMA, count=server.count, current=dict(server.current))


@pytest.fixture
def server(cluster: Cluster, past: Past) -> Iterator[PlainHomeserver]:
    with copied(cluster, past.database, "migration", OWNER) as name, connect(cluster, name) as connection:
        yield _twin(past.server, connection)


def derived_rows(server: PlainHomeserver) -> Rows:
    """Both tables as text, by key, with the columns that are there."""
    rows: Rows = {}
    for table, key in _KEY.items():
        names = {name: now for of, name in WRITTEN if of == table and (now := server.column(table, name))}
        if not all(name in names for name in key):
            continue  # nobody can tell whose row is whose
        query = sql.SQL("SELECT {} FROM {}").format(
            sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(now)) for now in names.values()),
            server.table(table),
        )
        for values in server.connection.execute(query):
            row = {name: _as_boolean(name, value) for name, value in zip(names, values, strict=True)}
            rows[(table, *(str(row[name]) for name in key))] = row
    return rows


def _as_boolean(name: str, value: str | None) -> str | None:
    is_boolean = name in ("is_encrypted", "has_known_state")
    return {"0": "false", "1": "true"}.get(value or "", value) if is_boolean else value


def assert_absent_or_right(rows: Rows, expected: Rows, when: str) -> None:
    for key, row in rows.items():
        assert key in expected, f"{when}: {key} should not be there: {row}"
        wrong = {
            name: f"{value} instead of {expected[key][name]}"
            for name, value in row.items()
            if value != expected[key][name]
        }
        assert not wrong, f"{when}: {key} {wrong}"


def assert_all_right_after_the_next_change(server: PlainHomeserver, past: Past) -> None:
    run(server, *LATER)
    assert derived_rows(server) == past.rows[-1]


# -- one column, whatever it is


@pytest.mark.parametrize("column", COLUMNS)
def test_a_column_is_renamed_and_comes_back(server: PlainHomeserver, past: Past, column: Column) -> None:
    def migrate(server: PlainHomeserver) -> None:
        columns.rename(server.connection, column, "renamed")
        server.names[column] = "renamed"

    run(server, message, migrate, message)
    assert_absent_or_right(derived_rows(server), past.rows[0], "migration")
    for (name, rows), expected in zip(go_on(server), past.rows[1:], strict=False):
        assert_absent_or_right(rows, expected, name)

    def come_back(server: PlainHomeserver) -> None:
        columns.rename(server.connection, (column[0], "renamed"), column[1])
        server.names.clear()

    run(server, come_back)
    assert_all_right_after_the_next_change(server, past)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_column_is_dropped(server: PlainHomeserver, past: Past, column: Column) -> None:
    def migrate(server: PlainHomeserver) -> None:
        columns.drop(server.connection, column)
        server.names[column] = None

    run(server, message, migrate, message)
    assert_absent_or_right(derived_rows(server), past.rows[0], "migration")
    for (name, rows), expected in zip(go_on(server), past.rows[1:], strict=False):
        assert_absent_or_right(rows, expected, name)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_column_gets_another_type_and_comes_back(
    server: PlainHomeserver, past: Past, column: Column
) -> None:
    before = columns.type_of(server.connection, column)
    run(server, message, lambda server: columns.alter_type(server.connection, column), message)
    assert_absent_or_right(derived_rows(server), past.rows[0], "migration")
    for (name, rows), expected in zip(go_on(server), past.rows[1:], strict=False):
        assert_absent_or_right(rows, expected, name)
    run(server, lambda server: columns.alter_type(server.connection, column, before))
    assert_all_right_after_the_next_change(server, past)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_column_is_replaced_by_a_copy(server: PlainHomeserver, past: Past, column: Column) -> None:
    """As the swap of `events.stream_ordering2` does: the column has another number, nothing else changes."""
    run(server, message, lambda server: columns.replace(server.connection, column), message)
    assert derived_rows(server) == past.rows[0]
    for (name, rows), expected in zip(go_on(server), past.rows[1:], strict=False):
        assert rows == expected, name
    assert_all_right_after_the_next_change(server, past)


@pytest.mark.parametrize("table", [*TABLES, *_KEY])
def test_a_column_is_added(server: PlainHomeserver, past: Past, table: str) -> None:
    run(server, message, lambda server: columns.add_column(server.connection, table), message)
    assert derived_rows(server) == past.rows[0]
    for (name, rows), expected in zip(go_on(server), past.rows[1:], strict=False):
        assert rows == expected, name


def test_the_swap_of_stream_ordering(server: PlainHomeserver, past: Past) -> None:
    """As homeservers did it: over several transactions, with the foreign keys pointing to the copy."""
    connection = server.connection
    referring = ("room_memberships", "local_current_membership", "current_state_events", *_KEY)

    def copy(server: PlainHomeserver) -> None:
        columns.execute(connection, "UPDATE events SET stream_ordering2 = stream_ordering")

    def swap(server: PlainHomeserver) -> None:
        columns.drop(connection, ("events", "stream_ordering"))
        columns.rename(connection, ("events", "stream_ordering2"), "stream_ordering")
        for table in referring:
            columns.execute(
                connection,
                "ALTER TABLE {} ADD FOREIGN KEY (event_stream_ordering) REFERENCES events (stream_ordering)",
                table,
            )

    connection.execute("ALTER TABLE events ADD COLUMN stream_ordering2 bigint")
    run(server, message)
    run(server, copy)
    connection.execute("CREATE UNIQUE INDEX events_stream_ordering2 ON events (stream_ordering2)")
    run(server, message, copy, swap)
    assert derived_rows(server) == past.rows[0]
    for (name, rows), expected in zip(go_on(server), past.rows[1:], strict=False):
        assert rows == expected, name
    assert_all_right_after_the_next_change(server, past)


# -- whole tables


def message_and_changes(server: PlainHomeserver) -> None:
    server.message()
    server.rename("Coffee")
    server.member(DORA, "join")
    server.member(BERT, "leave")


@pytest.mark.parametrize("table", TABLES)
def test_ddl_in_the_transaction_of_the_writes(server: PlainHomeserver, table: str) -> None:
    """No trigger of ours is pending, which would refuse all of this."""

    def migrate(server: PlainHomeserver) -> None:
        for statement in (
            "CREATE INDEX another_index ON {} (room_id)" if table in WITH_ROOM else "REINDEX TABLE {}",
            "ALTER TABLE {} ADD COLUMN one integer DEFAULT 1, ADD COLUMN two text",
            "ALTER TABLE {} ALTER COLUMN one TYPE bigint, DROP COLUMN two",
            "CLUSTER {} USING {}",
            "ALTER TABLE {} SET (fillfactor = 90)",
            "ALTER TABLE {} DISABLE TRIGGER USER",
            "ALTER TABLE {} ENABLE TRIGGER USER",
        ):
            names = [table, columns.an_index(server.connection, table)] if "CLUSTER" in statement else [table]
            columns.execute(server.connection, statement, *names)

    watcher = Watcher(server.connection, SCHEMA)
    run(server, message_and_changes, migrate, message)
    assert not watcher.check_step()


@pytest.mark.parametrize("table", TABLES)
def test_truncate_in_the_transaction_of_the_writes(server: PlainHomeserver, table: str) -> None:
    def migrate(server: PlainHomeserver) -> None:
        columns.execute(server.connection, "TRUNCATE {} CASCADE", table)

    watcher = Watcher(server.connection, SCHEMA)
    run(server, message, lambda server: server.rename("Coffee"), migrate)
    assert not watcher.check_step()


@pytest.mark.parametrize("table", [*TABLES, *_KEY])
def test_a_table_is_dropped_in_the_transaction_of_the_writes(server: PlainHomeserver, table: str) -> None:
    def migrate(server: PlainHomeserver) -> None:
        columns.execute(server.connection, "DROP TABLE {} CASCADE", table)

    run(server, message_and_changes, migrate)


def test_the_schema_is_dropped_in_the_transaction_of_the_writes(server: PlainHomeserver) -> None:
    run(
        server,
        message_and_changes,
        lambda server: columns.execute(server.connection, "DROP SCHEMA {} CASCADE", SCHEMA),
    )
    assert not server.connection.execute("SELECT FROM pg_trigger WHERE tgname = 'A_sliding_sync'").fetchall()


@pytest.mark.parametrize("together", [False, True], ids=["between the writes", "among the writes"])
def test_the_schema_is_renamed(server: PlainHomeserver, past: Past, together: bool) -> None:
    def migrate(server: PlainHomeserver) -> None:
        columns.execute(server.connection, "ALTER SCHEMA {} RENAME TO {}", SCHEMA, "renamed")
        server.schema = "renamed"

    if together:
        run(server, message, migrate, message)
    else:
        run(server, message)
        run(server, migrate)
        run(server, message)
    assert derived_rows(server) == past.rows[0]
    for (name, rows), expected in zip(go_on(server), past.rows[1:], strict=False):
        assert rows == expected, name


@pytest.mark.parametrize("together", [False, True], ids=["between the writes", "among the writes"])
def test_all_tables_move_to_another_schema(server: PlainHomeserver, past: Past, together: bool) -> None:
    def migrate(server: PlainHomeserver) -> None:
        server.connection.execute("CREATE SCHEMA elsewhere")
        for table in (*TABLES, *_KEY, "sliding_sync_joined_rooms_to_recalculate"):
            columns.execute(server.connection, "ALTER TABLE {} SET SCHEMA elsewhere", table)
        server.schema = "elsewhere"

    if together:
        run(server, message, migrate, message)
        assert_absent_or_right(derived_rows(server), past.rows[0], "migration")
    else:
        run(server, message)
        run(server, migrate)
        run(server, message)
        assert derived_rows(server) == past.rows[0]
    for (name, rows), expected in zip(go_on(server), past.rows[1:], strict=False):
        if together:
            assert_absent_or_right(rows, expected, name)
        else:
            assert rows == expected, name
    assert_all_right_after_the_next_change(server, past)


@pytest.mark.parametrize("table", [*TABLES, *_KEY])
def test_one_table_moves_to_another_schema_and_back(server: PlainHomeserver, past: Past, table: str) -> None:
    """Two halves of a homeserver are none: nothing is promised of its rows, but it is not hindered."""

    def move(server: PlainHomeserver) -> None:
        server.connection.execute("CREATE SCHEMA elsewhere")
        columns.execute(server.connection, "ALTER TABLE {} SET SCHEMA elsewhere", table)
        server.moved[table] = "elsewhere"

    def move_back(server: PlainHomeserver) -> None:
        columns.execute(server.connection, "ALTER TABLE elsewhere.{} SET SCHEMA {}", table, SCHEMA)
        server.moved.clear()

    run(server, message)
    run(server, move)
    run(server, message)
    run_all = [name for name, _ in go_on(server)]
    assert run_all == list(AFTER)
    run(server, move_back)
    assert_all_right_after_the_next_change(server, past)
