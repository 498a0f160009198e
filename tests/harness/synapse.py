"""A real Synapse on a private cluster."""

from __future__ import annotations

import atexit
import base64
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import processes
from harness.cluster import Cluster
from harness.environment import synapse_python
from harness.folders import make_folder
from harness.matrix_client import User
from harness.synapse_process import SynapseProcess

SERVER_NAME = "hs.test"
ROLE = "synapse"  # an ordinary role that owns its database, as in real installations

_NO_LIMIT = {"per_second": 100000, "burst_count": 100000}


# Its own background update has met a writer, and tries again.
_OWN_RACE = "Current state was updated after we gathered it to update `sliding_sync_joined_rooms`"


class Synapse:
    """One homeserver in one process; use it as a context manager."""

    def __init__(
        self,
        version: str,
        cluster: Cluster,
        database: str,
        search_path: str | None = None,
        configuration: Mapping[str, Any] | None = None,
    ) -> None:
        self.version = version
        self.cluster = cluster
        self.database = database
        self.search_path = search_path
        self.more_configuration = dict(configuration or {})
        self.directory = make_folder("homeserver")
        processes.give_to_server(self.directory)
        self.main = SynapseProcess("homeserver", self.directory)
        self.api = self.main.api
        self._secret = secrets.token_hex(16)
        self._write(
            "signing.key", f"ed25519 a_test {base64.b64encode(os.urandom(32)).decode().rstrip('=')}\n"
        )
        atexit.register(self.destroy)

    # -- life cycle

    def __enter__(self) -> Synapse:
        try:
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

    def start(self) -> None:
        # JSON is YAML too.
        configuration = self._configuration() | self.more_configuration
        self._write("homeserver.yaml", json.dumps(configuration, indent=1))
        self._write("log.yaml", json.dumps(self._log_configuration()))
        self.main.start(synapse_python(self.version), "synapse.app.homeserver", ["homeserver.yaml"])
        self.main.wait_until_healthy()

    def stop(self) -> None:
        self.main.stop()

    def restart(self, search_path: str | None) -> None:
        """The same homeserver again, with other names in front of its own tables."""
        self.stop()
        self.search_path = search_path
        self.start()

    def change_version(self, version: str) -> None:
        """The same homeserver as another version of the program."""
        self.stop()
        # An older version's scheduler stops at a task that it does not know; those ahead are only cleaning.
        self.cluster.execute("DELETE FROM scheduled_tasks", self.database)
        self.version = version
        self.start()

    def port_from(self, sqlite: Path, options: str) -> str:
        """Fills the PostgreSQL database from an SQLite one with the homeserver's own tool; what that prints."""
        assert not self.main.is_started, "stop it first"
        configuration = self._configuration()
        configuration["database"]["args"]["options"] = options
        self._write("port.yaml", json.dumps(configuration))
        tool = synapse_python(self.version).parent / "synapse_port_db"
        return processes.run(
            [tool, "--sqlite-database", sqlite, "--postgres-config", "port.yaml"], self.directory
        )

    def destroy(self) -> None:
        self.main.destroy()
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.destroy)

    # -- what a test asks

    def register(self, name: str, admin: bool = False) -> User:
        return self.api.register(name, self._secret, admin)

    def read_log(self) -> str:
        return self.main.read_log()

    def errors(self) -> list[str]:
        """Lines that the homeserver itself calls errors, with what background work met."""
        return [
            line
            for line in self.read_log().splitlines()
            if (" - ERROR - " in line or " - CRITICAL - " in line) and _OWN_RACE not in line
        ]

    def wait_for_background_updates(self, timeout: float = 90) -> None:
        deadline = time.monotonic() + timeout
        with self.cluster.connect(self.database) as connection:
            while pending := connection.execute("SELECT update_name FROM background_updates").fetchall():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"background updates still pending: {pending}")
                time.sleep(0.05)

    # -- configuration

    def _write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.write_text(text)
        processes.give_to_server(path)

    def _configuration(self) -> dict[str, Any]:
        arguments = self.cluster.conninfo(self.database, ROLE) | {"cp_min": 1, "cp_max": 5}
        if self.search_path is not None:
            arguments["options"] = f"-c search_path={self.search_path}"
        limits = {
            name: _NO_LIMIT
            for name in (
                "rc_message",
                "rc_registration",
                "rc_admin_redaction",
                "rc_joins_per_room",
                "rc_room_creation",
                "rc_reports",
            )
        }
        return limits | {
            "rc_login": {"address": _NO_LIMIT, "account": _NO_LIMIT, "failed_attempts": _NO_LIMIT},
            "rc_joins": {"local": _NO_LIMIT, "remote": _NO_LIMIT},
            "rc_invites": {"per_room": _NO_LIMIT, "per_user": _NO_LIMIT, "per_issuer": _NO_LIMIT},
            "server_name": SERVER_NAME,
            "report_stats": False,
            "pid_file": str(self.directory / "homeserver.pid"),
            "signing_key_path": str(self.directory / "signing.key"),
            "log_config": str(self.directory / "log.yaml"),
            "registration_shared_secret": self._secret,
            "bcrypt_rounds": 4,
            "listeners": [self._client_listener(self.main.port)],
            "database": {"name": "psycopg2", "args": arguments},
            "background_updates": {"sleep_enabled": False},
            # No other server is ever asked.
            "federation_domain_whitelist": [],
            "trusted_key_servers": [],
            "suppress_key_server_warning": True,
            # Nothing here looks at these, and they cost time.
            "enable_media_repo": False,
            "presence": {"enabled": False},
        }

    @staticmethod
    def _client_listener(port: int) -> dict[str, Any]:
        return {
            "port": port,
            "type": "http",
            "bind_addresses": ["127.0.0.1"],
            "resources": [{"names": ["client"], "compress": False}],
        }

    @staticmethod
    def _log_configuration() -> dict[str, Any]:
        return {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"plain": {"format": "%(asctime)s - %(name)s - %(levelname)s - %(message)s"}},
            "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
            "root": {"level": "WARNING", "handlers": ["console"]},
        }
