"""bench/real reads a homeserver's statements back from the server's log: a log by hand, with what a real one has in it."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.environment import PROJECT

sys.path.append(str(PROJECT / "bench"))

from workload.recording import Operation, Recorded, read  # noqa: E402


class Log:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(b"2026-11-30 10:00:00.000 UTC [1]   LOG:  database system is ready\n")

    def say(self, pid: int, *statements: str, database: str = "recorded", kind: str = "LOG:  duration: 0.1 ms  statement: ") -> int:
        """Where the log ends now."""
        with self.path.open("a") as log:
            for text in statements:
                lines = text.replace("\n", "\n\t")
                log.write(f"2026-11-30 10:00:00.123 UTC [{pid}] {database} synapse {kind}{lines}\n")
        return self.path.stat().st_size

    def read(self, *operations: Operation, start: int = 0) -> list[Recorded]:
        return read(self.path, "recorded", start, list(operations))


def log_in(folder: Path) -> Log:
    return Log(folder / "server.log")


def texts(transactions: list[Recorded]) -> list[list[str]]:
    return [transaction.statements for transaction in transactions]


def test_in_the_order_of_commits(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    log.say(1, "BEGIN ISOLATION LEVEL REPEATABLE READ", "INSERT INTO a\nVALUES ('x')")
    log.say(2, "BEGIN", "SELECT 1", "COMMIT")
    log.say(3, "BEGIN", "DELETE FROM a", "ROLLBACK")
    log.say(9, "BEGIN", "SELECT 9", "COMMIT", database="another")
    log.say(1, 'syntax error at or near "COMMIT"', kind="ERROR:  ")
    log.say(1, "COMMIT")
    log.say(2, "SET default_transaction_isolation TO 'read committed'", "SELECT 2")
    assert texts(log.read()) == [
        ["BEGIN", "SELECT 1", "COMMIT"],
        ["BEGIN ISOLATION LEVEL REPEATABLE READ", "INSERT INTO a\nVALUES ('x')", "COMMIT"],
        ["SELECT 2"],
    ]


def test_from_a_place_on(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    start = log.say(1, "BEGIN", "SELECT 1", "COMMIT")
    log.say(1, "BEGIN", "SELECT 2", "COMMIT")
    assert texts(log.read(start=start)) == [["BEGIN", "SELECT 2", "COMMIT"]]


def test_operations_have_what_was_committed_meanwhile(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    before = log.say(1, "BEGIN", "SELECT 0", "COMMIT")
    after = log.say(1, "BEGIN", "SELECT 1", "COMMIT")
    log.say(1, "BEGIN", "SELECT 2", "COMMIT")
    name = Operation("name", True, before, after)
    assert [transaction.operation for transaction in log.read(name)] == [None, name, None]


def test_a_remote_join_ends_with_its_membership(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    begin = log.say(1, "BEGIN", "SELECT 0", "COMMIT")
    log.say(1, "BEGIN", "INSERT INTO local_current_membership VALUES (1)", "COMMIT")
    end = log.say(1, "BEGIN", "SELECT members", "COMMIT")
    join = Operation("far_join", True, begin, end)
    assert [transaction.operation for transaction in log.read(join)] == [None, join, None]


def test_what_is_measured(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    log.say(1, "BEGIN", "SELECT too early", "COMMIT")
    log.say(1, "SELECT nextval('events_stream_seq')")
    log.say(1, "BEGIN", "SELECT state", "COMMIT", "BEGIN", "SELECT a FOR UPDATE", "COMMIT", "BEGIN", "INSERT INTO b VALUES (1)", "COMMIT")
    log.say(1, "BEGIN", "INSERT INTO events (event_id) VALUES ('$1')", "COMMIT", "BEGIN", "SELECT afterwards", "COMMIT")
    log.say(1, "BEGIN", "INSERT INTO events_of_another VALUES (1)", "COMMIT")
    measured = [transaction.statements[1] for transaction in log.read() if transaction.is_measured]
    assert measured == ["SELECT state", "INSERT INTO events (event_id) VALUES ('$1')"]


def test_without_upkeep(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    mine = ["DELETE FROM sliding_sync_joined_rooms WHERE true", "INSERT INTO sliding_sync_membership_snapshots\nVALUES (1)"]
    log.say(1, "BEGIN", "INSERT INTO events VALUES (1)", *mine, "SELECT bump_stamp FROM sliding_sync_joined_rooms", "COMMIT")
    (transaction,) = log.read()
    assert transaction.without_upkeep() == [
        "BEGIN", "INSERT INTO events VALUES (1)", "SELECT bump_stamp FROM sliding_sync_joined_rooms", "COMMIT",
    ]
