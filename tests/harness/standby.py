"""A standby: a base backup that follows its origin by streaming replication until it is promoted."""

from __future__ import annotations

from typing import ClassVar

from harness.base_backup import BaseBackup


class Standby(BaseBackup):
    """Use it as a context manager."""

    options: ClassVar[tuple[str, ...]] = ("-R", "-X", "stream")

    def promote(self) -> None:
        self.execute("SELECT pg_promote()")
