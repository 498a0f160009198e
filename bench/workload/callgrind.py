"""A server whose backends count their instructions: the same figure on a busy machine and on an idle one."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from subprocess import run

from harness import processes
from harness.cluster import PG_VERSION, Cluster

_COUNTER = Path(__file__).parent / "counter.c"
_INCLUDE = f"/usr/include/postgresql/{PG_VERSION}/server"


class CallgrindCluster(Cluster):
    """A private cluster that can be started again under callgrind, once its databases are made."""

    def create(self) -> None:
        super().create()
        self.reports = self.root / "callgrind"
        self.reports.mkdir()
        processes.give_to_server(self.reports)
        self._counter = self.root / "counter.so"
        run(["cc", "-O2", "-shared", "-fPIC", f"-I{_INCLUDE}", _COUNTER, "-o", self._counter], check=True)

    def create_counter(self, database: str) -> None:
        """The functions start_counting() and stop_counting(name)."""
        for name, arguments in (("start_counting", ""), ("stop_counting", "text")):
            self.execute(
                f"CREATE FUNCTION public.{name}({arguments}) RETURNS void STRICT LANGUAGE c AS '{self._counter}'",  # type: ignore[arg-type]
                database,
            )

    def under_callgrind(self) -> None:
        """From the next start on, every process of the server runs under callgrind, which waits to be told to count."""
        server = (self.bin / "postgres").rename(self.bin / "postgres.counted")
        options = [
            "--tool=callgrind",
            "--quiet",
            "--vgdb=no",
            "--trace-children=yes",
            "--instr-atstart=no",
            "--compress-strings=no",
            "--compress-pos=no",
            f"--callgrind-out-file={self.reports}/%p",
        ]
        wrapper = self.bin / "postgres"
        wrapper.write_text(f'#!/bin/sh\nexec valgrind {" ".join(options)} {server} "$@"\n')
        wrapper.chmod(0o755)

    def profile(self, pid: int, name: str) -> Path:
        """What the backend counted between start_counting() and stop_counting(name)."""
        trigger = f"desc: Trigger: Client Request: {name}\n"
        for path in self.reports.glob(f"{pid}.*"):
            if trigger in path.read_text(errors="replace")[:4000]:
                return path
        raise FileNotFoundError(f"callgrind wrote no profile {name}")


def instructions(profile: Path) -> int:
    found = re.search(r"^(?:totals|summary): (\d+)", profile.read_text(errors="replace"), re.M)
    return int(found[1]) if found else 0


def by_function(profile: Path) -> Counter[str]:
    """Instructions of each function itself, without those that it calls."""
    counts: Counter[str] = Counter()
    name, is_call = "?", False
    for line in profile.read_text(errors="replace").splitlines():
        if line.startswith("fn="):
            name = line[3:]
        elif line.startswith("calls="):
            is_call = True  # the next line is the cost of the call, inclusive
        elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            if not is_call and len(words := line.split()) >= 2:
                counts[name] += int(words[1])
            is_call = False
    return counts
