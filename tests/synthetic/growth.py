"""Transactions that may be of any size, and what the triggers add to them: processor time of the backend, and rows read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from synthetic.many_rooms import SPAN, make_rooms

Connection = psycopg.Connection[Any]

NEW = 10**12  # orderings from here on are of events that a scenario adds

_ONE_ROOM, _EACH_ROOM = "'!room1:hs.test'", "'!room' || i || ':hs.test'"


def messages(room: str, numbers: str) -> str:
    """Messages with these numbers i, in the room that `room` makes of them."""
    return (
        "INSERT INTO event_json (event_id, room_id, internal_metadata, json, format_version)"
        f" SELECT '$new' || i, {room}, '{{{{}}}}', '{{{{}}}}', 3 FROM {numbers};"
        " INSERT INTO events (instance_name, stream_ordering, topological_ordering, depth, event_id, room_id, type,"
        " processed, outlier, origin_server_ts, received_ts, sender, contains_url)"
        f" SELECT 'master', {NEW} + i, i, i, '$new' || i, {room}, 'm.room.message', true, false, 0, 0, '@u1:hs.test', false"
        f" FROM {numbers}"
    )


@dataclass(frozen=True)
class Scenario:
    name: str
    start: int  # n, to be doubled
    many: str  # what there are n of: "rooms", "members" or "messages" of the population, or "" for neither
    transaction: str  # {n}
    members: int = 1
    has_rows: bool = True
    loop: str = ""  # a statement that is sent for each i: its number in braces
    prepare: str = ""  # the transaction's beginning, which is not measured
    past: str = ""  # what has happened before anybody watched

    def populate(self, connection: Connection, n: int) -> None:
        make_rooms(
            connection,
            n if self.many == "rooms" else 1,
            members=n if self.many == "members" else self.members,
            messages=n if self.many == "messages" else 1,
            span=max(SPAN, 2 * n) if self.many in ("members", "messages") else SPAN,
        )
        if self.past:
            connection.execute(f"SET sliding_sync.enabled = off; {self.past}; RESET sliding_sync.enabled")  # type: ignore[arg-type]
        if self.has_rows:
            connection.execute("CALL sliding_sync.backfill()")
        connection.execute("VACUUM ANALYZE")

    def statements(self, n: int) -> list[str]:
        if self.loop:
            return [self.loop.format(i=i) for i in range(1, n + 1)]
        return [self.transaction.format(n=n)]


_MEMBERS_GO = (
    "DELETE FROM local_current_membership; DELETE FROM current_state_events; DELETE FROM room_memberships;"
    " DELETE FROM state_events; DELETE FROM event_json"
)
_SAVEPOINT = "SAVEPOINT s; " + messages(_ONE_ROOM, "(SELECT {i} AS i) x")
_UP_TO_N = "generate_series(1, {n}) i"

SCENARIOS = [
    Scenario("rooms with a message each", 2000, "rooms", messages(_EACH_ROOM, _UP_TO_N)),
    Scenario("rooms with a message each, no rows", 2000, "rooms", messages(_EACH_ROOM, _UP_TO_N), has_rows=False),
    Scenario("rooms with a message each, no state", 2000, "rooms", messages(_EACH_ROOM, _UP_TO_N), has_rows=False,
             past="DELETE FROM current_state_events"),  # fmt: skip
    Scenario("messages in one room", 2000, "", messages(_ONE_ROOM, _UP_TO_N)),
    Scenario("savepoints with a message each", 500, "", "", loop=_SAVEPOINT + "; RELEASE SAVEPOINT s"),
    Scenario("savepoints, each rolled back", 500, "", "", loop=_SAVEPOINT + "; ROLLBACK TO SAVEPOINT s"),
    Scenario("names", 1000, "rooms", "UPDATE event_json SET json = replace(json, 'Room ', 'New ') WHERE event_id LIKE '%\\_2'"),
    Scenario("redactions of names", 1000, "rooms", "INSERT INTO redactions (event_id, redacts, received_ts, recheck)"
             " SELECT '$redaction' || i, '$room' || i || '_2', 0, false FROM generate_series(1, {n}) i"),  # fmt: skip
    Scenario("redactions in one room", 1000, "messages", "INSERT INTO redactions (event_id, redacts, received_ts, recheck)"
             " SELECT '$redaction' || i, '$room1_' || 3 + i, 0, false FROM generate_series(1, {n}) i"),  # fmt: skip
    Scenario("rejections in one room", 1000, "messages", "UPDATE events SET rejection_reason = 'x' WHERE type = 'm.room.message'"),
    Scenario("memberships in one room", 1000, "members", "UPDATE room_memberships SET forgotten = 1"),
    Scenario("local memberships written again", 1000, "members",
             "CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM local_current_membership;"
             " DELETE FROM local_current_membership; INSERT INTO local_current_membership SELECT * FROM kept"),  # fmt: skip
    Scenario("members' events deleted at once", 1000, "members", _MEMBERS_GO + "; DELETE FROM events"),
    Scenario("members' events deleted one by one", 250, "members", "", loop="DELETE FROM events WHERE event_id = '$room1_' || {i} + 2",
             prepare=_MEMBERS_GO),  # fmt: skip
    Scenario("messages deleted at once", 1000, "messages", "DELETE FROM event_json; DELETE FROM events WHERE type = 'm.room.message'"),
    Scenario("messages deleted one by one", 250, "messages", "", loop="DELETE FROM events WHERE event_id = '$room1_' || {i} + 3"),
    Scenario("rooms deleted with ten members each", 125, "rooms", _MEMBERS_GO + "; DELETE FROM events; DELETE FROM rooms", members=10),
]  # fmt: skip


@dataclass(frozen=True)
class Cost:
    nanoseconds: int
    rows_read: int


_ROWS_READ = (
    "SELECT coalesce(sum(coalesce(seq_tup_read, 0) + coalesce(idx_scan, 0) + coalesce(idx_tup_fetch, 0)), 0)::bigint"
    " FROM pg_stat_xact_all_tables"
)


def cost(connection: Connection, scenario: Scenario, n: int, enabled: bool, commit: bool = False) -> Cost:
    """Of one transaction, rolled back or committed."""
    clock = Path("/proc", str(connection.info.backend_pid), "schedstat")
    statements = scenario.statements(n)
    connection.execute(f"SET sliding_sync.enabled = {'on' if enabled else 'off'}")
    connection.execute("SET enable_seqscan = off")  # by foreign keys of small tables
    connection.execute("BEGIN")
    if not enabled:  # nor are there rows that events must not be taken from
        connection.execute("DELETE FROM sliding_sync_joined_rooms; DELETE FROM sliding_sync_membership_snapshots")
    if scenario.prepare:
        connection.execute(scenario.prepare)
    rows_before = _one(connection, _ROWS_READ)
    begun = int(clock.read_text().split()[0])
    for statement in statements:
        connection.execute(statement)  # type: ignore[call-overload]
    if commit:
        connection.execute("COMMIT")
    elif enabled:
        connection.execute("SELECT sliding_sync.flush()")
    spent = int(clock.read_text().split()[0]) - begun
    rows = 0 if commit else _one(connection, _ROWS_READ) - rows_before
    if not commit:
        connection.execute("ROLLBACK")
    return Cost(spent, rows)


def _one(connection: Connection, query: str) -> int:
    row = connection.execute(query).fetchone()  # type: ignore[call-overload]
    assert row is not None
    return int(row[0])
