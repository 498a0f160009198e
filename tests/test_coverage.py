"""Every way to change a row behind the triggers' back that we know of: ready() says no, and catch_up() makes it right."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from harness import processes
from harness.cluster import SUPERUSER, Cluster
from oracle import check
from synthetic.database import ANNA, BERT, DERIVED_TABLES, OWNER, ROOM, SCHEMA, connect, create_homeserver, flags

Connection = psycopg.Connection[Any]

OTHER = "!s:hs.test"

NAMELESS = "DELETE FROM {} WHERE type = 'm.room.name' AND room_id = '!r:hs.test'"
UNSEEN = NAMELESS.format("current_state_events")
# Kept by the triggers, and hides the change: the row's numbers are those of the room's newest event.
SEEN = "SELECT send_message('!r:hs.test', '@anna:hs.test')"

ATTACH = "SELECT sliding_sync.attach()"


@dataclass(frozen=True)
class Way:
    """Statements, each a transaction of its own, what ready() says then, and what has to be done before catch_up()."""

    statements: tuple[str, ...]
    reasons: tuple[str, ...] = ("bypassed_writes",)
    mend: tuple[str, ...] = ()


def away(there: str, back: str, table: str = "current_state_events", moved: str = "away") -> Way:
    """The table is changed where it does not belong to the homeserver, and comes back."""
    return Way((there.format(table=table), NAMELESS.format(moved), back.format(table=table), SEEN))


WAYS = {
    # sessions
    "switched off": Way(("SET sliding_sync.enabled = off", UNSEEN, "RESET sliding_sync.enabled", SEEN)),
    "switched off in part of a transaction": Way(
        (f"BEGIN; SET LOCAL sliding_sync.enabled = off; {UNSEEN}; SET LOCAL sliding_sync.enabled = on; {SEEN}; COMMIT",)
    ),
    "replica": Way(
        ("SET session_replication_role = replica", UNSEEN, "RESET session_replication_role", SEEN)
    ),
    "truncated by a replica": Way(
        (f"BEGIN; SET LOCAL session_replication_role = replica; TRUNCATE current_state_events; COMMIT; {SEEN}",)
    ),
    # triggers
    "all triggers disabled": Way(
        (
            "ALTER TABLE current_state_events DISABLE TRIGGER ALL",
            UNSEEN,
            "ALTER TABLE current_state_events ENABLE TRIGGER ALL",
            SEEN,
        ),
        ("trigger_not_always", "bypassed_writes"),
        (ATTACH,),
    ),
    "user triggers disabled, in one transaction": Way(
        (
            "BEGIN; ALTER TABLE current_state_events DISABLE TRIGGER USER; "
            f"{UNSEEN}; ALTER TABLE current_state_events ENABLE TRIGGER USER; COMMIT",
            SEEN,
        ),
        ("trigger_not_always", "bypassed_writes"),
        (ATTACH,),
    ),
    "one trigger disabled": Way(
        (
            'ALTER TABLE current_state_events DISABLE TRIGGER "A_sliding_sync"',
            UNSEEN,
            'ALTER TABLE current_state_events ENABLE ALWAYS TRIGGER "A_sliding_sync"',
            SEEN,
        )
    ),
    "for replicas only": Way(
        ('ALTER TABLE current_state_events ENABLE REPLICA TRIGGER "A_sliding_sync"', UNSEEN, SEEN),
        ("trigger_disabled", "bypassed_writes"),
        (ATTACH,),
    ),
    "dropped": Way(
        ('DROP TRIGGER "A_sliding_sync" ON current_state_events', UNSEEN, SEEN),
        ("trigger_missing", "bypassed_writes"),
        (ATTACH,),
    ),
    "dropped and made again": Way(
        ('DROP TRIGGER "A_sliding_sync" ON current_state_events', UNSEEN, ATTACH, SEEN)
    ),
    "replaced by one with a condition": Way(
        (
            'CREATE OR REPLACE TRIGGER "A_sliding_sync" AFTER INSERT OR UPDATE OR DELETE ON current_state_events '
            "FOR EACH ROW WHEN (false) EXECUTE FUNCTION sliding_sync.collect()",
            UNSEEN,
            SEEN,
        ),
        ("trigger_missing", "bypassed_writes"),
        (ATTACH,),
    ),
    "the function replaced, and back": Way(
        (
            "CREATE OR REPLACE FUNCTION sliding_sync.collect() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN RETURN NULL; END'",
            UNSEEN,
            "CREATE OR REPLACE FUNCTION sliding_sync.collect() RETURNS trigger LANGUAGE c"
            " AS 'sliding_sync', 'sliding_sync_collect'",
            SEEN,
        )
    ),
    "triggers disabled in the catalog": Way(
        (
            "SET allow_system_table_mods = on",
            "UPDATE pg_trigger SET tgenabled = 'D' WHERE tgrelid = 'current_state_events'::regclass",
            UNSEEN,
            "UPDATE pg_trigger SET tgenabled = 'A' WHERE tgrelid = 'current_state_events'::regclass"
            " AND tgname LIKE 'A\\_%'",
            SEEN,
        )
    ),
    "a table without triggers in the catalog": Way(
        (
            "SET allow_system_table_mods = on",
            "UPDATE pg_class SET relhastriggers = false WHERE oid = 'current_state_events'::regclass",
            UNSEEN,
            "UPDATE pg_class SET relhastriggers = true WHERE oid = 'current_state_events'::regclass",
            SEEN,
        )
    ),
    # tables that are elsewhere for a while
    "renamed": away("ALTER TABLE {table} RENAME TO away", "ALTER TABLE away RENAME TO {table}"),
    "moved": away(
        "ALTER TABLE {table} SET SCHEMA operations",
        "ALTER TABLE operations.{table} SET SCHEMA homeserver",
        moved="operations.current_state_events",
    ),
    "schema renamed, and switched off": Way(
        (
            "ALTER SCHEMA homeserver RENAME TO elsewhere",
            "SET sliding_sync.enabled = off",
            NAMELESS.format("elsewhere.current_state_events"),
            "RESET sliding_sync.enabled",
            "ALTER SCHEMA elsewhere RENAME TO homeserver",
            SEEN,
        )
    ),
    "of another owner": Way(
        (
            "ALTER TABLE current_state_events OWNER TO another_owner",
            UNSEEN,
            "ALTER TABLE current_state_events OWNER TO homeserver_owner",
            SEEN,
        )
    ),
    "of an owner who is no superuser for a while": Way(
        (
            "ALTER ROLE administrator NOSUPERUSER",
            "DELETE FROM room_ban_redactions; "
            "INSERT INTO room_ban_redactions (room_id, user_id, redacting_event_id, redact_end_ordering)"
            " SELECT room_id, sender, event_id, NULL FROM events WHERE type = 'm.room.name'"
            " AND room_id = '!s:hs.test'",
            "ALTER ROLE administrator SUPERUSER",
        )
    ),
    "of an owner who is no superuser for a while, and nothing is written to his table": Way(
        (
            "BEGIN; SELECT create_room('!t:hs.test', '@anna:hs.test', name => 'Coffee');"
            " INSERT INTO room_ban_redactions (room_id, user_id, redacting_event_id, redact_end_ordering)"
            " SELECT room_id, sender, event_id, NULL FROM events WHERE type = 'm.room.create' AND room_id = '!t:hs.test';"
            " COMMIT",
            "ALTER ROLE administrator NOSUPERUSER",
            "UPDATE event_json SET internal_metadata = internal_metadata || ' ' WHERE room_id = '!t:hs.test'",
            "ALTER ROLE administrator SUPERUSER",
        )
    ),
    "another table in its place": Way(
        (
            "ALTER TABLE current_state_events RENAME TO away",
            "CREATE TABLE homeserver.current_state_events (LIKE away INCLUDING ALL)",
            "ALTER TABLE current_state_events OWNER TO homeserver_owner",
            # the row is made from nothing
            "UPDATE events SET outlier = outlier, sender = sender || '2' WHERE type = 'm.room.name'",
            "DROP TABLE current_state_events",
            "ALTER TABLE away RENAME TO current_state_events",
        )
    ),
    # rows that change without a statement about them
    "rewritten": Way(
        ("""ALTER TABLE event_json ALTER COLUMN json TYPE text USING replace(json, '"Tea"', '"Coffee"')""", SEEN)
    ),
    "a column in the place of another": Way(
        (
            "ALTER TABLE current_state_events RENAME COLUMN state_key TO was_key",
            "ALTER TABLE current_state_events ADD COLUMN state_key text NOT NULL DEFAULT 'x'",
        )
    ),
    "its file swapped in the catalog": Way(
        (
            "SET allow_system_table_mods = on",
            "CREATE TABLE copied (LIKE current_state_events INCLUDING ALL)",
            f"INSERT INTO copied SELECT * FROM current_state_events; {NAMELESS.format('copied')}",
            "UPDATE pg_class c SET relfilenode = (SELECT x.relfilenode FROM pg_class x WHERE x.oid ="
            " CASE c.relname WHEN 'copied' THEN 'current_state_events' ELSE 'copied' END::regclass)"
            " WHERE c.oid IN ('copied'::regclass, 'current_state_events'::regclass)",
            "REINDEX TABLE current_state_events",
            SEEN,
        )
    ),
    "a child's rows for a while": Way(
        (
            "CREATE TABLE child () INHERITS (redactions)",
            "INSERT INTO child (event_id, redacts, received_ts) SELECT (SELECT event_id FROM events WHERE type ="
            " 'm.room.create' AND room_id = '!r:hs.test'), event_id, 1 FROM events WHERE type = 'm.room.name'"
            " AND room_id = '!r:hs.test'",
            "UPDATE events SET sender = sender || '2' WHERE type = 'm.room.create'",
            "DROP TABLE child",
        ),
        ("table_has_children", "bypassed_writes"),
        ("ANALYZE redactions",),
    ),
    "row security for a while": Way(
        (
            "ALTER TABLE room_ban_redactions ENABLE ROW LEVEL SECURITY",
            "ALTER TABLE room_ban_redactions DISABLE ROW LEVEL SECURITY",
            "SET sliding_sync.enabled = off",
            UNSEEN,
        )
    ),
    # the derived tables
    "a derived table truncated": Way(("TRUNCATE sliding_sync_joined_rooms",)),
    "both truncated": Way(("TRUNCATE sliding_sync_joined_rooms, sliding_sync_membership_snapshots",)),
    "a derived table made again": Way(
        ("DROP TABLE sliding_sync_membership_snapshots",),
        ("derived_table_missing", "bypassed_writes"),
        (ATTACH,),
    ),
    "a room's row deleted": Way(("DELETE FROM sliding_sync_joined_rooms WHERE room_id = '!r:hs.test'",)),
    "a snapshot deleted, while another room is written": Way(
        (
            "BEGIN; DELETE FROM sliding_sync_membership_snapshots WHERE room_id = '!r:hs.test'; "
            "SELECT rename('!s:hs.test', '@anna:hs.test', 'Coffee'); COMMIT",
        )
    ),
    "derived rows deleted where the table has another name": Way(
        (
            "ALTER TABLE sliding_sync_joined_rooms RENAME TO away",
            "DELETE FROM away",
            "ALTER TABLE away RENAME TO sliding_sync_joined_rooms",
        )
    ),
    "derived rows deleted by the owner's trigger in a statement of ours": Way(
        (
            "CREATE FUNCTION prune() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " DELETE FROM homeserver.sliding_sync_membership_snapshots WHERE room_id = '!s:hs.test';"
            " DELETE FROM homeserver.sliding_sync_joined_rooms WHERE room_id = '!s:hs.test'; RETURN NULL; END $$",
            "CREATE TRIGGER prune AFTER UPDATE ON sliding_sync_joined_rooms FOR EACH ROW"
            " WHEN (NEW.room_id = '!r:hs.test') EXECUTE FUNCTION prune()",
            "SELECT sliding_sync.catch_up()",
            "SELECT rename('!r:hs.test', '@anna:hs.test', 'Coffee')",
        )
    ),
    "rooms deleted where their table has a column of users": Way(
        (
            "ALTER TABLE sliding_sync_joined_rooms ADD COLUMN user_id text",
            "SELECT sliding_sync.catch_up()",
            "DELETE FROM sliding_sync_joined_rooms",
        )
    ),
    "a derived table rewritten": Way(
        ("ALTER TABLE sliding_sync_joined_rooms ALTER COLUMN room_name TYPE text USING 'Wrong'",)
    ),
    "the past of a snapshot rewritten": Way(
        (
            "ALTER TABLE sliding_sync_membership_snapshots ALTER COLUMN room_name TYPE text USING"
            " CASE membership WHEN 'leave' THEN 'Never' ELSE room_name END",
        )
    ),
    "unlogged": Way(
        ("ALTER TABLE sliding_sync_joined_rooms SET UNLOGGED", "DELETE FROM sliding_sync_joined_rooms"),
        ("table_unlogged", "bypassed_writes"),
        ("ALTER TABLE sliding_sync_joined_rooms SET LOGGED",),
    ),
    # between the look and the end of its transaction
    "in a transaction that has caught up": Way(
        (
            "BEGIN; ALTER TABLE current_state_events DISABLE TRIGGER USER;"
            ' ALTER TABLE current_state_events ENABLE ALWAYS TRIGGER "A_sliding_sync",'
            ' ENABLE ALWAYS TRIGGER "A_sliding_sync_truncate"; SELECT sliding_sync.catch_up();'
            f" ALTER TABLE current_state_events DISABLE TRIGGER USER; {UNSEEN};"
            ' ALTER TABLE current_state_events ENABLE ALWAYS TRIGGER "A_sliding_sync",'
            ' ENABLE ALWAYS TRIGGER "A_sliding_sync_truncate"; COMMIT',
            SEEN,
        )
    ),
}

# Ways that last: nothing but the mending makes ready() say yes again, however often rows are compared.
LASTING = {
    "the function is another one for good": (
        (
            "CREATE OR REPLACE FUNCTION sliding_sync.collect() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        ),
        "CREATE OR REPLACE FUNCTION sliding_sync.collect() RETURNS trigger LANGUAGE c AS '$libdir/sliding_sync',"
        " 'sliding_sync_collect'",
    ),
    "the function is one of another library": (
        (
            "UPDATE pg_proc SET probin = '$libdir/another' WHERE oid = 'sliding_sync.collect'::regproc",
        ),
        "UPDATE pg_proc SET probin = '$libdir/sliding_sync' WHERE oid = 'sliding_sync.collect'::regproc",
    ),
    "the function has a setting": (
        ("ALTER FUNCTION sliding_sync.collect() SET sliding_sync.enabled = off",),
        "ALTER FUNCTION sliding_sync.collect() RESET ALL",
    ),
    "a table that has no triggers, says the catalog": (
        (
            "SET allow_system_table_mods = on",
            "UPDATE pg_class SET relhastriggers = false WHERE oid = 'current_state_events'::regclass",
        ),
        "UPDATE pg_class SET relhastriggers = true WHERE oid = 'current_state_events'::regclass",
    ),
}

# Ways that fire the triggers: nothing is to be caught up.
WATCHED = {
    "TRUNCATE": ("TRUNCATE room_ban_redactions", "bypassed_writes"),
    "COPY FREEZE": (
        "BEGIN; TRUNCATE rejections; COPY rejections FROM PROGRAM 'true' WITH (FREEZE); COMMIT",
        "bypassed_writes",
    ),
    "schema renamed": (
        "ALTER SCHEMA homeserver RENAME TO elsewhere; SET search_path = operations, elsewhere; "
        "SELECT rename('!r:hs.test', '@anna:hs.test', 'Coffee'); ALTER SCHEMA elsewhere RENAME TO homeserver",
        None,
    ),
    "a rule": (
        "CREATE RULE also AS ON INSERT TO operations.pokes DO ALSO "
        "DELETE FROM current_state_events WHERE type = 'm.room.name'; INSERT INTO operations.pokes VALUES (1)",
        None,
    ),
    "WITH": (f"WITH gone AS ({UNSEEN} RETURNING 1) SELECT count(*) FROM gone", None),
    "MERGE": (
        "MERGE INTO current_state_events c USING (SELECT 'm.room.name' AS type) x ON c.type = x.type "
        "WHEN MATCHED THEN DELETE",
        None,
    ),
    "ON DELETE CASCADE": (
        "ALTER TABLE operations.pokes ADD PRIMARY KEY (n); INSERT INTO operations.pokes SELECT 1; "
        "DELETE FROM operations.pokes",
        None,
    ),
    "a partition": (
        "CREATE TABLE operations.whole (LIKE rejections) PARTITION BY LIST (event_id)",
        None,
    ),
}

# Commands that change no row. Some leave the same trace as those that do, and cost one look.
HARMLESS = {
    "VACUUM": False,
    "VACUUM (FREEZE)": False,
    "ANALYZE": False,
    "REINDEX TABLE events": False,
    "CREATE INDEX ON events (depth)": False,
    "CREATE INDEX CONCURRENTLY ON event_json (room_id)": False,
    "CREATE STATISTICS s ON room_id, sender FROM events": False,
    "CREATE TABLE operations.r (e text REFERENCES events (event_id))": False,
    "COMMENT ON TABLE events IS 'events'": False,
    "CREATE PUBLICATION p FOR ALL TABLES": False,
    "ALTER DATABASE {database} SET sliding_sync.enabled = on": False,
    "VACUUM FULL events": True,
    "CLUSTER sliding_sync_joined_rooms USING sliding_sync_joined_rooms_pkey": True,
    "ALTER TABLE events ADD COLUMN added text": True,
    "ALTER TABLE events REPLICA IDENTITY FULL": True,
    "ALTER TABLE events SET (autovacuum_vacuum_scale_factor = 0.01)": True,
    "GRANT SELECT ON events TO another_owner": True,
    "VACUUM FULL pg_class": True,
}


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> Iterator[str]:
    """A complete homeserver; copies of its database keep catalogs and rows, and so are complete as well."""
    cluster.create_role("another_owner")
    cluster.execute("CREATE ROLE administrator SUPERUSER")
    name = create_homeserver(cluster, "covered")
    with connect(cluster, name, SUPERUSER) as connection:
        connection.execute("ALTER TABLE room_ban_redactions OWNER TO administrator")
        connection.execute("GRANT SELECT ON room_ban_redactions TO homeserver_owner")
        connection.execute("CREATE TABLE operations.pokes (n integer)")
        for room in (ROOM, OTHER):
            connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (room, ANNA))
        connection.execute('SELECT "join"(%s, %s)', (ROOM, BERT))
        connection.execute('SELECT "leave"(%s, %s)', (ROOM, BERT))
        connection.execute("CALL sliding_sync.backfill()")
        assert ready(connection) == (True, [])
    yield name
    cluster.drop_database(name)
    cluster.execute("DROP ROLE administrator")


@pytest.fixture
def database(cluster: Cluster, template: str) -> Iterator[str]:
    name = cluster.create_database("covered_copy", OWNER, template)
    with connect(cluster, name, SUPERUSER) as connection:
        catch_up(connection)  # another test may have altered the administrator, who is of all databases
    yield name
    cluster.drop_database("covered_copy")


@pytest.fixture
def connection(cluster: Cluster, database: str) -> Iterator[Connection]:
    with connect(cluster, database, SUPERUSER) as connection:
        assert ready(connection) == (True, [])
        yield connection


def ready(connection: Connection) -> tuple[bool, list[str]]:
    row = connection.execute("SELECT is_ready, reasons FROM sliding_sync.ready(%s)", (SCHEMA,)).fetchone()
    assert row
    return row


def catch_up(connection: Connection, mode: str = "repair") -> tuple[bool, int]:
    row = connection.execute(
        "SELECT had_gap, rows_written FROM sliding_sync.catch_up(%s, %s)", (SCHEMA, mode)
    ).fetchone()
    assert row
    return row


def run(connection: Connection, *statements: str) -> None:
    for statement in statements:
        connection.execute(sql.SQL(statement))  # type: ignore[arg-type]


def wrong(connection: Connection) -> list[str]:
    """What the oracle finds, and what verify() calls impossible."""
    rows = connection.execute(
        "SELECT room_id, column_name, reason FROM sliding_sync.verify(%s) WHERE severity <> 'unverifiable'", (SCHEMA,)
    )
    return [str(finding) for finding in check(connection, SCHEMA)] + [str(row) for row in rows]


def assert_caught_up(connection: Connection) -> None:
    assert catch_up(connection)[0]
    assert not wrong(connection)
    assert ready(connection) == (True, [])
    assert catch_up(connection) == (False, 0)


@pytest.mark.parametrize("name", WAYS)
def test_a_way_around_the_triggers(connection: Connection, name: str) -> None:
    way = WAYS[name]
    run(connection, *way.statements)
    assert ready(connection) == (False, list(way.reasons))
    # there is nothing to compare; or the rest of the transaction has made the room's rows from scratch
    if name not in ("a derived table made again", "switched off in part of a transaction"):
        assert wrong(connection)
    run(connection, *way.mend)
    run(connection, "RESET sliding_sync.enabled")
    assert_caught_up(connection)


@pytest.mark.parametrize("name", LASTING)
def test_a_way_that_lasts(connection: Connection, name: str) -> None:
    statements, mend = LASTING[name]
    run(connection, *statements)
    catch_up(connection)
    assert ready(connection) == (False, ["trigger_missing"])
    assert connection.execute("SELECT count(*) > 0 FROM sliding_sync.health WHERE code = 'trigger_missing'").fetchone() == (True,)
    run(connection, mend)
    assert_caught_up(connection)


def test_a_way_around_the_triggers_and_the_rows_taken_away(connection: Connection) -> None:
    run(connection, *WAYS["rewritten"].statements)
    assert catch_up(connection, "remove") == (True, 5)
    assert {row[0] for row in connection.execute("SELECT reason FROM sliding_sync.quarantine")} == {"stale"}
    assert ready(connection) == (False, ["quarantine"])
    run(connection, "SELECT sliding_sync.repair_quarantine()")
    assert not wrong(connection)
    assert ready(connection) == (True, [])


def test_a_backfill_closes_a_gap_too(connection: Connection) -> None:
    run(connection, *WAYS["rewritten"].statements, "CALL sliding_sync.backfill()")
    assert not wrong(connection)
    assert ready(connection) == (True, [])


def test_a_backfill_that_begins_anew_keeps_its_doubt_of_the_past(connection: Connection) -> None:
    run(
        connection,
        *WAYS["the past of a snapshot rewritten"].statements,
        "CALL sliding_sync.backfill(max_duration => '1 microsecond')",
    )
    assert ready(connection) == (False, ["never_completed"])
    run(connection, *WAYS["switched off"].statements, "CALL sliding_sync.backfill()")
    assert not wrong(connection)
    assert ready(connection) == (True, [])


@pytest.mark.parametrize("name", WATCHED)
def test_a_way_that_the_triggers_see(connection: Connection, name: str) -> None:
    """Rows are right at once, also where ready() asks for a look."""
    statement, reason = WATCHED[name]
    if name == "ON DELETE CASCADE":
        run(
            connection,
            "ALTER TABLE operations.pokes ADD COLUMN event_id text UNIQUE",
            "INSERT INTO operations.pokes SELECT 1, event_id FROM current_state_events WHERE type = 'm.room.name'"
            " AND room_id = '!r:hs.test'",
            "ALTER TABLE current_state_events ADD FOREIGN KEY (event_id) REFERENCES operations.pokes (event_id)"
            " ON DELETE CASCADE NOT VALID",
            "SELECT sliding_sync.catch_up()",
        )
        statement = "DELETE FROM operations.pokes"
    if name == "a partition":
        run(
            connection,
            "CREATE TABLE operations.whole (LIKE current_state_events) PARTITION BY LIST (type)",
            "ALTER TABLE operations.whole ATTACH PARTITION current_state_events DEFAULT",
            "SELECT sliding_sync.catch_up()",
        )
        statement = NAMELESS.format("operations.whole")
    run(connection, statement)
    assert not wrong(connection)
    assert ready(connection) == ((True, []) if reason is None else (False, [reason]))


DELETED = {
    "with the room": (
        "DELETE FROM sliding_sync_membership_snapshots WHERE room_id = '!r:hs.test'",
        "DELETE FROM sliding_sync_joined_rooms WHERE room_id = '!r:hs.test'",
        "SELECT purge_room('!r:hs.test')",
    ),
    "and made again": (
        "CREATE TEMPORARY TABLE kept AS TABLE sliding_sync_joined_rooms",
        "DELETE FROM sliding_sync_joined_rooms",
        "INSERT INTO sliding_sync_joined_rooms TABLE kept",
    ),
    "in a room that changes": (
        "DELETE FROM sliding_sync_joined_rooms WHERE room_id = '!r:hs.test'",
        "SELECT send_message('!r:hs.test', '@anna:hs.test')",
    ),
    "and rolled back": (
        "SAVEPOINT s",
        "DELETE FROM sliding_sync_joined_rooms",
        "DELETE FROM sliding_sync_membership_snapshots",
        "ROLLBACK TO s",
    ),
    "without a membership": (
        "DELETE FROM local_current_membership WHERE room_id = '!r:hs.test'",
        "DELETE FROM sliding_sync_membership_snapshots WHERE room_id = '!r:hs.test'",
    ),
}


@pytest.mark.parametrize("name", DELETED)
def test_rows_that_a_homeserver_may_delete(connection: Connection, name: str) -> None:
    """They are not lost: nothing stands for them any more, or they are there again at the end."""
    with connection.transaction():
        run(connection, *DELETED[name])
    assert not wrong(connection)
    assert ready(connection) == (True, [])


def test_deleted_rows_stay_deleted_until_somebody_catches_up(connection: Connection) -> None:
    run(connection, "DELETE FROM sliding_sync_joined_rooms")
    assert connection.execute("SELECT * FROM sliding_sync_joined_rooms").fetchall() == []
    reasons = connection.execute("SELECT schema_name, reason FROM sliding_sync.bypassed_writes")
    assert reasons.fetchall() == [(SCHEMA, "deleted")]
    assert catch_up(connection) == (True, 2)
    assert ready(connection) == (True, [])


@pytest.mark.parametrize("command", HARMLESS)
def test_a_command_that_changes_no_row(connection: Connection, database: str, command: str) -> None:
    costs_a_look = HARMLESS[command]
    run(connection, command.format(database=database))
    assert ready(connection) == ((False, ["bypassed_writes"]) if costs_a_look else (True, []))
    assert catch_up(connection) == (costs_a_look, 0)
    assert ready(connection) == (True, [])


# -- notes


def test_many_homeservers_in_one_transaction(cluster: Cluster, database: str) -> None:
    schemas = [f"h{number}" for number in range(1, 13)]
    with connect(cluster, database, SUPERUSER) as connection:
        for schema in schemas:
            run(connection, f"CALL operations.make_homeserver('{schema}')")
            connection.execute("SELECT sliding_sync.attach(%s)", (schema,))
            connection.execute("CALL sliding_sync.backfill(%s)", (schema,))
        with connection.transaction():
            run(connection, "SET LOCAL sliding_sync.enabled = off")
            for schema in schemas:
                run(connection, f"INSERT INTO {schema}.rooms (room_id) VALUES ('!x')")
        for schema in schemas:
            row = connection.execute("SELECT is_ready FROM sliding_sync.ready(%s)", (schema,)).fetchone()
            assert row == (False,), schema


def test_a_strangers_table_feeds_no_note(cluster: Cluster, database: str) -> None:
    cluster.execute("GRANT USAGE, CREATE ON SCHEMA homeserver TO another_owner", database)
    with connect(cluster, database, "another_owner") as stranger:
        for enabled in ("on", "off"):
            run(
                stranger,
                f"SET sliding_sync.enabled = {enabled}",
                f"CREATE TABLE homeserver.anything_{enabled} (room_id text, event_id text, type text, state_key text)",
            )
            for function, events in (
                ("events", "INSERT OR UPDATE OR DELETE"),
                ("rooms", "INSERT OR UPDATE OR DELETE"),
                ("sliding_sync_joined_rooms", "DELETE"),
            ):
                run(
                    stranger,
                    f'CREATE TRIGGER "A_{function}" AFTER {events} ON homeserver.anything_{enabled}'
                    f" FOR EACH ROW EXECUTE FUNCTION sliding_sync.collect()",
                )
            run(
                stranger,
                f"INSERT INTO homeserver.anything_{enabled} VALUES ('!r:hs.test')",
                f"ALTER TABLE homeserver.anything_{enabled} RENAME TO renamed_{enabled}",
                f"DELETE FROM homeserver.renamed_{enabled}",
            )
    with connect(cluster, database, SUPERUSER) as connection:
        assert connection.execute("SELECT * FROM sliding_sync.bypassed_writes").fetchall() == []
        assert ready(connection) == (True, [])
        # a table that this homeserver does not have, and another may
        run(connection, "DROP TABLE rejections", "SELECT sliding_sync.catch_up()")
        assert ready(connection) == (True, [])
    with connect(cluster, database, "another_owner") as stranger:
        run(
            stranger,
            "CREATE TABLE homeserver.rejections (event_id text)",
            'CREATE TRIGGER "A_sliding_sync" AFTER INSERT ON homeserver.rejections FOR EACH ROW'
            " EXECUTE FUNCTION sliding_sync.collect()",
            "SET sliding_sync.enabled = off",
            "INSERT INTO homeserver.rejections SELECT '$x'",
            "TRUNCATE homeserver.rejections",
        )
    with connect(cluster, database, SUPERUSER) as connection:
        assert ready(connection) == (True, [])
        assert connection.execute("SELECT * FROM sliding_sync.bypassed_writes").fetchall() == []


def test_a_savepoint_that_is_rolled_back(connection: Connection) -> None:
    """A note too many costs a look; one too few would cost the truth."""
    with connection.transaction():
        run(connection, "SET LOCAL sliding_sync.enabled = off", "SAVEPOINT s", UNSEEN, "ROLLBACK TO s")
    assert catch_up(connection) == (True, 0)
    with connection.transaction():
        run(connection, "SAVEPOINT s", "SET LOCAL sliding_sync.enabled = off", UNSEEN, "RELEASE s")
    assert_caught_up(connection)


def test_a_prepared_transaction(connection: Connection) -> None:
    run(connection, "BEGIN", "SET LOCAL sliding_sync.enabled = off", UNSEEN, "PREPARE TRANSACTION 'unseen'")
    assert ready(connection) == (True, [])
    run(connection, "COMMIT PREPARED 'unseen'")
    assert ready(connection) == (False, ["bypassed_writes"])
    assert_caught_up(connection)


def test_a_note_that_cannot_be_written(cluster: Cluster, database: str, connection: Connection) -> None:
    """Nor told in the client's encoding: the transaction is the homeserver's, and goes through."""
    run(connection, 'ALTER TABLE sliding_sync.bypassed_writes ADD CONSTRAINT "満杯" CHECK (false) NOT VALID')
    with connect(cluster, database, SUPERUSER) as client:
        notices: list[str] = []
        client.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        run(client, "SET client_encoding = latin1", "SET client_min_messages = warning")
        run(client, "SET sliding_sync.enabled = off", UNSEEN)
    assert len(notices) == 1 and r'check constraint "\xE6\xBA\x80\xE6\x9D\xAF"' in notices[0]
    names = connection.execute("SELECT count(*) FROM current_state_events WHERE type = 'm.room.name'")
    assert names.fetchone() == (1,)


# -- dumps and crashes


def test_data_restored_with_triggers_disabled(
    cluster: Cluster, database: str, connection: Connection, server_directory: Path
) -> None:
    dump = server_directory / "dump"
    only = ["-Fc", "--data-only", "-t", f"{SCHEMA}.current_state_events"]
    processes.run([cluster.bin / "pg_dump", *flags(cluster), *only, "-f", dump, database], cwd=server_directory)
    run(connection, "DELETE FROM current_state_events")
    assert connection.execute("SELECT * FROM sliding_sync_joined_rooms").fetchall() == []
    restore = ["--data-only", "--disable-triggers", "-d", database, dump]
    processes.run([cluster.bin / "pg_restore", *flags(cluster), *restore], cwd=server_directory)
    assert ready(connection) == (False, ["trigger_not_always", "bypassed_writes"])
    run(connection, ATTACH)
    assert_caught_up(connection)


@pytest.mark.parametrize("without", ["nothing", "the derived rows"])
def test_a_restored_database(
    cluster: Cluster, database: str, connection: Connection, server_directory: Path, without: str
) -> None:
    dump = server_directory / "dump"
    some = [f"--exclude-table-data={SCHEMA}.sliding_sync_*"] if without != "nothing" else []
    processes.run(
        [cluster.bin / "pg_dump", *flags(cluster), "-Fc", *some, "-f", dump, database], cwd=server_directory
    )
    cluster.create_database("restored", OWNER)
    try:
        processes.run(
            [cluster.bin / "pg_restore", *flags(cluster), "-d", "restored", dump], cwd=server_directory
        )
        with connect(cluster, "restored", SUPERUSER) as restored:
            assert ready(restored) == (False, ["not_attached"])
            run(restored, ATTACH)
            assert ready(restored) == (False, ["never_completed"])
            assert catch_up(restored)[0]
            assert not wrong(restored)
            run(restored, "CALL sliding_sync.backfill()")
            assert ready(restored) == (True, [])
    finally:
        cluster.drop_database("restored")


def test_unlogged_tables_and_a_crash() -> None:
    with Cluster() as cluster:
        create_homeserver(cluster, "homeserver")
        with connect(cluster, "homeserver", SUPERUSER) as connection:
            connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
            for table in DERIVED_TABLES:
                run(connection, f"ALTER TABLE {table} SET UNLOGGED")
            run(connection, "CALL sliding_sync.backfill()")
            assert ready(connection) == (False, ["table_unlogged"])
        cluster.execute("CHECKPOINT")
        cluster.restart(signal.SIGQUIT)
        with connect(cluster, "homeserver", SUPERUSER) as connection:
            assert connection.execute("SELECT * FROM sliding_sync_joined_rooms").fetchall() == []
            for table in DERIVED_TABLES:
                run(connection, f"ALTER TABLE {table} SET LOGGED")
            assert ready(connection) == (False, ["bypassed_writes"])
            assert_caught_up(connection)


def test_every_homeserver_table_is_covered(connection: Connection) -> None:
    """The list of the fingerprint is that of the triggers."""
    with_triggers = connection.execute(
        "SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE tgname LIKE 'A\\_sliding\\_sync%'"
    ).fetchall()
    covered = connection.execute(
        "SELECT table_oid::regclass::text FROM sliding_sync.homeserver_tables WHERE schema_name = %s", (SCHEMA,)
    ).fetchall()
    assert sorted(covered) == sorted(with_triggers)
    assert len(covered) == 11
