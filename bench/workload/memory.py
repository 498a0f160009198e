"""How much memory a backend takes while it works."""

from __future__ import annotations

import threading
from pathlib import Path


class Watch:
    """Samples a backend's own memory: the kernel keeps a peak only of own and shared memory together."""

    def __init__(self, pid: int) -> None:
        self._status = Path("/proc", str(pid), "status")
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        Path("/proc", str(pid), "clear_refs").write_text("5")  # the high-water mark begins here
        self.base = self.peak = self.read("RssAnon")

    def read(self, name: str) -> int:
        line = next(line for line in self._status.read_text().splitlines() if line.startswith(name + ":"))
        return int(line.split()[1]) * 1024

    def _sample(self) -> None:
        while not self._done.wait(0.01):
            self.peak = max(self.peak, self.read("RssAnon"))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
