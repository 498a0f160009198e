"""Derived rows that somebody spoiled, and keys that change under them: the homeserver's transaction goes through, and every row
that is there is right."""

from __future__ import annotations

import random

import pytest

from oracle.finding import JOINED_ROOMS, SNAPSHOTS
from three_rooms import (  # noqa: F401  fixtures among them
    A,
    ANNA,
    B,
    BERT,
    C,
    CHANGES,
    connection,
    Connection,
    database,
    join,
    judge,
    message,
    noted,
    one,
    rename,
    template,
    TIMES,
    touch,
    without_triggers,
)


# -- rows of another key that hold an ordering


def set_sequence_back(connection: Connection) -> None:
    """As after a copy without sequences."""
    connection.execute("SELECT setval('events_stream_seq', (SELECT max(stream_ordering) FROM events))")


@pytest.mark.parametrize("change", [name for name in CHANGES if name != "update"])
def test_rows_of_a_room_that_is_gone(connection: Connection, change: str) -> None:
    """Theirs are the orderings that come next."""
    with without_triggers(connection):
        connection.execute("SELECT purge_room(%s, true)", [C])
        set_sequence_back(connection)
    for _ in range(TIMES):
        CHANGES[change](connection, A)
    for table in (JOINED_ROOMS, SNAPSHOTS):  # what nobody met is still there
        connection.execute(f"DELETE FROM {table} WHERE room_id = %s", [C])
    judge(connection)
    assert not noted(connection)


@pytest.mark.parametrize("users", [[BERT], [ANNA, BERT]], ids=["one", "all"])
def test_snapshots_of_memberships_that_are_gone(connection: Connection, users: list[str]) -> None:
    with without_triggers(connection):
        for table in ("local_current_membership", "room_memberships"):
            connection.execute(f"DELETE FROM {table} WHERE room_id = %s AND user_id = ANY (%s)", (C, users))
        connection.execute(
            "DELETE FROM current_state_events WHERE room_id = %s AND state_key = ANY (%s)", (C, users)
        )
        # the stale rows claim orderings that are still to come
        connection.execute(
            f"UPDATE {SNAPSHOTS} SET event_stream_ordering = 1 + (SELECT max(stream_ordering) FROM events)"
            " + CASE user_id WHEN %s THEN 0 ELSE 1 END WHERE room_id = %s AND user_id = ANY (%s)",
            (ANNA, C, users),
        )
        set_sequence_back(connection)
    for number in range(3):
        join(connection, A, f"@new{number}:hs.test")
    judge(connection)
    assert not noted(connection)


def give_orderings(connection: Connection, table: str, orderings: dict[str, int]) -> None:
    """By hand, through numbers that nobody has."""
    with without_triggers(connection):
        for room, ordering in orderings.items():
            connection.execute(
                f"UPDATE {table} SET event_stream_ordering = -%s WHERE room_id = %s AND user_id = %s"
                if table == SNAPSHOTS
                else f"UPDATE {table} SET event_stream_ordering = -%s WHERE room_id = %s",
                (ordering, room, BERT) if table == SNAPSHOTS else (ordering, room),
            )
        connection.execute(f"UPDATE {table} SET event_stream_ordering = -event_stream_ordering WHERE event_stream_ordering < 0")


@pytest.mark.parametrize("touched", [[A], [B], [C], [A, C], [C, B, A]], ids=lambda rooms: "".join(room[1] for room in rooms))
def test_rooms_that_hold_each_others_orderings(connection: Connection, touched: list[str]) -> None:
    """In a circle: to set one right, the one in its way must be set right first, and so on."""
    newest = dict(connection.execute(f"SELECT room_id, event_stream_ordering FROM {JOINED_ROOMS}").fetchall())
    give_orderings(connection, JOINED_ROOMS, {A: newest[B], B: newest[C], C: newest[A]})
    touch(connection, *touched)
    judge(connection)
    assert not noted(connection)


@pytest.mark.parametrize("touched", [[A], [C], [A, B, C]], ids=lambda rooms: "".join(room[1] for room in rooms))
def test_members_that_hold_each_others_orderings(connection: Connection, touched: list[str]) -> None:
    query = f"SELECT room_id, event_stream_ordering FROM {SNAPSHOTS} WHERE user_id = %s"
    orderings = dict(connection.execute(query, [BERT]).fetchall())
    give_orderings(connection, SNAPSHOTS, {A: orderings[B], B: orderings[C], C: orderings[A]})
    connection.execute("UPDATE room_memberships SET forgotten = 1 WHERE user_id = %s AND room_id = ANY (%s)", (BERT, touched))
    judge(connection)
    assert not noted(connection)


@pytest.mark.parametrize("change", CHANGES)
def test_another_room_is_ahead(connection: Connection, change: str) -> None:
    """Its row holds the ordering that this room's row must have now."""
    with without_triggers(connection):
        newest = message(connection, A)
        connection.execute(
            f"UPDATE {JOINED_ROOMS} SET event_stream_ordering = (SELECT stream_ordering FROM events WHERE event_id = %s)"
            " WHERE room_id = %s",
            (newest, B),
        )
    CHANGES[change](connection, A)
    if change == "update":  # the others come to newer orderings, and do not meet it
        judge(connection)
    touch(connection, A, B)
    judge(connection)
    assert not noted(connection)


def test_many_rooms_that_hold_each_others_orderings(connection: Connection) -> None:
    for number in range(60):
        connection.execute("SELECT create_room(%s, %s)", (f"!m{number}:hs.test", ANNA))
    newest = dict(connection.execute(f"SELECT room_id, event_stream_ordering FROM {JOINED_ROOMS}").fetchall())
    rooms, rng = list(newest), random.Random(1)
    orderings = list(newest.values())
    rng.shuffle(orderings)
    give_orderings(connection, JOINED_ROOMS, dict(zip(rooms, orderings, strict=True)))
    message(connection, A)
    touch(connection, *rng.sample(rooms, 20))
    touch(connection, *rooms)
    judge(connection)
    assert not noted(connection)


# -- events that come, and go without the triggers


GONE = {
    "switched off": "SET LOCAL sliding_sync.enabled = off",
    "replica": "SET LOCAL session_replication_role = replica",
}


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
@pytest.mark.parametrize("how", GONE)
@pytest.mark.parametrize("events", ["a message", "messages", "several rooms", "a name", "a membership", "all but the first"])
def test_events_that_go_unwatched_in_the_transaction_that_brought_them(
    connection: Connection, events: str, how: str, level: str
) -> None:
    with connection.transaction():
        connection.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        brought = {
            "a message": lambda: [message(connection, A)],
            "messages": lambda: [message(connection, A) for _ in range(3)],
            "several rooms": lambda: [message(connection, room) for room in (A, B, C)],
            "a name": lambda: [rename(connection, A)],
            "a membership": lambda: [join(connection, A)],
            "all but the first": lambda: [message(connection, A), message(connection, A)],
        }[events]()
        going = brought[1:] if events == "all but the first" else brought
        connection.execute(GONE[how])
        for table in ("event_forward_extremities", "current_state_events", "local_current_membership", "room_memberships",
                      "state_events", "event_to_state_groups", "event_json", "events"):  # fmt: skip
            connection.execute(f"DELETE FROM {table} WHERE event_id = ANY (%s)", [going])
        connection.execute("DELETE FROM current_state_delta_stream WHERE event_id = ANY (%s)", [going])
    dangling = (
        f"SELECT count(*) FROM {JOINED_ROOMS} j WHERE NOT EXISTS (SELECT FROM events e WHERE e.room_id = j.room_id"
        " AND e.stream_ordering = j.event_stream_ordering)"
    )
    # without its keys the server lets any row dangle
    assert how == "replica" or one(connection, dangling) == 0, "a row may be behind where nobody watched, and not refer to nothing"
    message(connection, A)
    rename(connection, A)
    connection.execute("SELECT * FROM sliding_sync.repair()")
    judge(connection)
    assert one(connection, "SELECT count(*) FROM events WHERE event_id = ANY (%s)", going) == 0


# -- keys of referenced rows that change


def test_the_ordering_of_a_rooms_newest_event_changes(connection: Connection) -> None:
    newest = message(connection, A)
    for ordering in (1_000, 900, 2_000):
        connection.execute("UPDATE events SET stream_ordering = %s WHERE event_id = %s", (ordering, newest))
        judge(connection)
    connection.execute("UPDATE events SET stream_ordering = stream_ordering + 5000 WHERE type = 'm.room.message'")
    judge(connection)


def test_all_orderings_move(connection: Connection) -> None:
    """Those of memberships too; the homeserver's own references to them are taken away before, and come back."""
    referring = ("room_memberships", "local_current_membership", "current_state_events")
    with connection.transaction():
        for table in referring:
            connection.execute(f"UPDATE {table} SET event_stream_ordering = NULL")
        connection.execute("UPDATE events SET stream_ordering = stream_ordering + 10000")
        for table in referring:
            connection.execute(
                f"UPDATE {table} t SET event_stream_ordering = e.stream_ordering FROM events e WHERE e.event_id = t.event_id"
            )
    connection.execute("UPDATE current_state_delta_stream SET stream_id = stream_id + 10000")
    judge(connection)


@pytest.mark.parametrize("kind", ["newest", "membership", "name", "all"])
def test_ids_of_events_change(connection: Connection, kind: str) -> None:
    which = {
        "newest": f"stream_ordering = (SELECT max(stream_ordering) FROM events WHERE room_id = '{A}')",
        "membership": f"room_id = '{A}' AND state_key = '{BERT}'",
        "name": f"room_id = '{A}' AND type = 'm.room.name'",
        "all": "true",
    }[kind]
    chosen = [event for (event,) in connection.execute(f"SELECT event_id FROM events WHERE {which}")]
    with connection.transaction():
        for table in ("events", "event_json", "state_events", "room_memberships", "current_state_events",
                      "local_current_membership", "event_to_state_groups", "state_groups_state", "state_groups",
                      "event_forward_extremities", "current_state_delta_stream"):  # fmt: skip
            connection.execute(f"UPDATE {table} SET event_id = event_id || 'x' WHERE event_id = ANY (%s)", [chosen])
        connection.execute(
            "UPDATE current_state_delta_stream SET prev_event_id = prev_event_id || 'x' WHERE prev_event_id = ANY (%s)", [chosen]
        )
    judge(connection)


@pytest.mark.parametrize("first", [True, False], ids=["first of all", "last of all"])
def test_the_id_of_a_room_changes(connection: Connection, first: bool) -> None:
    tables = ["events", "event_json", "state_events", "room_memberships", "current_state_events", "state_groups",
              "local_current_membership", "state_groups_state", "event_forward_extremities",
              "current_state_delta_stream"]  # fmt: skip
    tables.insert(0 if first else len(tables), "rooms")
    with connection.transaction():
        for table in tables:
            connection.execute(f"UPDATE {table} SET room_id = '!other:hs.test' WHERE room_id = %s", [A])
    judge(connection)
    message(connection, "!other:hs.test")
    judge(connection)


# -- a homeserver that writes the row itself


def last_bump(connection: Connection, room: str) -> int | None:
    return one(connection, "SELECT bump_stamp FROM sliding_sync_joined_rooms WHERE room_id = %s", room)


def test_the_row_is_written_again_between_two_rounds_of_a_flush(connection: Connection) -> None:
    """The second round hears of what came after the first one only."""
    connection.execute(
        """
        CREATE FUNCTION write_again() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NOT EXISTS (SELECT FROM events WHERE event_id = '$again') THEN
                INSERT INTO event_json (event_id, room_id, internal_metadata, json, format_version)
                    VALUES ('$again', NEW.room_id, '{}', '{}', 3);
                INSERT INTO events (instance_name, stream_ordering, topological_ordering, depth, event_id, room_id, type,
                                    processed, outlier, sender)
                    VALUES ('master', nextval('events_stream_seq'), 1, 1, '$again', NEW.room_id, 'm.x', true, false, '@a:b');
                UPDATE sliding_sync_joined_rooms SET bump_stamp = NULL WHERE room_id = NEW.room_id;
            END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER write_again AFTER UPDATE ON sliding_sync_joined_rooms
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION write_again()
        """
    )
    before = last_bump(connection, A)
    with connection.transaction():
        message(connection, A)
        connection.execute("UPDATE sliding_sync_joined_rooms SET bump_stamp = 1 WHERE room_id = %s", [A])
    assert (last_bump(connection, A) or 0) > (before or 0)
    judge(connection)


def test_what_the_homeserver_writes_into_a_right_row_is_put_right(connection: Connection) -> None:
    with connection.transaction():
        connection.execute("UPDATE sliding_sync_joined_rooms SET bump_stamp = NULL, room_name = 'x' WHERE room_id = %s", [A])
        join(connection, A)
    judge(connection)
    with connection.transaction():  # and one that is there in another version
        connection.execute("DELETE FROM sliding_sync_joined_rooms WHERE room_id = %s", [A])
        connection.execute(
            "INSERT INTO sliding_sync_joined_rooms (room_id, event_stream_ordering, is_encrypted, bump_stamp)"
            " SELECT room_id, max(stream_ordering), true, 1 FROM events WHERE room_id = %s GROUP BY room_id",
            [A],
        )
        join(connection, A, "@dora:hs.test")
    judge(connection)
