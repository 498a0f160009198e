"""A standby: a base backup that follows its primary by streaming replication until it is promoted."""

from __future__ import annotations

from harness import processes
from harness.cluster import SUPERUSER, Cluster


class Standby(Cluster):
    """Runs from the installation tree of its primary, which must outlive it. Use it as a context manager."""

    def __init__(self, primary: Cluster) -> None:
        super().__init__(primary.settings, primary.has_extension)
        self.bin = primary.bin
        self._primary = primary

    def create(self) -> None:
        self.log.touch()
        self.socket_directory.mkdir()
        for path in (self.data, self.socket_directory, self.log):
            processes.give_to_server(path)
        processes.run(
            [
                self.bin / "pg_basebackup",
                "-D",
                self.data,
                "-R",
                "-X",
                "stream",
                "--checkpoint=fast",
                "--no-sync",
            ]
            + ["-h", "127.0.0.1", "-p", self._primary.port, "-U", SUPERUSER],
            cwd=self.root,
        )

    def promote(self) -> None:
        self.execute("SELECT pg_promote()")
