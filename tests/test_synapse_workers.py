"""Synapse with workers: several processes write events, each those of some of the rooms, and one of them dies."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import requests

from harness.cluster import Cluster
from harness.matrix_client import MatrixError
from harness.synapse import ROLE, Synapse
from harness.synapse_workers import PERSISTERS, READERS, SynapseWithWorkers
from homeserver import writers
from homeserver.checks import Findings, drift
from lists.synapse_population import NOBODY_LEFT, SynapseLife

pytestmark = pytest.mark.long

VERSION = "1.163.2"
DATABASE = "workers"
THREADS, ROOMS, STEPS = 4, 3, 150  # rooms and steps: of each thread
KILLS = 3

Connection = psycopg.Connection[Any]


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
                self.attempt(lambda: self.rooms.append(user.create_room(preset="public_chat", name="Late")))
            case 1 | 2:
                self.attempt(lambda: user.join(room))
            case 3:
                self.attempt(lambda: user.redact(room, user.say(room, "something to regret")))
            case 4:
                event_type = self.random.choice(["m.room.name", "m.room.encryption", "m.room.join_rules"])
                self.attempt(lambda: user.redact(room, user.state_event_id(room, event_type)))
            case _:
                super().step()

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
def playing(clients: list[Client], rooms: int = 0) -> Iterator[list[Future[None]]]:
    """All of them at the same time, with new rooms of their own first; waits for their end."""

    def live(client: Client) -> None:
        client.begin(rooms)
        for _ in range(STEPS):
            client.step()

    with ThreadPoolExecutor(len(clients)) as pool:
        work = [pool.submit(live, client) for client in clients]
        yield work
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
    assert next(looks) > 10
    findings.assert_none()


def assert_exact(connection: Connection) -> None:
    assert drift(connection) == []
    verified = connection.execute(
        "SELECT * FROM sliding_sync.verify() WHERE severity <> 'unverifiable'"
    ).fetchall()
    assert verified == []
    assert connection.execute("SELECT * FROM sliding_sync.ready()").fetchall() == [(True, [])]
    writer = "(SELECT instance_name FROM events WHERE event_id = membership_event_id)"
    rows = connection.execute(
        f"SELECT event_instance_name, {writer}, count(*) > 0 FROM sliding_sync_membership_snapshots GROUP BY 1, 2 ORDER BY 1"
    ).fetchall()
    assert rows == [(name, name, True) for name in PERSISTERS]


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
        with looking(cluster), playing(clients, ROOMS):
            pass
        assert_exact(connection)
        assert failures(synapse) == []

        before = rooms_by_writer(connection)
        assert set(before) == set(PERSISTERS)
        kill_again_and_again(synapse, cluster, clients, PERSISTERS[0])
        assert_exact(connection)

        known = failures(synapse)
        with looking(cluster), playing(clients, ROOMS):
            pass
        assert_exact(connection)
        assert_all_write(synapse, connection, clients[0], before)
        assert_exact(connection)
        assert failures(synapse) == known
    print(known, cluster.read_log()[begun:], synapse.read_log(), sep="\n")


def kill_again_and_again(
    synapse: SynapseWithWorkers, cluster: Cluster, clients: list[Client], victim: str
) -> None:
    for client in clients:
        client.is_disturbed = True
    with looking(cluster), playing(clients) as work:
        for _ in range(KILLS):
            time.sleep(1)
            synapse.workers[victim].kill()
            time.sleep(0.5)
            synapse.start_worker(victim)
        assert not all(each.done() for each in work), "all was over before the last kill"
    for client in clients:
        client.is_disturbed = False


def assert_all_write(
    synapse: SynapseWithWorkers, connection: Connection, client: Client, rooms: dict[str, list[str]]
) -> None:
    """A member of each room is heard, through either reader, and the same process stores it."""
    users = {user.user_id: user for user in client.users}
    members = connection.execute(
        "SELECT DISTINCT ON (room_id) room_id, user_id FROM sliding_sync_membership_snapshots WHERE membership = 'join'"
    ).fetchall()
    said = {name: 0 for name in PERSISTERS}
    for room, user_id in members:
        for reader in READERS:
            user = replace(users[user_id], api=synapse.workers[reader].api)
            try:
                event = user.say(room, "still here")
            except MatrixError as error:  # others have taken the right to
                assert error.status == 403, error
                continue
            ((writer,),) = connection.execute("SELECT instance_name FROM events WHERE event_id = %s", (event,))
            said[writer] += 1
            for name in PERSISTERS:
                assert room not in rooms[name] or writer == name
    assert min(said.values()) > 10, said
