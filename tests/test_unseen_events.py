"""What names an event, or completes it, is stored apart from it: before it, after a rollback, by a transaction beside it.

The transactions of `specs/unseen_event.spec` meet in locks; here are those that no spec can play: rooms that differ, savepoints,
and prepared transactions, whose locks outlive a wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from oracle import check
from synthetic.database import SCHEMA, connect, copied, create_homeserver

Connection = psycopg.Connection[Any]

_STORE = """
    CREATE FUNCTION store(id text, room text, type text, sender text, key text) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE e new_event := make_event(room, sender, type, key);
    BEGIN
        INSERT INTO event_json (event_id, room_id, internal_metadata, json, format_version) VALUES (id, room, '{}', e.json, 3);
        INSERT INTO events (topological_ordering, event_id, type, room_id, processed, outlier, sender, instance_name,
                            stream_ordering, state_key, depth, origin_server_ts, received_ts, contains_url)
            VALUES (e.depth, id, type, room, true, false, sender, 'master', e.stream_ordering, key, e.depth, 0, 0, false);
    END $$
"""
ANNA = "@anna:hs.test"


@pytest.fixture(scope="module")
def prepared() -> Iterator[Cluster]:
    with Cluster({"max_prepared_transactions": "2"}) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> str:
    name = create_homeserver(cluster, "unseen events")
    with connect(cluster, name) as connection:
        connection.execute(_STORE)
        for room in ("!x:hs.test", "!y:hs.test"):
            connection.execute("SELECT create_room(%s, %s, name => 'Name')", (room, ANNA))
    with connect(cluster, name, SUPERUSER) as connection:
        connection.execute("CALL sliding_sync.backfill()")
    return name


@pytest.fixture
def database(cluster: Cluster, template: str) -> Iterator[str]:
    with copied(cluster, template) as name:
        yield name


def name_of(connection: Connection, room: str) -> str | None:
    row = connection.execute("SELECT room_name FROM sliding_sync_joined_rooms WHERE room_id = %s", [room]).fetchone()
    assert row is not None
    return row[0]  # type: ignore[no-any-return]


def is_ready(cluster: Cluster, database: str) -> bool:
    ((answer,),) = cluster.execute("SELECT is_ready FROM sliding_sync.ready()", database)
    return bool(answer)


def test_json_comes_after_a_rollback(cluster: Cluster, database: str) -> None:
    with connect(cluster, database) as connection:
        state = "format('[%%s, %%s]', stripped('m.room.create', '{}'), stripped('m.room.name', '{\"name\": \"Far\"}'))"
        row = connection.execute(f"SELECT remote_invite('!far', %s, '@boss:remote.test', {state})", [ANNA]).fetchone()  # type: ignore[arg-type]
        assert row is not None
        event = row[0]
        connection.execute("CREATE TABLE kept AS SELECT * FROM event_json WHERE event_id = %s", [event])
        connection.execute("DELETE FROM event_json WHERE event_id = %s", [event])
        connection.execute("DELETE FROM local_current_membership WHERE room_id = '!far'")
        connection.execute(
            "INSERT INTO local_current_membership (room_id, user_id, event_id, membership) VALUES ('!far', %s, %s, 'invite')",
            [ANNA, event],
        )
        store = "INSERT INTO event_json SELECT * FROM kept"
        with connection.transaction():
            connection.execute(f"SAVEPOINT s; {store}; ROLLBACK TO s; {store}")
        found = connection.execute(
            "SELECT has_known_state, room_name FROM sliding_sync_membership_snapshots WHERE room_id = '!far'"
        ).fetchone()
        assert found == (True, "Far")
        assert not check(connection, SCHEMA)


def test_a_ban_redacts_before_it_is_stored(cluster: Cluster, database: str) -> None:
    with connect(cluster, database) as connection:
        connection.execute(
            "INSERT INTO room_ban_redactions (room_id, user_id, redacting_event_id) VALUES ('!x:hs.test', %s, '$ban')", [ANNA]
        )
        assert name_of(connection, "!x:hs.test") == "Name"
        connection.execute("SELECT store('$ban', '!x:hs.test', 'm.room.member', '@zoe:hs.test', %s)", [ANNA])
        assert name_of(connection, "!x:hs.test") is None
        assert not check(connection, SCHEMA)


def begin_redaction_elsewhere(here: Connection, there: Connection, prefix: str) -> None:
    """One gives a room a new name, the other redacts it, by an event of another room."""
    row = here.execute("SELECT nextval('event_counter')").fetchone()
    assert row is not None
    here.execute("BEGIN")
    named = here.execute("SELECT rename('!y:hs.test', %s, 'Secret')", [ANNA]).fetchone()
    assert named is not None
    there.execute("BEGIN")
    there.execute("SELECT store(%s, '!x:hs.test', 'm.room.redaction', %s, NULL)", [prefix, ANNA])
    there.execute("INSERT INTO redactions (event_id, redacts, recheck, received_ts) VALUES (%s, %s, false, 0)", [prefix, named[0]])


@pytest.mark.parametrize("first", ["name", "redaction"])
def test_a_redaction_in_another_room(cluster: Cluster, database: str, first: str) -> None:
    with connect(cluster, database, SUPERUSER) as here, connect(cluster, database, SUPERUSER) as there, ThreadPoolExecutor(1) as pool:
        begin_redaction_elsewhere(here, there, "$redaction")
        one, other = (here, there) if first == "name" else (there, here)
        one.execute("SELECT sliding_sync.flush()")
        committed = pool.submit(other.execute, "COMMIT")  # waits for the other one
        one.execute("COMMIT")
        committed.result()
        assert name_of(here, "!y:hs.test") is None
        assert not check(here, SCHEMA)
    assert is_ready(cluster, database)


def test_a_prepared_redaction_is_not_waited_for(prepared: Cluster) -> None:
    name = create_homeserver(prepared, "prepared redaction")
    with connect(prepared, name) as here, connect(prepared, name) as there:
        here.execute(_STORE)
        for room in ("!x:hs.test", "!y:hs.test"):
            here.execute("SELECT create_room(%s, %s, name => 'Name')", (room, ANNA))
        with connect(prepared, name, SUPERUSER) as administrator:
            administrator.execute("CALL sliding_sync.backfill()")
        begin_redaction_elsewhere(here, there, "$redaction")
        there.execute("PREPARE TRANSACTION 'redaction'")
        here.execute("COMMIT")
        with connect(prepared, name, SUPERUSER) as administrator:
            administrator.execute("CALL sliding_sync.backfill(max_duration => '1 s')")
        assert not is_ready(prepared, name), "nobody may trust the row while it is undecided"
        there.execute("COMMIT PREPARED 'redaction'")
        with connect(prepared, name, SUPERUSER) as administrator:
            administrator.execute("CALL sliding_sync.backfill(restart => true)")  # the one that was begun before it may not know
        assert is_ready(prepared, name)
        assert not check(here, SCHEMA)
    prepared.drop_database(name)


def test_a_prepared_rejection_is_not_waited_for(prepared: Cluster) -> None:
    name = create_homeserver(prepared, "prepared rejection")
    with connect(prepared, name) as connection:
        connection.execute(_STORE)
        connection.execute("SELECT create_room('!x:hs.test', %s, name => 'Name')", [ANNA])
        with connect(prepared, name, SUPERUSER) as administrator:
            administrator.execute("CALL sliding_sync.backfill()")
        connection.execute("BEGIN; INSERT INTO rejections (event_id, reason, last_check) VALUES ('$e', 'x', '0')")
        connection.execute("PREPARE TRANSACTION 'rejection'")
        connection.execute("SELECT store('$e', '!x:hs.test', 'm.room.message', %s, NULL)", [ANNA])
        with connect(prepared, name, SUPERUSER) as administrator:
            administrator.execute("CALL sliding_sync.backfill()")
        assert not is_ready(prepared, name), "nobody may trust the row while it is undecided"
        connection.execute("COMMIT PREPARED 'rejection'")
        with connect(prepared, name, SUPERUSER) as administrator:
            administrator.execute("CALL sliding_sync.backfill()")
        assert is_ready(prepared, name)
        assert not check(connection, SCHEMA)
    prepared.drop_database(name)
