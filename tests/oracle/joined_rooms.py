"""Rows of sliding_sync_joined_rooms. Where the homeserver's own paths disagree: docs/differences.md."""

from __future__ import annotations

from oracle.finding import Row
from oracle.picture import Picture
from oracle.reading import current_relevant_state, history_of
from oracle.values import BUMP_TYPES


def expected_joined_room(picture: Picture, room_id: str) -> Row | None:
    """No row without a stored relevant event in current state and an event that counts for orderings."""
    if room_id not in picture.rooms:
        return None
    history = history_of(picture, current_relevant_state(picture, room_id))
    counting = [
        (event.stream_ordering, event.type)
        for event in picture.events_of_room.get(room_id, [])
        if not event.outlier and not event.rejected and event.stream_ordering is not None
    ]
    if not history.has_known_state or not counting:
        return None
    bump = max((ordering for ordering, event_type in counting if event_type in BUMP_TYPES), default=0)
    columns = history.columns()
    del columns["has_known_state"]
    return {
        "room_id": room_id,
        "event_stream_ordering": max(counting)[0],
        "bump_stamp": bump if bump > 0 else None,
        **columns,
    }


def all_rooms(picture: Picture) -> set[str]:
    return picture.rooms | picture.current_state.keys() | picture.joined_rooms.keys()
