"""Synapse with workers: several processes write events, each those of some of the rooms, and one of them dies."""

from __future__ import annotations

import itertools
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import requests

from harness.cluster import Cluster
from harness.matrix_client import MatrixError, User
from harness.synapse import ROLE, Synapse
from harness.synapse_process import SynapseProcess
from harness.synapse_workers import PERSISTERS, READERS, SynapseWithWorkers
from homeserver import writers
from homeserver.checks import Findings, drift, row_versions
from lists.synapse_population import NOBODY_LEFT, SynapseLife

pytestmark = pytest.mark.long

VERSION = "1.163.2"
DATABASE = "workers"
THREADS, ROOMS, STEPS = 4, 3, 120  # rooms and steps: of each thread
VICTIM, KILLS = PERSISTERS[0], 3

# A homeserver answers 40001 by trying again.
_OURS = re.compile(r"sliding_sync(\.|_joined_rooms|_membership)")
_COMPLAINT = re.compile(r" (WARNING|ERROR|FATAL|PANIC):  (?!could not serialize access)")

Connection = psycopg.Connection[Any]

_numbers = itertools.count()


@pytest.fixture(scope="module")
def blank(cluster: Cluster) -> Iterator[str]:
    """A database as Synapse's first start leaves it, with the triggers: a template."""
    cluster.create_role(ROLE)
    name = cluster.create_database("blank workers", ROLE)
    with Synapse(VERSION, cluster, name) as synapse:
        synapse.wait_for_background_updates()
    cluster.execute("CREATE EXTENSION sliding_sync", name)
    cluster.execute("CALL sliding_sync.backfill()", name)  # nothing is there yet: all rows come from the triggers
    yield name
    cluster.drop_database(name)


@pytest.fixture(params=[None, writers.SEARCH_PATH], ids=["both write", "only the triggers write"])
def synapse(request: pytest.FixtureRequest, cluster: Cluster, blank: str) -> Iterator[SynapseWithWorkers]:
    """An ordinary installation, and one whose own rows go into copies of the tables."""
    cluster.create_database(DATABASE, ROLE, template=blank)
    if request.param is not None:
        with cluster.connect(DATABASE, ROLE) as connection:
            writers.make_copies(connection)
    with SynapseWithWorkers(VERSION, cluster, DATABASE, request.param) as synapse:
        yield synapse
    cluster.drop_database(DATABASE)


class Client(SynapseLife):
    """One thread's; all of them act as any user in any room, each user through one of the readers."""

    def step(self) -> None:
        user, room = self.random.choice(self.users), self.random.choice(self.rooms)
        match self.random.randrange(16):
            case 0:
                self.attempt(lambda: self.create_room(user))
            case 1 | 2:
                self.attempt(lambda: user.join(room))
            case 3:
                self.attempt(lambda: user.redact(room, user.say(room, "something to regret")))
            case 4:
                event_type = self.random.choice(["m.room.name", "m.room.encryption", "m.room.join_rules"])
                self.attempt(lambda: user.redact(room, user.state_event_id(room, event_type)))
            case 5:
                self.attempt(user.sliding_sync)
            case _:
                super().step()

    def create_room(self, user: User) -> None:
        # two rooms of the same creator, moment and content would have the same id
        content = {"org.example.number": next(_numbers)}
        self.rooms.append(user.create_room(preset="public_chat", name="Late", creation_content=content))

    def attempt(self, action: Any) -> None:
        try:
            super().attempt(action)
        except requests.RequestException:
            if not self.is_disturbed:
                raise


def make_clients(synapse: SynapseWithWorkers) -> list[Client]:
    clients = [Client(synapse, seed) for seed in range(THREADS)]
    users = [user for client in clients for user in client.users[:2]]
    rooms: list[str] = []
    without_knocks: set[str] = set()
    for client in clients:
        apis = [synapse.workers[client.random.choice(READERS)].api for _ in users]
        client.users = [replace(user, api=api) for user, api in zip(users, apis, strict=True)]
        client.rooms, client.without_knocks = rooms, without_knocks
    return clients


@contextmanager
def playing(clients: list[Client], rooms: int, steps: int) -> Iterator[None]:
    """All of them at the same time: so many new rooms and steps, and more steps until the block has ended."""
    is_over = threading.Event()

    def live(client: Client) -> None:
        client.begin(rooms)
        done = 0
        while done < steps or not is_over.is_set():
            client.step()
            done += 1

    with ThreadPoolExecutor(len(clients)) as pool:
        work = [pool.submit(live, client) for client in clients]
        try:
            yield
        finally:
            is_over.set()
        for each in work:
            each.result()


@contextmanager
def looking(cluster: Cluster) -> Iterator[None]:
    """Asks the oracle again and again while others write."""
    findings, stop, looks = Findings(), threading.Event(), itertools.count(1)

    def look() -> None:
        with cluster.connect(DATABASE) as connection:
            while not stop.wait(0.2):
                findings.add(f"look {next(looks)}", drift(connection))

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(look)
        try:
            yield
        finally:
            stop.set()
        work.result()
    assert next(looks) > 5
    findings.assert_none()


def assert_exact(connection: Connection) -> None:
    assert drift(connection) == []
    verified = connection.execute(
        "SELECT * FROM sliding_sync.verify() WHERE severity <> 'unverifiable'"
    ).fetchall()
    assert verified == []
    assert connection.execute("SELECT * FROM sliding_sync.ready()").fetchall() == [(True, [])]
    writer = "(SELECT instance_name FROM events WHERE event_id = membership_event_id)"
    names = connection.execute(
        f"SELECT DISTINCT event_instance_name, {writer} FROM sliding_sync_membership_snapshots ORDER BY 1"
    ).fetchall()
    assert names == [(name, name) for name in PERSISTERS]


def rooms_by_writer(connection: Connection) -> dict[str, list[str]]:
    rooms = connection.execute("SELECT instance_name, array_agg(DISTINCT room_id) FROM events GROUP BY 1")
    return dict(rooms.fetchall())


def failures(synapse: SynapseWithWorkers) -> list[str]:
    """Whatever a process of the homeserver calls an error, and every request that it failed."""
    failed = [str(exchange) for worker in synapse.workers.values() for exchange in worker.api.failed]
    return [*synapse.errors(), *(exchange for exchange in failed if NOBODY_LEFT not in exchange)]


def test_random_operations(synapse: SynapseWithWorkers, cluster: Cluster) -> None:
    begun = len(cluster.read_log())
    with cluster.connect(DATABASE) as connection:
        clients = make_clients(synapse)
        with looking(cluster), playing(clients, ROOMS, STEPS):
            pass
        assert_exact(connection)
        assert failures(synapse) == []

        before = rooms_by_writer(connection)
        assert set(before) == set(PERSISTERS)
        with looking(cluster), disturbed(clients), playing(clients, 0, 0):
            for _ in range(KILLS):
                kill_in_a_transaction(synapse.workers[VICTIM], connection)
                time.sleep(0.5)
                synapse.start_worker(VICTIM)
        assert_exact(connection)

        known = failures(synapse)
        with looking(cluster), playing(clients, ROOMS, STEPS):
            pass
        assert_all_write(synapse, connection, clients[0], before)
        assert_exact(connection)
        assert failures(synapse) == known
        check_adoption(synapse, connection, clients[0])
        assert_exact(connection)
    log = cluster.read_log()[begun:]
    assert log.count("unexpected EOF on client connection with an open transaction") >= KILLS, log
    assert [line for line in log.splitlines() if _COMPLAINT.search(line)] == []
    assert not _OURS.search(synapse.read_log())


@contextmanager
def disturbed(clients: list[Client]) -> Iterator[None]:
    for client in clients:
        client.is_disturbed = True
    yield
    for client in clients:
        client.is_disturbed = False


def kill_in_a_transaction(worker: SynapseProcess, connection: Connection) -> None:
    """It is halted first, so that nobody can commit meanwhile but with what it has sent already."""

    def writing() -> set[tuple[int, str]]:
        return set(
            connection.execute(
                "SELECT pid, backend_xid::text FROM pg_stat_activity"
                " WHERE application_name = %s AND state = 'idle in transaction' AND backend_xid IS NOT NULL",
                (worker.name,),
            )
        )

    deadline = time.monotonic() + 60
    while True:
        assert time.monotonic() < deadline, f"{worker.name} writes nothing"
        os.kill(worker.pid, signal.SIGSTOP)
        if before := writing():
            time.sleep(0.1)
            if before & writing():
                worker.kill()
                return
        os.kill(worker.pid, signal.SIGCONT)
        time.sleep(0.01)


def check_adoption(synapse: SynapseWithWorkers, connection: Connection, client: Client) -> None:
    """All start again, on the tables of the triggers: they find nothing to do, and every reader lists a user's rooms."""
    before = row_versions(connection)
    synapse.restart(search_path=None)
    synapse.wait_for_background_updates()
    assert row_versions(connection) == before, "the homeserver's start-up rewrote rows"
    for user in client.users:
        rows = connection.execute("SELECT room_id FROM sliding_sync.room_list(%s)", (user.user_id,)).fetchall()
        for reader in READERS:
            (lists,) = replace(user, api=synapse.workers[reader].api).sliding_sync(size=1000)["lists"].values()
            listed = [room for operation in lists["ops"] for room in operation["room_ids"]]
            assert sorted(listed) == sorted(room for (room,) in rows), user.user_id
            assert listed


def assert_all_write(
    synapse: SynapseWithWorkers, connection: Connection, client: Client, rooms: dict[str, list[str]]
) -> None:
    """A member of each room is heard, and the process stores it that has stored the others."""
    users = {user.user_id: user for user in client.users}
    members = connection.execute(
        "SELECT DISTINCT ON (room_id) room_id, user_id FROM sliding_sync_membership_snapshots WHERE membership = 'join'"
    ).fetchall()
    said = {name: 0 for name in PERSISTERS}
    for (room, user_id), reader in zip(members, itertools.cycle(READERS), strict=False):
        try:
            event = replace(users[user_id], api=synapse.workers[reader].api).say(room, "still here")
        except MatrixError as error:  # others have taken the right to
            assert error.status == 403, error
            continue
        ((writer,),) = connection.execute("SELECT instance_name FROM events WHERE event_id = %s", (event,))
        said[writer] += 1
        assert all(room not in rooms[name] or writer == name for name in PERSISTERS)
    assert min(said.values()) > 10, said
