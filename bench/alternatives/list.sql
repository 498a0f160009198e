-- What a user's room list costs without the extension. Each statement has two parameters: the user, and how many rooms (NULL: all).

-- * base tables
-- One plain statement over a homeserver's own tables: the rooms and their newest events first, then the state of those shown.
WITH listed AS MATERIALIZED (
    SELECT l.room_id, l.membership, m.sender, l.event_id,
           CASE WHEN l.membership = 'join' THEN (
               SELECT e.stream_ordering FROM events e WHERE e.room_id = l.room_id AND NOT e.outlier AND e.rejection_reason IS NULL
               ORDER BY e.stream_ordering DESC LIMIT 1) ELSE l.event_stream_ordering END AS position
    FROM local_current_membership l JOIN room_memberships m ON m.event_id = l.event_id JOIN rooms r ON r.room_id = l.room_id
    WHERE l.user_id = $1 AND coalesce(m.forgotten, 0) = 0 AND (l.membership <> 'leave' OR m.sender <> l.user_id)
        AND r.room_version = ANY ('{12,11,10,9,8,7,6,5,4,3,2,1}')
), page AS (SELECT * FROM listed ORDER BY position DESC LIMIT $2)
SELECT p.*, (SELECT count(*) FROM listed), state.*,
       (SELECT e.stream_ordering FROM events e WHERE e.room_id = p.room_id AND NOT e.outlier AND e.rejection_reason IS NULL
            AND e.type = ANY ('{m.room.create,m.room.message,m.room.encrypted,m.sticker,m.call.invite,m.poll.start,m.beacon_info}')
        ORDER BY e.stream_ordering DESC LIMIT 1) AS bump_stamp
FROM page p, LATERAL (
    SELECT max(j.json::json #>> '{content,name}') FILTER (WHERE c.type = 'm.room.name') AS room_name,
           max(j.json::json #>> '{content,type}') FILTER (WHERE c.type = 'm.room.create') AS room_type,
           coalesce(bool_or(j.json::json #> '{content,algorithm}' IS NOT NULL) FILTER (WHERE c.type = 'm.room.encryption'), false),
           max(j.json::json #>> '{content,replacement_room}') FILTER (WHERE c.type = 'm.room.tombstone') AS successor
    FROM current_state_events c JOIN event_json j ON j.event_id = c.event_id
    WHERE c.room_id = p.room_id AND c.state_key = '' AND NOT EXISTS (SELECT FROM redactions x WHERE x.redacts = c.event_id)
        AND c.type = ANY ('{m.room.create,m.room.name,m.room.encryption,m.room.tombstone}')) state
ORDER BY position DESC;

-- * simple SQL
-- What anybody would write over the two derived tables.
SELECT row_number() OVER (ORDER BY coalesce(j.event_stream_ordering, m.event_stream_ordering) DESC) - 1, count(*) OVER (), m.room_id,
       m.membership, m.sender, m.membership_event_id, CASE WHEN j.room_id IS NULL THEN m.room_name ELSE j.room_name END,
       coalesce(j.room_type, m.room_type), coalesce(j.is_encrypted, m.is_encrypted), m.has_known_state,
       CASE WHEN j.room_id IS NULL THEN m.tombstone_successor_room_id ELSE j.tombstone_successor_room_id END,
       coalesce(j.event_stream_ordering, m.event_stream_ordering),
       greatest(0, CASE WHEN j.bump_stamp > 0 THEN j.bump_stamp ELSE m.event_stream_ordering END)
FROM sliding_sync_membership_snapshots m JOIN rooms r ON r.room_id = m.room_id
    LEFT JOIN sliding_sync_joined_rooms j ON j.room_id = m.room_id AND m.membership = 'join'
WHERE m.user_id = $1 AND m.forgotten = 0 AND (m.membership <> 'leave' OR m.sender <> m.user_id)
    AND r.room_version = ANY ('{12,11,10,9,8,7,6,5,4,3,2,1}')
    AND NOT (m.membership = 'invite' AND EXISTS (
        SELECT FROM ignored_users i WHERE i.ignorer_user_id = m.user_id AND i.ignored_user_id = m.sender))
ORDER BY 1 LIMIT $2;
