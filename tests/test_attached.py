"""Only a homeserver that attach() has recorded is attached: neither names nor tables of a stranger make one,
break what others call, or feed it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from harness.cluster import SUPERUSER, Cluster
from synthetic.attacker import ATTACKER, arm, attacked, victims
from synthetic.database import BASE_TABLES, DERIVED_TABLES, OWNER, SCHEMA, connect, create_homeserver

Connection = psycopg.Connection[Any]

BOOKKEEPING = """
    SELECT schema_name FROM sliding_sync.quarantine
    UNION ALL SELECT schema_name FROM sliding_sync.bypassed_writes
"""


@pytest.fixture(scope="module")
def template(cluster: Cluster, armed_tea_room: str) -> str:
    name = cluster.create_database("recorded", OWNER, armed_tea_room)
    cluster.execute("CALL sliding_sync.backfill()", name)
    return name


@pytest.fixture
def database(cluster: Cluster, template: str) -> Iterator[str]:
    with attacked(cluster, template) as name:
        yield name


def assert_all_is_well(cluster: Cluster, database: str) -> None:
    """For everybody who calls something without naming a schema, and for a reader."""
    with connect(cluster, database, SUPERUSER) as connection:
        assert connection.execute("SELECT * FROM sliding_sync.ready()").fetchone() == (True, [])
        assert connection.execute("SELECT sliding_sync.attached_schema()").fetchone() == (SCHEMA,)
        assert connection.execute("SELECT attached_schemas FROM sliding_sync.version()").fetchone() == (
            [SCHEMA],
        )
        assert connection.execute("SELECT sliding_sync.attach()").fetchone() == (SCHEMA,)
        assert connection.execute("SELECT had_gap FROM sliding_sync.catch_up()").fetchone() == (False,)
        connection.execute("CALL sliding_sync.backfill(restart => true)")
        assert connection.execute("SELECT FROM sliding_sync.verify()").fetchall() == []
        assert connection.execute("SELECT FROM sliding_sync.repair()").fetchall() == []
        assert connection.execute("SELECT * FROM sliding_sync.repair_quarantine()").fetchone() == (0, 0)
        for view in ("status", "schemas", "derived_tables", "needed_indexes", "triggers"):
            schemas = connection.execute(f"SELECT DISTINCT schema_name FROM sliding_sync.{view}").fetchall()
            assert schemas == [(SCHEMA,)], view
        assert connection.execute("SELECT FROM sliding_sync.health WHERE severity = 'error'").fetchall() == []
        assert connection.execute(BOOKKEEPING).fetchall() == []


def test_a_trigger_of_our_name_attaches_nothing(cluster: Cluster, database: str) -> None:
    with cluster.connect(database, ATTACKER) as connection:
        connection.execute("CREATE TABLE attacker.t (a integer)")
        connection.execute(
            'CREATE TRIGGER "A_sliding_sync" AFTER INSERT ON attacker.t'
            " FOR EACH ROW EXECUTE FUNCTION attacker.trigger_ran()"
        )
    assert_all_is_well(cluster, database)
    assert cluster.execute("SELECT sliding_sync.detach()", database) == [(1,)]
    left = "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname LIKE 'A%sliding%'"
    assert cluster.execute(left, database) == [("attacker.t",)]


def plant_homeserver(cluster: Cluster, database: str) -> None:
    """Everything a homeserver has, with triggers that call our functions, in a schema of the attacker's own."""
    with cluster.connect(database) as connection:
        connection.execute("GRANT USAGE ON SCHEMA homeserver TO attacker")
        for table in (*BASE_TABLES, *DERIVED_TABLES):
            connection.execute(
                f"CREATE TABLE attacker.{table} (LIKE homeserver.{table} INCLUDING DEFAULTS INCLUDING INDEXES);"
                f"ALTER TABLE attacker.{table} OWNER TO attacker"
            )
    with cluster.connect(database, ATTACKER) as connection:
        for table in BASE_TABLES:
            connection.execute(
                f'CREATE TRIGGER "A_sliding_sync" AFTER INSERT OR UPDATE OR DELETE ON attacker.{table}'
                f" FOR EACH ROW EXECUTE FUNCTION sliding_sync.collect();"
                f'CREATE TRIGGER "A_sliding_sync_truncate" AFTER TRUNCATE ON attacker.{table}'
                f" FOR EACH STATEMENT EXECUTE FUNCTION sliding_sync.collect();"
                f'ALTER TABLE attacker.{table} ENABLE ALWAYS TRIGGER "A_sliding_sync"'
            )


def write_as_the_attacker(connection: Connection, number: int) -> None:
    event, room = f"$e{number}", f"!m{number}"
    connection.execute("INSERT INTO attacker.rooms (room_id) VALUES (%s)", (room,))
    connection.execute("INSERT INTO attacker.event_json VALUES (%s, %s, '{}', '{}', 3)", (event, room))
    connection.execute(
        "INSERT INTO attacker.events (topological_ordering, event_id, type, room_id, processed, outlier,"
        " sender, stream_ordering, state_key) VALUES (1, %s, 'm.room.create', %s, true, false, '@m', %s, '')",
        (event, room, number),
    )
    connection.execute(
        "INSERT INTO attacker.current_state_events VALUES (%s, %s, 'm.room.create', '')", (event, room)
    )


def test_a_planted_homeserver_is_not_attached(cluster: Cluster, database: str) -> None:
    """Its triggers act, as its owner; what fails there and what escapes them is noted nowhere."""
    plant_homeserver(cluster, database)
    with cluster.connect(database, ATTACKER) as connection:
        connection.execute("SET client_min_messages = error")
        write_as_the_attacker(connection, 1)
        rows = connection.execute("SELECT room_id FROM attacker.sliding_sync_joined_rooms").fetchall()
        assert rows == [("!m1",)]
        for event in ("", "CONSTRAINT"):
            connection.execute(
                f"CREATE {event} TRIGGER trap{event} AFTER INSERT OR UPDATE OR DELETE"
                f" ON attacker.sliding_sync_joined_rooms {'DEFERRABLE INITIALLY DEFERRED' if event else ''}"
                " FOR EACH ROW EXECUTE FUNCTION attacker.trigger_ran()"
            )
        connection.execute("ALTER TABLE attacker.event_json RENAME COLUMN json TO jsons")
        write_as_the_attacker(connection, 2)
        connection.execute("SET sliding_sync.enabled = off")
        write_as_the_attacker(connection, 3)
    assert_all_is_well(cluster, database)
    assert not victims(cluster, database)
    # detach() and DROP EXTENSION concern the stranger's triggers as little as they must
    assert cluster.execute("SELECT sliding_sync.detach()", database) == [(1,)]
    left = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'attacker.events'::regclass"
    assert cluster.execute(left, database) == [(2,)]


def test_who_may_create_schemas_does_not_fill_what_an_administrator_reads(cluster: Cluster, database: str) -> None:
    """Of schemas that hold a homeserver's tables, the ten oldest are named."""
    names = ("events", "event_json", "redactions", "rooms", "room_memberships", "current_state_events", "local_current_membership")
    with cluster.connect(database, ATTACKER) as connection:
        for number in range(12):
            connection.execute(f"CREATE SCHEMA planted{number}")
            for name in names:
                connection.execute(f"CREATE TABLE planted{number}.{name} ()")
    named = "SELECT schema_name FROM sliding_sync.health WHERE code = 'not_attached' AND schema_name ~ 'planted'"
    assert len(cluster.execute(named, database)) in (9, 10)


@pytest.mark.parametrize("table", ["anything", "pg_temp.rooms", "public.rooms"])
def test_our_function_on_a_table_of_a_stranger_notes_nothing(
    cluster: Cluster, database: str, table: str
) -> None:
    with cluster.connect(database, ATTACKER) as connection:
        connection.execute("SET search_path = homeserver")
        connection.execute("SET sliding_sync.enabled = off")
        connection.execute(f"CREATE TABLE {table} (room_id text)")
        connection.execute(
            f"CREATE TRIGGER t AFTER INSERT ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION sliding_sync.collect()"
        )
        connection.execute(f"INSERT INTO {table} VALUES ('!x')")
    assert cluster.execute(BOOKKEEPING, database) == []
    assert cluster.execute("SELECT is_ready FROM sliding_sync.ready()", database) == [(True,)]


def test_a_schema_of_the_same_name_inherits_nothing(cluster: Cluster, database: str) -> None:
    """Neither the record, nor what is known of the rows."""
    plant_homeserver(cluster, database)
    with cluster.connect(database) as connection:
        connection.execute("ALTER SCHEMA homeserver RENAME TO old")
        connection.execute("ALTER SCHEMA attacker RENAME TO homeserver")
        connection.execute("GRANT USAGE ON SCHEMA old TO attacker")
        for schema in ("homeserver", "old"):
            ready = connection.execute("SELECT * FROM sliding_sync.ready(%s)", (schema,)).fetchone()
            assert ready == (False, ["not_attached"])
        assert connection.execute("SELECT * FROM sliding_sync.ready()").fetchone() == (
            False,
            ["not_attached"],
        )
        assert connection.execute("SELECT FROM sliding_sync.schemas").fetchall() == []
        assert connection.execute("SELECT sliding_sync.attach('homeserver')").fetchone() == ("homeserver",)
        ready = connection.execute("SELECT reasons FROM sliding_sync.ready('homeserver')").fetchone()
        assert ready and "never_completed" in ready[0]
        # the one that was renamed is attached by its new name
        assert connection.execute("SELECT sliding_sync.attach('old')").fetchone() == ("old",)
        assert connection.execute("SELECT attached_schemas FROM sliding_sync.version()").fetchone() == (
            ["homeserver", "old"],
        )


def test_attach_refuses_base_tables_of_two_owners(cluster: Cluster) -> None:
    """The owner of one would run what the owner of another has put into it."""
    name = create_homeserver(cluster, "two owners", extension=False)
    arm(cluster, name)
    cluster.execute("ALTER TABLE homeserver.event_json OWNER TO attacker", name)
    with pytest.raises(
        psycopg.errors.InsufficientPrivilege, match="event_json.*does not belong to the owner"
    ):
        cluster.execute("CREATE EXTENSION sliding_sync", name)
    cluster.drop_database(name)


def test_what_public_may_do(cluster: Cluster, database: str) -> None:
    """Nothing of it tells of a room, a user or an event."""
    cluster.create_role("fresh")
    readable = cluster.execute(
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'sliding_sync'::regnamespace"
        " AND c.relkind NOT IN ('i', 'c')"
        " AND (c.relkind <> 'S' AND has_table_privilege('fresh', c.oid, 'SELECT')"
        " OR c.relkind = 'S' AND has_sequence_privilege('fresh', c.oid, 'SELECT, USAGE')) ORDER BY 1",
        database,
    )
    assert {name for (name,) in readable} <= {
        "derived_tables",
        "homeserver_tables",
        "homeserver_triggers",
        "homeservers",
        "missing_columns",
        "needed_indexes",
        "role_settings",
        "schemas",
        "triggers",
        "coverage_gaps",
    }
    columns = cluster.execute(
        "SELECT DISTINCT a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " WHERE c.relnamespace = 'sliding_sync'::regnamespace AND c.relkind = 'v'"
        " AND has_table_privilege('fresh', c.oid, 'SELECT')",
        database,
    )
    assert not {name for (name,) in columns} & {
        "room_id",
        "user_id",
        "event_id",
        "detail",
        "message",
        "last_room",
    }
    callable_ = cluster.execute(
        "SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'sliding_sync'::regnamespace"
        " AND p.prorettype <> 'trigger'::regtype AND has_function_privilege('fresh', p.oid, 'EXECUTE')",
        database,
    )
    assert {name for (name,) in callable_} <= {
        "as_owner",  # for whoever may become the owner
        "assert_ready",
        "attached_schema",
        "catalog_findings",  # this and the next, and schema_status: catalogs, and the views above
        "catalog_metrics",
        "coverage_fingerprint",
        "difference_in_words",
        "explain_memberships",  # this and what else is about lists read with the caller's rights
        "explain_room",
        "explain_user",
        "has_own_function",
        "homeserver_table",
        "homeserver_tables",
        "known_room_versions",
        "last_flush",
        "library",
        "library_version",
        "lower_case",
        "own_background_updates",
        "preflight",
        "ready",
        "reasons_of",
        "require_rights",
        "room_list",
        "room_list_changes",
        "schema_status",
        "trigger_fingerprint",
        "verdict_detail",
        "verdict_remedy",
        "version",
        "wrong_rows",
    }


def test_a_table_planted_beside_the_homeservers_is_none_of_its_own(cluster: Cluster) -> None:
    """Of a name that an older homeserver does not have: attach() passes by, ready() misses no trigger."""
    name = create_homeserver(cluster, "planted beside", extension=False, old_schema=True)
    arm(cluster, name)
    with cluster.connect(name, ATTACKER) as connection:
        connection.execute("CREATE TABLE homeserver.room_ban_redactions (room_id text, user_id text)")
    cluster.execute("CREATE EXTENSION sliding_sync", name)
    cluster.execute("CALL sliding_sync.backfill()", name)
    assert cluster.execute("SELECT * FROM sliding_sync.ready()", name) == [(True, [])]
    cluster.drop_database(name)


def test_attach_without_a_schema_is_not_confused_by_a_stranger(cluster: Cluster, database: str) -> None:
    plant_homeserver(cluster, database)
    assert cluster.execute("SELECT sliding_sync.attach()", database) == [(SCHEMA,)]


def test_triggers_of_others_are_nobodys_concern(cluster: Cluster, database: str) -> None:
    """A role that may connect and make temporary tables writes nothing into an administrator's views."""
    cluster.execute("GRANT CREATE ON SCHEMA homeserver TO attacker", database)
    cluster.execute(f'GRANT TEMPORARY ON DATABASE "{database}" TO attacker')
    health = cluster.execute("SELECT * FROM sliding_sync.health", database)
    with cluster.connect(database, ATTACKER) as attacker:
        for table in ("pg_temp.mine", "homeserver.mine"):
            attacker.execute(f"CREATE TABLE {table} (x integer)")
            attacker.execute(
                f'CREATE TRIGGER mine AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION sliding_sync.collect()'
            )
        for table in BASE_TABLES:
            attacker.execute(f"CREATE TEMPORARY TABLE {table} (x integer)")
        assert cluster.execute("SELECT * FROM sliding_sync.health", database) == health
        preflight = "SELECT severity, finding FROM sliding_sync.preflight('remove_extension') WHERE finding LIKE 'trigger%'"
        assert cluster.execute(preflight, database) == [("warning", "trigger_of_others")]
        assert cluster.execute("SELECT sliding_sync.detach()", database) == [(1,)]
        left = "SELECT count(*) FROM pg_trigger WHERE tgname = 'mine'"
        assert cluster.execute(left, database) == [(2,)]


def test_detach_of_a_schema_without_a_homeserver(cluster: Cluster, database: str) -> None:
    """Our own tables have triggers of another kind."""
    own = "SELECT count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = 'sliding_sync'::regnamespace"
    before = cluster.execute(own, database)
    assert before != [(0,)]
    assert cluster.execute("SELECT sliding_sync.detach('sliding_sync')", database) == [(0,)]
    assert cluster.execute(own, database) == before


def test_a_schema_whose_name_is_part_of_a_statement(cluster: Cluster, database: str) -> None:
    """Names are put into statements last."""
    cluster.execute('ALTER SCHEMA homeserver RENAME TO "%R %S $1"', database)
    cluster.execute("SELECT sliding_sync.attach()", database)
    with cluster.connect(database) as connection:
        connection.execute('SET search_path = operations, "%R %S $1"')
        connection.execute("SELECT create_room('!new:hs.test', '@anna:hs.test', name => 'Tea')")
        assert connection.execute("SELECT room_name FROM sliding_sync_joined_rooms WHERE room_id = '!new:hs.test'").fetchone() == ("Tea",)
        connection.execute("CALL sliding_sync.backfill()")
        assert connection.execute("SELECT count(*) FROM sliding_sync.quarantine").fetchone() == (0,)


def test_detach_by_another_role_than_a_superuser(cluster: Cluster, database: str) -> None:
    """It wants the right to call it, the tables, and the record."""
    cluster.execute("GRANT EXECUTE ON FUNCTION sliding_sync.detach(text) TO homeserver_owner", database)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="attachments"):
        cluster.execute("SELECT sliding_sync.detach()", database, OWNER)
    cluster.execute("GRANT SELECT, DELETE ON sliding_sync.attachments TO homeserver_owner", database)
    assert cluster.execute("SELECT sliding_sync.detach()", database, OWNER) == [(1,)]
    assert cluster.execute("SELECT * FROM sliding_sync.ready()", database) == [(False, ["not_attached"])]


def test_a_setting_that_a_pooler_would_keep_is_warned_of(cluster: Cluster, database: str) -> None:
    heard: list[tuple[str | None, str | None]] = []

    def hear(notice: psycopg.errors.Diagnostic) -> None:
        heard.append((notice.severity, notice.message_hint))

    with cluster.connect(database) as connection:
        connection.add_notice_handler(hear)
        connection.execute("SELECT sliding_sync.library_version()")
        connection.execute("BEGIN; SET LOCAL sliding_sync.enabled = off; COMMIT")
        connection.execute("SET sliding_sync.enabled = on")
        connection.execute(
            "CREATE FUNCTION attacker.quiet() RETURNS integer LANGUAGE sql"
            " SET sliding_sync.enabled = off AS 'SELECT 1'"
        )
        connection.execute("SELECT attacker.quiet()")
        assert heard == []
        connection.execute("SET sliding_sync.enabled = off")
    assert [severity for severity, _ in heard] == ["WARNING"] and "SET LOCAL" in (heard[0][1] or "")
    with cluster.connect(database, options="-c sliding_sync.enabled=off") as connection:
        connection.add_notice_handler(hear)
        connection.execute("SELECT sliding_sync.library_version()")
    assert len(heard) == 1


def test_as_owner_is_for_whoever_may_become_the_owner(cluster: Cluster, database: str) -> None:
    command = "SELECT sliding_sync.as_owner('homeserver', 'SELECT current_user::text')"
    for role in (OWNER, SUPERUSER):
        assert cluster.execute(command, database, role) == [(OWNER,)]
    for schema, error in (
        ("homeserver", psycopg.errors.InsufficientPrivilege),
        ("attacker", psycopg.errors.UndefinedTable),
    ):
        with pytest.raises(error):
            cluster.execute(f"SELECT sliding_sync.as_owner('{schema}', 'SELECT 1')", database, ATTACKER)
    escapes = ("SET ROLE postgres", "RESET ROLE", "CREATE TEMP TABLE t ()", "PREPARE p AS SELECT 1", "COMMIT")
    for escape in escapes:
        with pytest.raises(psycopg.Error):
            cluster.execute(f"SELECT sliding_sync.as_owner('homeserver', '{escape}')", database)
    for command, value in (
        ("", None),
        ("SELECT", None),
        ("SELECT NULL::text", None),
        ("SELECT 7", "7"),
        ("SELECT true", "1"),
    ):
        got = cluster.execute(
            sql.SQL("SELECT sliding_sync.as_owner('homeserver', {})").format(sql.Literal(command)), database
        )
        assert got == [(value,)], command
    assert cluster.execute("SELECT sliding_sync.as_owner(NULL, NULL)", database) == [(None,)]
