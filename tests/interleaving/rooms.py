"""Many rooms that are all alike: one made by the homeserver's operations, the others copied set by set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]

# Orderings of a model are STEP apart, so that there is room for a slower writer's; those of its copies SPAN apart.
STEP, SPAN = 10, 1000
_NUMBERS = (
    "stream_ordering event_stream_ordering bump_stamp stream_id state_group prev_state_group id".split()
)
_TABLES = (
    "rooms events event_json state_events rejections redactions room_memberships local_current_membership"
    " current_state_events current_state_delta_stream event_to_state_groups state_groups state_group_edges"
    " state_groups_state event_forward_extremities sliding_sync_joined_rooms sliding_sync_membership_snapshots"
).split()

ANNA, BERT, CARL, DORA = (f"@{name}:hs.test" for name in ("anna", "bert", "carl", "dora"))


@dataclass
class Model:
    """A room's number among the models, and its events by what they are for."""

    number: int
    events: dict[str, str]
    newest_ordering: int = 0

    @property
    def room_id(self) -> str:
        return f"!model{self.number}:hs.test"

    def names(self, copy: int) -> dict[str, str]:
        """What a statement about a copy needs to know."""
        here = {name: _copied(event_id, copy) for name, event_id in self.events.items()}
        slow_ordering = self.newest_ordering + SPAN * copy - STEP // 2
        return here | {"room": f"!r{copy}:hs.test", "slow": f"$slow{copy}:hs.test", "slow_ordering": str(slow_ordering)}


def _copied(event_id: str, copy: int) -> str:
    return event_id.replace("$e", f"$c{copy}e")


def make_models(connection: Connection) -> tuple[Model, Model]:
    """A room with two local members, and one whose only local member may leave: the other is but invited."""

    def value(query: str, *arguments: str) -> str:
        row = connection.execute(query, arguments).fetchone()  # type: ignore[arg-type]
        assert row is not None
        return str(row[0])

    connection.execute(f"ALTER SEQUENCE events_stream_seq INCREMENT BY {STEP}")
    models = []
    for number, second in enumerate(("join", "invite")):
        events: dict[str, str] = {}
        model = Model(number, events)
        room = model.room_id
        connection.execute("SELECT create_room(%s, %s, name => 'Old')", (room, ANNA))
        value("SELECT change_membership(%s, %s, %s, %s)", room, BERT, second, BERT if second == "join" else ANNA)
        value('SELECT "join"(%s, %s)', room, CARL)
        value('SELECT "leave"(%s, %s)', room, CARL)
        value("SELECT invite(%s, %s, %s)", room, DORA, ANNA)
        current = "SELECT event_id FROM current_state_events WHERE room_id = %s AND type = %s"
        events["create"] = value(current, room, "m.room.create")
        old = value(current, room, "m.room.name")
        # a second name that is not current: what happens to it matters once a reset makes it so
        events["name"] = value("SELECT rename(%s, %s, 'New')", room, ANNA)
        connection.execute("SELECT state_reset(%s, 'm.room.name', '', %s)", (room, old))
        # a redaction of it that is not known as one yet
        events["redaction"] = value("SELECT redact(%s, %s, %s)", room, ANNA, events["name"])
        connection.execute("DELETE FROM redactions WHERE event_id = %s", [events["redaction"]])
        value("SELECT send_message(%s, %s)", room, ANNA)
        events["newest"] = value("SELECT soft_fail(%s, %s)", room, ANNA)
        model.newest_ordering = int(value("SELECT max(stream_ordering) FROM events WHERE room_id = %s", room))
        models.append(model)
    connection.execute("ALTER SEQUENCE events_stream_seq INCREMENT BY 1")
    return models[0], models[1]


def copy_rooms(connection: Connection, model: Model, first: int, last: int) -> None:
    """Copies with the numbers from `first` to `last`, with their rows in the derived tables."""
    connection.execute("SET sliding_sync.enabled = off; SET session_replication_role = replica")
    for table in _TABLES:
        columns = [
            name
            for (name,) in connection.execute(
                "SELECT attname::text FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
                " AND NOT attisdropped AND attname = ANY (%s)",
                (table, _NUMBERS),
            )
        ]
        numbers = ", ".join(f"'{name}', {name} + {SPAN}::bigint * n" for name in columns)
        # the others are found by the ids in their text; groups and deltas of another room share none
        connection.execute(
            f"INSERT INTO {table} SELECT copied.* FROM (SELECT * FROM {table} WHERE {_of(table, model)}) t"
            f" CROSS JOIN generate_series({first}, {last}) n CROSS JOIN LATERAL"
            f" jsonb_populate_record(NULL::{table}, replace(replace(to_jsonb(t)::text, '{model.room_id}', '!r' || n || ':hs.test'),"
            f" '$e', '$c' || n || 'e')::jsonb || jsonb_build_object({numbers})) copied"
        )
    connection.execute("RESET sliding_sync.enabled; RESET session_replication_role")


def _of(table: str, model: Model) -> str:
    room = f"'{model.room_id}'"
    if table in ("rejections", "redactions", "event_to_state_groups"):
        return f"event_id IN (SELECT event_id FROM events WHERE room_id = {room})"
    if table == "state_group_edges":
        return f"state_group IN (SELECT id FROM state_groups WHERE room_id = {room})"
    return f"room_id = {room}"


def leave_room_for_copies(connection: Connection, copies: int) -> None:
    for sequence in ("events_stream_seq", "state_group_id_seq"):
        connection.execute(f"SELECT setval('{sequence}', {SPAN * (copies + 2)})")
