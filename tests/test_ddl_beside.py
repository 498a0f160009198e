"""An administrator's or a stranger's DDL in another session, beside a homeserver's open transaction."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from oracle import check
from synthetic.database import ANNA, OPERATIONS, OWNER, SCHEMA, connect, copied, create_homeserver

Connection = psycopg.Connection[Any]

ROOM, STRANGER = "!r:hs.test", "ddl_stranger"
TABLE = "sliding_sync_joined_rooms"
JOIN = f"""SELECT "join"('{ROOM}', '@new:hs.test')"""
CHANGES = {"message": f"SELECT send_message('{ROOM}', '{ANNA}')", "name": f"SELECT rename('{ROOM}', '{ANNA}', 'New')"}


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> str:
    return create_homeserver(cluster, "beside ddl")


@pytest.fixture
def database(cluster: Cluster, template: str) -> Iterator[str]:
    with copied(cluster, template, owner=OWNER) as name:
        yield name


@pytest.fixture
def admin(cluster: Cluster, database: str) -> Iterator[Connection]:
    with connect(cluster, database, SUPERUSER) as connection:
        yield connection


@pytest.fixture
def homeserver(cluster: Cluster, database: str) -> Iterator[Connection]:
    """A session that has read and written all before."""
    with connect(cluster, database, OWNER) as connection:
        connection.execute("SELECT create_room(%s, %s, name => 'Old')", (ROOM, ANNA))
        for change in [*CHANGES.values()] * 3:
            connection.execute(change)  # type: ignore[call-overload]
        yield connection


def begin(homeserver: Connection, change: str) -> None:
    homeserver.execute("BEGIN")
    homeserver.execute(CHANGES[change])  # type: ignore[call-overload]


@contextmanager
def committing(homeserver: Connection, *, waits: bool) -> Iterator[None]:
    """Commits in the background until the end of the block; raises what the commit raises."""
    errors: list[BaseException] = []

    def commit() -> None:
        try:
            homeserver.execute("COMMIT")
        except psycopg.Error as error:
            errors.append(error)

    thread = threading.Thread(target=commit)
    thread.start()
    thread.join(0.1 if waits else 30)
    assert thread.is_alive() == waits
    yield
    thread.join(30)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


def assert_right(connection: Connection, schema: str = SCHEMA) -> None:
    findings = check(connection, schema)
    assert not findings, "\n".join(map(str, findings[:30]))


# -- indexes and locks


@pytest.mark.parametrize("change", CHANGES)
def test_an_index_is_dropped_by_whoever_has_locked_the_table(admin: Connection, homeserver: Connection, change: str) -> None:
    """No index is locked before its table: the commit waits, and no circle closes."""
    admin.execute(f"CREATE INDEX another ON {SCHEMA}.{TABLE} (room_name)")  # sessions look at the table again
    begin(homeserver, change)
    admin.execute("BEGIN")
    admin.execute(f"LOCK TABLE {SCHEMA}.{TABLE}")
    with committing(homeserver, waits=True):
        admin.execute(f"DROP INDEX {SCHEMA}.another")
        admin.execute("COMMIT")
    assert_right(admin)


@pytest.mark.parametrize("table", [TABLE, "sliding_sync_membership_snapshots"])
@pytest.mark.parametrize("change", ["message", "name", "join"])
def test_a_table_is_reindexed(admin: Connection, homeserver: Connection, change: str, table: str) -> None:
    """It has locked the table, and comes to its indexes one after the other: no circle closes by a commit that waits."""
    homeserver.execute("BEGIN")
    homeserver.execute({**CHANGES, "join": JOIN}[change])  # type: ignore[call-overload]
    admin.execute("BEGIN")
    admin.execute(f"LOCK TABLE {SCHEMA}.{table} IN SHARE MODE")
    with committing(homeserver, waits=table == TABLE or change == "join"):
        admin.execute(f"REINDEX TABLE {SCHEMA}.{table}")
        admin.execute("COMMIT")
    assert_right(admin)


def test_indexes_come_and_go_beside_commits(cluster: Cluster, database: str, admin: Connection, homeserver: Connection) -> None:
    stop, errors = threading.Event(), []

    def write() -> None:
        while not stop.is_set():
            try:
                homeserver.execute(CHANGES["message"])
            except psycopg.Error as error:
                errors.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    for _ in range(10):
        admin.execute(f"CREATE INDEX CONCURRENTLY another ON {SCHEMA}.{TABLE} (room_name)")
        admin.execute(f"DROP INDEX CONCURRENTLY {SCHEMA}.another")
    stop.set()
    thread.join()
    assert not errors
    assert_right(admin)


@pytest.mark.parametrize(
    "statement",
    [
        "LOCK TABLE sliding_sync.corrections",
        "LOCK TABLE sliding_sync.attachments",
        "ALTER VIEW sliding_sync.homeservers SET (security_barrier = true)",
        "ALTER INDEX sliding_sync.corrections_pkey SET TABLESPACE pg_default",
        "ALTER SEQUENCE sliding_sync.corrections_correction_id_seq CACHE 5",
    ],
)
def test_the_log_of_corrections_is_locked(admin: Connection, homeserver: Connection, statement: str) -> None:
    """Nobody waits: what would be logged is not."""
    homeserver.execute("SET homeserver.writes_tables = on")
    homeserver.execute("SELECT tombstone(%s, %s, '!next')", (ROOM, ANNA))
    admin.execute("BEGIN")
    admin.execute(statement)  # type: ignore[call-overload]
    homeserver.execute("BEGIN")
    homeserver.execute("SELECT state_reset(%s, 'm.room.tombstone')", (ROOM,))  # which this homeserver overlooks
    with committing(homeserver, waits=False):
        pass
    admin.execute("ROLLBACK")
    assert admin.execute("SELECT count(*) FROM sliding_sync.corrections").fetchall() == [(0,)]
    assert_right(admin)


REFUSED = f"ALTER TABLE {SCHEMA}.{TABLE} ADD CHECK (room_name <> 'New') NOT VALID"


@pytest.mark.parametrize("table", ["quarantine", "attachments", "runs", "bypassed_writes", "trigger_coverage"])
@pytest.mark.parametrize("is_bypassed", [False, True], ids=["a row that fails", "a change that is bypassed"])
def test_the_tables_for_notes_are_locked(admin: Connection, homeserver: Connection, table: str, is_bypassed: bool) -> None:
    """Nobody waits longer than a moment: what cannot be noted is counted, and ready() knows."""
    admin.execute("CALL sliding_sync.backfill()")
    if not is_bypassed:
        admin.execute(REFUSED)  # type: ignore[call-overload]
    admin.execute("BEGIN")
    admin.execute(f"LOCK TABLE sliding_sync.{table}")
    homeserver.execute("BEGIN")
    homeserver.execute(f"SET LOCAL sliding_sync.enabled = {'off' if is_bypassed else 'on'}")
    homeserver.execute(CHANGES["name"])
    with committing(homeserver, waits=False):
        pass
    admin.execute("ROLLBACK")
    reasons = admin.execute("SELECT reasons FROM sliding_sync.ready()").fetchall()[0][0]
    assert {"bypassed_writes", "quarantine"} & set(reasons)
    if is_bypassed:
        admin.execute("SELECT sliding_sync.catch_up()")
        assert_right(admin)


# -- what a table has of its own


@contextmanager
def held_flush(cluster: Cluster, database: str) -> Iterator[None]:
    """Flushes wait for a moment: a prepared transaction has rejected an event that nobody has seen."""
    with connect(cluster, database, OWNER) as other:
        other.execute("BEGIN")
        other.execute("INSERT INTO rejections (event_id, reason, last_check) VALUES ('$nowhere', 'auth_error', '0')")
        other.execute("PREPARE TRANSACTION 'held'")
        yield
        other.execute("ROLLBACK PREPARED 'held'")


@pytest.mark.parametrize("change", CHANGES)
def test_a_trigger_comes_while_a_commit_waits(
    cluster: Cluster, database: str, admin: Connection, homeserver: Connection, change: str
) -> None:
    """What it changes is found: no row, and a note; or the commit has been faster."""
    admin.execute(
        f"CREATE FUNCTION {SCHEMA}.spoil() RETURNS trigger LANGUAGE plpgsql"
        " AS $$BEGIN NEW.bump_stamp = 1; RETURN NEW; END$$"
    )
    with held_flush(cluster, database):
        begin(homeserver, change)
        with committing(homeserver, waits=True):
            admin.execute(f"CREATE TRIGGER t BEFORE UPDATE ON {SCHEMA}.{TABLE} FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.spoil()")
    if admin.execute(f"SELECT FROM {SCHEMA}.{TABLE}").fetchall():
        assert_right(admin)
        return
    assert admin.execute("SELECT room_id FROM sliding_sync.quarantine WHERE room_id <> ''").fetchall() == [(ROOM,)]


@pytest.mark.parametrize("locking", ["LOCK TABLE rejections", "REINDEX INDEX rejections_event_id_key"])
@pytest.mark.usefixtures("homeserver")
def test_a_message_beside_somebody_who_alters_the_rejections(
    cluster: Cluster, database: str, admin: Connection, locking: LiteralString
) -> None:
    """A homeserver that waits for no lock for long commits its first message, which is no business of theirs: the row is lost."""
    with connect(cluster, database, OWNER) as session:
        session.execute("SET lock_timeout = '100ms'")
        session.execute("BEGIN")
        session.execute(
            "INSERT INTO event_json (event_id, room_id, internal_metadata, json, format_version) VALUES ('$m', %s, '{}', '{}', 3)", (ROOM,)
        )
        session.execute(
            "INSERT INTO events (instance_name, stream_ordering, topological_ordering, depth, event_id, room_id, type, processed,"
            " outlier, origin_server_ts, received_ts, sender, contains_url) VALUES ('master', nextval('events_stream_seq'), 99, 99,"
            " '$m', %s, 'm.room.message', true, false, 0, 0, %s, false)",
            (ROOM, ANNA),
        )
        admin.execute("BEGIN")
        admin.execute(locking)
        session.execute("COMMIT")
        admin.execute("COMMIT")
    assert admin.execute("SELECT sqlstate FROM sliding_sync.quarantine").fetchall() == [("55P03",)]
    admin.execute("SELECT sliding_sync.repair_quarantine()")
    assert_right(admin)


@pytest.mark.parametrize(
    ("reindexed", "statement"),
    [
        ("sliding_sync_membership_snapshots_pkey", CHANGES["message"]),
        ("sliding_sync_membership_snapshots_pkey", CHANGES["name"]),
        ("sliding_sync_joined_rooms_pkey", f"SELECT forget('{ROOM}', '@left:hs.test')"),
    ],
)
@pytest.mark.parametrize("is_known", [True, False])
def test_reindex_of_the_other_table_is_not_waited_for(
    cluster: Cluster, database: str, admin: Connection, homeserver: Connection, reindexed: str, statement: LiteralString, is_known: bool
) -> None:
    """By who writes one derived table only, whether its session has looked at both before, or at none."""
    homeserver.execute("""SELECT "join"(%s, '@left:hs.test'), leave(%s, '@left:hs.test')""", (ROOM, ROOM))
    with connect(cluster, database, OWNER) as fresh:
        session = homeserver if is_known else fresh
        session.execute("SET lock_timeout = '100ms'")
        admin.execute("BEGIN")
        admin.execute(f"REINDEX INDEX {SCHEMA}.{reindexed}")
        session.execute("BEGIN")
        session.execute(statement)
        session.execute("COMMIT")
        admin.execute("COMMIT")
    assert_right(admin)


@pytest.mark.parametrize("user", [OWNER, SUPERUSER])
@pytest.mark.parametrize("change", ["name", "join"])
def test_a_deferred_trigger_comes_with_the_lock_that_a_commit_waits_for(
    cluster: Cluster, database: str, admin: Connection, homeserver: Connection, change: str, user: str
) -> None:
    """It refuses every row, and costs the row: not the commit, at whose end it would fire."""
    table = TABLE if change == "name" else "sliding_sync_membership_snapshots"
    admin.execute(f"CREATE FUNCTION {SCHEMA}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'refused'; END$$")
    with connect(cluster, database, user) as writer:
        writer.execute("BEGIN")
        writer.execute({**CHANGES, "join": JOIN}[change])  # type: ignore[call-overload]
        admin.execute("BEGIN")
        admin.execute(
            f"CREATE CONSTRAINT TRIGGER t AFTER INSERT OR UPDATE ON {SCHEMA}.{table} DEFERRABLE INITIALLY DEFERRED"
            f" FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.refuse()"
        )
        with committing(writer, waits=True):
            admin.execute("COMMIT")
    assert admin.execute("SELECT table_name, room_id, message FROM sliding_sync.quarantine").fetchall() == [(table, ROOM, "refused")]
    admin.execute(f"DROP TRIGGER t ON {SCHEMA}.{table}; SELECT sliding_sync.repair_quarantine()")
    assert_right(admin)


def test_a_deferrable_constraint_goes_while_a_commit_waits(
    cluster: Cluster, database: str, admin: Connection, homeserver: Connection
) -> None:
    admin.execute(f"CREATE FUNCTION {SCHEMA}.nothing() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$")
    admin.execute(
        f"CREATE CONSTRAINT TRIGGER t AFTER UPDATE ON {SCHEMA}.{TABLE} DEFERRABLE INITIALLY DEFERRED"
        f" FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.nothing()"
    )
    homeserver.execute(CHANGES["name"])
    with held_flush(cluster, database):
        begin(homeserver, "name")
        with committing(homeserver, waits=True):
            admin.execute(f"DROP TRIGGER t ON {SCHEMA}.{TABLE}")
    assert_right(admin)


def test_the_owner_loses_a_right(cluster: Cluster, database: str, admin: Connection, homeserver: Connection) -> None:
    """That it has needed to set the constraints of a table that refers to a derived one."""
    admin.execute(f"CREATE SCHEMA other; CREATE TABLE other.t (room_id text REFERENCES {SCHEMA}.{TABLE} DEFERRABLE)")
    admin.execute(f"CREATE ROLE ddl_group; GRANT USAGE ON SCHEMA other TO ddl_group; GRANT ddl_group TO {OWNER}")
    try:
        homeserver.execute(CHANGES["name"])
        admin.execute(f"REVOKE ddl_group FROM {OWNER}")
        homeserver.execute(CHANGES["name"])
        admin.execute(f"ALTER ROLE {OWNER} SUPERUSER")
        homeserver.execute(CHANGES["name"])
        admin.execute(f"ALTER ROLE {OWNER} NOSUPERUSER")
        homeserver.execute(CHANGES["name"])
    finally:
        admin.execute(f"ALTER ROLE {OWNER} NOSUPERUSER; DROP OWNED BY ddl_group; DROP ROLE ddl_group")
    assert_right(admin)


@pytest.mark.parametrize("event", ["INSERT", "UPDATE", "DELETE"])
def test_a_rule_writes_into_a_table_of_another_role(admin: Connection, homeserver: Connection, event: str) -> None:
    """No commit fails: at most the row is missing."""
    admin.execute(f"CREATE TABLE {SCHEMA}.audit (room_id text); GRANT ALL ON {SCHEMA}.audit TO {OWNER}")
    admin.execute(f"ALTER TABLE {SCHEMA}.audit OWNER TO pg_monitor")
    values = "NEW.room_id" if event != "DELETE" else "OLD.room_id"
    admin.execute(f"CREATE RULE r AS ON {event} TO {SCHEMA}.{TABLE} DO ALSO INSERT INTO {SCHEMA}.audit VALUES ({values})")
    for change in [*CHANGES.values()] * 2:
        homeserver.execute(change)  # type: ignore[call-overload]
    admin.execute(f"DROP RULE r ON {SCHEMA}.{TABLE}")
    homeserver.execute(CHANGES["name"])
    assert_right(admin)


# -- names


IMPOSTOR = f"""
    CREATE SCHEMA {SCHEMA};
    CREATE TABLE {SCHEMA}.got (who text);
    CREATE TABLE {SCHEMA}.{TABLE} (room_id text PRIMARY KEY, event_stream_ordering bigint, bump_stamp bigint, room_type text,
        room_name text, is_encrypted boolean DEFAULT false, tombstone_successor_room_id text);
    INSERT INTO {SCHEMA}.{TABLE} VALUES ('{ROOM}', 1, 1);
    GRANT USAGE ON SCHEMA {SCHEMA} TO PUBLIC;
    GRANT ALL ON {SCHEMA}.{TABLE}, {SCHEMA}.got TO PUBLIC;
    CREATE FUNCTION {SCHEMA}.take() RETURNS trigger LANGUAGE plpgsql
        AS $$BEGIN INSERT INTO {SCHEMA}.got VALUES (current_user); RETURN coalesce(NEW, OLD); END$$;
    CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON {SCHEMA}.{TABLE} FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.take();
    CREATE SEQUENCE {SCHEMA}.planned;  -- counts what is rolled back, too
    GRANT ALL ON {SCHEMA}.planned TO PUBLIC;
    CREATE FUNCTION {SCHEMA}.count_it() RETURNS bigint LANGUAGE plpgsql AS $$BEGIN RETURN nextval('{SCHEMA}.planned'); END$$;
    CREATE FUNCTION {SCHEMA}.plan_it() RETURNS bigint IMMUTABLE LANGUAGE plpgsql
        AS $$BEGIN RETURN CASE current_user WHEN '{STRANGER}' THEN 0 ELSE {SCHEMA}.count_it() END; END$$;
    CREATE INDEX ON {SCHEMA}.{TABLE} (({SCHEMA}.plan_it()));  -- whoever plans a statement on the table runs it
"""


@pytest.mark.parametrize("is_locked", [False, True], ids=["before the commit", "while the commit waits"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_stranger_takes_the_name_of_the_schema(
    cluster: Cluster, database: str, admin: Connection, homeserver: Connection, change: str, is_locked: bool
) -> None:
    """Its table's code never runs with the rights of the homeserver's owner."""
    admin.execute(f"DO $$BEGIN CREATE ROLE {STRANGER} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END$$")
    admin.execute(f'GRANT CREATE ON DATABASE "{database}" TO {STRANGER}')
    admin.execute(f"ALTER TABLE {SCHEMA}.event_forward_extremities DROP CONSTRAINT event_forward_extremities_event_id")
    begin(homeserver, change)

    def take_name() -> None:
        admin.execute(f"ALTER SCHEMA {SCHEMA} RENAME TO renamed")
        with connect(cluster, database, STRANGER) as stranger:
            stranger.execute(IMPOSTOR)

    try:
        if is_locked:
            with connect(cluster, database, SUPERUSER) as locker:
                locker.execute("BEGIN")
                locker.execute(f"LOCK TABLE {SCHEMA}.{TABLE}")
                with pytest.raises(psycopg.errors.SerializationFailure), committing(homeserver, waits=True):
                    take_name()
                    locker.rollback()
        else:
            take_name()
            homeserver.execute("COMMIT")
        assert admin.execute(f"SELECT who FROM {SCHEMA}.got").fetchall() == []
        assert admin.execute(f"SELECT is_called FROM {SCHEMA}.planned").fetchall() == [(False,)]
        assert_right(admin, "renamed")
    finally:
        admin.execute(f"DROP OWNED BY {STRANGER} CASCADE")


def test_two_homeservers_swap_their_names(cluster: Cluster) -> None:
    names = ("one", "two")
    database = create_homeserver(cluster, "swapped")
    with connect(cluster, database, SUPERUSER) as admin, connect(cluster, database, SUPERUSER) as session:
        for name in names:
            admin.execute("CALL make_homeserver(%s, false)", (name,))
            admin.execute("SELECT sliding_sync.attach(%s)", (name,))
            admin.execute(f"ALTER TABLE {name}.event_forward_extremities DROP CONSTRAINT event_forward_extremities_event_id")
            session.execute(f"SET search_path = {OPERATIONS}, {name}")
            session.execute("SELECT create_room(%s, %s, name => 'Old')", (ROOM, ANNA))
            session.execute(CHANGES["name"])
        session.execute(f"SET search_path = {OPERATIONS}, one")
        begin(session, "name")
        with admin.transaction():
            for old, new in (("one", "tmp"), ("two", "one"), ("tmp", "two")):
                admin.execute(f"ALTER SCHEMA {old} RENAME TO {new}")
        session.execute("COMMIT")
        for name in names:
            assert_right(admin, name)
    cluster.drop_database(database)


