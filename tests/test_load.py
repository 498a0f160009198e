"""Many writers at once: the triggers add no error to what the load meets without them; no row is wrong."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.cluster import Cluster
from oracle import check, count_rows
from oracle.finding import ROW
from oracle.picture import take_picture
from synthetic.database import OWNER, SCHEMA, connect, create_homeserver
from synthetic.load import Outcome, Rooms, play, prepare

CLIENTS = 8
OWN_KEYS = ("local_current_membership", "current_state_events", "event_forward_extremities", "rooms")


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> str:
    return create_homeserver(cluster, "load", extension=False)


def played(
    cluster: Cluster, template: str, seed: int, transactions: int, *, extension: bool, **behaviour: bool
) -> Outcome:
    """The load on a fresh database; with the extension, its rows are checked."""
    name = cluster.create_database("under load", OWNER, template)
    rooms = Rooms(CLIENTS, shared=6, own=3)
    if extension:
        cluster.execute("CREATE EXTENSION sliding_sync", name)
    with connect(cluster, name) as connection:
        prepare(connection, rooms)
    outcome = play(lambda: connect(cluster, name), rooms, seed=seed, transactions=transactions, **behaviour)
    with connect(cluster, name) as connection:
        findings = check(connection, SCHEMA)
        print(f"{count_rows(take_picture(connection, SCHEMA))} rows checked, {len(findings)} findings")
        if extension:
            assert not findings, "\n".join(map(str, findings[:30]))
        elif not behaviour["writes_tables"]:
            assert findings, "a check that finds nothing where nobody writes finds nothing"
    cluster.drop_database(name)
    return outcome


def compare(cluster: Cluster, template: str, seed: int, transactions: int, **behaviour: bool) -> None:
    without = played(cluster, template, seed, transactions, extension=False, **behaviour)
    with_it = played(cluster, template, seed, transactions, extension=True, **behaviour)
    print(f"without: {without}\nwith:    {with_it}\n         {dict(with_it.effective)}")
    assert without.committed.total() > CLIENTS * transactions * 0.8, "a load that fails proves nothing"
    added = set(with_it.errors) - set(without.errors)
    if behaviour["one_writer_a_room"]:
        assert not with_it.exhausted
    else:
        # Two of them may insert the same key; whether the homeserver's own index gets to tell is chance.
        added -= {f"23505 {table}" for table in OWN_KEYS}
    assert not added, with_it.examples
    # Writers that run into each other give up now and then; we may not make them do so much more often.
    assert with_it.exhausted.total() <= 3 * without.exhausted.total() + 5
    assert with_it.retries.total() <= 2 * without.retries.total() + 50


@pytest.mark.parametrize("writes_tables", [False, True], ids=["older homeserver", "newer homeserver"])
def test_a_homeserver_under_load(cluster: Cluster, template: str, writes_tables: bool) -> None:
    """One writer a room, as in a homeserver, and everything else beside it."""
    compare(cluster, template, 1, 500, writes_tables=writes_tables, one_writer_a_room=True)


@pytest.mark.parametrize("writes_tables", [False, True], ids=["older homeserver", "newer homeserver"])
def test_writers_that_do_not_wait_for_each_other(
    cluster: Cluster, template: str, writes_tables: bool
) -> None:
    compare(cluster, template, 2, 300, writes_tables=writes_tables, one_writer_a_room=False)


def write_slowly(
    cluster: Cluster, database: str, room: str, stop: threading.Event, seconds: float = 0.3
) -> int:
    """One transaction after the other that stays open for a while; how many were committed."""
    committed = 0
    with connect(cluster, database) as connection:
        connection.execute("SELECT create_room(%s, '@slow:hs.test')", [room])
        while not stop.is_set():
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            connection.execute("SELECT FROM rooms WHERE room_id = %s FOR SHARE", [room])  # a homeserver's first
            connection.execute("SELECT send_message(%s, '@slow:hs.test')", [room])
            time.sleep(seconds)
            connection.execute("COMMIT")
            committed += 1
    return committed


def wait_for_events(cluster: Cluster, database: str, more: int) -> None:
    def count() -> int:
        return int(cluster.execute(f"SELECT count(*) FROM {SCHEMA}.events", database)[0][0])

    enough = count() + more
    while count() < enough:
        time.sleep(0.05)


def test_the_triggers_come_while_everybody_writes(cluster: Cluster, template: str) -> None:
    """They get their locks although some transaction is always open; writers meet no error, and no row is wrong."""
    name = cluster.create_database("attached under load", OWNER, template)
    rooms, stop = Rooms(CLIENTS, shared=6, own=3), threading.Event()
    with connect(cluster, name) as connection:
        prepare(connection, rooms)
    with ThreadPoolExecutor() as pool:
        load = pool.submit(play, lambda: connect(cluster, name), rooms, seed=3, stop=stop)
        slow = [pool.submit(write_slowly, cluster, name, f"!slow{n}:hs.test", stop) for n in range(3)]
        try:
            wait_for_events(cluster, name, 100)
            cluster.execute("CREATE EXTENSION sliding_sync", name)
            wait_for_events(cluster, name, 300)
            cluster.execute("SELECT sliding_sync.attach()", name)  # once more: no difference
            wait_for_events(cluster, name, 100)
        finally:
            stop.set()
        outcome = load.result()
        assert all(writer.result() > 0 for writer in slow)
    print(outcome)
    assert not outcome.errors and not outcome.exhausted and not outcome.disconnections, outcome.examples
    with connect(cluster, name) as connection:
        findings = [finding for finding in check(connection, SCHEMA) if finding.column != ROW]  # rows may be missing
        assert not findings, "\n".join(map(str, findings[:30]))
        assert connection.execute("SELECT count(*) > 10 FROM sliding_sync_joined_rooms").fetchone() == (True,)
    cluster.drop_database(name)


def test_the_triggers_go_while_transactions_are_open(cluster: Cluster, template: str) -> None:
    """detach() waits for readers too: those who come after it must not hold yet what it waits for."""
    name = cluster.create_database("detached under load", OWNER, template)
    cluster.execute("CREATE EXTENSION sliding_sync", name)
    stop = threading.Event()
    with ThreadPoolExecutor() as pool:
        slow = [pool.submit(write_slowly, cluster, name, f"!slow{n}:hs.test", stop, 0.5) for n in range(4)]
        try:
            wait_for_events(cluster, name, 30)
            for _ in range(3):
                cluster.execute("SELECT sliding_sync.detach()", name)
                cluster.execute("SELECT sliding_sync.attach()", name)
        finally:
            stop.set()
        committed = sum(writer.result() for writer in slow)
    # each of them gets through some attempts, but not for as long as they like
    assert 0 < committed < 100
    cluster.drop_database(name)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10, 14))
@pytest.mark.parametrize("one_writer", [True, False], ids=["one writer a room", "many"])
@pytest.mark.parametrize("writes_tables", [False, True], ids=["older homeserver", "newer homeserver"])
def test_a_long_load(
    cluster: Cluster, template: str, seed: int, writes_tables: bool, one_writer: bool
) -> None:
    compare(cluster, template, seed, 1500, writes_tables=writes_tables, one_writer_a_room=one_writer)
