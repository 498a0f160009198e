"""A difference between a stored row and what it should be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

JOINED_ROOMS = "sliding_sync_joined_rooms"
SNAPSHOTS = "sliding_sync_membership_snapshots"

Value = str | int | bool | None
Row = Mapping[str, Value]

ROW = "(row)"  # stands in Finding.column when the whole row is missing, or should not be there


@dataclass(frozen=True)
class Finding:
    table: str
    key: tuple[str, ...]
    column: str
    expected: str
    actual: str
    reason: str

    def __str__(self) -> str:
        key = ", ".join(self.key)
        difference = f"expected {self.expected}, found {self.actual}"
        return f"{self.table} [{key}] {self.column}: {difference} ({self.reason})"


def row_findings(
    table: str, key: tuple[str, ...], expected: Row | None, actual: Row | None, reason: str
) -> list[Finding]:
    """The differences between two rows; `expected` may name only some of the columns."""
    if expected is None and actual is None:
        return []
    if expected is None or actual is None:
        wanted, found = ("absent", "present") if expected is None else ("present", "absent")
        return [Finding(table, key, ROW, wanted, found, reason)]
    return [
        Finding(table, key, column, repr(value), repr(actual[column]), reason)
        for column, value in expected.items()
        if actual[column] != value
    ]
