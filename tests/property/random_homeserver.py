"""A homeserver that does anything, in any order: random operations grouped into transactions, with savepoints.

Everything depends on the seed alone, so that a failure can be repeated.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

LOCAL = ["@anna:hs.test", "@bob:hs.test", "@carl:hs.test"]
REMOTE = ["@boss:remote.test", "@rita:remote.test"]
ROOMS = ["!a:hs.test", "!b:hs.test", "!c:remote.test"]
EVENT_TYPES = ["m.room.message", "m.room.encrypted", "m.reaction", "m.sticker", "m.room.topic"]
STATE_TYPES = ["m.room.name", "m.room.encryption", "m.room.tombstone", "m.room.create", "m.room.topic"]
VALUES = ['"Tea"', '"Coffee"', '""', "null", "7", "true", "[]", "{}", '"\\u0000"', '"\\ud83d\\ude00"', '"\\ud800"', "NaN", "1e999"]
FIELDS = {"m.room.name": "name", "m.room.encryption": "algorithm", "m.room.tombstone": "replacement_room", "m.room.create": "type"}


@dataclass(frozen=True)
class Statement:
    sql: str
    arguments: tuple[object, ...] = ()


@dataclass
class RandomHomeserver:
    random: random.Random
    both_writers: float = 0.4

    def transaction(self) -> list[Statement]:
        """The statements of one transaction, BEGIN and COMMIT excluded."""
        statements: list[Statement] = []
        if self.random.random() < self.both_writers:
            statements.append(Statement("SET LOCAL homeserver.writes_tables = on"))
        depth = 0
        for _ in range(self.random.choice([1, 1, 1, 2, 3, 6])):
            if self.random.random() < 0.15:
                statements.append(Statement(f"SAVEPOINT s{depth}"))
                depth += 1
            statements.append(self._operation())
            if depth and self.random.random() < 0.3:
                depth -= 1
                verb = self.random.choice(["ROLLBACK TO", "RELEASE"])
                statements.append(Statement(f"{verb} SAVEPOINT s{depth}"))
            if self.random.random() < 0.05:
                statements.append(Statement("SELECT sliding_sync.flush()"))
        return statements

    def _user(self) -> str:
        return self.random.choice(LOCAL + REMOTE)

    def _content(self, event_type: str) -> str:
        key = FIELDS.get(event_type, "topic")
        roll = self.random.random()
        if roll < 0.1:
            return "{}"
        if roll < 0.15:
            return '"not an object"'
        if roll < 0.25:
            return f'{{"{key}": "first", "{key}": {self.random.choice(VALUES)}}}'
        return f'{{"{key}": {self.random.choice(VALUES)}}}'

    def _stripped(self) -> str:
        elements = []
        for event_type in self.random.sample(list(FIELDS), self.random.randint(0, 4)):
            elements.append(
                f'{{"type": "{event_type}", "state_key": "", "sender": "@boss:remote.test", '
                f'"content": {self._content(event_type)}}}'
            )
        return "[" + ",".join(elements) + "]"

    def _operation(self) -> Statement:
        r = self.random
        room = r.choice(ROOMS)
        local = r.choice(LOCAL)
        user = self._user()
        event = f"(SELECT event_id FROM events WHERE room_id = %s ORDER BY md5(event_id || '{r.random()}') LIMIT 1)"
        state_event = (
            "(SELECT event_id FROM current_state_events WHERE room_id = %s AND type <> 'm.room.member' "
            f"ORDER BY md5(event_id || '{r.random()}') LIMIT 1)"
        )
        state_type = r.choice(STATE_TYPES)
        in_room = "EXISTS (SELECT FROM rooms WHERE room_id = %s)"
        operations = [
            (6, "SELECT create_room(%s, %s) WHERE NOT EXISTS (SELECT FROM rooms WHERE room_id = %s)", (room, local, room)),
            (8, f"SELECT send_message(%s, %s, %s) WHERE {in_room}", (room, user, r.choice(EVENT_TYPES), room)),
            (8, f"SELECT set_state(%s, %s, %s, '', %s) WHERE {in_room}", (room, user, state_type, self._content(state_type), room)),
            (6, f"SELECT change_membership(%s, %s, %s, %s) WHERE {in_room}",
             (room, user, r.choice(["join", "join", "leave", "ban", "invite", "knock"]), self._user(), room)),
            (5, f'SELECT "leave"(%s, %s) WHERE {in_room}', (room, local, room)),
            (3, f"SELECT forget(%s, %s) WHERE {in_room}", (room, local, room)),
            (4, "SELECT remote_invite(%s, %s, %s, %s)", (room, local, "@boss:remote.test", self._stripped())),
            (2, "SELECT remote_knock(%s, %s, %s)", (room, local, self._stripped())),
            (2, f"SELECT reject_remote_invite(%s, %s) WHERE {in_room}", (room, local, room)),
            (2, f"SELECT retract_remote_invite(%s, %s, %s) WHERE {in_room}", (room, local, "@boss:remote.test", room)),
            (3, "SELECT remote_join(%s, %s, %s::text[])", (room, local, [self._user()])),
            (4, f"SELECT redact(%s, %s, {state_event}, %s) WHERE {in_room} AND {state_event} IS NOT NULL",
             (room, user, room, r.choice(["{}", '{"recheck_redaction": true}']), room, room)),
            (2, f"SELECT redact(%s, %s, {event}) WHERE {in_room} AND {event} IS NOT NULL", (room, user, room, room, room)),
            (2, f"SELECT censor({event}) WHERE {event} IS NOT NULL", (room, room)),
            (1, f"SELECT redact_all_of(%s, %s, {event}) WHERE {event} IS NOT NULL", (room, user, room, room)),
            (2, f"SELECT reject_event(%s, %s, %s, '') WHERE {in_room}", (room, user, state_type, room)),
            (2, f"SELECT change_verdict({event}, %s) WHERE {event} IS NOT NULL", (room, r.random() < 0.5, room)),
            (2, f"SELECT soft_fail(%s, %s) WHERE {in_room}", (room, user, room)),
            (1, f"SELECT backfill_events(%s, %s) WHERE {in_room}", (room, user, room)),
            (2, f"SELECT send_outlier(%s, %s, %s) WHERE {in_room}", (room, user, r.choice(EVENT_TYPES), room)),
            (2, f"SELECT deoutlier((SELECT event_id FROM events WHERE room_id = %s AND outlier LIMIT 1)) "
                "WHERE EXISTS (SELECT FROM events WHERE room_id = %s AND outlier)", (room, room)),
            (2, f"SELECT state_reset(%s, %s, '') WHERE {in_room}", (room, state_type, room)),
            (1, f"SELECT state_reset(%s, 'm.room.member', %s) WHERE {in_room}", (room, local, room)),
            (2, f"SELECT purge_history(%s, {event}) WHERE {event} IS NOT NULL", (room, room, room)),
            (1, "SELECT purge_room(%s, %s)", (room, r.random() < 0.5)),
            (1, f"SELECT rewrite_memberships(%s) WHERE {in_room}", (room, room)),
            (1, f"SELECT drop_current_state(%s) WHERE {in_room}", (room, room)),
            # what only a script or an administrator would do
            (1, f"DELETE FROM events WHERE event_id = {event} AND type NOT LIKE 'm.room.member'", (room,)),
            (1, "DELETE FROM current_state_events WHERE room_id = %s AND type = %s", (room, state_type)),
            (1, "DELETE FROM local_current_membership WHERE room_id = %s AND user_id = %s", (room, local)),
            (1, "UPDATE room_memberships SET forgotten = 1 - coalesce(forgotten, 0) WHERE room_id = %s AND user_id = %s",
             (room, local)),
            (1, "DELETE FROM redactions WHERE redacts IN (SELECT event_id FROM events WHERE room_id = %s)", (room,)),
            (1, "DELETE FROM rejections WHERE event_id IN (SELECT event_id FROM events WHERE room_id = %s)", (room,)),
            (1, f"DELETE FROM event_json WHERE event_id = {event}", (room,)),
            (1, f"UPDATE events SET outlier = NOT outlier WHERE event_id = {event}", (room,)),
            (1, f"UPDATE events SET instance_name = %s WHERE event_id = {event}", (r.choice([None, "", "w1"]), room)),
        ]
        weights = [weight for weight, _, _ in operations]
        _, sql, arguments = r.choices(operations, weights)[0]
        return Statement(sql, arguments)


def describe(statement: Statement) -> str:
    return f"{statement.sql}  {json.dumps(statement.arguments, default=str)}"


# What a homeserver's own statements run into, with and without us.
OWN_FAULTS = (
    psycopg.errors.IntegrityError,
    psycopg.errors.InvalidTextRepresentation,
    psycopg.errors.UndefinedTable,  # an operation of a newer homeserver on an old schema
)


def live(connection: psycopg.Connection[Any], seed: int, transactions: int, *, flushes: bool = True) -> Iterator[int]:
    """A homeserver's transactions, each by its number once it is committed; none may fail for our sake, nor at COMMIT.

    Only the owner may call flush(): `flushes` says whether this session is his."""
    homeserver = RandomHomeserver(random.Random(seed), both_writers=0.0)
    for number in range(transactions):
        statements = homeserver.transaction()
        connection.execute(f"BEGIN ISOLATION LEVEL {('READ COMMITTED', 'REPEATABLE READ')[number % 2]}")
        try:
            for statement in statements:
                if flushes or "flush()" not in statement.sql:
                    connection.execute(statement.sql, statement.arguments or None)  # type: ignore[arg-type]
        except OWN_FAULTS as fault:
            assert "sliding_sync" not in str(fault)
            connection.execute("ROLLBACK")
            continue
        connection.execute("COMMIT")
        yield number
