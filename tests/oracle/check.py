"""Is every row of both tables right, as far as the homeserver's tables of today can tell?"""

from __future__ import annotations

from oracle.finding import JOINED_ROOMS, SNAPSHOTS, Finding, row_findings
from oracle.history import alternatives
from oracle.joined_rooms import all_rooms, expected_joined_room
from oracle.picture import Connection, Pair, Picture, take_picture
from oracle.snapshots import all_pairs, forgotten_column, membership_columns
from oracle.values import History


def check(connection: Connection, schema: str = "public") -> list[Finding]:
    """All differences, in the order of their keys."""
    return check_picture(take_picture(connection, schema))


def check_picture(picture: Picture) -> list[Finding]:
    findings: list[Finding] = []
    for room_id in sorted(all_rooms(picture)):
        findings += joined_room_findings(picture, room_id)
    for pair in sorted(all_pairs(picture)):
        findings += _snapshot_findings(picture, pair)
    return findings


def count_rows(picture: Picture) -> int:
    """How many rows `check_picture` looks at, the missing ones too."""
    return len(all_rooms(picture)) + len(all_pairs(picture))


def joined_room_findings(picture: Picture, room_id: str) -> list[Finding]:
    expected = expected_joined_room(picture, room_id)
    reason = "no current state or no event that counts" if expected is None else "current state and events"
    return row_findings(JOINED_ROOMS, (room_id,), expected, picture.joined_rooms.get(room_id), reason)


def _snapshot_findings(picture: Picture, pair: Pair) -> list[Finding]:
    expected, actual = membership_columns(picture, pair), picture.snapshots.get(pair)
    reason = "no stored local membership" if expected is None else "local membership"
    findings = row_findings(SNAPSHOTS, pair, expected, actual, reason)
    if expected is None or actual is None:
        return findings
    forgotten = forgotten_column(picture, pair)
    if forgotten is not None:
        findings += row_findings(SNAPSHOTS, pair, {"forgotten": forgotten}, actual, "room_memberships")
    return findings + _history_findings(picture, pair)


def _history_findings(picture: Picture, pair: Pair) -> list[Finding]:
    sources = alternatives(picture, pair)
    if not sources:
        return []
    history = History.of_row(picture.snapshots[pair])
    best = min(sources, key=lambda source: len(source.wrong_columns(history)))
    return [
        Finding(
            SNAPSHOTS,
            pair,
            column,
            " or ".join(sorted(map(repr, best.accepted[column] or ()))),
            repr(history.columns()[column]),
            best.source,
        )
        for column in best.wrong_columns(history)
    ]
