"""Every function and procedure of the schema, found in the catalog, ends in a result or an error: called by anybody, with
anything, anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from oracle import Watcher, check
from schemas import OPERATIONS, SCHEMA, make_homeserver
from synthetic.calls import Routine, contexts_inside, contexts_of_function, contexts_of_procedure, routines

Connection = psycopg.Connection[Any]

NOBODY, GRANTED = "nobody_in_particular", "granted"
DATABASE = "every_function"
ROOM, ANNA = "!r:hs.test", "@anna:hs.test"


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[str]:
    """A homeserver with something in it, and two plain roles: one that may call everything, one that may not."""
    cluster.create_database(DATABASE)
    make_homeserver(cluster, DATABASE)
    for role in (NOBODY, GRANTED):
        cluster.create_role(role)
    with cluster.connect(DATABASE) as connection:
        connection.execute(f"SET search_path = {OPERATIONS}, {SCHEMA}")
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


def names_of_one_trigger_function(routine: Routine) -> bool:
    return routine.name == "collect_events" or not routine.name.startswith("collect_")


def test_with_any_values(session: Connection, attached: Callable[[], None]) -> None:
    for routine in routines(session):
        attached()
        outcomes = run(session, (calls(routine, call) for call in routine.absurd_calls()))
        assert outcomes.total() > 1, routine


@pytest.mark.parametrize("inside", [False, True])
def test_anywhere(session: Connection, attached: Callable[[], None], inside: bool) -> None:
    for routine in filter(names_of_one_trigger_function, routines(session)):
        attached()
        # with the defaults where there are some; else with what is no default
        call = routine.plain_call() if not routine.needs_values else routine.call(target_schema=f"'{SCHEMA}'")
        if routine.is_procedure:
            outcomes = run(session, contexts_of_procedure(call))
        else:
            outcomes = run(session, contexts_inside(call) if inside else contexts_of_function(call))
        assert outcomes.total() > 30, routine
