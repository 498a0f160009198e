"""A base backup, and the server that recovers from it and from an archive of WAL up to a chosen point."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

from harness import processes
from harness.cluster import SUPERUSER, Cluster


class BaseBackup(Cluster):
    """Runs from the installation tree of its origin, which must outlive it."""

    options: ClassVar[tuple[str, ...]] = ("-X", "none")
    """Of pg_basebackup."""

    def __init__(self, origin: Cluster) -> None:
        super().__init__(origin.settings | {"archive_mode": "off"}, origin.has_extension)
        self.bin = origin.bin
        self._origin = origin

    def create(self) -> None:
        """Takes the backup."""
        self.make_places()
        processes.run(
            [self.bin / "pg_basebackup", "-D", self.data, *self.options, "--checkpoint=fast", "--no-sync"]
            + ["-h", "127.0.0.1", "-p", self._origin.port, "-U", SUPERUSER],
            cwd=self.root,
        )

    def recover(self, archive: Path, restore_point: str) -> None:
        """Starts, and waits until the server takes writes; everything after the restore point has not happened."""
        self.settings |= {
            "restore_command": f"cp {archive}/%f %p",
            "recovery_target_name": restore_point,
            "recovery_target_action": "promote",
        }
        signal_file = self.data / "recovery.signal"
        signal_file.touch()
        processes.give_to_server(signal_file)
        self.start()
        deadline = time.monotonic() + 60
        while self.execute("SELECT pg_is_in_recovery()") != [(False,)]:
            assert time.monotonic() < deadline, self.read_log()
            time.sleep(0.05)
