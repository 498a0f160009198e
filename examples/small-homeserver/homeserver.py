"""A homeserver's storage of rooms in a hundred lines: writes only its own tables, reads only by docs/implementers.md.

An example: no federation, no authorization, and every user is its own.
"""

from __future__ import annotations

import json
from typing import Any

import psycopg

TABLES = """
CREATE SCHEMA small;
SET search_path = small;
CREATE SEQUENCE positions;
CREATE TABLE rooms (room_id text PRIMARY KEY, room_version text);
CREATE TABLE events (
    event_id text NOT NULL UNIQUE, room_id text NOT NULL, type text NOT NULL, state_key text, sender text,
    stream_ordering bigint UNIQUE, topological_ordering bigint NOT NULL, outlier boolean NOT NULL,
    rejection_reason text, instance_name text);
CREATE INDEX ON events (room_id, stream_ordering);
CREATE TABLE event_json (
    event_id text NOT NULL UNIQUE, room_id text NOT NULL, json text NOT NULL, internal_metadata text NOT NULL);
CREATE TABLE current_state_events (
    event_id text NOT NULL UNIQUE, room_id text NOT NULL, type text NOT NULL, state_key text NOT NULL,
    UNIQUE (room_id, type, state_key));
CREATE TABLE local_current_membership (
    room_id text NOT NULL, user_id text NOT NULL, event_id text NOT NULL, membership text NOT NULL,
    UNIQUE (user_id, room_id));
CREATE INDEX ON local_current_membership (room_id);
CREATE TABLE room_memberships (
    event_id text NOT NULL UNIQUE, user_id text NOT NULL, room_id text NOT NULL, membership text NOT NULL,
    sender text NOT NULL, forgotten integer DEFAULT 0);
CREATE INDEX ON room_memberships (user_id, room_id);
CREATE TABLE redactions (event_id text NOT NULL UNIQUE, redacts text NOT NULL);
CREATE INDEX ON redactions (redacts);
"""


class Homeserver:
    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        """Before anything is served: no row is wrong, and none is missing."""
        self._connection = connection
        connection.execute("SET search_path = small")
        connection.execute("SELECT * FROM sliding_sync.catch_up()")
        if connection.execute("SELECT is_ready FROM sliding_sync.ready()").fetchone() != (True,):
            connection.execute("CALL sliding_sync.backfill()")

    # -- writes, each in one transaction

    def create(self, room: str, creator: str, name: str) -> None:
        with self._connection.transaction():
            self._connection.execute("INSERT INTO rooms VALUES (%s, '10')", [room])
            self._store(room, creator, "m.room.create", {"room_version": "10"}, "")
            self._store(room, creator, "m.room.member", {"membership": "join"}, creator)
            self._store(room, creator, "m.room.name", {"name": name}, "")

    def send(self, room: str, sender: str, type: str, content: dict[str, Any], state_key: str | None = None) -> str:
        with self._connection.transaction():
            return self._store(room, sender, type, content, state_key)

    def set_membership(self, room: str, sender: str, user: str, membership: str) -> str:
        return self.send(room, sender, "m.room.member", {"membership": membership}, user)

    def redact(self, room: str, sender: str, target: str) -> None:
        with self._connection.transaction():
            event = self._store(room, sender, "m.room.redaction", {"redacts": target}, None)
            self._connection.execute("INSERT INTO redactions VALUES (%s, %s)", [event, target])

    def _store(self, room: str, sender: str, type: str, content: dict[str, Any], key: str | None) -> str:
        run = self._connection.execute
        ((position,),) = run("SELECT nextval('positions')").fetchall()
        event = f"${position}"
        document = {"type": type, "room_id": room, "sender": sender, "content": content}
        document |= {} if key is None else {"state_key": key}
        run("INSERT INTO event_json VALUES (%s, %s, %s, '{}')", [event, room, json.dumps(document)])
        run(
            "INSERT INTO events VALUES (%s, %s, %s, %s, %s, %s, %s, false, NULL, 'small')",
            [event, room, type, key, sender, position, position],
        )
        if key is not None:
            run(
                "INSERT INTO current_state_events VALUES (%s, %s, %s, %s)"
                " ON CONFLICT (room_id, type, state_key) DO UPDATE SET event_id = excluded.event_id",
                [event, room, type, key],
            )
        if type == "m.room.member":
            membership = content["membership"]
            run("INSERT INTO room_memberships VALUES (%s, %s, %s, %s, %s)", [event, key, room, membership, sender])
            run(
                "INSERT INTO local_current_membership VALUES (%s, %s, %s, %s) ON CONFLICT (user_id, room_id)"
                " DO UPDATE SET event_id = excluded.event_id, membership = excluded.membership",
                [room, key, event, membership],
            )
        return event

    # -- reads

    def rooms_of(self, user: str) -> list[tuple[str, str | None]]:
        return self._connection.execute("SELECT room_id, room_name FROM sliding_sync.room_list(%s)", [user]).fetchall()

    def changes(self, user: str, since: int) -> list[tuple[str, str]]:
        query = "SELECT room_id, change FROM sliding_sync.room_list_changes(%s, since => %s)"
        return self._connection.execute(query, [user, since]).fetchall()
