"""What must hold while a real homeserver plays the scenario, and after it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from harness.matrix_client import Exchange
from harness.synapse import Synapse
from homeserver import writers
from homeserver.scenario import NAMES, STEPS, Step, World, play
from oracle import check

Connection = psycopg.Connection[Any]


class Findings:
    """Everything found wrong, by the step after which it was first seen."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def add(self, step: str, messages: list[str]) -> None:
        for message in messages:
            self._seen.setdefault(message, step)

    def assert_none(self) -> None:
        lines = [f"after {step}: {message}" for message, step in self._seen.items()]
        assert not lines, f"{len(lines)} findings:\n" + "\n".join(lines)


def look_away(_step: str) -> list[str]:
    return []


def play_and_check(
    world: World, part: Sequence[Step] = STEPS, look: Callable[[str], list[str]] = look_away
) -> None:
    """A part of the scenario with `look` after each step; no request may have failed, nor any background work."""
    findings = Findings()
    try:
        play(world, lambda step: findings.add(step, look(step)), part)
    except Exception as error:
        error.add_note(world.synapse.read_log()[-3000:])
        raise
    findings.assert_none()
    assert_nothing_failed(world.synapse)


@contextmanager
def drift_after_each_request(world: World, connection: Connection) -> Iterator[None]:
    """Asks the oracle after every single request that may write, whichever thread made it."""
    findings, one_at_a_time = Findings(), threading.Lock()

    def look(exchange: Exchange) -> None:
        if exchange.method == "GET":
            return
        with one_at_a_time:
            findings.add(str(exchange), drift(connection, world.names))

    world.synapse.api.after_request = look
    try:
        yield
    finally:
        world.synapse.api.after_request = None
    findings.assert_none()


class DriftAtCommits:
    """For a `CommitGate`: asks the oracle if anything was committed since it was asked last."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._last: object = None
        self.findings = Findings()
        self.checks = 0

    def __call__(self) -> None:
        # Not even a rolled back transaction that wrote leaves this as it was.
        now = self._connection.execute("SELECT pg_current_snapshot()::text").fetchone()
        if now != self._last:
            self._last = now
            self.checks += 1
            self.findings.add(f"commit {self.checks}", drift(self._connection))


def assert_nothing_failed(synapse: Synapse) -> None:
    assert not synapse.api.failed, "\n".join(map(str, synapse.api.failed)) + "\n" + synapse.read_log()[-3000:]
    assert not synapse.errors(), synapse.errors()


def drift(connection: Connection, names: dict[str, str] | None = None) -> list[str]:
    """What the oracle says about the real tables."""
    named = []
    for finding in check(connection, writers.REAL):
        text = str(finding)
        for identifier, name in (names or {}).items():
            text = text.replace(identifier, name)
        named.append(f"oracle: {text}")
    return named


def row_versions(connection: Connection) -> dict[str, list[Any]]:
    """Which version of each row stands: equal lists mean that nothing was written, not even equal values."""
    return {
        table: connection.execute(f"SELECT ctid::text, xmin::text FROM public.{table} ORDER BY 1").fetchall()
        for table in writers.TABLES
    }


def check_room_lists(world: World, connection: Connection) -> None:
    """Each user's list over sliding sync holds the rooms that the homeserver's own membership tables name."""
    for name in NAMES:
        user = world.users[name]
        expected = connection.execute(
            "SELECT room_id FROM public.local_current_membership l JOIN public.room_memberships m"
            " USING (event_id, room_id, user_id) WHERE user_id = %s AND m.forgotten = 0"
            " AND NOT (l.membership = 'leave' AND m.sender = user_id)",
            (user.user_id,),
        ).fetchall()
        operations = user.sliding_sync()["lists"]["all"]["ops"]
        listed = {world.names.get(room, room) for operation in operations for room in operation["room_ids"]}
        assert listed == {world.names.get(room, room) for (room,) in expected}, f"the room list of {name}"
