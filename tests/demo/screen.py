"""Headings, facts, and rows whose changed columns stand out."""

from __future__ import annotations

import os
import sys
from typing import Any, Mapping

Row = Mapping[str, Any]

_COLOURED = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
_BOLD, _DIM, _CHANGED, _GONE, _GOOD, _BAD = "1", "2", "1;32", "31", "32", "1;31"


def _paint(text: str, code: str) -> str:
    return f"\033[{code}m{text}\033[0m" if _COLOURED else text


def heading(text: str) -> None:
    print(f"\n{_paint(text, _BOLD)}", flush=True)


def fact(text: str) -> None:
    print(f"  {text}", flush=True)


def remark(text: str) -> None:
    print(f"  {_paint(text, _DIM)}", flush=True)


def verdict(text: str, good: bool) -> None:
    print(f"  {_paint(text, _GOOD if good else _BAD)}", flush=True)


def row(title: str, after: Row | None, before: Row | None) -> None:
    """A row, one column a line; what changed is marked, with the value that it had."""
    fact(_paint(title, _BOLD if after is not None else _GONE) + ("" if after is not None else ": gone"))
    for column, value in (after or {}).items():
        old = before.get(column) if before else None
        if before is not None and value != old:
            print(
                f"  * {_paint(f'{column:<28} {_text(value)}', _CHANGED)}  {_paint(f'was {_text(old)}', _DIM)}"
            )
        elif before is None:
            print(f"  + {_paint(f'{column:<28} {_text(value)}', _CHANGED)}")
        else:
            print(f"    {column:<28} {_text(value)}")


def _text(value: Any) -> str:
    return "NULL" if value is None else str(value)
