"""What a user's room list must be, told from the tables in plain Python: every row is read, and nothing is looked up."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row

from oracle.picture import StoredJson, take_picture
from oracle.reading import applied_redactions

Connection = psycopg.Connection[Any]

KNOWN_VERSIONS = frozenset(
    [*map(str, range(1, 13)), "org.matrix.msc3757.10", "org.matrix.msc3757.11", "org.matrix.hydra.11"]
)


class ListedRoom(NamedTuple):
    """The columns of sliding_sync.room_list(), in their order."""

    place: int | None
    total: int | None
    room_id: str
    membership: str
    sender: str
    membership_event_id: str
    room_name: str | None
    room_type: str | None
    is_encrypted: bool
    has_known_state: bool
    tombstone_successor_room_id: str | None
    event_stream_ordering: int
    bump_stamp: int


@dataclass(frozen=True)
class Filters:
    is_dm: bool | None = None
    is_encrypted: bool | None = None
    is_invite: bool | None = None
    room_types: list[str | None] | None = None
    not_room_types: list[str | None] | None = None
    tags: list[str] | None = None
    not_tags: list[str] | None = None
    spaces: list[str] | None = None
    room_name_like: str | None = None


def lower(text: str) -> str:
    """By the simple mapping; Python's own is the full one, which makes two code points of one."""
    return "".join("i" if c == "\u0130" else c.lower() for c in text)


class RoomLists:
    """The tables at one moment, and every user's list then."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection, self._schema = connection, schema
        self._snapshots = self._rows("sliding_sync_membership_snapshots")
        self._joined = {row.room_id: row for row in self._rows("sliding_sync_joined_rooms")}
        self._versions = {row.room_id: row.room_version for row in self._rows("rooms")}
        self._tags = {(row.user_id, row.room_id, row.tag) for row in self._rows("room_tags")}
        self._ignored = {(row.ignorer_user_id, row.ignored_user_id) for row in self._rows("ignored_users")}
        self._direct = {
            row.user_id: row.content for row in self._rows("account_data") if row.account_data_type == "m.direct"
        }
        self._children = self._read_children()

    def _rows(self, table: str) -> list[Any]:
        query = sql.SQL("SELECT * FROM {}").format(sql.Identifier(self._schema, table))
        return self._connection.cursor(row_factory=namedtuple_row).execute(query).fetchall()

    def _read_children(self) -> set[tuple[str, str]]:
        """(space, child) of current state, redactions applied."""
        picture = take_picture(self._connection, self._schema)
        named = {row.event_id: row for row in self._rows("current_state_events") if row.type == "m.space.child"}
        for row in self._rows("event_json"):
            picture.json.setdefault(row.event_id, StoredJson(row.json, row.internal_metadata))
        found = set()
        for event_id, row in named.items():
            if row.room_id == row.state_key or not picture.is_stored(event_id) or picture.events[event_id].rejected:
                continue
            via = picture.json[event_id].content.get("via")
            if isinstance(via, list) and any(isinstance(server, str) for server in via):
                if not applied_redactions(picture, event_id):
                    found.add((row.room_id, row.state_key))
        return found

    def direct_rooms(self, user: str) -> set[str]:
        try:
            content = json.loads(self._direct.get(user, "{}"), parse_int=len)
        except (ValueError, RecursionError):
            return set()
        lists = content.values() if isinstance(content, dict) else ()
        return {room for rooms in lists if isinstance(rooms, list) for room in rooms if isinstance(room, str)}

    def _everything(self, user: str, known_versions: Iterable[str]) -> list[ListedRoom]:
        listed = []
        for m in self._snapshots:
            if m.user_id != user or m.forgotten or (m.membership == "leave" and m.sender == user):
                continue
            if self._versions.get(m.room_id) is None or self._versions[m.room_id] not in known_versions:
                continue
            if m.membership == "invite" and (user, m.sender) in self._ignored:
                continue
            j = self._joined.get(m.room_id) if m.membership == "join" else None
            of = j or m
            bump = j.bump_stamp if j and (j.bump_stamp or 0) > 0 else m.event_stream_ordering
            listed.append(
                ListedRoom(
                    None,
                    None,
                    m.room_id,
                    m.membership,
                    m.sender,
                    m.membership_event_id,
                    of.room_name,
                    m.room_type if of.room_type is None else of.room_type,
                    of.is_encrypted,
                    m.has_known_state,
                    of.tombstone_successor_room_id,
                    of.event_stream_ordering,
                    max(0, bump),
                )
            )
        return listed

    def _passes(self, user: str, room: ListedRoom, filters: Filters) -> bool:
        f = filters
        tags = {tag for owner, room_id, tag in self._tags if (owner, room_id) == (user, room.room_id)}
        in_joined_spaces = any((space, room.room_id) in self._children for space in self._joined_spaces(user, f))
        depends_on_state = (f.is_encrypted, f.room_types, f.not_room_types) != (None, None, None)
        return (
            f.is_dm in (None, room.room_id in self.direct_rooms(user))
            and (room.has_known_state or not depends_on_state)
            and f.is_encrypted in (None, room.is_encrypted)
            and f.is_invite in (None, room.membership == "invite")
            and (f.room_types is None or room.room_type in f.room_types)
            and (f.not_room_types is None or room.room_type not in f.not_room_types)
            and (f.tags is None or not tags.isdisjoint(f.tags))
            and (f.not_tags is None or tags.isdisjoint(f.not_tags))
            and (f.spaces is None or in_joined_spaces)
            and (f.room_name_like is None or (room.room_name is not None and lower(f.room_name_like) in lower(room.room_name)))
        )

    def _joined_spaces(self, user: str, filters: Filters) -> list[str]:
        joined = {m.room_id for m in self._snapshots if (m.user_id, m.membership) == (user, "join")}
        return [space for space in filters.spaces or [] if space in joined]

    def ask(
        self,
        user: str,
        filters: Filters = Filters(),
        sort_by: str = "recency",
        range_start: int = 0,
        range_end: int | None = None,
        known_versions: Iterable[str] = KNOWN_VERSIONS,
    ) -> list[ListedRoom]:
        def key(room: ListedRoom) -> tuple[Any, ...]:
            recency = (-room.event_stream_ordering, room.room_id)
            if sort_by == "bump":
                return (-room.bump_stamp, *recency)
            if sort_by == "name":
                return (room.room_name is None, lower(room.room_name or ""), *recency)
            return recency

        rooms = sorted((r for r in self._everything(user, known_versions) if self._passes(user, r, filters)), key=key)
        placed = [room._replace(place=place, total=len(rooms)) for place, room in enumerate(rooms)]
        return placed[range_start : None if range_end is None else range_end + 1]
