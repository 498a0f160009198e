"""The boundary between C++ and the server, in a running backend. The rules are those of docs/boundary.md."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Iterator

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.pq import TransactionStatus

from harness.cluster import Cluster
from harness.environment import PROJECT

Connection = psycopg.Connection[Any]

FUNCTIONS = {
    "run_sql(statement text)": "void",
    "throw_exception(kind text)": "void",
    "raise_over_a_destructor()": "void",
    "run_sql_in_subtransaction(statement text)": "text",
    "throw_in_subtransaction(statement text, kind text)": "text",
    "catch_many(times integer)": "integer",
    "throw_before_commit(kind text)": "void",
    "canaries()": "integer",
    "heap_in_use()": "bigint",
}

RAISE = """
CREATE FUNCTION raise_it(code text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'raised' USING ERRCODE = code, DETAIL = 'a detail', HINT = 'a hint',
        TABLE = 'a_table', CONSTRAINT = 'a_constraint';
END $$
"""

# What an error does to the caller's PL/pgSQL block, and to what the block did before.
RECOVER = """
CREATE FUNCTION recover(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO notes VALUES ('inside the block');
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$
"""


@pytest.fixture(scope="module")
def library(cluster: Cluster) -> str:
    """The test-only library, where the server can read it."""
    tree = PROJECT
    if cluster.installation:  # object files of another server must not meet ours
        tree = cluster.root / "boundary"
        for part in ("src", "tests/backend"):
            shutil.copytree(PROJECT / part, tree / part, ignore=shutil.ignore_patterns("*.o", "*.d", "*.so"))
    folder = tree / "tests/backend"
    with (folder / "Makefile").open() as makefile:
        fcntl.flock(makefile, fcntl.LOCK_EX)
        subprocess.run(["make", "-s", "-C", str(folder), f"PG_CONFIG={cluster.pg_config}", *cluster.make_flags], check=True)
        return str(shutil.copy(folder / "boundary_test.so", cluster.root))


@pytest.fixture(scope="module")
def database(cluster: Cluster, library: str) -> Iterator[str]:
    name = cluster.create_database("boundary")
    with cluster.connect(name) as connection:
        connection.execute("CREATE TABLE notes (note text UNIQUE)")
        connection.execute("CREATE TABLE slow_notes (note text UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        connection.execute(RAISE)
        connection.execute(RECOVER)
        for signature, result in FUNCTIONS.items():
            connection.execute(
                sql.SQL("CREATE FUNCTION {} RETURNS {} LANGUAGE c STRICT AS {}, {}").format(
                    sql.SQL(signature), sql.SQL(result), library, signature.partition("(")[0]
                )
            )
    yield name
    cluster.drop_database(name)


@pytest.fixture
def connection(cluster: Cluster, database: str) -> Iterator[Connection]:
    """A session that must be alive, idle and without a skipped destructor when the test is over."""
    with cluster.connect(database) as session:
        session.execute("TRUNCATE notes, slow_notes")
        yield session
        assert session.info.transaction_status == TransactionStatus.IDLE
        assert value(session, "SELECT canaries()") == 0


def value(connection: Connection, query: str, *parameters: Any) -> Any:
    row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return row[0]


def failure(connection: Connection, query: str, *parameters: Any) -> errors.Diagnostic:
    """What the client is told about a query that must fail; the session goes on."""
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(query, parameters)
    assert value(connection, "SELECT 1") == 1
    assert value(connection, "SELECT canaries()") == 0
    return caught.value.diag


# -- server errors


def test_a_server_error_keeps_its_sqlstate_and_context(connection: Connection) -> None:
    told = failure(connection, "SELECT run_sql('SELECT 1 / 0')")
    assert (told.sqlstate, told.message_primary) == ("22012", "division by zero")
    assert told.context == 'SQL statement "SELECT 1 / 0"'
    assert told.source_function == "int4div"


def test_a_server_error_keeps_its_cursor_position(connection: Connection) -> None:
    told = failure(connection, "SELECT run_sql('SELECT 1 FROM missing')")
    assert told.sqlstate == "42P01"
    assert (told.internal_position, told.internal_query) == ("15", "SELECT 1 FROM missing")


def test_a_server_error_keeps_detail_hint_and_names(connection: Connection) -> None:
    told = failure(connection, "SELECT run_sql($$SELECT raise_it('AB123')$$)")
    assert (told.sqlstate, told.message_primary) == ("AB123", "raised")
    assert (told.message_detail, told.message_hint) == ("a detail", "a hint")
    assert (told.table_name, told.constraint_name) == ("a_table", "a_constraint")
    assert told.context and told.context.splitlines() == [
        "PL/pgSQL function raise_it(text) line 3 at RAISE",
        "SQL statement \"SELECT raise_it('AB123')\"",
    ]


def test_a_server_error_crosses_more_boundaries_than_the_error_stack_has_slots(connection: Connection) -> None:
    statement = "SELECT 1 / 0"
    for _ in range(10):
        statement = "SELECT run_sql({})".format("'" + statement.replace("'", "''") + "'")
    told = failure(connection, statement)
    assert told.sqlstate == "22012"
    assert told.context and len(told.context.splitlines()) == 10


def test_a_deferred_constraint_fails_inside_call_pg(connection: Connection) -> None:
    told = failure(
        connection,
        "SELECT run_sql($$INSERT INTO slow_notes VALUES ('a'), ('a'); SET CONSTRAINTS ALL IMMEDIATE$$)",
    )
    assert (told.sqlstate, told.constraint_name) == ("23505", "slow_notes_note_key")


# -- C++ exceptions


@pytest.mark.parametrize(
    ("kind", "sqlstate", "message", "detail", "hint"),
    [
        ("error", "55000", "the message", "The detail.", "The hint."),
        ("plain_error", "55000", "100% of the message", None, None),
        ("bad_alloc", "53200", "out of memory", None, None),
        ("runtime_error", "XX000", "the text of the exception", None, None),
        ("length_error", "XX000", "basic_string::_M_replace_aux", None, None),
        ("number", "XX000", "unknown C++ exception", None, None),
        ("object", "XX000", "unknown C++ exception", None, None),
    ],
)
def test_a_cpp_exception_becomes_a_server_error(
    connection: Connection, kind: str, sqlstate: str, message: str, detail: str | None, hint: str | None
) -> None:
    told = failure(connection, "SELECT throw_exception(%s)", kind)
    assert (told.sqlstate, told.message_primary) == (sqlstate, message)
    assert (told.message_detail, told.message_hint) == (detail, hint)


def test_a_cpp_exception_shows_where_the_server_called(connection: Connection) -> None:
    told = failure(connection, "SELECT run_sql($$SELECT throw_exception('error')$$)")
    assert (told.sqlstate, told.message_detail, told.message_hint) == ("55000", "The detail.", "The hint.")
    assert told.context == "SQL statement \"SELECT throw_exception('error')\""


def test_a_long_text_is_cut_between_characters(connection: Connection) -> None:
    told = failure(connection, "SELECT throw_exception('long_error')")
    for text in (told.message_primary, told.message_detail, told.message_hint):
        assert text == "é" * 511  # one byte more would fit


# -- destructors


def test_the_count_of_destructors_can_be_wrong(cluster: Cluster, database: str) -> None:
    with cluster.connect(database) as session:
        with pytest.raises(errors.InternalError_, match="not through call_pg"):
            session.execute("SELECT raise_over_a_destructor()")
        assert value(session, "SELECT canaries()") == 1


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ("sliding_sync::call_pg([] { return 1; });", None),
        ("sliding_sync::enter_cpp([] { return 1; });", None),
        ("sliding_sync::call_pg([] { return std::string(); });", "the frame may be left by longjmp"),
        (
            "sliding_sync::enter_cpp([] { return std::string(); });",
            "what leaves an entry point belongs to the server",
        ),
        ("sliding_sync::call_pg([](sliding_sync::PgFrame) { return 1; });", None),
        ("sliding_sync::PgFrame frame{};", "is private within this context"),
    ],
)
def test_misuse_does_not_compile(
    cluster: Cluster, tmp_path: Path, body: str, refused: str | None
) -> None:
    source = tmp_path / "result.cpp"
    source.write_text(f'#include "guard/boundary.hpp"\nvoid f() {{ {body} }}\n')
    headers = subprocess.run([cluster.pg_config, "--includedir-server"], check=True, capture_output=True, text=True)
    done = subprocess.run(
        [
            "g++",
            "-std=c++20",
            "-fsyntax-only",
            f"-I{PROJECT / 'src'}",
            "-isystem",
            headers.stdout.strip(),
            source,
        ],
        capture_output=True,
        text=True,
    )
    if refused is None:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode != 0 and refused in done.stderr


# -- recovery


FAILING = [
    ("SELECT run_sql('SELECT 1 / 0')", "22012"),
    ("SELECT run_sql('SELECT 1 FROM missing')", "42P01"),
    ("SELECT throw_exception('error')", "55000"),
    ("SELECT throw_exception('bad_alloc')", "53200"),
    ("SELECT throw_exception('number')", "XX000"),
]


@pytest.mark.parametrize(("statement", "sqlstate"), FAILING)
def test_a_savepoint_recovers(connection: Connection, statement: str, sqlstate: str) -> None:
    with connection.transaction():
        connection.execute("INSERT INTO notes VALUES ('before')")
        with pytest.raises(psycopg.Error) as caught, connection.transaction():
            connection.execute("INSERT INTO notes VALUES ('lost')")
            connection.execute(statement)
        assert caught.value.sqlstate == sqlstate
        connection.execute("INSERT INTO notes VALUES ('after')")
    assert notes(connection) == ["after", "before"]


@pytest.mark.parametrize(("statement", "sqlstate"), FAILING)
def test_plpgsql_recovers(connection: Connection, statement: str, sqlstate: str) -> None:
    assert value(connection, "SELECT recover(%s)", statement) == sqlstate
    assert notes(connection) == []


def notes(connection: Connection) -> list[str]:
    return [note for (note,) in connection.execute("SELECT note FROM notes ORDER BY note")]


# -- interrupts

SLEEPING = [
    "SELECT run_sql('SELECT pg_sleep(60)')",
    "SELECT run_sql_in_subtransaction('SELECT pg_sleep(60)')",
]


@pytest.mark.parametrize("statement", SLEEPING)
def test_statement_timeout_passes_through(connection: Connection, statement: str) -> None:
    connection.execute("SET statement_timeout = '100ms'")
    told = failure(connection, statement)
    assert (told.sqlstate, told.message_primary) == ("57014", "canceling statement due to statement timeout")


@pytest.mark.parametrize("statement", SLEEPING)
def test_cancel_passes_through(cluster: Cluster, connection: Connection, statement: str) -> None:
    canceller = threading.Thread(target=cancel_when_asleep, args=(cluster, connection.info.backend_pid))
    canceller.start()
    told = failure(connection, statement)
    canceller.join()
    assert (told.sqlstate, told.message_primary) == ("57014", "canceling statement due to user request")


def cancel_when_asleep(cluster: Cluster, pid: int) -> None:
    deadline = time.monotonic() + 20
    with cluster.connect() as other:
        while time.monotonic() < deadline:
            if value(other, "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = %s", pid):
                assert value(other, "SELECT pg_cancel_backend(%s)", pid)
                return
            time.sleep(0.01)


def test_termination_ends_the_session_as_ever(cluster: Cluster, database: str) -> None:
    with cluster.connect(database) as session:
        pid = session.info.backend_pid
        with pytest.raises(errors.AdminShutdown):
            session.execute(
                "SELECT run_sql_in_subtransaction(%s)", (f"SELECT pg_terminate_backend({pid}), pg_sleep(60)",)
            )
    cluster.check_log()


# -- subtransactions


def test_a_subtransaction_without_an_error_stays(connection: Connection) -> None:
    kept = "SELECT run_sql_in_subtransaction($$INSERT INTO notes VALUES ('kept')$$)"
    assert value(connection, kept) == "none"
    assert notes(connection) == ["kept"]


def test_a_subtransaction_swallows_an_error_and_its_work(connection: Connection) -> None:
    with connection.transaction():
        connection.execute("INSERT INTO notes VALUES ('taken')")
        statement = "INSERT INTO notes VALUES ('lost'); INSERT INTO notes VALUES ('taken')"
        told = value(connection, "SELECT run_sql_in_subtransaction(%s)", statement)
        assert told == '23505 duplicate key value violates unique constraint "notes_note_key"'
        connection.execute("INSERT INTO notes VALUES ('after')")
    assert notes(connection) == ["after", "taken"]


def test_a_swallowed_error_leaves_the_callers_query_alone(connection: Connection) -> None:
    connection.execute("INSERT INTO notes VALUES ('one'), ('two'), ('three')")
    query = "SELECT run_sql_in_subtransaction('SELECT 1 / 0') FROM notes"  # it holds pins on its pages
    assert connection.execute(query).fetchall() == [("22012 division by zero",)] * 3


def test_a_swallowed_error_leaves_no_context_behind(connection: Connection) -> None:
    swallow = "run_sql_in_subtransaction($$SELECT run_sql('SELECT 1 / 0')$$)"
    told = failure(connection, f"SELECT {swallow}, run_sql('SELECT 1 / 0')")
    assert told.context == 'SQL statement "SELECT 1 / 0"'


@pytest.mark.parametrize("sqlstate", ["40001", "40P01", "57014", "57P01", "57P02", "53200"])
def test_errors_that_only_look_like_the_servers_do_not_leave_a_subtransaction(
    connection: Connection, sqlstate: str
) -> None:
    query = "SELECT run_sql_in_subtransaction(%s)"
    assert connection.execute(query, [f"SELECT raise_it('{sqlstate}')"]).fetchall() == [(f"{sqlstate} raised",)]


def test_a_cancel_leaves_a_subtransaction(connection: Connection) -> None:
    connection.execute("SET statement_timeout = '50 ms'")
    with pytest.raises(errors.QueryCanceled):
        connection.execute("SELECT run_sql_in_subtransaction('SELECT pg_sleep(60)')")
    connection.execute("RESET statement_timeout")


def test_a_serialization_failure_leaves_a_subtransaction(cluster: Cluster, connection: Connection) -> None:
    connection.execute("INSERT INTO notes VALUES ('one')")
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with pytest.raises(errors.SerializationFailure), connection.transaction():
        assert notes(connection) == ["one"]
        with cluster.connect(connection.info.dbname) as other:
            other.execute("UPDATE notes SET note = 'two'")
        connection.execute("SELECT run_sql_in_subtransaction($$UPDATE notes SET note = 'three'$$)")
    assert notes(connection) == ["two"]


@pytest.mark.parametrize(
    ("kind", "sqlstate"),
    [("error", "55000"), ("bad_alloc", "53200"), ("runtime_error", "XX000"), ("number", "XX000")],
)
def test_a_cpp_exception_leaves_a_subtransaction_rolled_back(
    connection: Connection, kind: str, sqlstate: str
) -> None:
    statement = f"SELECT throw_in_subtransaction($$INSERT INTO notes VALUES ('lost')$$, '{kind}')"
    told = failure(connection, statement)
    assert told.sqlstate == sqlstate
    # one level was opened and one must be closed, or the caller's block would roll back the wrong one
    assert value(connection, "SELECT recover(%s)", statement) == sqlstate
    assert notes(connection) == []


# -- transaction callbacks


@pytest.mark.parametrize(
    ("kind", "sqlstate"),
    [
        ("server_error", "22012"),
        ("error", "55000"),
        ("bad_alloc", "53200"),
        ("runtime_error", "XX000"),
        ("number", "XX000"),
    ],
)
def test_an_exception_before_commit_aborts_the_transaction(
    connection: Connection, kind: str, sqlstate: str
) -> None:
    with pytest.raises(psycopg.Error) as caught, connection.transaction():
        connection.execute("INSERT INTO notes VALUES ('lost')")
        connection.execute("SELECT throw_before_commit(%s)", (kind,))
    assert caught.value.sqlstate == sqlstate
    with connection.transaction():
        connection.execute("INSERT INTO notes VALUES ('kept')")
    assert notes(connection) == ["kept"]


# -- thousands of errors

MANY = 5000
LEAK = 50 * MANY  # bytes; the smallest exception object takes more


def test_thousands_of_caught_errors_in_one_call(connection: Connection) -> None:
    assert grows_by(connection, f"SELECT catch_many({MANY})", MANY) < LEAK


@pytest.mark.parametrize(
    "statement",
    ["SELECT run_sql('SELECT 1 / 0')", "SELECT throw_exception('error')", "SELECT throw_exception('number')"],
)
def test_thousands_of_raised_errors_in_one_session(connection: Connection, statement: str) -> None:
    loop = sql.SQL("SELECT count(recover({})) FROM generate_series(1, {})").format(statement, MANY)
    assert grows_by(connection, loop.as_string(connection), MANY) < LEAK


def grows_by(connection: Connection, query: str, result: int) -> int:
    """Bytes that the backend holds more after the second time: the first one fills its caches."""
    before = 0
    for _ in range(2):
        before = value(connection, "SELECT heap_in_use()")
        assert value(connection, query) == result
    return int(value(connection, "SELECT heap_in_use()")) - before
