"""Which history a snapshot may hold, as far as today's tables tell.

A snapshot says what the room was like when the membership was written, and stays like that. Nothing stores
that moment, so several values can be right. `alternatives` lists the sources that the row may come from; a
row is right when one source explains all its columns. Sources:

* *state group*: the state after the membership event (a backfill of a leave or a ban reads it; without one it does
  not know);
* *current state then*: as the delta stream tells it for the chunk in which the event entered current state.
  That is the state after the whole chunk; an event that left current state and came back has several;
* *before the wipe*: the last local user's leave is not in the delta stream, the wipe of its chunk is;
* *stripped state*: of an invite or a knock, the only source of one that came out of band and never entered
  current state;
* *no state group*: a backfill that finds none of a leave or a ban knows nothing;
* *later*: a join may have been written by a backfill at any time since: any value that a later event gave.

How an event reads in a source:

* without any sign of redaction, as it is;
* redacted by an event older than the source: empty;
* redacted by a later one (or at an unknown moment), or rejected: either;
* an outlier in a room whose history was purged, which may have taken the redaction away: either;
* censored: its content is gone, anything is right.

Not recomputable, hence not checked: an out-of-band leave, and a leave without any source or from a room whose
current state was gone already: both inherit the row that was there before. An invite or a knock that was censored:
what it told is gone, and a backfill may have read it before or after.

All this holds for what homeservers do: a chunk of events a transaction. Where a test puts several chunks into
one transaction the row has the state after the last of them, which only `Watcher` can know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Iterator

from oracle.picture import LocalMembership, Pair, Picture
from oracle.reading import applied_redactions, current_relevant_state, is_out_of_band
from oracle.values import (
    COLUMN,
    CREATE,
    EMPTY,
    HISTORY_COLUMNS,
    MEMBER,
    RELEVANT,
    UNKNOWN,
    ColumnValue,
    History,
    column_value,
    stripped_history,
)

Accepted = frozenset[ColumnValue] | None  # None: anything
State = dict[str, str | None]  # type -> event; None: known to be absent; missing: nobody knows


@dataclass(frozen=True)
class Alternative:
    source: str
    accepted: dict[str, Accepted]

    @classmethod
    def exactly(cls, source: str, history: History) -> Alternative:
        return cls(source, {column: frozenset([value]) for column, value in history.columns().items()})

    def wrong_columns(self, history: History) -> list[str]:
        columns = history.columns()
        return [
            name
            for name in HISTORY_COLUMNS
            if (ok := self.accepted[name]) is not None and columns[name] not in ok
        ]


def alternatives(picture: Picture, pair: Pair) -> list[Alternative]:
    """The sources of a stored membership's history; empty when it is not recomputable."""
    sources = _Sources(picture, pair)
    found = list(sources.find())
    if found and sources.has_lost_its_state_group():
        found.append(Alternative.exactly("no state group", UNKNOWN))
    return found


class _Sources:
    def __init__(self, picture: Picture, pair: Pair) -> None:
        self._picture = picture
        self._room_id, self._user_id = pair
        self._membership: LocalMembership = picture.local_memberships[pair]
        self._event = picture.events[self._membership.event_id]
        self._ordering = self._event.stream_ordering or 0
        self._deltas = picture.deltas.get(self._room_id, [])
        self._entered = [
            delta.stream_id
            for delta in self._deltas
            if (delta.type, delta.state_key, delta.event_id) == (MEMBER, self._user_id, self._event.event_id)
        ]

    def has_lost_its_state_group(self) -> bool:
        """A purge takes the state group of a leave, and with it all that a backfill could read."""
        event_id, membership = self._membership
        return membership not in ("join", "invite", "knock") and event_id not in self._picture.event_groups

    def find(self) -> Iterator[Alternative]:
        in_state = (
            self._entered
            or self._picture.current_member((self._room_id, self._user_id)) == self._event.event_id
        )
        if self._membership.membership in ("invite", "knock"):
            if self._is_censored():
                return
            yield from self._stripped()
        if is_out_of_band(self._picture, self._event.event_id) and not in_state:
            return
        if not in_state and self._inherits():
            return
        yield from self._state_group()
        for stream_id in self._entered:
            yield self._of_state("current state then", self._state_at(stream_id), stream_id)
        if not in_state and (wiped := self._wiped_at()) is not None:
            yield self._of_state("before the wipe", self._state_before_wipe(wiped), wiped)
        if self._membership.membership == "join":
            yield self._later()

    def _is_censored(self) -> bool:
        redactions = self._picture.redactions.get(self._event.event_id, [])
        return any(redaction.have_censored for redaction in redactions)

    # -- sources

    def _stripped(self) -> Iterator[Alternative]:
        event_id = self._event.event_id
        stored = self._picture.json.get(event_id)
        if (
            stored is None
            or self._picture.redactions.get(event_id)
            or applied_redactions(self._picture, event_id)
        ):
            yield Alternative.exactly("redacted stripped state", UNKNOWN)
        if stored is not None:
            history = stripped_history(stored.document, self._membership.membership)
            yield Alternative.exactly("stripped state", history)

    def _state_group(self) -> Iterator[Alternative]:
        group = self._picture.event_groups.get(self._event.event_id)
        if group is None:
            return
        state: State = dict.fromkeys(RELEVANT)
        seen: set[int] = set()
        while group is not None and group not in seen:
            seen.add(group)
            for kind, event_id in self._picture.group_state.get(group, {}).items():
                state[kind] = state[kind] or event_id
            group = self._picture.previous_group.get(group)
        # A state store in another database leaves no trace here: then nothing is known.
        if any(state.values()):
            yield self._of_state("state group", state, self._ordering)

    def _state_at(self, stream_id: int) -> State:
        """Current state after the chunk. Keys from before the beginning of the delta stream stay unknown."""
        changes = [delta for delta in self._deltas if delta.stream_id <= stream_id and delta.type != MEMBER]
        state: State = {delta.type: delta.event_id for delta in changes}
        return dict.fromkeys(RELEVANT) | state if CREATE in state else state

    def _wiped_at(self) -> int | None:
        """The latest chunk, up to the membership event, that took the create event away."""
        wipes = [d.stream_id for d in self._deltas if d.type == CREATE and d.stream_id <= self._ordering]
        return max(wipes, default=None) if self._state_at(self._ordering).get(CREATE, "") is None else None

    def _state_before_wipe(self, stream_id: int) -> State:
        gone = [d for d in self._deltas if d.stream_id == stream_id and d.type != MEMBER]
        state: State = dict.fromkeys(RELEVANT)
        state.update({delta.type: delta.prev_event_id for delta in gone})
        return state

    def _inherits(self) -> bool:
        """Had the room's current state gone before this membership?"""
        wiped = self._wiped_at()
        if wiped is None:
            return not self._picture.current_state.get(self._room_id)
        return wiped != self._ordering

    def _later(self) -> Alternative:
        """A join whose row was written some time after: each column as some state since then had it."""
        accepted: dict[str, Accepted] = {"has_known_state": frozenset([True])}
        today = current_relevant_state(self._picture, self._room_id)
        for kind in RELEVANT:
            candidates: set[str | None] = {today.get(kind)}
            since = [d for d in self._deltas if d.type == kind and d.stream_id >= self._ordering]
            candidates |= {d.event_id for d in since}
            # the stream may begin later than the membership: what the change took away was state until then
            candidates |= {d.prev_event_id for d in since if d.stream_id > self._ordering}
            candidates |= {event_id for of, event_id in self._state_at(self._ordering).items() if of == kind}
            accepted[COLUMN[kind]] = self._any_of(kind, candidates, self._ordering)
        if not today:
            accepted["has_known_state"] = None
        return Alternative("a later state", accepted)

    # -- reading

    def _of_state(self, source: str, state: State, since: int) -> Alternative:
        accepted: dict[str, Accepted] = {
            COLUMN[kind]: self._any_of(kind, [state[kind]], since) if kind in state else None
            for kind in RELEVANT
        }
        known = [event_id for event_id in state.values() if event_id is not None]
        if all(kind in state for kind in RELEVANT) and all(
            self._picture.is_stored(event_id) for event_id in known
        ):
            accepted["has_known_state"] = frozenset([bool(known)])
        else:
            accepted["has_known_state"] = None
        return Alternative(source, accepted)

    def _any_of(self, kind: str, candidates: Iterable[str | None], since: int) -> Accepted:
        values: set[ColumnValue] = set()
        for event_id in candidates:
            accepted = frozenset([EMPTY[kind]]) if event_id is None else self._readings(kind, event_id, since)
            if accepted is None:
                return None
            values |= accepted
        return frozenset(values)

    def _readings(self, kind: str, event_id: str, since: int) -> Accepted:
        picture, empty = self._picture, EMPTY[kind]
        if not picture.is_stored(event_id):
            return None
        event, redactions = picture.events[event_id], picture.redactions.get(event_id, [])
        value = column_value(kind, picture.json[event_id].content)
        purged = event.outlier and event.room_id in picture.purged_rooms
        if any(redaction.have_censored for redaction in redactions) or (purged and value == empty):
            return None
        applied = applied_redactions(picture, event_id)
        if any(
            (redaction := picture.events.get(redaction_id)) is not None
            and (redaction.stream_ordering or 0) <= since
            for redaction_id in applied
        ):
            return frozenset([empty])
        in_doubt = applied or redactions or event.rejected or (purged and kind != CREATE)
        return frozenset([value, empty] if in_doubt else [value])
