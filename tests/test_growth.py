"""What the triggers add to a homeserver's transaction grows no worse than its size: counted in rows read, and in the backend's
processor time. `bench/growth-live` prints the figures for bigger ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from synthetic.database import ANNA, OWNER, assert_nothing_in_quarantine, connect, copied
from synthetic.growth import SCENARIOS, Scenario, cost
from synthetic.many_rooms import make_rooms

# Four times the size: linear is 4, n log n a little more, quadratic 16.
TIMES = 4
MOST_ROWS, MOST_TIME = 5.0, 8.0
FLOOR = 20e6  # nanoseconds: what is less than that cannot be told from noise
LONG = 200e6  # and what is more than that need not be measured twice


# A quarter of what the bench begins with; what compares keys in memory has to be bigger to be seen.
SMALL = {scenario.name: scenario.start // 4 for scenario in SCENARIOS} | {
    "rooms with a message each, no state": 8000,
    "rooms deleted with ten members each": 500,
}
PLAYS = [
    *(pytest.param(scenario, SMALL[scenario.name], id=scenario.name) for scenario in SCENARIOS),
    *(pytest.param(scenario, 4 * scenario.start, id=f"{scenario.name}, long", marks=pytest.mark.long) for scenario in SCENARIOS),
]


@pytest.fixture(autouse=True, scope="module")
def no_autovacuum(cluster: Cluster) -> Iterator[None]:
    """It changes tables under the eyes of a transaction, which then reads more: once or not at all, as it happens."""
    cluster.execute("ALTER SYSTEM SET autovacuum = off")
    cluster.execute("SELECT pg_reload_conf()")
    yield
    cluster.execute("ALTER SYSTEM RESET autovacuum")
    cluster.execute("SELECT pg_reload_conf()")


def added(cluster: Cluster, template: str, scenario: Scenario, n: int) -> tuple[int, int]:
    """Nanoseconds and rows beyond those of the same transaction without the triggers."""
    with copied(cluster, template) as database, connect(cluster, database, SUPERUSER) as connection:
        scenario.populate(connection, n)
        without, with_it = [], []
        while len(with_it) < 2 and (not with_it or with_it[0].nanoseconds < LONG):  # the first one makes plans
            without.append(cost(connection, scenario, n, enabled=False))
            with_it.append(cost(connection, scenario, n, enabled=True))
        return (
            min(each.nanoseconds for each in with_it) - min(each.nanoseconds for each in without),
            with_it[-1].rows_read - without[-1].rows_read,
        )


@pytest.mark.parametrize(("scenario", "n"), PLAYS)
def test_no_more_than_its_size(cluster: Cluster, empty_homeserver: str, scenario: Scenario, n: int) -> None:
    small_time, small_rows = added(cluster, empty_homeserver, scenario, n)
    big_time, big_rows = added(cluster, empty_homeserver, scenario, TIMES * n)
    print(f"{scenario.name}: {n}: {small_time / 1e6:.1f} ms, {small_rows} rows; {TIMES * n}: {big_time / 1e6:.1f} ms, {big_rows} rows")
    assert big_rows <= MOST_ROWS * max(small_rows, n)
    assert big_time <= MOST_TIME * max(small_time, FLOOR / TIMES)


# -- a room with very many members


MEMBERS, LOCAL_MEMBERS, ONE_BY_ONE = 100_000, 200, 1_000

# Each member by a number; the first ones are local users.
_MEMBERS = """
    CREATE TEMP VIEW members AS SELECT '$m' || n AS event_id, '!big:hs.test' AS room_id, 10 + n AS ordering,
        format('@u%%s:%%s', n, CASE WHEN n <= %(local)s THEN 'hs.test' ELSE 'remote.test' END) AS user_id,
        n <= %(local)s AS is_local FROM generate_series(1, %(members)s) n
"""
_STORE = (
    "INSERT INTO event_json SELECT event_id, room_id, '{}', '{\"content\": {\"membership\": \"join\"}}', 3"
    " FROM members",
    "INSERT INTO events (instance_name, stream_ordering, topological_ordering, event_id, room_id, type,"
    " processed, outlier, sender, state_key) SELECT 'master', ordering, ordering, event_id, room_id,"
    " 'm.room.member', true, false, user_id, user_id FROM members",
    "INSERT INTO room_memberships (event_id, event_stream_ordering, user_id, sender, room_id, membership)"
    " SELECT event_id, ordering, user_id, user_id, room_id, 'join' FROM members",
)
_LEAVE_CURRENT_STATE = "DELETE FROM current_state_events WHERE (room_id, type, state_key) = (%s, %s, %s)"
_ENTER_CURRENT_STATE = "INSERT INTO current_state_events VALUES (%s, %s, %s, %s, 'join', %s)"
_ENTER_CURRENT_STATE_TOGETHER = (
    "INSERT INTO current_state_events SELECT event_id, room_id, 'm.room.member', user_id, 'join', ordering"
    " FROM members WHERE ordering > %s"
)
_BECOME_LOCAL = (
    "INSERT INTO local_current_membership SELECT room_id, user_id, event_id, 'join', ordering"
    " FROM members WHERE is_local"
)


def test_a_room_with_a_hundred_thousand_members(cluster: Cluster, tea_room: str) -> None:
    """H17: all of them come in one transaction, and go in another, in which the local ones leave (H7)."""
    numbers = {"local": LOCAL_MEMBERS, "members": MEMBERS}
    with copied(cluster, tea_room, owner=OWNER) as database, connect(cluster, database) as connection:
        connection.execute("SELECT create_room('!big:hs.test', %s, name => 'Big')", (ANNA,))
        view = psycopg.ClientCursor(connection).mogrify(_MEMBERS, numbers)  # DDL takes no parameters
        connection.execute(view)  # type: ignore[arg-type]
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            for statement in _STORE:
                connection.execute(statement)  # type: ignore[arg-type]
            # some one by one, as a homeserver does, the others at once
            for number in range(1, ONE_BY_ONE + 1):
                server = "hs.test" if number <= LOCAL_MEMBERS else "remote.test"
                key = ("!big:hs.test", "m.room.member", f"@u{number}:{server}")
                connection.execute(_LEAVE_CURRENT_STATE, key)
                connection.execute(_ENTER_CURRENT_STATE, (f"$m{number}", *key, 10 + number))
            connection.execute(_ENTER_CURRENT_STATE_TOGETHER, (10 + ONE_BY_ONE,))
            connection.execute("SELECT setval('events_stream_seq', 200000)")
            connection.execute("SELECT rename('!big:hs.test', %s, 'Bigger')", (ANNA,))
            connection.execute(_BECOME_LOCAL)
        assert connection.execute(_BIG_ROOM).fetchall() == [(200001, "Bigger")]
        assert connection.execute(_MEMBERS_BY_ROW).fetchall() == [
            ("join", True, "Big", 1),  # Anna was there before
            ("join", True, "Bigger", LOCAL_MEMBERS),
        ]

        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute("DELETE FROM current_state_events WHERE room_id = '!big:hs.test'")
            for statement in _LEAVE:
                connection.execute(statement)  # type: ignore[arg-type]
        assert connection.execute(_BIG_ROOM).fetchall() == []
        everybody = LOCAL_MEMBERS + 1
        assert connection.execute(_MEMBERS_BY_ROW).fetchall() == [("leave", True, "Bigger", everybody)]
        assert_nothing_in_quarantine(cluster, database)


_BIG_ROOM = """
    SELECT event_stream_ordering, room_name FROM sliding_sync_joined_rooms WHERE room_id = '!big:hs.test'
"""
_MEMBERS_BY_ROW = """
    SELECT s.membership, s.has_known_state, s.room_name, count(*) FROM sliding_sync_membership_snapshots s
    JOIN events e ON e.event_id = s.membership_event_id AND e.stream_ordering = s.event_stream_ordering
        AND e.state_key = s.user_id AND e.room_id = s.room_id
    WHERE s.room_id = '!big:hs.test' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
_LEAVE = (
    "INSERT INTO event_json SELECT '$leave' || user_id, room_id, '{}', '{}', 3"
    " FROM local_current_membership WHERE room_id = '!big:hs.test'",
    "INSERT INTO events (stream_ordering, topological_ordering, event_id, room_id, type, processed, outlier,"
    " sender, state_key) SELECT 300000 + row_number() OVER (), 300000, '$leave' || user_id, room_id,"
    " 'm.room.member', true, false, user_id, user_id"
    " FROM local_current_membership WHERE room_id = '!big:hs.test'",
    "UPDATE local_current_membership SET event_id = '$leave' || user_id, membership = 'leave',"
    " event_stream_ordering = NULL WHERE room_id = '!big:hs.test'",
)
# -- what a room has been through, counted in pages: walks over dead rows and long scans read many


@dataclass(frozen=True)
class Past:
    populate: str  # {n}
    transaction: str  # {n}
    most: float  # pages for four times n, over those for n
    members: int = 1  # of the room, by n

    def pages(self, connection: psycopg.Connection, n: int) -> int:
        """Of a second flush: the first one makes plans."""
        make_rooms(connection, 1, members=max(1, self.members * n), span=10**6)
        connection.execute(f"SET session_replication_role = replica; {self.populate.format(n=n)}; RESET session_replication_role")  # type: ignore[arg-type]
        connection.execute("CALL sliding_sync.backfill()")
        connection.execute("VACUUM ANALYZE")
        for _ in range(2):
            connection.execute("BEGIN")
            connection.execute(self.transaction.format(n=n))  # type: ignore[arg-type]
            row = connection.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT sliding_sync.flush()").fetchone()
            connection.execute("ROLLBACK")
        assert row is not None
        plan = row[0][0]["Plan"]
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


_ROOM = "'!room1:hs.test'"
_EVENT = (
    "INSERT INTO events (instance_name, stream_ordering, topological_ordering, depth, event_id, room_id, type, state_key,"
    " processed, outlier, origin_server_ts, received_ts, sender, contains_url)"
    " SELECT 'master', 5000000 + i, i, i, '$past' || i, {room}, {type}, {key}, true, false, 0, 0, {sender}, false"
    " FROM generate_series({first}, {last}) i"
)


def events(last: str, type: str, key: str, sender: str = "'@u1:hs.test'", first: str = "1") -> str:
    return _EVENT.format(room=_ROOM, first=first, last=last, type=f"'{type}'", key=key, sender=sender)


_REMOTE_JOINS = events("{n}", "m.room.member", "'@r' || i || ':far.test'")
_ONE_MORE_JOIN = events("{n} + 1", "m.room.member", "'@r' || i || ':far.test'", first="{n} + 1")
_LEAVES = (
    events("{n}", "m.room.member", "'@u' || i || ':hs.test'")
    + "; INSERT INTO room_memberships (event_id, user_id, sender, room_id, membership)"
    + f" SELECT '$past' || i, '@u' || i || ':hs.test', '@u1:hs.test', {_ROOM}, 'leave' FROM generate_series(1, {{n}}) i"
)
_ALL_LEAVE = (
    "DELETE FROM current_state_events; UPDATE local_current_membership l SET event_id = rm.event_id, membership = 'leave',"
    " event_stream_ordering = NULL FROM room_memberships rm WHERE rm.user_id = l.user_id AND rm.membership = 'leave'"
)
_REFUSED_REDACTIONS = (
    events("{n}", "m.room.redaction", "NULL", sender="'@evil:far.test'")
    + "; INSERT INTO event_json (event_id, room_id, internal_metadata, json, format_version) SELECT event_id, room_id,"
    " '{{\"recheck_redaction\": true}}', '{{\"content\": {{}}, \"x\": \"' || repeat(md5(event_id), 60) || '\"}}', 3"
    " FROM events WHERE event_id LIKE '$past%'"
    "; INSERT INTO redactions (event_id, redacts, received_ts) SELECT event_id, '$room1_2', 0 FROM events"
    " WHERE event_id LIKE '$past%'"
)
_LOCAL_JOIN = (
    events("{n} + 1", "m.room.member", "'@new:hs.test'", first="{n} + 1")
    + "; INSERT INTO event_json (event_id, room_id, internal_metadata, json, format_version)"
    + f" VALUES ('$past' || {{n}} + 1, {_ROOM}, '{{{{}}}}', '{{{{}}}}', 3)"
    + "; INSERT INTO current_state_events (event_id, room_id, type, state_key, membership)"
    + f" VALUES ('$past' || {{n}} + 1, {_ROOM}, 'm.room.member', '@new:hs.test', 'join')"
    + "; INSERT INTO local_current_membership (room_id, user_id, event_id, membership)"
    + f" VALUES ({_ROOM}, '@new:hs.test', '$past' || {{n}} + 1, 'join')"
)
_ONE_MORE_REFUSED = (
    events("{n} + 1", "m.room.redaction", "NULL", sender="'@evil:far.test'", first="{n} + 1")
    + "; INSERT INTO event_json (event_id, room_id, internal_metadata, json, format_version)"
    + f" VALUES ('$past' || {{n}} + 1, {_ROOM}, '{{{{\"recheck_redaction\": true}}}}', '{{{{\"content\": {{{{}}}}}}}}', 3)"
    + "; INSERT INTO redactions (event_id, redacts, received_ts) VALUES ('$past' || {n} + 1, '$room1_2', 0)"
)
_WRITTEN_TOO = "; UPDATE sliding_sync_joined_rooms SET event_stream_ordering = 5000000 + {n} + 1"

PASTS = {
    "members leave a room whose state goes": (2000, Past(_LEAVES, _ALL_LEAVE, 5.0, members=1)),
    "a join that the homeserver writes down too, long after the last message": (
        2000,
        Past(_REMOTE_JOINS, _ONE_MORE_JOIN + _WRITTEN_TOO, 1.5, members=0),
    ),
    "a join where many redactions of the name were refused": (500, Past(_REFUSED_REDACTIONS, _LOCAL_JOIN, 1.5, members=0)),
    "the same, and the homeserver writes the row too": (
        500,
        Past(_REFUSED_REDACTIONS, _LOCAL_JOIN + _WRITTEN_TOO, 1.5, members=0),
    ),
    "one more redaction of the name that is refused": (500, Past(_REFUSED_REDACTIONS, _ONE_MORE_REFUSED, 1.5, members=0)),
    "the same, in a row that the homeserver writes too": (
        500,
        Past(_REFUSED_REDACTIONS, _ONE_MORE_REFUSED + _WRITTEN_TOO, 1.5, members=0),
    ),
}


@pytest.mark.parametrize("case", PASTS)
def test_a_flush_does_not_pay_for_the_past(cluster: Cluster, empty_homeserver: str, case: str) -> None:
    n, past = PASTS[case]
    pages = []
    for size in (n, TIMES * n):
        with copied(cluster, empty_homeserver) as database, connect(cluster, database, SUPERUSER) as connection:
            pages.append(past.pages(connection, size))
    print(f"{case}: {n}: {pages[0]} pages; {TIMES * n}: {pages[1]} pages")
    assert pages[1] <= past.most * pages[0]
