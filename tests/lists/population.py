"""What users have done to their rooms: on a homeserver that is played in SQL (tests/extension/operations.sql)."""

from __future__ import annotations

import json
import random
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]

USERS = [f"@{name}:hs.test" for name in ("anna", "bert", "carl")]
STRANGERS = ["@boss:remote.test", "@pest:remote.test", "@anna:remote.test"]
VERSIONS = [*map(str, range(1, 13)), "org.matrix.hydra.11", "org.matrix.msc3389.10", "99"]
TYPES = [None, None, None, "m.space", "m.space", "", "org.example.odd", "%"]
TAGS = ["m.favourite", "m.lowpriority", "u.Käse", "%", ""]
NAMES = [
    "", " ", "Tea", "tea", "TEA TIME", "100 %", "a_b", "aXb", "back\\slash", "Straße", "STRASSE", "İstanbul", "istanbul",
    "I\u0307stanbul", "ΣΊΣΥΦΟΣ", "σίσυφος", "Ünïcode", "ǅ", "ﬁ", "🫖 tea", "𐐀𐐨", "Ⅷ", "ÀÉ", "'; DROP TABLE rooms; --", "$1", "a\tb",
    "ẞ", "K\u212a", "Ω\u2126", "zebra", "Zebra", "[x]", "x" * 300,
]  # fmt: skip
VIAS = ['["hs.test"]', '["a", 1]', "[1, null, \"b\"]", "[]", "[1]", '"hs.test"', "{}", "null", "[[\"a\"]]", '["\\ud800"]', '[""]']


def odd_contents(rooms: list[str], rng: random.Random) -> list[str]:
    """What may stand in `m.direct`."""
    some = rng.sample(rooms, min(6, len(rooms)))
    one, two, three = (json.dumps(some[i % len(some)]) for i in range(3))
    return [
        "{}", "[]", "null", "true", "17", '"text"', "", "{", json.dumps(some), '{"@a:b": null, "@c:d": 3, "@e:f": {"x": []}}',
        json.dumps({"@x:y": some[:3], "@z:y": some[3:]}),
        f'{{"@x:y": [{one}, 1, null, [{two}], {{"a": {two}}}], "": [{three}]}}',
        f'{{"@x:y": [{one}], "@x:y": [{two}]}}',
        f'{{"@x:y": [{one}], "\\u0040x:y": [{two}], "@z:y": {three}}}',
        f'{{"\\u0000": [{one}, "\\u0000"], "\\ud800": [{two}, "\\udfff\\ud800"]}}',
        f'{{"@x:y": [{one}, NaN, 1e999, {"9" * 400}]}}',
        f'{{"@x:y": {"[" * 200}{one}{"]" * 200}, "@z:y": [{two}]}}',
        f'{{"@x:y": [{one}]}} trailing', f'\ufeff{{"@x:y": [{one}]}}', f'{{"@x:y": ["{some[0][:1]}\\u002d", {two},]}}',
    ]  # fmt: skip


class Life:
    """Does random things, one statement at a time; what the homeserver refuses has not happened."""

    def __init__(self, connection: Connection, seed: int) -> None:
        self.connection = connection
        self.random = random.Random(seed)
        self.rooms: list[str] = []

    def run(self, query: str, *arguments: object) -> Any:
        try:
            rows = self.connection.execute(query, arguments).fetchall()  # type: ignore[arg-type]
            return rows[0][0] if rows else None
        except psycopg.errors.RaiseException:
            return None
        except (psycopg.errors.UniqueViolation, psycopg.errors.NotNullViolation, psycopg.errors.ForeignKeyViolation):
            return None

    def name(self) -> str:
        return self.random.choice(NAMES)

    def begin(self, rooms: int) -> None:
        for number in range(rooms):
            pick = self.random.choice
            room = f"!r{number}:{pick(['hs.test', 'remote.test'])}"
            self.rooms.append(room)
            if room.endswith("remote.test"):
                self.remote_invite(room)
                continue
            name = self.name() if self.random.random() < 0.8 else None
            version = pick(VERSIONS) if self.random.random() < 0.4 else "10"
            query = "SELECT create_room(%s, %s, version => %s, room_type => %s, name => %s, encrypted => %s)"
            self.run(query, room, pick(USERS), version, pick(TYPES), name, self.random.random() < 0.3)

    def remote_invite(self, room: str) -> None:
        user, sender = self.random.choice(USERS), self.random.choice(STRANGERS)
        stripped = [("m.room.create", {"type": self.random.choice(TYPES)}), ("m.room.name", {"name": self.name()})]
        if self.random.random() < 0.5:
            stripped.append(("m.room.encryption", {"algorithm": "x"}))
        events = [{"type": t, "state_key": "", "sender": sender, "content": c} for t, c in stripped]
        known = json.dumps(events) if self.random.random() < 0.7 else None
        if self.random.random() < 0.2:
            self.run("SELECT remote_knock(%s, %s, %s)", room, user, known)
        else:
            self.run("SELECT remote_invite(%s, %s, %s, %s)", room, user, sender, known)

    def step(self, positions_only: bool = False) -> None:
        """`positions_only`: nothing that changes a list without an event."""
        pick, room = self.random.choice, self.random.choice(self.rooms)
        user, other = pick(USERS), pick(USERS)
        membership = pick(["join", "join", "leave", "kick", "ban", "unban", "invite", "knock", "answer", "message", "message"])
        events = {
            "join": lambda: self.run('SELECT "join"(%s, %s)', room, user),
            "leave": lambda: self.run("SELECT leave(%s, %s)", room, user),
            "kick": lambda: self.run("SELECT kick(%s, %s, %s)", room, user, other),
            "ban": lambda: self.run("SELECT ban(%s, %s, %s)", room, user, other),
            "unban": lambda: self.run("SELECT unban(%s, %s, %s)", room, user, other),
            "invite": lambda: self.run("SELECT invite(%s, %s, %s)", room, user, pick([other, *STRANGERS])),
            "knock": lambda: self.run("SELECT knock(%s, %s)", room, user),
            "answer": lambda: self.answer(room, user),
            "message": lambda: self.run("SELECT send_message(%s, %s, %s)", room, user, pick(["m.room.message", "m.reaction"])),
        }
        states = [
            lambda: self.run("SELECT rename(%s, %s, %s)", room, user, self.name()),
            lambda: self.run("SELECT encrypt(%s, %s)", room, user),
            lambda: self.run("SELECT tombstone(%s, %s, %s)", room, user, pick(self.rooms)),
            lambda: self.redact(pick(["m.room.name", "m.space.child", "m.room.encryption"])),
            lambda: self.child(),
        ]
        account = [lambda: self.run("SELECT forget(%s, %s)", room, user), lambda: self.account(user)]
        chance = self.random.random()
        if chance < 0.15 and not positions_only:
            pick(account)()
        elif chance < 0.45:
            pick(states)()
        else:
            events[membership]()

    def answer(self, room: str, user: str) -> None:
        """To what came from another homeserver."""
        if not room.endswith("remote.test"):
            return
        if self.random.random() < 0.5:
            self.run("SELECT reject_remote_invite(%s, %s)", room, user)
        else:
            self.remote_invite(room)

    def child(self) -> None:
        spaces = [r for (r,) in self.connection.execute("SELECT room_id FROM sliding_sync_joined_rooms WHERE room_type = 'm.space'")]
        space = self.random.choice((spaces or self.rooms) if self.random.random() < 0.9 else self.rooms)
        content = f'{{"via": {self.random.choice(VIAS[:3] if self.random.random() < 0.6 else VIAS)}}}'
        if self.random.random() < 0.15:
            content = "{}"
        child = self.random.choice([*self.rooms, "!unknown:hs.test", space])
        self.run("SELECT set_state(%s, %s, 'm.space.child', %s, %s)", space, self.random.choice(USERS), child, content)

    def redact(self, kind: str) -> None:
        targets = self.connection.execute(
            "SELECT c.room_id, c.event_id FROM current_state_events c WHERE c.type = %s ORDER BY c.event_id", [kind]
        ).fetchall()
        if targets:
            room, event = self.random.choice(targets)
            metadata = self.random.choice(["{}", '{"recheck_redaction": true}'])
            self.run("SELECT redact(%s, %s, %s, %s)", room, self.random.choice([*USERS, *STRANGERS]), event, metadata)

    def account(self, user: str) -> None:
        """Tags, direct rooms, ignored users."""
        room, tag = self.random.choice(self.rooms), self.random.choice(TAGS)
        kind = self.random.choice(["tag", "tag", "untag", "direct", "ignore"])
        if kind == "tag":
            self.run("INSERT INTO room_tags VALUES (%s, %s, %s, '{}') ON CONFLICT DO NOTHING RETURNING 1", user, room, tag)
        elif kind == "untag":
            self.run("DELETE FROM room_tags WHERE user_id = %s AND tag = %s RETURNING 1", user, tag)
        elif kind == "direct":
            content = self.random.choice(odd_contents(self.rooms, self.random))
            self.run(
                "INSERT INTO account_data VALUES (%s, 'm.direct', 1, %s, NULL) ON CONFLICT (user_id, account_data_type)"
                " DO UPDATE SET content = excluded.content RETURNING 1", user, content,
            )  # fmt: skip
        else:
            ignored = self.random.choice([*USERS, *STRANGERS])
            self.run("INSERT INTO ignored_users VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING 1", user, ignored)
