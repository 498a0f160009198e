"""A Redis of the tests' own, on a socket in its folder; it keeps nothing."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time

from harness import processes
from harness.folders import make_folder

PROGRAM = "/usr/bin/redis-server"


class Redis:
    def __init__(self) -> None:
        self.root = make_folder("redis")
        processes.give_to_server(self.root)
        self.socket = self.root / "redis.socket"
        self.log = self.root / "redis.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert self._process is None, "already started"
        settings = {"port": "0", "unixsocket": str(self.socket), "save": "", "appendonly": "no"}
        flags = [word for name, value in settings.items() for word in (f"--{name}", value)]
        self._process = processes.spawn([PROGRAM, *flags], self.root, self.log, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while not self._is_answering():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Redis did not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.05)

    def _is_answering(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
            except OSError:
                return False

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and not processes.end(process, signal.SIGTERM, timeout=20):
            raise RuntimeError("Redis did not stop and was killed")

    def destroy(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            processes.end(process, signal.SIGTERM, timeout=20)
        shutil.rmtree(self.root, ignore_errors=True)
