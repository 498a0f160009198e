"""Where we choose not to write what Synapse writes: every place in the scenario, and nothing else.

Each line must be seen after every step it covers, with just these values, and nothing else may be seen.
The cases are those of docs/differences.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from homeserver.comparison import JOINED, SNAPSHOT, Difference
from homeserver.scenario import STEPS

_ORDER = {step.__name__: number for number, step in enumerate(STEPS)}


@dataclass(frozen=True)
class Deliberate:
    case: str
    since: str  # the step after which it is first seen
    until: str | None  # the step that ends it, if one does
    table: str
    room: str
    user: str | None
    column: str
    ours: Any
    synapse: Any  # a value, or a type where the value is made up by the homeserver

    def is_due(self, step: str) -> bool:
        end = len(STEPS) if self.until is None else _ORDER[self.until]
        return _ORDER[self.since] <= _ORDER[step] < end

    def explains(self, found: Difference) -> bool:
        place = (found.table, found.room, found.user, found.column)
        if place != (self.table, self.room, self.user, self.column) or found.ours != self.ours:
            return False
        if isinstance(self.synapse, type):
            return type(found.synapse) is self.synapse
        return found.synapse == self.synapse


def _room(case: str, since: str, until: str, room: str, column: str, ours: Any, synapse: Any) -> Deliberate:
    return Deliberate(case, since, until, JOINED, room, None, column, ours, synapse)


def _membership(
    case: str, since: str, until: str | None, room: str, user: str, column: str, ours: Any, synapse: Any
) -> Deliberate:
    return Deliberate(case, since, until, SNAPSHOT, room, user, column, ours, synapse)


_NAME, _SUCCESSOR = "room_name", "tombstone_successor_room_id"

DELIBERATE: tuple[Deliberate, ...] = (
    # A redacted event counts at once as its reader sees it; Synapse waits for the next event of its kind.
    _room("D2", "redact_name", "rename_after_redaction", "named", _NAME, None, "Named"),
    _room("D2", "redact_encryption", "encrypt_again", "direct", "is_encrypted", False, True),
    _room("D2", "redact_tombstone", "delete_rooms", "public", _SUCCESSOR, None, str),
    # ... until a purge deletes the redaction, and the event can be read again.
    _room("D2", "redact_name_before_purge", "purge_redaction", "upgraded", _NAME, None, "Upgraded"),
    # An unusable value is no value; Synapse keeps the one before, which may be older than the state.
    _room("D4", "unusable_name", "usable_name", "plain", _NAME, None, "Usable"),
    _membership("D4", "leave_while_name_is_unusable", "usable_name", "plain", "bob", _NAME, None, ""),
    _room("D4", "unusable_tombstone", "tombstone_without_successor", "odd type", _SUCCESSOR, None, str),
    # A purged event bumps nothing any more.
    _room("H27", "purge_all_bumps", "bump_after_purge", "encrypted", "bump_stamp", None, int),
)

# Our backfill against the homeserver's background updates.
BACKFILL: tuple[Deliberate, ...] = (
    # A leave that a purge made an outlier, without a state group: unknown. Synapse takes an invite's word for it.
    _membership("D23", "purge_all_bumps", None, "encrypted", "dave", "has_known_state", False, True),
    _membership("D23", "purge_all_bumps", None, "encrypted", "dave", "is_encrypted", False, True),
    _membership("D23", "purge_all_bumps", None, "encrypted", "dave", _NAME, None, "Secret"),
)


def unexplained(
    step: str, found: set[Difference], chosen: tuple[Deliberate, ...] = DELIBERATE
) -> list[str]:
    """What is wrong after a step: differences that nobody chose, and chosen ones that are not there."""
    due = [entry for entry in chosen if entry.is_due(step)]
    new = [str(difference) for difference in found if not any(entry.explains(difference) for entry in due)]
    gone = [
        f"not seen: {entry}" for entry in due if not any(entry.explains(difference) for difference in found)
    ]
    return sorted(new) + gone
