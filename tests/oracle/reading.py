"""How a reader of the homeserver sees a stored event today: redacted, rejected, or neither (docs/rules.md#redactions)."""

from __future__ import annotations

from oracle.picture import Event, Picture
from oracle.values import (
    COLUMN,
    CREATE,
    EMPTY,
    RELEVANT,
    UNKNOWN,
    ColumnValue,
    History,
    column_value,
    stripped_history,
)


def sender_of(picture: Picture, event_id: str) -> str | None:
    """From `events`, `room_memberships` or the event itself, whichever knows first."""
    event = picture.events.get(event_id)
    if event is not None and event.sender is not None:
        return event.sender
    membership = picture.room_memberships.get(event_id)
    if membership is not None:
        return membership.sender
    stored = picture.json.get(event_id)
    return stored.text_field("sender") if stored else None


def _domain(user_id: str | None) -> str | None:
    return user_id.split(":", 1)[1] if user_id is not None and ":" in user_id else None


def _passes_checks(picture: Picture, redaction_id: str, target: Event) -> bool:
    """A redaction event counts if it can be read, was not refused, and came from the right place."""
    redaction, stored = picture.events.get(redaction_id), picture.json.get(redaction_id)
    if redaction is None or stored is None or stored.document is None:
        return False
    if redaction.rejected or redaction.room_id != target.room_id:
        return False
    if stored.metadata.get("recheck_redaction") is not True:
        return True
    domain = _domain(sender_of(picture, redaction_id))
    return domain is not None and domain == _domain(sender_of(picture, target.event_id))


def applied_redactions(picture: Picture, event_id: str) -> list[str]:
    """The redaction events, stored or not, by which a reader sees the event redacted."""
    target = picture.events[event_id]
    if target.type == CREATE:
        return []
    applied = [
        redaction.event_id
        for redaction in picture.redactions.get(event_id, [])
        if not redaction.recheck or _passes_checks(picture, redaction.event_id, target)
    ]
    stored = picture.json.get(event_id)
    room_id = (stored.text_field("room_id") if stored else None) or target.room_id
    sender = (stored.text_field("sender") if stored else None) or target.sender or ""
    ban = picture.ban_redactions.get((room_id, sender))
    if ban is not None and _passes_checks(picture, ban.event_id, target):
        before = target.stream_ordering is not None and (ban.end_ordering or 0) > target.stream_ordering
        if before or not ban.end_ordering:
            applied.append(ban.event_id)
    return applied


def value_today(picture: Picture, kind: str, event_id: str) -> ColumnValue:
    """The column that a stored relevant event gives."""
    if picture.events[event_id].rejected or applied_redactions(picture, event_id):
        return EMPTY[kind]
    return column_value(kind, picture.json[event_id].content)


def history_of(picture: Picture, state: dict[str, str]) -> History:
    """The columns of a state: type -> event. Events that are not stored do not count."""
    stored = {kind: event_id for kind, event_id in state.items() if picture.is_stored(event_id)}
    values = {
        COLUMN[kind]: value_today(picture, kind, stored[kind]) if kind in stored else EMPTY[kind]
        for kind in RELEVANT
    }
    return History(bool(stored), **values)


def current_relevant_state(picture: Picture, room_id: str) -> dict[str, str]:
    """An event that is stored as one of another room or type is none of this state."""
    state = picture.current_state.get(room_id, {})
    found = {kind: state[(kind, "")] for kind in RELEVANT if (kind, "") in state}
    events = picture.events
    return {k: e for k, e in found.items() if e in events and events[e].room_id == room_id and events[e].type == k}


def state_after(picture: Picture, event_id: str) -> dict[str, str] | None:
    """Relevant state by the event's state group; None where no chain of groups leads to the room's creation."""
    group, state, seen = picture.event_groups.get(event_id), {}, set[int]()
    while group is not None and group not in seen:
        seen.add(group)
        state = picture.group_state.get(group, {}) | state
        group = picture.previous_group.get(group)
    return state if CREATE in state and group is None else None


def stripped_today(picture: Picture, event_id: str, membership: str) -> History:
    """A redacted membership event has lost its stripped state."""
    stored = picture.json.get(event_id)
    if stored is None or applied_redactions(picture, event_id):
        return UNKNOWN
    return stripped_history(stored.document, membership)


def is_out_of_band(picture: Picture, event_id: str) -> bool:
    stored = picture.json.get(event_id)
    flagged = stored is not None and stored.metadata.get("out_of_band_membership") is True
    return flagged and picture.events[event_id].outlier
