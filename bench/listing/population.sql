-- 22,413 rooms of a homeserver, whose creators and three more users are in them: 10, 1,000 and 20,000 of them; 44,041
-- memberships in all. Room version 2, whose events carry their ids: of others a homeserver would not believe ours.
-- Parameters: none; `public` is the homeserver's schema.

CREATE TEMP TABLE room AS
SELECT n, '!' || md5('room' || n) || ':hs.test' AS room_id, '@creator' || n % 5000 || ':hs.test' AS creator, n % 3 = 0 AS is_encrypted,
       n % 50 = 0 AS is_space, n * 7919 % 22413 AS shuffled
FROM generate_series(0, 22412) n;

-- One state group a room: whatever was said in it was said when everybody was there.
CREATE TEMP TABLE line AS
SELECT x.*, '$' || md5(room_id || type || stage || coalesce(state_key, '')) || ':hs.test' AS event_id,
       row_number() OVER (ORDER BY newness, shuffled * 31 % 22413 + stage, room_id, type, state_key) AS ordering
FROM (
    SELECT n, room_id, shuffled, 0 AS stage, 0 AS newness, 'm.room.create' AS type, '' AS state_key, creator AS sender,
           '{"creator":"' || creator || '","room_version":"2"' || CASE WHEN is_space THEN ',"type":"m.space"}' ELSE '}' END AS content
    FROM room
    UNION ALL
    SELECT n, room_id, shuffled, 1, 0, 'm.room.member', creator, creator, '{"membership":"join","displayname":"C"}' FROM room
    UNION ALL
    SELECT n, room_id, shuffled, 2, 0, 'm.room.power_levels', '', creator, '{"users":{"' || creator || '":100}}' FROM room
    UNION ALL
    SELECT n, room_id, shuffled, 3, 0, 'm.room.join_rules', '', creator, '{"join_rule":"public"}' FROM room
    UNION ALL
    SELECT n, room_id, shuffled, 4, 0, 'm.room.encryption', '', creator, '{"algorithm":"m.megolm.v1.aes-sha2"}'
    FROM room WHERE is_encrypted
    UNION ALL
    SELECT n, room_id, shuffled, 5, 0, 'm.room.name', '', creator, '{"name":"The room number ' || n || '"}' FROM room WHERE n % 10 > 1
    UNION ALL
    SELECT n, room_id, shuffled, 6, 0, 'm.room.member', user_id, user_id, '{"membership":"join","displayname":"U"}'
    FROM room JOIN (VALUES ('@in10:hs.test', 10), ('@in1000:hs.test', 1000), ('@in20000:hs.test', 20000), ('@in618:hs.test', 618)
                   ) u (user_id, rooms) ON shuffled < rooms
    UNION ALL
    SELECT n, room_id, shuffled, 7, 1, 'm.room.message', NULL, creator, '{"body":"Good morning","msgtype":"m.text"}' FROM room
    UNION ALL -- ten rooms, which all three users are in, have something newer to say
    SELECT n, room_id, shuffled, 8, 2, 'm.room.message', NULL, creator, '{"body":"Good evening","msgtype":"m.text"}' FROM room WHERE shuffled < 10
) x;
ANALYZE room, line;

INSERT INTO rooms (room_id, creator, is_public, room_version, has_auth_chain_index) SELECT room_id, creator, false, '2', true FROM room;
INSERT INTO room_depth (room_id, min_depth) SELECT room_id, 1 FROM room;
INSERT INTO event_json (event_id, room_id, internal_metadata, json, format_version)
SELECT event_id, room_id, '{}',
       '{"event_id":"' || event_id || '","auth_events":[],"prev_events":[],"content":' || content || ',"depth":' || stage + 1
       || ',"hashes":{"sha256":"aaaa"},"origin_server_ts":' || 1700000000000 + ordering || ',"room_id":"' || room_id || '","sender":"' || sender
       || '"' || coalesce(',"state_key":"' || state_key || '"', '') || ',"type":"' || type
       || '","signatures":{"hs.test":{"ed25519:a":"aaaa"}},"unsigned":{}}', 1
FROM line;
INSERT INTO events (instance_name, stream_ordering, topological_ordering, depth, event_id, room_id, type, processed, outlier,
                    origin_server_ts, received_ts, sender, contains_url, state_key)
SELECT 'master', ordering, stage + 1, stage + 1, event_id, room_id, type, true, false, 1700000000000 + ordering, 1700000000000 + ordering,
       sender, false, state_key
FROM line;
INSERT INTO state_events (event_id, room_id, type, state_key) SELECT event_id, room_id, type, state_key FROM line WHERE state_key IS NOT NULL;
INSERT INTO event_forward_extremities (event_id, room_id) SELECT event_id, room_id FROM line WHERE newness > 0 AND NOT (newness = 1 AND shuffled < 10);
INSERT INTO state_groups (id, room_id, event_id) SELECT n + 1, room_id, '' FROM room;
INSERT INTO state_groups_state (state_group, room_id, type, state_key, event_id)
    SELECT n + 1, room_id, type, state_key, event_id FROM line WHERE state_key IS NOT NULL;
INSERT INTO event_to_state_groups (event_id, state_group) SELECT event_id, n + 1 FROM line;
INSERT INTO room_memberships (event_id, event_stream_ordering, user_id, sender, room_id, membership)
    SELECT event_id, ordering, state_key, sender, room_id, 'join' FROM line WHERE type = 'm.room.member';
INSERT INTO local_current_membership (room_id, user_id, event_id, membership, event_stream_ordering)
    SELECT room_id, state_key, event_id, 'join', ordering FROM line WHERE type = 'm.room.member';
INSERT INTO current_state_events (event_id, room_id, type, state_key, membership, event_stream_ordering)
    SELECT event_id, room_id, type, state_key, CASE WHEN type = 'm.room.member' THEN 'join' END, ordering
    FROM line WHERE state_key IS NOT NULL;
SELECT setval('events_stream_seq', (SELECT max(ordering) + 1 FROM line)), setval('state_group_id_seq', 30000);
