"""What clients may ask: reads it, or refuses it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_ROOMS = 10_000
_BOOLEANS = {"is_dm": "is_dm", "is_encrypted": "is_encrypted", "is_invite": "is_invite", "is_invited": "is_invite"}
_TEXT_LISTS = ("tags", "not_tags", "spaces")
_TYPE_LISTS = ("room_types", "not_room_types")


class Refused(Exception):
    def __init__(self, status: int, errcode: str, message: str) -> None:
        super().__init__(message)
        self.status, self.errcode = status, errcode


@dataclass(frozen=True)
class List:
    ranges: list[tuple[int, int]]
    filters: dict[str, Any]  # arguments of room_list()


def invalid(message: str) -> Refused:
    return Refused(400, "M_INVALID_PARAM", message)


def read_body(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise Refused(400, "M_NOT_JSON", "The body must be a JSON object") from error
    if not isinstance(body, dict):
        raise Refused(400, "M_BAD_JSON", "The body must be a JSON object")
    return body


def read_lists(body: dict[str, Any]) -> dict[str, List]:
    lists = body.get("lists", {})
    if not isinstance(lists, dict) or not all(isinstance(wanted, dict) for wanted in lists.values()):
        raise invalid("lists must be an object of objects")
    return {name: List(read_ranges(wanted), read_filters(wanted.get("filters") or {})) for name, wanted in lists.items()}


def read_ranges(wanted: dict[str, Any]) -> list[tuple[int, int]]:
    """`ranges` of today's clients, `range` of the proposal as merged; without one, every room."""
    ranges = wanted.get("ranges") or ([wanted["range"]] if "range" in wanted else [[0, MOST_ROOMS - 1]])
    for part in ranges if isinstance(ranges, list) else [None]:
        is_pair = isinstance(part, list) and len(part) == 2 and all(type(number) is int for number in part)
        if not is_pair or not 0 <= part[0] <= part[1] < 2**53 or part[1] - part[0] >= MOST_ROOMS:
            raise invalid(f"a range must be [first, last], counted from 0, of {MOST_ROOMS} rooms at most")
    return [(first, last) for first, last in ranges]


def read_filters(filters: Any) -> dict[str, Any]:
    """Filters that are not known let every room pass, as those of a future version should."""
    if not isinstance(filters, dict):
        raise invalid("filters must be an object")
    arguments: dict[str, Any] = {}
    for name, value in filters.items():
        if value is None:
            continue
        if name in _BOOLEANS:
            if not isinstance(value, bool):
                raise invalid(f"{name} must be true or false")
            arguments[_BOOLEANS[name]] = value
        elif name in _TEXT_LISTS or name in _TYPE_LISTS:
            is_right = isinstance(value, list) and all(isinstance(x, str) or (x is None and name in _TYPE_LISTS) for x in value)
            if not is_right:
                raise invalid(f"{name} must be a list of strings")
            arguments[name] = value
        elif name == "room_name_like":
            if not isinstance(value, str):
                raise invalid("room_name_like must be a string")
            arguments[name] = value
    return arguments


def read_page_filters(query: Mapping[str, str]) -> dict[str, Any]:
    """The same from the page's address; `sort_by` besides."""
    try:
        filters = read_filters(json.loads(query.get("filters", "{}")))
    except (ValueError, RecursionError) as error:
        raise invalid("filters must be JSON") from error
    return filters | {"sort_by": query.get("sort_by", "recency")}


def read_number(text: str | None, name: str) -> int:
    if text is None or not text.lstrip("-").isdecimal() or abs(int(text)) >= 2**63:
        raise invalid(f"{name} must be a number")
    return int(text)


def read_timeout(text: str | None) -> float:
    """In seconds; clients say milliseconds."""
    return 0 if text is None else max(0, read_number(text, "timeout")) / 1000


def room_of(row: dict[str, Any], is_initial: bool) -> dict[str, Any]:
    """What MSC4186 calls a room, as far as a list knows it."""
    room: dict[str, Any] = {"bump_stamp": row["bump_stamp"], "membership": row["membership"]}
    if is_initial:
        room["initial"] = True
    if row["room_name"] is not None:
        room["name"] = row["room_name"]
    return room
