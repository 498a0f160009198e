"""What the triggers add to a homeserver's transaction grows no worse than its size: counted in rows read, and in the backend's
processor time. `bench/growth-live` prints the figures for bigger ones."""

from __future__ import annotations

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from synthetic.database import ANNA, OWNER, assert_nothing_in_quarantine, connect, copied
from synthetic.growth import SCENARIOS, Scenario, cost

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
