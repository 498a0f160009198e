"""A homeserver whose statements name only the columns that exist, by the names that they have now.

For migrations: whatever they did to a column, the next transaction is written as a homeserver of the new
schema would write it. All ids and orderings are given, so that the same steps make the same rows in every
database.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

Column = tuple[str, str]  # table, column
Values = Mapping[str, str | None]

ROOM, FAR = "!r:hs.test", "!far:remote.test"
ANNA, BERT, CARL, DORA = (f"@{name}:hs.test" for name in ("anna", "bert", "carl", "dora"))
BOSS = "@boss:remote.test"
NAME, MEMBER = "m.room.name", "m.room.member"


@dataclass
class PlainHomeserver:
    connection: psycopg.Connection[Any]
    schema: str
    names: dict[Column, str | None] = field(default_factory=dict)  # what migrations changed; None: gone
    moved: dict[str, str] = field(default_factory=dict)  # tables in another schema
    count: int = 0
    current: dict[tuple[str, str, str], str] = field(default_factory=dict)  # (room, type, state key) -> event

    # -- statements

    def column(self, table: str, name: str) -> str | None:
        return self.names.get((table, name), name)

    def table(self, name: str) -> sql.Identifier:
        return sql.Identifier(self.moved.get(name, self.schema), name)

    def _known(self, table: str, values: Values) -> dict[str, str | None]:
        columns = {self.column(table, name): value for name, value in values.items()}
        return {name: value for name, value in columns.items() if name is not None}

    def _where(self, table: str, alternatives: tuple[Values, ...]) -> dict[str, str | None] | None:
        """The first way to name the row for which all columns are there."""
        for values in alternatives:
            known = self._known(table, values)
            if len(known) == len(values):
                return known
        return None

    def insert(self, table: str, **values: str | None) -> None:
        known = self._known(table, values)
        query = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            self.table(table),
            sql.SQL(", ").join(map(sql.Identifier, known)),
            sql.SQL(", ").join(sql.Placeholder() * len(known)),
        )
        self.connection.execute(query, list(known.values()))

    def update(self, table: str, values: Values, *alternatives: Values) -> None:
        known, where = self._known(table, values), self._where(table, alternatives)
        if known and where:
            query = sql.SQL("UPDATE {} SET {} WHERE {}").format(
                self.table(table), _equal(known, ", "), _equal(where, " AND ")
            )
            self.connection.execute(query, [*known.values(), *where.values()])

    def delete(self, table: str, *alternatives: Values) -> None:
        where = self._where(table, alternatives)
        if where:
            query = sql.SQL("DELETE FROM {} WHERE {}").format(self.table(table), _equal(where, " AND "))
            self.connection.execute(query, list(where.values()))

    # -- operations, in a homeserver's order of statements

    def store(
        self,
        room_id: str,
        sender: str,
        event_type: str,
        content: Mapping[str, object] = {},
        *,
        state_key: str | None = None,
        redacts: str | None = None,
        outlier: bool = False,
        rejected: str | None = None,
        metadata: str = "{}",
        unsigned: Mapping[str, object] = {},
    ) -> str:
        self.count += 1
        event_id = f"$e{self.count}:hs.test"
        self.current[(room_id, "stored", event_id)] = event_id
        document = {"type": event_type, "room_id": room_id, "sender": sender, "content": content}
        if state_key is not None:
            document["state_key"] = state_key
        self.insert(
            "event_json",
            event_id=event_id,
            room_id=room_id,
            internal_metadata=metadata,
            json=json.dumps(document | {"unsigned": unsigned}),
        )
        self.insert(
            "events",
            event_id=event_id,
            room_id=room_id,
            type=event_type,
            sender=sender,
            outlier=str(int(outlier)),  # read rightly by boolean and by integer
            instance_name="master",
            stream_ordering=str(self.count),
            topological_ordering=str(self.count),
            processed="1",
            state_key=state_key,
            rejection_reason=rejected,
        )
        if rejected is not None:
            self.insert("rejections", event_id=event_id, reason=rejected, last_check="0")
        if redacts is not None:
            self.insert("redactions", event_id=event_id, redacts=redacts, recheck="1")
        if event_type == MEMBER and state_key is not None:
            membership = str(content["membership"])
            self.insert(
                "room_memberships",
                event_id=event_id,
                user_id=state_key,
                sender=sender,
                room_id=room_id,
                membership=membership,
                event_stream_ordering=str(self.count),
            )
            if outlier:
                self._replace_membership(room_id, state_key, event_id, membership)
        return event_id

    def change_state(
        self, room_id: str, sender: str, event_type: str, state_key: str, content: Mapping[str, object]
    ) -> str:
        event_id = self.store(room_id, sender, event_type, content, state_key=state_key)
        key = (room_id, event_type, state_key)
        before = self.current.get(key, "")
        self.delete(
            "current_state_events",
            {"room_id": room_id, "type": event_type, "state_key": state_key},
            {"event_id": before},
        )
        membership = str(content["membership"]) if event_type == MEMBER else None
        self.insert(
            "current_state_events",
            event_id=event_id,
            room_id=room_id,
            type=event_type,
            state_key=state_key,
            membership=membership,
            event_stream_ordering=str(self.count),
        )
        self.current[key] = event_id
        if membership is not None:
            self._replace_membership(room_id, state_key, event_id, membership)
        return event_id

    def _replace_membership(self, room_id: str, user_id: str, event_id: str, membership: str) -> None:
        key = (room_id, "local", user_id)
        self.delete(
            "local_current_membership",
            {"room_id": room_id, "user_id": user_id},
            {"event_id": self.current.get(key, "")},
        )
        self.insert(
            "local_current_membership",
            room_id=room_id,
            user_id=user_id,
            event_id=event_id,
            membership=membership,
            event_stream_ordering=str(self.count),
        )
        self.current[key] = event_id

    def member(self, user_id: str, membership: str, sender: str | None = None) -> str:
        return self.change_state(ROOM, sender or user_id, MEMBER, user_id, {"membership": membership})

    def rename(self, name: str) -> str:
        return self.change_state(ROOM, ANNA, NAME, "", {"name": name})

    def message(self, event_type: str = "m.room.message", **more: Any) -> str:
        return self.store(ROOM, ANNA, event_type, {"body": "hello"}, **more)


def _equal(values: Mapping[str, object], separator: str) -> sql.Composed:
    return sql.SQL(separator).join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values)


# -- what happens, one transaction a step

Step = Callable[[PlainHomeserver], object]


def _create(server: PlainHomeserver) -> None:
    for room_id in (ROOM, FAR):
        server.insert("rooms", room_id=room_id, room_version="10")
    server.change_state(ROOM, ANNA, "m.room.create", "", {"type": "m.space"})
    server.member(ANNA, "join")
    server.rename("Tea")
    server.change_state(ROOM, ANNA, "m.room.encryption", "", {"algorithm": "x"})


def _invite_from_outside(server: PlainHomeserver) -> None:
    stripped = [
        {"type": kind, "state_key": "", "sender": BOSS, "content": content}
        for kind, content in (("m.room.create", {}), (NAME, {"name": "Far"}))
    ]
    server.store(
        FAR,
        BOSS,
        MEMBER,
        {"membership": "invite"},
        state_key=ANNA,
        outlier=True,
        metadata='{"out_of_band_membership": true}',
        unsigned={"invite_room_state": stripped},
    )


def _redact_the_name(server: PlainHomeserver) -> None:
    server.message("m.room.redaction", redacts=server.current[(ROOM, NAME, "")])


def _reject_the_invite(server: PlainHomeserver) -> None:
    server.store(
        FAR,
        ANNA,
        MEMBER,
        {"membership": "leave"},
        state_key=ANNA,
        outlier=True,
        metadata='{"out_of_band_membership": true}',
    )


def _forget(server: PlainHomeserver) -> None:
    event_id = server.current[(ROOM, "local", BERT)]
    server.update(
        "room_memberships", {"forgotten": "1"}, {"room_id": ROOM, "user_id": BERT}, {"event_id": event_id}
    )


def _redact_all_of_a_banned_user(server: PlainHomeserver) -> None:
    ban = server.member(CARL, "ban", ANNA)
    server.insert("room_ban_redactions", room_id=ROOM, user_id=ANNA, redacting_event_id=ban)


def _censor(server: PlainHomeserver) -> None:
    event_id = server.current[(ROOM, NAME, "")]
    pruned = {"type": NAME, "room_id": ROOM, "sender": ANNA, "state_key": "", "content": {}}
    server.update("event_json", {"json": json.dumps(pruned)}, {"event_id": event_id})


def _purge_far(server: PlainHomeserver) -> None:
    """As by a homeserver that knows the room list tables."""
    room = {"room_id": FAR}
    events = [
        event_id
        for (room_id, what, _), event_id in server.current.items()
        if (room_id, what) == (FAR, "stored")
    ]
    for table in ("event_json", "local_current_membership", "room_memberships"):
        for event_id in events:
            server.delete(table, room, {"event_id": event_id})
    for event_id in events:
        server.delete("sliding_sync_membership_snapshots", room, {"membership_event_id": event_id})
    for event_id in events:
        server.delete("events", room, {"event_id": event_id})
    server.delete("rooms", room)


BEFORE: list[Step] = [
    _create,
    lambda server: server.member(BERT, "join"),
    lambda server: server.member(CARL, "invite", ANNA),
    _invite_from_outside,
    lambda server: server.message(),
]

AFTER: dict[str, Step] = {
    "message": lambda server: server.message(),
    "reaction": lambda server: server.message("m.reaction"),
    "rename": lambda server: server.rename("Coffee"),
    "join": lambda server: server.member(DORA, "join"),
    "leave": lambda server: server.member(BERT, "leave"),
    "forget": _forget,
    "rejected message": lambda server: server.message(rejected="auth_error"),
    "outlier": lambda server: server.message(outlier=True),
    "redact": _redact_the_name,
    "censor": _censor,
    "ban redaction": _redact_all_of_a_banned_user,
    "another name": lambda server: server.rename("Cocoa"),
    "reject a remote invite": _reject_the_invite,
    "purge a room": _purge_far,
}


def _change_everything(server: PlainHomeserver) -> None:
    server.rename("Milk")
    for user_id, membership in ((ANNA, "join"), (BERT, "join"), (CARL, "leave"), (DORA, "leave")):
        server.member(user_id, membership)


# The next change of every key.
LATER: list[Step] = [_change_everything, lambda server: server.message()]
