"""Anybody may name our trigger functions in CREATE TRIGGER: on any kind of relation, at any level and timing, for any event.
What is not of the form that attach() makes is refused, and no form brings a server down."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from harness.cluster import SUPERUSER, Cluster
from oracle import Watcher
from synthetic.database import BASE_TABLES, SCHEMA, connect, create_homeserver

Connection = psycopg.Connection[Any]

PLAIN = "somebody"
WRONG_FORM = "39P01"

# every column that is read of any of the nine tables
COLUMNS = {
    "event_id": "text",
    "room_id": "text",
    "type": "text",
    "sender": "text",
    "outlier": "boolean",
    "instance_name": "text",
    "stream_ordering": "bigint",
    "state_key": "text",
    "rejection_reason": "text",
    "json": "text",
    "internal_metadata": "text",
    "redacts": "text",
    "recheck": "boolean",
    "user_id": "text",
    "forgotten": "integer",
    "membership": "text",
}
VALUES = "('$e', '!r:x', 'm.room.create', '@a:x', false, 'w', 1, '', NULL, '', '', '$o', true, '@a:x', 1, 'join')"
DEFINITION = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())

KINDS = {
    "permanent": "CREATE TABLE {table} ({columns})",
    "unlogged": "CREATE UNLOGGED TABLE {table} ({columns})",
    "temporary": "CREATE TEMP TABLE {name} ({columns})",
    "partitioned": "CREATE TABLE {table} ({columns}) PARTITION BY LIST (room_id); "
    "CREATE TABLE {table}_default PARTITION OF {table} DEFAULT",
    "partition": "CREATE TABLE {table}_parent ({columns}) PARTITION BY LIST (room_id); "
    "CREATE TABLE {table} PARTITION OF {table}_parent DEFAULT",
    "child": "CREATE TABLE {table}_parent ({columns}); CREATE TABLE {table} () INHERITS ({table}_parent)",
    "foreign": "CREATE TABLE {table}_far ({columns}); "
    "CREATE FOREIGN TABLE {table} ({columns}) SERVER here OPTIONS (table_name '{name}_far')",
    # with a trigger of its own: without one the server writes to the table behind, and fires nothing of the view
    "view": "CREATE TABLE {table}_behind ({columns}); CREATE VIEW {table} AS SELECT * FROM {table}_behind; "
    "CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF TG_OP = 'INSERT' THEN "
    "INSERT INTO {table}_behind SELECT NEW.*; END IF; RETURN coalesce(NEW, OLD); END$$; "
    "CREATE TRIGGER pass INSTEAD OF INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION pass()",
}
LEVELS, TIMINGS = ("ROW", "STATEMENT"), ("BEFORE", "AFTER", "INSTEAD OF")
EVENTS = {
    "INSERT": "INSERT INTO {} VALUES " + VALUES,
    "UPDATE": "UPDATE {} SET room_id = '!s:x', event_id = '$f', membership = 'leave', forgotten = 0",
    "DELETE": "DELETE FROM {}",
    "TRUNCATE": "TRUNCATE {}",
}


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[str]:
    """A homeserver, and a schema of a role that has no right on it."""
    name = create_homeserver(cluster, "triggers", owner=SUPERUSER)
    cluster.create_role(PLAIN)
    with cluster.connect(name) as connection:
        connection.execute(f"GRANT TEMPORARY ON DATABASE triggers TO {PLAIN}")
        connection.execute(f"CREATE SCHEMA own AUTHORIZATION {PLAIN}")
        # not in a wheel's server: scripts/matrix leaves the tests of foreign tables out there
        if connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'postgres_fdw'").fetchone():
            make_foreign_server(cluster, connection, name)
    yield name
    cluster.drop_database(name)


def make_foreign_server(cluster: Cluster, connection: Connection, database: str) -> None:
    """The database itself, from outside."""
    connection.execute("CREATE EXTENSION postgres_fdw")
    connection.execute(
        sql.SQL(
            "CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port {}, dbname {})"
        ).format(str(cluster.port), database)
    )
    connection.execute(f"GRANT USAGE ON FOREIGN SERVER here TO {PLAIN}")
    connection.execute(
        f"CREATE USER MAPPING FOR {PLAIN} SERVER here OPTIONS (user '{PLAIN}', password_required 'false')"
    )
    connection.execute("ALTER SERVER here OPTIONS (ADD truncatable 'true')")


@pytest.fixture
def session(cluster: Cluster, database: str) -> Iterator[Connection]:
    """A plain role's session, whose backend must be the same at its end."""
    with cluster.connect(database, PLAIN) as connection:
        connection.execute("SET search_path = own; SET client_min_messages = error")
        backend = connection.info.backend_pid
        yield connection
        assert connection.execute("SELECT pg_backend_pid()").fetchone() == (backend,)
    with cluster.connect(database) as connection:
        connection.execute(f"DROP SCHEMA own CASCADE; CREATE SCHEMA own AUTHORIZATION {PLAIN}")


def sqlstate(connection: Connection, *statements: str) -> str | None:
    """Of the error that a transaction ends with; None when it commits."""
    connection.execute("BEGIN")
    try:
        for statement in statements:
            connection.execute(statement)
        connection.execute("COMMIT")
    except psycopg.Error as error:
        connection.execute("ROLLBACK")
        return error.sqlstate
    return None


def is_of_our_form(level: str, timing: str, event: str) -> bool:
    return timing == "AFTER" and (level == "STATEMENT") == (event == "TRUNCATE")


def make_tables(connection: Connection, kind: str, table: str) -> None:
    """All of a homeserver's tables, one of them of another kind, so that the table is taken for a homeserver's."""
    schema = "pg_temp" if kind == "temporary" else "own"
    for name in BASE_TABLES:
        if name != table:
            connection.execute(f"CREATE TABLE {schema}.{name} ({DEFINITION})")
    connection.execute(f"CREATE TABLE {schema}.sliding_sync_joined_rooms (room_id text PRIMARY KEY)")
    connection.execute(KINDS[kind].format(table=f"own.{table}", name=table, columns=DEFINITION))


@pytest.mark.parametrize("table", BASE_TABLES)
@pytest.mark.parametrize("kind", KINDS)
def test_any_form_on_any_relation(session: Connection, kind: str, table: str) -> None:
    make_tables(session, kind, table)
    fired = 0
    for level, timing, event in itertools.product(LEVELS, TIMINGS, EVENTS):
        create = f"CREATE TRIGGER t {timing} {event} ON {table} FOR EACH {level} EXECUTE FUNCTION sliding_sync.collect()"
        refused = sqlstate(session, create)
        if refused is not None:  # by the server
            assert refused in ("0A000", "42809", "42601"), (create, refused)
            continue
        if event in ("UPDATE", "DELETE"):
            assert sqlstate(session, EVENTS["INSERT"].format(table)) is None
        change = EVENTS[event].format(table)
        told = sqlstate(session, change)
        fired += 1
        if kind == "view" and event == "TRUNCATE":
            assert told == "42809", (create, told)  # there is nothing to truncate
        elif is_of_our_form(level, timing, event):
            assert told is None, (create, told)
        else:
            assert told == WRONG_FORM, (create, told)
        session.execute(f"DROP TRIGGER t ON {table}")
        assert sqlstate(session, change) is None or event == "TRUNCATE", create
    assert fired > 4


def test_the_error_names_the_trigger_and_the_way_out(session: Connection) -> None:
    session.execute("CREATE TEMP TABLE events (event_id text, room_id text)")
    session.execute("CREATE TRIGGER mine AFTER INSERT ON events EXECUTE FUNCTION sliding_sync.collect()")
    with pytest.raises(psycopg.Error) as raised:
        session.execute("INSERT INTO events VALUES ('$x', '!r:x')")
    told = raised.value.diag
    assert told.sqlstate == WRONG_FORM
    assert told.message_primary == 'trigger "mine" on table "events" does not fire as sliding_sync needs it'
    assert told.message_detail and "FOR EACH ROW" in told.message_detail
    assert told.message_hint and "attach()" in told.message_hint


@pytest.mark.parametrize("name", ["pg_class", "pg_toast_1", "A_sliding_sync", "EVENTS", "a b", "x" * 63])
def test_a_table_of_any_name(session: Connection, name: str) -> None:
    named = f'own."{name}"'
    session.execute(f"CREATE TABLE {named} ({DEFINITION})")
    for table in BASE_TABLES:
        session.execute(
            f"CREATE OR REPLACE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON {named} FOR EACH ROW "
            f"EXECUTE FUNCTION sliding_sync.collect('an', 'argument')"
        )
        for event in ("INSERT", "UPDATE", "DELETE"):
            assert sqlstate(session, EVENTS[event].format(named)) is None


@pytest.mark.parametrize("table", BASE_TABLES)
def test_a_deferrable_trigger_is_refused(session: Connection, table: str) -> None:
    """It would come after the check of the foreign keys that a deleted row must be released from."""
    make_tables(session, "permanent", table)
    for deferral in ("DEFERRABLE INITIALLY DEFERRED", "DEFERRABLE INITIALLY IMMEDIATE"):
        session.execute(
            f"CREATE CONSTRAINT TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON {table} {deferral} FOR EACH ROW "
            f"EXECUTE FUNCTION sliding_sync.collect()"
        )
        assert sqlstate(session, EVENTS["INSERT"].format(table)) == WRONG_FORM
        session.execute(f"DROP TRIGGER t ON {table}")
    session.execute(
        f"CREATE CONSTRAINT TRIGGER t AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION sliding_sync.collect()"
    )
    assert sqlstate(session, EVENTS["INSERT"].format(table)) is None


OTHER_TYPES = [
    "varchar(200)",
    "name",
    "a_domain",
    "integer",
    "bytea",
    "text[]",
    "uuid",
    "xid",
    "double precision",
    "cstring",
]


@pytest.mark.parametrize("other", OTHER_TYPES)
def test_columns_of_any_type(session: Connection, other: str) -> None:
    """A column that does not hold what it should is not read, whichever column it is."""
    session.execute("CREATE DOMAIN a_domain AS text CHECK (VALUE <> '')")
    for table, column in itertools.product(BASE_TABLES, [*COLUMNS, None]):
        columns = {name: other if column in (name, None) else kind for name, kind in COLUMNS.items()}
        definition = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        told = sqlstate(
            session,
            *(f"CREATE TABLE IF NOT EXISTS {name} ({DEFINITION})" for name in BASE_TABLES if name != table),
            f"CREATE TABLE {table} ({definition})",
            f"CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW "
            f"EXECUTE FUNCTION sliding_sync.collect()",
            f"INSERT INTO {table} DEFAULT VALUES",
            f"UPDATE {table} SET {column or 'event_id'} = NULL",
            f"DELETE FROM {table}",
        )
        assert told == ("42P16" if other == "cstring" else None), (table, column, told)
        session.execute(f"DROP TABLE IF EXISTS {', '.join(BASE_TABLES)}")


@pytest.mark.parametrize("table", BASE_TABLES)
def test_columns_that_come_go_and_are_generated(session: Connection, table: str) -> None:
    make_tables(session, "permanent", table)
    session.execute(
        f"CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION sliding_sync.collect()"
    )
    session.execute(EVENTS["INSERT"].format(table))
    for change in (
        "DROP COLUMN event_id, DROP COLUMN stream_ordering",
        "ADD COLUMN event_id text DEFAULT '$later'",  # not in the stored row
        "DROP COLUMN room_id",
        "ADD COLUMN room_id text GENERATED ALWAYS AS (sender || 'x') STORED",
        "ADD COLUMN stream_ordering bigint GENERATED ALWAYS AS (length(sender)) STORED",
        "ALTER COLUMN event_id TYPE varchar(9) USING left(event_id, 9)",
    ):
        session.execute(f"ALTER TABLE {table} {change}")
        assert sqlstate(session, f"UPDATE {table} SET sender = sender || 'y'") is None
        assert sqlstate(session, f"INSERT INTO {table} DEFAULT VALUES") is None
        assert sqlstate(session, f"DELETE FROM {table} WHERE sender IS NULL") is None


def test_whatever_way_a_row_comes(session: Connection) -> None:
    """Transition tables, WHEN, column lists, COPY, MERGE, ON CONFLICT, partitions attached later."""
    make_tables(session, "permanent", "events")
    session.execute("CREATE UNIQUE INDEX ON events (event_id)")
    for form in (
        "AFTER INSERT ON events REFERENCING NEW TABLE AS new_rows FOR EACH ROW",
        "AFTER UPDATE ON events REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH ROW",
        "AFTER UPDATE OF sender ON events FOR EACH ROW WHEN (OLD.sender IS DISTINCT FROM NEW.sender)",
        "AFTER DELETE ON events FOR EACH ROW WHEN (OLD.event_id IS NULL)",
    ):
        session.execute(f"CREATE OR REPLACE TRIGGER t {form} EXECUTE FUNCTION sliding_sync.collect()")
        with session.cursor().copy("COPY events (event_id, room_id) FROM STDIN") as copy:
            for number in range(2000):
                copy.write_row((f"${number}", "!r:x"))
        assert (
            sqlstate(
                session,
                "INSERT INTO events (event_id) VALUES ('$1') ON CONFLICT (event_id) DO UPDATE SET sender = '@b:x'",
                "MERGE INTO events e USING (VALUES ('$2'), ('$new')) v (id) ON e.event_id = v.id "
                "WHEN MATCHED AND v.id = '$2' THEN UPDATE SET sender = 'm' WHEN MATCHED THEN DELETE "
                "WHEN NOT MATCHED THEN INSERT (event_id) VALUES (v.id)",
                "WITH gone AS (DELETE FROM events WHERE event_id < '$3' RETURNING *), "
                "moved AS (UPDATE events SET room_id = '!q:x' WHERE event_id > '$8' RETURNING 1) SELECT count(*) FROM moved",
                "DELETE FROM events",
            )
            is None
        )
    session.execute("DROP TABLE events")
    session.execute(f"CREATE TABLE events ({DEFINITION}) PARTITION BY RANGE (stream_ordering)")
    session.execute(
        "CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON events FOR EACH ROW EXECUTE FUNCTION sliding_sync.collect()"
    )
    for number in range(2):
        session.execute(f"CREATE TABLE events_{number} (LIKE events)")
        session.execute(
            f"ALTER TABLE events ATTACH PARTITION events_{number} FOR VALUES FROM ({number}) TO ({number + 1})"
        )
    assert (
        sqlstate(session, "INSERT INTO events (stream_ordering) VALUES (0)", "UPDATE events SET stream_ordering = 1")
        is None
    )
    session.execute("ALTER TABLE events DETACH PARTITION events_1")
    assert sqlstate(session, "DELETE FROM events_1", "DELETE FROM events") is None


@pytest.mark.parametrize("user", [PLAIN, SUPERUSER])
@pytest.mark.parametrize("table", BASE_TABLES)
def test_called_as_what_it_is_not(cluster: Cluster, database: str, table: str, user: str) -> None:
    call = f"sliding_sync.collect()"
    nested = f"$$BEGIN PERFORM {call}; RETURN NULL; END$$"
    with cluster.connect(database, user) as connection:
        for statement in (
            f"SELECT {call}",
            f"SELECT * FROM {call}",
            f"DO $$BEGIN PERFORM {call}; END$$",
            f"CREATE FUNCTION pg_temp.f() RETURNS trigger LANGUAGE plpgsql AS {nested}; CREATE TEMP TABLE x (); "
            "CREATE TRIGGER t AFTER INSERT ON x EXECUTE FUNCTION pg_temp.f(); INSERT INTO x DEFAULT VALUES",
            f"CREATE TEMP TABLE y (x integer DEFAULT ({call})::text::integer); INSERT INTO y DEFAULT VALUES",
        ):
            assert sqlstate(connection, statement) in (WRONG_FORM, "42804", "42846"), statement
        with pytest.raises(psycopg.Error):
            connection.execute(f"CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION {call}")
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_homeservers_write_succeeds_again_without_the_wrong_trigger(cluster: Cluster, database: str) -> None:
    with connect(cluster, database, SUPERUSER) as connection:
        watcher = Watcher(connection, SCHEMA)
        connection.execute("SELECT create_room('!a:hs.test', '@anna:hs.test')")
        for form in ("BEFORE INSERT ON events FOR EACH ROW", "AFTER INSERT ON events FOR EACH STATEMENT"):
            connection.execute(f"CREATE TRIGGER wrong {form} EXECUTE FUNCTION sliding_sync.collect()")
            with pytest.raises(psycopg.errors.TriggerProtocolViolated):
                connection.execute("SELECT rename('!a:hs.test', '@anna:hs.test', 'new')")
            connection.execute("DROP TRIGGER wrong ON events")
            assert watcher.check_step() == []
            connection.execute("SELECT rename('!a:hs.test', '@anna:hs.test', 'new')")
            assert watcher.check_step() == []
