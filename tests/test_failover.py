"""Patroni fails over from a primary that dies under load, takes it back as a replica, and switches back to it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from harness.patroni import ETCD, PATRONI, Node, Pair
from oracle import check
from synthetic.database import OWNER, SCHEMA, SEARCH_PATH, assert_nothing_in_quarantine, connect, create_homeserver
from synthetic.load import Outcome, Rooms, play, prepare, user

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not (shutil.which(PATRONI) and shutil.which(ETCD)), reason="scripts/install-packages deployments"),
]

Connection = psycopg.Connection[Any]

DATABASE = "replicated"
CLIENTS, LEDGERS = 4, 2
LOAD = 2.0  # seconds of it before and after what happens to the servers
LAG = 0.7  # seconds for which the replica gets nothing, before the primary dies

# docs/sql-reference.md: what a replica answers as its leader does, and what it refuses with 25006
ANSWERED = (
    "TABLE sliding_sync.health",
    "TABLE sliding_sync.status",
    "TABLE sliding_sync.progress",
    "SELECT name, labels FROM sliding_sync.metrics",  # some of their values are each server's own
    "SELECT * FROM sliding_sync.version()",
    "SELECT * FROM sliding_sync.preflight('upgrade')",
    "SELECT * FROM sliding_sync.explain_user('@user0:hs.test')",
    "SELECT * FROM sliding_sync.explain_room('!shared0:hs.test')",
    "SELECT * FROM sliding_sync.room_list_changes('@user0:hs.test', 0)",
    "SELECT * FROM sliding_sync.repair(dry_run => true)",
    "SELECT * FROM sliding_sync.finish_background_updates(dry_run => true)",
    "SELECT * FROM sliding_sync.flush()",
)
REFUSED = (
    "SELECT * FROM sliding_sync.catch_up()",
    "SELECT * FROM sliding_sync.repair()",
    "SELECT * FROM sliding_sync.repair_quarantine()",
    "CALL sliding_sync.backfill()",
    "CALL sliding_sync.begin_backfill(NULL)",
    "SELECT sliding_sync.attach()",
    "SELECT sliding_sync.detach()",
)
# what the load's clients repeat; REFUSED; a replica that is quicker than Patroni with its slot
_EXPECTED = (
    r"could not serialize access|deadlock detected|cannot execute .* (in a read-only transaction|during recovery)"
    r"|replication slot \"\w+\" does not exist"
)


# -- who writes and who reads meanwhile


@dataclass
class Ledger:
    """A client of a room of its own, which nobody purges: what it was told is committed, by sessions of the server."""

    number: int
    sessions: list[list[int]] = field(default_factory=list)
    entries: int = 0

    @property
    def room(self) -> str:
        return f"!ledger{self.number}:hs.test"

    @property
    def owner(self) -> str:
        return f"@ledger{self.number}:hs.test"

    def write(self, connect: Callable[[], Connection], stop: threading.Event) -> None:
        connection: Connection | None = None
        while not stop.is_set():
            try:
                if connection is None:
                    connection = connect()
                    self.sessions.append([])
                self.entries += 1
                with connection.transaction():
                    connection.execute("SELECT rename(%s, %s, %s)", (self.room, self.owner, str(self.entries)))
                self.sessions[-1].append(self.entries)
            except psycopg.OperationalError:
                if connection is None or connection.broken:
                    connection = None
                    time.sleep(0.05)
        if connection is not None:
            connection.close()

    def lost(self, leader: Cluster) -> list[list[int]]:
        """What is not there although it was committed, by sessions: each time the last ones."""
        with connect(leader, DATABASE) as connection:
            rows = connection.execute(
                "SELECT (j.json::jsonb #>> '{content,name}')::integer FROM events e JOIN event_json j USING (event_id)"
                " WHERE e.room_id = %s AND e.type = 'm.room.name'",
                (self.room,),
            ).fetchall()
            ((shown,),) = connection.execute(
                "SELECT room_name::integer FROM sliding_sync_joined_rooms WHERE room_id = %s", (self.room,)
            ).fetchall()
        there = {entry for (entry,) in rows}
        assert shown == max(there)
        lost = [[entry for entry in session if entry not in there] for session in self.sessions]
        for gone, session in zip(lost, self.sessions, strict=True):
            assert gone == session[len(session) - len(gone) :], "a hole, not an end"
        return lost


@dataclass
class Reader:
    """Asks one server again and again, whatever becomes of it."""

    server: Node
    rounds: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def read(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                with connect(self.server, DATABASE, SUPERUSER) as connection:
                    while not stop.is_set():
                        assert_trusted(connection)
                        room_lists(connection)
                        self.rounds += 1
                        time.sleep(0.1)
            except psycopg.OperationalError as error:
                self.failures[error.sqlstate or "no server"] += 1
                time.sleep(0.1)


@contextmanager
def load(pair: Pair, rooms: Rooms, ledgers: list[Ledger], seed: int) -> Iterator[Outcome]:
    """A homeserver's clients and the ledgers, which write to whoever leads, and readers of both servers."""
    stop, total = threading.Event(), Outcome()
    readers = [Reader(node) for node in pair.nodes]

    def leader() -> Connection:
        return pair.connect(DATABASE, OWNER)

    with ThreadPoolExecutor(1 + len(ledgers) + len(readers)) as pool:
        playing = pool.submit(play, leader, rooms, seed=seed, stop=stop)
        others = [pool.submit(ledger.write, leader, stop) for ledger in ledgers]
        others += [pool.submit(reader.read, stop) for reader in readers]
        try:
            yield total
        finally:
            stop.set()
    total += playing.result()
    for other in others:
        other.result()
    print(total, {reader.server.name: (reader.rounds, dict(reader.failures)) for reader in readers})
    assert all(reader.rounds for reader in readers)


# -- what must be so


def assert_trusted(connection: Connection) -> None:
    assert connection.execute("SELECT * FROM sliding_sync.ready()").fetchall() == [(True, [])]
    findings = connection.execute("SELECT * FROM sliding_sync.verify() WHERE severity <> 'unverifiable'").fetchall()
    assert not findings, findings[:20]


def room_lists(connection: Connection) -> list[Any]:
    return [
        connection.execute("SELECT * FROM sliding_sync.room_list(%s)", (user(client),)).fetchall()
        for client in range(CLIENTS)
    ]


def assert_right(server: Cluster) -> None:
    """By the independent oracle, and by the extension."""
    with connect(server, DATABASE, SUPERUSER) as connection:
        findings = check(connection, SCHEMA)
        assert not findings, "\n".join(map(str, findings[:30]))
        assert_trusted(connection)
    assert_nothing_in_quarantine(server, DATABASE)


def assert_went_on(outcome: Outcome) -> None:
    assert outcome.effective.total() > 100 and outcome.disconnections >= CLIENTS
    assert not outcome.errors and not outcome.exhausted, outcome.examples


def assert_nothing_strange(pair: Pair) -> None:
    """No log tells of more than what clients retry, and what a replica refuses."""
    for node in pair.nodes:
        complaints = [line for line in node.read_log().splitlines() if re.search(r" (WARNING|ERROR|PANIC):  ", line)]
        strange = [line for line in complaints if not re.search(_EXPECTED, line)]
        assert not strange, "\n".join(strange[:20])


def assert_equal_soon(query: str, one: Connection, other: Connection) -> None:
    """An autovacuum of the leader may be under way to the replica."""
    for _ in range(50):
        answers = [connection.execute(query).fetchall() for connection in (one, other)]
        if answers[0] == answers[1]:
            return
        time.sleep(0.1)
    raise AssertionError((query, answers))


def assert_the_same(leader: Cluster, replica: Cluster) -> None:
    """The replica is right too: its readers get the leader's answers, and what would write is refused."""
    assert_right(replica)
    with connect(leader, DATABASE, SUPERUSER) as one, connect(replica, DATABASE, SUPERUSER) as other:
        assert any(room_lists(one)) and room_lists(one) == room_lists(other)
        for query in ANSWERED:
            assert_equal_soon(query, one, other)
        for statement in REFUSED:
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                other.execute(statement)


# -- the test


def fill(leader: Cluster, rooms: Rooms, ledgers: list[Ledger]) -> None:
    """A homeserver that has been there for a while, to which the extension is attached."""
    create_homeserver(leader, DATABASE, extension=False)
    leader.execute(f"ALTER DATABASE {DATABASE} SET search_path = {SEARCH_PATH}")
    with connect(leader, DATABASE) as connection:
        prepare(connection, rooms)
        for ledger in ledgers:
            connection.execute("SELECT create_room(%s, %s, name => '0')", (ledger.room, ledger.owner))
    play(lambda: connect(leader, DATABASE), rooms, seed=0, transactions=40)
    leader.execute("CREATE EXTENSION sliding_sync", DATABASE)
    leader.execute("CALL sliding_sync.backfill()", DATABASE)
    assert_right(leader)


@contextmanager
def interrupted_backfill(leader: Cluster) -> Iterator[None]:
    """One that the death of its server ends, somewhere in the middle."""
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(leader.execute, "CALL sliding_sync.backfill(batch_size => 1, pause => '100 ms')", DATABASE)
        yield
        with pytest.raises(psycopg.OperationalError):
            slow.result()


def newest_run(leader: Cluster) -> tuple[int, bool]:
    """Of a backfill, and whether it is finished."""
    query = "SELECT run_id, finished_at IS NOT NULL FROM sliding_sync.runs ORDER BY run_id DESC LIMIT 1"
    ((run, is_finished),) = leader.execute(query, DATABASE)
    return int(run), bool(is_finished)


def hold_replication(leader: Cluster) -> None:
    """From now on the replica gets nothing."""
    ((sender,),) = leader.execute("SELECT pid FROM pg_stat_replication WHERE state = 'streaming'")
    os.kill(sender, signal.SIGSTOP)


def waiting_commits(leader: Cluster) -> int:
    """Those that the replica has to confirm."""
    ((count,),) = leader.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    return int(count)


def newest_event(leader: Cluster) -> int:
    ((position,),) = leader.execute(f"SELECT max(stream_ordering) FROM {SCHEMA}.events", DATABASE)
    return int(position)


def written_since(leader: Cluster, position: int) -> int:
    """By the homeserver's clients."""
    with connect(leader, DATABASE) as connection:
        query = "SELECT count(*) FROM events WHERE stream_ordering > %s AND room_id NOT LIKE '!ledger%%'"
        ((count,),) = connection.execute(query, (position,)).fetchall()
    return int(count)


@pytest.mark.parametrize("synchronous", [False, True], ids=["asynchronous", "synchronous"])
def test_the_primary_dies_and_comes_back(synchronous: bool) -> None:
    rooms = Rooms(CLIENTS, shared=4, own=3)
    ledgers = [Ledger(number) for number in range(LEDGERS)]
    with Pair(synchronous) as pair:
        one, two = pair.nodes
        fill(one, rooms, ledgers)
        pair.wait_for(one)

        with load(pair, rooms, ledgers, seed=1) as outcome, interrupted_backfill(one):
            time.sleep(LOAD)
            begun = newest_run(one)
            hold_replication(one)
            time.sleep(LAG)
            assert bool(waiting_commits(one)) is synchronous
            one.kill()
            pair.wait_for(two, alone=True)
            promoted = newest_event(two)
            time.sleep(LOAD)
        assert_went_on(outcome)
        assert written_since(two, promoted) > 20
        assert_right(two)
        lost = [ledger.lost(two) for ledger in ledgers]
        print("lost:", [[len(entries) for entries in sessions] for sessions in lost])
        for on_one, *on_two in lost:
            assert bool(on_one) is not synchronous
            assert on_two and not any(on_two)

        assert begun == newest_run(two) == (begun[0], False)
        two.execute("CALL sliding_sync.backfill()", DATABASE)
        assert newest_run(two) == (begun[0], True)

        with load(pair, rooms, ledgers, seed=2):
            one.start()
            pair.wait_for(two)
            time.sleep(LOAD)
        assert "pg_rewind exit code=0" in one.read_patroni_log()
        pair.wait_for(two)
        assert_right(two)
        assert_the_same(two, one)

        with load(pair, rooms, ledgers, seed=3) as outcome:
            time.sleep(LOAD)
            assert pair.switch_over(two) is one
            pair.wait_for(one)
            promoted = newest_event(one)
            time.sleep(LOAD)
        assert_went_on(outcome)
        assert written_since(one, promoted) > 20
        pair.wait_for(one)
        assert_right(one)
        assert_the_same(one, two)
        for ledger, (before, *_) in zip(ledgers, lost, strict=True):
            then, *since = ledger.lost(one)
            assert then == before and not any(since)
        assert_nothing_strange(pair)
