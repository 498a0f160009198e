"""A build gives a library that its server can load for as long as the server is there, or it fails and says why."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.cluster import PG_VERSION, Cluster
from harness.environment import PROJECT

PG_CONFIG = (Cluster.installation or Path(f"/usr/lib/postgresql/{PG_VERSION}")) / "bin/pg_config"
MAJOR = re.findall(r"PostgreSQL (\d+)", subprocess.run([PG_CONFIG, "--version"], capture_output=True, check=True, text=True).stdout)[0]

# The C library, and what the package manager itself stands on: nothing removes them.
ALWAYS_THERE = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "libstdc++.so.6"}
LOADER = re.compile(r"ld-linux[\w.-]*")


def make(*words: str | Path, folder: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    """With a DESTDIR for whoever may install: what should fail, and does not, must not touch the system's server."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *map(str, words)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def pg_config_that_says(folder: Path, **answers: str) -> Path:
    """The real one but for some answers; an empty one is a refusal."""
    cases = "".join(
        f"--{option.replace('_', '-')}) {f'echo {answer!r}' if answer else 'exit 1'} ;;\n"
        for option, answer in answers.items()
    )
    program = folder / "pg_config"
    program.write_text(f'#!/bin/sh\ncase "$1" in\n{cases}*) exec {PG_CONFIG} "$@" ;;\nesac\n')
    program.chmod(0o755)
    return program


def test_the_library_needs_nothing_that_the_system_may_remove(cluster: Cluster) -> None:
    library = cluster.library
    shown = subprocess.run(["readelf", "--dynamic", "--wide", library], stdout=subprocess.PIPE, check=True, text=True)
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", shown.stdout))
    assert "libc.so.6" in needed
    assert [name for name in needed - ALWAYS_THERE if not LOADER.fullmatch(name)] == []


# What a minor version has brought: a library that calls it does not load in an older server of the same major.
NEW_IN_A_MINOR = {"heap_datum_check": "15.20"}


def test_the_library_is_for_every_minor_version(cluster: Cluster) -> None:
    library = cluster.library
    shown = subprocess.run(["readelf", "--dyn-syms", "--wide", library], stdout=subprocess.PIPE, check=True, text=True)
    called = set(re.findall(r" UND (\w+)", shown.stdout))
    assert "errfinish" in called
    assert called & NEW_IN_A_MINOR.keys() == set()


@pytest.mark.parametrize("target", ["all", "install", "installcheck"])
@pytest.mark.parametrize(
    ("answers", "why", "package"),
    [
        ({"version": ""}, "no pg_config that runs", "postgresql-server-dev-15"),
        ({"version": "Postfix 17"}, "no pg_config that runs", "postgresql-server-dev-15"),
        ({"version": "PostgreSQL 9.6.24"}, "PostgreSQL 9, and 15 or newer is needed", "postgresql-server-dev-15"),
        ({"version": "PostgreSQL 14.20 (Debian)"}, "PostgreSQL 14, and 15 or newer is", "postgresql-server-dev-15"),
        ({"version": "PostgreSQL 17.6", "pgxs": ""}, "PostgreSQL 17 without headers", "postgresql-server-dev-17"),
        ({"version": "PostgreSQL 19rc1", "pgxs": "/none"}, "PostgreSQL 19 without headers", "postgresql-server-dev-19"),
        ({"includedir_server": "/nowhere"}, "without headers and makefiles", f"postgresql-server-dev-{MAJOR}"),
    ],
)
def test_a_server_that_cannot_be_built_for(
    tmp_path: Path, target: str, answers: dict[str, str], why: str, package: str
) -> None:
    program = pg_config_that_says(tmp_path, **answers)
    done = make(target, f"PG_CONFIG={program}", f"DESTDIR={tmp_path}")
    assert done.returncode != 0
    assert why in done.stdout and package in done.stdout and f"PG_CONFIG={program}" in done.stdout


@pytest.mark.parametrize("target", ["all", "install", "installcheck", "clean"])
@pytest.mark.parametrize("program", ["/nonexistent", "/tmp", "", "false"])
def test_no_pg_config(tmp_path: Path, target: str, program: str) -> None:
    done = make(target, f"PG_CONFIG={program}", f"DESTDIR={tmp_path}")
    assert done.returncode != 0
    assert "no pg_config that runs" in done.stdout and "postgresql-server-dev-15" in done.stdout


@pytest.mark.parametrize("target", ["help", "demo", "check", "check-long", "bench", "bench-rules"])
def test_what_needs_no_server_asks_for_none(target: str) -> None:
    done = make("-n", target, "PG_CONFIG=/nonexistent")
    assert done.returncode == 0, done.stdout


def test_without_a_target_everything_is_built() -> None:
    done = make("-pnq", f"PG_CONFIG={PG_CONFIG}")
    assert re.search(r"^\.DEFAULT_GOAL := all$", done.stdout, re.MULTILINE)


def test_what_was_built_for_another_server_is_built_anew(tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name in ("control", "extension", "src"):
        shutil.copytree(PROJECT / name, project / name, ignore=shutil.ignore_patterns("*.o", "*.d"))
    shutil.copy(PROJECT / "Makefile", project)
    upgraded = tmp_path / "pg_config"
    upgraded.write_text(f'#!/bin/sh\n{PG_CONFIG} "$@"\n[ $# -gt 0 ] || echo upgraded\n')
    upgraded.chmod(0o755)

    def is_built(program: Path) -> bool:
        done = make("-q", f"PG_CONFIG={program}", folder=project)
        assert done.returncode in (0, 1), done.stdout
        return done.returncode == 0

    assert not is_built(PG_CONFIG)
    make("-t", f"PG_CONFIG={PG_CONFIG}", folder=project)
    assert is_built(PG_CONFIG)
    assert not is_built(upgraded)
    make("-t", f"PG_CONFIG={upgraded}", folder=project)
    assert is_built(upgraded)
    assert not is_built(PG_CONFIG)
