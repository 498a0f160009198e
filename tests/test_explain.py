"""explain_user() and explain_room() tell a person why: each verdict where somebody would need it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from harness.cluster import Cluster
from lists.homeserver import copy_of, create_template, grant_reading
from synthetic.database import connect

Connection = psycopg.Connection[Any]

ANNA, BERT, PEST = "@anna:hs.test", "@bert:hs.test", "@pest:remote.test"
ROOM, OTHER = "!r:hs.test", "!other:hs.test"


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> Iterator[str]:
    yield create_template(cluster, "explained")
    cluster.drop_database("explained")


@pytest.fixture
def connection(cluster: Cluster, template: str) -> Iterator[Connection]:
    """Anna's room, which Bert is in; asked about by a superuser."""
    with copy_of(cluster, template) as owner, connect(cluster, owner.info.dbname, "postgres") as connection:
        connection.execute("SELECT create_room(%s, %s, name => 'Tea')", [ROOM, ANNA])
        connection.execute('SELECT "join"(%s, %s)', [ROOM, BERT])
        yield connection


def explain(connection: Connection, user: str = BERT, room: str | None = ROOM) -> list[tuple[str, int | None, str, str | None]]:
    rows = connection.execute("SELECT * FROM sliding_sync.explain_user(%s, %s)", [user, room]).fetchall()
    assert room is None or [row[0] for row in rows] == [room]
    return [row[1:] for row in rows]


def repair(connection: Connection, remedy: str | None) -> None:
    """The remedy is a statement that helps."""
    assert remedy and connection.execute(remedy).rowcount > 0  # type: ignore[arg-type]
    assert explain(connection)[0][0] == "listed"


def test_listed(connection: Connection) -> None:
    connection.execute("SELECT create_room(%s, %s)", [OTHER, ANNA])
    connection.execute('SELECT "join"(%s, %s)', [OTHER, BERT])
    assert explain(connection) == [("listed", 1, "The user is in this room; it is shown as 'Tea'.", None)]
    assert explain(connection, room=OTHER) == [("listed", 0, "The user is in this room; it has no name.", None)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("SELECT kick('!r:hs.test', '@bert:hs.test', '@anna:hs.test')", "removed by @anna:hs.test"),
        ("SELECT ban('!r:hs.test', '@bert:hs.test', '@anna:hs.test')", "banned by @anna:hs.test"),
        ("SELECT leave('!r:hs.test', '@bert:hs.test'), knock('!r:hs.test', '@bert:hs.test')", "asked to be let in"),
        ("SELECT leave('!r:hs.test', '@bert:hs.test'), invite('!r:hs.test', '@bert:hs.test', '@anna:hs.test')", "invited by @anna:hs.test"),
    ],
)
def test_listed_though_not_joined(connection: Connection, change: str, words: str) -> None:
    connection.execute(change)  # type: ignore[arg-type]
    ((verdict, place, detail, _),) = explain(connection)
    assert (verdict, place) == ("listed", 0) and words in detail


def test_own_leave(connection: Connection) -> None:
    connection.execute("SELECT leave(%s, %s)", [ROOM, BERT])
    ((verdict, place, detail, remedy),) = explain(connection)
    assert (verdict, place) == ("hidden_own_leave", None)
    assert "left this room" in detail and remedy is not None


def test_forgotten(connection: Connection) -> None:
    connection.execute("SELECT kick(%s, %s, %s)", [ROOM, BERT, ANNA])
    assert explain(connection)[0][0] == "listed"
    connection.execute("SELECT forget(%s, %s)", [ROOM, BERT])
    ((verdict, _, detail, _),) = explain(connection)
    assert verdict == "hidden_forgotten" and "forgotten" in detail


def test_ignored_inviter(connection: Connection) -> None:
    connection.execute("SELECT remote_invite('!far:remote.test', %s, %s)", [BERT, PEST])
    connection.execute("UPDATE rooms SET room_version = '10' WHERE room_id = '!far:remote.test'")
    assert explain(connection, room="!far:remote.test")[0][0] == "listed"
    connection.execute("INSERT INTO ignored_users VALUES (%s, %s)", [BERT, PEST])
    ((verdict, _, detail, remedy),) = explain(connection, room="!far:remote.test")
    assert verdict == "hidden_ignored_inviter" and PEST in detail and PEST in str(remedy)


def test_unknown_version(connection: Connection) -> None:
    connection.execute("UPDATE rooms SET room_version = 'org.example.odd'")
    ((verdict, _, detail, _),) = explain(connection)
    assert verdict == "hidden_unknown_version" and "'org.example.odd'" in detail
    connection.execute("UPDATE rooms SET room_version = NULL")
    ((verdict, _, detail, _),) = explain(connection)
    assert verdict == "hidden_unknown_version" and "does not know the version" in detail


def test_not_a_member(connection: Connection) -> None:
    ((verdict, place, detail, _),) = explain(connection, user="@nobody:hs.test")
    assert (verdict, place) == ("not_a_member", None) and "never" in detail
    ((verdict, _, detail, _),) = explain(connection, room="!unknown:hs.test")
    assert verdict == "not_a_member" and "misspelt" in detail
    assert explain(connection, user="@nobody:hs.test", room=None) == []


def test_not_a_member_and_listed(connection: Connection) -> None:
    """What no triggers saw go: the list shows a room that the user has nothing to do with."""
    connection.execute("SET sliding_sync.enabled = off; DELETE FROM local_current_membership WHERE user_id = '@bert:hs.test'")
    ((verdict, _, detail, remedy),) = explain(connection)
    assert verdict == "not_a_member" and "a user who is no member" in detail
    assert remedy and connection.execute(remedy).rowcount > 0  # type: ignore[arg-type]
    assert "never" in explain(connection)[0][2]


def test_words_and_no_columns(connection: Connection) -> None:
    """Whatever is wrong, it is said without the names of tables and columns."""
    derived = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
    names = {
        name
        for table in ("sliding_sync_joined_rooms", "sliding_sync_membership_snapshots")
        for (name,) in connection.execute(derived, [f"homeserver.{table}"]).fetchall()
    }
    for name in names - {"room_id", "user_id"}:  # a key's row is missing, or should not be there
        words = connection.execute("SELECT sliding_sync.difference_in_words(%s, '1', '0')", [name]).fetchall()[0][0]
        assert "_" not in words, name


def test_membership_without_a_row(connection: Connection) -> None:
    connection.execute("DELETE FROM sliding_sync_membership_snapshots WHERE user_id = %s", [BERT])
    ((verdict, place, detail, remedy),) = explain(connection)
    assert (verdict, place) == ("row_missing", None) and "the user's own entry" in detail
    repair(connection, remedy)


def test_room_without_a_row(connection: Connection) -> None:
    connection.execute("DELETE FROM sliding_sync_joined_rooms")
    ((verdict, _, detail, remedy),) = explain(connection)
    assert verdict == "row_missing" and "the room's own entry" in detail
    repair(connection, remedy)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("UPDATE sliding_sync_joined_rooms SET room_name = 'Coffee'", "its name is 'Coffee', but should be 'Tea'"),
        ("UPDATE sliding_sync_membership_snapshots SET forgotten = 1", "hidden as if the user had forgotten it"),
        ("UPDATE sliding_sync_joined_rooms SET is_encrypted = true", "it is not encrypted, and counts as encrypted"),
        ("UPDATE sliding_sync_joined_rooms SET room_type = 'm.space'", "its type is 'm.space', but should be none"),
        ("UPDATE sliding_sync_membership_snapshots SET membership = 'ban'", "the user's membership is 'ban', but should be 'join'"),
        ("UPDATE sliding_sync_joined_rooms SET bump_stamp = NULL", "newest message, which clients sort by, is missing, but should be"),
    ],
)
def test_wrong_row(connection: Connection, spoil: str, words: str) -> None:
    connection.execute(spoil)  # type: ignore[arg-type]
    ((verdict, place, detail, remedy),) = explain(connection)
    assert (verdict, place) == ("row_wrong", None) and words in detail
    repair(connection, remedy)


def test_queued(connection: Connection) -> None:
    connection.execute("INSERT INTO sliding_sync_joined_rooms_to_recalculate VALUES (%s)", [ROOM])
    ((verdict, _, detail, remedy),) = explain(connection)
    assert verdict == "queued" and "put this room aside" in detail
    connection.execute("CALL sliding_sync.backfill()")
    connection.execute(remedy)  # type: ignore[arg-type]
    assert explain(connection)[0][0] == "listed"


def test_the_first_that_applies(connection: Connection) -> None:
    """A wrong row of a forgotten room in the queue is a wrong row first."""
    connection.execute("SELECT kick(%s, %s, %s), forget(%s, %s)", [ROOM, BERT, ANNA, ROOM, BERT])
    connection.execute("INSERT INTO sliding_sync_joined_rooms_to_recalculate VALUES (%s)", [ROOM])
    connection.execute("UPDATE sliding_sync_membership_snapshots SET sender = %s WHERE user_id = %s", [BERT, BERT])
    verdicts = [explain(connection)[0][0]]
    connection.execute("SELECT * FROM sliding_sync.repair()")
    verdicts.append(explain(connection)[0][0])
    connection.execute("DELETE FROM sliding_sync_joined_rooms_to_recalculate")
    verdicts.append(explain(connection)[0][0])
    assert verdicts == ["row_wrong", "queued", "hidden_forgotten"]


def test_every_membership(connection: Connection) -> None:
    connection.execute("SELECT create_room(%s, %s)", [OTHER, ANNA])
    connection.execute("SELECT create_room('!left:hs.test', %s), leave('!left:hs.test', %s)", [ANNA, ANNA])
    rows = connection.execute("SELECT room_id, verdict, place FROM sliding_sync.explain_user(%s)", [ANNA]).fetchall()
    assert rows == [(OTHER, "listed", 0), (ROOM, "listed", 1), ("!left:hs.test", "hidden_own_leave", None)]


# -- explain_room


def columns(connection: Connection, room: str = ROOM) -> dict[str, tuple[Any, ...]]:
    rows = connection.execute("SELECT * FROM sliding_sync.explain_room(%s)", [room]).fetchall()
    return {row[0]: row[1:] for row in rows}


def test_a_column_and_its_event(connection: Connection) -> None:
    event = connection.execute("SELECT rename(%s, %s, 'Coffee')", [ROOM, ANNA]).fetchall()[0][0]
    found = columns(connection)
    table = "SELECT column_name FROM information_schema.columns WHERE table_name = 'sliding_sync_joined_rooms' ORDER BY ordinal_position"
    assert list(found) == [name for (name,) in connection.execute(table)]  # type: ignore[arg-type]
    assert found["room_name"] == ("Coffee", "Coffee", event, 'The field "name" of the current event m.room.name', "right")
    assert found["event_stream_ordering"][2] == event
    assert found["is_encrypted"][2:4] == (None, "Current state has no event m.room.encryption")
    assert {row[-1] for row in found.values()} == {"right"}


def test_a_redacted_name(connection: Connection) -> None:
    event = connection.execute("SELECT rename(%s, %s, 'Coffee')", [ROOM, ANNA]).fetchall()[0][0]
    connection.execute("SELECT redact(%s, %s, %s)", [ROOM, ANNA, event])
    expected, actual, source, rule, verdict = columns(connection)["room_name"]
    assert (expected, actual, source, verdict) == (None, None, event, "right") and "redacted" in rule


def test_rows_that_are_not_right(connection: Connection) -> None:
    connection.execute("UPDATE sliding_sync_joined_rooms SET room_name = 'Coffee', room_type = 'x'")
    found = columns(connection)
    assert found["room_name"][:2] == ("Tea", "Coffee") and found["room_name"][-1] == "wrong"
    assert {name for name, row in found.items() if row[-1] == "wrong"} == {"room_name", "room_type"}
    connection.execute("DELETE FROM sliding_sync_joined_rooms")
    assert {row[1] for row in columns(connection).values()} == {None}
    assert {row[-1] for row in columns(connection).values()} == {"row_missing"}


def test_rooms_without_a_row(connection: Connection) -> None:
    assert {row[-1] for row in columns(connection, "!unknown:hs.test").values()} == {"no_row"}
    connection.execute("INSERT INTO rooms (room_id) VALUES ('!old:hs.test')")
    connection.execute(
        "INSERT INTO sliding_sync_joined_rooms SELECT '!old:hs.test', min(stream_ordering), NULL, NULL, 'Old', false, NULL"
        " FROM events"
    )
    assert {row[-1] for row in columns(connection, "!old:hs.test").values()} == {"row_extra"}


# -- who may ask


def test_rights(cluster: Cluster, connection: Connection) -> None:
    """Whoever may read the tables and call what judges them; what is missing is named, with its GRANT."""
    database = connection.info.dbname
    cluster.create_role("explained_to")
    for _ in range(20):
        with cluster.connect(database, "explained_to") as session:
            try:
                session.execute("SELECT * FROM sliding_sync.explain_user(%s)", [BERT]).fetchall()
                session.execute("SELECT * FROM sliding_sync.explain_room(%s)", [ROOM]).fetchall()
                break
            except psycopg.errors.InsufficientPrivilege as error:
                assert str(error.diag.message_hint).startswith("GRANT ")
                connection.execute(error.diag.message_hint)  # type: ignore[arg-type]
    else:
        raise AssertionError("the hints do not help")
    connection.execute("DROP OWNED BY explained_to")
    grant_reading(cluster, database, "explained_to")
    with cluster.connect(database, "explained_to") as session:
        session.execute("SET default_transaction_read_only = on")
        assert session.execute("SELECT verdict FROM sliding_sync.explain_user(%s)", [BERT]).fetchall() == [("listed",)]
    connection.execute("DROP OWNED BY explained_to")
