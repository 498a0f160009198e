"""What the triggers add to a homeserver's transaction grows no worse than its size: counted in rows read, and in the backend's
processor time. `bench/growth-live` prints the figures for bigger ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest

from harness.cluster import Cluster
from schemas import OPERATIONS, SCHEMA, make_homeserver
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


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> str:
    name = cluster.create_database("growth_template")
    make_homeserver(cluster, name)
    return name


@pytest.fixture
def database(cluster: Cluster, template: str) -> Iterator[str]:
    yield "growth"
    cluster.drop_database("growth")


def added(cluster: Cluster, template: str, database: str, scenario: Scenario, n: int) -> tuple[int, int]:
    """Nanoseconds and rows beyond those of the same transaction without the triggers."""
    cluster.drop_database(database)
    cluster.create_database(database, template=template)
    with cluster.connect(database) as connection:
        connection.execute(f"SET search_path = {OPERATIONS}, {SCHEMA}")
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
def test_no_more_than_its_size(cluster: Cluster, template: str, database: str, scenario: Scenario, n: int) -> None:
    small_time, small_rows = added(cluster, template, database, scenario, n)
    big_time, big_rows = added(cluster, template, database, scenario, TIMES * n)
    print(f"{scenario.name}: {n}: {small_time / 1e6:.1f} ms, {small_rows} rows; {TIMES * n}: {big_time / 1e6:.1f} ms, {big_rows} rows")
    assert big_rows <= MOST_ROWS * max(small_rows, n)
    assert big_time <= MOST_TIME * max(small_time, FLOOR / TIMES)


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
}


@pytest.mark.parametrize("case", PASTS)
def test_a_flush_does_not_pay_for_the_past(cluster: Cluster, template: str, database: str, case: str) -> None:
    n, past = PASTS[case]
    pages = []
    for size in (n, TIMES * n):
        cluster.drop_database(database)
        cluster.create_database(database, template=template)
        with cluster.connect(database) as connection:
            connection.execute(f"SET search_path = {OPERATIONS}, {SCHEMA}")
            pages.append(past.pages(connection, size))
    print(f"{case}: {n}: {pages[0]} pages; {TIMES * n}: {pages[1]} pages")
    assert pages[1] <= past.most * pages[0]
