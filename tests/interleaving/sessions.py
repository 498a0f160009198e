"""Sessions that are sent a statement without waiting for it, so that who is blocked lets the other go on."""

from __future__ import annotations

import re
import select
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.pq import DiagnosticField, ExecStatus

_FAILED = (ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE)
_STUCK = 20.0  # seconds; a deadlock is found much sooner


@dataclass(frozen=True)
class Failure:
    step: str
    sqlstate: str
    message: str

    def __str__(self) -> str:
        return f"{self.sqlstate} at {self.step}: {self.message}"


@dataclass
class Session:
    connection: psycopg.Connection[Any]
    failures: list[Failure] = field(default_factory=list)
    has_committed: bool = False
    is_running: bool = False
    _step: str = ""

    @property
    def pid(self) -> int:
        return self.connection.info.backend_pid

    def send(self, step: str, statements: str) -> None:
        assert not self.is_running
        self._step, self.is_running = step, True
        self.connection.pgconn.send_query(statements.encode())

    def poll(self, seconds: float) -> bool:
        """True when the statement has ended; its error is in `failures`."""
        server = self.connection.pgconn
        deadline = time.monotonic() + seconds
        while self.is_running:
            server.consume_input()
            if not server.is_busy():
                result = server.get_result()
                if result is None:
                    self.is_running = False
                elif result.status in _FAILED:
                    self._note_failure(result)
                elif result.command_status == b"COMMIT":
                    self.has_committed = True
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            select.select([server.socket], [], [], left)
        return True

    def _note_failure(self, result: Any) -> None:
        def part(name: DiagnosticField) -> str:
            return (result.error_field(name) or b"").decode(errors="replace")

        message = part(DiagnosticField.MESSAGE_PRIMARY)
        # the first entry: a statement may have several lines
        entry = re.match(r'SQL statement ".*?"$|[^\n]*', part(DiagnosticField.CONTEXT), re.DOTALL | re.MULTILINE)
        where = " ".join(entry[0].split()) if entry and entry[0] else part(DiagnosticField.MESSAGE_DETAIL)
        self.failures.append(Failure(self._step, part(DiagnosticField.SQLSTATE), f"{message} ({where})" if where else message))


Step = tuple[Session, str, str]  # who, what it is called, the statements


def play(steps: Iterable[Step], monitor: psycopg.Connection[Any]) -> None:
    """One step after the other. Who is blocked does its next steps as soon as it can."""
    waiting: list[Step] = []

    def is_done(session: Session) -> bool:
        while not session.poll(0.002):
            (blocked_by,) = monitor.execute("SELECT pg_blocking_pids(%s)", [session.pid]).fetchone() or ([],)
            if blocked_by:
                return session.poll(0)
        return True

    def carry_out(more: list[Step]) -> list[Step]:
        left: list[Step] = []
        for session, name, statements in more:
            if any(session is behind for behind, _, _ in left) or not session.poll(0):
                left.append((session, name, statements))
            else:
                session.send(name, statements)
                is_done(session)
        return left

    for step in steps:
        waiting = carry_out([*waiting, step])
    deadline = time.monotonic() + _STUCK
    while waiting:
        for session, _, _ in waiting:
            session.poll(0.01)
        waiting = carry_out(waiting)
        assert time.monotonic() < deadline, f"nobody goes on: {[name for _, name, _ in waiting]}"
    for step in steps:
        assert step[0].poll(_STUCK), f"{step[1]} does not end"
