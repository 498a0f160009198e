"""What a homeserver said to its database, read back from the server's log: each statement as it was sent, in the order of
the commits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# A statement is logged when it has been executed, before its sender learns of it; the lines of its text after the first
# begin with a tab, and the text of an error is another kind of line.
LOGGING = "log_min_duration_statement = 0"
_LINE = re.compile(rb"[\d-]{10} [\d:.]{12} UTC \[(\d+)\] (\S*) \S* *(?:LOG:  duration: [\d.]+ ms  statement: (.*))?", re.S)
_BEGIN = re.compile(r"\s*BEGIN\b")
_END = re.compile(r"\s*(COMMIT|ROLLBACK)\b")
# between two transactions, where each of ours says at its beginning what it is
_BETWEEN = re.compile(r"\s*SET default_transaction_isolation\b")
_POSITION = re.compile(r"\s*SELECT nextval\('events_(?:backfill_)?stream_seq'\)")
_PERSISTS = re.compile(r"\s*(?:INSERT INTO|DELETE FROM) events\b(?! *_)")
_READS = re.compile(r"\s*(?:SELECT|WITH|BEGIN|COMMIT)\b(?!.*\b(?:FOR (?:KEY )?SHARE|FOR UPDATE|nextval)\b)", re.S)
_UPKEEP = re.compile(r"\s*(?:INSERT INTO|UPDATE|DELETE FROM)\s+sliding_sync_(?:joined_rooms|membership_snapshots)\b")


@dataclass
class Operation:
    """One request to the homeserver, and which part of the log it has filled."""

    kind: str
    is_counted: bool
    begin: int
    end: int


@dataclass
class Recorded:
    """A transaction, or a statement outside of any. `begin` and `end` are places in the log, each behind a statement."""

    begin: int
    statements: list[str] = field(default_factory=list)
    end: int = 0
    operation: Operation | None = None
    is_measured: bool = False
    """Persists or purges events, or was read for that."""

    def without_upkeep(self) -> list[str]:
        return [text for text in self.statements if not _UPKEEP.match(text)]

    @property
    def persists(self) -> bool:
        return any(_PERSISTS.match(text) for text in self.statements)

    @property
    def stores_membership(self) -> bool:
        return any("INSERT INTO local_current_membership" in text for text in self.statements)

    @property
    def only_reads(self) -> bool:
        return all(_READS.match(text) for text in self.statements)


def read(log: Path, database: str, start: int, operations: list[Operation]) -> list[Recorded]:
    """All committed transactions in one database since `start`, in the order of their commits."""
    transactions = sorted(_transactions(log, database, start), key=lambda t: t.end)
    for operation in (o for o in operations if o.kind == "far_join"):
        # the members, whom the homeserver asks for next, may come before its answer has been read
        operation.end = min(t.end for t in transactions if t.end > operation.begin and t.stores_membership)
    for transaction in transactions:
        transaction.operation = next((o for o in operations if o.begin < transaction.end <= o.end), None)
    _mark_measured(transactions)
    return transactions


def _transactions(log: Path, database: str, start: int) -> Iterator[Recorded]:
    open_ones: dict[bytes, Recorded] = {}
    for place, pid, text in _statements(log, database, start):
        ends = _END.match(text)
        if _BEGIN.match(text):
            open_ones[pid] = Recorded(place, [text])
        elif transaction := open_ones.get(pid):
            transaction.statements.append(text)
            if ends:
                transaction.end = place
                del open_ones[pid]
                if ends[1] == "COMMIT":
                    yield transaction
        elif not ends and not _BETWEEN.match(text):
            yield Recorded(place, [text], place)


def _statements(log: Path, database: str, start: int) -> Iterator[tuple[int, bytes, str]]:
    """Place in the log, process and text of each statement that did not fail."""
    place, entry = start, b""
    with log.open("rb") as lines:
        lines.seek(start)
        for line in [*lines, b""]:
            if line[:1] == b"\t":
                entry += line[1:]
            else:
                found = _LINE.match(entry)
                if found and found[3] is not None and found[2].decode() == database:
                    yield place, found[1], found[3].decode().removesuffix("\n")
                entry = line
            place += len(line)


def _mark_measured(transactions: list[Recorded]) -> None:
    """What stores events, and what was read from the moment on when they had their place in the stream."""
    position: int | None = None
    read: list[Recorded] = []
    for transaction in transactions:
        if any(_POSITION.match(text) for text in transaction.statements):
            position, read = transaction.end, []
        elif transaction.persists:
            for other in (transaction, *(r for r in read if r.end < transaction.begin)):
                other.is_measured = True
            position, read = None, []
        elif position is not None and transaction.begin >= position and transaction.only_reads:
            read.append(transaction)
