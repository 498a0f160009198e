"""Many rows in one transaction: loads by COPY, and the purge of a room's history."""

from __future__ import annotations

from workload.measure import Backend, Connection
from workload.operations import Operations

_JSON = "COPY event_json (event_id, room_id, internal_metadata, json, format_version) FROM STDIN"
_EVENTS = (
    "COPY events (instance_name, stream_ordering, topological_ordering, depth, event_id, room_id, type, processed,"
    " outlier, origin_server_ts, received_ts, sender, contains_url) FROM STDIN"
)
_STATE = "COPY current_state_events (event_id, room_id, type, state_key, membership) FROM STDIN"


class Load:
    """Lines of events and their JSON; the same for every database."""

    def __init__(self, operations: Operations, rows: int, history: bool = False) -> None:
        """Messages in many rooms, newer than all; or the history of one room, older than all."""
        self.room_ids: list[str] = []
        json: list[str] = []
        events: list[str] = []
        for event in operations.messages(rows, history):
            self.room_ids.append(event.room_id)
            json.append(f"{event.event_id}\t{event.room_id}\t{{}}\t{event.json}\t4\n")
            events.append(
                f"master\t{event.ordering}\t{event.depth}\t{event.depth}\t{event.event_id}\t{event.room_id}\t{event.type}"
                f"\tt\tf\t{event.timestamp}\t{event.timestamp}\t{event.sender}\tf\n"
            )
        self._json = ["".join(json[n : n + 500]) for n in range(0, rows, 500)]
        self._events = ["".join(events[n : n + 500]) for n in range(0, rows, 500)]

    def copy(self, connection: Connection) -> None:
        with connection.transaction(), connection.cursor() as cursor:
            for text, blocks in ((_JSON, self._json), (_EVENTS, self._events)):
                with cursor.copy(text) as copy:
                    for block in blocks:
                        copy.write(block)

    def copy_unnoticed(self, connection: Connection) -> None:
        """By a superuser, with no trigger at all."""
        connection.execute("SET session_replication_role = replica")
        self.copy(connection)
        connection.execute("RESET session_replication_role")


class Members:
    """Members of one room that are nobody's concern: rows of its current state, which no derived row is made of."""

    def __init__(self, operations: Operations, rows: int) -> None:
        lines = [
            f"{event.event_id}\t{event.room_id}\tm.room.member\t@{event.event_id[1:9]}:far.test\tjoin\n"
            for event in operations.messages(rows, history=True)
        ]
        self._blocks = ["".join(lines[n : n + 500]) for n in range(0, rows, 500)]

    def copy(self, connection: Connection) -> None:
        with connection.transaction(), connection.cursor() as cursor, cursor.copy(_STATE) as copy:
            for block in self._blocks:
                copy.write(block)


def purge(backend: Backend, load: Load) -> None:
    """As a homeserver deletes a room's history: first a list, then what is on it, table by table."""
    backend.send("BEGIN ISOLATION LEVEL REPEATABLE READ")
    backend.send("CREATE TEMP TABLE to_purge (event_id text NOT NULL, doomed boolean NOT NULL) ON COMMIT DROP")
    backend.send(
        "INSERT INTO to_purge SELECT e.event_id, e.state_key IS NULL FROM events e"
        f" WHERE e.room_id = '{load.room_ids[0]}' AND NOT e.outlier AND e.topological_ordering < 0"
    )
    backend.send("CREATE INDEX ON to_purge (doomed)")
    backend.send("CREATE INDEX ON to_purge (event_id)")
    backend.send("DELETE FROM event_to_state_groups g USING to_purge p WHERE g.event_id = p.event_id")
    for table in (
        "event_edges events event_json event_auth event_forward_extremities event_relations event_search rejections"
        " redactions"
    ).split():
        backend.send(f"DELETE FROM {table} t USING to_purge p WHERE t.event_id = p.event_id AND p.doomed")
    backend.send(
        "UPDATE events e SET outlier = true FROM to_purge p WHERE e.event_id = p.event_id AND NOT p.doomed"
    )
    backend.send("COMMIT")
