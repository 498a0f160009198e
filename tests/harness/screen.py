"""A terminal, and what a person sees on it."""

from __future__ import annotations

import re
import time

import pexpect
import pyte


class Screen:
    """What a person sees of a program on a terminal."""

    def __init__(self, program: pexpect.spawn[str]) -> None:
        self.program = program
        lines, columns = program.getwinsize()
        self.screen = pyte.Screen(columns, lines)
        self.stream = pyte.Stream(self.screen)

    def read(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                self.stream.feed(self.program.read_nonblocking(4096, timeout=left))
            except pexpect.TIMEOUT:
                return
            except pexpect.EOF:
                self.program.wait()
                return

    def read_until(self, pattern: str, timeout: float = 30) -> str:
        deadline = time.monotonic() + timeout
        while not re.search(pattern, self.text()):
            assert time.monotonic() < deadline, self.text()
            self.read(0.05)
        return self.text()

    def read_to_end(self) -> int:
        deadline = time.monotonic() + 60
        while self.program.isalive():
            assert time.monotonic() < deadline, self.text()
            self.read(0.1)
        self.read(0.2)
        assert self.program.exitstatus is not None, self.program.signalstatus
        return self.program.exitstatus

    def resize(self, lines: int, columns: int) -> None:
        self.screen.resize(lines, columns)
        self.program.setwinsize(lines, columns)

    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()
