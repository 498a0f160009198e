"""A real Synapse as big installations run it: one main process and workers, which talk through Redis."""

from __future__ import annotations

import json
from typing import Any

from harness.environment import synapse_python
from harness.redis import Redis
from harness.synapse import Synapse
from harness.synapse_process import SynapseProcess

PERSISTERS = ("persister1", "persister2")  # each stores the events of a part of the rooms
BACKGROUND = "background1"  # does what nobody waits for
READERS = ("generic1", "generic2")  # what clients ask


class SynapseWithWorkers(Synapse):
    """`api` is the main process's; each of `workers` has one of its own, and its name in `pg_stat_activity`."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.redis = Redis()
        self.workers = {
            name: SynapseProcess(name, self.directory) for name in (*PERSISTERS, BACKGROUND, *READERS)
        }

    # -- life cycle

    def start(self) -> None:
        self.redis.start()
        super().start()
        for name in self.workers:
            self._spawn(name)
        for worker in self.workers.values():
            worker.wait_until_healthy()

    def start_worker(self, name: str) -> None:
        self._spawn(name)
        self.workers[name].wait_until_healthy()

    def _spawn(self, name: str) -> None:
        self._write(f"{name}.yaml", json.dumps(self._worker_configuration(name), indent=1))
        files = ("homeserver.yaml", f"{name}.yaml")
        self.workers[name].start(synapse_python(self.version), "synapse.app.generic_worker", files)

    def stop(self) -> None:
        for worker in self.workers.values():
            worker.stop()
        super().stop()
        self.redis.stop()

    def destroy(self) -> None:
        for worker in self.workers.values():
            worker.destroy()
        super().destroy()
        self.redis.destroy()

    # -- what a test asks

    def read_log(self) -> str:
        """Those of all processes, one after the other."""
        return super().read_log() + "".join(worker.read_log() for worker in self.workers.values())

    # -- configuration

    def _replication_socket(self, name: str) -> str:
        return str(self.directory / f"{name}.socket")

    def _replication_listener(self, name: str) -> dict[str, Any]:
        return {"path": self._replication_socket(name), "type": "http", "resources": [{"names": ["replication"]}]}

    def _configuration(self) -> dict[str, Any]:
        configuration = super()._configuration()
        asked = ("main", *PERSISTERS)
        return configuration | {
            "listeners": [*configuration["listeners"], self._replication_listener("main")],
            "redis": {"enabled": True, "path": str(self.redis.socket)},
            "instance_map": {name: {"path": self._replication_socket(name)} for name in asked},
            "stream_writers": {"events": list(PERSISTERS)},
            "run_background_tasks_on": BACKGROUND,
        }

    def _worker_configuration(self, name: str) -> dict[str, Any]:
        database = self._configuration()["database"]
        database["args"]["application_name"] = name
        return {
            "database": database,
            "worker_app": "synapse.app.generic_worker",
            "worker_name": name,
            "worker_log_config": str(self.directory / "log.yaml"),
            "worker_listeners": [
                self._client_listener(self.workers[name].port),
                self._replication_listener(name),
            ],
        }
