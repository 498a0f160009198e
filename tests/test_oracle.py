"""The oracle itself, against rows written by hand. No trigger has a part in this."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

import psycopg
import pytest
from psycopg import sql

from harness.cluster import SUPERUSER, Cluster
from oracle import Finding, Watcher, check
from oracle.finding import JOINED_ROOMS, ROW, SNAPSHOTS
from oracle.values import UNKNOWN, History, column_value, read_object, stripped_history, usable
from synthetic.database import ROOM, SCHEMA, connect, create_homeserver

TESTS = Path(__file__).parent

REMOTE = "!x:remote.test"
ANNA, BOB, CARL, BOSS = "@anna:hs.test", "@bob:hs.test", "@carl:hs.test", "@boss:remote.test"

STRIPPED = """[
    {"type": "m.room.create", "state_key": "", "sender": "@boss:remote.test", "content": {"type": "m.space"}},
    {"type": "m.room.name", "state_key": "", "sender": "@boss:remote.test", "content": {"name": "Far"}}
]"""


class Database:
    """A homeserver's tables, and both derived ones to be filled by hand."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def do(self, operation: str, *arguments: Any) -> Any:
        """An operation of the homeserver."""
        marks = sql.SQL(", ").join(sql.Placeholder() * len(arguments))
        query = sql.SQL("SELECT {}({})").format(sql.Identifier(operation), marks)
        row = self.connection.execute(query, arguments).fetchone()
        return row and row[0]

    def write(self, table: str, *rows: dict[str, Any]) -> None:
        """Puts rows in the place of those of the same key."""
        for row in rows:
            keys = ["room_id", "user_id"] if table == SNAPSHOTS else ["room_id"]
            condition = sql.SQL(" AND ").join(
                sql.SQL("{} = {}").format(sql.Identifier(k), row[k]) for k in keys
            )
            self.connection.execute(
                sql.SQL("DELETE FROM {} WHERE {}").format(sql.Identifier(table), condition)
            )
            self.connection.execute(
                sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                    sql.Identifier(table),
                    sql.SQL(", ").join(map(sql.Identifier, row)),
                    sql.SQL(", ").join(map(sql.Literal, row.values())),
                )
            )

    def ordering(self, event_id: str) -> int:
        query = "SELECT stream_ordering FROM events WHERE event_id = %s"
        row = self.connection.execute(query, [event_id]).fetchone()
        assert row is not None
        return int(row[0])

    def update(self, table: str, **columns: Any) -> None:
        """Gives these columns of all rows of a table these values."""
        changes = [sql.SQL("{} = {}").format(sql.Identifier(name), value) for name, value in columns.items()]
        query = sql.SQL("UPDATE {} SET {}").format(sql.Identifier(table), sql.SQL(", ").join(changes))
        self.connection.execute(query)

    def check(self) -> list[Finding]:
        return check(self.connection, SCHEMA)

    def wrong_columns(self) -> set[tuple[str, str]]:
        return {(finding.table, finding.column) for finding in self.check()}


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Database]:
    name = create_homeserver(cluster, "oracle_test", extension=False, owner=SUPERUSER)
    with connect(cluster, name, SUPERUSER) as connection:
        yield Database(connection)
    cluster.drop_database(name)


def joined_room(ordering: int, bump_stamp: int | None, **state: Any) -> dict[str, Any]:
    return {"room_id": ROOM, "event_stream_ordering": ordering, "bump_stamp": bump_stamp} | state


def snapshot(user: str, event: str, ordering: int, membership: str, **more: Any) -> dict[str, Any]:
    return {
        "room_id": ROOM,
        "user_id": user,
        "sender": user,
        "membership_event_id": event,
        "membership": membership,
        "event_stream_ordering": ordering,
        "event_instance_name": "master",
        "has_known_state": True,
    } | more


# -- values


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"content": {"name": "Tea"}}', "Tea"),
        ('{"content": {"name": ""}}', ""),
        ('{"content": {"name": "A", "n\\u0061me": "B"}}', "B"),
        ('{"content": {"name": "\\ud83c\\udf75"}}', "\U0001f375"),
        ('{"content": {"name": "a\\u0000"}}', None),
        ('{"content": {"name": "\\ud800"}}', None),
        ('{"content": {"name": 5, "n": NaN}}', None),
        ('{"content": {"name": ["l"]}}', None),
        ('{"content": {"name": "Tea", "n": ' + "9" * 5000 + "}}", "Tea"),
        ('{"content": "Tea"}', None),
        ('{"content": {"name": "Tea"}} x', None),
        ("[" * 100_000, None),
        ("", None),
    ],
)
def test_name_of_an_event(text: str, name: str | None) -> None:
    content = (read_object(text) or {}).get("content")
    assert column_value("m.room.name", content if isinstance(content, dict) else {}) == name


@pytest.mark.parametrize(
    ("content", "encrypted"),
    [({}, False), ({"algorithm": None}, False), ({"algorithm": ""}, True), ({"algorithm": []}, True)],
)
def test_encryption_is_any_algorithm(content: dict[str, Any], encrypted: bool) -> None:
    assert column_value("m.room.encryption", content) is encrypted


def test_text_that_postgresql_can_not_store_is_unusable() -> None:
    assert [usable(value) for value in ("a", "", "\0", "\udfff", None, 1)] == [
        "a",
        "",
        None,
        None,
        None,
        None,
    ]


def test_stripped_state() -> None:
    def read(elements: str, membership: str = "invite") -> History:
        return stripped_history(read_object('{"unsigned": {"invite_room_state": %s}}' % elements), membership)

    assert read(STRIPPED) == History(True, "m.space", "Far")
    assert read(STRIPPED, "knock") == UNKNOWN
    assert read(STRIPPED.replace("m.room.create", "m.room.topic")) == UNKNOWN
    assert read(
        STRIPPED.replace('"sender": "@boss:remote.test", "content": {"name"', '"content": {"name"')
    ) == History(True, "m.space")
    assert read("{}") == read("[]") == read("null") == read("[1, null]") == UNKNOWN


# -- check


@pytest.fixture
def tea_room(database: Database) -> Database:
    """Anna's room: $e1 create, $e2 join, $e3, $e4, $e5 encryption, $e6 name, $e7 message, $e8 Bob's ban."""
    database.do("create_room", ROOM, ANNA, "10", "m.space", "Tea", True)
    database.do("send_message", ROOM, ANNA)
    database.do("ban", ROOM, BOB, ANNA)
    state = {"room_type": "m.space", "room_name": "Tea", "is_encrypted": True}
    database.write(JOINED_ROOMS, joined_room(8, 7, **state))
    database.write(
        SNAPSHOTS,
        snapshot(ANNA, "$e2:hs.test", 2, "join", room_type="m.space"),
        snapshot(BOB, "$e8:hs.test", 8, "ban", sender=ANNA, **state),
    )
    return database


def test_right_rows_have_no_findings(tea_room: Database) -> None:
    assert tea_room.check() == []


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        (JOINED_ROOMS, "event_stream_ordering", "7"),
        (JOINED_ROOMS, "bump_stamp", "1"),
        (JOINED_ROOMS, "bump_stamp", "NULL"),
        (JOINED_ROOMS, "room_type", "NULL"),
        (JOINED_ROOMS, "room_name", "''"),
        (JOINED_ROOMS, "is_encrypted", "false"),
        (JOINED_ROOMS, "tombstone_successor_room_id", "'!s'"),
        (SNAPSHOTS, "sender", "'@x:hs.test'"),
        (SNAPSHOTS, "membership_event_id", "'$e1:hs.test'"),
        (SNAPSHOTS, "membership", "'leave'"),
        (SNAPSHOTS, "forgotten", "1"),
        (SNAPSHOTS, "event_stream_ordering", "5"),
        (SNAPSHOTS, "event_instance_name", "''"),
        (SNAPSHOTS, "has_known_state", "false"),
        (SNAPSHOTS, "room_type", "NULL"),
        (SNAPSHOTS, "room_name", "'Old'"),
        (SNAPSHOTS, "is_encrypted", "false"),
        (SNAPSHOTS, "tombstone_successor_room_id", "''"),
    ],
)
def test_each_wrong_column_is_found(tea_room: Database, table: str, column: str, value: str) -> None:
    only = sql.SQL("WHERE user_id = {}").format(BOB) if table == SNAPSHOTS else sql.SQL("")
    tea_room.connection.execute(
        sql.SQL("UPDATE {} SET {} = {} {}").format(
            sql.Identifier(table),
            sql.Identifier(column),
            sql.SQL(value),
            only,
        )
    )
    assert tea_room.wrong_columns() == {(table, column)}


@pytest.mark.parametrize("table", [JOINED_ROOMS, SNAPSHOTS])
def test_missing_rows_are_found(tea_room: Database, table: str) -> None:
    tea_room.connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
    assert tea_room.wrong_columns() == {(table, ROW)}


def test_rows_without_a_reason_are_found(tea_room: Database) -> None:
    tea_room.connection.execute("DELETE FROM local_current_membership")
    tea_room.connection.execute("DELETE FROM current_state_events")
    assert tea_room.wrong_columns() == {(SNAPSHOTS, ROW), (JOINED_ROOMS, ROW)}


def test_outliers_rejected_and_unordered_events_do_not_count(tea_room: Database) -> None:
    tea_room.do("send_outlier", ROOM, ANNA)
    tea_room.do("reject_event", ROOM, ANNA, "m.room.message")
    tea_room.connection.execute(
        "INSERT INTO events (topological_ordering, event_id, type, room_id, processed, outlier)"
        " VALUES (1, '$null', 'm.room.message', %s, true, false)",
        [ROOM],
    )
    assert tea_room.check() == []
    newest = tea_room.ordering(tea_room.do("soft_fail", ROOM, ANNA))
    assert tea_room.wrong_columns() == {(JOINED_ROOMS, "event_stream_ordering"), (JOINED_ROOMS, "bump_stamp")}
    tea_room.update(JOINED_ROOMS, event_stream_ordering=newest, bump_stamp=newest)
    assert tea_room.check() == []


def test_redaction_empties_the_room_and_not_the_history(tea_room: Database) -> None:
    redaction = tea_room.ordering(tea_room.do("redact", ROOM, ANNA, "$e6:hs.test"))
    tea_room.update(JOINED_ROOMS, event_stream_ordering=redaction)
    assert tea_room.wrong_columns() == {(JOINED_ROOMS, "room_name")}
    tea_room.update(JOINED_ROOMS, room_name=None)
    assert tea_room.check() == []


@pytest.mark.parametrize(
    ("spoil", "redacted"),
    [
        ("UPDATE events SET room_id = '!other' WHERE event_id = %(r)s", False),
        ("INSERT INTO rejections VALUES (%(r)s, 'x', '0')", False),
        ("DELETE FROM event_json WHERE event_id = %(r)s", False),
        ("UPDATE event_json SET json = 'no json' WHERE event_id = %(r)s", False),
        (
            "UPDATE event_json SET internal_metadata = '{\"recheck_redaction\": true}'"
            " WHERE event_id = %(r)s",
            False,
        ),
        ("DELETE FROM event_json WHERE event_id = %(r)s; UPDATE redactions SET recheck = false", True),
        ("DELETE FROM redactions; SELECT redact_all_of(%(room)s, %(anna)s, %(r)s)", True),
        ("DELETE FROM redactions; SELECT redact_all_of(%(room)s, %(anna)s, %(r)s, 6)", False),
        ("DELETE FROM redactions; SELECT redact_all_of(%(room)s, %(anna)s, %(r)s, 7)", True),
        ("ALTER TABLE redactions DROP COLUMN recheck; DROP TABLE room_ban_redactions", True),
    ],
)
def test_redactions_that_count(tea_room: Database, spoil: str, redacted: bool) -> None:
    redaction = tea_room.do("redact", ROOM, BOSS, "$e6:hs.test")
    for statement in spoil.split("; "):
        names = {"r": redaction, "room": ROOM, "anna": ANNA}
        tea_room.connection.execute(statement, names)
    wrong = tea_room.wrong_columns()
    assert ((JOINED_ROOMS, "room_name") in wrong) == redacted


def test_history_is_that_of_the_membership(tea_room: Database) -> None:
    """A leaver keeps the name of their time; the new one would be wrong, although the room has it now."""
    name = tea_room.ordering(tea_room.do("rename", ROOM, ANNA, "Coffee"))
    tea_room.update(JOINED_ROOMS, event_stream_ordering=name, room_name="Coffee")
    assert tea_room.check() == []
    tea_room.update(SNAPSHOTS, room_name="Coffee")
    # Bob's only: a backfill may write Anna's join at any time.
    assert [finding.key for finding in tea_room.check()] == [(ROOM, BOB)]


def test_history_survives_a_purge_of_the_room_s_past(tea_room: Database) -> None:
    message = tea_room.do("send_message", ROOM, ANNA)
    tea_room.do("purge_history", ROOM, message)
    ordering = tea_room.ordering(message)
    tea_room.update(JOINED_ROOMS, event_stream_ordering=ordering, bump_stamp=ordering)
    assert tea_room.check() == []
    tea_room.update(SNAPSHOTS, room_name="Coffee")
    assert tea_room.wrong_columns() == {(SNAPSHOTS, "room_name")}
    # a backfill cannot know what Bob was banned from any more; of Anna, who is there, it does
    nothing = {"room_type": None, "room_name": None, "is_encrypted": False, "has_known_state": False}
    tea_room.update(SNAPSHOTS, **nothing)
    assert {finding.key for finding in tea_room.check()} == {(ROOM, ANNA)}


def test_last_leave_keeps_the_state_before_the_wipe(tea_room: Database) -> None:
    leave = tea_room.do("leave", ROOM, ANNA)
    tea_room.connection.execute("DELETE FROM sliding_sync_joined_rooms")
    state = {"room_type": "m.space", "room_name": "Tea", "is_encrypted": True}
    tea_room.write(SNAPSHOTS, snapshot(ANNA, leave, tea_room.ordering(leave), "leave", **state))
    assert tea_room.check() == []
    tea_room.write(SNAPSHOTS, snapshot(ANNA, leave, tea_room.ordering(leave), "leave"))
    assert {column for _, column in tea_room.wrong_columns()} == {"room_type", "room_name", "is_encrypted"}


def test_out_of_band_invite_is_its_stripped_state(database: Database) -> None:
    invite = database.do("remote_invite", REMOTE, ANNA, BOSS, STRIPPED)
    row = snapshot(ANNA, invite, database.ordering(invite), "invite", sender=BOSS, room_type="m.space")
    row |= {"room_id": REMOTE}
    database.write(SNAPSHOTS, row)
    assert database.wrong_columns() == {(SNAPSHOTS, "room_name")}
    database.write(SNAPSHOTS, row | {"room_name": "Far"})
    assert database.check() == []
    # Its rejection inherits, which nothing recomputes.
    leave = database.do("reject_remote_invite", REMOTE, ANNA)
    row |= {"membership_event_id": leave, "event_stream_ordering": database.ordering(leave)}
    database.write(SNAPSHOTS, row | {"membership": "leave", "sender": ANNA, "room_name": "anything"})
    assert database.check() == []


def test_censored_invite_may_have_told_anything(tea_room: Database) -> None:
    """From inside: current state, or what it told itself, or nothing, which a backfill reads now."""
    invite = tea_room.do("invite", ROOM, CARL, ANNA, STRIPPED)
    tea_room.update(JOINED_ROOMS, event_stream_ordering=tea_room.ordering(invite))
    row = snapshot(CARL, invite, tea_room.ordering(invite), "invite", sender=ANNA, room_type="m.space")
    from_inside = row | {"room_name": "Tea", "is_encrypted": True}
    itself = row | {"room_name": "Far"}
    nothing = row | {"room_type": None, "has_known_state": False}
    for right in (from_inside, itself):
        tea_room.write(SNAPSHOTS, right)
        assert tea_room.check() == []
    tea_room.write(SNAPSHOTS, nothing)
    assert tea_room.check()
    redaction = tea_room.do("redact", ROOM, ANNA, invite)
    tea_room.update(JOINED_ROOMS, event_stream_ordering=tea_room.ordering(redaction))
    assert tea_room.check() == []
    tea_room.do("censor", invite)
    for right in (from_inside, itself, nothing):
        tea_room.write(SNAPSHOTS, right)
        assert tea_room.check() == []


def test_delta_chain_of_state_groups(tea_room: Database) -> None:
    """Without the delta stream the groups decide: the newest group of the chain wins."""
    tea_room.connection.execute("DELETE FROM current_state_delta_stream")
    assert tea_room.check() == []
    tea_room.update(SNAPSHOTS, room_name=None)
    assert [finding.key for finding in tea_room.check()] == [(ROOM, BOB)]


def test_membership_row_whose_event_is_missing_or_elsewhere(tea_room: Database) -> None:
    tea_room.connection.execute(
        "INSERT INTO local_current_membership"
        " VALUES (%s, %s, '$missing', 'join'), ('!none', %s, '$e2:hs.test', 'join')",
        [ROOM, CARL, CARL],
    )
    assert tea_room.check() == []


def test_command_line(tea_room: Database, cluster: Cluster) -> None:
    def run() -> subprocess.CompletedProcess[str]:
        dsn = " ".join(f"{key}={value}" for key, value in cluster.conninfo("oracle_test").items())
        command = [sys.executable, "-m", "oracle", "--dsn", dsn, "--schema", SCHEMA]
        return subprocess.run(command, cwd=TESTS, capture_output=True, text=True)

    assert (run().returncode, run().stdout.splitlines()[-1]) == (0, "3 rows checked, 0 findings")
    tea_room.update(JOINED_ROOMS, room_name="Coffee")
    assert run().returncode == 3
    assert run().stdout.splitlines()[-1] == "3 rows checked, 1 findings"


# -- watcher


@pytest.fixture
def watcher(tea_room: Database) -> Watcher:
    return Watcher(tea_room.connection, SCHEMA)


def columns(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.key[-1], finding.column) for finding in findings]


STATE = {"room_type": "m.space", "room_name": "Tea", "is_encrypted": True}


def test_step_leaves_untouched_rows_alone(tea_room: Database, watcher: Watcher) -> None:
    assert watcher.check_step() == []
    tea_room.update(SNAPSHOTS, room_name="Coffee")
    tea_room.update(JOINED_ROOMS, room_name="Coffee")
    assert columns(watcher.check_step()) == [(ROOM, "room_name"), (ANNA, "room_name"), (BOB, "room_name")]
    assert watcher.check_step() == []  # nobody touched the wrong rows since


def test_step_of_a_message_that_nobody_carried_over(tea_room: Database, watcher: Watcher) -> None:
    tea_room.do("send_message", ROOM, ANNA)
    assert columns(watcher.check_step()) == [(ROOM, "event_stream_ordering"), (ROOM, "bump_stamp")]


def test_step_of_a_join_takes_the_state_of_now(tea_room: Database, watcher: Watcher) -> None:
    join = tea_room.do("join", ROOM, CARL)
    ordering = tea_room.ordering(join)
    tea_room.write(JOINED_ROOMS, joined_room(ordering, 7, **STATE))
    tea_room.write(SNAPSHOTS, snapshot(CARL, join, ordering, "join", **STATE | {"room_name": None}))
    assert columns(watcher.check_step()) == [(CARL, "room_name")]


def test_step_of_a_rename_keeps_history(tea_room: Database, watcher: Watcher) -> None:
    rename = tea_room.do("rename", ROOM, ANNA, "Coffee")
    tea_room.write(JOINED_ROOMS, joined_room(tea_room.ordering(rename), 7, **STATE | {"room_name": "Coffee"}))
    assert watcher.check_step() == []


def test_step_of_the_last_leave(tea_room: Database, watcher: Watcher) -> None:
    """The state before the wipe, with what the same step brought on top."""
    with tea_room.connection.transaction():
        tea_room.do("rename", ROOM, ANNA, "Coffee")
        leave = tea_room.do("leave", ROOM, ANNA)
        tea_room.connection.execute("DELETE FROM sliding_sync_joined_rooms")
        row = snapshot(ANNA, leave, tea_room.ordering(leave), "leave", **STATE)
        tea_room.write(SNAPSHOTS, row)
    assert columns(watcher.check_step()) == [(ANNA, "room_name")]
    watcher.accept_step()


def test_step_of_a_rejected_remote_invite_inherits(tea_room: Database, watcher: Watcher) -> None:
    invite = tea_room.do("remote_invite", REMOTE, BOB, BOSS, STRIPPED)
    row = snapshot(BOB, invite, tea_room.ordering(invite), "invite", sender=BOSS, room_id=REMOTE)
    row |= {"room_type": "m.space", "room_name": "Far"}
    tea_room.write(SNAPSHOTS, row)
    assert watcher.check_step() == []

    leave = tea_room.do("reject_remote_invite", REMOTE, BOB)
    row |= {
        "membership_event_id": leave,
        "event_stream_ordering": tea_room.ordering(leave),
        "membership": "leave",
    }
    tea_room.write(SNAPSHOTS, row | {"sender": BOB, "room_name": None})
    assert columns(watcher.check_step()) == [(BOB, "room_name")]


def test_step_of_a_leave_without_a_row_reads_the_earlier_invite(tea_room: Database, watcher: Watcher) -> None:
    tea_room.do("remote_invite", REMOTE, BOB, BOSS, STRIPPED)
    watcher.accept_step()
    leave = tea_room.do("reject_remote_invite", REMOTE, BOB)
    row = snapshot(BOB, leave, tea_room.ordering(leave), "leave", room_id=REMOTE, room_type="m.space")
    tea_room.write(SNAPSHOTS, row)
    assert columns(watcher.check_step()) == [(BOB, "room_name")]


def test_step_of_an_invite_that_enters_current_state(tea_room: Database, watcher: Watcher) -> None:
    """An out-of-band invite to a room that another local user joins: no new membership, but a new history."""
    invite = tea_room.do("remote_invite", REMOTE, BOB, BOSS, STRIPPED)
    row = snapshot(BOB, invite, tea_room.ordering(invite), "invite", sender=BOSS, room_id=REMOTE)
    tea_room.write(SNAPSHOTS, row | {"room_type": "m.space", "room_name": "Far"})
    watcher.accept_step()

    state = ["m.room.create", "", "{}", "m.room.name", "", '{"name": "Near"}']
    tea_room.connection.execute("SELECT remote_join(%s, %s, %s, VARIADIC %s)", [REMOTE, ANNA, [BOSS], state])
    (join,) = tea_room.connection.execute(
        "SELECT event_id FROM local_current_membership WHERE user_id = %s AND room_id = %s", [ANNA, REMOTE]
    ).fetchone()  # type: ignore[misc]
    ordering = tea_room.ordering(join)
    tea_room.write(
        JOINED_ROOMS, joined_room(ordering, None, room_id=REMOTE, room_name="Near") | {"room_id": REMOTE}
    )
    tea_room.write(SNAPSHOTS, snapshot(ANNA, join, ordering, "join", room_id=REMOTE, room_name="Near"))
    assert columns(watcher.check_step()) == [(BOB, "room_type"), (BOB, "room_name")]


def test_step_of_a_purged_room(tea_room: Database, watcher: Watcher) -> None:
    tea_room.connection.execute("DELETE FROM sliding_sync_membership_snapshots")
    tea_room.connection.execute("DELETE FROM sliding_sync_joined_rooms")
    tea_room.do("purge_room", ROOM)
    assert watcher.check_step() == []


def test_step_of_a_forget(tea_room: Database, watcher: Watcher) -> None:
    tea_room.do("forget", ROOM, BOB)
    assert columns(watcher.check_step()) == [(BOB, "forgotten")]
