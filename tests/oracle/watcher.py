"""Was this one transaction carried over rightly? Told exactly, from the tables before and after it.

For small databases and one committed transaction a step:

    watcher = Watcher(connection, schema)
    ...                                  # a transaction
    assert watcher.check_step() == []

A row that no table gave a reason to touch must stay as it is, even a wrong one: whoever writes the derived
tables by hand may, until the room changes (docs/differences.md). After such a step call `accept_step`.
"""

from __future__ import annotations

from oracle.check import joined_room_findings
from oracle.finding import JOINED_ROOMS, SNAPSHOTS, Finding, Row, Value, row_findings
from oracle.joined_rooms import all_rooms, expected_joined_room
from oracle.picture import Connection, Event, Pair, Picture, take_picture
from oracle.reading import (
    current_relevant_state,
    history_of,
    is_out_of_band,
    state_after,
    stripped_today,
    value_today,
)
from oracle.snapshots import all_pairs, forgotten_column, membership_columns
from oracle.values import COLUMN, EMPTY, RELEVANT, UNKNOWN, History


class Watcher:
    def __init__(self, connection: Connection, schema: str = "public") -> None:
        self._connection = connection
        self._schema = schema
        self._picture = take_picture(connection, schema)

    def accept_step(self) -> None:
        """Takes the tables as they are now for right."""
        self._picture = take_picture(self._connection, self._schema)

    def check_step(self) -> list[Finding]:
        """What the transactions since the last step left wrong."""
        old, new = self._picture, take_picture(self._connection, self._schema)
        self._picture = new
        findings: list[Finding] = []
        for room_id in sorted(all_rooms(old) | all_rooms(new)):
            findings += _joined_room_findings(old, new, room_id)
        for pair in sorted(all_pairs(old) | all_pairs(new)):
            findings += _Membership(old, new, pair).findings()
        return findings


def _joined_room_findings(old: Picture, new: Picture, room_id: str) -> list[Finding]:
    touched = (
        old.events_of_room.get(room_id) != new.events_of_room.get(room_id)
        or old.current_state.get(room_id) != new.current_state.get(room_id)
        or expected_joined_room(old, room_id) != expected_joined_room(new, room_id)
    )
    if not touched:
        before, after = old.joined_rooms.get(room_id), new.joined_rooms.get(room_id)
        return row_findings(JOINED_ROOMS, (room_id,), before, after, "untouched")
    return joined_room_findings(new, room_id)


class _Membership:
    """What one (room, user) had before a step and what it must have after it (docs/rules.md#live-mode)."""

    def __init__(self, old: Picture, new: Picture, pair: Pair) -> None:
        self._old, self._new, self._pair = old, new, pair
        self._room_id = pair[0]
        self._previous: Row | None = old.snapshots.get(pair)

    def findings(self) -> list[Finding]:
        actual = self._new.snapshots.get(self._pair)
        if actual == self._previous and not self._entered_state() and self._facts(self._old) == self._facts(self._new):
            return []
        expected, reason = self._expected()
        return row_findings(SNAPSHOTS, self._pair, expected, actual, reason)

    def _facts(self, picture: Picture) -> tuple[object, ...]:
        local = picture.local_memberships.get(self._pair)
        event_id = local.event_id if local else ""
        return (
            local,
            self._room_id in picture.rooms,
            picture.events.get(event_id),
            picture.room_memberships.get(event_id),
            picture.json[event_id].texts if event_id in picture.json else None,
        )

    def _entered_state(self) -> bool:
        """What leaves current state is history, and no reason to derive a snapshot (docs/rules.md#changes-that-must-be-followed)."""
        return self._new.current_member(self._pair) not in (None, self._old.current_member(self._pair))

    def _expected(self) -> tuple[Row | None, str]:
        columns = membership_columns(self._new, self._pair)
        if columns is None:
            return None, "no stored local membership"
        history, reason = self._history()
        if history is None:
            return None, reason
        return columns | {"forgotten": self._forgotten()} | history.columns(), reason

    def _forgotten(self) -> Value:
        forgotten = forgotten_column(self._new, self._pair)
        if forgotten is None:
            same = self._previous and self._previous["membership_event_id"] == self._new.local_memberships[self._pair].event_id
            return self._previous["forgotten"] if self._previous and same else 0
        return forgotten

    # -- the history columns

    def _history(self) -> tuple[History | None, str]:
        new, pair = self._new, self._pair
        event_id, membership = new.local_memberships[pair]
        by_invitation = membership in ("invite", "knock")
        in_state = new.current_member(pair) == event_id
        entered = in_state and self._old.current_member(pair) != event_id
        before = self._old.local_memberships.get(pair)

        if before is not None and before.event_id == event_id and not entered:
            if self._previous is not None and self._previous["has_known_state"]:
                return History.of_row(self._previous), "unchanged membership"
            if membership == "join":
                return self._state_of_now(), "join of which nothing is known"
            if by_invitation:
                return stripped_today(new, event_id, membership), "invitation of which nothing is known"
            if self._previous is None:
                return None, "left without a row: for the backfill"
            if is_out_of_band(new, event_id):
                return self._earlier_invite(), "left from outside, nothing is known"
            return UNKNOWN, "left, nothing is known"
        if in_state:
            return self._state_of_now(), "in current state"
        if is_out_of_band(new, event_id):
            if by_invitation:
                return stripped_today(new, event_id, membership), "out of band"
            return self._inherited(), "out of band, inherits"
        if new.current_state.get(self._room_id):
            return self._state_of_now(), "not in current state, but the room has one"
        # A state that told nothing before cannot have been wiped: members of other servers may be all that is left of it.
        if self._had_relevant_state():
            return self._wiped_state(), "state before the wipe"
        if by_invitation:
            return stripped_today(new, event_id, membership), "invitation, no state"
        return self._inherited(), "no state, inherits"

    def _state_of_now(self) -> History:
        return history_of(self._new, current_relevant_state(self._new, self._room_id))

    def _inherited(self) -> History:
        """The row that was there before; without one, what the user's latest other invite or knock says."""
        if self._previous is not None:
            return History.of_row(self._previous)
        return self._earlier_invite()

    def _earlier_invite(self) -> History:
        event_id = self._new.local_memberships[self._pair].event_id
        invitations = [
            (self._new.events[row.event_id].topological_ordering, row)
            for row in self._new.memberships_of_pair.get(self._pair, [])
            if row.membership in ("invite", "knock")
            and row.event_id != event_id
            and row.event_id in self._new.events
        ]
        if not invitations:
            return UNKNOWN
        _, latest = max(invitations)
        return stripped_today(self._new, latest.event_id, latest.membership)

    def _new_relevant_events(self) -> list[Event]:
        """Relevant state events that came with this step, oldest first."""
        return sorted(
            (
                event
                for event in self._new.events_of_room.get(self._room_id, [])
                if event.event_id not in self._old.events
                and event.type in RELEVANT
                and event.state_key == ""
                and not event.outlier
                and not event.rejected
                and not self._is_soft_failed(event)
            ),
            key=lambda event: event.stream_ordering or 0,
        )

    def _had_relevant_state(self) -> bool:
        before = [*current_relevant_state(self._old, self._room_id).values(), *(e.event_id for e in self._new_relevant_events())]
        return any(self._old.is_stored(event_id) or self._new.is_stored(event_id) for event_id in before)

    def _is_soft_failed(self, event: Event) -> bool:
        stored = self._new.json.get(event.event_id)
        return stored is not None and stored.metadata.get("soft_failed") is True

    def _wiped_state(self) -> History:
        """The state after the leave, where it has a state group; otherwise current state as the step found it, with what the
        step brought. Its events may be gone by now."""
        state = state_after(self._new, self._new.local_memberships[self._pair].event_id)
        if state is None:
            state = current_relevant_state(self._old, self._room_id)
            state |= {event.type: event.event_id for event in self._new_relevant_events()}
        state = {kind: event_id for kind, event_id in state.items() if self._is_of(kind, event_id)}
        known, values = False, dict(EMPTY)
        for kind, event_id in state.items():
            picture = self._new if self._new.is_stored(event_id) else self._old
            if picture.is_stored(event_id):
                known, values[kind] = True, value_today(picture, kind, event_id)
        return History(known, **{COLUMN[kind]: value for kind, value in values.items()})

    def _is_of(self, kind: str, event_id: str) -> bool:
        event = self._new.events.get(event_id) or self._old.events.get(event_id)
        return event is not None and (event.room_id, event.type) == (self._room_id, kind)
