"""Nobody gets rights through the triggers: neither a plain role that prepares names, tables and indexes of
its own, nor the derived tables' owner over whoever commits. And nobody needs more than the base tables.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from oracle import Watcher, check
from synthetic.attacker import ATTACKER, arm, attacked, plant_names, victims, witnessed
from synthetic.database import ANNA, BASE_TABLES, BERT, DERIVED_TABLES, OWNER, ROOM, SCHEMA, connect, create_homeserver

Connection = psycopg.Connection[Any]



@pytest.fixture
def database(cluster: Cluster, armed_tea_room: str) -> Iterator[str]:
    with attacked(cluster, armed_tea_room) as name:
        yield name


def change_much(connection: Connection) -> None:
    """Inside a transaction: every way through the pipeline."""
    connection.execute("SELECT send_message(%s, %s)", (ROOM, ANNA))
    connection.execute("SELECT rename(%s, %s, 'Coffee')", (ROOM, ANNA))
    connection.execute('SELECT "join"(%s, %s)', (ROOM, BERT))
    connection.execute("SELECT redact(%s, %s, send_message(%s, %s))", (ROOM, ANNA, ROOM, ANNA))
    connection.execute("SELECT remote_invite('!far:remote.test', %s, '@boss:remote.test', '[]')", (BERT,))


# -- names


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "READ COMMITTED"])
@pytest.mark.parametrize(
    "search_path",
    ["attacker, pg_catalog", "public, pg_catalog", "pg_temp, attacker, public, pg_catalog", "''", "attacker"],
)
@pytest.mark.parametrize("user", [OWNER, SUPERUSER])
def test_no_search_path_lends_a_name_to_us(
    cluster: Cluster, database: str, search_path: str, isolation: str, user: str
) -> None:
    with cluster.connect(database, ATTACKER) as connection:
        for schema in ("attacker", "public"):
            plant_names(connection, schema)
    with connect(cluster, database, user) as connection:
        watcher = Watcher(connection, SCHEMA)
        connection.execute(f"BEGIN ISOLATION LEVEL {isolation}")
        change_much(connection)
        connection.execute("SELECT send_message(%s, %s)", (ROOM, ANNA))
        connection.execute(f"SET LOCAL search_path = {search_path}")
        if user == SUPERUSER:  # others may not
            connection.execute("SELECT sliding_sync.flush()")
        # the foreign keys of a deleted event are looked after inside the statement
        newest = "SELECT pg_catalog.max(stream_ordering) FROM homeserver.events"
        extremities = "DELETE FROM homeserver.event_forward_extremities"
        delete = f"DELETE FROM homeserver.events WHERE stream_ordering OPERATOR(pg_catalog.=) ({newest})"
        for statement in (extremities, delete, "COMMIT"):
            connection.execute(statement)
        # by a TRUNCATE, everything is looked at
        connection.execute("BEGIN")
        connection.execute(f"SET LOCAL search_path = {search_path}")
        connection.execute("TRUNCATE homeserver.rejections")
        connection.execute("COMMIT")
        assert not watcher.check_step()
    assert not victims(cluster, database)


@pytest.mark.parametrize(
    "search_path", ["attacker, pg_catalog", "pg_temp, attacker, public, pg_catalog", "''"]
)
def test_no_search_path_lends_a_name_to_the_backfill(
    cluster: Cluster, database: str, search_path: str
) -> None:
    with connect(cluster, database) as connection:
        change_much(connection)
        connection.execute('SELECT "leave"(%s, %s)', (ROOM, BERT))
        for table in DERIVED_TABLES:
            connection.execute(f"DELETE FROM {table}")
    with cluster.connect(database, ATTACKER) as connection:
        for schema in ("attacker", "public"):
            plant_names(connection, schema)
    with connect(cluster, database, SUPERUSER) as connection:
        connection.execute(f"SET search_path = {search_path}")
        connection.execute("CALL sliding_sync.backfill('homeserver', restart => true)")
        connection.execute("CALL sliding_sync.backfill(first_room => '!a', last_room => '!z')")
        connection.execute("RESET search_path")
        assert not check(connection, SCHEMA)
    assert not victims(cluster, database)


def test_the_planted_names_are_dangerous(cluster: Cluster, database: str) -> None:
    """The same names in a statement without our care."""
    with cluster.connect(database, ATTACKER) as connection:
        plant_names(connection, "attacker")
    with connect(cluster, database, SUPERUSER) as connection:
        connection.execute("SET search_path = attacker, pg_catalog")
        connection.execute("SELECT FROM homeserver.events WHERE room_id = 'x'")
        connection.execute("SELECT * FROM unnest(ARRAY['x'])")
    assert victims(cluster, database) == {("text =", SUPERUSER), ("unnest", SUPERUSER)}


def test_temporary_tables_of_the_same_names(cluster: Cluster, database: str) -> None:
    """Neither read nor written, although they come first in every search_path."""
    with connect(cluster, database) as connection:
        watcher = Watcher(connection, SCHEMA)
        for table in (*BASE_TABLES, *DERIVED_TABLES):
            connection.execute(f"CREATE TEMP TABLE {table} (LIKE {SCHEMA}.{table})")
        connection.execute("INSERT INTO pg_temp.rejections SELECT event_id, '', '' FROM homeserver.events")
        connection.execute("BEGIN")
        connection.execute("SET LOCAL search_path = operations, homeserver, pg_temp")
        change_much(connection)
        connection.execute("SET LOCAL search_path = pg_temp")
        connection.execute("COMMIT")
        assert not watcher.check_step()
        for table in DERIVED_TABLES:
            rows = connection.execute(f"SELECT count(*) FROM pg_temp.{table}").fetchone()
            assert rows == (0,)


MONITORED = (
    "status",
    "health",
    "progress",
    "metrics",
    "triggers",
    "schemas",
    "role_settings",
    "missing_columns",
    "needed_indexes",
)
HOSTILE_PATHS = ("attacker, pg_catalog", "attacker", "pg_temp, attacker, public", "''")


@pytest.mark.parametrize("search_path", HOSTILE_PATHS)
def test_no_search_path_lends_a_name_to_the_install_script_and_its_views(
    cluster: Cluster, search_path: str
) -> None:
    name = create_homeserver(cluster, "hostile creation", extension=False)
    arm(cluster, name)
    with cluster.connect(name, ATTACKER) as connection:
        for schema in ("attacker", "public"):
            plant_names(connection, schema)
    with cluster.connect(name) as connection:
        connection.execute("SET search_path = attacker, pg_catalog")
        connection.execute("CREATE EXTENSION sliding_sync")
        connection.execute(f"SET search_path = {search_path}")
        for view in MONITORED:
            connection.execute(f"TABLE sliding_sync.{view}")
        connection.execute("SELECT * FROM sliding_sync.ready()")
        for what in ("delete_room", "port_database", "upgrade", "downgrade", "remove_extension"):
            connection.execute(f"SELECT * FROM sliding_sync.preflight('{what}')")
    found = victims(cluster, name)
    cluster.drop_database(name)
    assert not found


# -- tables

_PLANTED = {
    "a cast": """
        CREATE TYPE attacker.word AS ENUM ('x');
        CREATE FUNCTION attacker.as_text(attacker.word) RETURNS text LANGUAGE sql
            AS $$ SELECT attacker.ran('cast')::text $$;
        CREATE CAST (attacker.word AS text) WITH FUNCTION attacker.as_text AS IMPLICIT;
        CREATE TABLE homeserver.room_ban_redactions (room_id attacker.word, user_id text,
            redacting_event_id text, redact_end_ordering bigint);
        INSERT INTO homeserver.room_ban_redactions VALUES ('x');
        GRANT ALL ON homeserver.room_ban_redactions TO PUBLIC;
    """,
    "a policy": """
        CREATE TABLE homeserver.room_ban_redactions (room_id text, user_id text,
            redacting_event_id text, redact_end_ordering bigint);
        INSERT INTO homeserver.room_ban_redactions VALUES ('!r:hs.test', '@anna:hs.test');
        ALTER TABLE homeserver.room_ban_redactions ENABLE ROW LEVEL SECURITY;
        GRANT ALL ON homeserver.room_ban_redactions TO PUBLIC;
        CREATE POLICY ran ON homeserver.room_ban_redactions USING (attacker.ran('policy'));
    """,
    "a trigger": """
        CREATE TABLE homeserver.sliding_sync_joined_rooms_to_recalculate (room_id text);
        INSERT INTO homeserver.sliding_sync_joined_rooms_to_recalculate VALUES ('!r:hs.test');
        GRANT ALL ON homeserver.sliding_sync_joined_rooms_to_recalculate TO PUBLIC;
        CREATE TRIGGER ran BEFORE DELETE ON homeserver.sliding_sync_joined_rooms_to_recalculate
            FOR EACH ROW EXECUTE FUNCTION attacker.trigger_ran();
    """,
}


@pytest.mark.parametrize("planted", _PLANTED)
def test_tables_that_an_old_homeserver_does_not_have(cluster: Cluster, planted: str) -> None:
    """Somebody else's tables of these names are none of the homeserver's."""
    name = create_homeserver(cluster, f"before {planted}", extension=False, old_schema=True)
    arm(cluster, name)
    with cluster.connect(name, ATTACKER) as connection:
        connection.execute(_PLANTED[planted])
    cluster.execute("CREATE EXTENSION sliding_sync", name)
    with connect(cluster, name) as connection:
        connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
        connection.execute("SELECT rename(%s, %s, 'Coffee')", (ROOM, ANNA))
        names = connection.execute("SELECT room_name FROM sliding_sync_joined_rooms").fetchall()
        assert names == [("Coffee",)]
        connection.execute("SELECT purge_room(%s)", (ROOM,))
    found = victims(cluster, name)
    cluster.drop_database(name)
    assert not found


@pytest.mark.parametrize("table", DERIVED_TABLES)
def test_attach_refuses_derived_tables_of_somebody_else(cluster: Cluster, table: str) -> None:
    name = create_homeserver(cluster, "before attach", extension=False, old_schema=True)
    arm(cluster, name)
    with cluster.connect(name, ATTACKER) as connection:
        connection.execute(f"CREATE TABLE homeserver.{table} (room_id text)")
    with cluster.connect(name) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="does not belong to the owner"):
            connection.execute("CREATE EXTENSION sliding_sync")
    cluster.drop_database(name)


_OTHER_TYPES = {
    "integer": "7",
    "bigint": "7",
    "boolean": "true",
    '"char"': "'x'",
    "name": "'x'",
    "uuid": "'00000000-0000-0000-0000-000000000007'",
    "double precision": "7",
    "integer[]": "'{7}'",
    "numeric": "7",
}


def test_trigger_functions_on_tables_of_any_shape() -> None:
    """Whoever may make a temporary table may put them on it: what a column holds is not taken on trust."""
    with Cluster() as cluster:  # of its own: what fails here takes the whole server down
        create_homeserver(cluster, "shapes")
        cluster.create_role(ATTACKER)
        columns = {
            table: [
                name
                for (name,) in cluster.execute(
                    "SELECT attname FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped"
                    f" AND attrelid = 'homeserver.{table}'::regclass",
                    "shapes",
                )
            ]
            for table in BASE_TABLES
        }
        with cluster.connect("shapes", ATTACKER) as connection:
            connection.execute("SET sliding_sync.on_failure = error")
            for table, names in columns.items():
                for type_, value in _OTHER_TYPES.items():
                    definition = ", ".join(f"{name} {type_}" for name in names)
                    values = ", ".join(value for _ in names)
                    for statement in (
                        f"CREATE TEMP TABLE {table} ({definition})",
                        f"CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW"
                        f" EXECUTE FUNCTION sliding_sync.collect()",
                        f"INSERT INTO {table} VALUES ({values})",
                        f"UPDATE {table} SET {names[0]} = DEFAULT",
                        f"UPDATE {table} SET {names[0]} = {value}",
                        f"DELETE FROM {table}",
                        f"DROP TABLE {table}",
                    ):
                        connection.execute(statement)


# -- commands that run other people's functions with few rights


@pytest.mark.parametrize("user", [SUPERUSER, OWNER])
@pytest.mark.parametrize(
    "command",
    [
        "ANALYZE attacker.lure",
        "REINDEX TABLE attacker.lure",
        "CREATE INDEX ON attacker.lure (attacker.lures(room_id))",
        "VACUUM (FULL, ANALYZE) attacker.lure",
        "CLUSTER attacker.lure USING lure_index",
        "REFRESH MATERIALIZED VIEW attacker.lure_view",
    ],
)
def test_maintenance_of_a_table_with_hostile_functions(
    cluster: Cluster, database: str, command: str, user: str
) -> None:
    """What such a function writes to attached tables is refused: it would be carried out at commit."""
    with cluster.connect(database) as connection:
        for table in (*BASE_TABLES, *DERIVED_TABLES):
            connection.execute(
                f"CREATE TABLE attacker.{table} (LIKE {SCHEMA}.{table} INCLUDING DEFAULTS INCLUDING INDEXES);"
                f"ALTER TABLE attacker.{table} OWNER TO attacker"
            )
    with cluster.connect(database, ATTACKER) as connection:
        connection.execute(_LURE)
    cluster.execute("SELECT sliding_sync.attach('attacker')", database)
    with cluster.connect(database, ATTACKER) as connection:
        # the trap works for its owner
        connection.execute("SELECT attacker.writes('!lure')")
        connection.execute("UPDATE attacker.armed SET armed = true")
        assert ("sliding_sync_joined_rooms INSERT BEFORE", ATTACKER) in witnessed(cluster, database)
        connection.execute("TRUNCATE attacker.witness")
    with cluster.connect(database, user) as connection:
        try:
            connection.execute(command)
            refused = False
        except psycopg.errors.InsufficientPrivilege as error:
            refused = True
            by_us = "security-restricted operation" in str(error)
            assert by_us or user == OWNER, error
    found = witnessed(cluster, database)
    assert refused, "the trap did not even snap"
    assert not found


_LURE = """
    CREATE TABLE attacker.armed (armed boolean);
    INSERT INTO attacker.armed VALUES (false);
    CREATE TRIGGER ran BEFORE INSERT ON attacker.sliding_sync_joined_rooms
        FOR EACH ROW EXECUTE FUNCTION attacker.trigger_ran();
    CREATE FUNCTION attacker.writes(room text) RETURNS text LANGUAGE plpgsql AS $$
    DECLARE
        n bigint := (SELECT count(*) FROM attacker.events) + 1;
    BEGIN
        INSERT INTO attacker.rooms (room_id) VALUES (room || n);
        INSERT INTO attacker.event_json VALUES ('$' || n, room || n, '{}', '{}', 3);
        INSERT INTO attacker.events
            (topological_ordering, event_id, type, room_id, processed, outlier, sender, stream_ordering,
             state_key)
            VALUES (n, '$' || n, 'm.room.create', room || n, true, false, '@x:y', n, '');
        INSERT INTO attacker.current_state_events VALUES ('$' || n, room || n, 'm.room.create', '');
        RETURN room;
    END $$;
    CREATE FUNCTION attacker.lures(room text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN
        RETURN CASE WHEN (SELECT armed FROM attacker.armed) THEN attacker.writes(room) ELSE room END;
    END $$;
    CREATE TABLE attacker.lure (room_id text);
    INSERT INTO attacker.lure VALUES ('!lure');
    CREATE INDEX lure_index ON attacker.lure (attacker.lures(room_id));
    CREATE MATERIALIZED VIEW attacker.lure_view AS SELECT attacker.lures(room_id) FROM attacker.lure;
"""


# -- whose triggers run as whom


def watch_the_derived_tables(cluster: Cluster, database: str) -> None:
    cluster.execute("GRANT USAGE, CREATE ON SCHEMA attacker TO homeserver_owner", database)
    with connect(cluster, database) as connection:
        for table in DERIVED_TABLES:
            connection.execute(
                f"CREATE TRIGGER now AFTER INSERT OR UPDATE OR DELETE ON {table}"
                " FOR EACH ROW EXECUTE FUNCTION attacker.trigger_ran();"
                f"CREATE CONSTRAINT TRIGGER later AFTER INSERT OR UPDATE OR DELETE ON {table}"
                " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION attacker.trigger_ran();"
            )


@pytest.mark.parametrize("committer", [SUPERUSER, "writer", OWNER])
def test_triggers_of_the_derived_tables_run_as_their_owner(
    cluster: Cluster, database: str, committer: str
) -> None:
    """Also deferred ones, and also if they try to become somebody else."""
    allow_writing(cluster, database, "writer")
    watch_the_derived_tables(cluster, database)
    with connect(cluster, database, committer) as connection:
        connection.execute("BEGIN")
        change_much(connection)
        connection.execute("SELECT create_room('!new:hs.test', %s)", (BERT,))
        connection.execute("COMMIT")
        assert connection.execute("SELECT current_user, session_user").fetchone() == (committer, committer)
    found = witnessed(cluster, database)
    assert {role for _, role in found} == {OWNER}
    for table in DERIVED_TABLES:
        assert f"{table} INSERT AFTER" in {code for code, _ in found}
    allowed = {"RESET ROLE", "RESET SESSION AUTHORIZATION"} if committer == OWNER else set()
    assert {code for code, _ in found if code.startswith(("RESET", "SET"))} <= allowed


def test_a_backfill_runs_triggers_of_the_derived_tables_as_their_owner(
    cluster: Cluster, database: str
) -> None:
    """Deferred ones must not wait for the commit of whoever calls it."""
    watch_the_derived_tables(cluster, database)
    with connect(cluster, database) as connection:
        for table in DERIVED_TABLES:
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER; DELETE FROM {table}")
            connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    with connect(cluster, database, SUPERUSER) as connection:
        connection.execute("CALL sliding_sync.backfill()")
        assert connection.execute("SELECT current_user, session_user").fetchone() == (SUPERUSER, SUPERUSER)
    found = witnessed(cluster, database)
    assert {role for _, role in found} == {OWNER}
    assert {code for code, _ in found} == {f"{table} INSERT AFTER" for table in DERIVED_TABLES}


def test_the_committer_may_be_somebody_else_than_the_writer(cluster: Cluster, database: str) -> None:
    cluster.create_role("nobody_special")
    allow_writing(cluster, database, "writer")
    with connect(cluster, database, SUPERUSER) as connection:
        watcher = Watcher(connection, SCHEMA)
        connection.execute("BEGIN")
        connection.execute("SET LOCAL ROLE writer")
        change_much(connection)
        connection.execute("SET LOCAL ROLE nobody_special")
        connection.execute("COMMIT")
        assert not watcher.check_step()


def allow_writing(cluster: Cluster, database: str, role: str) -> None:
    """The base tables and whatever else a homeserver writes, but nothing of the derived ones."""
    cluster.create_role(role)
    cluster.execute(
        f"GRANT USAGE ON SCHEMA {SCHEMA}, operations TO {role};"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO {role};"
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {SCHEMA}, operations TO {role};"
        + "".join(f"REVOKE ALL ON {SCHEMA}.{table} FROM {role};" for table in DERIVED_TABLES),
        database,
    )


# -- few rights are enough


def test_a_role_that_may_only_insert(cluster: Cluster, database: str) -> None:
    """It may not even read what it writes."""
    cluster.create_role("inserter")
    cluster.execute(
        "GRANT USAGE ON SCHEMA homeserver TO inserter;"
        "GRANT INSERT ON homeserver.events, homeserver.event_json TO inserter;"
        "GRANT USAGE ON SEQUENCE homeserver.events_stream_seq TO inserter",
        database,
    )
    with connect(cluster, database) as observer, connect(cluster, database, "inserter") as connection:
        watcher = Watcher(observer, SCHEMA)
        with connection.transaction():
            connection.execute("INSERT INTO event_json VALUES ('$x', %s, '{}', '{}', 3)", (ROOM,))
            connection.execute(
                "INSERT INTO events (topological_ordering, event_id, type, room_id, processed, outlier,"
                " sender, stream_ordering) VALUES (9, '$x', 'm.room.message', %s, true, false, %s,"
                " nextval('events_stream_seq'))",
                (ROOM, ANNA),
            )
        assert not watcher.check_step()
        for table in (*BASE_TABLES, *DERIVED_TABLES):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT FROM {table}")


def test_a_role_with_the_base_tables_only(cluster: Cluster, database: str) -> None:
    allow_writing(cluster, database, "writer")
    with connect(cluster, database) as observer, connect(cluster, database, "writer") as connection:
        watcher = Watcher(observer, SCHEMA)
        with connection.transaction():
            change_much(connection)
        assert not watcher.check_step()
        connection.execute("SELECT purge_room(%s)", (ROOM,))
        assert not watcher.check_step()
        for table in DERIVED_TABLES:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT FROM {table}")


def test_a_reader(cluster: Cluster, database: str) -> None:
    cluster.create_role("reader")
    cluster.execute(
        "GRANT USAGE ON SCHEMA homeserver TO reader;"
        "GRANT SELECT ON ALL TABLES IN SCHEMA homeserver TO reader",
        database,
    )
    with connect(cluster, database, "reader") as connection:
        for table in DERIVED_TABLES:
            rows = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            assert rows == (1,)
        assert connection.execute("SELECT attached_schemas FROM sliding_sync.version()").fetchone() == (
            [SCHEMA],
        )
        assert connection.execute("SELECT * FROM sliding_sync.last_flush()").fetchone() == (None,) * 4
        for statement in (
            "SELECT sliding_sync.attach()",
            "SELECT sliding_sync.detach()",
            "SELECT sliding_sync.flush()",
            "DELETE FROM sliding_sync_joined_rooms",
            "UPDATE sliding_sync_membership_snapshots SET forgotten = 1",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_a_monitor(cluster: Cluster, database: str) -> None:
    """It has pg_monitor and nothing else: not even the homeserver's schema is open to it."""
    cluster.create_role("monitor")
    cluster.execute("GRANT pg_monitor TO monitor")
    with cluster.connect(database, "monitor") as connection, cluster.connect(database) as worker:
        worker.execute("INSERT INTO sliding_sync.runs (schema_name, tables) VALUES ('homeserver', 'both')")
        worker.execute(
            "INSERT INTO sliding_sync.run_ranges (run_id, range_number, table_name, after_room,"
            " position_room, items_total, updated_at, pid) SELECT max(run_id), 1,"
            " 'sliding_sync_joined_rooms', '', '', 1, clock_timestamp(), pg_backend_pid()"
            " FROM sliding_sync.runs"
        )
        rows = {view: connection.execute(f"TABLE sliding_sync.{view}").fetchall() for view in MONITORED}
        assert [row[0] for row in rows["status"]] == [SCHEMA]
        assert {row[0] for row in rows["metrics"]} >= {"sliding_sync_ready", "sliding_sync_run_items_total"}
        assert connection.execute("SELECT is_ready FROM sliding_sync.ready()").fetchone() == (False,)
        # somebody else's session, while it is at work
        sessions = "SELECT sessions FROM sliding_sync.progress"
        assert connection.execute(sessions).fetchone() == ([],)
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(worker.execute, "SELECT pg_sleep(60)")
            deadline = time.monotonic() + 30
            while connection.execute(sessions).fetchone() != ([worker.info.backend_pid],):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            worker.cancel()
            assert isinstance(working.exception(30), psycopg.errors.QueryCanceled)
        for statement in (
            "SELECT FROM sliding_sync.runs",
            "SELECT FROM sliding_sync.trigger_coverage",
            "SELECT FROM sliding_sync.quarantine",
            "SELECT FROM sliding_sync.bypassed_writes",
            "SELECT * FROM sliding_sync.preflight('upgrade')",
            "SELECT * FROM sliding_sync.finish_background_updates()",
            "SELECT FROM homeserver.sliding_sync_joined_rooms",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
    with cluster.connect(database, ATTACKER) as connection:
        for view in ("status", "health", "progress", "metrics"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"TABLE sliding_sync.{view}")


def test_monitoring_does_not_touch_the_homeservers_tables(cluster: Cluster, database: str) -> None:
    """Whatever holds them, and however large they are."""
    with cluster.connect(database, autocommit=False) as holder, cluster.connect(database) as connection:
        for table in (*BASE_TABLES, *DERIVED_TABLES):
            holder.execute(f"LOCK TABLE {SCHEMA}.{table}")
        connection.execute("SET statement_timeout = '5s'")
        for view in MONITORED:
            connection.execute(f"TABLE sliding_sync.{view}")
        assert connection.execute("SELECT is_ready FROM sliding_sync.ready()").fetchone() == (False,)


# -- what the extension makes

_FUNCTIONS = """
    SELECT p.proname, p.prokind, p.provolatile, p.prosecdef, l.lanname, p.proconfig,
           has_function_privilege('attacker', p.oid, 'EXECUTE'), p.prorettype = 'trigger'::regtype
    FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
    WHERE p.pronamespace = 'sliding_sync'::regnamespace
"""


def test_functions(cluster: Cluster, database: str) -> None:
    functions = cluster.execute(_FUNCTIONS, database)
    assert len(functions) > 10
    for name, kind, volatility, definer, language, config, public, is_trigger in functions:
        assert not definer, name
        pinned = any(setting.startswith("search_path=pg_catalog") for setting in config or ())
        assert language == "c" or pinned, name
        # a volatile function may write; one only looks back, one asks for the owner's privileges
        writes = volatility == "v" and not is_trigger and name not in ("last_flush", "as_owner")
        assert not (writes and public), name
        if kind == "p":
            assert not public, name


def test_nobody_else_may_write_or_create_in_our_schema(cluster: Cluster, database: str) -> None:
    rights = "INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER"
    writable = cluster.execute(
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'sliding_sync'::regnamespace"
        f" AND c.relkind IN ('r', 'v', 'm', 'p') AND has_table_privilege('attacker', c.oid, '{rights}')",
        database,
    )
    assert not writable
    assert cluster.execute("SELECT has_schema_privilege('attacker', 'sliding_sync', 'CREATE')", database) == [
        (False,)
    ]


def test_schema_of_our_name_made_before(cluster: Cluster) -> None:
    """Functions of somebody else never end up among ours: the extension makes its schema itself."""
    name = create_homeserver(cluster, "taken", extension=False)
    arm(cluster, name)
    cluster.execute("GRANT CREATE ON DATABASE taken TO attacker", name)
    cluster.execute("CREATE SCHEMA sliding_sync", name, ATTACKER)
    with pytest.raises(psycopg.errors.DuplicateSchema):
        cluster.execute("CREATE EXTENSION sliding_sync", name)
    cluster.drop_database(name)
