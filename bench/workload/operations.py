"""Operations of a homeserver in rooms of the population: each a Transaction, the same on every database."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg

from workload import statements as s
from workload.statements import BEGIN, COMMIT, Event, Transaction

Connection = psycopg.Connection[Any]


@dataclass
class Room:
    room_id: str
    newest: str
    depth: int
    state_group: int
    locals: list[str]
    room_type: str | None
    room_name: str | None
    is_encrypted: bool
    state_events: list[str] = field(default_factory=list)

    def columns(self) -> dict[str, object]:
        """As the homeserver would name them: only what the room's state tells."""
        columns: dict[str, object] = {"room_type": self.room_type, "has_known_state": True}
        if self.room_name is not None:
            columns["room_name"] = self.room_name
        if self.is_encrypted:
            columns["is_encrypted"] = True
        return columns


_ROOMS = """
    SELECT j.room_id, x.event_id, e.topological_ordering, g.state_group,
           ARRAY(SELECT l.user_id FROM local_current_membership l WHERE l.room_id = j.room_id AND l.membership = 'join'),
           j.room_type, j.room_name, j.is_encrypted,
           ARRAY(SELECT c.event_id FROM current_state_events c WHERE c.room_id = j.room_id AND c.state_key = ''
                 AND c.type IN ('m.room.create', 'm.room.encryption', 'm.room.name', 'm.room.tombstone'))
    FROM sliding_sync_joined_rooms j JOIN event_forward_extremities x USING (room_id)
        JOIN events e USING (event_id) JOIN event_to_state_groups g USING (event_id)
    WHERE (SELECT count(*) FROM current_state_events c WHERE c.room_id = j.room_id AND c.membership = 'join')
        BETWEEN %s AND %s AND j.tombstone_successor_room_id IS NULL
    ORDER BY j.room_id
"""


class Operations:
    """Draws operations; knows what it has added to each room. One for all databases: they see the same."""

    def __init__(self, connection: Connection, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._rooms = [Room(*row) for row in connection.execute(_ROOMS, [10, 500])]
        self._busy = [Room(*row) for row in connection.execute(_ROOMS, [50, 500])] or self._rooms
        # the same room is the same object in both lists
        known = {room.room_id: room for room in self._rooms}
        self._busy = [known[room.room_id] for room in self._busy]
        self._users = [user for (user,) in connection.execute("SELECT user_id FROM devices ORDER BY user_id")]
        (self._ordering, self._backfilled) = connection.execute(
            "SELECT max(stream_ordering), min(stream_ordering) FROM events"
        ).fetchone() or (0, 0)
        self._fresh = 0

    def draw(self, kind: str, size: int = 0) -> list[Transaction]:
        """The transactions of one operation; `size` is a remote room's number of members."""
        if kind == "message":
            return [self._message(self._random.choice(self._rooms))]
        if kind == "join":
            return [self._join(self._random.choice(self._busy))]
        if kind == "name":
            return [self._rename(self._random.choice(self._rooms))]
        return list(self._remote_join(size))

    def messages(self, count: int, history: bool) -> Iterator[Event]:
        """New ones, a hundred a room, or old ones in one room; no room learns of them here."""
        rooms = self._random.sample(self._rooms, 1 if history else min(len(self._rooms), max(1, count // 100)))
        for n in range(count):
            room = self._random.choice(rooms)
            if history:
                self._backfilled -= 1
            else:
                self._ordering += 1
            yield Event(
                self._event_id(), room.room_id, self._random.choice(room.locals), "m.room.message",
                self._backfilled if history else self._ordering, n - count if history else room.depth, room.newest,
                f'{{"body":"message {n}","msgtype":"m.text"}}',
            )  # fmt: skip

    def _event_id(self) -> str:
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        return "$" + "".join(self._random.choices(alphabet, k=43))

    def _event(self, room: Room, sender: str, kind: str, content: dict[str, object], **more: Any) -> Event:
        self._ordering += 1
        room.depth += 1
        event = Event(
            self._event_id(), room.room_id, sender, kind, self._ordering, room.depth, room.newest,
            json.dumps(content, separators=(",", ":")), **more,
        )  # fmt: skip
        room.newest = event.event_id
        return event

    def _stage(self, room: Room, event: Event) -> list[str]:
        """What the push rules said, stored before by another connection."""
        rows = [(event.event_id, user, "", 1, 0, 0, "main", 0) for user in room.locals[:50] if user != event.sender]
        columns = "event_id, user_id, actions, notif, highlight, unread, thread_id, inserted_ts"
        return [s.insert("event_push_actions_staging", columns, rows)] if rows else []

    def _message(self, room: Room) -> Transaction:
        sender = self._random.choice(room.locals)
        words = " ".join(self._random.choices("the quick brown fox jumps over a lazy dog today".split(), k=8))
        encrypted = "m.room.encrypted" if room.is_encrypted else "m.room.message"
        event = self._event(room, sender, encrypted, {"body": words, "msgtype": "m.text"},
                            search=None if room.is_encrypted else words)  # fmt: skip
        done = Transaction(before=self._stage(room, event))
        done.add(BEGIN)
        s.store(done, [event], room.state_group, extremity=True)
        s.advance_orderings(done, room.room_id, event.ordering, event.ordering)
        done.add(COMMIT)
        return done

    def _join(self, room: Room) -> Transaction:
        user = next(user for user in iter(lambda: self._random.choice(self._users), None) if user not in room.locals)
        event = self._event(room, user, "m.room.member", {"displayname": user[1:8], "membership": "join"},
                            state_key=user, membership="join")  # fmt: skip
        done = Transaction()
        s.read_for_upkeep(done, room.room_id, user, room.state_events)
        done.add(BEGIN)
        s.store(done, [event], room.state_group, extremity=True)
        s.change_state(done, [event], event.ordering, [event])
        s.write_snapshot(done, event, room.columns())
        s.invalidate(done, room.room_id, user)
        s.advance_orderings(done, room.room_id, event.ordering, None)
        done.add(COMMIT)
        room.locals.append(user)
        return done

    def _rename(self, room: Room) -> Transaction:
        name = f"Renamed {self._ordering}"
        event = self._event(room, self._random.choice(room.locals), "m.room.name", {"name": name},
                            state_key="", search=name)  # fmt: skip
        done = Transaction(before=self._stage(room, event))
        done.reads = [
            s.Step(s.fill("SELECT j.room_id FROM sliding_sync_joined_rooms j WHERE j.room_id = {r}", r=room.room_id))
        ]
        done.add(BEGIN)
        s.store(done, [event], room.state_group, extremity=True)
        s.change_state(done, [event], event.ordering, [])
        s.write_joined_room(done, room.room_id, {"room_name": name})
        s.invalidate(done, room.room_id)
        s.advance_orderings(done, room.room_id, event.ordering, None)
        done.add(COMMIT)
        room.room_name = name
        return done

    def _remote_join(self, members: int) -> Iterator[Transaction]:
        """Another server's room: its state as outliers, a hundred events a transaction, then our join with all of it."""
        self._fresh += 1
        room = Room(f"!fresh{self._fresh}:far.test", "$nothing", 0, 0, [], None, "Far away", True)
        boss = "@boss:far.test"
        content: list[tuple[str, str, dict[str, object]]] = [
            ("m.room.create", "", {"room_version": "10"}),
            ("m.room.power_levels", "", {"users": {boss: 100}}),
            ("m.room.join_rules", "", {"join_rule": "public"}),
            ("m.room.history_visibility", "", {"history_visibility": "shared"}),
            ("m.room.encryption", "", {"algorithm": "m.megolm.v1.aes-sha2"}),
            ("m.room.name", "", {"name": "Far away"}),
        ]
        content += [
            ("m.room.member", f"@guest{n}:server{n % 97}.test", {"membership": "join"}) for n in range(1, members + 1)
        ]
        state: list[Event] = []
        for kind, key, what in content:
            event = self._event(room, key or boss, kind, what, state_key=key, outlier=True)
            self._ordering -= 1
            self._backfilled -= 1
            event.ordering = self._backfilled
            event.membership = "join" if kind == "m.room.member" else None
            state.append(event)
        first = Transaction()
        first.add(BEGIN)
        row = (room.room_id, boss, False, "10", True)
        first.add(s.insert("rooms", "room_id, creator, is_public, room_version, has_auth_chain_index", [row]))
        first.add(s.insert("room_depth", "room_id, min_depth", [(room.room_id, 1)]))
        first.add(COMMIT)
        yield first
        for start in range(0, len(state), 100):
            chunk = Transaction()
            chunk.add(BEGIN)
            s.store(chunk, state[start : start + 100], None, extremity=False)
            chunk.add(COMMIT)
            yield chunk
        user = self._random.choice(self._users)
        join = self._event(room, user, "m.room.member", {"membership": "join"}, state_key=user, membership="join")
        done = Transaction()
        done.add(BEGIN)
        s.store(done, [join], 1, extremity=True)
        whole = [*state, join]
        self._random.shuffle(whole)
        s.change_state(done, whole, join.ordering, [join])
        values = {"room_type": None, "is_encrypted": True, "room_name": "Far away"}
        s.write_joined_room(done, room.room_id, values)
        s.write_snapshot(done, join, values | {"has_known_state": True})
        s.invalidate(done, room.room_id, user)
        s.advance_orderings(done, room.room_id, join.ordering, None)
        done.add(COMMIT)
        yield done
