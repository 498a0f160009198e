"""Rules that ask what a transaction takes away, and not what is there afterwards; and what cannot be read says nothing at all."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from oracle import Watcher
from oracle.finding import SNAPSHOTS
from synthetic.database import SCHEMA

Connection = psycopg.Connection[Any]

ROOM, ANNA, BERT, REMOTE, OTHER = "!r:hs.test", "@anna:hs.test", "@bert:hs.test", "@rem:far.test", "@other:far.test"
KNOWN = (True, "m.space", "Tea")


@pytest.fixture
def connection(connection: Connection) -> Connection:
    connection.execute("SELECT create_room(%s, %s, room_type => 'm.space', name => 'Tea')", (ROOM, ANNA))
    return connection


def member(connection: Connection, user: str, membership: str, sender: str | None = None) -> None:
    connection.execute("SELECT change_membership(%s, %s, %s, %s)", (ROOM, user, membership, sender or user))


def snapshot(connection: Connection, user: str) -> tuple[Any, ...]:
    columns = "membership, has_known_state, room_type, room_name"
    query = f"SELECT {columns} FROM {SNAPSHOTS} WHERE (room_id, user_id) = (%s, %s)"
    row = connection.execute(query, (ROOM, user)).fetchone()
    assert row is not None
    return tuple(row)


# -- the last leave: what is wiped is what this transaction took away

# What is left in current state, or comes into it, after the homeserver has left the room.
AFTERWARDS = {
    "nothing": (),
    "a remote invitee rejects": ((REMOTE, "leave", REMOTE),),
    "a remote invitee is banned": ((REMOTE, "ban", OTHER),),
    "others come and go": ((REMOTE, "leave", REMOTE), (OTHER, "join", OTHER), (OTHER, "leave", OTHER)),
}
# A local user's membership from before, and the one that ends it.
ENDINGS = {
    "rejects": ("invite", ANNA, "leave", BERT),
    "is no longer invited": ("invite", ANNA, "leave", ANNA),
    "is banned": ("invite", ANNA, "ban", ANNA),
    "takes the knock back": ("knock", BERT, "leave", BERT),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("afterwards", AFTERWARDS)
@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_what_a_snapshot_knew_before_the_homeserver_left(
    connection: Connection, afterwards: str, ending: str, level: str
) -> None:
    """It is inherited: nothing that the room says now tells more."""
    connection.execute(f"SET default_transaction_isolation = '{level.lower()}'")
    before, inviter, after, ender = ENDINGS[ending]
    member(connection, BERT, before, inviter)
    member(connection, REMOTE, "invite", ANNA)
    watcher = Watcher(connection, SCHEMA)
    member(connection, ANNA, "leave")
    assert watcher.check_step() == []
    known = snapshot(connection, BERT)[1:]
    for step in AFTERWARDS[afterwards]:
        member(connection, *step)
        assert watcher.check_step() == []
    member(connection, BERT, after, ender)
    assert snapshot(connection, BERT) == (after, *known)
    assert watcher.check_step() == []
    assert snapshot(connection, ANNA) == ("leave", *KNOWN)


def test_the_last_one_leaves_and_the_invitee_rejects_in_one_transaction(connection: Connection) -> None:
    member(connection, BERT, "invite", ANNA)
    known = snapshot(connection, BERT)[1:]
    with connection.transaction():
        member(connection, ANNA, "leave")
        member(connection, BERT, "leave")
    assert snapshot(connection, ANNA) == ("leave", *KNOWN)
    assert snapshot(connection, BERT)[0] == "leave"
    assert snapshot(connection, BERT)[1:] in (known, KNOWN)


_NO_GROUPS = "DELETE FROM event_to_state_groups WHERE event_id IN (SELECT event_id FROM events WHERE stream_ordering > %s)"
# What comes along with the last leave, and whether the state group of the leave is there to be read.
NEVER_STATE = {
    "soft-failed": ("SELECT soft_fail(%(room)s, %(user)s, 'm.room.name', '', '{\"name\": \"Bad\"}')", True),
    "soft-failed, no state group": ("SELECT soft_fail(%(room)s, %(user)s, 'm.room.name', '', '{\"name\": \"Bad\"}')", False),
    # stored like any other, but the state of the room is without it
    "lost a conflict": (
        "WITH lost AS (SELECT soft_fail(%(room)s, %(user)s, 'm.room.name', '', '{\"name\": \"Bad\"}') AS event_id)"
        " UPDATE event_json j SET internal_metadata = '{}' FROM lost WHERE j.event_id = lost.event_id",
        True,
    ),
}


@pytest.mark.parametrize("case", NEVER_STATE)
def test_what_was_never_state_of_the_room_is_not_what_the_last_one_leaves(connection: Connection, case: str) -> None:
    statement, has_groups = NEVER_STATE[case]
    member(connection, BERT, "join")
    newest = connection.execute("SELECT max(stream_ordering) FROM events").fetchone()
    watcher = Watcher(connection, SCHEMA)
    with connection.transaction():
        connection.execute(statement, {"room": ROOM, "user": BERT})  # type: ignore[call-overload]
        member(connection, BERT, "leave")
        member(connection, ANNA, "leave")
        if not has_groups:
            connection.execute(_NO_GROUPS, newest)
    assert snapshot(connection, BERT) == ("leave", *KNOWN)
    assert snapshot(connection, ANNA) == ("leave", *KNOWN)
    assert watcher.check_step() == []


def test_a_redacted_event_of_a_room_that_is_purged_and_named_again(connection: Connection) -> None:
    """What the same transaction deletes is as it was before, and so is what redacted it."""
    connection.execute("SELECT tombstone(%s, %s, '!new:hs.test')", (ROOM, ANNA))
    connection.execute(
        "SELECT redact(%s, %s, (SELECT event_id FROM events WHERE type = 'm.room.tombstone'))", (ROOM, ANNA)
    )
    watcher = Watcher(connection, SCHEMA)
    with connection.transaction():
        connection.execute("SELECT purge_room(%s)", (ROOM,))
        connection.execute("SELECT remote_knock(%s, %s, '[]')", (ROOM, BERT))
        connection.execute('SELECT "leave"(%s, %s)', (ROOM, BERT))
    assert watcher.check_step() == []
    assert snapshot(connection, BERT) == ("leave", *KNOWN)


# -- verify() on what it cannot read

UNREADABLE = {
    "no JSON": "{",
    "empty": "",
    "cut short": '{"type": "m.room.name", "content": {"name": "Te',
    "not an object": "[]",
    "rubbish behind it": '{"content": {"name": "Tea"}} x',
    "NaN": '{"content": {"name": NaN}}',
    "half a character": '{"content": {"name": "\\ud83d"}}',
    "too deep": '{"content": {"name": "Tea", "x": ' + "[" * 5000 + "]" * 5000 + "}}",
}


@pytest.mark.parametrize("document", UNREADABLE)
@pytest.mark.parametrize("column", ["m.room.name", "m.room.create"])
def test_what_cannot_be_read_makes_nothing_impossible(connection: Connection, column: str, document: str) -> None:
    """The snapshot is older than what happened to the event, and may have been right."""
    member(connection, BERT, "join")
    member(connection, BERT, "leave")
    connection.execute("SELECT rename(%s, %s, 'Coffee')", (ROOM, ANNA))
    connection.execute(
        "UPDATE event_json SET json = %s WHERE event_id IN (SELECT event_id FROM events WHERE type = %s"
        " AND stream_ordering < (SELECT max(stream_ordering) FROM events))",
        (document, column),
    )
    assert snapshot(connection, BERT) == ("leave", *KNOWN)
    found = connection.execute(
        "SELECT column_name, reason FROM sliding_sync.verify(tables => 'memberships')"
        " WHERE severity <> 'unverifiable' AND user_id = %s",
        [BERT],
    ).fetchall()
    assert found == []
    connection.execute("SELECT * FROM sliding_sync.repair(tables => 'memberships')")
    assert snapshot(connection, BERT) == ("leave", *KNOWN)


def test_what_came_with_the_last_leave_is_not_impossible(connection: Connection) -> None:
    """It never stood in current state, so the stream of changes does not have it. A purge took the leave's state group."""
    connection.execute(
        "SELECT persist(ARRAY[make_event(%(room)s, %(user)s, 'm.room.name', '', '{\"name\": \"Coffee\"}'),"
        " make_event(%(room)s, %(user)s, 'm.room.member', %(user)s, '{\"membership\": \"leave\"}', 'leave')])",
        {"room": ROOM, "user": ANNA},
    )
    assert snapshot(connection, ANNA) == ("leave", True, "m.space", "Coffee")
    connection.execute("DELETE FROM event_to_state_groups; UPDATE events SET outlier = true")
    found = connection.execute("SELECT reason FROM sliding_sync.verify() WHERE severity <> 'unverifiable'").fetchall()
    assert found == []
    connection.execute("SELECT * FROM sliding_sync.repair()")
    assert snapshot(connection, ANNA) == ("leave", True, "m.space", "Coffee")


def test_what_can_be_read_and_says_otherwise_is_impossible(connection: Connection) -> None:
    member(connection, BERT, "join")
    member(connection, BERT, "leave")
    connection.execute(f"UPDATE {SNAPSHOTS} SET room_name = 'Never' WHERE user_id = %s", [BERT])
    found = connection.execute("SELECT column_name, reason FROM sliding_sync.verify() WHERE severity <> 'unverifiable'").fetchall()
    assert found == [("room_name", "history_impossible")]


# -- a whole table goes

_STRIPPED = """format('[%%s, %%s]', stripped('m.room.create', '{"type": "m.space"}'), stripped('m.room.name', '{"name": "Far"}'))"""
# An invite that is redacted as it is stored: what came with it does not count.
_REDACTED_INVITE = f"SELECT remote_invite(%(room)s, '{ANNA}', '{REMOTE}', {_STRIPPED})"
_REDACTIONS = {
    "redactions": "INSERT INTO redactions (event_id, redacts, have_censored, received_ts, recheck)"
    " SELECT '$redaction-of-' || event_id, event_id, false, 1, false FROM local_current_membership WHERE room_id = %(room)s",
    "room_ban_redactions": "INSERT INTO room_ban_redactions (room_id, user_id, redacting_event_id, redact_end_ordering)"
    f" SELECT room_id, '{REMOTE}', event_id, NULL FROM local_current_membership WHERE room_id = %(room)s",
}


@pytest.mark.parametrize("table", _REDACTIONS)
@pytest.mark.parametrize("way", ["DELETE FROM", "TRUNCATE"])
def test_invites_whose_redactions_go(connection: Connection, way: str, table: str) -> None:
    """They read as they were stored, in rooms that nothing else tells of."""
    rooms = [f"!far{number}:far.test" for number in range(3)]
    for room in rooms:
        with connection.transaction():
            connection.execute(_REDACTED_INVITE, {"room": room})  # type: ignore[call-overload]
            connection.execute(_REDACTIONS[table], {"room": room})  # type: ignore[call-overload]
    known = f"SELECT DISTINCT has_known_state, room_type, room_name FROM {SNAPSHOTS} WHERE room_id = ANY (%s)"
    assert connection.execute(known, [rooms]).fetchall() == [(False, None, None)]
    watcher = Watcher(connection, SCHEMA)
    connection.execute(f"{way} {table}")  # type: ignore[arg-type]
    assert watcher.check_step() == []
    assert connection.execute(known, [rooms]).fetchall() == [(True, "m.space", "Far")]
