"""What a failure costs is bounded: its own rows, and one wait; whatever the tables' owner has put on the derived tables."""

from __future__ import annotations

import time

import pytest

from harness.cluster import Cluster
from oracle.finding import JOINED_ROOMS, SNAPSHOTS
from three_rooms import (  # noqa: F401  fixtures among them
    A,
    ANNA,
    B,
    Connection,
    TIMES,
    connect,
    connection,
    database,
    join,
    judge,
    message,
    noted,
    one,
    rename,
    template,
    touch,
)

REFUSE = f"""
    CREATE FUNCTION operations.refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '%s'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {JOINED_ROOMS} FOR EACH ROW EXECUTE FUNCTION operations.refuse();
"""


# -- locks


def test_a_locked_table_costs_one_wait(cluster: Cluster, database: str, connection: Connection) -> None:
    rooms = [f"!n{number}:hs.test" for number in range(24)]
    for room in rooms:
        connection.execute("SELECT create_room(%s, %s)", (room, ANNA))
    connection.execute("SET lock_timeout = '200ms'")
    with connect(cluster, database) as holder:
        with holder.transaction(force_rollback=True):
            holder.execute("LOCK TABLE event_json")
            start = time.monotonic()
            touch(connection, *rooms)
            took = time.monotonic() - start
    judge(connection, {(room,) for room in rooms})
    assert took < 2, f"{took:.1f} s for one lock that could not be had"
    assert one(connection, "SHOW lock_timeout") == "200ms"
    assert one(connection, "SELECT remaining FROM sliding_sync.repair_quarantine()") == 0
    judge(connection)


# -- the circuit breaker


def test_bad_members_cost_neither_the_room_nor_the_others(connection: Connection) -> None:
    bad = [f"@bad{number}:hs.test" for number in range(TIMES)]
    connection.execute(f"ALTER TABLE {SNAPSHOTS} ADD CHECK (user_id NOT LIKE '@bad%')")
    with connection.transaction():
        for user in bad:
            join(connection, A, user)
    rename(connection, A, "New")
    connection.execute("UPDATE events SET instance_name = 'x' WHERE type = 'm.room.member' AND room_id = %s", [A])
    judge(connection, {(A, user) for user in bad})
    assert noted(connection) == {(A, user) for user in bad}


def test_locks_open_no_breaker(cluster: Cluster, database: str, connection: Connection) -> None:
    connection.execute("SET lock_timeout = '20ms'")
    with connect(cluster, database) as holder:
        with holder.transaction(force_rollback=True):
            holder.execute("LOCK TABLE event_json")
            for _ in range(TIMES):
                touch(connection, A)
    touch(connection, A)
    judge(connection)


# -- what the tables' owner has put there


ARCHIVE = "CREATE TABLE archive (stream_ordering bigint PRIMARY KEY);"
REFERS = f"ALTER TABLE {JOINED_ROOMS} ADD FOREIGN KEY (event_stream_ordering) REFERENCES archive"
OBSTACLES = {
    "a foreign key": f"{ARCHIVE} {REFERS} NOT VALID",
    "a deferred foreign key": f"{ARCHIVE} {REFERS} DEFERRABLE INITIALLY DEFERRED NOT VALID",
    "a foreign key of the homeserver's, to another table": f"""
        {ARCHIVE} ALTER TABLE {JOINED_ROOMS} ADD FOREIGN KEY (bump_stamp) REFERENCES archive NOT VALID""",
    "a publication with a condition": f"""
        CREATE PUBLICATION part FOR TABLE {JOINED_ROOMS} WHERE (room_name IS NOT NULL) WITH (publish = 'insert, update')""",
    "a publication and no replica identity": f"""
        ALTER TABLE {JOINED_ROOMS} REPLICA IDENTITY NOTHING;
        CREATE PUBLICATION part FOR TABLE {JOINED_ROOMS} WITH (publish = 'insert, update')""",
    "our function in another form": f"""
        CREATE TRIGGER mine AFTER UPDATE ON {JOINED_ROOMS} FOR EACH ROW EXECUTE FUNCTION sliding_sync.collect()""",
    "a trigger that puts a failure off": f"""
        {ARCHIVE}
        CREATE TABLE later (stream_ordering bigint REFERENCES archive DEFERRABLE INITIALLY DEFERRED);
        CREATE FUNCTION operations.defer() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO later VALUES (1); RETURN NULL; END $$;
        CREATE TRIGGER defer AFTER INSERT OR UPDATE ON {JOINED_ROOMS} FOR EACH ROW EXECUTE FUNCTION operations.defer()""",
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_an_obstacle_costs_rows_and_no_transaction(connection: Connection, name: str) -> None:
    connection.execute(OBSTACLES[name])  # type: ignore[arg-type]
    message(connection, A)
    rename(connection, B)
    judge(connection, {(A,), (B,)})
    assert (A, None) in noted(connection)


@pytest.mark.parametrize("sqlstate", ["57014", "57P01", "53200", "40001", "40P01"])
def test_an_error_that_only_looks_like_the_servers(connection: Connection, sqlstate: str) -> None:
    connection.execute(REFUSE % sqlstate)  # type: ignore[arg-type]
    rename(connection, A)
    judge(connection, {(A,)})
    assert noted(connection) == {(A, None)}


def test_a_trigger_that_always_changes_the_room_again(connection: Connection) -> None:
    connection.execute(f"""
        CREATE FUNCTION operations.tell() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM send_message(NEW.room_id, '{ANNA}'); RETURN NULL; END $$;
        CREATE TRIGGER tell AFTER UPDATE ON {JOINED_ROOMS} FOR EACH ROW
            WHEN (NEW.room_id = '{A}') EXECUTE FUNCTION operations.tell()""")
    with connection.transaction():
        rename(connection, A)
        rename(connection, B)
    judge(connection, {(A,)})
    assert noted(connection) == {(A, None)}
