"""PostgreSQL's own test drivers, pg_regress and pg_isolation_regress, run against a cluster."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness import processes
from harness.cluster import PG_VERSION, SUPERUSER, Cluster
from harness.environment import PROJECT

_DRIVERS = Path("/usr/lib/postgresql") / PG_VERSION / "lib/pgxs/src/test"
_TIMEOUT = 600

# 15: "test rooms   ... ok   12 ms"; from 16 on: "ok 1   - rooms   12 ms"
_RESULTS = (
    re.compile(r"test (?P<name>\S+) +\.\.\. (?P<result>ok|FAILED)"),
    re.compile(r"(?P<result>ok|not ok) +\d+ +[-+] (?P<name>\S+)"),
)
_DIFF = re.compile(r"^diff .*/(?P<name>[^/ ]+)\.out\n", re.MULTILINE)


@dataclass(frozen=True)
class Driver:
    """One of the two drivers, and where its test files are."""

    program: Path
    folder: str
    suffix: str
    database: str

    def names(self) -> list[str]:
        found = sorted(path.stem for path in (PROJECT / self.folder).glob(f"*{self.suffix}"))
        if not found:
            raise FileNotFoundError(f"no {self.suffix} file in {self.folder}/")
        return found

    def text(self, name: str) -> str:
        return (PROJECT / self.folder / f"{name}{self.suffix}").read_text()


REGRESS = Driver(_DRIVERS / "regress/pg_regress", "sql", ".sql", "regress")
ISOLATION = Driver(_DRIVERS / "isolation/pg_isolation_regress", "specs", ".spec", "isolation")


@dataclass(frozen=True)
class Run:
    """What a driver printed, and the differences it found, by test file."""

    output: str
    passed: dict[str, bool]
    differences: dict[str, str]

    def explain(self, name: str) -> str:
        return self.differences.get(name, self.output)


def run(driver: Driver, cluster: Cluster, directory: Path) -> Run:
    """All files of a driver, in a database of their own that is left behind."""
    done = subprocess.run(
        [
            str(driver.program),
            f"--bindir={cluster.bin}",
            f"--inputdir={PROJECT}",
            f"--outputdir={directory}",
            "--host=127.0.0.1",
            f"--port={cluster.port}",
            f"--user={SUPERUSER}",
            f"--dbname={driver.database}",
            *(f"--load-extension={name}" for name in ("sliding_sync", "sliding_sync_test")),
            *driver.names(),
        ],
        cwd=directory,
        env=processes.server_environment(PGISOLATIONTIMEOUT="60"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TIMEOUT,
    )
    differences = directory / "regression.diffs"
    return Run(
        done.stdout,
        _results(done.stdout),
        _by_name(differences.read_text(errors="replace")) if differences.exists() else {},
    )


def _results(output: str) -> dict[str, bool]:
    found = (hit for pattern in _RESULTS for hit in map(pattern.match, output.splitlines()) if hit)
    return {hit["name"]: hit["result"] == "ok" for hit in found}


def _by_name(differences: str) -> dict[str, str]:
    starts = list(_DIFF.finditer(differences))
    ends = [start.start() for start in starts[1:]] + [len(differences)]
    return {start["name"]: differences[start.start() : end] for start, end in zip(starts, ends)}
