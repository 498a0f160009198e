"""A homeserver's life in short: many writers, a backfill beside them all the time, and sessions and servers that are killed.

No row is wrong at the end of any stretch, and no transaction of the homeserver's is lost: it may be tried again, and goes through.
The long variant commits 10^5 transactions.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from harness.cluster import Cluster
from oracle import check
from oracle.finding import ROW
from synthetic.database import SCHEMA, connect, create_homeserver
from synthetic.load import Outcome, Rooms, play, prepare

Connection = psycopg.Connection[Any]

DATABASE, CLIENTS = "life", 6
STRETCH, TRANSACTIONS = 3000, 100_000  # of the long variant: committed at least
BUSY = "datname = %s AND backend_type = 'client backend' AND application_name <> 'watcher' AND state = 'active'"


class Beside(threading.Thread):
    """Does something again and again beside the load, through any loss of the server."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__()
        self._work, self._stop_it, self.times, self.failure = work, threading.Event(), 0, None

    def run(self) -> None:
        while not self._stop_it.is_set():
            try:
                self._work()
                self.times += 1
            except psycopg.OperationalError:  # 57P01, and no connection
                time.sleep(0.1)
            except BaseException as failure:
                self.failure = failure
                return

    def __enter__(self) -> Beside:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_it.set()
        self.join()
        assert self.failure is None, self.failure


def fill(cluster: Cluster) -> None:
    """A backfill that always has something to do."""
    with cluster.connect(DATABASE) as connection:
        connection.execute(f"SET search_path = {SCHEMA}")
        for table in ("sliding_sync_joined_rooms", "sliding_sync_membership_snapshots"):
            connection.execute(f"DELETE FROM {table} WHERE random() < 0.2")
        connection.execute("CALL sliding_sync.backfill(batch_size => 20, restart => true)")


def kill(cluster: Cluster, rng: random.Random, blow: str) -> None:
    """A session in the middle of something; with SIGKILL the whole server starts again."""
    time.sleep(rng.uniform(0.1, 0.5) if blow == "sessions" else rng.uniform(0.5, 1.5))
    with cluster.connect(DATABASE, application_name="watcher") as connection:
        row = connection.execute(f"SELECT pid FROM pg_stat_activity WHERE {BUSY} ORDER BY random() LIMIT 1", [DATABASE]).fetchone()
        if row is None:
            return
        if blow == "sessions":
            connection.execute("SELECT pg_terminate_backend(%s)", row)
        else:
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(row[0], signal.SIGKILL)


def expect_kills_only(cluster: Cluster) -> None:
    crashes = [line for line in cluster.read_log().splitlines() if "terminated by signal" in line]
    assert all("signal 9" in line for line in crashes), crashes
    cluster.log.write_text("")


def stretch(cluster: Cluster, seed: int, blow: str, transactions: int) -> Outcome:
    """One homeserver from its beginning; all its rows are looked at."""
    create_homeserver(cluster, DATABASE)
    rooms = Rooms(CLIENTS, shared=6, own=3)
    with connect(cluster, DATABASE) as connection:
        prepare(connection, rooms)
    rng = random.Random(seed)
    with Beside(lambda: fill(cluster)) as filling, Beside(lambda: kill(cluster, rng, blow)) as killing:
        outcome = play(
            lambda: connect(cluster, DATABASE),
            rooms,
            seed=seed,
            transactions=transactions // CLIENTS,
            writes_tables=bool(seed % 2),
        )
    print(f"{blow}: {killing.times} kills, {filling.times} backfills; {outcome}")
    cluster.wait_until_ready()
    expect_kills_only(cluster)
    with cluster.connect(DATABASE) as connection:
        wrong = [finding for finding in check(connection, SCHEMA) if (finding.column, finding.actual) != (ROW, "absent")]
        assert not wrong, "\n".join(map(str, wrong[:30]))
        connection.execute("CALL sliding_sync.backfill(restart => true)")
        assert not (findings := check(connection, SCHEMA)), "\n".join(map(str, findings[:30]))
        assert not connection.execute("SELECT * FROM sliding_sync.quarantine").fetchall()
    cluster.drop_database(DATABASE)
    assert killing.times and filling.times, "nothing happened beside the load"
    assert not outcome.errors and not outcome.exhausted, (outcome, outcome.examples)
    return outcome


@pytest.mark.parametrize("blow", ["sessions", "servers"])
def test_a_short_life(servers: Cluster, blow: str) -> None:
    stretch(servers, 1 if blow == "sessions" else 2, blow, 900 if blow == "sessions" else 1800)


@pytest.mark.long
def test_a_hundred_thousand_transactions(servers: Cluster) -> None:
    total, seed, seconds = Outcome(), 100, 0.0
    while total.committed.total() < TRANSACTIONS:
        outcome = stretch(servers, seed, ("sessions", "sessions", "servers")[seed % 3], STRETCH)
        total += outcome
        seconds += outcome.seconds
        seed += 1
    total.seconds = seconds
    print(f"all: {total}")
