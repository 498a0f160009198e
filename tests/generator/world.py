"""The rooms and what happens in them, chapter by chapter. Knows nothing of a database."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any, Iterator, NamedTuple

SERVER = "hs.test"
WORDS = "amber birch cedar delta ember fjord grove heath inlet juniper kelp lagoon meadow north pine".split()
MESSAGES = ["m.room.message"] * 8 + ["m.reaction", "m.sticker", "org.example.widget"]
ENCRYPTED_MESSAGES = ["m.room.encrypted"] * 9 + ["m.reaction"]


class NewEvent(NamedTuple):
    event_id: str
    room_id: str
    sender: str
    type: str
    state_key: str | None
    membership: str | None
    redacts: str | None
    outlier: bool
    rejected: str | None
    metadata: str
    depth: int
    stream_ordering: int
    json: str
    state_group: int | None
    prev_state_group: int | None
    starts_group: bool


@dataclass
class Chapter:
    """What happens in all rooms before the next commit; the events of one room are one chunk."""

    title: str
    events: list[NewEvent] = field(default_factory=list)
    left_rooms: list[str] = field(default_factory=list)  # whose last local user leaves
    forgotten: list[tuple[str, str]] = field(default_factory=list)  # (room, user)


@dataclass
class Room:
    room_id: str
    creator: str
    encrypted: bool
    members: list[str]
    size: float  # 1 is an ordinary room
    named: str | None = None  # the event that gave the name
    depth: int = 0
    state_group: int | None = None

    @property
    def local_members(self) -> list[str]:
        return [user for user in self.members if is_local(user)]


def is_local(user_id: str) -> bool:
    return user_id.endswith(f":{SERVER}")


class World:
    def __init__(self, rooms: int, seed: int = 1, first_ordering: int = 1, first_group: int = 1) -> None:
        self._random = random.Random(seed)
        self._ordering = first_ordering - 1
        self._backfill_ordering = -first_ordering
        self._group = first_group - 1
        self._first = first_ordering
        users = max(20, rooms // 5)
        self._local_users = [f"@user{n}:{SERVER}" for n in range(users)]
        self._remote_users = [f"@guest{n}:server{n % 30}.test" for n in range(users * 4)]
        self.rooms = [self._plan(number) for number in range(rooms)]

    @property
    def last_ordering(self) -> int:
        return self._ordering

    @property
    def last_backfill_ordering(self) -> int:
        return -self._backfill_ordering

    @property
    def last_group(self) -> int:
        return self._group

    def room_id(self, number: int, server: str = SERVER) -> str:
        return f"!room{self._first}-{number}:{server}"

    def _plan(self, number: int) -> Room:
        # Most rooms are small, a few are very large.
        size = min(self._random.lognormvariate(0, 1.1), 60.0)
        creator = self._random.choice(self._local_users)
        return Room(self.room_id(number), creator, self._random.random() < 0.4, [creator], size)

    def chapters(self) -> Iterator[Chapter]:
        for write in (
            self._creation,
            self._arrivals,
            self._talk,
            self._departures,
            self._changes,
            self._invitations_from_afar,
            self._answers_to_invitations,
            self._old_messages,
            self._talk,
            self._last_leaves,
        ):
            chapter = Chapter(write.__name__.strip("_").replace("_", " "))
            self._random.shuffle(self.rooms)
            write(chapter)
            yield chapter

    # -- chapters

    def _creation(self, chapter: Chapter) -> None:
        for room in self.rooms:
            kind = {"type": "m.space"} if self._happens(0.08) else {}
            self._state(chapter, room, "m.room.create", {"room_version": "10"} | kind)
            self._member(chapter, room, room.creator, "join")
            self._state(chapter, room, "m.room.power_levels", {"users": {room.creator: 100}})
            self._state(chapter, room, "m.room.join_rules", {"join_rule": "invite"})
            if room.encrypted:
                self._state(chapter, room, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
            if self._happens(0.6):
                self._name(chapter, room)

    def _arrivals(self, chapter: Chapter) -> None:
        for room in self.rooms:
            everyone = self._random.sample(
                self._local_users, min(len(self._local_users), int(room.size * 2) + 1)
            )
            everyone += self._random.sample(
                self._remote_users, min(len(self._remote_users), int(room.size * 6))
            )
            for user in everyone:
                if user == room.creator:
                    continue
                if self._happens(0.07):
                    self._member(chapter, room, user, "invite", room.creator)
                elif self._happens(0.02):
                    self._member(chapter, room, user, "knock")
                else:
                    self._member(chapter, room, user, "join")
                    room.members.append(user)

    def _talk(self, chapter: Chapter) -> None:
        for room in self.rooms:
            for _ in range(self._random.randrange(int(room.size * 14) + 3)):
                kinds = ENCRYPTED_MESSAGES if room.encrypted else MESSAGES
                self._add(
                    chapter,
                    room,
                    self._random.choice(kinds),
                    self._random.choice(room.members),
                    {"body": "hi"},
                )
            if self._happens(0.02):
                self._add(chapter, room, "m.room.message", room.creator, {}, rejected="auth_error")

    def _departures(self, chapter: Chapter) -> None:
        for room in self.rooms:
            for user in [user for user in room.members if user != room.creator and self._happens(0.15)]:
                room.members.remove(user)
                if self._happens(0.15):
                    self._member(chapter, room, user, "ban", room.creator)
                else:
                    self._member(chapter, room, user, "leave", room.creator if self._happens(0.2) else user)
                    if is_local(user) and self._happens(0.3):
                        chapter.forgotten.append((room.room_id, user))

    def _changes(self, chapter: Chapter) -> None:
        for number, room in enumerate(self.rooms):
            if self._happens(0.15):
                self._name(chapter, room)
            if room.named and self._happens(0.05):
                self._add(
                    chapter,
                    room,
                    "m.room.redaction",
                    room.creator,
                    {"redacts": room.named},
                    redacts=room.named,
                )
            if not room.encrypted and self._happens(0.05):
                room.encrypted = True
                self._state(chapter, room, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
            if self._happens(0.04):
                self._state(chapter, room, "m.room.tombstone", {"replacement_room": self.room_id(number + 1)})

    def _invitations_from_afar(self, chapter: Chapter) -> None:
        self._invited: list[tuple[Room, str]] = []
        for number in range(len(self.rooms) // 20):
            inviter = self._random.choice(self._remote_users)
            room = Room(self.room_id(number, "afar.test"), inviter, False, [inviter], 1.0)
            stripped = [
                self._stripped(inviter, "m.room.create", {}),
                self._stripped(inviter, "m.room.name", {"name": "Afar"}),
            ]
            user = self._random.choice(self._local_users)
            if self._happens(0.2):
                self._out_of_band(chapter, room, user, "knock", user, {"knock_room_state": stripped})
            else:
                self._out_of_band(chapter, room, user, "invite", inviter, {"invite_room_state": stripped})
            self._invited.append((room, user))

    def _answers_to_invitations(self, chapter: Chapter) -> None:
        for room, user in self._invited:
            if self._happens(0.4):
                self._out_of_band(
                    chapter, room, user, "leave", user if self._happens(0.8) else room.creator, {}
                )

    def _old_messages(self, chapter: Chapter) -> None:
        for room in self.rooms:
            if self._happens(0.03):
                for _ in range(10):
                    self._add(
                        chapter, room, "m.room.message", room.creator, {"body": "long ago"}, backfilled=True
                    )

    def _last_leaves(self, chapter: Chapter) -> None:
        for room in self.rooms:
            if room.local_members == [room.creator] and self._happens(0.1):
                self._member(chapter, room, room.creator, "leave")
                chapter.left_rooms.append(room.room_id)

    # -- events

    def _happens(self, probability: float) -> bool:
        return self._random.random() < probability

    def _name(self, chapter: Chapter, room: Room) -> None:
        name = " ".join(self._random.sample(WORDS, 2)).title()
        room.named = self._state(chapter, room, "m.room.name", {"name": name})

    def _state(self, chapter: Chapter, room: Room, event_type: str, content: dict[str, Any]) -> str:
        return self._add(chapter, room, event_type, room.creator, content, state_key="")

    def _member(
        self, chapter: Chapter, room: Room, user: str, membership: str, sender: str | None = None
    ) -> None:
        content = {"membership": membership}
        self._add(
            chapter, room, "m.room.member", sender or user, content, state_key=user, membership=membership
        )

    def _out_of_band(
        self, chapter: Chapter, room: Room, user: str, membership: str, sender: str, unsigned: dict[str, Any]
    ) -> None:
        self._add(chapter, room, "m.room.member", sender, {"membership": membership}, state_key=user,
                  membership=membership, unsigned=unsigned, outlier=True,
                  metadata='{"out_of_band_membership": true}')  # fmt: skip

    @staticmethod
    def _stripped(sender: str, event_type: str, content: dict[str, Any]) -> dict[str, Any]:
        return {"type": event_type, "state_key": "", "sender": sender, "content": content}

    def _add(
        self,
        chapter: Chapter,
        room: Room,
        event_type: str,
        sender: str,
        content: dict[str, Any],
        *,
        state_key: str | None = None,
        membership: str | None = None,
        redacts: str | None = None,
        rejected: str | None = None,
        unsigned: dict[str, Any] | None = None,
        outlier: bool = False,
        backfilled: bool = False,
        metadata: str = "{}",
    ) -> str:
        if backfilled:
            self._backfill_ordering -= 1
            ordering = self._backfill_ordering
        else:
            self._ordering += 1
            ordering = self._ordering
            room.depth += 1
        event: dict[str, Any] = {
            "type": event_type,
            "room_id": room.room_id,
            "sender": sender,
            "content": content,
        }
        event |= {"depth": room.depth, "unsigned": unsigned or {}}
        if state_key is not None:
            event["state_key"] = state_key
        if redacts is not None:
            event["redacts"] = redacts

        event_id = f"$g{ordering}:{SERVER}"
        before = room.state_group
        starts_group = state_key is not None and rejected is None and not outlier
        if starts_group:
            self._group += 1
            room.state_group = self._group
        group = None if outlier else room.state_group
        chapter.events.append(
            NewEvent(
                event_id,
                room.room_id,
                sender,
                event_type,
                state_key,
                membership,
                redacts,
                outlier,
                rejected,
                metadata,
                room.depth,
                ordering,
                json.dumps(event),
                group,
                before,
                starts_group,
            )  # fmt: skip
        )
        return event_id
