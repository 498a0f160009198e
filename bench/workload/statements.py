"""What a homeserver says to its database in one transaction, statement by statement.

Tables, order and kind of the statements are those that Synapse 1.163.2 was seen to send; the text is our own. As
there, values are written into the text, and every statement is planned anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field

DEVICE = "DEVICE"


def literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"


def fill(text: str, /, **values: object) -> str:
    return text.format(**{name: literal(value) for name, value in values.items()})


def insert(table: str, columns: str, rows: list[tuple[object, ...]], more: str = "") -> str:
    values = ", ".join("(" + ", ".join(map(literal, row)) + ")" for row in rows)
    return f"INSERT INTO {table} ({columns}) VALUES {values}{more}"


def any_of(column: str, values: list[str]) -> str:
    return f"{column} = ANY (ARRAY[{', '.join(map(literal, values))}])"


@dataclass
class Event:
    event_id: str
    room_id: str
    sender: str
    type: str
    ordering: int
    depth: int
    previous: str
    content: str
    state_key: str | None = None
    membership: str | None = None
    outlier: bool = False
    search: str | None = None

    @property
    def json(self) -> str:
        half = self.event_id[1:].ljust(43, "x")
        key = "" if self.state_key is None else f'"state_key":"{self.state_key}",'
        return (
            f'{{"auth_events":["${half[::-1]}","${half}","${half[9:]}{half[:9]}"],"content":{self.content},'
            f'"depth":{self.depth},"hashes":{{"sha256":"{half}"}},"origin_server_ts":{self.timestamp},'
            f'"prev_events":["{self.previous}"],"room_id":"{self.room_id}","sender":"{self.sender}",{key}'
            f'"type":"{self.type}","signatures":{{"hs.test":{{"ed25519:a_key":"{half}{half[::-1]}"}}}},'
            f'"unsigned":{{"age_ts":{self.timestamp}}}}}'
        )

    @property
    def timestamp(self) -> int:
        return 1700000000000 + abs(self.ordering) * 50


@dataclass
class Step:
    """A statement, or several sent at once; `own` marks the homeserver's upkeep of the room list tables."""

    text: str
    own: bool = False


@dataclass
class Transaction:
    """One operation: what is measured, and what other connections did before."""

    before: list[str] = field(default_factory=list)
    reads: list[Step] = field(default_factory=list)  # transactions of their own, only made for the upkeep
    cold_reads: list[Step] = field(default_factory=list)  # the same when the homeserver's cache is empty
    steps: list[Step] = field(default_factory=list)

    def add(self, text: str, own: bool = False) -> None:
        self.steps.append(Step(text, own))


BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ"
COMMIT = "COMMIT"
RELEVANT = ("m.room.create", "m.room.encryption", "m.room.name", "m.room.tombstone")


# -- parts of a persist transaction


def store(to: Transaction, events: list[Event], state_group: int | None, extremity: bool) -> None:
    """From the lock on the room to the memberships."""
    room_id, ids = events[0].room_id, [event.event_id for event in events]
    stateful = [event for event in events if event.state_key is not None]
    members = [event for event in stateful if event.membership]
    to.add(fill("SELECT r.room_version FROM rooms r WHERE r.room_id = {room} FOR SHARE", room=room_id))
    to.add(fill("SELECT d.min_depth FROM room_depth d WHERE d.room_id = {room}", room=room_id))
    to.add(f"SELECT e.event_id, e.outlier FROM events e WHERE {any_of('e.event_id', ids)}")
    to.add(
        fill(
            "SELECT d.event_id, d.redacts, e.sender, d.recheck FROM redactions d"
            " JOIN events e ON e.event_id = d.event_id AND e.room_id = {room} WHERE ",
            room=room_id,
        )
        + any_of("d.redacts", ids)
    )
    to.add(
        insert(
            "event_json",
            "event_id, room_id, internal_metadata, json, format_version",
            [(e.event_id, e.room_id, '{"outlier":true}' if e.outlier else "{}", e.json, 4) for e in events],
        )
    )
    to.add(
        insert(
            "events",
            "instance_name, stream_ordering, topological_ordering, depth, event_id, room_id, type, processed, outlier,"
            " origin_server_ts, received_ts, sender, contains_url, state_key, rejection_reason",
            [
                ("master", e.ordering, e.depth, e.depth, e.event_id, e.room_id, e.type, True, e.outlier)
                + (e.timestamp, e.timestamp + 50, e.sender, False, e.state_key, None)
                for e in events
            ],
        )
    )
    to.add(f"UPDATE redactions SET have_censored = false WHERE {any_of('redacts', ids)}")
    if stateful:
        rows = [(e.event_id, e.room_id, e.type, e.state_key) for e in stateful]
        to.add(insert("state_events", "event_id, room_id, type, state_key", rows))
    last = events[-1]
    if extremity:
        to.add(fill("DELETE FROM event_forward_extremities WHERE room_id = {room}", room=room_id))
        to.add(insert("event_forward_extremities", "event_id, room_id", [(last.event_id, room_id)]))
        row = (room_id, last.event_id, last.ordering)
        to.add(insert("stream_ordering_to_exterm", "room_id, event_id, stream_ordering", [row]))
    if not stateful and extremity:
        row = (last.event_id, room_id, last.sender, DEVICE, f"t{last.ordering}", last.timestamp)
        columns = "event_id, room_id, user_id, device_id, txn_id, inserted_ts"
        to.add(insert("event_txn_id_device_id", columns, [row]))
    if state_group is not None:
        more = " ON CONFLICT (event_id) DO UPDATE SET state_group = excluded.state_group"
        rows = [(e.event_id, state_group) for e in events]
        to.add(insert("event_to_state_groups", "event_id, state_group", rows, more))
    if stateful:
        if extremity:
            rows = [(e.event_id, e.ordering, 1) for e in stateful]
            to.add(insert("event_auth_chains", "event_id, chain_id, sequence_number", rows))
            to.add(f"DELETE FROM event_auth_chain_to_calculate WHERE {any_of('event_id', ids)}")
            columns = "origin_chain_id, origin_sequence_number, target_chain_id, target_sequence_number"
            to.add(insert("event_auth_chain_links", columns, [(e.ordering, 1, e.ordering - 1, 1) for e in stateful]))
        else:
            rows = [(e.event_id, e.room_id, e.type, e.state_key) for e in stateful]
            to.add(insert("event_auth_chain_to_calculate", "event_id, room_id, type, state_key", rows))
        rows = [
            (e.event_id, e.room_id, other)
            for e in stateful
            for other in (e.previous, e.event_id[::-1], e.event_id[:20])
        ]
        to.add(insert("event_auth", "event_id, room_id, auth_id", rows))
    if extremity:
        to.add(
            fill(
                "INSERT INTO event_push_actions (room_id, event_id, user_id, actions, stream_ordering,"
                " topological_ordering, notif, highlight, unread, thread_id)"
                " SELECT {room}, s.event_id, s.user_id, s.actions, {ordering}, {depth}, s.notif, s.highlight, s.unread,"
                " s.thread_id FROM event_push_actions_staging s WHERE s.event_id = {event}",
                room=room_id,
                ordering=last.ordering,
                depth=last.depth,
                event=last.event_id,
            )
        )
        to.add(fill("DELETE FROM event_push_actions_staging WHERE event_id = {event}", event=last.event_id))
        to.add(insert("event_edges", "event_id, prev_event_id", [(e.event_id, e.previous) for e in events]))
        previous = [e.previous for e in events]
        to.add(f"SELECT e.event_id FROM events e WHERE {any_of('e.event_id', previous)} AND NOT e.outlier")
        for table in ("event_backward_extremities", "event_failed_pull_attempts"):
            text = f"DELETE FROM {table} WHERE event_id = {{event}} AND room_id = {{room}}"
            to.add(fill(text, event=last.event_id, room=room_id))
    if last.search is not None:
        to.add(
            fill(
                "INSERT INTO event_search (event_id, room_id, key, vector, stream_ordering, origin_server_ts)"
                " VALUES ({event}, {room}, {key}, to_tsvector('english', {text}), {ordering}, {ts})",
                event=last.event_id,
                room=room_id,
                key="content.body" if last.state_key is None else "content.name",
                text=last.search,
                ordering=last.ordering,
                ts=last.timestamp,
            )
        )
    if members:
        columns = "event_id, event_stream_ordering, user_id, sender, room_id, membership, display_name, avatar_url"
        rows = [
            (e.event_id, e.ordering, e.state_key, e.sender, e.room_id, e.membership, "User", None) for e in members
        ]
        to.add(insert("room_memberships", columns, rows))
    to.add(
        "SELECT e.event_id, d.redacts, j.event_id FROM events e LEFT JOIN rejections j USING (event_id)"
        f" LEFT JOIN redactions d ON d.redacts = e.event_id WHERE {any_of('e.event_id', ids)}"
    )


_OF_EVENT = (
    "(SELECT m.membership FROM room_memberships m WHERE m.event_id = {event}),"
    " (SELECT e.stream_ordering FROM events e WHERE e.event_id = {event})"
)


def change_state(to: Transaction, events: list[Event], stream: int, local: list[Event]) -> None:
    """Current state and local memberships: one statement a key, up to a hundred of them sent at once."""
    templates = (
        "INSERT INTO current_state_delta_stream (stream_id, instance_name, room_id, type, state_key, event_id,"
        " prev_event_id) SELECT {stream}, 'master', {room}, {type}, {key}, {event}, (SELECT c.event_id"
        " FROM current_state_events c WHERE c.room_id = {room} AND c.type = {type} AND c.state_key = {key})",
        "DELETE FROM current_state_events WHERE room_id = {room} AND type = {type} AND state_key = {key}",
        "INSERT INTO current_state_events (room_id, type, state_key, event_id, membership, event_stream_ordering)"
        " VALUES ({room}, {type}, {key}, {event}, " + _OF_EVENT + ")",
    )
    local_templates = (
        "DELETE FROM local_current_membership WHERE room_id = {room} AND user_id = {key}",
        "INSERT INTO local_current_membership (room_id, user_id, event_id, membership, event_stream_ordering)"
        " VALUES ({room}, {key}, {event}, " + _OF_EVENT + ")",
    )
    for group, those in ((templates, events), (local_templates, local)):
        for template in group:
            texts = [
                fill(template, stream=stream, room=e.room_id, type=e.type, key=e.state_key, event=e.event_id)
                for e in those
            ]
            for start in range(0, len(texts), 100):
                to.add("; ".join(texts[start : start + 100]))


def invalidate(to: Transaction, *keys: str) -> None:
    to.add("SELECT nextval('cache_invalidation_stream_seq') FROM generate_series(1, 1)")
    to.add(
        "INSERT INTO cache_invalidation_stream_by_instance (stream_id, instance_name, cache_func, keys, invalidation_ts)"
        " VALUES (currval('cache_invalidation_stream_seq'), 'master', 'state', ARRAY["
        + ", ".join(map(literal, keys))
        + "], 1700000000000)"
    )


# -- the homeserver's own upkeep


def advance_orderings(to: Transaction, room_id: str, ordering: int, bump: int | None) -> None:
    """Raises the two numbers of the room's row."""
    higher = (
        "{column} = CASE WHEN {column} IS NULL OR {column} < {value} THEN {value} ELSE {column} END"
    )
    columns = [
        higher.format(column=column, value=literal(value))
        for column, value in (("event_stream_ordering", ordering), ("bump_stamp", bump))
    ]
    where = fill(" WHERE room_id = {room}", room=room_id)
    to.add("UPDATE sliding_sync_joined_rooms SET " + ", ".join(columns) + where, own=True)


def write_joined_room(to: Transaction, room_id: str, values: dict[str, object]) -> None:
    """Writes the changed state columns of the room's row, or a whole new row."""
    names, texts = ", ".join(values), ", ".join(map(literal, values.values()))
    updates = ", ".join(f"{name} = excluded.{name}" for name in values)
    to.add(
        fill(
            "INSERT INTO sliding_sync_joined_rooms (room_id, event_stream_ordering, bump_stamp, @) VALUES ({room},"
            " (SELECT e.stream_ordering FROM events e WHERE e.room_id = {room} ORDER BY e.stream_ordering DESC LIMIT 1),"
            " NULL, #) ON CONFLICT (room_id) DO UPDATE SET ",
            room=room_id,
        )
        .replace("@", names, 1)
        .replace("#", texts, 1)
        + updates,
        own=True,
    )


def write_snapshot(to: Transaction, event: Event, values: dict[str, object]) -> None:
    """Writes the snapshot of one local membership."""
    columns = ["sender", "membership_event_id", "membership", "forgotten", "event_stream_ordering", *values]
    names, texts = ", ".join(values), ", ".join(map(literal, values.values()))
    updates = ", ".join(f"{column} = excluded.{column}" for column in columns)
    given = fill("{room}, {user}, {sender}, {event}, {membership}, 0", room=event.room_id, user=event.state_key,
                 sender=event.sender, event=event.event_id, membership=event.membership)  # fmt: skip
    of_event = fill(
        "(SELECT e.stream_ordering FROM events e WHERE e.event_id = {event}),"
        " (SELECT coalesce(e.instance_name, 'master') FROM events e WHERE e.event_id = {event})",
        event=event.event_id,
    )
    to.add(
        "INSERT INTO sliding_sync_membership_snapshots (room_id, user_id, sender, membership_event_id, membership,"
        f" forgotten, event_stream_ordering, event_instance_name, {names}) VALUES ({given}, {of_event}, {texts})"
        f" ON CONFLICT (room_id, user_id) DO UPDATE SET {updates}",
        own=True,
    )


def read_for_upkeep(to: Transaction, room_id: str, user_id: str, state_events: list[str]) -> None:
    """What is read in transactions of their own before a membership is stored."""
    pairs = ", ".join(f"({literal(kind)}, '')" for kind in RELEVANT)
    to.reads += [
        Step(BEGIN),
        Step(
            fill("SELECT c.type, c.state_key, c.event_id FROM current_state_events c WHERE c.room_id = {room}", room=room_id)
            + f" AND (c.type, c.state_key) IN (VALUES {pairs})"
        ),
        Step(COMMIT),
        Step(fill("SELECT j.room_id FROM sliding_sync_joined_rooms j WHERE j.room_id = {room}", room=room_id)),
    ]
    to.cold_reads += [
        Step(BEGIN),
        Step(
            "SELECT e.event_id, e.stream_ordering, e.instance_name, j.internal_metadata, j.json, j.format_version,"
            " r.room_version, x.reason, e.outlier FROM events e JOIN event_json j USING (event_id)"
            " LEFT JOIN rooms r ON r.room_id = e.room_id LEFT JOIN rejections x USING (event_id)"
            f" WHERE {any_of('e.event_id', state_events)}"
        ),
        Step(f"SELECT d.event_id, d.redacts, d.recheck FROM redactions d WHERE {any_of('d.redacts', state_events)}"),
        Step(
            "SELECT b.room_id, b.user_id, b.redacting_event_id, b.redact_end_ordering FROM room_ban_redactions b"
            + fill(" WHERE (b.room_id, b.user_id) IN (VALUES ({room}, {user}))", room=room_id, user=user_id)
        ),
        Step(COMMIT),
    ]
