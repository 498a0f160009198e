"""Temporary folders that tell whose they are, so that what a killed test run left behind can be removed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

_NAME = re.compile(r"sliding_sync_[a-z]+_(\d+)_")


def make_folder(kind: str, parent: Path = Path("/tmp")) -> Path:
    """A new folder of this process."""
    remove_abandoned(parent)
    return Path(tempfile.mkdtemp(prefix=f"sliding_sync_{kind}_{os.getpid()}_", dir=parent))


def remove_abandoned(parent: Path) -> None:
    """Folders of test runs that have ended. Their servers ended with them."""
    for folder in parent.glob("sliding_sync_*"):
        owner = _NAME.match(folder.name)
        if owner and not Path("/proc", owner[1]).exists() and not (folder / "postmaster.pid").exists():
            shutil.rmtree(folder, ignore_errors=True)
