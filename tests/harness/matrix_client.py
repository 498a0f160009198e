"""The client-server and admin API of a homeserver, and a record of every request made."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import requests

Json = dict[str, Any]
CLIENT = "/_matrix/client/v3"
ADMIN = "/_synapse/admin"


@dataclass(frozen=True)
class Exchange:
    method: str
    path: str
    status: int
    body: str

    def __str__(self) -> str:
        return f"{self.method} {self.path} -> {self.status} {self.body[:400]}"


class MatrixError(Exception):
    """The homeserver refused a request."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(str(exchange))
        self.status = exchange.status


@dataclass
class Api:
    """One homeserver's HTTP side. Survives restarts of the homeserver."""

    base_url: str
    exchanges: list[Exchange] = field(default_factory=list)
    after_request: Callable[[Exchange], object] | None = None  # called in the thread that asked
    _local: threading.local = field(default_factory=threading.local)  # a session serves one thread

    @property
    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.trust_env = False  # no proxy between us and our own server
        session: requests.Session = self._local.session
        return session

    def call(self, method: str, path: str, body: Json | None = None, token: str | None = None) -> Json:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        response = self._session.request(method, self.base_url + path, json=body, headers=headers, timeout=60)
        exchange = Exchange(method, path, response.status_code, response.text)
        self.exchanges.append(exchange)
        if self.after_request is not None:
            self.after_request(exchange)
        if response.status_code >= 300:
            raise MatrixError(exchange)
        return response.json()

    @property
    def failed(self) -> list[Exchange]:
        """Requests in which the homeserver itself failed, whether or not the client asked again."""
        return [exchange for exchange in self.exchanges if exchange.status >= 500]

    def is_healthy(self) -> bool:
        try:
            return self._session.get(self.base_url + "/health", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def register(self, name: str, secret: str, admin: bool = False) -> User:
        """A new user, logged in, through the shared secret."""
        path = f"{ADMIN}/v1/register"
        nonce = self.call("GET", path)["nonce"]
        password = f"password of {name}"
        words = (nonce, name, password, "admin" if admin else "notadmin")
        mac = hmac.new(secret.encode(), b"\0".join(word.encode() for word in words), hashlib.sha1)
        body = {
            "nonce": nonce,
            "username": name,
            "password": password,
            "admin": admin,
            "mac": mac.hexdigest(),
        }
        answer = self.call("POST", path, body)
        return User(self, answer["user_id"], answer["access_token"])


_transactions = itertools.count()


@dataclass(frozen=True)
class User:
    """What one logged-in user can do. Methods that make an event return its id."""

    api: Api
    user_id: str
    token: str

    def _call(self, method: str, path: str, body: Json | None = None) -> Json:
        if body is None and method in ("POST", "PUT"):
            body = {}
        return self.api.call(method, path, body, self.token)

    def _room(self, method: str, room: str, action: str, body: Json | None = None) -> Json:
        return self._call(method, f"{CLIENT}/rooms/{quote(room)}/{action}", body)

    # -- rooms and memberships

    def create_room(self, **options: Any) -> str:
        return self._call("POST", f"{CLIENT}/createRoom", options)["room_id"]

    def invite(self, room: str, user: User) -> None:
        self._room("POST", room, "invite", {"user_id": user.user_id})

    def join(self, room: str) -> None:
        self._room("POST", room, "join")

    def join_over(self, room: str, server: str) -> None:
        """Joins a room that only other servers are in."""
        self._call("POST", f"{CLIENT}/join/{quote(room)}?via={quote(server)}")

    def knock(self, room: str) -> None:
        self._call("POST", f"{CLIENT}/knock/{quote(room)}")

    def leave(self, room: str) -> None:
        self._room("POST", room, "leave")

    def kick(self, room: str, user: User) -> None:
        self._room("POST", room, "kick", {"user_id": user.user_id})

    def ban(self, room: str, user: User) -> None:
        self._room("POST", room, "ban", {"user_id": user.user_id})

    def unban(self, room: str, user: User) -> None:
        self._room("POST", room, "unban", {"user_id": user.user_id})

    def forget(self, room: str) -> None:
        self._room("POST", room, "forget")

    def upgrade(self, room: str, version: str) -> str:
        return self._room("POST", room, "upgrade", {"new_version": version})["replacement_room"]

    def default_room_version(self) -> str:
        return self._call("GET", f"{CLIENT}/capabilities")["capabilities"]["m.room_versions"]["default"]

    def set_display_name(self, name: str) -> None:
        self._call("PUT", f"{CLIENT}/profile/{quote(self.user_id)}/displayname", {"displayname": name})

    # -- events

    def send(self, room: str, event_type: str, content: Json) -> str:
        action = f"send/{event_type}/t{next(_transactions)}"
        return self._room("PUT", room, action, content)["event_id"]

    def say(self, room: str, text: str) -> str:
        return self.send(room, "m.room.message", {"msgtype": "m.text", "body": text})

    def set_state(self, room: str, event_type: str, content: Json, state_key: str = "") -> str:
        return self._room("PUT", room, f"state/{event_type}/{quote(state_key)}", content)["event_id"]

    def set_name(self, room: str, name: str) -> str:
        return self.set_state(room, "m.room.name", {"name": name})

    def get_state(self, room: str, event_type: str, state_key: str = "") -> Json:
        return self._room("GET", room, f"state/{event_type}/{quote(state_key)}")

    def state_event_id(self, room: str, event_type: str, state_key: str = "") -> str:
        events: Any = self._room("GET", room, "state")
        return next(e["event_id"] for e in events if (e["type"], e["state_key"]) == (event_type, state_key))

    def redact(self, room: str, event_id: str) -> str:
        return self._room("PUT", room, f"redact/{quote(event_id)}/t{next(_transactions)}")["event_id"]

    def sliding_sync(self, size: int = 100) -> Json:
        body = {"lists": {"all": {"ranges": [[0, size - 1]], "required_state": [], "timeline_limit": 1}}}
        return self._call("POST", "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", body)

    # -- for administrators

    def _poll(self, path: str, running: tuple[str, ...], timeout: float = 60) -> Json:
        deadline = time.monotonic() + timeout
        while (answer := self._call("GET", path))["status"] in running:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path}: {answer}")
            time.sleep(0.05)
        if answer["status"] != "complete":
            raise RuntimeError(f"{path}: {answer}")
        return answer

    def purge_history(self, room: str, up_to: str, local_events: bool = True) -> Json:
        """Deletes what lies before an event, and waits for the end of it."""
        body = {"delete_local_events": local_events, "purge_up_to_event_id": up_to}
        answer = self._call("POST", f"{ADMIN}/v1/purge_history/{quote(room)}", body)
        return self._poll(f"{ADMIN}/v1/purge_history_status/{answer['purge_id']}", ("active", "scheduled"))

    def delete_room(self, room: str, **options: Any) -> Json:
        """Takes all local users out of a room, purges it, waits for the end, and tells what was done."""
        body = {"block": False, "purge": True} | options
        answer = self._call("DELETE", f"{ADMIN}/v2/rooms/{quote(room)}", body)
        path = f"{ADMIN}/v2/rooms/delete_status/{answer['delete_id']}"
        return self._poll(path, ("scheduled", "active", "shutting_down", "purging"))["shutdown_room"]

    def deactivate(self, user: User, timeout: float = 30) -> None:
        """Ends an account, and waits until it is in no room any more."""
        self._call("POST", f"{ADMIN}/v1/deactivate/{quote(user.user_id)}", {"erase": True})
        path = f"{ADMIN}/v1/users/{quote(user.user_id)}/joined_rooms"
        deadline = time.monotonic() + timeout
        while rooms := self._call("GET", path)["joined_rooms"]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{user.user_id} is still in {rooms}")
            time.sleep(0.05)
