"""Behind pgbouncer: sessions of the server change hands, between transactions too, and lose what they had set."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from harness.cluster import Cluster
from harness.pgbouncer import Pgbouncer
from oracle import check, count_rows
from oracle.picture import take_picture
from synthetic.database import ANNA, OWNER, ROOM, SCHEMA, SEARCH_PATH, connect, create_homeserver
from synthetic.load import Outcome, Rooms, play, prepare

pytestmark = pytest.mark.long

Connection = psycopg.Connection[Any]

CLIENTS, ROUNDS, TRANSACTIONS = 8, 3, 60
ALWAYS = {"server_reset_query": "DISCARD ALL", "server_reset_query_always": "1"}
POOLS = [
    pytest.param("session", CLIENTS, ALWAYS, id="session"),
    pytest.param("transaction", 3, {}, id="transaction"),
    pytest.param("transaction", 3, ALWAYS, id="transaction, DISCARD ALL"),
]


@pytest.fixture
def database(cluster: Cluster) -> Any:
    name = create_homeserver(cluster, "pooled")
    cluster.execute("CALL sliding_sync.backfill()", name)  # nothing is there yet: all rows come from the triggers
    cluster.execute(f"ALTER DATABASE pooled SET search_path = {SEARCH_PATH}")  # nobody can SET it for a session
    yield name
    cluster.drop_database(name)


@pytest.mark.parametrize(("mode", "size", "settings"), POOLS)
def test_a_homeserver_behind_it(cluster: Cluster, database: str, mode: str, size: int, settings: dict[str, str]) -> None:
    rooms, total = Rooms(CLIENTS, shared=6, own=3), Outcome()
    begun = len(cluster.read_log())
    with Pgbouncer(cluster, mode, size, **settings) as pooler:
        with pooler.connect(database, OWNER) as connection:
            prepare(connection, rooms)
        for seed in range(ROUNDS):  # all come again: as new sessions of the pooler, to old ones of the server
            total += play(lambda: pooler.connect(database, OWNER), rooms, seed=seed, transactions=TRANSACTIONS)
        sessions = cluster.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = 'pooled'")
        assert 1 <= sessions[0][0] <= size
    print(total)
    assert total.effective.total() > CLIENTS * ROUNDS * TRANSACTIONS * 0.3
    assert not total.errors and not total.exhausted and not total.disconnections, total.examples
    assert "sliding_sync" not in cluster.read_log()[begun:]
    assert_exact(cluster, database)


def assert_exact(cluster: Cluster, database: str) -> None:
    with connect(cluster, database) as connection:
        findings = check(connection, SCHEMA)
        assert not findings, "\n".join(map(str, findings[:30]))
        assert count_rows(take_picture(connection, SCHEMA)) > 0
    assert cluster.execute("SELECT * FROM sliding_sync.ready()", database) == [(True, [])]


@pytest.mark.parametrize(("mode", "size", "settings"), POOLS)
def test_a_client_that_goes_in_its_transaction(
    cluster: Cluster, database: str, mode: str, size: int, settings: dict[str, str]
) -> None:
    """The next one gets another session of the server: nothing that was pending comes along."""
    with Pgbouncer(cluster, mode, 1, **settings) as pooler:
        with pooler.connect(database, OWNER) as connection:
            connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
        gone = pooler.connect(database, OWNER)
        gone.execute("BEGIN")
        gone.execute("SELECT rename(%s, %s, 'Lost')", (ROOM, ANNA))
        gone.close()
        with pooler.connect(database, OWNER) as connection:
            connection.execute("SELECT send_message(%s, %s)", (ROOM, ANNA))
            names = connection.execute("SELECT room_name FROM sliding_sync_joined_rooms").fetchall()
    assert names == [("Tea",)]
    assert_exact(cluster, database)


@pytest.mark.parametrize(("settings", "reasons"), [({}, ["bypassed_writes"]), (ALWAYS, [])], ids=["stays", "DISCARD ALL"])
def test_a_setting_that_stays(cluster: Cluster, database: str, settings: dict[str, str], reasons: list[str]) -> None:
    """docs/operations.md: SET stays on the server's session, which somebody else gets next; that leaves a trace."""
    with Pgbouncer(cluster, "transaction", 1, **settings) as pooler:
        with pooler.connect(database, OWNER) as connection:
            connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
            connection.execute("SET sliding_sync.enabled = off")
        with pooler.connect(database, OWNER) as connection:
            connection.execute("SELECT rename(%s, %s, 'New')", (ROOM, ANNA))
    ((ready, found),) = cluster.execute("SELECT * FROM sliding_sync.ready()", database)
    assert (ready, [reason.split(":")[0] for reason in found]) == (not reasons, reasons)
    cluster.execute("SELECT * FROM sliding_sync.catch_up()", database)
    assert_exact(cluster, database)


def test_set_local_ends_with_its_transaction(cluster: Cluster, database: str) -> None:
    with Pgbouncer(cluster, "transaction", 1) as pooler, pooler.connect(database, OWNER) as connection:
        with connection.transaction():
            connection.execute("SET LOCAL sliding_sync.enabled = off")
        connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
    assert_exact(cluster, database)
