"""What a transaction costs its backend: processor time from the kernel's per-process clock, and the log it wrote."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import pq

from harness.environment import PROJECT
from workload.statements import Step, Transaction

Connection = psycopg.Connection[Any]


class Backend:
    """A session that sends texts as they are, in the simple protocol, and knows its backend's clock."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.pid = connection.info.backend_pid
        self._clock = Path("/proc", str(self.pid), "schedstat")

    def send(self, text: str) -> None:
        result = self.connection.pgconn.exec_(text.encode())
        if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
            raise RuntimeError(f"{result.error_message.decode()}in: {text[:2000]}")

    def nanoseconds(self) -> int:
        """Time on a processor so far. Exact to some microseconds once the backend waits for us."""
        return int(self._clock.read_text().split()[0])

    def play(self, transactions: Sequence[Transaction], upkeep: bool, reads: bool, cold: bool) -> None:
        for transaction in transactions:
            steps: list[Step] = [
                *(transaction.reads if reads else []),
                *(transaction.cold_reads if cold else []),
                *(step for step in transaction.steps if upkeep or not step.own),
            ]
            for step in steps:
                self.send(step.text)


@dataclass
class Sample:
    """Medians and spread of a figure over interleaved rounds, and of its ratio to the first variant's."""

    values: list[float]
    ratios: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    def spread(self) -> tuple[float, float]:
        """The middle half of the ratios."""
        if len(self.ratios) < 3:
            return min(self.ratios), max(self.ratios)
        low, _, high = statistics.quantiles(self.ratios, n=4, method="inclusive")
        return low, high


def samples(rounds: dict[str, list[float]], base: str) -> dict[str, Sample]:
    """Ratios are made within a round, so that a busy moment of the machine hits both sides."""
    return {
        name: Sample(values, [value / of for value, of in zip(values, rounds[base])]) for name, values in rounds.items()
    }


def machine() -> dict[str, Any]:
    """What a figure was measured on, and which commit's."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    head = ["git", "-C", str(PROJECT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True).stdout.strip()
    return {"processor": model, "processors": os.cpu_count(), "kernel": platform.release(), "commit": commit}
