-- Both tables filled by plain SQL, one statement a kind of row: what a pass over sets costs that does nothing but the work.
-- The floor for backfill, not an alternative to it: it holds the tables for its whole run, knows no unreadable JSON, and
-- believes every redaction.

-- * joined rooms
INSERT INTO sliding_sync_joined_rooms (room_id, event_stream_ordering, bump_stamp, room_type, room_name, is_encrypted,
                                       tombstone_successor_room_id)
SELECT s.room_id, newest.stream_ordering, bump.stream_ordering, s.room_type, s.room_name, s.is_encrypted, s.successor
FROM (
    SELECT c.room_id, max(j.content ->> 'type') FILTER (WHERE c.type = 'm.room.create') AS room_type,
           max(j.content ->> 'name') FILTER (WHERE c.type = 'm.room.name' AND r.redacts IS NULL) AS room_name,
           bool_or(c.type = 'm.room.encryption' AND j.content ->> 'algorithm' IS NOT NULL AND r.redacts IS NULL) AS is_encrypted,
           max(j.content ->> 'replacement_room') FILTER (WHERE c.type = 'm.room.tombstone' AND r.redacts IS NULL) AS successor
    FROM current_state_events c
        JOIN LATERAL (SELECT json::json -> 'content' AS content FROM event_json j WHERE j.event_id = c.event_id) j ON true
        LEFT JOIN redactions r ON r.redacts = c.event_id
    WHERE c.type IN ('m.room.create', 'm.room.name', 'm.room.encryption', 'm.room.tombstone') AND c.state_key = ''
    GROUP BY c.room_id
) s
    JOIN LATERAL (SELECT e.stream_ordering FROM events e WHERE e.room_id = s.room_id AND NOT e.outlier
                  AND e.rejection_reason IS NULL ORDER BY e.stream_ordering DESC LIMIT 1) newest ON true
    LEFT JOIN LATERAL (SELECT e.stream_ordering FROM events e WHERE e.room_id = s.room_id AND NOT e.outlier
                       AND e.rejection_reason IS NULL AND e.stream_ordering > 0 AND e.type IN ('m.room.create',
                       'm.room.message', 'm.room.encrypted', 'm.sticker', 'm.call.invite', 'm.poll.start',
                       'm.beacon_info') ORDER BY e.stream_ordering DESC LIMIT 1) bump ON true;

-- * snapshots of joins
INSERT INTO sliding_sync_membership_snapshots (room_id, user_id, sender, membership_event_id, membership, forgotten,
    event_stream_ordering, event_instance_name, has_known_state, room_type, room_name, is_encrypted, tombstone_successor_room_id)
SELECT l.room_id, l.user_id, e.sender, l.event_id, l.membership, m.forgotten, e.stream_ordering,
       coalesce(e.instance_name, 'master'), j.room_id IS NOT NULL, j.room_type, j.room_name, coalesce(j.is_encrypted, false),
       j.tombstone_successor_room_id
FROM local_current_membership l JOIN events e USING (event_id) JOIN room_memberships m USING (event_id)
    LEFT JOIN sliding_sync_joined_rooms j ON j.room_id = l.room_id
WHERE l.membership = 'join';

-- * snapshots of invites, knocks and what came of them
INSERT INTO sliding_sync_membership_snapshots (room_id, user_id, sender, membership_event_id, membership, forgotten,
    event_stream_ordering, event_instance_name, has_known_state, room_type, room_name, is_encrypted, tombstone_successor_room_id)
SELECT l.room_id, l.user_id, e.sender, l.event_id, l.membership, m.forgotten, e.stream_ordering,
       coalesce(e.instance_name, 'master'), coalesce(s.is_known, false), s.room_type, s.room_name,
       coalesce(s.is_encrypted, false), s.successor
FROM local_current_membership l JOIN events e USING (event_id) JOIN room_memberships m USING (event_id)
    LEFT JOIN LATERAL (
        SELECT i.event_id, i.membership FROM room_memberships i JOIN events x ON x.event_id = i.event_id
        WHERE i.room_id = l.room_id AND i.user_id = l.user_id AND i.membership IN ('invite', 'knock')
        ORDER BY x.topological_ordering DESC LIMIT 1) i ON true
    LEFT JOIN LATERAL (
        SELECT bool_or(s ->> 'type' = 'm.room.create') AS is_known,
               max(s -> 'content' ->> 'type') FILTER (WHERE s ->> 'type' = 'm.room.create') AS room_type,
               max(s -> 'content' ->> 'name') FILTER (WHERE s ->> 'type' = 'm.room.name') AS room_name,
               bool_or(s ->> 'type' = 'm.room.encryption') AS is_encrypted,
               max(s -> 'content' ->> 'replacement_room') FILTER (WHERE s ->> 'type' = 'm.room.tombstone') AS successor
        FROM event_json j, json_array_elements(j.json::json -> 'unsigned' -> (i.membership || '_room_state')) s
        WHERE j.event_id = i.event_id) s ON true
WHERE l.membership IN ('invite', 'knock') OR l.membership IN ('leave', 'ban') AND e.outlier;

-- * snapshots of leaves, by state groups
INSERT INTO sliding_sync_membership_snapshots (room_id, user_id, sender, membership_event_id, membership, forgotten,
    event_stream_ordering, event_instance_name, has_known_state, room_type, room_name, is_encrypted, tombstone_successor_room_id)
SELECT l.room_id, l.user_id, e.sender, l.event_id, l.membership, m.forgotten, e.stream_ordering,
       coalesce(e.instance_name, 'master'), true, s.room_type, s.room_name, coalesce(s.is_encrypted, false), s.successor
FROM local_current_membership l JOIN events e USING (event_id) JOIN room_memberships m USING (event_id)
    JOIN event_to_state_groups g USING (event_id)
    LEFT JOIN LATERAL (
        WITH RECURSIVE walk (state_group) AS (
            SELECT g.state_group
            UNION ALL SELECT p.prev_state_group FROM walk w JOIN state_group_edges p ON p.state_group = w.state_group)
        SELECT max(j.content ->> 'type') FILTER (WHERE f.type = 'm.room.create') AS room_type,
               max(j.content ->> 'name') FILTER (WHERE f.type = 'm.room.name' AND r.redacts IS NULL) AS room_name,
               bool_or(f.type = 'm.room.encryption' AND r.redacts IS NULL) AS is_encrypted,
               max(j.content ->> 'replacement_room') FILTER (WHERE f.type = 'm.room.tombstone' AND r.redacts IS NULL) AS successor
        FROM (SELECT DISTINCT ON (x.type) x.type, x.event_id FROM walk JOIN state_groups_state x USING (state_group)
              WHERE x.type IN ('m.room.create', 'm.room.name', 'm.room.encryption', 'm.room.tombstone') AND x.state_key = ''
              ORDER BY x.type, x.state_group DESC) f
            JOIN LATERAL (SELECT json::json -> 'content' AS content FROM event_json j WHERE j.event_id = f.event_id) j ON true
            LEFT JOIN redactions r ON r.redacts = f.event_id) s ON true
WHERE l.membership IN ('leave', 'ban') AND NOT e.outlier;
