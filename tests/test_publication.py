"""Logical replication FOR ALL TABLES: the extension's own tables are among them, and stop nobody."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from harness.cluster import SUPERUSER, Cluster
from oracle import check
from synthetic.database import ANNA, BERT, OWNER, ROOM, SCHEMA, connect, create_homeserver

Connection = psycopg.Connection[Any]

OTHER = "!s:hs.test"
PUBLISHER, SUBSCRIBER = "publisher", "subscriber"
OPERATIONS_DOC = Path(__file__).resolve().parents[1] / "docs/operations.md"

_OWN_TABLES = """
    SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'sliding_sync'::regnamespace AND c.relkind = 'r'
    ORDER BY c.relname
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with Cluster({"wal_level": "logical"}) as running:
        yield running


@pytest.fixture
def publisher(server: Cluster) -> Iterator[Cluster]:
    """A homeserver with a room, in a database that publishes; the subscriber's is still to be made."""
    create_homeserver(server, PUBLISHER)
    with connect(server, PUBLISHER, SUPERUSER) as connection:
        connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
        for table in tables(connection):  # most of them have no primary key
            identity = sql.SQL("ALTER TABLE {} REPLICA IDENTITY FULL")
            connection.execute(identity.format(sql.Identifier(SCHEMA, table)))
    yield server
    unsubscribe(server)
    server.drop_database(SUBSCRIBER)
    server.drop_database(PUBLISHER)


def tables(connection: Connection, schema: str = SCHEMA) -> list[str]:
    rows = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'r' ORDER BY 1",
        (schema,),
    )
    return [name for (name,) in rows]


def publish(cluster: Cluster, what: str) -> None:
    cluster.execute(sql.SQL("CREATE PUBLICATION everything FOR " + what), PUBLISHER)
    cluster.execute("SELECT pg_create_logical_replication_slot('everything', 'pgoutput')", PUBLISHER)


def subscribe(cluster: Cluster) -> None:
    """With the rows that are there; what a homeserver's new database holds already is taken out first."""
    with cluster.connect(SUBSCRIBER) as connection:
        connection.execute("SET session_replication_role = replica")
        for table in tables(connection):
            connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(SCHEMA, table)))
    cluster.execute(
        sql.SQL(
            "CREATE SUBSCRIPTION everything CONNECTION {} PUBLICATION everything"
            " WITH (create_slot = false, slot_name = 'everything')"
        ).format(sql.Literal(f"host=127.0.0.1 port={cluster.port} user={SUPERUSER} dbname={PUBLISHER}")),
        SUBSCRIBER,
    )
    deadline = time.monotonic() + 60
    while cluster.execute("SELECT srrelid FROM pg_subscription_rel WHERE srsubstate <> 'r'", SUBSCRIBER):
        assert time.monotonic() < deadline, cluster.read_log()[-3000:]
        time.sleep(0.1)


def unsubscribe(cluster: Cluster) -> None:
    if cluster.execute("SELECT subname FROM pg_subscription"):
        cluster.execute("ALTER SUBSCRIPTION everything DISABLE", SUBSCRIBER)
        cluster.execute("ALTER SUBSCRIPTION everything SET (slot_name = NONE)", SUBSCRIBER)
        cluster.execute("DROP SUBSCRIPTION everything", SUBSCRIBER)
    deadline = time.monotonic() + 30
    while cluster.execute("SELECT slot_name FROM pg_replication_slots WHERE active"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    cluster.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")


def wait_for_subscriber(cluster: Cluster) -> None:
    """Everything that was committed has arrived, or there is an error in the log."""
    deadline = time.monotonic() + 60
    target = cluster.execute("SELECT pg_current_wal_insert_lsn()")[0][0]
    query = sql.SQL("SELECT slot_name FROM pg_replication_slots WHERE confirmed_flush_lsn >= {}")
    while not cluster.execute(query.format(sql.Literal(target))):
        errors = [line for line in cluster.read_log().splitlines() if f" {SUBSCRIBER} " in line and "ERROR" in line]
        assert time.monotonic() < deadline, errors[-5:]
        time.sleep(0.1)


def live(cluster: Cluster) -> None:
    """Whatever makes the extension write, update and delete in its own tables."""
    with connect(cluster, PUBLISHER, SUPERUSER) as connection:
        finished = connection.execute("CALL sliding_sync.backfill()").fetchone()
        assert finished and finished[-1] is True
        connection.execute("SET sliding_sync.enabled = off")
        connection.execute("SELECT rename(%s, %s, 'Unseen')", (ROOM, ANNA))
        connection.execute("SELECT send_message(%s, %s)", (ROOM, ANNA))
        connection.execute("RESET sliding_sync.enabled")
        assert connection.execute("SELECT had_gap FROM sliding_sync.catch_up()").fetchone() == (True,)
        connection.execute("SET sliding_sync.inject_fault = 'current_state:22012'")
        connection.execute("SELECT create_room(%s, %s, name => 'Other')", (OTHER, ANNA))
        connection.execute("RESET sliding_sync.inject_fault")
        repaired = connection.execute("SELECT repaired, remaining FROM sliding_sync.repair_quarantine()")
        assert repaired.fetchone() == (2, 0)
        connection.execute("UPDATE sliding_sync_joined_rooms SET room_name = 'Wrong' WHERE room_id = %s", (ROOM,))
        assert len(connection.execute("SELECT * FROM sliding_sync.repair()").fetchall()) == 1
        connection.execute('SELECT "join"(%s, %s)', (ROOM, BERT))
        connection.execute("CALL sliding_sync.backfill(restart => true)")
        # a trace that stays
        connection.execute("SET sliding_sync.enabled = off")
        connection.execute("SELECT rename(%s, %s, 'Coffee')", (ROOM, ANNA))


def assert_same_rows(cluster: Cluster) -> None:
    with connect(cluster, PUBLISHER, SUPERUSER) as there, connect(cluster, SUBSCRIBER, SUPERUSER) as here:
        for table in tables(there):
            query = sql.SQL("SELECT * FROM {} t ORDER BY t::text").format(sql.Identifier(SCHEMA, table))
            assert here.execute(query).fetchall() == there.execute(query).fetchall(), table


def test_a_subscriber_with_the_extension(publisher: Cluster) -> None:
    publish(publisher, "ALL TABLES")
    create_homeserver(publisher, SUBSCRIBER)
    with connect(publisher, SUBSCRIBER, SUPERUSER) as connection:
        # rows of its own, under the numbers that the publisher's will have
        connection.execute("SET sliding_sync.enabled = off")
        connection.execute("SELECT create_room(%s, %s)", (OTHER, BERT))
        connection.execute("RESET sliding_sync.enabled")
        connection.execute("SELECT * FROM sliding_sync.catch_up()")
        connection.execute("SET sliding_sync.enabled = off")
        connection.execute("DELETE FROM room_memberships")
        mine = {
            table: connection.execute(f"SELECT * FROM sliding_sync.{table} t ORDER BY t::text").fetchall()
            for table in tables(connection, "sliding_sync")
        }
    subscribe(publisher)
    live(publisher)
    wait_for_subscriber(publisher)
    assert_same_rows(publisher)
    with connect(publisher, SUBSCRIBER, SUPERUSER) as connection:
        for table, rows in mine.items():
            if table == "bypassed_writes":
                continue
            now = connection.execute(f"SELECT * FROM sliding_sync.{table} t ORDER BY t::text").fetchall()
            assert now == rows, table
        reasons = connection.execute("SELECT DISTINCT reason FROM sliding_sync.bypassed_writes ORDER BY 1")
        assert reasons.fetchall() == [("disabled",), ("replica",)]
        # what is arriving is not to be made here
        for statement in (
            "SELECT * FROM sliding_sync.catch_up()",
            "SELECT * FROM sliding_sync.repair()",
            "CALL sliding_sync.backfill()",
        ):
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="subscription"):
                connection.execute(statement)
    unsubscribe(publisher)
    with connect(publisher, SUBSCRIBER, SUPERUSER) as connection:
        connection.execute("CALL sliding_sync.backfill()")
        assert connection.execute("SELECT * FROM sliding_sync.ready()").fetchone() == (True, [])
        assert not check(connection, SCHEMA)


@pytest.mark.parametrize("published", ["ALL TABLES", f"TABLES IN SCHEMA {SCHEMA}"])
def test_a_subscriber_without_the_extension(publisher: Cluster, published: str) -> None:
    publish(publisher, published)
    create_homeserver(publisher, SUBSCRIBER, extension=False)
    if published == "ALL TABLES":
        stand_in(publisher)
    subscribe(publisher)
    live(publisher)
    wait_for_subscriber(publisher)
    assert_same_rows(publisher)


def stand_in(cluster: Cluster) -> None:
    """The query of docs/operations.md, run on the publisher, makes the tables of the subscriber."""
    found = re.search(r"^SELECT format\('CREATE TABLE.*?;$", OPERATIONS_DOC.read_text(), re.DOTALL | re.MULTILINE)
    assert found
    cluster.execute("CREATE SCHEMA sliding_sync", SUBSCRIBER)
    for (statement,) in cluster.execute(sql.SQL(found[0]), PUBLISHER):
        cluster.execute(sql.SQL(statement), SUBSCRIBER)


def test_every_own_table_can_be_published(publisher: Cluster) -> None:
    """A primary key, without which UPDATE and DELETE are refused, and the trigger that drops what arrives."""
    names = [name for (name,) in publisher.execute(_OWN_TABLES, PUBLISHER)]
    assert "quarantine" in names
    with publisher.connect(PUBLISHER) as connection:
        keyed = connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary"
            " WHERE c.relname = ANY (%s) AND c.relnamespace = 'sliding_sync'::regnamespace ORDER BY 1",
            (names,),
        )
        assert [name for (name,) in keyed] == names
        dropping = connection.execute(
            "SELECT tgrelid::regclass::text, tgenabled FROM pg_trigger WHERE tgname = 'drop_replicated_row' ORDER BY 1"
        )
        assert dropping.fetchall() == [(f"sliding_sync.{name}", "R") for name in names]


def test_own_writes_in_a_replicas_session(publisher: Cluster) -> None:
    """They go through: only what somebody else writes there is dropped."""
    with connect(publisher, PUBLISHER, SUPERUSER) as connection:
        connection.execute("CALL sliding_sync.backfill()")
        connection.execute("SET session_replication_role = replica")
        connection.execute("SELECT rename(%s, %s, 'Unseen')", (ROOM, ANNA))
        traces = "SELECT reason FROM sliding_sync.bypassed_writes"
        assert connection.execute(traces).fetchall() == [("replica",)]
        for statement in (
            "INSERT INTO sliding_sync.bypassed_writes (schema_name, reason) VALUES ('x', 'replica')",
            "UPDATE sliding_sync.bypassed_writes SET reason = 'disabled'",
            "DELETE FROM sliding_sync.bypassed_writes",
        ):
            assert connection.execute(statement).rowcount == 0
        assert connection.execute(traces).fetchall() == [("replica",)]
        assert connection.execute("SELECT had_gap FROM sliding_sync.catch_up()").fetchone() == (True,)
        assert connection.execute(traces).fetchall() == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege), connect(publisher, PUBLISHER, OWNER) as connection:
        connection.execute("DELETE FROM sliding_sync.bypassed_writes")
