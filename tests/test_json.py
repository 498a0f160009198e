"""The rules read from every document, however broken, what Python's json reads, the reader of a homeserver."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness.environment import PROJECT
from oracle.values import FIELD, RELEVANT, History, object_field, read_object, stripped_history, usable

CORPUS = [path for name in ("json", "stripped_state") for path in sorted(Path(PROJECT, "tests/fuzz/corpus", name).iterdir())]

# What documents are made of, and what they are broken with.
VALUES = """0 -0 10 0.0 1.50 1e5 1E+05 1e-0 -12.5e-7 1e400 -1e-99999999999 null true false NaN Infinity -Infinity ""
    "x" "\\\\\\"\\/\\b\\f\\n\\r\\t\\u00e9\\uD83D\\ude00" "\\ud800" "\\ud800\\udbff" "\\udc00\\\\ud800" "\\u0000" "é🍵"
    "12345678é" "m.room.create" "m.room.name" "m.room.encryption" "@a:hs" "\\u006d.room.create" [] {}""".split()
NO_VALUES = """01 -01 00 +1 - 1. .5 1.e5 1e 1e+ 0x1 1_0 nul nullx Null trueish nan -NaN Inf -Inf 'x' "\\x"
    "\\u12" "\\u12g4" "\\" """.split()
KEYS = """content unsigned sender type name algorithm replacement_room state_key invite_room_state knock_room_state
    out_of_band_membership recheck_redaction n\\u0061me c\\u006fntent \\ud800 name\\u0000""".split()
SPACES = ["", "", "", " ", "\n", "\t\r", "\f", "\u00a0"]
PIECES = [*"{}[]:,\"\\ \n0e-.", "\\u", "\\ud800", "NaN", "null", "\x00", "\x1f", "\x7f", "\ufeff", "é"]
BYTES = [b"\x80", b"\xc0\x80", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xff"]


def a_value(choose: random.Random, depth: int) -> str:
    def space() -> str:
        return choose.choice(SPACES[:6])

    kind = choose.random()
    if depth == 0 or kind < 0.4:
        return choose.choice(NO_VALUES if choose.random() < 0.02 else VALUES)
    if kind < 0.55:
        values = [a_value(choose, depth - 1) for _ in range(choose.randrange(4))]
        return space() + "[" + ",".join(values) + "]" + space()
    return an_object(choose, [choose.choice(KEYS) for _ in range(choose.randrange(5))], depth)


def an_object(choose: random.Random, keys: list[str], depth: int) -> str:
    space = choose.choice(SPACES[:6])
    return "{" + ",".join(f'{space}"{key}"{space}:{a_field(choose, key, depth - 1)}' for key in keys) + space + "}"


def a_field(choose: random.Random, key: str, depth: int) -> str:
    """Mostly what belongs there."""
    if choose.random() < 0.2:
        return a_value(choose, max(depth, 0))
    if key.endswith("_room_state"):
        elements = [
            an_object(choose, choose.sample(["type", "state_key", "sender", "content"], 4), 2)
            if choose.random() < 0.9
            else a_value(choose, 1)
            for _ in range(choose.randrange(4))
        ]
        return "[" + ",".join(elements) + "]"
    if key == "unsigned":
        return an_object(choose, ["age", choose.choice(["invite_room_state", "knock_room_state"])], 3)
    if key == "content":
        return an_object(choose, choose.sample(["type", "name", "algorithm", "replacement_room", "x"], 3), 1)
    if key == "state_key":
        return choose.choice(['""', '""', '""', '"x"'])
    if key == "type":
        return choose.choice(['"m.room.create"', '"m.room.name"', '"m.room.encryption"', '"m.room.tombstone"'])
    if key.endswith(("_membership", "_redaction")):
        return choose.choice(["true", "true", "false", "1"])
    return choose.choice(VALUES)


def a_document(choose: random.Random) -> bytes:
    """Of an event's form, and in half of the cases with a few defects."""
    if choose.random() < 0.2:
        document = choose.choice(CORPUS).read_bytes()[:4000]
    else:
        document = an_object(choose, [choose.choice(KEYS[:3] + KEYS) for _ in range(choose.randrange(6))], 4).encode()
    for _ in range(choose.choice([0, 0, 1, 1, 2, 5])):
        place = choose.randrange(len(document) + 1)
        piece = choose.choice(BYTES) if choose.random() < 0.1 else choose.choice(PIECES).encode()
        document = document[:place] + choose.choice([piece, piece, b""]) + document[place + choose.randrange(3) :]
    return document


def is_too_deep(document: bytes) -> bool:
    """For Python: the rules take any depth."""
    try:
        json.loads(document)
    except RecursionError:
        return True
    except ValueError:
        pass
    return False


def shown(text: str | None) -> str:
    return "null" if text is None else "=" + text.encode().hex()


def shown_value(values: dict[str, Any], key: str) -> str:
    if key not in values:
        return "absent"
    value = values[key]
    return shown(value) if value is None or usable(value) is not None else "unusable"


def shown_stripped(stripped: History) -> str:
    known = "known" if stripped.has_known_state else "unknown"
    encrypted = "encrypted" if stripped.is_encrypted else "plain"
    texts = (stripped.room_type, stripped.room_name, stripped.tombstone_successor_room_id)
    room_type, name, successor = (None if text is None else str(text) for text in texts)
    return ",".join([known, shown(room_type), shown(name), encrypted, shown(successor)])


def read_by_python(document: bytes) -> str:
    try:
        value = read_object(document.decode())
    except UnicodeDecodeError:
        value = None
    content, top = object_field(value, "content"), value or {}
    flags = "".join(str(int(top.get(key) is True)) for key in ("out_of_band_membership", "recheck_redaction"))
    return " ".join(
        [
            "unreadable" if value is None else "readable",
            *(shown_value(content, FIELD[kind]) for kind in RELEVANT),
            shown_value(top, "sender"),
            flags,
            *(shown_stripped(stripped_history(value, membership)) for membership in ("invite", "knock")),
        ]
    )


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("json") / "read_documents"
    sources = [PROJECT / "tests/fuzz/read_documents.cpp", *(PROJECT / "src/rules").glob("*.cpp")]
    subprocess.run(["g++", "-std=c++20", "-O1", f"-I{PROJECT}/src", *sources, "-o", built], check=True)
    return built


def read_by_rules(program: Path, documents: list[bytes]) -> list[str]:
    given = b"".join(b"%d\n%b" % (len(document), document) for document in documents)
    return subprocess.run([program], input=given, stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()


def compare(program: Path, documents: list[bytes]) -> list[str]:
    documents = [document for document in documents if not is_too_deep(document)]
    expected = [read_by_python(document) for document in documents]
    read = read_by_rules(program, documents)
    assert len(read) == len(documents)
    for document, python, rules in zip(documents, expected, read):
        assert rules == python, document
    return expected


def test_the_kept_documents_and_every_scalar(program: Path) -> None:
    documents = [path.read_bytes() for path in CORPUS]
    for scalar in VALUES + NO_VALUES:
        for space in SPACES:
            for form in ('{"content":{"name":%s}}', '{"x":[%s],"sender":"@a:hs"}', '{"sender":%s', "%s", '%s{"a":1}'):
                documents.append((form % (space + scalar + space)).encode())
    readable = sum(reading.startswith("readable") for reading in compare(program, documents))
    assert 0 < readable < len(documents)


def test_random_documents(program: Path) -> None:
    """SLIDING_SYNC_DOCUMENTS says how many: 20,000 take ten seconds."""
    choose = random.Random("documents")
    count = int(os.environ.get("SLIDING_SYNC_DOCUMENTS", "20000"))
    expected = compare(program, [a_document(choose) for _ in range(count)])
    # all of them have been met: whole and broken, with and without a value, stripped state that is known
    for words in ("readable", "unreadable", "=", "unusable", "null", "10", "01", ",encrypted,", "known,=", "unknown"):
        assert any(words in reading for reading in expected), words
