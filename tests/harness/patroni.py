"""Two servers that Patroni runs, with an etcd for it to agree in, as processes of the tests' own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psycopg
import requests
from psycopg import sql

from harness import processes
from harness.cluster import SUPERUSER, Cluster
from harness.folders import make_folder

PATRONI, ETCD = "/usr/bin/patroni", "/usr/bin/etcd"
SCOPE = "homeserver"

# What the tests' other servers do without for speed, a server that is to survive needs.
_SAFE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "hot_standby_feedback": "on"}
# As in production but quicker to notice: 30, 10 and 10 are Patroni's own.
_PACE = {"ttl": 20, "loop_wait": 2, "retry_timeout": 5}
_PATIENCE = 120  # seconds


class Etcd:
    """One member. Use it as a context manager."""

    def __init__(self) -> None:
        self.port = processes.free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Etcd:
        self.root = make_folder("etcd")
        log, data = self.root / "etcd.log", self.root / "data"
        log.touch()
        data.mkdir(mode=0o700)
        for path in (self.root, log, data):
            processes.give_to_server(path)
        clients, peers = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{processes.free_port()}"
        self._process = processes.spawn(
            [ETCD, "--name", "one", "--data-dir", data, "--initial-cluster", f"one={peers}"]
            + ["--listen-client-urls", clients, "--advertise-client-urls", clients]
            + ["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers],
            self.root,
            log,
            signal.SIGTERM,
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            processes.end(self._process, signal.SIGTERM, timeout=20)
        shutil.rmtree(self.root, ignore_errors=True)


class Node(Cluster):
    """A server, and the Patroni that makes, starts and stops it."""

    def __init__(self, name: str, etcd: Etcd, dynamic: dict[str, Any], origin: Node | None = None) -> None:
        super().__init__(_SAFE)
        self.name = name
        self._etcd, self._dynamic, self._origin = etcd, dynamic, origin
        if origin is not None:
            self.bin = origin.bin
        self._api = f"127.0.0.1:{processes.free_port()}"
        self._own_log = self.root / "patroni"
        self._configuration = self.root / "patroni.yml"

    def create(self) -> None:
        """All that Patroni needs. The one without an origin has the installation tree for both."""
        if self._origin is None:
            self.copy_installation()
            self.install_extension()
        self.make_places()
        self._own_log.mkdir()
        self._configuration.write_text(json.dumps(self._configured()))
        for path in (self._own_log, self._configuration):
            processes.give_to_server(path)

    def _configured(self) -> dict[str, Any]:
        address = f"127.0.0.1:{self.port}"
        return {
            "scope": SCOPE,
            "name": self.name,
            "log": {"dir": str(self._own_log)},
            "restapi": {"listen": self._api, "connect_address": self._api},
            "etcd3": {"host": f"127.0.0.1:{self._etcd.port}"},
            "bootstrap": {
                "dcs": self._dynamic,
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, {"auth": "trust"}, "data-checksums"],
            },
            "postgresql": {
                "listen": address,
                "connect_address": address,
                "data_dir": str(self.data),
                "bin_dir": str(self.bin),
                "pgpass": str(self.root / "run" / "pgpass"),
                "authentication": {"superuser": {"username": SUPERUSER}, "replication": {"username": "replicator"}},
                "parameters": self.settings | {"unix_socket_directories": str(self.socket_directory)},
                "pg_hba": ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"],
            },
        }

    def start(self) -> None:
        """Does not wait: what becomes of the server is Patroni's decision."""
        assert self._process is None, "already started"
        self._process = processes.spawn([PATRONI, self._configuration], self.root, self.log, signal.SIGTERM)

    def kill(self) -> None:
        """Everything at once and without warning, as when the machine goes down."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
        pids = self._running_server()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it has noticed that the postmaster is gone
        deadline = time.monotonic() + 20
        while any(_runs(pid) for pid in pids):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def _running_server(self) -> list[int]:
        """The postmaster first: it must not notice what becomes of the others."""
        try:
            pid = self.postmaster()
            ours = os.path.samefile(f"/proc/{pid}/cwd", self.data)
        except (OSError, IndexError):
            return []
        return [pid, *processes.children(pid)] if ours else []

    def stop(self, mode: signal.Signals = signal.SIGTERM) -> None:
        super().stop(mode)

    def destroy(self) -> None:
        self.kill()
        super().destroy()

    def read_patroni_log(self) -> str:
        path = self._own_log / "patroni.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def ask(self, path: str) -> Any:
        return self._request("GET", path).json()

    def command(self, path: str, **body: str) -> None:
        answer = self._request("POST", path, json=body)
        assert answer.status_code == 200, f"{answer.status_code} {answer.text}"

    def _request(self, method: str, path: str, **more: Any) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, f"http://{self._api}/{path}", timeout=_PATIENCE, **more)


def _runs(pid: int) -> bool:
    """A zombie does not: who should have waited for it is not our matter."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Pair:
    """A leader and its replica, in whatever roles they are by now. Use it as a context manager."""

    def __init__(self, synchronous: bool) -> None:
        self._etcd = Etcd()
        parameters = {"max_connections": 100, "wal_log_hints": "on"}
        self._dynamic = _PACE | {
            "maximum_lag_on_failover": 16 << 20,
            "synchronous_mode": synchronous,
            "postgresql": {"use_pg_rewind": True, "parameters": parameters},
        }
        self._follower = "sync_standby" if synchronous else "replica"

    def __enter__(self) -> Pair:
        self._etcd.__enter__()
        # not "first": Patroni does not quote it in synchronous_standby_names, where it is a word of the grammar
        one = Node("one", self._etcd, self._dynamic)
        self.nodes = [one, Node("two", self._etcd, self._dynamic, one)]
        try:
            for node in self.nodes:
                node.create()
                node.start()
                self.wait_for(one, alone=node is one)
        except BaseException:
            self._destroy()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for node in reversed(self.nodes):
                node.stop()
        finally:
            self._destroy()

    def _destroy(self) -> None:
        for node in reversed(self.nodes):
            node.destroy()
        self._etcd.__exit__()

    def other(self, node: Node) -> Node:
        return next(other for other in self.nodes if other is not node)

    def wait_for(self, leader: Node, alone: bool = False) -> None:
        """Until it leads, and the other one has followed it as far as it is at that moment."""
        deadline = time.monotonic() + _PATIENCE
        while not self._is_so(leader, alone):
            if time.monotonic() > deadline:
                logs = "\n".join(node.read_patroni_log()[-3000:] + node.read_log()[-3000:] for node in self.nodes)
                raise AssertionError(f"{leader.name} does not lead as it should:\n{logs}")
            time.sleep(0.1)

    def _is_so(self, leader: Node, alone: bool) -> bool:
        try:
            roles = {member["name"]: member["role"] for member in leader.ask("cluster")["members"]}
            if roles.get(leader.name) != "leader" or leader.execute("SELECT pg_is_in_recovery()") != [(False,)]:
                return False
            return alone or (roles.get(self.other(leader).name) == self._follower and self._caught_up(leader))
        except (requests.RequestException, psycopg.OperationalError, KeyError):
            return False

    def _caught_up(self, leader: Node) -> bool:
        ((position,),) = leader.execute("SELECT pg_current_wal_flush_lsn()::text")
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            query = "SELECT replay_lsn >= {}::pg_lsn FROM pg_stat_replication WHERE state = 'streaming'"
            followers = leader.execute(sql.SQL(query).format(position))
            if followers != [(False,)]:
                return followers == [(True,)]
            time.sleep(0.02)
        return False

    def connect(self, database: str, user: str) -> psycopg.Connection[Any]:
        """A session of the leader, as a client finds it that knows of both."""
        ports = ",".join(str(node.port) for node in self.nodes)
        info = self.nodes[0].conninfo(database, user) | {"host": ",".join(["127.0.0.1"] * len(self.nodes)), "port": ports}
        return psycopg.connect(**info, target_session_attrs="read-write", connect_timeout=5, autocommit=True)

    def switch_over(self, leader: Node) -> Node:
        """To the other one, as planned for maintenance; the new leader."""
        candidate = self.other(leader)
        leader.command("switchover", leader=leader.name, candidate=candidate.name)
        return candidate
