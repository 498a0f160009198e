"""Derived rows that somebody spoiled, and failures whose way out is blocked: the homeserver's transaction goes through, and every
row that is there is right."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from harness.cluster import Cluster
from oracle import check
from oracle.finding import JOINED_ROOMS, ROW, SNAPSHOTS
from schemas import OPERATIONS, SCHEMA, make_homeserver

Connection = psycopg.Connection[Any]

ANNA, BERT = "@anna:hs.test", "@bert:hs.test"
A, B, C = (f"!{name}:hs.test" for name in "abc")
TIMES = 10  # more than a breaker takes


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> str:
    name = cluster.create_database("bad_rows_template")
    make_homeserver(cluster, name)
    with connect(cluster, name) as connection:
        for room in (A, B, C):
            connection.execute("SELECT create_room(%s, %s, name => 'Old')", (room, ANNA))
            connection.execute('SELECT "join"(%s, %s)', (room, BERT))
            message(connection, room)
    return name


@pytest.fixture
def database(cluster: Cluster, template: str) -> Iterator[str]:
    cluster.drop_database("bad_rows")  # left behind where a server went down
    name = cluster.create_database("bad_rows", template=template)
    yield name
    cluster.drop_database(name)


@pytest.fixture
def connection(cluster: Cluster, database: str) -> Iterator[Connection]:
    with connect(cluster, database) as connection:
        yield connection


def connect(cluster: Cluster, database: str) -> Connection:
    connection = cluster.connect(database)
    connection.execute(f"SET search_path = {OPERATIONS}, {SCHEMA}")
    connection.execute("SET client_min_messages = error")
    return connection


# -- what homeservers do


def message(connection: Connection, room: str) -> str:
    return str(one(connection, "SELECT send_message(%s, %s)", room, ANNA))


def rename(connection: Connection, room: str, name: str = "New") -> str:
    return str(one(connection, "SELECT rename(%s, %s, %s)", room, ANNA, name))


def join(connection: Connection, room: str, user: str = "@carl:hs.test") -> str:
    return str(one(connection, 'SELECT "join"(%s, %s)', room, user))


def touch(connection: Connection, *rooms: str) -> None:
    """Whatever the row says is looked at, and nothing changes."""
    connection.execute(
        "UPDATE events SET rejection_reason = CASE WHEN rejection_reason IS NULL THEN 'x' END"
        " WHERE type = 'm.room.join_rules' AND room_id = ANY (%s)",
        [list(rooms)],
    )


def one(connection: Connection, query: str, *arguments: object) -> Any:
    row = connection.execute(query, arguments).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row[0]


@contextmanager
def unwatched(connection: Connection) -> Iterator[None]:
    """As a script does that switches all triggers off."""
    connection.execute("SET session_replication_role = replica; SET sliding_sync.enabled = off")
    yield
    connection.execute("RESET session_replication_role; RESET sliding_sync.enabled")


def judge(connection: Connection, absent: set[tuple[str, ...]] = frozenset()) -> None:  # type: ignore[assignment]
    """All is right, but that these rows may be absent."""
    wrong = [
        finding
        for finding in check(connection, SCHEMA)
        if not ((finding.column, finding.actual) == (ROW, "absent") and finding.key in absent)
    ]
    assert not wrong, "\n".join(map(str, wrong))


def judge_after_failures(connection: Connection, room: str) -> None:
    """The breaker of this room may be open for a while yet: what is absent is noted."""
    absent = {finding.key for finding in check(connection, SCHEMA) if (finding.column, finding.actual) == (ROW, "absent")}
    judge(connection, {key for key in absent if key[0] == room})
    assert absent <= {tuple(part for part in note if part) for note in noted(connection)}


def noted(connection: Connection) -> set[tuple[str | None, ...]]:
    return set(connection.execute("SELECT room_id, user_id FROM sliding_sync.quarantine").fetchall())


# -- rows of another key that hold an ordering


CHANGES: dict[str, Callable[[Connection, str], object]] = {
    "message": message,
    "name": rename,
    "join": join,
    "update": touch,
    "two messages": lambda connection, room: connection.execute(
        "SELECT send_message(%s, %s), send_message(%s, %s)", (room, ANNA, room, ANNA)
    ),
}


def set_sequence_back(connection: Connection) -> None:
    """As after a copy without sequences."""
    connection.execute("SELECT setval('events_stream_seq', (SELECT max(stream_ordering) FROM events))")


@pytest.mark.parametrize("change", [name for name in CHANGES if name != "update"])
def test_rows_of_a_room_that_is_gone(connection: Connection, change: str) -> None:
    """Theirs are the orderings that come next."""
    with unwatched(connection):
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
    with unwatched(connection):
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
    with unwatched(connection):
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
    with unwatched(connection):
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


# -- the way out of a failure is blocked


@contextmanager
def held(cluster: Cluster, database: str, lock: str) -> Iterator[None]:
    """By somebody else, for as long as the block lasts."""
    with connect(cluster, database) as holder, holder.transaction(force_rollback=True):
        holder.execute(lock)  # type: ignore[arg-type]
        yield


def counters(connection: Connection) -> dict[tuple[str, str], float]:
    rows = connection.execute(
        "SELECT name, labels::text, value FROM sliding_sync.metrics WHERE name LIKE '%\\_total' AND name NOT LIKE '%table%'"
    ).fetchall()
    return {(name, labels): value for name, labels, value in rows}


@pytest.mark.parametrize("fault", ["current_state", "rooms_of_state_events", "*"])
@pytest.mark.parametrize("lock", ["LOCK TABLE sliding_sync.quarantine", "LOCK TABLE sliding_sync.quarantine IN SHARE MODE"])
def test_a_note_that_cannot_be_written_is_counted(
    cluster: Cluster, database: str, connection: Connection, fault: str, lock: str
) -> None:
    name = rename(connection, A)
    before = counters(connection)
    connection.execute("SET lock_timeout = '50ms'")
    with held(cluster, database, lock):
        connection.execute("SELECT set_config('sliding_sync.fault', %s, false)", [fault])
        for number in range(TIMES):
            rename(connection, A, f"New {number}")
            connection.execute("SELECT redact(%s, %s, %s)", (A, ANNA, name))
            message(connection, A)
        connection.execute("SET sliding_sync.fault = ''")
        # which rooms a redaction concerns may be what could not be read
        absent = {(A,)} if fault == "current_state" else {(room,) for room in (A, B, C)}
        judge(connection, absent)
        rename(connection, B)
        judge(connection, absent - {(B,)})
    after = counters(connection)
    assert any(value > before.get(key, 0) for key, value in after.items()), "nobody would know that rows are absent"


@pytest.mark.parametrize("table", [JOINED_ROOMS, SNAPSHOTS])
def test_a_derived_table_that_somebody_locks(
    cluster: Cluster, database: str, connection: Connection, table: str
) -> None:
    """Whether its rows are still right nobody can tell: the homeserver's own lock_timeout ends its transaction, not the server."""
    connection.execute("SET lock_timeout = '50ms'")
    with held(cluster, database, f"LOCK TABLE {table}"):
        for number in range(TIMES + 2):
            with pytest.raises(psycopg.errors.LockNotAvailable):
                if table == JOINED_ROOMS:
                    rename(connection, A, f"New {number}")
                else:
                    join(connection, A, f"@new{number}:hs.test")
    judge(connection)
    for number in range(3):
        rename(connection, A, f"Newer {number}")
        join(connection, A, f"@newer{number}:hs.test")
        rename(connection, B, f"Newer {number}")
    judge_after_failures(connection, A)


@pytest.mark.parametrize("change", ["message", "name", "join"])
def test_a_row_that_somebody_locks(cluster: Cluster, database: str, connection: Connection, change: str) -> None:
    connection.execute("SET lock_timeout = '50ms'")
    with held(cluster, database, f"SELECT FROM {JOINED_ROOMS} WHERE room_id = '{A}' FOR UPDATE"):
        for _ in range(TIMES):
            with pytest.raises(psycopg.errors.LockNotAvailable):
                CHANGES[change](connection, A)
            CHANGES[change](connection, B)
    judge(connection)
    CHANGES[change](connection, A)
    judge_after_failures(connection, A)


def test_several_sessions_fail_and_none_waits_for_the_others(
    cluster: Cluster, database: str, connection: Connection
) -> None:
    def fail(room: str, failures: list[BaseException]) -> None:
        try:
            with connect(cluster, database) as session:
                session.execute("SET sliding_sync.fault = 'current_state'")
                for number in range(TIMES):
                    rename(session, room, f"New {number}")
        except BaseException as failure:
            failures.append(failure)

    failures: list[BaseException] = []
    threads = [threading.Thread(target=fail, args=(room, failures)) for room in (A, B, C)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    judge(connection, {(A,), (B,), (C,)})


JAPAN = "\u65e5\u672c"
REFUSE_JAPAN = f"""
    CREATE FUNCTION operations.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.room_name LIKE '{JAPAN}%' THEN RAISE EXCEPTION USING MESSAGE = NEW.room_name, DETAIL = NEW.room_name; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {JOINED_ROOMS} FOR EACH ROW EXECUTE FUNCTION operations.refuse();
"""


@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "KOI8R", "EUC_KR"])
def test_a_warning_that_the_client_cannot_read(connection: Connection, encoding: str) -> None:
    """The error's text, or the room's id, has no equivalent in the client's encoding."""
    thai = "!\u0e44\u0e17\u0e22:hs.test"
    connection.execute("SELECT create_room(%s, %s)", (thai, ANNA))
    connection.execute(REFUSE_JAPAN)
    connection.execute("SET client_min_messages = warning")
    name = '{"name": "\\u65e5\\u672c"}'
    for _ in range(TIMES):
        connection.execute(f"SET client_encoding = '{encoding}'")
        connection.execute("SELECT set_state(%s, %s, 'm.room.name', '', %s)", (A, ANNA, name))
        connection.execute("SET sliding_sync.fault = 'current_state'")
        connection.execute(
            "SELECT rename(room_id, sender, 'New') FROM events WHERE room_id LIKE '!_%:hs.test' AND room_id > '!~'"
            " AND type = 'm.room.create'"
        )
        connection.execute("SET sliding_sync.fault = ''")
        connection.execute("SET client_encoding = 'UTF8'")
        judge(connection, {(A,), (thai,)})
    assert {(A, None), (thai, None)} <= noted(connection)
    assert one(connection, "SELECT count(*) FROM events WHERE type = 'm.room.name'") == 3 + 2 * TIMES


# -- one bad room among healthy ones


def test_a_room_that_always_fails_costs_no_other(connection: Connection) -> None:
    rooms = [f"!h{number}:hs.test" for number in range(12)]
    for room in rooms:
        connection.execute("SELECT create_room(%s, %s)", (room, ANNA))
    connection.execute(f"ALTER TABLE {JOINED_ROOMS} ADD CONSTRAINT no_poison CHECK (room_name NOT LIKE 'poison%')")
    for number in range(3 * TIMES):
        rename(connection, A, f"poison {number}")
        with connection.transaction():
            for room in (*rooms[:5], A, *rooms[5:]):
                rename(connection, room, f"poison {number}" if room == A else f"fine {number}")
        rename(connection, rooms[number % len(rooms)], f"finer {number}")
        message(connection, rooms[-1])
        judge(connection, {(A,)})
    assert noted(connection) == {(A, None)}
    assert one(connection, "SELECT count(*) FROM sliding_sync.quarantine WHERE room_id <> %s", A) == 0
    connection.execute(f"ALTER TABLE {JOINED_ROOMS} DROP CONSTRAINT no_poison")
    rename(connection, A, "sane")
    judge(connection)


def test_many_rooms_that_fail_once_or_twice_open_no_breaker(connection: Connection) -> None:
    """Each of them is tried."""
    rooms = [f"!h{number}:hs.test" for number in range(20)]
    for room in rooms:
        connection.execute("SELECT create_room(%s, %s)", (room, ANNA))
    connection.execute(f"ALTER TABLE {JOINED_ROOMS} ADD CONSTRAINT no_poison CHECK (room_name NOT LIKE 'poison%')")
    for _ in range(2):
        for room in rooms:
            rename(connection, room, "poison")
    rename(connection, A)
    judge(connection, {(room,) for room in rooms})
    for room in rooms:
        rename(connection, room, "sane")  # without a look at the catalog in between
    judge(connection)
    reasons = {reason for (reason,) in connection.execute("SELECT reason FROM sliding_sync.quarantine")}
    assert reasons <= {"refresh_failed"}


def test_a_success_closes_the_breaker(connection: Connection) -> None:
    connection.execute(f"ALTER TABLE {JOINED_ROOMS} ADD CONSTRAINT no_poison CHECK (room_name NOT LIKE 'poison%')")
    for _ in range(5):
        for _ in range(6):
            rename(connection, A, "poison")
        rename(connection, A, "sane")
        judge(connection)


def test_a_member_that_always_fails_costs_no_other(connection: Connection) -> None:
    connection.execute(f"ALTER TABLE {SNAPSHOTS} ADD CHECK (user_id <> '@poison:hs.test') NOT VALID")
    for number in range(TIMES + 2):
        join(connection, A, "@poison:hs.test")
        join(connection, A, f"@new{number}:hs.test")
        rename(connection, A, f"New {number}")
        judge(connection, {(A, "@poison:hs.test")})
    assert noted(connection) == {(A, "@poison:hs.test")}
