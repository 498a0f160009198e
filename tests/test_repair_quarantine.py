"""repair_quarantine() beside other transactions, and the notes of a failure that must survive until somebody has seen it."""

from __future__ import annotations

import threading
import time

from harness.cluster import Cluster
from oracle.finding import JOINED_ROOMS
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
            holder.execute("UPDATE current_state_events SET membership = membership WHERE room_id = %s", [B])
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
