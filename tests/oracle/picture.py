"""A picture of the homeserver's tables, and of the two derived ones, at one moment."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Iterable, Iterator, LiteralString, NamedTuple

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row, tuple_row

from oracle.finding import JOINED_ROOMS, SNAPSHOTS, Row
from oracle.values import MEMBER, RELEVANT, Json, object_field, read_object, usable

Connection = psycopg.Connection[Any]
Pair = tuple[str, str]  # (room, user), or (type, state key)


class Event(NamedTuple):
    event_id: str
    room_id: str
    type: str
    state_key: str | None
    sender: str | None
    stream_ordering: int | None
    topological_ordering: int
    outlier: bool
    rejected: bool
    instance_name: str | None


class StoredJson:
    """A row of event_json, read when somebody asks."""

    def __init__(self, text: str, internal_metadata: str) -> None:
        self.texts = (text, internal_metadata)

    @cached_property
    def document(self) -> Json | None:
        return read_object(self.texts[0])

    @cached_property
    def metadata(self) -> Json:
        return read_object(self.texts[1]) or {}

    @property
    def content(self) -> Json:
        return object_field(self.document, "content")

    def text_field(self, key: str) -> str | None:
        return usable((self.document or {}).get(key))


class LocalMembership(NamedTuple):
    event_id: str
    membership: str


class RoomMembership(NamedTuple):
    event_id: str
    room_id: str
    user_id: str
    sender: str
    membership: str
    forgotten: int


class Redaction(NamedTuple):
    event_id: str
    recheck: bool
    have_censored: bool


class BanRedaction(NamedTuple):
    event_id: str
    end_ordering: int | None


class Delta(NamedTuple):
    """A change of current state: of a relevant key, or of a member."""

    stream_id: int
    type: str
    state_key: str
    event_id: str | None
    prev_event_id: str | None


@dataclass
class Picture:
    rooms: set[str] = field(default_factory=set)
    events: dict[str, Event] = field(default_factory=dict)
    json: dict[str, StoredJson] = field(default_factory=dict)  # of the events that decide something
    current_state: dict[str, dict[Pair, str]] = field(default_factory=dict)
    local_memberships: dict[Pair, LocalMembership] = field(default_factory=dict)
    room_memberships: dict[str, RoomMembership] = field(default_factory=dict)  # by event
    redactions: dict[str, list[Redaction]] = field(default_factory=dict)  # by target
    ban_redactions: dict[Pair, BanRedaction] = field(default_factory=dict)
    event_groups: dict[str, int] = field(default_factory=dict)
    previous_group: dict[int, int] = field(default_factory=dict)
    group_state: dict[int, dict[str, str]] = field(default_factory=dict)  # relevant types only
    deltas: dict[str, list[Delta]] = field(default_factory=dict)  # by room, oldest first

    joined_rooms: dict[str, Row] = field(default_factory=dict)
    snapshots: dict[Pair, Row] = field(default_factory=dict)

    @cached_property
    def events_of_room(self) -> dict[str, list[Event]]:
        by_room: dict[str, list[Event]] = {}
        for event in self.events.values():
            by_room.setdefault(event.room_id, []).append(event)
        return by_room

    @cached_property
    def memberships_of_pair(self) -> dict[Pair, list[RoomMembership]]:
        by_pair: dict[Pair, list[RoomMembership]] = {}
        for row in self.room_memberships.values():
            by_pair.setdefault((row.room_id, row.user_id), []).append(row)
        return by_pair

    @cached_property
    def purged_rooms(self) -> set[str]:
        """Rooms with the mark of a history purge: state events as outliers that no federation brought."""
        return {
            event.room_id
            for event in self.events.values()
            if event.outlier
            and event.state_key is not None
            and (event.stream_ordering or 0) > 0
            and (event.type != MEMBER or self._is_in_band_member(event.event_id))
        }

    def _is_in_band_member(self, event_id: str) -> bool:
        stored = self.json.get(event_id)
        return stored is not None and stored.metadata.get("out_of_band_membership") is not True

    def is_stored(self, event_id: str) -> bool:
        return event_id in self.events and event_id in self.json

    def current_member(self, pair: Pair) -> str | None:
        room_id, user_id = pair
        return self.current_state.get(room_id, {}).get((MEMBER, user_id))


@contextmanager
def _one_snapshot(connection: Connection) -> Iterator[None]:
    """Statements that see one moment; inside a caller's transaction it is the caller who decides."""
    if connection.info.transaction_status != TransactionStatus.IDLE:
        yield
        return
    with connection.transaction(force_rollback=True):
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def take_picture(connection: Connection, schema: str) -> Picture:
    with _one_snapshot(connection):
        return _Reader(connection, schema).read()


# JSON is read only of events that can decide a column.
_DECISIVE_EVENTS: LiteralString = """
    SELECT event_id FROM {current_state_events} WHERE type = ANY(%(relevant)s) AND state_key = ''
    UNION SELECT event_id FROM {events} WHERE type = ANY(%(relevant)s)
    UNION SELECT event_id FROM {local_current_membership}
    UNION SELECT r.event_id FROM {room_memberships} r JOIN {local_current_membership} USING (room_id, user_id)
        WHERE r.membership IN ('invite', 'knock')
    UNION SELECT event_id FROM {events} WHERE type = 'm.room.member' AND outlier AND stream_ordering > 0
    UNION SELECT r.event_id FROM {redactions} r JOIN {events} e ON e.event_id = r.redacts
        WHERE e.type = ANY(%(relevant)s) OR e.type = 'm.room.member'
"""


class _Reader:
    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection = connection
        self._schema = schema

    def _optional_columns(self) -> set[str]:
        """Of those that older homeservers do not have."""
        rows = self._connection.cursor(row_factory=tuple_row).execute(
            "SELECT c.relname || '.' || a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
            " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s"
            " AND (c.relname, a.attname) IN (('room_ban_redactions', 'room_id'), ('redactions', 'recheck'))",
            (self._schema,),
        )
        return {name for (name,) in rows}

    def _rows(self, query: LiteralString, factory: Any = tuple_row) -> psycopg.Cursor[Any]:
        """The rows of a query in which {table} stands for the schema's table."""
        cursor = self._connection.cursor(row_factory=factory)
        return cursor.execute(_with_tables(query, self._schema), {"relevant": list(RELEVANT)})

    def read(self) -> Picture:
        """Each part sends its queries, and then reads the answers: all are sent before the first one is waited for."""
        picture, columns = Picture(), self._optional_columns()
        parts = [
            self._read_rooms(picture),
            self._read_events(picture, "room_ban_redactions.room_id" in columns),
            self._read_memberships(picture),
            self._read_redactions(picture, columns),
            self._read_state_groups(picture),
            self._read_derived(picture),
        ]
        with self._connection.pipeline():
            for part in parts:
                next(part)
        for part in parts:
            next(part, None)
        return picture

    def _read_rooms(self, picture: Picture) -> Iterator[None]:
        rooms = self._rows("SELECT room_id FROM {rooms}")
        deltas = self._rows(
            "SELECT room_id, stream_id, type, state_key, event_id, prev_event_id"
            " FROM {current_state_delta_stream}"
            " WHERE type = ANY(%(relevant)s) AND state_key = '' OR type = 'm.room.member' ORDER BY stream_id"
        )
        yield
        picture.rooms = {room_id for (room_id,) in rooms}
        for room_id, *delta in deltas:
            picture.deltas.setdefault(room_id, []).append(Delta(*delta))

    def _read_events(self, picture: Picture, has_ban_redactions: bool) -> Iterator[None]:
        events = self._rows(
            "SELECT e.event_id, e.room_id, e.type, coalesce(s.state_key, e.state_key), e.sender,"
            " e.stream_ordering, e.topological_ordering, e.outlier,"
            " e.rejection_reason IS NOT NULL OR r.event_id IS NOT NULL,"
            " e.instance_name FROM {events} e LEFT JOIN {state_events} s USING (event_id)"
            " LEFT JOIN {rejections} r USING (event_id)"
        )
        decisive = _DECISIVE_EVENTS
        if has_ban_redactions:
            decisive += " UNION SELECT redacting_event_id FROM {room_ban_redactions}"
        json = self._rows(
            "SELECT event_id, json, internal_metadata FROM {event_json} WHERE event_id IN (" + decisive + ")"
        )
        current_state = self._rows("SELECT room_id, type, state_key, event_id FROM {current_state_events}")
        yield
        picture.events = {row[0]: Event(*row) for row in events}
        picture.json = {event_id: StoredJson(text, metadata) for event_id, text, metadata in json}
        for room_id, event_type, state_key, event_id in current_state:
            picture.current_state.setdefault(room_id, {})[(event_type, state_key)] = event_id

    def _read_memberships(self, picture: Picture) -> Iterator[None]:
        local = self._rows("SELECT room_id, user_id, event_id, membership FROM {local_current_membership}")
        memberships = self._rows(
            "SELECT r.event_id, r.room_id, r.user_id, r.sender, r.membership, coalesce(r.forgotten, 0)"
            " FROM {room_memberships} r JOIN {local_current_membership} l"
            " ON (l.room_id, l.user_id) = (r.room_id, r.user_id)"
            # very old events take their user from here, which may be another one
            " UNION SELECT r.event_id, r.room_id, r.user_id, r.sender, r.membership, coalesce(r.forgotten, 0)"
            " FROM {room_memberships} r JOIN {local_current_membership} l ON l.event_id = r.event_id"
        )
        yield
        picture.local_memberships = {(room_id, user_id): LocalMembership(*rest) for room_id, user_id, *rest in local}
        picture.room_memberships = {row[0]: RoomMembership(*row) for row in memberships}

    def _read_redactions(self, picture: Picture, columns: set[str]) -> Iterator[None]:
        recheck = "recheck" if "redactions.recheck" in columns else "true"
        redactions = self._rows("SELECT redacts, event_id, " + recheck + ", have_censored FROM {redactions}")
        bans: Iterable[Any] = ()
        if "room_ban_redactions.room_id" in columns:
            bans = self._rows(
                "SELECT room_id, user_id, redacting_event_id, redact_end_ordering FROM {room_ban_redactions}"
            )
        yield
        for target, *rest in redactions:
            picture.redactions.setdefault(target, []).append(Redaction(*rest))
        picture.ban_redactions = {(room_id, user_id): BanRedaction(*rest) for room_id, user_id, *rest in bans}

    def _read_state_groups(self, picture: Picture) -> Iterator[None]:
        event_groups = self._rows(
            "SELECT event_id, state_group FROM {event_to_state_groups}"
            " JOIN {local_current_membership} USING (event_id)"
        )
        # A group with several predecessors has them in the order of their age.
        edges = self._rows("SELECT state_group, prev_state_group FROM {state_group_edges} ORDER BY prev_state_group")
        state = self._rows(
            "SELECT state_group, type, event_id FROM {state_groups_state}"
            " WHERE type = ANY(%(relevant)s) AND state_key = ''"
        )
        yield
        picture.event_groups, picture.previous_group = dict(event_groups), dict(edges)
        for group, event_type, event_id in state:
            picture.group_state.setdefault(group, {})[event_type] = event_id

    def _read_derived(self, picture: Picture) -> Iterator[None]:
        rooms = self._rows("SELECT * FROM {sliding_sync_joined_rooms}", dict_row)
        snapshots = self._rows("SELECT * FROM {sliding_sync_membership_snapshots}", dict_row)
        yield
        picture.joined_rooms = {row["room_id"]: row for row in rooms}
        picture.snapshots = {(row["room_id"], row["user_id"]): row for row in snapshots}


@cache
def _with_tables(query: LiteralString, schema: str) -> sql.Composed:
    return sql.SQL(query).format(**{name: sql.Identifier(schema, name) for name in _TABLES})


_TABLES = (
    "rooms",
    "events",
    "event_json",
    "state_events",
    "rejections",
    "redactions",
    "room_ban_redactions",
    "current_state_events",
    "current_state_delta_stream",
    "local_current_membership",
    "room_memberships",
    "event_to_state_groups",
    "state_group_edges",
    "state_groups_state",
    JOINED_ROOMS,
    SNAPSHOTS,
)
