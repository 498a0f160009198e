"""Nobody gets rights through the triggers: neither a plain role that prepares names, tables and indexes of its own,
nor the derived tables' owner over whoever commits. And nobody needs more rights than on the base tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from oracle import Watcher, check
from synthetic.attacker import ATTACKER, arm, plant_names, victims, witnessed
from synthetic.database import OWNER, SCHEMA, connect, create_homeserver, run_psql

Connection = psycopg.Connection[Any]

ROOM, ANNA, BERT = "!r:hs.test", "@anna:hs.test", "@bert:hs.test"
BASE_TABLES = (
    "events",
    "event_json",
    "rejections",
    "redactions",
    "room_ban_redactions",
    "rooms",
    "room_memberships",
    "current_state_events",
    "local_current_membership",
)
DERIVED_TABLES = ("sliding_sync_joined_rooms", "sliding_sync_membership_snapshots")


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> str:
    """A homeserver with a room, and an attacker."""
    name = create_homeserver(cluster, "security")
    arm(cluster, name)
    with connect(cluster, name) as connection:
        connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
    return name


@pytest.fixture
def database(cluster: Cluster, template: str) -> Iterator[str]:
    name = cluster.create_database("attacked", OWNER, template)
    # database privileges are no part of a clone
    cluster.execute("GRANT CREATE, TEMPORARY ON DATABASE attacked TO attacker")
    yield name
    cluster.drop_database(name)


def change_much(connection: Connection) -> None:
    """Inside a transaction: every way through the street."""
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
        connection.execute(f"BEGIN ISOLATION LEVEL {isolation}")  # type: ignore[arg-type]
        change_much(connection)
        connection.execute(f"SET LOCAL search_path = {search_path}")  # type: ignore[arg-type]
        connection.execute("SELECT sliding_sync.flush()")
        # the foreign keys of a deleted event are looked after inside the statement
        newest = "SELECT pg_catalog.max(stream_ordering) FROM homeserver.events"
        extremities = "DELETE FROM homeserver.event_forward_extremities"
        delete = f"DELETE FROM homeserver.events WHERE stream_ordering OPERATOR(pg_catalog.=) ({newest})"
        for statement in (extremities, delete, "SELECT sliding_sync.flush()", "COMMIT"):
            connection.execute(statement)  # type: ignore[arg-type]
        # by a TRUNCATE, everything is looked at
        connection.execute("BEGIN")
        connection.execute(f"SET LOCAL search_path = {search_path}")  # type: ignore[arg-type]
        connection.execute("TRUNCATE homeserver.rejections")
        connection.execute("COMMIT")
        assert not watcher.check_step()
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
            connection.execute(f"CREATE TEMP TABLE {table} (LIKE {SCHEMA}.{table})")  # type: ignore[arg-type]
        connection.execute("INSERT INTO pg_temp.rejections SELECT event_id, '', '' FROM homeserver.events")
        connection.execute("BEGIN")
        connection.execute("SET LOCAL search_path = operations, homeserver, pg_temp")
        change_much(connection)
        connection.execute("SET LOCAL search_path = pg_temp")
        connection.execute("COMMIT")
        assert not watcher.check_step()
        for table in DERIVED_TABLES:
            rows = connection.execute(f"SELECT count(*) FROM pg_temp.{table}").fetchone()  # type: ignore[arg-type]
            assert rows == (0,)


# -- tables


def test_tables_that_the_homeserver_does_not_have_yet(cluster: Cluster) -> None:
    """Somebody else's tables of these names are none of the homeserver's."""
    name = create_homeserver(cluster, "old homeserver", extension=False)
    try:
        arm(cluster, name)
        with connect(cluster, name) as connection:
            connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
            for table in ("room_ban_redactions", "sliding_sync_joined_rooms_to_recalculate"):
                connection.execute(f"DROP TABLE {table}")  # type: ignore[arg-type]
            connection.execute("DROP TABLE redactions, rejections CASCADE")
        run_psql(
            cluster,
            name,
            """
            CREATE TYPE attacker.word AS ENUM ('x');
            CREATE FUNCTION attacker.word_as_text(attacker.word) RETURNS text LANGUAGE sql
                AS $$ SELECT attacker.ran('cast')::text $$;
            CREATE CAST (attacker.word AS text) WITH FUNCTION attacker.word_as_text AS IMPLICIT;
            CREATE TABLE homeserver.sliding_sync_joined_rooms_to_recalculate (room_id text);
            CREATE TABLE homeserver.room_ban_redactions (room_id attacker.word, user_id text,
                redacting_event_id text, redact_end_ordering bigint);
            CREATE TABLE homeserver.redactions (event_id text, redacts text, have_censored boolean);
            CREATE TABLE homeserver.rejections (event_id attacker.word, reason text, last_check text);
            INSERT INTO homeserver.sliding_sync_joined_rooms_to_recalculate VALUES ('!r:hs.test');
            INSERT INTO homeserver.room_ban_redactions VALUES ('x');
            INSERT INTO homeserver.redactions SELECT 'x', '$e' || n || ':hs.test' FROM generate_series(1, 50) n;
            INSERT INTO homeserver.rejections VALUES ('x');
            GRANT ALL ON ALL TABLES IN SCHEMA homeserver TO PUBLIC;
            CREATE TRIGGER ran BEFORE DELETE ON homeserver.sliding_sync_joined_rooms_to_recalculate
                FOR EACH ROW EXECUTE FUNCTION attacker.trigger_ran();
            ALTER TABLE homeserver.redactions ENABLE ROW LEVEL SECURITY;
            CREATE POLICY ran ON homeserver.redactions USING (attacker.ran('policy'));
            """,
            user=ATTACKER,
        )
        cluster.execute("CREATE EXTENSION sliding_sync", name)
        with connect(cluster, name) as connection:
            connection.execute("SELECT set_state(%s, %s, 'm.room.name', '', '{}')", (ROOM, ANNA))
    except psycopg.errors.UndefinedTable:
        pass  # the homeserver's own statements need the tables
    finally:
        found = victims(cluster, name)
        cluster.drop_database(name)
    assert not found


