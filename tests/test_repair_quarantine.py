"""repair_quarantine() beside other transactions, and the notes of a failure that must survive until somebody has seen it."""

from __future__ import annotations

import threading
import time

from harness.cluster import Cluster
from oracle.finding import JOINED_ROOMS
from synthetic.database import SCHEMA
from three_rooms import (  # noqa: F401  fixtures among them
    A,
    B,
    Connection,
    connect,
    connection,
    database,
    judge,
    message,
    noted,
    one,
    rename,
    template,
)

REFUSE = f"""
    CREATE FUNCTION operations.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF current_setting('app.refuse', true) = 'yes' THEN RAISE EXCEPTION 'no'; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {JOINED_ROOMS} FOR EACH ROW EXECUTE FUNCTION operations.refuse();
    SELECT sliding_sync.catch_up();
"""
REPAIR = "SELECT repaired, remaining FROM sliding_sync.repair_quarantine()"


def test_a_note_that_another_transaction_holds_on_to(
    cluster: Cluster, database: str, connection: Connection
) -> None:
    connection.execute(REFUSE)
    connection.execute("SET app.refuse = 'yes'")
    rename(connection, A, "first")
    with connect(cluster, database) as other:
        other.execute("SET app.refuse = 'yes'")
        with other.transaction():
            rename(other, A, "second")
            other.execute("SELECT sliding_sync.flush()")  # the failure stands behind the note of the first
            connection.execute("SET app.refuse = 'no'")
            connection.execute(REPAIR)
    judge(connection, {(A,)})
    assert one(connection, f"SELECT count(*) FROM {JOINED_ROOMS} WHERE room_id = %s", A) or (A, None) in noted(connection)
    connection.execute(REPAIR)
    judge(connection)
    assert noted(connection) == set()


def test_a_key_that_waits_is_given_up(cluster: Cluster, database: str, connection: Connection) -> None:
    """The rows that are made already stay locked meanwhile: a message in their room must not wait long."""
    connection.execute("SET sliding_sync.inject_fault = 'current_state'")
    rename(connection, A)
    rename(connection, B)
    connection.execute("RESET sliding_sync.inject_fault")
    with connect(cluster, database) as holder, connect(cluster, database) as repairer:
        with holder.transaction(force_rollback=True):
            holder.execute("SELECT FROM rooms WHERE room_id = %s FOR UPDATE", [B])
            repair = threading.Thread(target=lambda: repairer.execute(REPAIR))
            repair.start()
            time.sleep(0.1)
            start = time.monotonic()
            message(connection, A)
            took = time.monotonic() - start
            repair.join(5)
            assert not repair.is_alive()
    assert took < 1.5
    assert noted(connection) == {(B, None)}
    connection.execute(REPAIR)
    judge(connection)


def test_a_schema_that_has_another_name_for_a_while(connection: Connection) -> None:
    connection.execute(REFUSE)
    connection.execute(f"ALTER SCHEMA {SCHEMA} RENAME TO elsewhere")
    connection.execute("SET search_path = operations, elsewhere; SET app.refuse = 'yes'")
    rename(connection, A)
    connection.execute(f"ALTER SCHEMA elsewhere RENAME TO {SCHEMA}")
    connection.execute(f"SET search_path = operations, {SCHEMA}; SET app.refuse = 'no'")
    assert noted(connection) == {(A, None)}
    connection.execute(REPAIR)
    judge(connection)


def test_an_attachment_that_is_gone_for_a_while(connection: Connection) -> None:
    connection.execute(REFUSE)
    connection.execute("DELETE FROM sliding_sync.attachments; SET app.refuse = 'yes'")
    rename(connection, A)
    connection.execute("SELECT sliding_sync.attach(%s)", [SCHEMA])
    assert noted(connection) == {(A, None)}


def test_a_failed_look_up_is_kept_until_a_run_has_seen_its_changes(
    cluster: Cluster, database: str, connection: Connection
) -> None:
    event = message(connection, A)
    with connect(cluster, database) as writer:
        with writer.transaction():
            writer.execute("SET LOCAL sliding_sync.inject_fault = 'rooms_of_events'")
            writer.execute("INSERT INTO rejections (event_id, reason, last_check) VALUES (%s, 'x', 'x')", [event])
            writer.execute("SELECT sliding_sync.flush()")
            time.sleep(0.01)
            connection.execute("CALL sliding_sync.backfill(restart => true, max_duration => '1 us')")
    connection.execute("CALL sliding_sync.backfill()")
    kept = "SELECT reason FROM sliding_sync.quarantine"
    assert connection.execute(kept).fetchall() == [("lookup_failed",)]
    connection.execute("CALL sliding_sync.backfill(restart => true)")
    assert connection.execute(kept).fetchall() == []
    judge(connection)


def test_a_count_is_not_seen_before_its_transaction_is_committed(
    cluster: Cluster, database: str, connection: Connection
) -> None:
    connection.execute("CALL sliding_sync.backfill()")
    ready = "SELECT is_ready FROM sliding_sync.ready()"
    assert one(connection, ready)
    with connect(cluster, database) as writer, connect(cluster, database) as holder:
        writer.execute("SET lock_timeout = '50ms'")
        writer.execute("BEGIN")
        writer.execute("SET LOCAL sliding_sync.enabled = off")
        writer.execute("DELETE FROM current_state_events WHERE room_id = %s AND type = 'm.room.name'", [A])
        with holder.transaction(force_rollback=True):
            holder.execute("LOCK TABLE sliding_sync.bypassed_writes")
            writer.execute("PREPARE TRANSACTION 'counted'")  # which record it cannot write, it counts
        for _ in range(2):
            assert not one(connection, ready)
            connection.execute("SELECT sliding_sync.catch_up()")
        assert not one(connection, ready)
        writer.execute("COMMIT PREPARED 'counted'")
    connection.execute("SELECT sliding_sync.catch_up()")
    assert one(connection, ready)
    judge(connection)
