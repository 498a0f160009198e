"""Rows of sliding_sync_membership_snapshots: all that does not depend on the past
(docs/rules.md#sliding_sync_membership_snapshots)."""

from __future__ import annotations

from oracle.finding import Value
from oracle.picture import Pair, Picture
from oracle.reading import sender_of
from oracle.values import MEMBER


def membership_columns(picture: Picture, pair: Pair) -> dict[str, Value] | None:
    """What follows from the membership itself, without `forgotten`; None when there must be no row."""
    room_id, user_id = pair
    local = picture.local_memberships.get(pair)
    if local is None or room_id not in picture.rooms:
        return None
    event = picture.events.get(local.event_id)
    if event is None or event.room_id != room_id or event.type != MEMBER or event.stream_ordering is None:
        return None
    row = picture.room_memberships.get(local.event_id)
    about = event.state_key if event.state_key is not None else row.user_id if row else user_id
    if about != user_id:
        return None
    sender = sender_of(picture, local.event_id)
    if sender is None:
        return None
    return {
        "room_id": room_id,
        "user_id": user_id,
        "sender": sender,
        "membership_event_id": local.event_id,
        "membership": local.membership,
        "event_stream_ordering": event.stream_ordering,
        "event_instance_name": event.instance_name or "master",
    }


def forgotten_column(picture: Picture, pair: Pair) -> int | None:
    """None when no membership row tells."""
    row = picture.room_memberships.get(picture.local_memberships[pair].event_id)
    return None if row is None else int((row.forgotten or 0) != 0)


def all_pairs(picture: Picture) -> set[Pair]:
    return picture.local_memberships.keys() | picture.snapshots.keys()
