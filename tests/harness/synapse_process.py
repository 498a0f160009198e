"""One process of a homeserver, with a port for clients."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from harness import processes
from harness.matrix_client import Api


class SynapseProcess:
    """May be started again after its end; port and log stay the same."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self.port = processes.free_port()
        self.api = Api(f"http://127.0.0.1:{self.port}")
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_started(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self, python: Path, application: str, configurations: Sequence[str]) -> None:
        """Does not wait until it answers."""
        assert self._process is None, "already started"
        files = [word for name in configurations for word in ("-c", name)]
        command = [python, "-m", application, *files]
        self._process = processes.spawn(command, self._directory, self.log, signal.SIGTERM)

    def wait_until_healthy(self) -> None:
        assert self._process is not None, "not started"
        deadline = time.monotonic() + 90
        while not self.api.is_healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start:\n{self.read_log()[-6000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and not processes.end(process, signal.SIGTERM, timeout=40):
            raise RuntimeError(f"{self.name} did not stop and was killed:\n{self.read_log()[-3000:]}")

    def kill(self) -> None:
        """It ends where it is, as in a crash."""
        assert self._process is not None, "not started"
        process, self._process = self._process, None
        process.kill()
        process.wait()

    def destroy(self) -> None:
        """Whatever state it is in."""
        process, self._process = self._process, None
        if process is not None:
            processes.end(process, signal.SIGTERM, timeout=20)

    def read_log(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""
