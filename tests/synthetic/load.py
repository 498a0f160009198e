"""Many clients that write as a homeserver does, at the same time.

Every client draws its operations from a seed of its own, so that the same load can be played on two
databases. What interleaves differs from run to run; what the clients want does not.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

ATTEMPTS = 5  # a homeserver's retry rule: serialization failures and deadlocks, at COMMIT too
RETRIED = ("40001", "40P01")
_SHUTDOWN = ("57P01", "57P02", "57P03")

Connection = psycopg.Connection[Any]
Query = tuple[str, tuple[object, ...]]
Connect = Callable[[], Connection]


@dataclass
class Outcome:
    """What the clients met with."""

    committed: Counter[str] = field(default_factory=Counter)  # by operation
    effective: Counter[str] = field(default_factory=Counter)  # of these, those that found something to do
    retries: Counter[str] = field(default_factory=Counter)  # by SQLSTATE
    exhausted: Counter[str] = field(default_factory=Counter)  # by operation
    errors: Counter[str] = field(default_factory=Counter)  # by SQLSTATE and table: what no retry would remedy
    examples: dict[str, str] = field(default_factory=dict)
    disconnections: int = 0
    seconds: float = 0.0

    def __iadd__(self, other: Outcome) -> Outcome:
        for name in ("committed", "effective", "retries", "exhausted", "errors"):
            getattr(self, name).update(getattr(other, name))
        self.examples |= other.examples
        self.disconnections += other.disconnections
        self.seconds = max(self.seconds, other.seconds)
        return self

    def __str__(self) -> str:
        return (
            f"{self.committed.total()} transactions, {self.effective.total()} of them with writes,"
            f" in {self.seconds:.1f} s"
            f" ({self.committed.total() / max(self.seconds, 0.001):.0f}/s), retries {dict(self.retries)},"
            f" exhausted {dict(self.exhausted)}, errors {dict(self.errors)},"
            f" {self.disconnections} disconnections"
        )


class Rooms:
    """The rooms of a load, each with a lock: a homeserver stores the events of a room one after the other."""

    def __init__(self, clients: int, shared: int, own: int) -> None:
        self.shared = [f"!shared{n}:hs.test" for n in range(shared)]
        self.far = [f"!far{n}:remote.test" for n in range(shared)]  # that the homeserver is only invited to
        self.own = {client: [f"!own{client}_{n}:hs.test" for n in range(own)] for client in range(clients)}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    @contextmanager
    def one_writer(self, room_id: str) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(room_id, threading.Lock())
        with lock:
            yield

    def all(self) -> list[str]:
        return [*self.shared, *self.far, *(room for rooms in self.own.values() for room in rooms)]


def host(n: int) -> str:
    return f"@host{n}:hs.test"


def user(client: int) -> str:
    return f"@user{client}:hs.test"


def prepare(connection: Connection, rooms: Rooms) -> None:
    """All rooms with their creators; those of the shared ones never leave."""
    for n, room_id in enumerate(rooms.shared):
        connection.execute("SELECT create_room(%s, %s, name => %s)", (room_id, host(n), f"Shared {n}"))
    for client, own in rooms.own.items():
        for room_id in own:
            connection.execute("SELECT create_room(%s, %s)", (room_id, user(client)))


@dataclass
class Operation:
    name: str
    room_id: str | None  # whose events are stored; None: nothing is, and no other writer is waited for
    transactions: list[tuple[str, list[Query]]]  # (isolation level, statements)


class Client:
    """One session of the homeserver, one operation after the other."""

    def __init__(
        self,
        number: int,
        seed: int,
        rooms: Rooms,
        connect: Connect,
        *,
        writes_tables: bool = False,
        one_writer_a_room: bool = True,
    ) -> None:
        self._random = random.Random(f"{seed} {number}")
        self._number, self._rooms, self._connect = number, rooms, connect
        self._writes_tables, self._one_writer = writes_tables, one_writer_a_room
        self._created = 0
        self.outcome = Outcome()

    def play(self, transactions: int | None, stop: threading.Event) -> Outcome:
        """So many operations, or until told to stop; through any loss of the connection."""
        connection: Connection | None = None
        while not stop.is_set() and (transactions is None or transactions > 0):
            if transactions is not None:
                transactions -= 1
            operation = self._draw()
            try:
                if connection is None or connection.closed:
                    connection = self._connect()
                    setting = "on" if self._writes_tables else "off"
                    connection.execute(f"SET homeserver.writes_tables = {setting}")
                if operation.room_id is not None and self._one_writer:
                    with self._rooms.one_writer(operation.room_id):
                        self._run(connection, operation)
                else:
                    self._run(connection, operation)
            except psycopg.OperationalError:
                self.outcome.disconnections += 1
                if connection is not None:
                    connection.close()
                time.sleep(0.05)
        if connection is not None:
            connection.close()
        return self.outcome

    def _run(self, connection: Connection, operation: Operation) -> None:
        for level, statements in operation.transactions:
            if not self._transaction(connection, operation.name, level, statements):
                return

    def _transaction(self, connection: Connection, name: str, level: str, statements: list[Query]) -> bool:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                connection.execute(f"BEGIN ISOLATION LEVEL {level}")
                rows = sum(connection.execute(*query).rowcount for query in statements)
                connection.execute("COMMIT")
                self.outcome.committed[name] += 1
                self.outcome.effective[name] += rows > 0
                return True
            except psycopg.Error as error:
                state = error.sqlstate
                if connection.broken or connection.closed or state is None or state in _SHUTDOWN:
                    raise psycopg.OperationalError("the server went away") from error
                connection.execute("ROLLBACK")
                if state not in RETRIED:
                    error_class = f"{state} {error.diag.table_name or ''}".rstrip()
                    self.outcome.errors[error_class] += 1
                    self.outcome.examples.setdefault(error_class, f"{name}: {error}")
                    return False
                self.outcome.retries[state] += 1
                if attempt == ATTEMPTS:
                    self.outcome.exhausted[name] += 1
        return False

    # -- what clients do

    def _draw(self) -> Operation:
        r = self._random
        me, other = user(self._number), user(r.randrange(len(self._rooms.own)))
        own = r.choice(self._rooms.own[self._number])
        room = own if r.random() < 0.4 else r.choice(self._rooms.shared)
        any_room, far = r.choice(self._rooms.all()), r.choice(self._rooms.far)
        in_room = "WHERE EXISTS (SELECT FROM rooms WHERE room_id = %s)"
        joined = (
            "WHERE EXISTS (SELECT FROM local_current_membership WHERE room_id = %s AND user_id = %s"
            " AND membership = 'join')"
        )
        not_joined = (
            "WHERE EXISTS (SELECT FROM current_state_events WHERE room_id = %s) AND NOT EXISTS (SELECT FROM"
            " local_current_membership WHERE room_id = %s AND user_id = %s AND membership IN ('join', 'ban'))"
        )
        any_order = f"md5(event_id || '{r.random()}')"
        event = f"(SELECT event_id FROM events WHERE room_id = %s ORDER BY {any_order} LIMIT 1)"
        here = (room, me)
        name = f"Name {r.randrange(1000)}"
        choices: list[tuple[int, str, str | None, list[Query]]] = [
            (30, "message", room, [(f"SELECT send_message(%s, %s) {joined}", (*here, *here))]),
            (4, "reaction", room, [(f"SELECT send_message(%s, %s, 'm.reaction') {joined}", (*here, *here))]),
            (6, "rename", room, [(f"SELECT rename(%s, %s, %s) {joined}", (*here, name, *here))]),
            (2, "encrypt", room, [(f"SELECT encrypt(%s, %s) {joined}", (*here, *here))]),
            (2, "tombstone", room, [(f"SELECT tombstone(%s, %s, '!next') {joined}", (*here, *here))]),
            (10, "join", room, [(f'SELECT "join"(%s, %s) {not_joined}', (*here, room, *here))]),
            (6, "leave", room, [(f'SELECT "leave"(%s, %s) {joined}', (*here, *here))]),
            (4, "profile", room, [(f'SELECT "join"(%s, %s) {joined}', (*here, *here))]),
            (3, "kick", room, [(f"SELECT kick(%s, %s, %s) {joined}", (room, other, me, room, other))]),
            (
                4,
                "invite",
                room,
                [(f"SELECT invite(%s, %s, %s) {not_joined}", (room, other, me, room, room, other))],
            ),
            (3, "remote invite", far, [self._remote_invite(far, other)]),
            (3, "reject a remote invite", far, [self._reject(far, me)]),
            (2, "join a remote room", far, [self._join_far(far, me)]),
            (2, "leave a remote room", far, [(f'SELECT "leave"(%s, %s) {joined}', (far, me, far, me))]),
            (6, "redact", room, [(f"SELECT redact(%s, %s, {event}) {joined}", (*here, room, *here))]),
            (2, "soft-failed", room, [(f"SELECT soft_fail(%s, %s) {joined}", (*here, *here))]),
            (
                2,
                "rejected",
                room,
                [(f"SELECT reject_event(%s, %s, 'm.room.name', '') {joined}", (*here, *here))],
            ),
            (2, "outlier", room, [(f"SELECT send_outlier(%s, %s) {joined}", (*here, *here))]),
            (2, "backfill", room, [(f"SELECT backfill_events(%s, %s) {joined}", (*here, *here))]),
            # what runs beside the writer of the room
            (5, "forget", None, [(f"SELECT forget(%s, %s) {in_room}", (any_room, me, any_room))]),
            (4, "censor", None, [_CENSOR]),
            (
                3,
                "purge history",
                None,
                [(f"SELECT purge_history(%s, {event}) {in_room}", (any_room, any_room, any_room))],
            ),
            (2, "resign", None, [(_RESIGN, (any_room,))]),
        ]
        if r.random() < 0.03:
            return self._purge(own)
        if r.random() < 0.05:
            return self._create()
        _, label, room_id, statements = r.choices(choices, [choice[0] for choice in choices])[0]
        return Operation(label, room_id, [("REPEATABLE READ", statements)])

    def _remote_invite(self, room_id: str, who: str) -> Query:
        """From a server whose room we do not, or no longer, know."""
        stripped = (
            '[{"type": "m.room.create", "state_key": "", "sender": "@boss:remote.test", "content": {}}]'
        )
        condition = "WHERE NOT EXISTS (SELECT FROM current_state_events WHERE room_id = %s)"
        return (
            f"SELECT remote_invite(%s, %s, '@boss:remote.test', %s) {condition}",
            (room_id, who, stripped, room_id),
        )

    def _reject(self, room_id: str, who: str) -> Query:
        condition = (
            "WHERE NOT EXISTS (SELECT FROM current_state_events WHERE room_id = %s) AND EXISTS (SELECT FROM"
            " local_current_membership WHERE room_id = %s AND user_id = %s AND membership = 'invite')"
        )
        return (f"SELECT reject_remote_invite(%s, %s) {condition}", (room_id, who, room_id, room_id, who))

    def _join_far(self, room_id: str, who: str) -> Query:
        state = "'m.room.create', '', '{}', 'm.room.name', '', '{\"name\": \"Far\"}'"
        condition = "WHERE NOT EXISTS (SELECT FROM current_state_events WHERE room_id = %s)"
        return (
            f"SELECT remote_join(%s, %s, ARRAY['@boss:remote.test'], {state}) {condition}",
            (room_id, who, room_id),
        )

    def _create(self) -> Operation:
        room_id = f"!new{self._number}_{self._created}:hs.test"
        self._created += 1
        self._rooms.own[self._number].append(room_id)
        is_new = "NOT EXISTS (SELECT FROM rooms WHERE room_id = %s)"
        query = f"SELECT create_room(%s, %s, name => 'New') WHERE {is_new}"
        arguments = (room_id, user(self._number), room_id)
        return Operation("create", room_id, [("REPEATABLE READ", [(query, arguments)])])

    def _purge(self, room_id: str) -> Operation:
        """Twice, at two levels, as a homeserver does; by one that knows the room list tables or does not."""
        query = ("SELECT purge_room(%s, old_version => %s)", (room_id, not self._writes_tables))
        levels = ("READ COMMITTED", "REPEATABLE READ")
        return Operation("purge room", None, [(level, [query]) for level in levels])


# Some redacted events of any room, as the task that runs every five minutes.
_CENSOR: Query = (
    "SELECT censor(e.event_id) FROM redactions r JOIN events e ON e.event_id = r.redacts"
    " WHERE NOT r.have_censored ORDER BY r.event_id LIMIT 5",
    (),
)
# JSON with new signatures: every stored event of a room is written once more.
_RESIGN = "UPDATE event_json SET json = json || ' ' WHERE room_id = %s AND json LIKE '{%%'"


def play(
    connect: Connect,
    rooms: Rooms,
    *,
    seed: int,
    transactions: int | None = None,
    stop: threading.Event | None = None,
    **behaviour: bool,
) -> Outcome:
    """All clients at once; what they met with together."""
    stop = stop or threading.Event()
    clients = [Client(number, seed, rooms, connect, **behaviour) for number in rooms.own]
    started = time.monotonic()
    total = Outcome()
    with ThreadPoolExecutor(len(clients)) as pool:
        try:
            for outcome in pool.map(lambda client: client.play(transactions, stop), clients):
                total += outcome
        finally:
            stop.set()
    total.seconds = time.monotonic() - started
    return total
