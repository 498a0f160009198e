"""pgbouncer in front of a cluster, as a process of the tests' own."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from typing import Any

import psycopg

from harness import processes
from harness.cluster import SUPERUSER, Cluster
from harness.folders import make_folder

PROGRAM = "/usr/sbin/pgbouncer"


class Pgbouncer:
    """Passes the sessions of every database and role on, in so many connections of the server. Use it as a context manager."""

    def __init__(self, cluster: Cluster, pool_mode: str, pool_size: int, **settings: str) -> None:
        self._cluster = cluster
        self.port = processes.free_port()
        self._settings = settings | {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "trust",
            "pool_mode": pool_mode,
            "default_pool_size": str(pool_size),
            "admin_users": SUPERUSER,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Pgbouncer:
        self.root = make_folder("pgbouncer")
        self.log = self.root / "pgbouncer.log"
        roles = [name for (name,) in self._cluster.execute("SELECT rolname FROM pg_roles WHERE rolcanlogin")]
        users, configuration = self.root / "users.txt", self.root / "pgbouncer.ini"
        users.write_text("".join(f'"{name}" ""\n' for name in roles))
        lines = [f"{name} = {value}" for name, value in (self._settings | {"auth_file": str(users)}).items()]
        server = f"* = host=127.0.0.1 port={self._cluster.port}"
        configuration.write_text("\n".join(["[databases]", server, "[pgbouncer]", *lines, ""]))
        self.log.touch()
        for path in (self.root, users, configuration, self.log):
            processes.give_to_server(path)
        self._process = processes.spawn([PROGRAM, configuration], self.root, self.log, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while True:
            try:
                self.connect("pgbouncer", SUPERUSER).close()
                return self
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    raise RuntimeError("pgbouncer did not start") from error
                time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            processes.end(self._process, signal.SIGTERM, timeout=20)
        shutil.rmtree(self.root, ignore_errors=True)

    def connect(self, database: str, user: str) -> psycopg.Connection[Any]:
        """A session as clients behind a pooler have it: no prepared statements."""
        info = self._cluster.conninfo(database, user) | {"port": self.port}
        return psycopg.connect(**info, autocommit=True, prepare_threshold=None, cursor_factory=psycopg.ClientCursor)
