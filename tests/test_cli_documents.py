"""What the program says of itself: manual and completion, as a shell meets them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from harness.environment import PROJECT
from harness.tool import program

COMMANDS = (
    "attach detach backfill catch-up verify repair ready status health progress preflight finish list explain-user"
    " explain-room version"
).split()


def generated(kind: str) -> str:
    done = subprocess.run([program(), "--generate", kind], capture_output=True, text=True, check=True)
    return done.stdout


def options_of(command: str) -> set[str]:
    done = subprocess.run([program(), command, "--help"], capture_output=True, text=True, check=True)
    return set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", done.stdout, re.MULTILINE))


def test_manual(tmp_path: Path) -> None:
    page = tmp_path / "sliding-sync.1"
    page.write_text(generated("man"))
    command = ["man", "--warnings", "-E", "UTF-8", "-P", "cat", "-l", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "MANWIDTH": "200"})
    assert (done.returncode, done.stderr) == (0, ""), done
    for command_name in COMMANDS:
        assert f"sliding-sync {command_name} [OPTION]..." in done.stdout
        for option in options_of(command_name):
            assert option in done.stdout
    assert re.search(r"^\s+130\s+interrupted", done.stdout, re.MULTILINE)


def complete_in_bash(tmp_path: Path, line: str) -> list[str]:
    script = tmp_path / "completion"
    script.write_text(generated("bash"))
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    code = (
        f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _sliding_sync;"
        ' printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def complete_in_fish(tmp_path: Path, line: str) -> list[str]:
    script = tmp_path / "completion.fish"
    script.write_text(generated("fish"))
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source {script}; complete -C '{line}'"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    return [words.split("\t")[0] for words in done.stdout.splitlines()]


@pytest.mark.parametrize("complete", [complete_in_bash, complete_in_fish])
def test_completion(tmp_path: Path, complete: object) -> None:
    assert callable(complete)
    assert set(complete(tmp_path, "sliding-sync ")) >= set(COMMANDS)
    assert complete(tmp_path, "sliding-sync ver") == ["verify", "version"] or set(
        complete(tmp_path, "sliding-sync ver")
    ) == {"verify", "version"}
    assert "--max-duration" in complete(tmp_path, "sliding-sync backfill --m")
    assert "--max-duration" not in complete(tmp_path, "sliding-sync ready --m")
    assert set(complete(tmp_path, "sliding-sync --color ")) == {"auto", "always", "never"}
    assert set(complete(tmp_path, "sliding-sync backfill --tables ")) == {"joined_rooms", "memberships", "both"}
    assert "downgrade" in complete(tmp_path, "sliding-sync preflight ")


def test_zsh_completion_is_valid(tmp_path: Path) -> None:
    script = tmp_path / "_sliding-sync"
    script.write_text(generated("zsh"))
    done = subprocess.run(["zsh", "-n", str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done
    for command in COMMANDS:
        assert f"{command}:" in script.read_text()


def test_installed(tmp_path: Path) -> None:
    program()
    done = subprocess.run(
        ["make", "-s", "-C", str(PROJECT), "install-tool", f"DESTDIR={tmp_path}", "PREFIX=/usr/local"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done
    files = {path.relative_to(tmp_path / "usr/local").as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {
        "bin/sliding-sync",
        "share/man/man1/sliding-sync.1",
        "share/bash-completion/completions/sliding-sync",
        "share/zsh/site-functions/_sliding-sync",
        "share/fish/vendor_completions.d/sliding-sync.fish",
    }
