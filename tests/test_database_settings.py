"""What a database is like before the extension comes: its encoding, and settings that it may have by default."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from harness.cluster import SUPERUSER, Cluster
from synthetic.database import ANNA, BERT, OWNER, ROOM, add_homeserver, connect, copied, create_homeserver, make_room


# What the extension consists of, as a dump would tell it.
_CONTENTS = """
    SELECT o.classid::regclass::text, i.identity,
           CASE o.classid WHEN 'pg_proc'::regclass THEN pg_get_functiondef(o.objid)
                          WHEN 'pg_class'::regclass THEN (
                              SELECT format('%s %s %s %s', c.relkind, c.reloptions, c.relacl,
                              CASE c.relkind WHEN 'v' THEN pg_get_viewdef(c.oid) END)
                              FROM pg_class c WHERE c.oid = o.objid)
           END,
           obj_description(o.objid, o.classid::regclass::name)
    FROM pg_depend o CROSS JOIN LATERAL pg_identify_object(o.classid, o.objid, 0) i
    WHERE o.refclassid = 'pg_extension'::regclass AND o.deptype = 'e'
        AND o.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'sliding_sync')
    UNION ALL
    SELECT 'column', format('%s.%s', a.attrelid::regclass, a.attname),
           format('%s %s %s', format_type(a.atttypid, a.atttypmod), a.attnotnull,
                  pg_get_expr(d.adbin, d.adrelid)), NULL
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d
        ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'sliding_sync'::regnamespace AND a.attnum > 0
    UNION ALL
    SELECT 'constraint', format('%s.%s', k.conrelid::regclass, k.conname), pg_get_constraintdef(k.oid), NULL
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
    WHERE c.relnamespace = 'sliding_sync'::regnamespace
    UNION ALL
    SELECT 'trigger', format('%s.%s', t.tgrelid::regclass, t.tgname),
           pg_get_triggerdef(t.oid) || t.tgenabled::text, NULL
    FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE p.pronamespace = 'sliding_sync'::regnamespace
    ORDER BY 1, 2
"""
_SETTINGS = {
    "standard_conforming_strings": "off",
    "backslash_quote": "off",
    "escape_string_warning": "on",
    "search_path": "homeserver, public",
    "quote_all_identifiers": "on",
    "check_function_bodies": "off",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "client_min_messages": "debug1",
    "plpgsql.variable_conflict": "use_column",
    "plpgsql.extra_errors": "all",
    "plpgsql.extra_warnings": "all",
    "plpgsql.check_asserts": "off",
    "plpgsql.print_strict_params": "on",
    "extra_float_digits": "-15",
    "DateStyle": "German, YMD",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Pacific/Chatham",
    "lc_messages": "C",
    "lc_numeric": "C",
    "bytea_output": "escape",
    "xmloption": "document",
    "transform_null_equals": "on",
    "array_nulls": "off",
    "row_security": "off",
    "default_table_access_method": "heap",
    "default_tablespace": "",
    "default_toast_compression": "pglz",
    "session_replication_role": "replica",
    "lock_timeout": "1min",
    "statement_timeout": "5min",
    "idle_in_transaction_session_timeout": "1min",
    "force_parallel_mode": "on",
    "jit_above_cost": "0",
    "plan_cache_mode": "force_generic_plan",
    "enable_indexscan": "off",
    "constraint_exclusion": "on",
    "work_mem": "64kB",
    "client_encoding": "LATIN1",
    "synchronous_commit": "off",
    "sliding_sync.enabled": "off",
    "sliding_sync.on_failure": "error",
}


# strings are always what the standard says from 19 on
_UNTIL_18 = ("standard_conforming_strings", "escape_string_warning")


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> str:
    return make_room(cluster, create_homeserver(cluster, "before settings", extension=False))


@pytest.fixture
def database(cluster: Cluster, template: str) -> Iterator[str]:
    yield cluster.create_database("with settings", OWNER, template)
    cluster.drop_database("with settings")


@pytest.fixture(scope="module")
def usual(cluster: Cluster, template: str) -> list[Any]:
    name = cluster.create_database("usual settings", OWNER, template)
    contents = install(cluster, name)
    cluster.drop_database(name)
    return contents


def install(cluster: Cluster, database: str) -> list[Any]:
    """Creates the extension and uses it; what it consists of."""
    notices: list[str] = []
    with cluster.connect(database) as connection:
        connection.add_notice_handler(
            lambda notice: (
                notices.append(notice.message_primary or "")
                if notice.severity_nonlocalized == "WARNING"
                else None
            )
        )
        connection.execute("SET default_transaction_read_only = off")  # as the server asks of whoever writes
        connection.execute("CREATE EXTENSION sliding_sync")
        connection.execute("CALL sliding_sync.backfill()")
        connection.execute("SELECT * FROM sliding_sync.catch_up()")
        for call in (
            "verify()",
            "repair()",
            "ready()",
            "preflight('upgrade')",
            "preflight('downgrade')",
            "version()",
        ):
            connection.execute(f"SELECT * FROM sliding_sync.{call}")
        assert connection.execute(
            "SELECT sliding_sync.homeserver_table('homeserver', 'schema_compat_version',"
            " '{compat_version integer}') IS NOT NULL"
        ).fetchone() == (True,)
        for view in ("status", "health", "progress", "metrics"):
            connection.execute(f"TABLE sliding_sync.{view}")
        connection.execute("SELECT sliding_sync.detach()")
        connection.execute("SELECT sliding_sync.attach()")
    assert notices == []
    with cluster.connect(
        database, options="-c search_path=pg_catalog -c quote_all_identifiers=off -c client_encoding=UTF8"
    ) as connection:
        for name in ("standard_conforming_strings", "extra_float_digits", "DateStyle", "IntervalStyle"):
            connection.execute(
                sql.SQL("SET {} TO {}").format(sql.Identifier(name), sql.Literal(_PLAIN[name]))
            )
        return connection.execute(_CONTENTS).fetchall()


_PLAIN = {
    "standard_conforming_strings": "on",
    "extra_float_digits": "1",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
}


@pytest.mark.parametrize("name", _SETTINGS)
def test_a_setting_of_the_database_changes_nothing(
    cluster: Cluster, database: str, usual: list[Any], name: str
) -> None:
    major = cluster.server_major()
    value = sql.SQL(_SETTINGS[name]) if name == "search_path" else sql.Literal(_SETTINGS[name])
    called = "debug_parallel_query" if name == "force_parallel_mode" and major >= 16 else name
    change = sql.SQL("ALTER DATABASE {} SET {} TO {}").format(sql.Identifier(database), sql.SQL(called), value)
    if name in _UNTIL_18 and major > 18:
        with pytest.raises((psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedObject)):
            cluster.execute(change)
        return
    cluster.execute(change)
    assert install(cluster, database) == usual


def test_statements_are_not_planned_anew(cluster: Cluster, template: str) -> None:
    """Not in every commit, also where plan_cache_mode asks for that; what the homeserver has set is back afterwards."""
    planned: list[str] = []
    with copied(cluster, template) as database, connect(cluster, database, SUPERUSER) as connection:
        connection.execute("CREATE EXTENSION sliding_sync")
        connection.execute("SELECT sliding_sync.attach()")
        connection.execute("SET plan_cache_mode = force_custom_plan")
        connection.add_notice_handler(lambda notice: planned.append(notice.message_primary or ""))

        def plans(*statements: str, end: str = "COMMIT") -> int:
            connection.execute("BEGIN")
            for statement in statements:
                connection.execute(statement)
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")  # the homeserver's own
            connection.execute("SET LOCAL client_min_messages = log; SET LOCAL log_planner_stats = on")
            planned.clear()
            connection.execute(end)
            connection.execute("ROLLBACK" if end != "COMMIT" else "SELECT")
            return planned.count("PLANNER STATISTICS")

        message, join = f"SELECT send_message('{ROOM}', '{ANNA}')", f"SELECT join('{ROOM}', '%s')"
        for n in range(6):  # the server's own checks of foreign keys have their plans then, too
            plans(message)
            plans(join % f"@user{n}:hs.test")
        assert plans(message) == 0
        assert plans(join % BERT) == 0
        listed = f"SELECT FROM sliding_sync.room_list('{ANNA}')"
        plans(end=listed)
        assert plans(end=listed) == 1  # the caller's own
        assert connection.execute("SHOW plan_cache_mode").fetchone() == ("force_custom_plan",)
        assert connection.execute("SELECT FROM sliding_sync.quarantine").fetchall() == []


@pytest.mark.parametrize("encoding", ["EUC_JP", "LATIN1", "WIN1252"])
def test_attach_refuses_an_encoding_that_no_homeserver_has(cluster: Cluster, encoding: str) -> None:
    name = f"in {encoding}"
    cluster.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} LOCALE 'C'").format(
            sql.Identifier(name), sql.Literal(encoding)
        )
    )
    cluster.execute("CREATE EXTENSION sliding_sync", name)
    add_homeserver(cluster, name)
    with connect(cluster, name, SUPERUSER, client_encoding="UTF8") as connection:
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="encoding") as refused:
            connection.execute("SELECT sliding_sync.attach()")
        assert refused.value.diag.message_detail and encoding in refused.value.diag.message_detail
        assert refused.value.diag.message_hint and "UTF8" in refused.value.diag.message_hint
        # triggers that a dump brings along do nothing
        for table in ("events", "event_json", "rooms", "current_state_events"):
            connection.execute(
                f'CREATE TRIGGER "A_sliding_sync" AFTER INSERT OR UPDATE OR DELETE ON {table}'
                f" FOR EACH ROW EXECUTE FUNCTION sliding_sync.collect()"
            )
        connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
        assert connection.execute("SELECT FROM sliding_sync_joined_rooms").fetchall() == []
        assert connection.execute("SELECT FROM sliding_sync.quarantine").fetchall() == []
        assert connection.execute("SELECT * FROM sliding_sync.ready()").fetchone() == (
            False,
            ["not_attached"],
        )
    cluster.drop_database(name)


def test_an_encoding_without_conversions_will_do(cluster: Cluster) -> None:
    """SQL_ASCII holds whatever bytes a homeserver writes."""
    name = "in SQL_ASCII"
    cluster.execute(f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    cluster.execute("CREATE EXTENSION sliding_sync", name)
    add_homeserver(cluster, name)
    with connect(cluster, name, SUPERUSER, client_encoding="UTF8") as connection:
        connection.execute("SELECT sliding_sync.attach()")
        connection.execute("SELECT create_room(%s, %s, name => %s)", (ROOM, ANNA, "Café"))
        assert connection.execute("SELECT room_name FROM sliding_sync_joined_rooms").fetchall() == [("Café",)]
    cluster.drop_database(name)


def test_a_homeservers_connection_has_no_setting_that_injects_faults(cluster: Cluster) -> None:
    database = make_room(cluster, create_homeserver(cluster, "of settings"))
    load, name = "SELECT sliding_sync.library_version()", "sliding_sync.inject_fault"
    is_there = "SELECT current_setting(%s, true) IS NOT NULL"
    with connect(cluster, database) as connection:
        connection.execute(load)
        assert connection.execute(is_there, (name,)).fetchone() == (False,)
        assert connection.execute(is_there, ("sliding_sync.log_corrections",)).fetchone() == (True,)
        with pytest.raises(psycopg.errors.InvalidName):
            connection.execute(f"SET {name} = '*'")
    with connect(cluster, database, SUPERUSER) as connection:
        connection.execute(load)
        connection.execute(f"SET {name} = '*'")
        connection.execute(sql.SQL("ALTER ROLE {} SET sliding_sync.inject_fault = 'nothing'").format(sql.Identifier(OWNER)))
    try:
        with connect(cluster, database) as connection:  # set for it by a superuser, before the library is loaded
            connection.execute(load)
            assert connection.execute(is_there, (name,)).fetchone() == (True,)
    finally:
        cluster.execute(f"ALTER ROLE {OWNER} RESET sliding_sync.inject_fault")
