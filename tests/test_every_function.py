"""Every function and procedure of the schema, found in the catalog, ends in a result or an error: called by anybody, with
anything, anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from oracle import Watcher, check
from synthetic.calls import ACT, Routine, contexts_inside, contexts_of_function, contexts_of_procedure, routines
from synthetic.database import ANNA, OPERATIONS, ROOM, SCHEMA, connect, create_homeserver

Connection = psycopg.Connection[Any]

NOBODY, GRANTED = "nobody_in_particular", "granted"
DATABASE = "every_function"


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[str]:
    """A homeserver with something in it, and two plain roles: one that may call everything, one that may not."""
    create_homeserver(cluster, DATABASE, owner=SUPERUSER)
    for role in (NOBODY, GRANTED):
        cluster.create_role(role)
    with connect(cluster, DATABASE, SUPERUSER) as connection:
        connection.execute("SELECT create_room(%s, %s, name => 'A')", [ROOM, ANNA])
        connection.execute('SELECT "join"(%s, %s)', [ROOM, "@bert:hs.test"])
        connection.execute(f"""
            GRANT USAGE ON SCHEMA sliding_sync TO PUBLIC;
            GRANT EXECUTE ON ALL ROUTINES IN SCHEMA sliding_sync TO {GRANTED};
            CREATE SCHEMA own;
            GRANT ALL ON SCHEMA own TO PUBLIC;
            GRANT USAGE ON SCHEMA {SCHEMA}, {OPERATIONS} TO {GRANTED};
            GRANT ALL ON ALL TABLES IN SCHEMA {SCHEMA}, {OPERATIONS} TO {GRANTED};
            GRANT ALL ON ALL SEQUENCES IN SCHEMA {SCHEMA}, {OPERATIONS} TO {GRANTED};
            CREATE FUNCTION own.act() RETURNS void LANGUAGE plpgsql SET search_path = {OPERATIONS}, {SCHEMA} AS $$
                BEGIN PERFORM rename('{ROOM}', '{ANNA}', random()::text); END $$;
            CREATE FUNCTION own.step(integer, integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $2';
        """)
    yield DATABASE
    cluster.drop_database(DATABASE)


@pytest.fixture(params=[NOBODY, GRANTED, SUPERUSER])
def session(cluster: Cluster, database: str, request: pytest.FixtureRequest) -> Iterator[Connection]:
    with cluster.connect(database, request.param) as connection:
        connection.prepare_threshold = None
        connection.execute("SET client_min_messages = error; SET statement_timeout = '500ms'")
        connection.execute("CREATE TABLE own.notes (note integer)")
        yield connection
        connection.execute("DROP OWNED BY CURRENT_USER" if request.param == NOBODY else "DROP TABLE own.notes")
        connection.execute("DROP ROUTINE IF EXISTS own.wrapped, own.fired, own.f")


def run(connection: Connection, scripts: Iterable[list[str]]) -> Counter[str | None]:
    """Runs each statement whatever became of the one before; how often which SQLSTATE came of it."""
    outcomes: Counter[str | None] = Counter()
    backend = connection.info.backend_pid
    for script in scripts:
        for statement in script:
            try:
                connection.execute(statement)  # type: ignore[arg-type]
                outcomes[None] += 1
            except psycopg.Error as error:
                outcomes[error.sqlstate] += 1
                assert not connection.closed, statement
                assert error.sqlstate and error.sqlstate[:2] != "XX", (statement, error)
        with suppress(psycopg.errors.QueryCanceled):  # a busy machine may take longer than a statement is given
            connection.execute("ROLLBACK")
        connection.execute("ROLLBACK")
        assert connection.execute("SELECT pg_backend_pid()").fetchone() == (backend,), script
    return outcomes


def calls(routine: Routine, call: str) -> list[str]:
    return [f"CALL {call}"] if routine.is_procedure else [f"SELECT {call}", f"SELECT * FROM {call} AS called"]


@pytest.fixture
def attached(cluster: Cluster, database: str) -> Iterator[Callable[[], None]]:
    """Some of the functions take the triggers away. Whatever was called, the tables are made right again."""
    with cluster.connect(database) as connection:
        yield lambda: connection.execute("SELECT sliding_sync.attach()")  # type: ignore[return-value]
        connection.execute("SELECT sliding_sync.attach()")
        connection.execute("CALL sliding_sync.backfill(restart => true)")
        assert check(connection, SCHEMA) == []
        assert Watcher(connection, SCHEMA).check_step() == []


def test_with_any_values(session: Connection, attached: Callable[[], None]) -> None:
    for routine in routines(session):
        attached()
        outcomes = run(session, (calls(routine, call) for call in routine.absurd_calls()))
        assert outcomes.total() > 1, routine


@pytest.mark.parametrize("inside", [False, True])
def test_anywhere(session: Connection, attached: Callable[[], None], inside: bool) -> None:
    for routine in routines(session):
        attached()
        # with the defaults where there are some; else with what is no default
        call = routine.plain_call() if not routine.needs_values else routine.call(target_schema=f"'{SCHEMA}'")
        if routine.is_procedure:
            outcomes = run(session, contexts_of_procedure(call))
        else:
            outcomes = run(session, contexts_inside(call) if inside else contexts_of_function(call))
        assert outcomes.total() > 30, routine


# -- when SQL and library do not fit


@pytest.fixture
def copy(cluster: Cluster, database: str) -> Iterator[Connection]:
    """A superuser's session in a copy of the database. Whatever was done there, all functions are called at the end."""
    cluster.create_database("changed_functions", template=database)
    with cluster.connect("changed_functions") as connection:
        connection.prepare_threshold = None
        connection.execute(
            "SET client_min_messages = error; SET statement_timeout = '2s'; CREATE TABLE own.notes (note integer)"
        )
        yield connection
        call_everything(connection)
    cluster.drop_database("changed_functions")


@pytest.fixture
def changed(copy: Connection) -> Connection:
    """Such a session that has called all functions, and so knows them as they were before the test."""
    call_everything(copy)
    return copy


def everything(connection: Connection) -> list[str]:
    """Each call, and a way back after one that failed."""
    all_calls = [call for routine in routines(connection) for call in calls(routine, routine.call())]
    return [ACT, *(step for call in all_calls for step in ("SAVEPOINT s", call, "ROLLBACK TO s")), ACT]


def call_everything(connection: Connection) -> Counter[str | None]:
    all_calls = [calls(routine, routine.call()) for routine in routines(connection)]
    return run(connection, [[ACT], *all_calls, ["BEGIN", *everything(connection), "COMMIT"], [ACT]])


RESULTS = (
    "integer",
    "text",
    "record",
    "void",
    "SETOF text",
    "SETOF record",
    "text[]",
    "TABLE (a integer)",
    "TABLE (a text, b name, c numeric)",
)


def test_declared_otherwise(changed: Connection) -> None:
    """As by the SQL of another version: other arguments, other results, a function for a procedure."""
    symbols = changed.execute("""
        SELECT DISTINCT p.prosrc, p.probin FROM pg_proc p
        WHERE p.pronamespace = 'sliding_sync'::regnamespace AND p.prolang = (SELECT oid FROM pg_language WHERE lanname = 'c')
    """).fetchall()
    assert len(symbols) > 12
    columns = ", ".join(f"{name} integer" for name in "abcdefghi")
    outcomes: Counter[str | None] = Counter()
    for symbol, library in symbols:
        for count in (0, 1, 2, 7, 8, 9, 16):
            for argument in ("integer", "text", "boolean", "double precision", "interval", "name", "record"):
                if count == 0 and argument != "integer":
                    continue
                arguments = ", ".join([argument] * count)
                values = ", ".join(["NULL" if argument == "record" else f"'1'::{argument}"] * count)
                for result in RESULTS if count in (0, 16) or argument == "text" else RESULTS[:1]:
                    declare = (
                        f"CREATE FUNCTION own.f({arguments}) RETURNS {result} LANGUAGE c AS '{library}', '{symbol}'"
                    )
                    select = f"SELECT * FROM own.f({values}) AS x" + (f"({columns})" if "record" in result else "")
                    outcomes += run(
                        changed,
                        [
                            ["BEGIN", declare, select, "ROLLBACK"],
                            ["BEGIN", declare, f"SELECT own.f({values})", "ROLLBACK"],
                        ],
                    )
                outcomes += run(
                    changed,
                    [
                        [
                            f"CREATE PROCEDURE own.p({arguments}) LANGUAGE c AS '{library}', '{symbol}'",
                            f"CALL own.p({values})",
                            f"DROP PROCEDURE own.p",
                        ]
                    ],
                )
    assert outcomes["42P13"] > 100


def drop_views(connection: Connection) -> None:
    views = [
        name
        for (name,) in connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'sliding_sync'::regnamespace AND relkind = 'v'"
        )
    ]
    run(connection, [[f"ALTER EXTENSION sliding_sync DROP VIEW sliding_sync.{view}" for view in views]])
    connection.execute(f"DROP VIEW {', '.join(f'sliding_sync.{view}' for view in views)}")


def test_functions_are_renamed_replaced_and_dropped(changed: Connection) -> None:
    for routine in routines(changed):
        declared = f"sliding_sync.{routine.name}({', '.join(kind for _, kind in routine.arguments)})"
        replace = f"CREATE FUNCTION {declared} RETURNS SETOF text LANGUAGE sql AS 'SELECT NULL WHERE false'"
        run(
            changed, [["BEGIN", f"ALTER ROUTINE {declared} RENAME TO other", replace, *everything(changed), "ROLLBACK"]]
        )
        for change in ("RENAME TO other", "SECURITY DEFINER", "SET SCHEMA own"):
            run(changed, [["BEGIN", f"ALTER ROUTINE sliding_sync.{routine.name} {change}", "COMMIT"]])
            call_everything(changed)
            run(
                changed,
                [
                    [f"ALTER ROUTINE sliding_sync.other RENAME TO {routine.name}"],
                    [f"ALTER ROUTINE own.{routine.name} SET SCHEMA sliding_sync"],
                ],
            )
    drop_views(changed)
    for routine in routines(changed):
        if routine.name != "collect":  # triggers need it
            run(
                changed,
                [
                    [
                        f"ALTER EXTENSION sliding_sync DROP ROUTINE sliding_sync.{routine.name}",
                        f"DROP ROUTINE sliding_sync.{routine.name}",
                    ]
                ],
            )
            call_everything(changed)


INSTEAD_OF_A_TABLE = {
    "VIEW": "CREATE VIEW {} AS SELECT 1 AS x",
    "MATERIALIZED VIEW": "CREATE MATERIALIZED VIEW {} AS SELECT 1 AS x",
    "TABLE": "CREATE TABLE {} (x integer) PARTITION BY LIST (x)",
    "SEQUENCE": "CREATE SEQUENCE {}",
    "TYPE": "CREATE TYPE {} AS (x integer)",
}


def test_tables_of_the_extension_are_changed_and_dropped(changed: Connection) -> None:
    drop_views(changed)  # with what depends on them the server would drop the extension
    tables = [
        name
        for (name,) in changed.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'sliding_sync'::regnamespace AND relkind = 'r'"
        )
    ]
    assert len(tables) > 4
    for table in tables:
        named = f"sliding_sync.{table}"
        columns = [
            name
            for (name,) in changed.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0", [named]
            )
        ]
        for column in columns:
            run(changed, [["BEGIN", f"ALTER TABLE {named} DROP COLUMN {column}", "COMMIT"]])
            call_everything(changed)
        for type_, value in (("text", "'x'"), ("bytea", "NULL")):
            for column in columns:
                alter = (
                    f"ALTER TABLE {named} ALTER COLUMN {column} DROP DEFAULT, "
                    f"ALTER COLUMN {column} TYPE {type_} USING {value}"
                )
                run(changed, [["BEGIN", alter, *everything(changed), "ROLLBACK"]])
        for answer in ("NULL", "NEW"):
            swallow = (
                "CREATE OR REPLACE FUNCTION own.swallow() RETURNS trigger LANGUAGE plpgsql "
                f"AS $$BEGIN RETURN {answer}; END$$"
            )
            trigger = (
                f"CREATE OR REPLACE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON {named} FOR EACH ROW "
                "EXECUTE FUNCTION own.swallow()"
            )
            run(changed, [[swallow, trigger]])
            call_everything(changed)
        gone = f"sliding_sync.gone_{table}"
        run(changed, [[f"DROP TRIGGER t ON {named}"], [f"ALTER TABLE {named} RENAME TO gone_{table}"]])
        call_everything(changed)
        # where something depends on it, it only has another name
        run(changed, [[f"ALTER EXTENSION sliding_sync DROP TABLE {gone}", f"DROP TABLE {gone}"]])
        call_everything(changed)
        for kind, create in INSTEAD_OF_A_TABLE.items():
            changed.execute(create.format(named))
            call_everything(changed)
            changed.execute(f"DROP {kind} {named}")
    for table in ("sliding_sync_joined_rooms", "sliding_sync_membership_snapshots", "room_memberships", "events"):
        run(changed, [[f"DROP TABLE {SCHEMA}.{table} CASCADE"]])
        call_everything(changed)


# -- from within our own writes

FROM_WITHIN = {
    "flush": "PERFORM sliding_sync.flush();",
    "flush, caught": "BEGIN PERFORM sliding_sync.flush(); EXCEPTION WHEN OTHERS THEN NULL; END;",
    "verify": "PERFORM * FROM sliding_sync.verify();",
    "catch_up": "PERFORM sliding_sync.catch_up();",
    "repair_quarantine": "PERFORM sliding_sync.repair_quarantine();",
    "attach": "PERFORM sliding_sync.attach();",
    "detach": "PERFORM sliding_sync.detach();",
    "another change": f"UPDATE {SCHEMA}.events SET sender = sender || 'x' WHERE room_id = NEW.room_id;",
    "a deletion": f"DELETE FROM {SCHEMA}.event_forward_extremities; DELETE FROM {SCHEMA}.events WHERE type = 'm.room.message';",
    "a truncation": f"TRUNCATE {SCHEMA}.redactions;",
    "another column": f"ALTER TABLE {SCHEMA}.events ADD COLUMN x integer; ALTER TABLE {SCHEMA}.events DROP COLUMN x;",
    "another table": f"CREATE TABLE {SCHEMA}.anything (); DROP TABLE {SCHEMA}.anything;",
    "no extension": "DROP EXTENSION IF EXISTS sliding_sync;",
}


@pytest.mark.parametrize("timing", ["BEFORE", "AFTER"])
@pytest.mark.parametrize("what", FROM_WITHIN)
def test_a_trigger_of_the_derived_tables(copy: Connection, what: str, timing: str) -> None:
    fired = f"CREATE FUNCTION own.within() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {FROM_WITHIN[what]} RETURN NEW; END $$"
    run(copy, [[fired]])
    for table in ("sliding_sync_joined_rooms", "sliding_sync_membership_snapshots"):
        trigger = f"CREATE TRIGGER within {timing} INSERT OR UPDATE ON {SCHEMA}.{table} FOR EACH ROW EXECUTE FUNCTION own.within()"
        run(copy, [[trigger]])
    operations = (
        ACT,
        f"SELECT send_message('{ROOM}', '{ANNA}')",
        f"""SELECT "join"('{ROOM}', '@new:hs.test')""",
        "DELETE FROM event_forward_extremities; DELETE FROM events WHERE type = 'm.room.message'",
        "SELECT sliding_sync.flush()",
    )
    copy.execute(f"SET search_path = {OPERATIONS}, {SCHEMA}")
    for _ in range(2):
        run(copy, [[operation] for operation in operations])
        run(copy, [["BEGIN", *operations, "COMMIT"]])
    copy.execute("CREATE EXTENSION IF NOT EXISTS sliding_sync")
