"""Requests of clients to a real homeserver, and another homeserver whose rooms they join."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness import processes
from harness.cluster import Cluster
from harness.folders import make_folder
from harness.synapse import Synapse
from workload.recording import Operation
from workload.variants import SYNAPSE

MEMBERS = 16  # of a room of ours
FAR_MEMBERS = 300
HISTORY = 80  # messages that are purged


@dataclass(frozen=True)
class Kind:
    title: str
    warming: int = 6  # requests before those that are counted: the fifth makes a plan that stays
    counted: int = 10

    @property
    def count(self) -> int:
        return self.warming + self.counted


KINDS = {
    "message": Kind("message"),
    "join": Kind("join"),
    "name": Kind("name"),
    "invite": Kind("invite"),
    "accept": Kind("accept invite"),
    "leave": Kind("leave"),
    "kick": Kind("kick"),
    "creation": Kind("room creation"),
    "far_join": Kind(f"remote join ({FAR_MEMBERS} members, partial state)", 1, 2),
    # the first makes the schema of temporary tables: the plans of all connections are dropped, of this one once more at its commit
    "purge": Kind(f"purge of {HISTORY} events", 2, 2),
}
_ROOMS = max(kind.count for kind in KINDS.values())


def federating(cluster: Cluster, database: str) -> Synapse:
    """A homeserver that is named by its address, and talks to others."""
    synapse, port, folder = Synapse(SYNAPSE, cluster, database), processes.free_port(), make_folder("certificates")
    processes.give_to_server(folder)
    files = ["-keyout", "key.pem", "-out", "certificate.pem"]  # which nobody verifies
    processes.run("openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=127.0.0.1".split() + files, folder)
    listener = {"type": "http", "bind_addresses": ["127.0.0.1"]}
    synapse.more_configuration = {
        "server_name": f"127.0.0.1:{port}",
        "listeners": [
            listener | {"port": synapse.main.port, "resources": [{"names": ["client"]}]},
            listener | {"port": port, "resources": [{"names": ["federation", "keys"]}], "tls": True},
        ],
        "tls_certificate_path": str(folder / "certificate.pem"),
        "tls_private_key_path": str(folder / "key.pem"),
        "federation_verify_certificates": False,
        "federation_domain_whitelist": None,
        "ip_range_blacklist": [],
    }
    return synapse


def make_far_rooms(synapse: Synapse) -> list[str]:
    """Rooms of another homeserver, with members that are all its own."""
    users = [synapse.register(f"far{n}") for n in range(FAR_MEMBERS)]
    rooms = [users[0].create_room(preset="public_chat", name=f"Far room {n}") for n in range(KINDS["far_join"].count)]
    with ThreadPoolExecutor() as threads:
        for done in [threads.submit(lambda room=room: [user.join(room) for user in users[1:]]) for room in rooms]:
            done.result()
    return rooms


class Requests:
    """Rooms of a homeserver, who acts in them, and what they ask for."""

    def __init__(self, synapse: Synapse, far_rooms: list[str], far_server: str) -> None:
        self._synapse = synapse
        self._far = [(room, far_server) for room in far_rooms]
        self._admin = synapse.register("admin", admin=True)
        self._invitee = synapse.register("invitee")
        self._members = [synapse.register(f"member{n}") for n in range(MEMBERS - 1)]
        self._guests = [synapse.register(f"guest{n}") for n in range(4)]
        self._rooms = [self._make(f"Room {n}", is_encrypted=n % 3 == 0) for n in range(_ROOMS)]
        for room in self._rooms:
            for user in self._members:
                user.join(room)
            self._admin.say(room, "Good morning")
        self._old = [self._make_old(f"Old room {n}") for n in range(KINDS["purge"].count)]

    def _make(self, name: str, is_encrypted: bool = False) -> str:
        encryption = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
        return self._admin.create_room(
            preset="public_chat", name=name, initial_state=[encryption] if is_encrypted else []
        )

    def _make_old(self, name: str) -> tuple[str, str]:
        """A room, and its newest event, which is there before anything is recorded: no derived row holds an older one."""
        room = self._make(name)
        for n in range(HISTORY):
            self._admin.say(room, f"Message {n}")
        return room, self._admin.say(room, "The newest")

    def warm_up(self) -> None:
        """Fills the caches of a homeserver that has just started: those of a busy one hold what is asked for again."""
        for number, room in enumerate(self._rooms):
            self._guests[3].join(room)
            self._members[number % len(self._members)].say(room, "Good evening")

    def request(self, kind: str, number: int) -> object:
        guest, admin = self._guests[number % 3], self._admin
        member = self._members[number % len(self._members)]
        match kind:
            case "creation":
                return self._make(f"New room {number}")
            case "far_join":
                return guest.join_over(*self._far[number])
            case "purge":
                return admin.purge_history(*self._old[number])
        room = self._rooms[number]
        return {
            "message": lambda: member.say(room, f"This is message number {number}"),
            "join": lambda: guest.join(room),
            "name": lambda: admin.set_name(room, f"Another name {number}"),
            "invite": lambda: admin.invite(room, self._invitee),
            "accept": lambda: self._invitee.join(room),
            "leave": lambda: self._invitee.leave(room),
            "kick": lambda: admin.kick(room, guest),
        }[kind]()

    def record(self, log: Path) -> list[Operation]:
        """Makes all requests, one after the other; returns where in the log each began and ended."""
        operations = []
        for kind, about in KINDS.items():
            for number in range(about.count):
                begin = size_when_quiet(log)
                self.request(kind, number)
                end = log.stat().st_size
                operations.append(Operation(kind, number >= about.warming, begin, end))
                if kind == "far_join":
                    self._wait_for_whole_state()
        size_when_quiet(log, 3)
        return operations

    def _wait_for_whole_state(self) -> None:
        """The members of a far room come later: not within the next request."""
        while self._synapse.cluster.execute("SELECT FROM partial_state_rooms", self._synapse.database):
            time.sleep(0.1)


def size_when_quiet(log: Path, seconds: float = 0.15) -> int:
    """The size of the log, once nothing was written for a while: what follows a request is over."""
    size, since = -1, time.monotonic()
    while time.monotonic() - since < seconds:
        if (now := log.stat().st_size) != size:
            size, since = now, time.monotonic()
        time.sleep(0.02)
    return size
