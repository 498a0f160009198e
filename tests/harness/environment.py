"""Where things are: the project, and the environments that scripts/test-environment made."""

from __future__ import annotations

import os
from pathlib import Path

from harness.processes import server_account

PROJECT = Path(__file__).resolve().parents[2]


def cache_directory() -> Path:
    """The same rule as in scripts/test-environment."""
    if os.geteuid() == 0:
        return Path(server_account().pw_dir) / ".cache" / "sliding_sync"
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "sliding_sync"


def _existing(environment: str, inside: str) -> Path:
    path = cache_directory() / environment / inside
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run scripts/test-environment {environment}")
    return path


def synapse_python(version: str) -> Path:
    return _existing(f"synapse-{version}", "bin/python")


def synapse_suite(version: str) -> Path:
    """The folder that holds the package `tests` of that Synapse."""
    return _existing(f"synapse-{version}", "source/tests").parent


def wheel_tree(major: str) -> Path | None:
    """The whole server that a wheel brought, of a major that is not installed here."""
    is_installed = Path(f"/usr/lib/postgresql/{major}/bin/postgres").exists()
    return None if is_installed else cache_directory() / "postgresql/servers" / major
