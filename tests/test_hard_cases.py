"""Hard cases of docs/testing.md that take more than one SQL session: more sessions, databases or servers."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from harness.cluster import SUPERUSER, Cluster
from harness.environment import synapse_python
from harness.standby import Standby
from oracle import Watcher, check
from property.random_homeserver import RandomHomeserver
from synthetic.database import OPERATIONS, OWNER, SCHEMA, connect, create_homeserver, run_psql

Connection = psycopg.Connection[Any]

ROOM, ANNA, BERT = "!r:hs.test", "@anna:hs.test", "@bert:hs.test"
DERIVED = ("sliding_sync_joined_rooms", "sliding_sync_membership_snapshots")

# What a homeserver's own statements run into, with and without us.
_OWN_FAULTS = (
    psycopg.errors.IntegrityError,
    psycopg.errors.InvalidTextRepresentation,
    psycopg.errors.UndefinedTable,  # an operation of a newer homeserver on an old schema
)


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> str:
    """A homeserver with one room."""
    name = create_homeserver(cluster, "hard cases")
    with connect(cluster, name) as connection:
        connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
    return name


@pytest.fixture
def database(cluster: Cluster, template: str) -> Iterator[str]:
    name = cluster.create_database("hard case", OWNER, template)
    yield name
    cluster.drop_database(name)


def live(connection: Connection, seed: int, transactions: int) -> None:
    """A homeserver's transactions; none of them may fail for our sake, nor at COMMIT."""
    homeserver = RandomHomeserver(random.Random(seed), both_writers=0.0)
    for _ in range(transactions):
        statements = homeserver.transaction()
        # only its owner may ask for its own changes, and a homeserver does not
        statements = [statement for statement in statements if "flush()" not in statement.sql]
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        try:
            for statement in statements:
                connection.execute(statement.sql, statement.arguments or None)  # type: ignore[arg-type]
        except _OWN_FAULTS as fault:
            assert "sliding_sync" not in str(fault)
            connection.execute("ROLLBACK")
        else:
            connection.execute("COMMIT")


def rows(connection: Connection, table: str) -> list[Any]:
    query = sql.SQL("SELECT t::text FROM {} t ORDER BY 1")
    return connection.execute(query.format(sql.Identifier(SCHEMA, table))).fetchall()


def derived_rows(connection: Connection) -> dict[str, list[Any]]:
    found = {table: rows(connection, table) for table in DERIVED}
    assert all(found.values()), "a comparison of nothing proves nothing"
    return found


def assert_nothing_in_quarantine(cluster: Cluster, database: str) -> None:
    assert not cluster.execute("SELECT * FROM sliding_sync.quarantine", database)


# -- one transaction


MEMBERS, LOCAL_MEMBERS, ONE_BY_ONE = 100_000, 200, 1_000

# Each member by a number; the first ones are local users.
_MEMBERS = """
    CREATE TEMP VIEW members AS SELECT '$m' || n AS event_id, '!big:hs.test' AS room_id, 10 + n AS ordering,
        format('@u%%s:%%s', n, CASE WHEN n <= %(local)s THEN 'hs.test' ELSE 'remote.test' END) AS user_id,
        n <= %(local)s AS is_local FROM generate_series(1, %(members)s) n
"""
_STORE = (
    "INSERT INTO event_json SELECT event_id, room_id, '{}', '{\"content\": {\"membership\": \"join\"}}', 3"
    " FROM members",
    "INSERT INTO events (instance_name, stream_ordering, topological_ordering, event_id, room_id, type,"
    " processed, outlier, sender, state_key) SELECT 'master', ordering, ordering, event_id, room_id,"
    " 'm.room.member', true, false, user_id, user_id FROM members",
    "INSERT INTO room_memberships (event_id, event_stream_ordering, user_id, sender, room_id, membership)"
    " SELECT event_id, ordering, user_id, user_id, room_id, 'join' FROM members",
)
_LEAVE_CURRENT_STATE = "DELETE FROM current_state_events WHERE (room_id, type, state_key) = (%s, %s, %s)"
_ENTER_CURRENT_STATE = "INSERT INTO current_state_events VALUES (%s, %s, %s, %s, 'join', %s)"
_ENTER_CURRENT_STATE_TOGETHER = (
    "INSERT INTO current_state_events SELECT event_id, room_id, 'm.room.member', user_id, 'join', ordering"
    " FROM members WHERE ordering > %s"
)
_BECOME_LOCAL = (
    "INSERT INTO local_current_membership SELECT room_id, user_id, event_id, 'join', ordering"
    " FROM members WHERE is_local"
)


def test_a_room_with_a_hundred_thousand_members(cluster: Cluster, database: str) -> None:
    """H17: all of them come in one transaction, and go in another, in which the local ones leave (H7)."""
    numbers = {"local": LOCAL_MEMBERS, "members": MEMBERS}
    with connect(cluster, database) as connection:
        connection.execute("SELECT create_room('!big:hs.test', %s, name => 'Big')", (ANNA,))
        view = psycopg.ClientCursor(connection).mogrify(_MEMBERS, numbers)  # DDL takes no parameters
        connection.execute(view)  # type: ignore[arg-type]
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            for statement in _STORE:
                connection.execute(statement)  # type: ignore[arg-type]
            # some one by one, as a homeserver does, the others at once
            for number in range(1, ONE_BY_ONE + 1):
                server = "hs.test" if number <= LOCAL_MEMBERS else "remote.test"
                key = ("!big:hs.test", "m.room.member", f"@u{number}:{server}")
                connection.execute(_LEAVE_CURRENT_STATE, key)
                connection.execute(_ENTER_CURRENT_STATE, (f"$m{number}", *key, 10 + number))
            connection.execute(_ENTER_CURRENT_STATE_TOGETHER, (10 + ONE_BY_ONE,))
            connection.execute("SELECT setval('events_stream_seq', 200000)")
            connection.execute("SELECT rename('!big:hs.test', %s, 'Bigger')", (ANNA,))
            connection.execute(_BECOME_LOCAL)
        assert connection.execute(_BIG_ROOM).fetchall() == [(200001, "Bigger")]
        assert connection.execute(_MEMBERS_BY_ROW).fetchall() == [
            ("join", True, "Big", 1),  # Anna was there before
            ("join", True, "Bigger", LOCAL_MEMBERS),
        ]

        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute("DELETE FROM current_state_events WHERE room_id = '!big:hs.test'")
            for statement in _LEAVE:
                connection.execute(statement)  # type: ignore[arg-type]
        assert connection.execute(_BIG_ROOM).fetchall() == []
        everybody = LOCAL_MEMBERS + 1
        assert connection.execute(_MEMBERS_BY_ROW).fetchall() == [("leave", True, "Bigger", everybody)]
    assert_nothing_in_quarantine(cluster, database)


_BIG_ROOM = """
    SELECT event_stream_ordering, room_name FROM sliding_sync_joined_rooms WHERE room_id = '!big:hs.test'
"""
_MEMBERS_BY_ROW = """
    SELECT s.membership, s.has_known_state, s.room_name, count(*) FROM sliding_sync_membership_snapshots s
    JOIN events e ON e.event_id = s.membership_event_id AND e.stream_ordering = s.event_stream_ordering
        AND e.state_key = s.user_id AND e.room_id = s.room_id
    WHERE s.room_id = '!big:hs.test' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
_LEAVE = (
    "INSERT INTO event_json SELECT '$leave' || user_id, room_id, '{}', '{}', 3"
    " FROM local_current_membership WHERE room_id = '!big:hs.test'",
    "INSERT INTO events (stream_ordering, topological_ordering, event_id, room_id, type, processed, outlier,"
    " sender, state_key) SELECT 300000 + row_number() OVER (), 300000, '$leave' || user_id, room_id,"
    " 'm.room.member', true, false, user_id, user_id"
    " FROM local_current_membership WHERE room_id = '!big:hs.test'",
    "UPDATE local_current_membership SET event_id = '$leave' || user_id, membership = 'leave',"
    " event_stream_ordering = NULL WHERE room_id = '!big:hs.test'",
)


# -- the same statements again


_MESSAGE = "make_event('!r:hs.test', '@anna:hs.test', 'm.room.message')"
_JOIN = (
    "make_event('!r:hs.test', '@bert:hs.test', 'm.room.member', '@bert:hs.test',"
    " '{\"membership\": \"join\"}', 'join')"
)
_NEWER_EVENT = "SELECT soft_fail('!r:hs.test', '@anna:hs.test')"
_ROW_IS_DELETED = "DELETE FROM homeserver.sliding_sync_joined_rooms"


@pytest.mark.parametrize(
    ("before", "event", "meanwhile"),
    [
        pytest.param([], _MESSAGE, _NEWER_EVENT, id="a newer event"),
        pytest.param([], _MESSAGE, "SELECT redact_name()", id="a redaction"),
        pytest.param([], _MESSAGE, _ROW_IS_DELETED, id="the row is deleted"),
        # H19: the row was missing for both, and is completed by the other one
        pytest.param([_ROW_IS_DELETED], _MESSAGE, _NEWER_EVENT, id="the row appears"),
        pytest.param(
            [f"SELECT {done}('!r:hs.test', '@bert:hs.test')" for done in ('"join"', "leave")],
            _JOIN,
            "SELECT forget('!r:hs.test', '@bert:hs.test')",
            id="the old membership is forgotten",
        ),
    ],
)
def test_a_row_that_somebody_else_has_changed_meanwhile(
    cluster: Cluster, database: str, before: list[str], event: str, meanwhile: str
) -> None:
    """H18, H19, H88: both transactions meet in nothing but a row of ours, and both go through, as without the triggers."""
    with (
        connect(cluster, database) as observer,
        connect(cluster, database) as other,
        connect(cluster, database) as connection,
    ):
        observer.execute(_REDACT_NAME)
        for statement in before:
            other.execute(statement)  # type: ignore[arg-type]
        # ids and orderings are given out before
        (stored,) = other.execute(f"SELECT ({event})::text").fetchone() or ("",)  # type: ignore[arg-type]
        watcher = Watcher(observer, SCHEMA)

        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute("SELECT count(*) FROM rooms")
            other.execute(meanwhile)  # type: ignore[arg-type]
            connection.execute(
                "SELECT persist(ARRAY[%s::new_event], changes_state => %s)", (stored, event == _JOIN)
            )
        assert not watcher.check_step()
        assert observer.execute(
            "SELECT count(*) FROM events WHERE event_id = (%s::new_event).event_id", (stored,)
        ).fetchone() == (1,)
    assert_nothing_in_quarantine(cluster, database)


# The redaction itself changes nothing else of the room.
_REDACT_NAME = """
    CREATE FUNCTION redact_name() RETURNS void LANGUAGE sql AS $$
        INSERT INTO redactions (event_id, redacts, recheck)
            SELECT '$redaction', event_id, false FROM current_state_events WHERE type = 'm.room.name'
    $$
"""


# -- other shapes of the homeserver's database


def delta(file: str) -> str:
    """A step of Synapse's own schema, for PostgreSQL."""
    environment = synapse_python("1.118.0").parent.parent
    (path,) = environment.glob(f"lib/python*/site-packages/synapse/storage/schema/main/delta/{file}")
    text = path.read_text()
    return text.replace("$%AUTO_INCREMENT_PRIMARY_KEY%$", "BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY")


def test_the_version_that_has_the_number_but_not_the_tables(cluster: Cluster) -> None:
    """H40: 1.114 says 87. H39: the step of 1.115 that makes the tables then finds ours, with their rows."""
    name = create_homeserver(cluster, "1.114", extension=False, old_schema=True)
    run_psql(cluster, name, delta("87/02_per_connection_state.sql"), user=OWNER, search_path=SCHEMA)
    cluster.execute(
        "UPDATE homeserver.schema_version SET version = 87;"
        "INSERT INTO homeserver.applied_schema_deltas VALUES (87, '87/02_per_connection_state.sql')",
        name,
    )
    cluster.execute("CREATE EXTENSION sliding_sync", name)
    with connect(cluster, name) as connection:
        watcher = Watcher(connection, SCHEMA)
        connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
        assert not watcher.check_step()
        live(connection, seed=40, transactions=60)
        assert not check(connection, SCHEMA)
        kept = derived_rows(connection)

        run_psql(cluster, name, delta("87/01_sliding_sync_memberships.sql"), user=OWNER, search_path=SCHEMA)
        assert derived_rows(connection) == kept
        assert connection.execute("SELECT count(*) FROM background_updates").fetchone() == (3,)
        # its queue belongs to the homeserver now, and holds up no deletion
        connection.execute("INSERT INTO sliding_sync_joined_rooms_to_recalculate SELECT room_id FROM rooms")
        connection.execute("SELECT purge_room(room_id, old_version => false) FROM rooms")
        assert rows(connection, "sliding_sync_joined_rooms_to_recalculate") == []
        watcher.accept_step()
        connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
        assert not watcher.check_step()
    assert_nothing_in_quarantine(cluster, name)
    cluster.drop_database(name)


# What a homeserver may keep in a database of its own, and the stream of changes, which nobody of us reads.
_STATE_STORE = (
    *("state_groups", "state_groups_state", "state_group_edges", "event_to_state_groups"),
    "current_state_delta_stream",
)


@pytest.mark.parametrize("seed", [43, 81])
def test_without_the_state_store(cluster: Cluster, template: str, seed: int) -> None:
    """H43, H81: the same life makes the same rows without state groups and the stream of changes."""
    lives = []
    for name, split in (("whole", False), ("split", True)):
        cluster.create_database(name, OWNER, template)
        with connect(cluster, name) as connection:
            if split:
                connection.execute("CREATE SCHEMA elsewhere")
                for table in _STATE_STORE:
                    connection.execute(
                        sql.SQL("ALTER TABLE {} SET SCHEMA elsewhere").format(sql.Identifier(SCHEMA, table))
                    )
                path = f"{OPERATIONS}, {SCHEMA}, elsewhere"
                connection.execute("SELECT set_config('search_path', %s, false)", (path,))
            live(connection, seed, transactions=80)
            lives.append(derived_rows(connection))
        assert_nothing_in_quarantine(cluster, name)
        cluster.drop_database(name)
    assert lives[0] == lives[1]


def test_an_index_is_built_while_transactions_are_open(cluster: Cluster, database: str) -> None:
    """H44: it waits for a writer who was there before, and nobody waits for it."""
    with (
        connect(cluster, database) as builder,
        connect(cluster, database) as writer,
        connect(cluster, database) as observer,
    ):
        watcher = Watcher(observer, SCHEMA)
        writer.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        writer.execute("SELECT rename(%s, %s, 'Coffee')", (ROOM, ANNA))
        builds = [
            threading.Thread(target=builder.execute, args=(statement,))
            for statement in (
                "CREATE INDEX CONCURRENTLY another ON current_state_events (room_id, membership)",
                "DROP INDEX CONCURRENTLY another",
            )
        ]
        builds[0].start()
        observer.execute("SET statement_timeout = '20s'")
        observer.execute(
            "DO $$ BEGIN"
            " WHILE NOT EXISTS (SELECT FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%') LOOP"
            " PERFORM pg_sleep(0.02); PERFORM pg_stat_clear_snapshot(); END LOOP; END $$"
        )
        writer.execute("SET LOCAL lock_timeout = '5s'")
        writer.execute('SELECT "join"(%s, %s)', (ROOM, BERT))
        observer.execute("SET lock_timeout = '5s'")
        observer.execute("SELECT create_room('!meanwhile:hs.test', %s, name => 'Meanwhile')", (ANNA,))
        writer.execute("COMMIT")
        builds[0].join()
        assert observer.execute(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = 'another'::regclass"
        ).fetchall() == [(True,)]
        builds[1].start()
        builds[1].join()
        assert not watcher.check_step()
        assert len(derived_rows(observer)[DERIVED[0]]) == 2


def test_removal_from_a_homeserver_that_is_older_than_the_tables(cluster: Cluster) -> None:
    """H83: as the README tells: without the extension the tables are in the way, so they go with it."""
    name = create_homeserver(cluster, "removal", old_schema=True)
    with connect(cluster, name) as connection:
        connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
        connection.execute("SELECT create_room('!other:hs.test', %s)", (ANNA,))
        connection.execute("SELECT purge_room('!other:hs.test')")  # with the extension they are not
        kept = derived_rows(connection)
        cluster.execute("DROP EXTENSION sliding_sync", name)
        assert derived_rows(connection) == kept
        with pytest.raises(psycopg.errors.ForeignKeyViolation, match="sliding_sync"):
            connection.execute("SELECT purge_room(%s)", (ROOM,))
        connection.execute("DROP TABLE sliding_sync_joined_rooms, sliding_sync_membership_snapshots")
        connection.execute("SELECT purge_room(%s)", (ROOM,))
        assert connection.execute("SELECT count(*) FROM rooms").fetchone() == (0,)
    cluster.drop_database(name)


# -- another server


@pytest.fixture(scope="module")
def primary() -> Iterator[Cluster]:
    """A cluster of its own: what is copied to a standby should be small."""
    with Cluster() as running:
        create_homeserver(running, "followed")
        yield running


def test_a_hot_standby(primary: Cluster) -> None:
    """H87: what only looks works there, and what would write is refused."""
    with connect(primary, "followed") as connection:
        connection.execute("SELECT create_room('!standby:hs.test', %s, name => 'Standby')", (ANNA,))
        with Standby(primary) as standby, connect(standby, "followed", SUPERUSER) as there:
            assert derived_rows(there) == derived_rows(connection)
            assert not check(there, SCHEMA)
            attached = there.execute("SELECT attached_schemas FROM sliding_sync.version()").fetchone()
            assert attached == ([SCHEMA],)
            assert there.execute("SELECT * FROM sliding_sync.last_flush()").fetchone() == (None,) * 4
            assert there.execute("SELECT * FROM sliding_sync.flush()").fetchone() == (0, 0, 0)
            for statement in (
                "SELECT * FROM sliding_sync.ready()",
                "SELECT * FROM sliding_sync.preflight('upgrade')",
                "TABLE sliding_sync.status",
                "TABLE sliding_sync.health",
                "TABLE sliding_sync.progress",
                "TABLE sliding_sync.metrics",
            ):
                there.execute(statement)  # type: ignore[arg-type]
            for statement in (
                "SELECT sliding_sync.detach()",
                "SELECT send_message('!standby:hs.test', '@anna:hs.test')",
                "DELETE FROM sliding_sync_joined_rooms",
            ):
                with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                    there.execute(statement)  # type: ignore[arg-type]


def test_repair_on_a_hot_standby(primary: Cluster) -> None:
    """H87: refused as everything that writes is."""
    with connect(primary, "followed") as connection:
        connection.execute("SELECT create_room('!repair:hs.test', %s, name => 'Repair')", (ANNA,))
    primary.execute(
        "INSERT INTO sliding_sync.quarantine (schema_name, table_name, room_id, reason, sqlstate, message)"
        " VALUES ('homeserver', 'sliding_sync_joined_rooms', '!repair:hs.test', 'refresh_failed', '58030',"
        " 'no error')",
        "followed",
    )
    try:
        with Standby(primary) as standby:
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                standby.execute("SELECT sliding_sync.repair_quarantine()", "followed")
    finally:
        repaired = primary.execute("SELECT repaired FROM sliding_sync.repair_quarantine()", "followed")
        assert repaired == [(1,)]
