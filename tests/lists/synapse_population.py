"""What users do to their rooms on a real homeserver, through its client API."""

from __future__ import annotations

import json
import random
from typing import Any
from urllib.parse import quote

from harness.matrix_client import CLIENT, MatrixError, User
from harness.synapse import Synapse
from lists.population import NAMES, TAGS, TYPES, odd_contents
from oracle.room_list import Filters

SYNC = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
NOBODY_LEFT = "No servers specified"  # the answer, with 502, to a knock at a room that everybody has left
ROOM_VERSIONS = [str(number) for number in range(1, 13)]


class SynapseLife:
    def __init__(self, synapse: Synapse, seed: int) -> None:
        self.random = random.Random(seed)
        self.synapse = synapse
        self.users = [synapse.register(f"{name}{seed}") for name in ("anna", "bert", "carl")]
        self.rooms: list[str] = []
        self.without_knocks: set[str] = set()  # rooms where it answers a knock with 500
        self.asked = 0
        self.refused = 0
        self.is_disturbed = False  # some process of the homeserver may be down: it may fail

    def begin(self, rooms: int) -> None:
        everyone = {user.user_id: 100 for user in self.users}
        for number in range(rooms):
            rng, creator = self.random, self.random.choice(self.users)
            options: dict[str, Any] = {"room_version": ROOM_VERSIONS[number % len(ROOM_VERSIONS)]}
            options["preset"] = rng.choice(["public_chat", "private_chat"])
            if (kind := rng.choice(TYPES)) is not None:
                options["creation_content"] = {"type": kind}
            if rng.random() < 0.8:
                options["name"] = rng.choice(NAMES[2:])
            if rng.random() < 0.3:
                content = {"algorithm": "m.megolm.v1.aes-sha2"}
                options["initial_state"] = [{"type": "m.room.encryption", "state_key": "", "content": content}]
            room = creator.create_room(**options)
            if int(options["room_version"]) < 7:
                self.without_knocks.add(room)
            self.rooms.append(room)
            self.attempt(lambda: creator.set_state(room, "m.room.power_levels", {"users": everyone}))

    def attempt(self, action: Any) -> None:
        """A user may try what is not allowed."""
        try:
            action()
        except MatrixError as error:
            assert error.status < 500 or NOBODY_LEFT in str(error) or self.is_disturbed, error
            self.refused += 1
        except StopIteration:  # no such state event
            self.refused += 1

    def step(self) -> None:
        rng = self.random
        room, user, other = rng.choice(self.rooms), rng.choice(self.users), rng.choice(self.users)
        actions = [
            lambda: other.invite(room, user),
            lambda: user.join(room),
            lambda: user.join(room),
            lambda: user.leave(room),
            lambda: other.kick(room, user),
            lambda: other.ban(room, user),
            lambda: other.unban(room, user),
            lambda: room in self.without_knocks or user.knock(room),
            lambda: user.forget(room),
            lambda: user.say(room, "hello"),
            lambda: user.send(room, "m.reaction", {}),
            lambda: user.set_name(room, rng.choice(NAMES)),
            lambda: user.set_state(room, "m.room.encryption", {"algorithm": "x"}),
            lambda: user.set_state(room, "m.room.join_rules", {"join_rule": rng.choice(["public", "invite", "knock"])}),
            lambda: user.redact(room, user.state_event_id(room, "m.room.encryption")),
            lambda: self.tag(user, room),
            lambda: self.direct(user),
            lambda: self.ignore(user, other),
        ]
        self.attempt(rng.choice(actions))

    # -- what has no event

    def account(self, user: User, path: str, text: str, method: str = "PUT") -> None:
        """Sent as it is: no JSON library of ours would write it so."""
        url = f"{user.api.base_url}{CLIENT}/user/{quote(user.user_id)}/{path}"
        headers = {"Authorization": f"Bearer {user.token}", "Content-Type": "application/json"}
        response = user.api._session.request(method, url, data=text.encode(), headers=headers, timeout=30)
        self.refused += response.status_code >= 400

    def tag(self, user: User, room: str) -> None:
        method = "DELETE" if self.random.random() < 0.2 else "PUT"
        tag = quote(self.random.choice(TAGS[:4]), safe="")
        self.account(user, f"rooms/{quote(room)}/tags/{tag}", "{}", method)

    def direct(self, user: User) -> None:
        self.account(user, "account_data/m.direct", self.random.choice(odd_contents(self.rooms, self.random)))

    def ignore(self, user: User, other: User) -> None:
        ignored = {other.user_id: {}} if self.random.random() < 0.5 else {}
        self.account(user, "account_data/m.ignored_user_list", json.dumps({"ignored_users": ignored}))

    # -- what the homeserver says

    def ask(self, user: User, filters: Filters, start: int, end: int) -> tuple[int, list[str]]:
        """How many rooms the filters leave, and those of the range, for a client that has never asked before."""
        asked = {name: value for name, value in vars(filters).items() if value is not None}
        self.asked += 1
        wanted = {"ranges": [[start, end]], "required_state": [], "timeline_limit": 1, "filters": asked}
        answer = user.api.call("POST", SYNC, {"conn_id": f"c{self.asked}", "lists": {"x": wanted}}, user.token)
        told = answer["lists"]["x"]
        return told["count"], [room for operation in told["ops"] for room in operation["room_ids"]]
