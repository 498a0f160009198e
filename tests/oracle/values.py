"""From event JSON to column values (docs/rules.md#reading-json), by Python's own JSON reader.

A document nested deeper than Python's recursion limit counts as unreadable.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Mapping

CREATE = "m.room.create"
ENCRYPTION = "m.room.encryption"
NAME = "m.room.name"
TOMBSTONE = "m.room.tombstone"
MEMBER = "m.room.member"

RELEVANT = (CREATE, ENCRYPTION, NAME, TOMBSTONE)
BUMP_TYPES = frozenset(
    [
        CREATE,
        "m.room.message",
        "m.room.encrypted",
        "m.sticker",
        "m.call.invite",
        "m.poll.start",
        "m.beacon_info",
    ]
)

COLUMN = {
    CREATE: "room_type",
    ENCRYPTION: "is_encrypted",
    NAME: "room_name",
    TOMBSTONE: "tombstone_successor_room_id",
}
FIELD = {CREATE: "type", ENCRYPTION: "algorithm", NAME: "name", TOMBSTONE: "replacement_room"}
EMPTY: dict[str, str | bool | None] = {CREATE: None, ENCRYPTION: False, NAME: None, TOMBSTONE: None}

ColumnValue = str | bool | None
Json = dict[str, Any]


def read_object(text: str | None) -> Json | None:
    """The document, if it is a JSON object; numbers of any length are welcome."""
    if text is None:
        return None
    try:
        document = json.loads(text, parse_int=len)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def usable(value: Any) -> str | None:
    """A text that PostgreSQL can store."""
    if not isinstance(value, str) or "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        return None
    return value


def object_field(document: Json | None, key: str) -> Json:
    value = (document or {}).get(key)
    return value if isinstance(value, dict) else {}


def column_value(kind: str, content: Json) -> ColumnValue:
    value = content.get(FIELD[kind])
    return value is not None if kind == ENCRYPTION else usable(value)


@dataclass(frozen=True)
class History:
    """The columns of a snapshot that say what the room was like at the membership."""

    has_known_state: bool
    room_type: ColumnValue = None
    room_name: ColumnValue = None
    is_encrypted: ColumnValue = False
    tombstone_successor_room_id: ColumnValue = None

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> History:
        return cls(**{column: row[column] for column in HISTORY_COLUMNS})

    def columns(self) -> dict[str, ColumnValue]:
        return {column: getattr(self, column) for column in HISTORY_COLUMNS}


HISTORY_COLUMNS = ("has_known_state", *COLUMN.values())
UNKNOWN = History(has_known_state=False)


def stripped_history(document: Json | None, membership: str) -> History:
    """What the stripped state inside an invite or a knock tells."""
    key = {"invite": "invite_room_state", "knock": "knock_room_state"}.get(membership)
    elements = object_field(document, "unsigned").get(key) if key else None
    if not isinstance(elements, list):
        return UNKNOWN
    contents = {
        element["type"]: element["content"]
        for element in elements
        if isinstance(element, dict)
        and all(isinstance(element.get(field), str) for field in ("type", "state_key", "sender"))
        and isinstance(element.get("content"), dict)
        and element["state_key"] == ""
    }
    if CREATE not in contents:
        return UNKNOWN
    return History(True, **{COLUMN[kind]: column_value(kind, contents.get(kind, {})) for kind in RELEVANT})
