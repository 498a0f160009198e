"""What may be done to a room of `interleaving.rooms`, as SQL with its names in braces."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Operation:
    sql: str
    writes_room: bool = False  # a room's row that was missing is there afterwards
    writes: str = ""  # this user's membership changes
    needs_lonely_member: bool = False


_ANNA = "'{room}', '@anna:hs.test'"

OPERATIONS: dict[str, Operation] = {
    "message": Operation(f"SELECT send_message({_ANNA})", True),
    "soft-failed message": Operation(f"SELECT soft_fail({_ANNA})", True),
    "slower writer's message": Operation(
        "INSERT INTO event_json (event_id, room_id, internal_metadata, json, format_version)"
        " VALUES ('{slow}', '{room}', '{{}}', '{{}}', 3);"
        " INSERT INTO events (instance_name, stream_ordering, topological_ordering, depth, event_id, room_id, type,"
        " processed, outlier, origin_server_ts, received_ts, sender, contains_url)"
        " VALUES ('slow', {slow_ordering}, 1, 1, '{slow}', '{room}', 'm.room.message', true, false, 0, 0,"
        " '@anna:hs.test', false)"
    ),
    "name": Operation(f"SELECT rename({_ANNA}, 'Newer')", True),
    "state reset": Operation("SELECT state_reset('{room}', 'm.room.name', '', '{name}')", True),
    "redaction row": Operation(
        "INSERT INTO redactions (event_id, redacts, received_ts) VALUES ('{redaction}', '{name}', 0)"
    ),
    "backfilled redaction": Operation(
        "SELECT persist(ARRAY[make_event('{room}', '@anna:hs.test', 'm.room.redaction', NULL, '{{}}',"
        " redacts => '{name}', backfilled => true)], true)"
    ),
    "JSON rewritten": Operation(
        "UPDATE event_json SET json = replace(json, 'New', 'Rewritten') WHERE event_id = '{name}'"
    ),
    "JSON deleted": Operation("DELETE FROM event_json WHERE event_id = '{name}'"),
    "rejection": Operation("INSERT INTO rejections (event_id, reason, last_check) VALUES ('{name}', 'x', '0')"),
    "rejection reason": Operation("UPDATE events SET rejection_reason = 'x' WHERE event_id = '{name}'"),
    "ban redaction": Operation("SELECT redact_all_of('{room}', '@anna:hs.test', '{redaction}')"),
    "newest event deleted": Operation(
        "DELETE FROM event_json WHERE event_id = '{newest}'; DELETE FROM event_to_state_groups WHERE event_id = '{newest}';"
        " DELETE FROM events WHERE event_id = '{newest}'"
    ),
    "history purged": Operation("SELECT purge_history('{room}', '{newest}')"),
    "join": Operation("""SELECT "join"('{room}', '@eric:hs.test')""", True, "@eric:hs.test"),
    "leave": Operation("""SELECT "leave"('{room}', '@bert:hs.test')""", True, "@bert:hs.test"),
    "invite": Operation("SELECT invite('{room}', '@fred:hs.test', '@anna:hs.test')", True, "@fred:hs.test"),
    "forget": Operation("SELECT forget('{room}', '@carl:hs.test')"),
    "last leave": Operation("""SELECT "leave"('{room}', '@anna:hs.test')""", False, "@anna:hs.test", needs_lonely_member=True),
    "memberships rewritten": Operation("SELECT rewrite_memberships('{room}')"),
    "room purged": Operation("SELECT purge_room('{room}')"),
    "row deleted": Operation("DELETE FROM sliding_sync_joined_rooms WHERE room_id = '{room}'"),
}
