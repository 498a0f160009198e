"""A private PostgreSQL cluster with the extension installed, without touching the system's PostgreSQL."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, LiteralString

import psycopg
from psycopg import sql

from harness import build, processes
from harness.environment import wheel_tree
from harness.folders import make_folder

# Debian's own: 15 but where scripts/matrix runs the tests in another suite
PG_VERSION = os.environ.get("SLIDING_SYNC_PG_MAJOR", "15")
SUPERUSER = "postgres"

# Crashes that a client may not have noticed: the postmaster restarts and the tests go on.
_CRASH = re.compile(
    r"PANIC:|TRAP: |terminated by signal|server process \(PID \d+\) was terminated"
    r"|exited with exit code (?![01]\b)\d+|signal (?:6|11)\b"
    r"|double free|corrupted size|AddressSanitizer|runtime error:"
)

_SETTINGS: dict[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_prepared_transactions": "10",
    "jit": "off",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] %d %u ",
    "timezone": "UTC",
}


# Test suites clone databases of a thousand small files; in memory that is ten times faster.
_MEMORY = Path("/dev/shm")
_MEMORY_NEEDED = 4 << 30


def _data_parent(otherwise: Path) -> Path:
    roomy = (
        _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _MEMORY_NEEDED
    )
    return _MEMORY if roomy else otherwise


class Cluster:
    """One server below a temporary directory; use it as a context manager."""

    installation: ClassVar[Path | None] = None
    """A tree of another server than Debian's, to be run by every cluster."""
    environment: ClassVar[dict[str, str]] = {}
    """Variables that every server is started with."""

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        extension: bool = True,
        major: str | None = None,
        tree: Path | None = None,
    ) -> None:
        """With a major, the server of that one beside others: of this tree, Debian's, or else that of a wheel."""
        self.major = major
        other = tree or (wheel_tree(major) if major else self.installation)
        self.tree = other and other.resolve()  # as its own pg_config says it
        self.settings = _SETTINGS | dict(settings or {})
        self.has_extension = extension
        self.root = make_folder("cluster")
        self.root.chmod(0o755)
        self.home = f"usr/lib/postgresql/{major or PG_VERSION}"
        self.bin = self.root / ("server/bin" if self.tree else f"{self.home}/bin")
        # a relocated one does not know where Debian keeps the headers
        self.pg_config = (self.tree or Path(f"/{self.home}")) / "bin/pg_config"
        self.make_flags = build.FLAGS_OF_OTHERS if self.tree else ()
        """Of whatever is built for it."""
        self.data = make_folder("data", _data_parent(self.root))
        self.socket_directory = self.root / "run"
        self.log = self.root / "server.log"
        self.port = processes.free_port()
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.destroy)

    # -- life cycle

    def __enter__(self) -> Cluster:
        try:
            self.create()
            self.start()
        except BaseException:
            self.destroy()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self.destroy()

    def create(self) -> None:
        """The installation tree, the extension in it, and an empty cluster."""
        self.copy_installation()
        if self.has_extension:
            self.install_extension()
        self.make_places()
        processes.run(
            [self.bin / "initdb", "-D", self.data, "-U", SUPERUSER, "--encoding=UTF8", "--locale=C"]
            # of the same kind in every major, as pg_upgrade wants them
            + ["--auth=trust", "--no-sync", *(["--data-checksums"] if self.major else [])],
            cwd=self.root,
        )

    def make_places(self) -> None:
        """For data, sockets and the log, all of them empty."""
        self.log.touch()
        self.socket_directory.mkdir()
        for path in (self.data, self.socket_directory, self.log):
            processes.give_to_server(path)

    def copy_installation(self) -> None:
        # A relocated server finds its libraries and share files relative to its own binary.
        if self.tree:
            shutil.copytree(self.tree, self.root / "server", symlinks=True)
            return
        for tree in (self.home, self.home.replace("lib", "share", 1)):
            shutil.copytree("/" / Path(tree), self.root / tree, symlinks=True)

    def install_extension(self) -> None:
        """Builds the extension and installs it into this cluster's own tree."""
        if not self.tree and not self.major:
            build.install(self.pg_config, self.root)
            return
        installed = build.built_for(self.pg_config, self.make_flags)
        if self.tree:
            shutil.copytree(installed / self.tree.relative_to("/"), self.root / "server", dirs_exist_ok=True)
        else:
            shutil.copytree(installed, self.root, dirs_exist_ok=True)

    @property
    def library(self) -> Path:
        """The extension's, in this cluster's own tree."""
        shown = processes.run([self.bin / "pg_config", "--pkglibdir"], cwd=self.root)
        return Path(shown.strip()) / "sliding_sync.so"

    def start(self) -> None:
        assert self._process is None, "already started"
        options = self.settings | {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_directory),
        }
        flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        # SIGINT is the fast shutdown, also when the kernel sends it because the tests died.
        self._process = processes.spawn(
            [self.bin / "postgres", "-D", self.data, *flags],
            self.root,
            self.log,
            signal.SIGINT,
            **self.environment,
        )
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """After a start, or a crash that the server survives."""
        deadline = time.monotonic() + 60
        while True:
            try:
                self.connect().close()
                return
            except psycopg.OperationalError as error:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the server did not start:\n{self.read_log()[-4000:]}") from error
                time.sleep(0.05)

    def stop(self, mode: signal.Signals = signal.SIGINT) -> None:
        """Stops the server (SIGINT: fast, SIGQUIT: as in a crash); fails if its log tells of a crash."""
        process, self._process = self._process, None
        if process is not None and not processes.end(process, mode, timeout=60):
            raise RuntimeError("the server did not stop and was killed")
        self.check_log()

    def postmaster(self) -> int:
        """The pid of a running server."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def restart(self, mode: signal.Signals = signal.SIGINT) -> None:
        self.stop(mode)
        self.start()

    def destroy(self) -> None:
        """Removes every trace, whatever state the cluster is in."""
        process, self._process = self._process, None
        if process is not None:
            processes.end(process, signal.SIGINT, timeout=20)
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.rmtree(self.root, ignore_errors=True)
        atexit.unregister(self.destroy)

    # -- the log

    def read_log(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def check_log(self) -> None:
        crashes = [line for line in self.read_log().splitlines() if _CRASH.search(line)]
        assert not crashes, "the server crashed:\n" + "\n".join(crashes[:20])

    # -- connections and databases

    def conninfo(self, database: str = "postgres", user: str = SUPERUSER) -> dict[str, Any]:
        return {"host": "127.0.0.1", "port": self.port, "dbname": database, "user": user}

    def connect(
        self, database: str = "postgres", user: str = SUPERUSER, *, autocommit: bool = True, **more: Any
    ) -> psycopg.Connection[Any]:
        return psycopg.connect(**self.conninfo(database, user), autocommit=autocommit, **more)

    def execute(
        self, query: LiteralString | sql.Composed, database: str = "postgres", user: str = SUPERUSER
    ) -> list[Any]:
        """One statement in a connection of its own; its rows, if it returns any."""
        with self.connect(database, user) as connection:
            cursor = connection.execute(query)
            return cursor.fetchall() if cursor.description else []

    def server_major(self) -> int:
        with self.connect() as connection:
            return connection.info.server_version // 10000

    def create_role(self, name: str) -> None:
        """An ordinary login role, unless it is there."""
        if not self.execute(sql.SQL("SELECT 1 FROM pg_roles WHERE rolname = {}").format(sql.Literal(name))):
            self.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))

    def create_database(self, name: str, owner: str = SUPERUSER, template: str = "template0") -> str:
        self.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(owner), sql.Identifier(template)
            )
        )
        # Since 15 only the owner of a database's `public` schema may create there; admins hand it over.
        with self.connect(name) as connection:
            connection.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(sql.Identifier(owner)))
        return name

    def drop_database(self, name: str) -> None:
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
