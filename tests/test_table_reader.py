"""Rows are looked up through indexes without a plan. Whatever the tables and their indexes look like, the answer is that
of a statement: right, or at least said."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from oracle import Watcher
from property.random_homeserver import RandomHomeserver
from synthetic.database import SCHEMA, connect, create_homeserver

OWNER = "reader_owner"

DROPPED = """
    ALTER TABLE current_state_events DROP CONSTRAINT current_state_events_room_id_type_state_key_key;
    DROP INDEX redactions_redacts, state_groups_state_type_idx, state_group_edges_unique_idx;
    ALTER TABLE rejections DROP CONSTRAINT rejections_event_id_key;
    ALTER TABLE room_memberships DROP CONSTRAINT room_memberships_event_id_key;
    ALTER TABLE event_json DROP CONSTRAINT event_json_event_id_key;
"""

# What becomes of the indexes; each must be used as it is, or left alone. (The operations need those of memberships.)
INDEXES = {
    "none is left": DROPPED,
    "their columns stand in another order, and more of them": DROPPED
    + """
        CREATE INDEX ON current_state_events (type, state_key, room_id, event_id);
        CREATE UNIQUE INDEX ON local_current_membership (room_id DESC NULLS LAST, user_id DESC) INCLUDE (event_id);
        DROP INDEX local_current_membership_idx;
        CREATE INDEX ON redactions (redacts, event_id);
        CREATE INDEX ON rejections (event_id DESC);
        CREATE INDEX ON room_memberships (event_id, user_id);
        CREATE INDEX ON event_json (event_id, room_id);
        CREATE INDEX ON state_groups_state (state_key, type DESC, state_group);
        CREATE INDEX ON state_group_edges (state_group DESC, prev_state_group);
    """,
    "they hold a part of the rows": DROPPED
    + """
        CREATE UNIQUE INDEX ON current_state_events (room_id, type, state_key) WHERE type <> 'm.room.name';
        CREATE UNIQUE INDEX ON room_memberships (event_id) WHERE membership = 'leave';
        CREATE INDEX ON event_json (event_id) WHERE json LIKE '%create%';
        CREATE INDEX ON redactions (redacts) WHERE have_censored;
        CREATE INDEX ON state_groups_state (state_group, type, state_key) WHERE type <> 'm.room.create';
    """,
    "they hold what is made of the columns": DROPPED
    + """
        CREATE UNIQUE INDEX ON current_state_events ((room_id || '.'), type, state_key);
        CREATE UNIQUE INDEX ON room_memberships (upper(event_id));
        CREATE INDEX ON redactions (md5(redacts));
        CREATE INDEX ON state_group_edges ((state_group + 1));
    """,
    "they compare otherwise": DROPPED
    + """
        CREATE COLLATION ignoring_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        CREATE INDEX ON current_state_events (room_id COLLATE ignoring_case, type COLLATE ignoring_case, state_key);
        CREATE INDEX ON room_memberships (event_id text_pattern_ops);
        CREATE INDEX ON event_json (event_id COLLATE ignoring_case);
        CREATE INDEX ON redactions USING hash (redacts);
        CREATE INDEX ON rejections USING brin (event_id);
    """,
    "there are several": """
        CREATE INDEX ON current_state_events (room_id, type, state_key, event_id);
        CREATE INDEX ON local_current_membership (room_id, user_id, membership);
        CREATE INDEX ON events (event_id, room_id);
        CREATE INDEX ON event_json (event_id) INCLUDE (room_id);
    """,
}

TABLES = {
    "columns of another kind of text": """
        ALTER TABLE local_current_membership ALTER user_id TYPE varchar(400);
        ALTER TABLE event_json ALTER event_id TYPE character varying, ALTER json TYPE character varying;
        ALTER TABLE redactions ALTER redacts TYPE varchar(400);
    """,
    "columns that were dropped before": """
        ALTER TABLE current_state_events ADD dropped text; ALTER TABLE current_state_events DROP dropped;
        ALTER TABLE event_json ADD dropped bigint DEFAULT 7;
        ALTER TABLE event_json DROP dropped, ADD added text DEFAULT 'there';
    """,
    "a table with a child": """
        CREATE TABLE event_json_of_old () INHERITS (event_json);
        WITH moved AS (DELETE FROM event_json RETURNING *) INSERT INTO event_json_of_old TABLE moved;
    """,
    "JSON that is stored elsewhere, compressed or not": """
        ALTER TABLE event_json ALTER json SET STORAGE EXTERNAL, ALTER internal_metadata SET STORAGE EXTENDED;
        ALTER TABLE event_json SET (toast_tuple_target = 128);
        ALTER TABLE current_state_events ALTER event_id SET STORAGE MAIN;
    """,
    "policies that let everything through": """
        ALTER TABLE events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE POLICY everything ON events USING (true);
    """,
}


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> str:
    return create_homeserver(cluster, "table_reader", owner=SUPERUSER)


@pytest.fixture
def connection(cluster: Cluster, template: str) -> Iterator[psycopg.Connection[Any]]:
    name = cluster.create_database("table_reader_of_a_test", template=template)
    with connect(cluster, name, SUPERUSER) as connection:
        yield connection
    cluster.drop_database(name)


def live(connection: psycopg.Connection[Any], watcher: Watcher, seed: int, transactions: int = 40) -> None:
    homeserver = RandomHomeserver(random.Random(seed), both_writers=0.0)
    for number in range(transactions):
        connection.execute(f"BEGIN ISOLATION LEVEL {('READ COMMITTED', 'REPEATABLE READ')[number % 2]}")
        try:
            for statement in homeserver.transaction():
                connection.execute(statement.sql, statement.arguments or None)
        except (psycopg.errors.IntegrityError, psycopg.errors.InvalidTextRepresentation):  # of its own constraints
            connection.execute("ROLLBACK")
            continue
        connection.execute("COMMIT")
        assert watcher.check_step() == []
    assert connection.execute("SELECT * FROM sliding_sync.quarantine").fetchall() == []


@pytest.mark.parametrize("change", [*INDEXES.values(), *TABLES.values()], ids=[*INDEXES, *TABLES])
def test_tables_and_indexes_of_every_kind(connection: psycopg.Connection[Any], change: str) -> None:
    watcher = Watcher(connection, SCHEMA)
    live(connection, watcher, seed=11, transactions=15)
    connection.execute("SELECT create_room('!old:hs.test', '@anna:hs.test', room_type => 'm.space')")
    connection.execute(change)  # type: ignore[arg-type]
    live(connection, watcher, seed=12)
    connection.execute("SELECT rename('!old:hs.test', '@anna:hs.test', 'Renamed')")
    assert watcher.check_step() == []
    for room in ("!twins:hs.test", "!TWINS:hs.test"):
        connection.execute("SELECT create_room(%s, '@anna:hs.test', name => %s)", [room, room])
        connection.execute("""SELECT "join"(%s, '@bert:hs.test')""", [room])
        assert watcher.check_step() == []
    assert connection.execute("SELECT count(*) FROM sliding_sync.verify() WHERE severity <> 'unverifiable'").fetchone() == (0,)


def test_indexes_come_and_go_under_a_connection(cluster: Cluster, connection: psycopg.Connection[Any]) -> None:
    watcher = Watcher(connection, SCHEMA)
    live(connection, watcher, seed=21, transactions=10)
    with cluster.connect(connection.info.dbname) as other:
        other.execute(f"SET search_path = {SCHEMA}")
        for number, change in enumerate(
            (
                "DROP INDEX CONCURRENTLY redactions_redacts",
                "CREATE INDEX CONCURRENTLY redactions_redacts ON redactions (redacts)",
                "REINDEX TABLE CONCURRENTLY current_state_events",
                "ALTER TABLE current_state_events DROP CONSTRAINT current_state_events_room_id_type_state_key_key",
                "CREATE TABLE other AS TABLE current_state_events",
                "VACUUM FULL event_json",
                "VACUUM",  # from here on everybody sees all of most pages: indexes alone answer
            )
        ):
            other.execute(change)
            live(connection, watcher, seed=22 + number, transactions=8)


def test_what_the_owner_may_not_see_is_not_read(cluster: Cluster, connection: psycopg.Connection[Any]) -> None:
    """On tables of a superuser, policies and rights hold for the homeserver's owner as in a statement of its own."""
    name = f"SELECT room_name FROM {SCHEMA}.sliding_sync_joined_rooms WHERE room_id = '!r:hs.test'"
    cluster.create_role(OWNER)
    connection.execute(f"GRANT USAGE ON SCHEMA {SCHEMA} TO {OWNER}")
    connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO {OWNER}")
    for table in ("events", "sliding_sync_joined_rooms", "sliding_sync_membership_snapshots"):
        connection.execute(f"ALTER TABLE {SCHEMA}.{table} OWNER TO {OWNER}")
    connection.execute("SELECT create_room('!r:hs.test', '@anna:hs.test', name => 'First')")
    connection.execute("SELECT rename('!r:hs.test', '@anna:hs.test', 'Second')")
    assert connection.execute(name).fetchall() == [("Second",)]

    connection.execute("ALTER TABLE event_json ENABLE ROW LEVEL SECURITY")
    connection.execute("CREATE POLICY no_thirds ON event_json USING (json NOT LIKE '%Third%')")
    connection.execute("SELECT rename('!r:hs.test', '@anna:hs.test', 'Third')")
    assert connection.execute(name).fetchall() == [(None,)]
    connection.execute("SELECT rename('!r:hs.test', '@anna:hs.test', 'Fourth')")
    assert connection.execute(name).fetchall() == [("Fourth",)]

    connection.execute("ALTER TABLE event_json DISABLE ROW LEVEL SECURITY")
    connection.execute(f"REVOKE SELECT ON event_json FROM {OWNER}")
    connection.execute("SELECT rename('!r:hs.test', '@anna:hs.test', 'Fifth')")
    assert connection.execute(name).fetchall() == []
    assert connection.execute("SELECT sqlstate FROM sliding_sync.quarantine").fetchall() == [("42501",)]
