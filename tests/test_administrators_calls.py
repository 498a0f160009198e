"""What an administrator calls runs code of lesser roles: triggers, rules and views of the homeserver's tables.
It runs as their owner, and leaves nothing behind in the administrator's session.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from oracle import check
from synthetic.attacker import ATTACKER, witnessed
from synthetic.database import ANNA, BERT, DERIVED_TABLES, OWNER, ROOM, SCHEMA, connect, copied

Connection = psycopg.Connection[Any]

# Everything that could outlive the call.
_TRAP = """
    CREATE FUNCTION homeserver.trap() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM attacker.try(
            'RESET ROLE', 'SET ROLE postgres', 'SET SESSION AUTHORIZATION postgres',
            'RESET SESSION AUTHORIZATION',
            'SET search_path = homeserver', 'SET sliding_sync.enabled = off', 'SET row_security = off',
            'SET plpgsql.variable_conflict = use_column', 'SET homeserver.planted = yes',
            'CREATE TEMP TABLE pg_class (planted integer)', 'PREPARE planted AS SELECT 1', 'LISTEN planted',
            'DECLARE planted CURSOR WITH HOLD FOR SELECT 1',
            'ALTER ROLE homeserver_owner SUPERUSER');
        PERFORM attacker.ran(TG_NAME);
        RETURN NULL;
    END $$;
"""
_SESSION = """
    SELECT current_user, session_user, current_setting('search_path'), current_setting('role'),
           current_setting('sliding_sync.enabled'), current_setting('row_security'),
           current_setting('plpgsql.variable_conflict'), current_setting('homeserver.planted', true),
           current_setting('lock_timeout'), current_setting('work_mem'), current_setting('synchronous_commit'),
           (SELECT count(*) FROM pg_class c WHERE c.relpersistence = 't'),
           (SELECT count(*) FROM pg_prepared_statements s WHERE s.from_sql),
           (SELECT count(*) FROM pg_cursors c WHERE c.is_holdable),
           (SELECT count(*) FROM pg_listening_channels()),
           (SELECT count(*) FROM pg_locks l WHERE l.locktype = 'advisory')
"""
CALLS = (
    "SELECT sliding_sync.repair()",
    "SELECT sliding_sync.repair_quarantine()",
    "SELECT sliding_sync.catch_up()",
    "SELECT sliding_sync.catch_up(mode => 'remove')",
    "CALL sliding_sync.backfill(restart => true)",
    "BEGIN; UPDATE homeserver.events SET instance_name = instance_name || 'x';"
    " SELECT sliding_sync.flush(); COMMIT",
    "UPDATE homeserver.events SET instance_name = instance_name || 'x'",
    "DELETE FROM homeserver.events"
    " WHERE stream_ordering = (SELECT max(stream_ordering) FROM homeserver.events)",
)


@pytest.fixture(scope="module")
def template(cluster: Cluster, armed_tea_room: str) -> str:
    name = cluster.create_database("administered", OWNER, armed_tea_room)
    cluster.execute("GRANT USAGE ON SCHEMA attacker TO homeserver_owner", name)
    with connect(cluster, name) as connection:
        connection.execute('SELECT "join"(%s, %s)', (ROOM, BERT))
        connection.execute("SELECT send_message(%s, %s)", (ROOM, ANNA))
        connection.execute("DELETE FROM event_forward_extremities")
        connection.execute(_TRAP)
    cluster.execute("CALL sliding_sync.backfill()", name)
    return name


@pytest.fixture
def database(cluster: Cluster, template: str) -> Iterator[str]:
    with copied(cluster, template, "administrated", OWNER) as name:
        yield name


def set_traps(cluster: Cluster, database: str) -> None:
    """Rows that are wrong, noted and stale, and triggers that fire when they are mended."""
    with connect(cluster, database) as connection:
        connection.execute("SET sliding_sync.enabled = off")
        connection.execute("UPDATE events SET outlier = outlier")
        for table in DERIVED_TABLES:
            connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_event_stream_ordering_fkey")
            connection.execute(
                f"UPDATE {table} SET room_name = 'spoiled', event_stream_ordering = -event_stream_ordering"
            )
            connection.execute(
                f"CREATE TRIGGER now AFTER INSERT OR UPDATE OR DELETE ON {table}"
                " FOR EACH ROW EXECUTE FUNCTION trap();"
                f"CREATE CONSTRAINT TRIGGER later AFTER INSERT OR UPDATE OR DELETE ON {table}"
                " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION trap();"
            )
    cluster.execute(
        "INSERT INTO sliding_sync.quarantine (schema_name, table_name, room_id, reason, sqlstate, message)"
        f" VALUES ('{SCHEMA}', 'sliding_sync_joined_rooms', '{ROOM}', 'refresh_failed', 'XX000', '')",
        database,
    )


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read"])
@pytest.mark.parametrize("call", CALLS)
def test_code_of_the_owner_runs_as_the_owner_and_leaves_nothing_behind(
    cluster: Cluster, database: str, call: str, isolation: str
) -> None:
    set_traps(cluster, database)
    with connect(cluster, database, SUPERUSER) as connection:
        connection.execute(f"SET default_transaction_isolation = '{isolation}'")
        connection.execute("DO 'BEGIN END'")
        connection.execute(
            "SELECT sliding_sync.library_version(), set_config('homeserver.planted', 'no', false)"
        )
        before = connection.execute(_SESSION).fetchone()
        for statement in call.split("; "):
            connection.execute(statement)
        assert connection.execute(_SESSION).fetchone() == before
    found = witnessed(cluster, database)
    assert {role for _, role in found} == {OWNER}
    assert {"now", "later"} <= {code for code, _ in found}
    # settings may be made, and end with the call
    assert {code for code, _ in found} - {"now", "later"} <= {
        "SET search_path = homeserver",
        "SET sliding_sync.enabled = off",
        "SET row_security = off",
        "SET plpgsql.variable_conflict = use_column",
        "SET homeserver.planted = yes",
    }
    assert cluster.execute(f"SELECT rolsuper FROM pg_roles WHERE rolname = '{OWNER}'") == [(False,)]


SHARED_NAME = """
    GRANT CREATE, USAGE ON SCHEMA public TO attacker;
    GRANT SELECT, DELETE ON homeserver.events TO attacker;
    GRANT USAGE ON SCHEMA homeserver TO attacker;
    SET ROLE homeserver_owner;
    CREATE TABLE public.tags (room_id text CONSTRAINT k REFERENCES homeserver.sliding_sync_joined_rooms DEFERRABLE);
    SET ROLE attacker;
    CREATE TABLE public.bait (x integer);
"""


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read"])
@pytest.mark.parametrize("owner", [OWNER, SUPERUSER])
def test_a_stranger_whose_constraint_shares_a_name_gains_nothing(
    cluster: Cluster, armed_tea_room: str, owner: str, isolation: str
) -> None:
    """SET CONSTRAINTS with a name means every deferrable one of the schema that has it. Made after the snapshot, too."""
    with copied(cluster, armed_tea_room, "shared_name", OWNER) as name:
        if owner == SUPERUSER:
            tables = cluster.execute(f"SELECT tablename FROM pg_tables WHERE schemaname = '{SCHEMA}'", name)
            for (table,) in tables:
                cluster.execute(f"ALTER TABLE {SCHEMA}.{table} OWNER TO {SUPERUSER}", name)
            cluster.execute(f"GRANT USAGE, CREATE ON SCHEMA {SCHEMA} TO {SUPERUSER}", name)
        cluster.execute(SHARED_NAME.replace(OWNER, owner), name)
        with connect(cluster, name, owner) as connection:
            connection.execute("SELECT send_message(%s, %s)", (ROOM, ANNA))
            connection.execute("DELETE FROM event_forward_extremities")
        with cluster.connect(name, ATTACKER) as connection:
            connection.execute(f"BEGIN ISOLATION LEVEL {isolation}; SELECT")
            with cluster.connect(name, ATTACKER) as other:
                other.execute(
                    "CREATE CONSTRAINT TRIGGER k AFTER INSERT ON public.bait DEFERRABLE INITIALLY DEFERRED"
                    " FOR EACH ROW EXECUTE FUNCTION attacker.trigger_ran()"
                )
            connection.execute("INSERT INTO public.bait VALUES (1)")
            connection.execute(
                f"DELETE FROM {SCHEMA}.events WHERE type = 'm.room.message'"
                f" AND stream_ordering = (SELECT max(stream_ordering) FROM {SCHEMA}.events)"
            )
            assert not witnessed(cluster, name), "what waits waits until the stranger commits"
            connection.execute("COMMIT")
        assert {role for _, role in witnessed(cluster, name)} == {ATTACKER}
        with connect(cluster, name, SUPERUSER) as connection:
            assert not check(connection, SCHEMA)


def test_a_constraint_that_shares_a_name_stays_as_it_is(cluster: Cluster, database: str) -> None:
    """One that is violated until the end of the transaction, of a table that is none of ours."""
    with cluster.connect(database) as connection:
        connection.execute(
            "CREATE TABLE public.tags (room_id text CONSTRAINT k REFERENCES homeserver.sliding_sync_joined_rooms DEFERRABLE);"
            "CREATE TABLE public.parents (x integer PRIMARY KEY);"
            "CREATE TABLE public.children (x integer CONSTRAINT k REFERENCES public.parents DEFERRABLE INITIALLY DEFERRED)"
        )
    with connect(cluster, database, SUPERUSER) as connection:
        connection.execute("BEGIN; INSERT INTO public.children VALUES (1)")
        connection.execute(
            "DELETE FROM events WHERE type = 'm.room.message'"
            " AND stream_ordering = (SELECT max(stream_ordering) FROM events)"
        )
        connection.execute("INSERT INTO public.parents VALUES (1); COMMIT")
        assert not check(connection, SCHEMA)


@pytest.mark.parametrize("call", CALLS)
def test_an_owner_whose_trigger_shares_a_name_gains_nothing(cluster: Cluster, database: str, call: str) -> None:
    """The server refuses what would be deferred: it never runs as the administrator."""
    set_traps(cluster, database)
    with connect(cluster, database) as connection:
        connection.execute(
            "CREATE TABLE homeserver.bait (x integer); CREATE CONSTRAINT TRIGGER later AFTER INSERT ON homeserver.bait"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION trap()"
        )
    with connect(cluster, database, SUPERUSER) as connection:
        for statement in call.split("; "):
            try:
                connection.execute(statement)  # type: ignore[call-overload]
            except psycopg.Error as error:
                assert "deferred trigger" in str(error)
    assert {role for _, role in witnessed(cluster, database)} <= {OWNER}


def test_whoever_shares_a_name_fails_no_commit(cluster: Cluster, database: str) -> None:
    """Of the homeserver, which is not the owner: the row is lost, and noted."""
    cluster.create_role("writer")
    with connect(cluster, database, SUPERUSER) as admin:
        admin.execute(
            f"GRANT USAGE ON SCHEMA {SCHEMA}, operations TO writer; GRANT ALL ON ALL TABLES IN SCHEMA {SCHEMA} TO writer;"
            f"GRANT ALL ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO writer;"
            f"SET ROLE {OWNER}; CREATE FUNCTION {SCHEMA}.agrees() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
            f"CREATE CONSTRAINT TRIGGER k AFTER UPDATE ON {SCHEMA}.sliding_sync_joined_rooms DEFERRABLE INITIALLY DEFERRED"
            f" FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.agrees(); RESET ROLE;"
            f"CREATE TABLE {SCHEMA}.bait (x integer); CREATE CONSTRAINT TRIGGER k AFTER INSERT ON {SCHEMA}.bait"
            f" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.agrees()"
        )
        for user in ("writer", OWNER):
            with connect(cluster, database, user) as connection:
                connection.execute("SELECT send_message(%s, %s)", (ROOM, ANNA))
                assert len(admin.execute("SELECT FROM sliding_sync.quarantine").fetchall()) == 1, "the writer's"
                connection.execute("SELECT rename(%s, %s, 'New')", (ROOM, ANNA))
        assert [finding for finding in check(admin, SCHEMA) if finding.actual != "absent"] == []


PLANNED = """
    CREATE FUNCTION homeserver.sets() RETURNS integer LANGUAGE plpgsql AS $$
    DECLARE
        name text;
    BEGIN
        FOREACH name IN ARRAY '{enable_seqscan,enable_hashjoin,enable_bitmapscan,enable_memoize,jit}'::text[] LOOP
            PERFORM set_config(name, 'on', true);
        END LOOP;
        RETURN 1;
    END $$;
    CREATE FUNCTION homeserver.planned() RETURNS integer IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN homeserver.sets(); END';
    CREATE INDEX ON homeserver.sliding_sync_joined_rooms ((homeserver.planned()));
    CREATE INDEX ON homeserver.sliding_sync_membership_snapshots ((homeserver.planned()));
"""
SETTINGS = "SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings WHERE name ~ '^enable_|^jit$|^lock_timeout$'"


@pytest.mark.parametrize("user", [OWNER, SUPERUSER])
def test_settings_that_the_planner_finds_made_end_with_the_transaction(cluster: Cluster, database: str, user: str) -> None:
    """Code of the owner that the planner runs sets, for its transaction, what we have set for our plans."""
    with connect(cluster, database) as connection:
        connection.execute(PLANNED)
    with connect(cluster, database, user) as connection:
        before = connection.execute(SETTINGS).fetchone()
        connection.execute("BEGIN")
        connection.execute("SELECT rename(%s, %s, 'New')", (ROOM, ANNA))
        connection.execute("SELECT invite(%s, '@carl:hs.test', %s)", (ROOM, ANNA))
        connection.execute("COMMIT")
        assert connection.execute(SETTINGS).fetchone() == before


@pytest.mark.parametrize("user", [OWNER, SUPERUSER])
def test_a_lock_timeout_that_a_trigger_sets_ends_with_the_transaction(cluster: Cluster, database: str, user: str) -> None:
    """While ours is a millisecond: a lock could not be had before."""
    with connect(cluster, database) as connection:
        connection.execute(
            "CREATE FUNCTION patient() RETURNS trigger LANGUAGE plpgsql"
            " AS $$BEGIN PERFORM set_config('lock_timeout', '5s', true); RETURN NEW; END$$;"
            "CREATE TRIGGER patient BEFORE UPDATE ON sliding_sync_joined_rooms FOR EACH ROW EXECUTE FUNCTION patient()"
        )
    redaction = "INSERT INTO redactions (event_id, redacts, have_censored, received_ts, recheck) VALUES (%s, '$missing', false, 1, false)"
    with connect(cluster, database) as other, connect(cluster, database, user) as connection:
        other.execute("BEGIN")
        other.execute(redaction, ("$r0",))
        other.execute("PREPARE TRANSACTION 'redaction'")
        connection.execute("SET lock_timeout = '100ms'")
        before = connection.execute(SETTINGS).fetchone()
        connection.execute("BEGIN")
        connection.execute(redaction, ("$r1",))
        connection.execute("SELECT rename(%s, %s, 'New')", (ROOM, ANNA))
        connection.execute("COMMIT")
        other.execute("ROLLBACK PREPARED 'redaction'")
        assert connection.execute(SETTINGS).fetchone() == before


@pytest.mark.parametrize("call", CALLS)
def test_an_owner_who_defers_triggers_again_gains_nothing(cluster: Cluster, database: str, call: str) -> None:
    """They are refused, and with them whatever needs them."""
    with connect(cluster, database) as connection:
        connection.execute(
            "CREATE FUNCTION defer() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN SET CONSTRAINTS ALL DEFERRED; RETURN NEW; END'"
        )
    set_traps(cluster, database)
    with connect(cluster, database) as connection:
        for table in DERIVED_TABLES:
            connection.execute(
                f"CREATE TRIGGER a BEFORE INSERT OR UPDATE ON {table}"
                " FOR EACH STATEMENT EXECUTE FUNCTION defer()"
            )
    with connect(cluster, database, SUPERUSER) as connection:
        try:
            for statement in call.split("; "):
                connection.execute(statement)
        except psycopg.errors.InsufficientPrivilege as error:
            assert "security-restricted operation" in str(error)
    assert {role for _, role in witnessed(cluster, database)} <= {OWNER}


def test_verify_runs_views_of_the_owner_as_the_owner(cluster: Cluster, database: str) -> None:
    with connect(cluster, database) as connection:
        connection.execute("""
            CREATE FUNCTION homeserver.seen(text) RETURNS boolean LANGUAGE plpgsql AS $$
            BEGIN
                SET search_path = attacker;
                BEGIN
                    CREATE TEMP TABLE pg_class (planted integer);
                    PERFORM attacker.ran('temporary table');
                EXCEPTION WHEN insufficient_privilege THEN NULL;
                END;
                PERFORM attacker.ran('view');
                RETURN true;
            END $$;
            ALTER TABLE event_json RENAME TO event_json_table;
            CREATE VIEW homeserver.event_json AS SELECT * FROM event_json_table WHERE homeserver.seen(event_id);
            """)
    with connect(cluster, database, SUPERUSER) as connection:
        before = connection.execute("SHOW search_path").fetchone()
        connection.execute("SELECT FROM sliding_sync.verify()")
        assert connection.execute("SHOW search_path").fetchone() == before
        assert connection.execute("SELECT pg_my_temp_schema()").fetchone() == (0,)
    assert witnessed(cluster, database) == {("view", OWNER)}


_CHANGES_ANOTHER_ROOM = """
    CREATE FUNCTION homeserver.changes() RETURNS trigger LANGUAGE plpgsql
        SET search_path = operations, homeserver, pg_catalog AS $$
    BEGIN
        IF NEW.room_id = '!r:hs.test' AND NEW.room_name = 'Coffee' THEN
            {statement};
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER changes AFTER UPDATE ON homeserver.sliding_sync_joined_rooms
        FOR EACH ROW EXECUTE FUNCTION homeserver.changes();
"""
_NAMES = "SELECT room_name FROM sliding_sync_joined_rooms ORDER BY room_id DESC"


def test_what_the_owners_triggers_change_is_kept_as_well(cluster: Cluster, database: str) -> None:
    """A trigger of a derived table that writes base tables: no security-restricted operation loses that."""
    forget = "DELETE FROM current_state_events WHERE room_id = '!other:hs.test' AND type = 'm.room.name'"
    with connect(cluster, database) as connection:
        connection.execute("SELECT create_room('!other:hs.test', %s, name => 'Other')", (ANNA,))
        connection.execute(_CHANGES_ANOTHER_ROOM.format(statement=forget))
    with connect(cluster, database, SUPERUSER) as connection:
        connection.execute("SELECT rename(%s, %s, 'Coffee')", (ROOM, ANNA))
        assert connection.execute(_NAMES).fetchall() == [("Coffee",), (None,)]
        assert not check(connection, SCHEMA)
        # the same inside repair(): what is noted there is written when its transaction commits
        connection.execute("ALTER TABLE sliding_sync_joined_rooms DISABLE TRIGGER changes")
        spoil = "UPDATE sliding_sync_joined_rooms SET room_name = 'Spoiled' WHERE room_id = %s"
        connection.execute(spoil, (ROOM,))
        connection.execute("SELECT rename('!other:hs.test', %s, 'Other')", (ANNA,))
        connection.execute("ALTER TABLE sliding_sync_joined_rooms ENABLE TRIGGER changes")
        connection.execute("SELECT sliding_sync.repair(history => false)")
        assert connection.execute(_NAMES).fetchall() == [("Coffee",), (None,)]
        assert not check(connection, SCHEMA)
        assert connection.execute("SELECT FROM sliding_sync.quarantine").fetchall() == []


def test_what_the_owners_triggers_would_defer_is_refused(cluster: Cluster, database: str) -> None:
    """The row is taken away and noted, and made by whoever calls as the owner."""
    with connect(cluster, database) as connection:
        connection.execute("SELECT create_room('!other:hs.test', %s, name => 'Other')", (ANNA,))
        # writes event_forward_extremities, whose foreign key is deferred
        rename = "PERFORM rename('!other:hs.test', '@anna:hs.test', 'Changed')"
        connection.execute(_CHANGES_ANOTHER_ROOM.format(statement=rename))
    with connect(cluster, database, SUPERUSER) as connection:
        connection.execute("SELECT rename(%s, %s, 'Coffee')", (ROOM, ANNA))
        assert connection.execute(_NAMES).fetchall() == [("Other",)]
        noted = connection.execute("SELECT room_id, sqlstate FROM sliding_sync.quarantine").fetchall()
        assert noted == [(ROOM, "42501")]
        connection.execute("GRANT EXECUTE ON FUNCTION sliding_sync.repair_quarantine() TO homeserver_owner")
    with connect(cluster, database) as connection:
        assert connection.execute("SELECT * FROM sliding_sync.repair_quarantine()").fetchone() == (1, 0)
        assert not check(connection, SCHEMA)


def test_foreign_keys_that_a_homeserver_defers_stay_deferred(cluster: Cluster, database: str) -> None:
    """A purge by another role than the owner deletes events before what refers to them."""
    set_traps(cluster, database)
    with connect(cluster, database, SUPERUSER) as connection:
        connection.execute("SELECT send_message(%s, %s)", (ROOM, ANNA))
        newest = "(SELECT max(stream_ordering) FROM homeserver.events)"
        connection.execute("BEGIN")
        connection.execute(f"DELETE FROM homeserver.events WHERE stream_ordering = {newest}")
        connection.execute("DELETE FROM homeserver.event_forward_extremities")
        connection.execute("COMMIT")
    assert {role for _, role in witnessed(cluster, database)} == {OWNER}


def test_deferred_constraints_of_the_caller_stay_deferred(cluster: Cluster, database: str) -> None:
    """Only those of the derived tables fire at once, also where the homeserver has others."""
    set_traps(cluster, database)
    with connect(cluster, database, SUPERUSER) as connection:
        connection.execute(
            "CREATE SCHEMA own; CREATE TABLE own.parent (id integer PRIMARY KEY);"
            "CREATE TABLE own.child (id integer REFERENCES own.parent DEFERRABLE INITIALLY DEFERRED)"
        )
        connection.execute(
            "GRANT USAGE ON SCHEMA own TO homeserver_owner; ALTER TABLE own.child OWNER TO homeserver_owner"
        )
        connection.execute("BEGIN")
        connection.execute("INSERT INTO own.child VALUES (1)")
        connection.execute("SELECT sliding_sync.repair_quarantine()")
        connection.execute("INSERT INTO own.child VALUES (2)")
        connection.execute("INSERT INTO own.parent VALUES (1), (2)")
        connection.execute("COMMIT")
    assert {role for _, role in witnessed(cluster, database)} == {OWNER}


def test_the_owners_own_session_is_not_restricted(cluster: Cluster, database: str) -> None:
    """A homeserver's triggers may do in its session what they may do without us."""
    with connect(cluster, database) as connection:
        connection.execute("""
            CREATE FUNCTION remembers() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                CREATE TEMP TABLE IF NOT EXISTS remembered (room_id text);
                INSERT INTO pg_temp.remembered VALUES (NEW.room_id);
                RETURN NULL;
            END $$;
            CREATE TRIGGER remembers AFTER UPDATE ON sliding_sync_joined_rooms
                FOR EACH ROW EXECUTE FUNCTION remembers();
            """)
        connection.execute("SELECT rename(%s, %s, 'Coffee')", (ROOM, ANNA))
        assert connection.execute("TABLE pg_temp.remembered").fetchall() == [(ROOM,)]
    with connect(cluster, database, SUPERUSER) as connection:
        connection.execute("SET ROLE homeserver_owner")
        connection.execute("SELECT rename(%s, %s, 'Milk')", (ROOM, ANNA))
        assert connection.execute("SELECT pg_my_temp_schema()").fetchone() == (0,)
        reasons = "SELECT reason, sqlstate FROM sliding_sync.quarantine"
        connection.execute("RESET ROLE")
        assert connection.execute(reasons).fetchall() == [("refresh_failed", "42501")]


# -- whose code is trusted


def test_derived_tables_of_somebody_else_are_not_written(cluster: Cluster, database: str) -> None:
    """As that role we would read the homeserver's tables, and run what code they hold."""
    cluster.execute(f"ALTER TABLE {SCHEMA}.sliding_sync_joined_rooms OWNER TO {SUPERUSER}", database)
    with connect(cluster, database) as connection:
        connection.execute(
            "CREATE FUNCTION homeserver.seen(text) RETURNS boolean LANGUAGE sql"
            " AS $$ SELECT attacker.ran('view') $$;"
            "ALTER TABLE event_json RENAME TO event_json_table;"
            "CREATE VIEW homeserver.event_json AS"
            " SELECT * FROM event_json_table WHERE homeserver.seen(event_id);"
            "UPDATE events SET instance_name = 'x'"
        )
    with connect(cluster, database, SUPERUSER) as connection:
        for call in ("repair()", "catch_up()", "verify()"):
            with pytest.raises(psycopg.errors.UndefinedTable, match="lacks a derived table of its own"):
                connection.execute(f"SELECT sliding_sync.{call}")
        connection.execute("SELECT sliding_sync.repair_quarantine()")
        reasons = connection.execute("SELECT reasons FROM sliding_sync.ready()").fetchone()
        assert reasons and "derived_table_missing" in reasons[0]
    assert {role for _, role in witnessed(cluster, database)} <= {OWNER}


# -- what runs when a table is only read

_READ = (
    "SELECT FROM sliding_sync.verify()",
    "SELECT FROM sliding_sync.repair(dry_run => true)",
    "SELECT FROM sliding_sync.catch_up()",
    "CALL sliding_sync.backfill(restart => true)",
    "SELECT FROM sliding_sync.repair_quarantine()",
    *(
        f"SELECT FROM sliding_sync.preflight('{what}')"
        for what in ("delete_room", "upgrade", "downgrade", "port_database")
    ),
    "SELECT FROM sliding_sync.preflight('remove_extension')",
    "SELECT FROM sliding_sync.finish_background_updates()",
    "TABLE sliding_sync.health",
    "TABLE sliding_sync.status",
    "TABLE sliding_sync.metrics",
    "SELECT FROM sliding_sync.ready()",
    "SELECT sliding_sync.attach()",
    "UPDATE homeserver.events SET instance_name = instance_name || 'x'",
    "SELECT sliding_sync.detach()",
)
_TABLES = """
    SELECT c.relname, (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
                       AND a.atttypid = 'text'::regtype ORDER BY a.attnum LIMIT 1)
    FROM pg_class c WHERE c.relnamespace = 'homeserver'::regnamespace AND c.relkind = 'r' ORDER BY 1
"""


@pytest.mark.parametrize("trap", ["index expression", "policy", "view", "statement trigger"])
def test_whatever_a_table_holds_runs_as_its_owner(cluster: Cluster, database: str, trap: str) -> None:
    """The planner runs what it may of an index expression as soon as the table is looked at."""
    with connect(cluster, database) as connection:
        connection.execute(
            "INSERT INTO background_updates (update_name, progress_json)"
            " VALUES ('sliding_sync_joined_rooms_bg_update', '{}')"
        )
        connection.execute("INSERT INTO sliding_sync_joined_rooms_to_recalculate VALUES (%s)", (ROOM,))
        connection.execute(
            "CREATE FUNCTION homeserver.seen(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE"
            " AS $$ BEGIN RETURN attacker.ran($1); EXCEPTION WHEN OTHERS THEN RETURN true; END $$;"
            "CREATE FUNCTION homeserver.seen_too() RETURNS trigger LANGUAGE plpgsql"
            " AS $$ BEGIN PERFORM attacker.ran('trigger'); RETURN NULL; END $$;"
            "CREATE FUNCTION homeserver.keep(boolean, text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $2'"
        )
        for table, column in connection.execute(_TABLES).fetchall():
            if trap == "index expression" and column:
                connection.execute(
                    f"CREATE INDEX ON {table} (homeserver.keep(homeserver.seen('index of {table}'), {column}))"
                )
            elif trap == "policy":
                connection.execute(
                    f"CREATE POLICY seen ON {table} USING (homeserver.seen('policy of {table}'));"
                    f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
                )
            elif trap == "view" and table in ("rooms", "event_json", "redactions", "room_memberships"):
                connection.execute(
                    f"ALTER TABLE {table} RENAME TO {table}_table;"
                    f"CREATE VIEW homeserver.{table} AS"
                    f" SELECT * FROM {table}_table WHERE homeserver.seen('{table}')"
                )
            elif trap == "statement trigger":
                connection.execute(
                    f"CREATE TRIGGER seen AFTER INSERT OR UPDATE OR DELETE ON {table}"
                    " FOR EACH STATEMENT EXECUTE FUNCTION homeserver.seen_too()"
                )
        connection.execute("SET sliding_sync.enabled = off")
        connection.execute("UPDATE events SET outlier = outlier")
    cluster.execute("TRUNCATE attacker.witness", database)
    with connect(cluster, database, SUPERUSER) as connection:
        for call in _READ:
            try:
                connection.execute(call)
            except psycopg.Error as error:
                # a view is no table of a homeserver
                assert trap == "view" or error.sqlstate == "55000", f"{call}: {error}"
            if call.startswith("UPDATE"):
                # the administrator's own statement: what it runs itself is not ours
                connection.execute("DELETE FROM attacker.witness WHERE ran_as = 'postgres'")
                continue
            found = witnessed(cluster, database)
            assert {role for _, role in found} <= {OWNER}, f"{call}: {found}"
    assert witnessed(cluster, database) or trap == "policy", "nothing ran at all"
