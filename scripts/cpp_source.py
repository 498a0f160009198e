"""What the checks of the house rules share: C++ files, with the text of comments and strings taken out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
SUFFIXES = (".cpp", ".hpp")

# A raw string, a comment, a string or a character: whatever begins first hides the others.
_HIDDEN = re.compile(
    r'R"(?P<mark>[^()\\ ]*)\(.*?\)(?P=mark)"'
    r"|//[^\n]*|/\*.*?\*/"
    r'|"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])+\'',
    re.DOTALL,
)
_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include\b[^\n]*", re.MULTILINE)


@dataclass(frozen=True)
class Violation:
    file: str
    line: int
    why: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.why}"


def sources(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*") if path.suffix in SUFFIXES)


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def code_only(text: str) -> str:
    """The same text with spaces for comments, strings and include lines: lines and columns stay."""
    without_includes = _INCLUDE.sub(lambda hit: _blank(hit[0]), text)
    return _HIDDEN.sub(lambda hit: _blank(hit[0]), without_includes)


def without_comments(text: str) -> str:
    """The same text with spaces for comments."""
    return _HIDDEN.sub(lambda hit: _blank(hit[0]) if hit[0].startswith("/") else hit[0], text)


def line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
