"""A schema with tables of a homeserver's names that is none: whoever may create tables there runs nothing with another role's rights."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from synthetic.database import SCHEMA, create_homeserver

# A role that may create tables in a schema where a superuser keeps a copy of a derived table.
_BACKUP = """
CREATE ROLE mallory LOGIN;
CREATE SCHEMA backup;
GRANT USAGE, CREATE ON SCHEMA backup TO mallory;
CREATE TABLE backup.{derived} AS TABLE {schema}.{derived};
"""
_WITNESS = """
CREATE TABLE backup.witness (who text);
GRANT ALL ON backup.witness TO PUBLIC;
CREATE FUNCTION backup.evil() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN INSERT INTO backup.witness VALUES (current_user); RETURN true; END $$;
"""
_VIEWS = """
CREATE VIEW backup.rooms AS SELECT '!r'::text AS room_id WHERE backup.evil();
CREATE VIEW backup.current_state_events AS
    SELECT '$e'::text AS event_id, '!r'::text AS room_id, 'm.room.create'::text AS type, ''::text AS state_key WHERE backup.evil();
CREATE VIEW backup.local_current_membership AS
    SELECT '!r'::text AS room_id, '@m'::text AS user_id, '$m'::text AS event_id, 'join'::text AS membership WHERE backup.evil();
"""
_EVENTS = """
CREATE TABLE backup.events (event_id text, room_id text, type text, sender text, state_key text, outlier boolean,
    instance_name text, stream_ordering bigint, rejection_reason text);
CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON backup.events FOR EACH ROW EXECUTE FUNCTION sliding_sync.collect();
"""
_EVENT = "INSERT INTO backup.events VALUES ('$e', '!r', 'm.room.create', '@m', '', false, 'x', 2, NULL)"


@pytest.fixture
def database(cluster: Cluster) -> Iterator[str]:
    name = create_homeserver(cluster, "no_homeserver", owner=SUPERUSER)
    yield name
    cluster.drop_database(name)
    cluster.execute("DROP ROLE IF EXISTS mallory")


def witnesses(cluster: Cluster, database: str) -> set[str]:
    return {who for (who,) in cluster.execute("TABLE backup.witness", database)}


@pytest.mark.parametrize("planted", ["sliding_sync_joined_rooms", "sliding_sync_membership_snapshots"])
def test_rows_deleted_from_a_table_that_is_no_derived_one(cluster: Cluster, database: str, planted: str) -> None:
    theirs = {
        "sliding_sync_joined_rooms": "sliding_sync_membership_snapshots",
        "sliding_sync_membership_snapshots": "sliding_sync_joined_rooms",
    }[planted]
    cluster.execute(_BACKUP.format(derived=theirs, schema=SCHEMA), database)
    with cluster.connect(database, user="mallory") as mallory:
        mallory.execute(_WITNESS)
        mallory.execute(_VIEWS)
        mallory.execute(
            f"CREATE TABLE backup.{planted} (room_id text, user_id text);"
            f"INSERT INTO backup.{planted} VALUES ('!r', '@m');"
            f"CREATE TRIGGER t AFTER DELETE ON backup.{planted} FOR EACH ROW EXECUTE FUNCTION sliding_sync.collect()"
        )
        mallory.execute(f"DELETE FROM backup.{planted}")
        mallory.execute(_EVENTS)
        mallory.execute(f"INSERT INTO backup.{planted} VALUES ('!r', '@m')")
        mallory.execute(f"DELETE FROM backup.{planted}")
        mallory.execute(_EVENT)
    assert witnesses(cluster, database) <= {"mallory"}


@pytest.mark.parametrize("what_then", ["ALTER TABLE backup.events RENAME TO no_events", "DROP TABLE backup.events"])
def test_a_table_of_events_that_goes_before_the_commit(cluster: Cluster, database: str, what_then: str) -> None:
    cluster.execute(_BACKUP.format(derived="sliding_sync_joined_rooms", schema=SCHEMA), database)
    with cluster.connect(database, user="mallory") as mallory:
        mallory.execute(_WITNESS)
        mallory.execute(_EVENTS)
        mallory.execute("BEGIN")
        mallory.execute(_EVENT)
        mallory.execute(what_then)
        mallory.execute(_VIEWS)
        mallory.execute("CREATE VIEW backup.events AS SELECT '$e'::text AS event_id, '!r'::text AS room_id WHERE backup.evil()")
        mallory.execute("COMMIT")
    assert witnesses(cluster, database) <= {"mallory"}


def test_a_view_in_place_of_a_base_table(cluster: Cluster, database: str) -> None:
    """The owner of an attached homeserver runs nothing for a role that may create tables in its schema."""
    cluster.execute(f"CREATE ROLE mallory LOGIN; GRANT USAGE, CREATE ON SCHEMA {SCHEMA} TO mallory; CREATE SCHEMA backup AUTHORIZATION mallory", database)
    cluster.execute(f"DROP TABLE {SCHEMA}.room_memberships CASCADE", database)
    with cluster.connect(database, user="mallory") as mallory:
        mallory.execute(_WITNESS)
        mallory.execute("GRANT USAGE ON SCHEMA backup TO PUBLIC")
        mallory.execute(
            f"CREATE VIEW {SCHEMA}.room_memberships AS SELECT '$e'::text AS event_id, '!r'::text AS room_id, '@m'::text AS user_id,"
            " '@m'::text AS sender, 'join'::text AS membership, 0 AS forgotten WHERE backup.evil();"
            f"GRANT SELECT ON {SCHEMA}.room_memberships TO PUBLIC"
        )
    cluster.execute(f"UPDATE {SCHEMA}.local_current_membership SET membership = membership", database)
    cluster.execute(f"UPDATE {SCHEMA}.events SET sender = sender || 'x' WHERE type = 'm.room.member'", database)
    assert witnesses(cluster, database) <= {"mallory"}
    assert cluster.execute("SELECT is_ready FROM sliding_sync.ready()", database) == [(False,)]


def test_a_symbol_declared_with_another_result(cluster: Cluster, database: str) -> None:
    """What the install script drops again is still a symbol of the library."""
    cluster.execute(
        "CREATE FUNCTION attach_again() RETURNS text LANGUAGE c AS '$libdir/sliding_sync', 'sliding_sync_attach_at_creation'", database
    )
    with pytest.raises(psycopg.errors.InvalidFunctionDefinition):
        cluster.execute("SELECT attach_again()", database)
