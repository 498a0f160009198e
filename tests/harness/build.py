"""Building the extension for a server: in the project itself for the system's own, in a copy for any other."""

from __future__ import annotations

import fcntl
import functools
import shutil
import subprocess
from pathlib import Path

from harness.environment import PROJECT
from harness.folders import make_folder

_SOURCES = ("Makefile", "control", "extension", "src", "tests/extension")
FLAGS_OF_OTHERS = ("CFLAGS=-O2", "CXXFLAGS=-O2 -g -fno-strict-aliasing -fwrapv")
"""What another server's own compiler was called with is not for ours."""


def install(pg_config: Path, destination: Path) -> None:
    with (PROJECT / "Makefile").open() as makefile:
        fcntl.flock(makefile, fcntl.LOCK_EX)  # two test sessions must not build at the same time
        _make_install(PROJECT, pg_config, destination)


@functools.cache
def built_for(pg_config: Path, flags: tuple[str, ...]) -> Path:
    """A DESTDIR, filled once in a process. Object files of two servers must not meet, so the sources are copied."""
    folder = make_folder("build")
    sources = folder / "sources"
    for name in _SOURCES:
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, sources / name, ignore=shutil.ignore_patterns("*.o", "*.d"))
        else:
            sources.mkdir(exist_ok=True)
            shutil.copy(PROJECT / name, sources)
    _make_install(sources, pg_config, folder / "installed", *flags)
    shutil.rmtree(sources)
    return folder / "installed"


def _make_install(sources: Path, pg_config: Path, destination: Path, *flags: str) -> None:
    done = subprocess.run(
        ["make", "-s", "-j2", "-C", str(sources), "install", "install-tests", f"PG_CONFIG={pg_config}"]
        + [f"DESTDIR={destination}", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"make install failed:\n{done.stdout[-6000:]}")
