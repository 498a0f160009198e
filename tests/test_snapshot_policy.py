"""Two transactions on one room, neither of which sees what the other does: after both the rows are what a recompute gives.

Every pair of `interleaving.operations`, at every level, in every order of commits; the oracle and verify() judge. What a
homeserver's own statements run into is its own; of ours there is 40001 only, where READ COMMITTED is not asked for: for a row that
would have to refer to an event which the transaction cannot see, and for a message whose short cut has waited for the row.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from interleaving.operations import OPERATIONS
from interleaving.rooms import Model, copy_rooms, leave_room_for_copies, make_models
from interleaving.sessions import Failure, Session, Step, play
from oracle import Finding, Watcher, check
from oracle.finding import JOINED_ROOMS, ROW
from synthetic import database as databases
from synthetic.database import OWNER, SCHEMA, assert_nothing_in_quarantine, copied, create_homeserver

Connection = psycopg.Connection[Any]

COMMITTED, REPEATABLE, SERIALIZABLE = "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"
LEVELS = [
    (COMMITTED, COMMITTED),
    (REPEATABLE, REPEATABLE),
    (SERIALIZABLE, SERIALIZABLE),
    (COMMITTED, REPEATABLE),
    (REPEATABLE, COMMITTED),
]
ORDERS = ["first, second", "second, first", "first flushes, second, first", "second flushes, first, second"]

# The newest event goes, and what is left as the newest is one that the deleter cannot see.
UNSEEN_EVENT = {("newest event deleted", "slower writer's message"), ("history purged", "slower writer's message")}

DELETING = {"newest event deleted", "history purged", "room purged"}

# Each has what the other one's row has to refer to, or the row. Who purges a room has locked it, and waits for a row
# that the other one has deleted; whoever of the two looks for the circle last is the victim.
CIRCLES = {
    ("history purged", "newest event deleted"),
    ("history purged", "room purged"),
    ("newest event deleted", "room purged"),
}

_FLUSH = "SELECT sliding_sync.flush()"
_SHORT_CUT = "GREATEST(j.event_stream_ordering"
_AMONG_HOMESERVERS = ("40001", "40P01", "55P03", "P0001")
_SERIALIZABLE_ONLY = "could not serialize access due to read/write dependencies"


@dataclass
class Case:
    copy: int
    names: tuple[str, str]
    levels: tuple[str, str]
    order: str
    had_rows: bool
    failures: list[list[Failure]] = field(default_factory=list)
    committed: list[bool] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def room_id(self) -> str:
        return f"!r{self.copy}:hs.test"

    def __str__(self) -> str:
        errors = "; ".join(str(failures[0]) for failures in self.failures if failures)
        head = f"{self.names[0]} | {self.names[1]} | {self.order} | committed {self.committed} {errors}"
        return "\n    ".join([head, *self.wrong])

    # -- which errors are right

    def judge_errors(self) -> None:
        for level, failures in zip(self.levels, self.failures, strict=True):
            for failure in failures[:1]:
                if not self._is_own(level, failure):
                    (self.lost if failure.sqlstate == "40001" and level != COMMITTED else self.wrong).append(str(failure))

    def _is_own(self, level: str, failure: Failure) -> bool:
        """What the homeserver's statements would meet without us, or what cannot be otherwise."""
        if failure.message.startswith(_SERIALIZABLE_ONLY):
            return SERIALIZABLE in self.levels
        if failure.step == "statement" and "sliding_sync" not in failure.message:
            return failure.sqlstate in _AMONG_HOMESERVERS or failure.sqlstate.startswith("23")
        if failure.sqlstate == "40001" and level != COMMITTED:
            deletes_row = "row deleted" in self.names and failure.step == "statement"
            return deletes_row or _SHORT_CUT in failure.message or tuple(sorted(self.names)) in UNSEEN_EVENT
        # One has deleted what the other's new row is about to refer to, and is to make the same row.
        makes_same_row = not self.had_rows and bool(DELETING & set(self.names))
        return failure.sqlstate == "40P01" and (makes_same_row or tuple(sorted(self.names)) in CIRCLES)

    # -- which findings are right

    def is_excused(self, finding: Finding) -> bool:
        return self._may_be_absent(finding) or self._came_before(finding) or self._stays_in_state(finding)

    def _stays_in_state(self, finding: Finding) -> bool:
        """The reset puts a row into the state that the last one leaves, which is then state of the room; no group has it."""
        both = set(self.names) == {"state reset", "last leave"}
        return both and (finding.column, finding.actual) == ("room_name", "'New'")

    def _came_before(self, finding: Finding) -> bool:
        """A membership keeps the name that the room had, unless the other transaction had ended before."""
        last = self.names[self.order == "first, second"]
        is_last = self.order in ORDERS[:2] and OPERATIONS[last].writes in finding.key
        return not is_last and (finding.column, finding.actual) == ("room_name", "'Old'")

    def _may_be_absent(self, finding: Finding) -> bool:
        if finding.column != ROW or finding.actual != "absent":
            return False
        done = [OPERATIONS[name] for name, is_done in zip(self.names, self.committed, strict=True) if is_done]
        if finding.table == JOINED_ROOMS:
            if "row deleted" in self.names:
                return True
            return not self.had_rows and not any(operation.writes_room for operation in done)
        return not self.had_rows and finding.key[1] not in [operation.writes for operation in done]


def needs_lonely_member(case: Case) -> bool:
    return any(OPERATIONS[name].needs_lonely_member for name in case.names)


def make_cases(levels: tuple[str, str], had_rows: bool) -> list[Case]:
    """Those that need the same model have copies in a row."""
    pairs = itertools.combinations_with_replacement(OPERATIONS, 2)
    cases = [Case(0, pair, levels, order, had_rows) for pair in pairs for order in ORDERS]
    cases.sort(key=needs_lonely_member)
    for copy, case in enumerate(cases, 1):
        case.copy = copy
    return [case for case in cases if had_rows or "row deleted" not in case.names]


def connect(cluster: Cluster, database: str) -> Connection:
    return databases.connect(cluster, database, SUPERUSER, options="-c deadlock_timeout=20ms")


@pytest.fixture(scope="module")
def models(cluster: Cluster) -> tuple[str, tuple[Model, Model]]:
    """A database with a room for each case."""
    name = create_homeserver(cluster, "snapshot_policy_template", owner=SUPERUSER)
    cases = make_cases(LEVELS[0], had_rows=True)
    with connect(cluster, name) as connection:
        models = make_models(connection)
        for lonely, run in itertools.groupby(cases, needs_lonely_member):
            copies = [case.copy for case in run]
            copy_rooms(connection, models[lonely], copies[0], copies[-1])
        leave_room_for_copies(connection, len(cases))
        connection.execute("VACUUM ANALYZE")
        assert not check(connection, SCHEMA), "a copy that is wrong from the start proves nothing"
    return name, models


def empty(connection: Connection) -> None:
    """As before a first backfill."""
    connection.execute("SET sliding_sync.enabled = off")
    connection.execute("TRUNCATE sliding_sync_joined_rooms, sliding_sync_membership_snapshots")
    connection.execute("RESET sliding_sync.enabled")


def steps_of(case: Case, model: Model, sessions: tuple[Session, Session]) -> list[Step]:
    names = model.names(case.copy)
    first, second = sessions
    begin = [
        (session, "begin", f"BEGIN ISOLATION LEVEL {level}; SELECT 1")
        for session, level in zip(sessions, case.levels, strict=True)
    ]
    change = [
        (session, "statement", OPERATIONS[name].sql.format(**names))
        for session, name in zip(sessions, case.names, strict=True)
    ]
    order = {"first": (first, "commit", "COMMIT"), "second": (second, "commit", "COMMIT")}
    flushes = {"first flushes": (first, "flush", _FLUSH), "second flushes": (second, "flush", _FLUSH)}
    return [*begin, *change, *((order | flushes)[part] for part in case.order.split(", "))]


def run(cluster: Cluster, database: str, models: tuple[Model, Model], cases: list[Case]) -> None:
    with connect(cluster, database) as a, connect(cluster, database) as b, connect(cluster, database) as monitor:
        for case in cases:
            sessions = (Session(a), Session(b))
            play(steps_of(case, models[needs_lonely_member(case)], sessions), monitor)
            case.failures = [session.failures for session in sessions]
            case.committed = [session.has_committed for session in sessions]
            for connection in (a, b):
                if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                    connection.pgconn.exec_(b"ROLLBACK")


def judge(connection: Connection, cases: list[Case]) -> None:
    """Notes with each case what is wrong with its room."""
    by_room = {case.room_id: case for case in cases}
    for case in cases:
        case.judge_errors()
        if not any(case.committed):
            case.wrong.append("neither goes through")
    for finding in check(connection, SCHEMA):
        case = by_room.get(finding.key[0])
        if case and not case.is_excused(finding):
            case.wrong.append(str(finding))
    for table, room_id, user_id, *rest, reason, severity in connection.execute("SELECT * FROM sliding_sync.verify()"):
        case = by_room.get(room_id)
        key = (room_id,) if user_id is None else (room_id, user_id)
        is_absent = reason == "missing_row" and case and case.is_excused(Finding(table, key, ROW, "present", "absent", ""))
        if case and severity != "unverifiable" and not is_absent:
            case.wrong.append(f"verify: {table} {key} {rest} {reason}")
    for room_id, user_id, message in connection.execute("SELECT room_id, user_id, message FROM sliding_sync.quarantine"):
        if "room purged" not in by_room[room_id].names:
            by_room[room_id].wrong.append(f"a row is lost: {user_id or 'room'} {message}")


def report(title: str, cases: list[Case]) -> str:
    return f"{len(cases)} {title}:\n" + "\n".join(map(str, cases))


PLAYS = [*((levels, True) for levels in LEVELS), *((levels, False) for levels in LEVELS[:3])]


@pytest.fixture(
    scope="module",
    params=PLAYS,
    ids=[f"{' and '.join(dict.fromkeys(levels))}{'' if rows else ', without rows'}".lower() for levels, rows in PLAYS],
)
def cases(
    cluster: Cluster, models: tuple[str, tuple[Model, Model]], request: pytest.FixtureRequest
) -> Iterator[list[Case]]:
    """Every pair in every order, played and judged."""
    levels, had_rows = request.param
    template, rooms = models
    database = cluster.create_database("snapshot_policy", template=template)
    cases = make_cases(levels, had_rows)
    with connect(cluster, database) as connection:
        if not had_rows:
            empty(connection)
        run(cluster, database, rooms, cases)
        judge(connection, cases)
    yield cases
    cluster.drop_database(database)


def test_rows_are_right(cases: list[Case]) -> None:
    """Nor is any lost; and only what a homeserver tries again may end a transaction."""
    both = sum(all(case.committed) for case in cases)
    wrong = [case for case in cases if case.wrong]
    print(f"{len(cases)} cases, in {both} of them both transactions commit; {len(wrong)} wrong")
    assert both > len(cases) / 6, "transactions that fail prove nothing"
    assert not wrong, report("wrong", wrong)


def test_only_an_unseen_event_costs_another_try(cases: list[Case]) -> None:
    """What a transaction's snapshot does not show of our rows is no reason to fail."""
    lost = [case for case in cases if case.lost]
    assert not lost, report("fail for our sake", lost)


@pytest.mark.parametrize("level", [COMMITTED, REPEATABLE, SERIALIZABLE])
def test_rows_that_a_backfill_makes_meanwhile(
    cluster: Cluster, models: tuple[str, tuple[Model, Model]], level: str
) -> None:
    """After the transaction's snapshot, or after its statement; none of them has to be seen for a transaction to go through."""
    template, rooms = models
    orders = ("backfill, statement", "statement, backfill")
    copies = {names[0]: copy for copy, names in reversed([(case.copy, case.names) for case in make_cases((level, level), True)])}
    cases = [
        Case(copies[name] + offset, (name, name), (level, level), order, had_rows=True)
        for name in OPERATIONS
        for offset, order in enumerate(orders)
    ]
    database = cluster.create_database("snapshot_policy_backfill", template=template)
    with connect(cluster, database) as connection, connect(cluster, database) as a, connect(cluster, database) as b:
        empty(connection)
        a.execute("SET deadlock_timeout = '1s'")  # longer than a batch waits for a lock: so the homeserver is never the victim
        for case in cases:
            names = rooms[needs_lonely_member(case)].names(case.copy)
            first, second = Session(a), Session(b)
            room = names["room"]
            parts = {
                "statement": (first, "statement", OPERATIONS[case.names[0]].sql.format(**names)),
                "backfill": (second, "backfill", f"CALL sliding_sync.backfill(first_room => '{room}', last_room => '{room}')"),
            }
            begin = (first, "begin", f"BEGIN ISOLATION LEVEL {level}; SELECT 1")
            play([begin, *(parts[part] for part in case.order.split(", ")), (first, "commit", "COMMIT")], connection)
            case.failures, case.committed = [first.failures, second.failures], [first.has_committed] * 2
        judge(connection, cases)
    cluster.drop_database(database)
    lost = [case for case in cases if case.wrong or case.lost]
    assert not lost, report("wrong", lost)


# -- one transaction, and a session that goes another way than a homeserver

_MESSAGE = "make_event('!r:hs.test', '@anna:hs.test', 'm.room.message')"
_JOIN = (
    "make_event('!r:hs.test', '@bert:hs.test', 'm.room.member', '@bert:hs.test',"
    " '{\"membership\": \"join\"}', 'join')"
)
_NEWER_EVENT = "SELECT soft_fail('!r:hs.test', '@anna:hs.test')"
_ROW_IS_DELETED = "DELETE FROM homeserver.sliding_sync_joined_rooms"


@pytest.mark.parametrize(
    ("before", "event", "meanwhile"),
    [
        pytest.param([], _MESSAGE, _NEWER_EVENT, id="a newer event"),
        pytest.param([], _MESSAGE, "SELECT redact_name()", id="a redaction"),
        pytest.param([], _MESSAGE, _ROW_IS_DELETED, id="the row is deleted"),
        # H19: the row was missing for both, and is completed by the other one
        pytest.param([_ROW_IS_DELETED], _MESSAGE, _NEWER_EVENT, id="the row appears"),
        pytest.param(
            [f"SELECT {done}('!r:hs.test', '@bert:hs.test')" for done in ('"join"', "leave")],
            _JOIN,
            "SELECT forget('!r:hs.test', '@bert:hs.test')",
            id="the old membership is forgotten",
        ),
    ],
)
def test_a_row_that_somebody_else_has_changed_meanwhile(
    cluster: Cluster, tea_room: str, before: list[str], event: str, meanwhile: str
) -> None:
    """H18, H19, H88: both transactions meet in nothing but a row of ours, and both go through, as without the triggers."""
    with (
        copied(cluster, tea_room, owner=OWNER) as database,
        databases.connect(cluster, database) as observer,
        databases.connect(cluster, database) as other,
        databases.connect(cluster, database) as connection,
    ):
        observer.execute(_REDACT_NAME)
        for statement in before:
            other.execute(statement)  # type: ignore[arg-type]
        # ids and orderings are given out before
        (stored,) = other.execute(f"SELECT ({event})::text").fetchone() or ("",)  # type: ignore[arg-type]
        watcher = Watcher(observer, SCHEMA)

        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute("SELECT count(*) FROM rooms")
            other.execute(meanwhile)  # type: ignore[arg-type]
            connection.execute(
                "SELECT persist(ARRAY[%s::new_event], changes_state => %s)", (stored, event == _JOIN)
            )
        assert not watcher.check_step()
        assert observer.execute(
            "SELECT count(*) FROM events WHERE event_id = (%s::new_event).event_id", (stored,)
        ).fetchone() == (1,)
        assert_nothing_in_quarantine(cluster, database)


# The redaction itself changes nothing else of the room.
_REDACT_NAME = """
    CREATE FUNCTION redact_name() RETURNS void LANGUAGE sql AS $$
        INSERT INTO redactions (event_id, redacts, recheck)
            SELECT '$redaction', event_id, false FROM current_state_events WHERE type = 'm.room.name'
    $$
"""
