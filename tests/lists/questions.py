"""Random questions about a room list, and how sliding_sync.room_list() is asked them."""

from __future__ import annotations

import random
from dataclasses import asdict
from typing import Any

import psycopg

from lists.population import NAMES, TAGS, TYPES, USERS
from oracle.room_list import Filters, ListedRoom

Connection = psycopg.Connection[Any]

_PIECES = ["", "tea", "TEA", "%", "_", "\\", "ß", "SS", "i", "İ", "i\u0307", "Σ", "ς", "a", "🫖", "𐐀", "'", "$1", "ẞ", "k"]


def some(rng: random.Random, values: list[Any]) -> list[Any]:
    return [rng.choice(values) for _ in range(rng.choice([0, 1, 1, 2, 3]))]


def random_filters(rng: random.Random, rooms: list[str]) -> Filters:
    """Each of them in a quarter of the questions."""
    makers: dict[str, Any] = {
        "is_dm": lambda: rng.random() < 0.5,
        "is_encrypted": lambda: rng.random() < 0.5,
        "is_invite": lambda: rng.random() < 0.5,
        "room_types": lambda: some(rng, TYPES),
        "not_room_types": lambda: some(rng, TYPES),
        "tags": lambda: some(rng, TAGS),
        "not_tags": lambda: some(rng, TAGS),
        "spaces": lambda: some(rng, [*rooms, "!unknown:hs.test"]) + rng.sample(rooms, len(rooms) // 2),
        "room_name_like": lambda: rng.choice(_PIECES + NAMES),
    }
    share = rng.choice([0, 0.1, 0.25, 0.4])
    return Filters(**{name: make() for name, make in makers.items() if rng.random() < share})


def random_question(rng: random.Random, rooms: list[str]) -> dict[str, Any]:
    question: dict[str, Any] = {
        "user": rng.choice([*USERS, *USERS, "@nobody:hs.test", ""]),
        "filters": random_filters(rng, rooms),
        "sort_by": rng.choice(["recency", "recency", "bump", "name"]),
    }
    if rng.random() < 0.6:
        question["range_start"] = rng.choice([0, 0, 1, 2, 5, 50])
        question["range_end"] = rng.choice([None, 0, 1, 3, 10, 2**63 - 1])
    if rng.random() < 0.1:
        question["known_versions"] = rng.choice([[], ["10"], ["99", "1"], ["10", "11", "org.matrix.msc3389.10"]])
    return question


def arguments(question: dict[str, Any]) -> dict[str, Any]:
    """By their names in SQL."""
    given = {name: value for name, value in question.items() if name not in ("user", "filters")}
    filters = {name: value for name, value in asdict(question["filters"]).items() if value is not None}
    return {"user_id": question["user"]} | filters | given


_TYPES = {"range_start": "bigint", "range_end": "bigint", "since": "bigint"} | dict.fromkeys(
    ["room_types", "not_room_types", "tags", "not_tags", "spaces", "known_versions"], "text[]"
)


def call(connection: Connection, function: str, named: dict[str, Any]) -> list[Any]:
    given = ", ".join(f"{name} => %({name})s{'::' + _TYPES[name] if name in _TYPES else ''}" for name in named)
    return connection.execute(f"SELECT * FROM sliding_sync.{function}({given})", named).fetchall()  # type: ignore[arg-type]


def answer(connection: Connection, question: dict[str, Any]) -> list[ListedRoom]:
    return [ListedRoom(*row) for row in call(connection, "room_list", arguments(question))]
