"""Calls of every function and procedure of the schema, with values that nobody meant, where nobody expects it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]

_LONG = "repeat('x', 1000000)"
_VALUES = {
    "text": [
        "NULL",
        "''",
        "'homeserver'",
        "'pg_catalog'",
        "'both'",
        "'!r:hs.test'",
        "'%s%n%s'",
        "E'\\u00e9\\n\"'",
        _LONG,
    ],
    "bigint": ["NULL", "0", "-1", "1", "9223372036854775807", "-9223372036854775808"],
    "integer": ["NULL", "0", "-1", "2147483647", "-2147483648"],
    "double precision": ["NULL", "0", "-1", "1", "0.5", "5e-324", "'NaN'", "'Infinity'", "'-Infinity'", "1.7e308"],
    "interval": [
        "NULL",
        "'0'",
        "'-1 second'",
        "'1 microsecond'",
        "'178000000 years'",
        "'-178000000 years'",
        "'2000000000 days'",
    ],
    "boolean": ["NULL", "true", "false"],
    "text[]": ["NULL", "'{}'", "'{NULL}'", "'{{a,b},{c,d}}'", "'[5:6]={a,b}'", f"ARRAY[{_LONG}]"],
}
# other types on the way to the one that is wanted
_CASTS = {
    "text": ["'x'::name", "1::int::text", "'{}'::jsonb::text", 'NULL::text COLLATE "C"', "'\\x00'::bytea::text"],
    "interval": ["'12:00'::time::interval", "(now() - now())"],
    "double precision": ["'1e400'::numeric::float8", "0.5::real"],
}


# what a homeserver does, so that there is something to be done
ACT = "SELECT own.act()"


@dataclass(frozen=True)
class Routine:
    """One function or procedure as the catalog describes it."""

    name: str
    is_procedure: bool
    is_set: bool
    needs_values: bool
    arguments: tuple[tuple[str, str], ...]  # name and type

    def call(self, **values: str) -> str:
        return self.call_of(f"sliding_sync.{self.name}", **values)

    def call_of(self, name: str, **values: str) -> str:
        """With every argument by its place, NULL where no value is given."""
        given = ", ".join(f"({values.get(key, 'NULL')})::{kind}" for key, kind in self.arguments)
        return f"{name}({given})"

    def plain_call(self) -> str:
        """With the defaults of all arguments that have one."""
        return f"sliding_sync.{self.name}()"

    def absurd_calls(self) -> Iterator[str]:
        """Each value for each argument, then values for all of them at once."""
        yield self.plain_call()
        yield self.call()
        for key, kind in self.arguments:
            for value in [*_VALUES.get(kind, ["NULL"]), *_CASTS.get(kind, [])]:
                yield self.call(**{key: value})
        rng = random.Random(self.name)
        for _ in range(4 * len(self.arguments)):
            yield self.call(**{key: rng.choice(_VALUES.get(kind, ["NULL"])) for key, kind in self.arguments})


def routines(connection: Connection) -> list[Routine]:
    rows = connection.execute("""
        SELECT p.proname, p.prokind = 'p', p.proretset, p.pronargs > p.pronargdefaults, ARRAY(
            SELECT ARRAY[coalesce(p.proargnames[a.position], 'argument' || a.position), format_type(a.type, NULL)]
            FROM unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) WITH ORDINALITY a (type, position)
            WHERE coalesce(p.proargmodes[a.position], 'i') IN ('i', 'b', 'v') ORDER BY a.position)
        FROM pg_proc p WHERE p.pronamespace = 'sliding_sync'::regnamespace ORDER BY p.proname
    """).fetchall()
    return [Routine(*facts, tuple((name, kind) for name, kind in arguments)) for *facts, arguments in rows]


def _block(body: str, declarations: str = "") -> str:
    return f"DO $do$ {declarations} BEGIN {body} END $do$"


def contexts_of_function(call: str) -> Iterator[list[str]]:
    """Scripts, each of which calls it in another place."""
    select, rows = f"SELECT {call}", f"SELECT * FROM {call} AS called"
    yield [select]
    yield [rows]
    yield [f"SELECT x.called, x.called::text, ROW(x.called) FROM (SELECT {call} AS called) x"]
    yield [f"SELECT * FROM ROWS FROM ({call}, {call}) WITH ORDINALITY, LATERAL (SELECT {call}) l"]
    yield [
        f"SELECT CASE WHEN random() < 2 THEN ({select} LIMIT 1)::text END, count(*) OVER (ORDER BY ({select} LIMIT 1)::text)"
    ]
    yield [f"SELECT FROM generate_series(1, 3) WHERE EXISTS ({rows}) ORDER BY ({select} LIMIT 1)::text"]
    yield [f"VALUES (({select} LIMIT 1)), (({select} LIMIT 1))"]
    yield [f"EXPLAIN (ANALYZE, VERBOSE) {rows}"]
    yield [f"WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3 AND EXISTS ({rows})) TABLE r"]
    yield [f"CREATE TEMP TABLE made AS {rows}", "DROP TABLE IF EXISTS made"]
    for kind in ("SCROLL", "NO SCROLL", "BINARY", "INSENSITIVE"):
        cursor = f"DECLARE c {kind} CURSOR WITH HOLD FOR {rows}"
        steps = [
            "FETCH 1 FROM c",
            "FETCH BACKWARD 1 FROM c",
            "FETCH LAST FROM c",
            "MOVE ABSOLUTE 0 FROM c",
            "FETCH ALL FROM c",
        ]
        yield ["BEGIN", cursor, steps[0], "SAVEPOINT s", *steps[1:2], "ROLLBACK TO s", "COMMIT", *steps, "CLOSE c"]
    yield ["BEGIN", f"DECLARE c CURSOR FOR {select}", "FETCH 1 FROM c", "COMMIT", "FETCH 1 FROM c"]
    caught = f"BEGIN PERFORM * FROM {call} AS called; EXCEPTION WHEN OTHERS THEN NULL; END;"
    yield [_block(f"FOR i IN 1..3 LOOP {caught} END LOOP;")]
    yield [_block(f"BEGIN {caught} {caught} RAISE division_by_zero; EXCEPTION WHEN OTHERS THEN {caught} END;")]
    yield [_block(f"FOR called IN {rows} LOOP {caught} COMMIT; ROLLBACK; END LOOP;", "DECLARE called record;")]
    yield [_block(f"FOR called IN {rows} LOOP EXIT; END LOOP; COMMIT; {caught} COMMIT;", "DECLARE called record;")]
    yield [f"PREPARE p AS {rows}", *["EXECUTE p"] * 7, "DEALLOCATE p"]
    for level in ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"):
        for mode in ("READ WRITE", "READ ONLY"):
            yield [f"BEGIN ISOLATION LEVEL {level}, {mode}", ACT, select, rows, ACT, "COMMIT"]
    yield ["BEGIN", ACT, "SAVEPOINT s", ACT, "SELECT 1 / 0", "ROLLBACK TO s", select, "RELEASE s", "COMMIT"]
    yield [
        "BEGIN",
        "SAVEPOINT s",
        ACT,
        select,
        "ROLLBACK TO s",
        select,
        ACT,
        "RELEASE s",
        "SELECT 1 / 0",
        select,
        "COMMIT",
    ]
    for end in ("COMMIT PREPARED 'p'", "ROLLBACK PREPARED 'p'"):
        for statements in ([ACT, select], [select, ACT], [select]):
            yield ["BEGIN", *statements, "PREPARE TRANSACTION 'p'", select, end]
    for setting in (
        "debug_parallel_query = regress",
        "force_parallel_mode = regress",
        "session_replication_role = replica",
        "default_transaction_read_only = on",
        "search_path = ''",
        "work_mem = 64",
        "statement_timeout = 1",
        "row_security = off",
        "sliding_sync.enabled = off",
        "sliding_sync.inject_fault = '*:58030'",
        "sliding_sync.inject_fault = '!*:58030'",
        "plan_cache_mode = force_custom_plan",
    ):
        yield [f"SET {setting}", select, rows, f"RESET {setting.partition(' ')[0]}"]


def contexts_inside(call: str) -> Iterator[list[str]]:
    """The same, inside objects that the server evaluates by itself, some of them with its rights restricted."""
    for marks in ("IMMUTABLE", "IMMUTABLE PARALLEL SAFE SECURITY DEFINER SET search_path = ''"):
        for language, body in (
            ("sql", f"SELECT 1 FROM {call} AS called"),
            ("plpgsql", f"BEGIN PERFORM * FROM {call} AS called; RETURN 1; END"),
        ):
            wrapped = (
                "CREATE OR REPLACE FUNCTION own.wrapped(integer DEFAULT 1) RETURNS integer "
                f"LANGUAGE {language} {marks} AS $$ {body} $$"
            )
            yield ["TRUNCATE own.notes", wrapped, "SELECT own.wrapped(n) FROM generate_series(1, 2) n", "TABLE own.notes"]
            yield [
                "CREATE TABLE own.d (x integer DEFAULT own.wrapped())",
                *["INSERT INTO own.d DEFAULT VALUES"] * 2,
                "DROP TABLE own.d",
            ]
            yield [
                "INSERT INTO own.notes VALUES (1)",
                "CREATE INDEX i ON own.notes (own.wrapped(note))",
                "REINDEX INDEX own.i",
                "ANALYZE own.notes",
                "INSERT INTO own.notes VALUES (2)",
                "DROP INDEX IF EXISTS own.i",
            ]
            yield [
                "CREATE INDEX i ON own.notes (note) WHERE own.wrapped(note) > 0",
                "INSERT INTO own.notes VALUES (3)",
                "DROP INDEX IF EXISTS own.i",
            ]
            yield [
                "CREATE TABLE own.c (x integer CHECK (own.wrapped(x) > 0))",
                "ALTER TABLE own.c ADD y integer GENERATED ALWAYS AS (own.wrapped(x)) STORED",
                "INSERT INTO own.c VALUES (1)",
                "DROP TABLE IF EXISTS own.c",
            ]
            yield [
                "CREATE MATERIALIZED VIEW own.m AS SELECT own.wrapped(note) FROM own.notes",
                "REFRESH MATERIALIZED VIEW own.m",
                "DROP MATERIALIZED VIEW IF EXISTS own.m",
            ]
            yield [
                "CREATE DOMAIN own.o AS integer CHECK (own.wrapped(VALUE) > 0)",
                "SELECT 1::own.o",
                "DROP DOMAIN IF EXISTS own.o",
            ]
            yield [
                "ALTER TABLE own.notes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
                "CREATE POLICY p ON own.notes USING (own.wrapped(note) > 0)",
                "TABLE own.notes",
                "INSERT INTO own.notes VALUES (4)",
                "DROP POLICY IF EXISTS p ON own.notes",
                "ALTER TABLE own.notes DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
            ]
            yield [
                "CREATE AGGREGATE own.a (integer) (SFUNC = own.step, STYPE = integer, FINALFUNC = own.wrapped)",
                "SELECT own.a(n) FROM generate_series(1, 3) n",
                "DROP AGGREGATE IF EXISTS own.a (integer)",
            ]
    for timing, level in (("BEFORE", "ROW"), ("AFTER", "ROW"), ("AFTER", "STATEMENT")):
        for error in ("", "EXCEPTION WHEN OTHERS THEN RETURN NEW;"):
            yield [
                "TRUNCATE own.notes",  # else each script finds more rows than the one before
                _fired(call, f"RETURN NEW; {error}"),
                f"CREATE TRIGGER t {timing} INSERT OR UPDATE OR DELETE ON own.notes FOR EACH {level} "
                "EXECUTE FUNCTION own.fired()",
                "INSERT INTO own.notes VALUES (5), (50)",
                "UPDATE own.notes SET note = 6",
                "DELETE FROM own.notes",
                "DROP TRIGGER t ON own.notes",
            ]
    yield [
        _fired(call, "RETURN NULL;"),
        "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON own.notes DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
        "EXECUTE FUNCTION own.fired()",
        "INSERT INTO own.notes VALUES (7)",
        "BEGIN",
        "INSERT INTO own.notes VALUES (8)",
        "PREPARE TRANSACTION 'p'",
        "ROLLBACK PREPARED 'p'",
        "DROP TRIGGER t ON own.notes",
    ]


def _fired(call: str, end: str) -> str:
    body = f"BEGIN PERFORM * FROM {call} AS called; {end} END"
    return f"CREATE OR REPLACE FUNCTION own.fired() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$"


def contexts_of_procedure(call: str) -> Iterator[list[str]]:
    called = f"CALL {call}"
    # INOUT arguments want variables
    caught = f"BEGIN EXECUTE {_quoted(called)}; EXCEPTION WHEN OTHERS THEN NULL; END;"
    yield [called]
    yield ["BEGIN", called, "COMMIT"]
    yield ["BEGIN", "SAVEPOINT s", called, "ROLLBACK TO s", "PREPARE TRANSACTION 'p'", "COMMIT PREPARED 'p'"]
    yield [_block(f"EXECUTE {_quoted(called)};")]
    yield [_block(f"FOR i IN 1..3 LOOP {caught} COMMIT; END LOOP;")]
    yield [
        _block(
            f"FOR x IN SELECT * FROM generate_series(1, 3) LOOP EXECUTE {_quoted(called)}; ROLLBACK; END LOOP;",
            "DECLARE x record;",
        )
    ]
    for marks in ("", "SECURITY DEFINER", "SET work_mem = '1MB'"):
        yield [
            f"CREATE OR REPLACE PROCEDURE own.p() LANGUAGE plpgsql {marks} AS $$ "
            f"BEGIN COMMIT; EXECUTE {_quoted(called)}; COMMIT; END $$",
            "CALL own.p()",
            "DROP PROCEDURE own.p()",
        ]
    yield [
        f"CREATE OR REPLACE FUNCTION own.f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE {_quoted(called)}; END $$",
        "SELECT own.f()",
    ]
    yield [
        f"CREATE OR REPLACE PROCEDURE own.p() LANGUAGE sql AS $$ {called} $$",
        "CALL own.p()",
        "DROP PROCEDURE IF EXISTS own.p()",
    ]
    yield [f"SELECT {call}"]
    yield ["SET default_transaction_read_only = on", called, "RESET default_transaction_read_only"]
    yield ["BEGIN", f"DECLARE c CURSOR WITH HOLD FOR SELECT 1", "COMMIT", called, "FETCH 1 FROM c", "CLOSE c"]
    yield [
        "SET sliding_sync.inject_fault = '*:58030'",
        called,
        "SET sliding_sync.inject_fault = '!*:58030'",
        called,
        "RESET sliding_sync.inject_fault",
    ]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
