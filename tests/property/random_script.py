"""A script, or an administrator, that writes the base tables in any order, with whatever values the columns take.

Every statement runs in a savepoint of its own: what a constraint refuses is rolled back, and the transaction goes on.
Everything depends on the seed alone.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

from property.random_homeserver import FIELDS, VALUES, Statement

ROOMS = ["!a:hs.test", "!b:hs.test", "!c:remote.test"]
USERS = ["@anna:hs.test", "@bob:hs.test", "@boss:remote.test"]
EVENTS = [f"$e{number}:hs.test" for number in range(36)]
TYPES = ["m.room.create", "m.room.name", "m.room.encryption", "m.room.tombstone", "m.room.member", "m.room.member", "m.room.member", "m.room.message",
         "m.reaction", "m.room.redaction"]  # fmt: skip
MEMBERSHIPS = ["join", "leave", "invite", "knock", "ban", "odd"]


@dataclass
class RandomScript:
    random: random.Random

    def transaction(self) -> list[Statement]:
        if self.random.random() < 0.02:
            # After TRUNCATE nothing tells what a room's state was before: not together with memberships that change.
            return [Statement("TRUNCATE " + self.random.choice(["current_state_events", "rooms CASCADE", "events, rejections CASCADE"]))]
        number = self.random.choice([1, 2, 3, 5, 8])
        statements = [statement for _ in range(number) for statement in self._statements()]
        if self.random.random() < 0.1:
            statements.insert(self.random.randrange(len(statements) + 1), Statement("SELECT sliding_sync.flush()"))
        # A membership or a state may come before its event, but not a whole transaction before (H93).
        for table in ("local_current_membership", "current_state_events"):
            statements.append(
                Statement(f"DELETE FROM {table} t WHERE NOT EXISTS (SELECT FROM events e WHERE e.event_id = t.event_id)")
            )
        return statements

    # An event is the same whenever it is written, so that pieces written in any order fit together more often
    # than chance would have it.
    def _event(self, event_id: str) -> dict[str, object]:
        fixed = random.Random(event_id)
        event_type = fixed.choice(TYPES)
        user = fixed.choice(USERS)
        state_key = None
        if event_type == "m.room.member":
            state_key = user
        elif event_type in FIELDS:
            state_key = "" if fixed.random() < 0.9 else "x"
        number = EVENTS.index(event_id) + 1
        return {
            "event_id": event_id,
            "room_id": fixed.choice(ROOMS),
            "type": event_type,
            "state_key": state_key,
            "sender": fixed.choice(USERS),
            "membership": fixed.choice(MEMBERSHIPS),
            "user_id": user,
            "stream_ordering": number if fixed.random() < 0.85 else -number,
        }

    def _json(self, event: dict[str, object]) -> str:
        r = self.random
        if r.random() < 0.05:
            return r.choice(["", "{", "[]", "null", '{"content": 1}', "{} x"])
        key = FIELDS.get(str(event["type"]), "body")
        content = f'{{"{key}": {r.choice(VALUES)}}}'
        stripped = ",".join(
            f'{{"type": "{kind}", "state_key": "", "sender": "@boss:remote.test", '
            f'"content": {{"{FIELDS[kind]}": {r.choice(VALUES)}}}}}'
            for kind in r.sample(list(FIELDS), r.randint(0, 4))
        )
        return (
            f'{{"type": {json.dumps(event["type"])}, "sender": {json.dumps(event["sender"])}, '
            f'"room_id": {json.dumps(event["room_id"])}, "content": {content}, '
            f'"unsigned": {{"invite_room_state": [{stripped}], "knock_room_state": [{stripped}]}}}}'
        )

    def _statements(self) -> list[Statement]:
        r = self.random
        event_id = r.choice(EVENTS)
        event = self._event(event_id)
        is_member = event["type"] == "m.room.member"
        room = event["room_id"] if is_member or r.random() < 0.9 else r.choice(ROOMS)
        user = r.choice(USERS) if r.random() < 0.1 else event["user_id"]
        other = r.choice(EVENTS)
        redaction = r.choice([e for e in EVENTS if self._event(e)["type"] == "m.room.redaction"])
        ordering = event["stream_ordering"] if r.random() < 0.95 else None
        outlier = r.random() < 0.2
        metadata = r.choice(["{}", "{}", '{"out_of_band_membership": true}', '{"recheck_redaction": true}', "x"])
        insert_event = Statement(
            "INSERT INTO events (topological_ordering, event_id, type, room_id, processed, outlier, depth, sender, "
            "instance_name, stream_ordering, state_key, rejection_reason) "
            "VALUES (%s, %s, %s, %s, true, %s, 1, %s, %s, %s, %s, %s)",
            (abs(int(str(event["stream_ordering"]))), event_id, event["type"], event["room_id"], outlier,
             event["sender"] if r.random() < 0.9 else None, r.choice([None, "w1"]), ordering, event["state_key"],
             "no" if r.random() < 0.1 else None),
        )  # fmt: skip
        insert_json = Statement(
            "INSERT INTO event_json (event_id, room_id, internal_metadata, json, format_version) "
            "VALUES (%s, %s, %s, %s, 3)",
            (event_id, event["room_id"], metadata, self._json(event)),
        )
        insert_membership = Statement(
            "INSERT INTO room_memberships (event_id, user_id, sender, room_id, membership, forgotten) "
            "VALUES (%s, %s, %s, %s, %s, %s)",
            (event_id, event["user_id"], event["sender"], event["room_id"], event["membership"], r.choice([0, 0, 1, None])),
        )
        insert_state = Statement(
            "INSERT INTO current_state_events (event_id, room_id, type, state_key, membership) "
            "VALUES (%s, %s, %s, %s, %s)",
            (event_id, event["room_id"] if event["type"] == "m.room.member" else room, event["type"], event["state_key"] or "", None),
        )
        insert_local = Statement(
            "INSERT INTO local_current_membership (room_id, user_id, event_id, membership) VALUES (%s, %s, %s, %s)"
            + r.choice(["", " ON CONFLICT (user_id, room_id) DO UPDATE SET event_id = excluded.event_id, "
                            "membership = excluded.membership"]),
            (room, user if event["type"] != "m.room.member" else event["user_id"], event_id, event["membership"]),
        )  # fmt: skip
        delete_local = Statement(
            "DELETE FROM local_current_membership WHERE room_id = %s AND user_id = %s", (room, event["user_id"])
        )
        # A homeserver that lets a membership enter current state deletes and inserts the local one again.
        rewrite_local = [delete_local, insert_local] if event["type"] == "m.room.member" else [insert_local]
        units = [[insert_json], [insert_event], [insert_membership], [insert_state], rewrite_local]
        r.shuffle(units)
        whole_event = [statement for unit in units for statement in unit]
        table = r.choice(["event_json", "events", "room_memberships", "current_state_events", "rejections"])
        choices: list[tuple[int, list[Statement]]] = [
            (8, [Statement("INSERT INTO rooms (room_id, room_version) VALUES (%s, '10') ON CONFLICT DO NOTHING", (room,))]),
            (14, whole_event),
            (4, [insert_event]),
            (4, [insert_json]),
            (4, [insert_state, *rewrite_local]),
            (6, [insert_local]),
            (4, [insert_membership]),
            (3, [Statement("INSERT INTO redactions (event_id, redacts, recheck) VALUES (%s, %s, %s) "
                           "ON CONFLICT (event_id) DO UPDATE SET redacts = excluded.redacts",
                           (redaction, event_id, r.random() < 0.7))]),
            (2, [Statement("INSERT INTO rejections (event_id, reason, last_check) "
                           "SELECT event_id, 'no', 'now' FROM events WHERE event_id = %s", (event_id,))]),
            (1, [Statement("INSERT INTO room_ban_redactions (room_id, user_id, redacting_event_id, redact_end_ordering) "
                           "VALUES (%s, %s, %s, %s) ON CONFLICT (room_id, user_id) DO UPDATE SET "
                           "redact_end_ordering = excluded.redact_end_ordering",
                           (room, event["sender"], redaction, r.choice([None, 0, 5, 20])))]),
            (2, [Statement("DELETE FROM local_current_membership WHERE room_id = %s AND user_id = %s", (room, user))]),
            (2, [Statement("DELETE FROM current_state_events WHERE event_id = %s", (event_id,))]),
            (1, [Statement("DELETE FROM current_state_events WHERE room_id = %s", (room,))]),
            (3, [Statement("DELETE FROM rejections WHERE event_id = %s", (event_id,)),
                 Statement("DELETE FROM events WHERE event_id = %s", (event_id,))]),
            (1, [Statement("DELETE FROM rejections WHERE event_id IN (SELECT event_id FROM events WHERE room_id = %s)", (room,)),
                 Statement("DELETE FROM events WHERE room_id = %s", (room,))]),
            (2, [Statement(f"DELETE FROM {table} WHERE event_id = %s", (event_id,))]),
            (1, [Statement("DELETE FROM redactions WHERE redacts = %s", (event_id,))]),
            (1, [Statement("DELETE FROM rooms WHERE room_id = %s", (room,))]),
            (2, [Statement("UPDATE events SET outlier = %s WHERE event_id = %s", (outlier, event_id))]),
            (1, [Statement("UPDATE events SET rejection_reason = %s WHERE event_id = %s", (r.choice([None, "x"]), event_id))]),
            (1, [Statement("UPDATE events SET sender = %s WHERE event_id = %s", (r.choice(USERS), event_id))]),
            (1, [Statement("UPDATE events SET type = %s WHERE event_id = %s AND type <> 'm.room.member'",
                           (r.choice([kind for kind in TYPES if kind != "m.room.member"]), event_id))]),
            (2, [Statement("UPDATE event_json SET json = %s WHERE event_id = %s", (self._json(event), event_id))]),
            (2, [Statement("UPDATE room_memberships SET forgotten = %s WHERE event_id = %s", (r.choice([0, 1, None]), event_id))]),
            (1, [Statement("UPDATE current_state_events SET event_id = %s WHERE event_id = %s AND type <> 'm.room.member'",
                           (other, event_id))]),
            (2, [Statement("UPDATE local_current_membership SET event_id = %s, membership = %s WHERE room_id = %s AND user_id = %s",
                           (event_id, event["membership"], room, user))]),
            (1, [Statement("UPDATE redactions SET recheck = NOT recheck WHERE redacts = %s", (event_id,))]),
            (1, [Statement("TRUNCATE " + r.choice(["local_current_membership", "redactions",
                                                   "rejections", "event_json"]))] if r.random() < 0.3 else []),
        ]  # fmt: skip
        weights = [weight for weight, _ in choices]
        return r.choices([statements for _, statements in choices], weights)[0]
