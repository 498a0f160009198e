-- The room list tables as they should be, from what the plan knows: no state group is walked, no JSON is read.

-- * sliding_sync_joined_rooms
INSERT INTO sliding_sync_joined_rooms (room_id, event_stream_ordering, bump_stamp, room_type, room_name, is_encrypted,
                                       tombstone_successor_room_id)
SELECT room_id, newest, bump, CASE WHEN is_space THEN 'm.space' END,
       CASE WHEN is_renamed THEN 'Room ' || n || ' anew' WHEN is_named AND NOT is_name_redacted THEN 'Room ' || n END,
       is_encrypted, CASE WHEN is_upgraded THEN '!new' || n || ':hs.test' END
FROM plan_room JOIN (
    SELECT n, max(ordering) AS newest, max(ordering) FILTER (WHERE kind IN (1, 20, 21)) AS bump
    FROM timeline WHERE NOT is_outlier AND NOT is_rejected GROUP BY n) orderings USING (n)
WHERE NOT is_gone AND NOT is_far;

-- * sliding_sync_membership_snapshots
-- Joins as their room is today, as backfill makes them; others as it was. A redacted name counts as none, also in what was
-- noted before the redaction.
INSERT INTO sliding_sync_membership_snapshots (room_id, user_id, sender, membership_event_id, membership, forgotten,
    event_stream_ordering, event_instance_name, has_known_state, room_type, room_name, is_encrypted,
    tombstone_successor_room_id)
SELECT room_id, user_id(m.who), user_id(t.by), m.event_id, membership, (t.is_left AND rnd(n * 100003 + t.who, 70) < 0.3)::integer,
       m.ordering, 'master', true, CASE WHEN is_space THEN 'm.space' END,
       CASE WHEN is_far THEN CASE WHEN is_named THEN 'Far room ' || n END
            WHEN is_renamed AND (membership = 'join' OR m.pos > 12 + rnd(n, 27) * (finish - 12)) THEN 'Room ' || n || ' anew'
            WHEN is_named AND NOT is_name_redacted THEN 'Room ' || n END,
       is_encrypted,
       CASE WHEN is_upgraded AND NOT is_far AND (membership = 'join' OR m.pos > 12 + rnd(n, 28) * (finish - 12))
            THEN '!new' || n || ':hs.test' END
FROM state_line m JOIN timeline t USING (n, pos, kind, who) JOIN plan_room USING (n) JOIN kind USING (kind)
WHERE membership IS NOT NULL AND m.who >= 0 AND m.until IS NULL;
