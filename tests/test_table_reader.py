"""Rows are looked up through indexes without a plan. Whatever the tables and their indexes look like, the answer is that
of a statement: right, or at least said."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
from psycopg import sql

from harness.cluster import Cluster
from oracle import Watcher
from property.random_homeserver import live
from synthetic.database import OWNER as HOMESERVER
from synthetic.database import (
    ANNA,
    BERT,
    DERIVED_TABLES,
    OPERATIONS,
    ROOM,
    SCHEMA,
    assert_nothing_in_quarantine,
    connect,
    copied,
    derived_rows,
)

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


def live_rightly(connection: psycopg.Connection[Any], watcher: Watcher, seed: int, transactions: int = 40) -> None:
    for _ in live(connection, seed, transactions):
        assert watcher.check_step() == []
    assert connection.execute("SELECT * FROM sliding_sync.quarantine").fetchall() == []


@pytest.mark.parametrize("change", [*INDEXES.values(), *TABLES.values()], ids=[*INDEXES, *TABLES])
def test_tables_and_indexes_of_every_kind(connection: psycopg.Connection[Any], change: str) -> None:
    watcher = Watcher(connection, SCHEMA)
    live_rightly(connection, watcher, seed=11, transactions=15)
    connection.execute("SELECT create_room('!old:hs.test', '@anna:hs.test', room_type => 'm.space')")
    connection.execute(change)  # type: ignore[arg-type]
    live_rightly(connection, watcher, seed=12)
    connection.execute("SELECT rename('!old:hs.test', '@anna:hs.test', 'Renamed')")
    assert watcher.check_step() == []
    for room in ("!twins:hs.test", "!TWINS:hs.test"):
        connection.execute("SELECT create_room(%s, '@anna:hs.test', name => %s)", [room, room])
        connection.execute("""SELECT "join"(%s, '@bert:hs.test')""", [room])
        assert watcher.check_step() == []
    assert connection.execute("SELECT count(*) FROM sliding_sync.verify() WHERE severity <> 'unverifiable'").fetchone() == (0,)


def test_indexes_come_and_go_under_a_connection(cluster: Cluster, connection: psycopg.Connection[Any]) -> None:
    watcher = Watcher(connection, SCHEMA)
    live_rightly(connection, watcher, seed=21, transactions=10)
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
            live_rightly(connection, watcher, seed=22 + number, transactions=8)


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


# What a homeserver may keep in a database of its own, and the stream of changes, which nobody of us reads.
_STATE_STORE = (
    *("state_groups", "state_groups_state", "state_group_edges", "event_to_state_groups"),
    "current_state_delta_stream",
)


@pytest.mark.parametrize("seed", [43, 81])
def test_without_the_state_store(cluster: Cluster, tea_room: str, seed: int) -> None:
    """H43, H81: the same life makes the same rows without state groups and the stream of changes."""
    lives = []
    for name, split in (("whole", False), ("split", True)):
        with copied(cluster, tea_room, name, HOMESERVER), connect(cluster, name) as connection:
            if split:
                connection.execute("CREATE SCHEMA elsewhere")
                for table in _STATE_STORE:
                    connection.execute(
                        sql.SQL("ALTER TABLE {} SET SCHEMA elsewhere").format(sql.Identifier(SCHEMA, table))
                    )
                path = f"{OPERATIONS}, {SCHEMA}, elsewhere"
                connection.execute("SELECT set_config('search_path', %s, false)", (path,))
            for _ in live(connection, seed, transactions=80, flushes=False):
                pass
            lives.append(derived_rows(connection))
            assert_nothing_in_quarantine(cluster, name)
    assert lives[0] == lives[1]


def test_an_index_is_built_while_transactions_are_open(cluster: Cluster, tea_room: str) -> None:
    """H44: it waits for a writer who was there before, and nobody waits for it."""
    with (
        copied(cluster, tea_room, owner=HOMESERVER) as database,
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
        assert len(derived_rows(observer)[DERIVED_TABLES[0]]) == 2
