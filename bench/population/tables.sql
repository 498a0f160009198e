-- The homeserver's tables, each written once. A statement whose table is not there is left out.

-- * rooms
INSERT INTO rooms (room_id, creator, is_public, room_version, has_auth_chain_index)
SELECT room_id, CASE WHEN is_far THEN '' ELSE user_id(creator) END, false, population.version(), true FROM plan_room;

-- * room_depth
INSERT INTO room_depth (room_id, min_depth) SELECT room_id, 1 FROM plan_room;

-- * devices
INSERT INTO devices (user_id, device_id, hidden) SELECT user_id(u), 'DEVICE', false FROM generate_series(0, local_users() - 1) u;

-- * events
INSERT INTO events (instance_name, stream_ordering, topological_ordering, depth, event_id, room_id, type, processed,
                    outlier, origin_server_ts, received_ts, sender, contains_url, state_key, rejection_reason)
SELECT 'master', ordering, depth, depth, event_id, room_id, type, true, is_outlier, 1700000000000 + ordering * 50,
       1700000000100 + ordering * 50, user_id(by), false,
       CASE WHEN who IS NOT NULL THEN user_id(who) WHEN is_state THEN '' END, CASE WHEN is_rejected THEN 'auth_error' END
FROM timeline JOIN plan_room USING (n) JOIN kind USING (kind);

-- * event_json
INSERT INTO event_json (event_id, room_id, internal_metadata, json, format_version)
SELECT event_id, room_id,
       CASE WHEN is_far THEN '{"outlier":true,"out_of_band_membership":true}' WHEN is_outlier THEN '{"outlier":true}'
            WHEN by >= 0 THEN '{"token_id":17,"txn_id":"m1700000000000.1","historical":false}' ELSE '{}' END,
       CASE WHEN has_event_ids() THEN '{"event_id":"' || event_id || '",' ELSE '{' END
       || '"auth_events":[' || reference('$' || substr(event_id, 12) || substr(event_id, 2, 10)) || ','
       || reference('$' || substr(event_id, 22) || substr(event_id, 2, 20)) || ','
       || reference('$' || substr(event_id, 32) || substr(event_id, 2, 30)) || '],"content":'
       || CASE WHEN kind = 1 THEN '{"creator":"' || user_id(by) || '","room_version":"' || population.version() || '"'
                    || CASE WHEN is_space THEN ',"type":"m.space"}' ELSE '}' END
               WHEN kind = 2 THEN '{"ban":50,"events":{"m.room.name":50,"m.room.power_levels":100},"events_default":0,'
                    || '"invite":0,"kick":50,"redact":50,"state_default":50,"users":{"' || user_id(by) || '":100}}'
               WHEN kind = 3 THEN '{"join_rule":"' || CASE WHEN n % 3 = 0 THEN 'public' ELSE 'invite' END || '"}'
               WHEN kind = 4 THEN '{"history_visibility":"shared"}'
               WHEN kind = 5 THEN '{"algorithm":"m.megolm.v1.aes-sha2"}'
               WHEN kind = 6 THEN '{"name":"Room ' || n || '"}'
               WHEN kind = 7 THEN '{"name":"Room ' || n || ' anew"}'
               WHEN kind = 8 THEN '{"body":"This room has been replaced","replacement_room":"!new' || n || ':hs.test"}'
               WHEN membership IS NOT NULL THEN
                   '{"displayname":"User ' || who || '","membership":"' || membership || '"}'
               WHEN kind = 21 THEN '{"algorithm":"m.megolm.v1.aes-sha2","ciphertext":"AwgAEnACgAkLmt6qF84IK++J7UDH2Za1YVc'
                    || 'HyprqTqsg2yyOwAtHaZTwyNg37afzg8f3r9IsN9r4RNFg7MaZencUJe4qvELiDiopUjy5wYVDAtqdBzer5bWRD9ldxp1FLg",'
                    || '"device_id":"RJYKSTBOIE","sender_key":"IlRMeOPX2e0MurIyfWEucYBRVOEEUMrOHqn/8mLqMjA",'
                    || '"session_id":"X3lUlvLELLYxeTx4yOVu6UDpasGEVO0Jbu+QFnm0cKQ"}'
               WHEN kind = 22 THEN '{"m.relates_to":{"event_id":"$' || reverse(substr(event_id, 2))
                    || '","key":"+1","rel_type":"m.annotation"}}'
               WHEN kind = 23 THEN '{"reason":"not so"}'
               ELSE '{"body":"Message ' || ordering || ' of ' || user_id(by) || '","m.mentions":{},"msgtype":"m.text"}' END
       || ',"depth":' || depth || ',"hashes":{"sha256":"' || substr(event_id, 2) || '"},"origin_server_ts":'
       || 1700000000000 + ordering * 50 || ',"prev_events":[' || reference(coalesce(previous_id, event_id)) || ']'
       || coalesce(',"redacts":"' || redacts || '"', '') || ',"room_id":"' || room_id || '","sender":"' || user_id(by) || '"'
       || CASE WHEN who IS NOT NULL THEN ',"state_key":"' || user_id(who) || '"' WHEN is_state THEN ',"state_key":""'
               ELSE '' END
       || ',"type":"' || type || '","signatures":{"hs.test":{"ed25519:a_key":"' || substr(event_id, 2)
       || reverse(substr(event_id, 2)) || '"}},"unsigned":'
       || CASE WHEN is_far AND membership IN ('invite', 'knock') THEN
                   '{"' || membership || '_room_state":[{"content":{"creator":"' || user_id(creator) || '","room_version":"' || population.version() || '"'
                    || CASE WHEN is_space THEN ',"type":"m.space"}' ELSE '}' END
                    || ',"sender":"' || user_id(creator) || '","state_key":"","type":"m.room.create"},'
                    || '{"content":{"join_rule":"invite"},"sender":"' || user_id(creator)
                    || '","state_key":"","type":"m.room.join_rules"}'
                    || CASE WHEN is_named THEN ',{"content":{"name":"Far room ' || n || '"},"sender":"' || user_id(creator)
                                || '","state_key":"","type":"m.room.name"}' ELSE '' END
                    || CASE WHEN is_encrypted THEN ',{"content":{"algorithm":"m.megolm.v1.aes-sha2"},"sender":"'
                                || user_id(creator) || '","state_key":"","type":"m.room.encryption"}' ELSE '' END
                    || ']}'
               WHEN by >= 0 THEN '{"age_ts":' || 1700000000000 + ordering * 50 || '}' ELSE '{"age":120}' END || '}',
       CASE WHEN has_event_ids() THEN 1 ELSE 3 END
FROM timeline JOIN plan_room USING (n) JOIN kind USING (kind)
    LEFT JOIN (SELECT n, 23 AS kind, event_id AS redacts FROM timeline WHERE kind = 6) target USING (n, kind);

-- * state_events
INSERT INTO state_events (event_id, room_id, type, state_key)
SELECT event_id, room_id, type, coalesce(user_id(who), '') FROM state_line JOIN plan_room USING (n) JOIN kind USING (kind);

-- * event_edges
INSERT INTO event_edges (event_id, prev_event_id)
SELECT event_id, previous_id FROM timeline WHERE NOT is_outlier AND previous_id IS NOT NULL;

-- * event_forward_extremities
INSERT INTO event_forward_extremities (event_id, room_id)
SELECT DISTINCT ON (n) event_id, room_id FROM timeline JOIN plan_room USING (n)
WHERE NOT is_outlier AND NOT is_rejected AND NOT is_gone ORDER BY n, pos DESC;

-- * rejections
INSERT INTO rejections (event_id, reason, last_check) SELECT event_id, 'auth_error', '0' FROM timeline WHERE is_rejected;

-- * redactions
INSERT INTO redactions (event_id, redacts, received_ts, have_censored)
SELECT r.event_id, t.event_id, 1700000000000, false
FROM timeline r JOIN timeline t ON t.n = r.n AND t.kind = 6 WHERE r.kind = 23;

-- * room_memberships
INSERT INTO room_memberships (event_id, event_stream_ordering, user_id, sender, room_id, membership, forgotten, display_name)
SELECT event_id, ordering, user_id(who), user_id(by), room_id, membership,
       (is_left AND rnd(n * 100003 + who, 70) < 0.3)::integer, 'User ' || who
FROM timeline JOIN plan_room USING (n) JOIN kind USING (kind) WHERE membership IS NOT NULL;

-- * local_current_membership
INSERT INTO local_current_membership (room_id, user_id, event_id, membership, event_stream_ordering)
SELECT room_id, user_id(who), event_id, membership, ordering
FROM state_line JOIN plan_room USING (n) JOIN kind USING (kind)
WHERE membership IS NOT NULL AND who >= 0 AND until IS NULL;

-- * current_state_events
INSERT INTO current_state_events (event_id, room_id, type, state_key, membership, event_stream_ordering)
SELECT event_id, room_id, type, coalesce(user_id(who), ''), membership, ordering
FROM state_line JOIN plan_room USING (n) JOIN kind USING (kind) WHERE until IS NULL AND NOT is_gone AND NOT is_far;

-- * state_groups
INSERT INTO state_groups (id, room_id, event_id)
SELECT state_group, room_id, event_id FROM state_line JOIN plan_room USING (n) WHERE starts_group;

-- * state_group_edges
INSERT INTO state_group_edges (state_group, prev_state_group)
SELECT state_group, prev_group FROM state_line WHERE starts_group AND prev_group IS NOT NULL;

-- * state_groups_state, differences
INSERT INTO state_groups_state (state_group, room_id, type, state_key, event_id)
SELECT state_group, room_id, type, coalesce(user_id(who), ''), event_id
FROM state_line JOIN plan_room USING (n) JOIN kind USING (kind) WHERE starts_group AND prev_group IS NOT NULL;

-- * state_groups_state, full
INSERT INTO state_groups_state (state_group, room_id, type, state_key, event_id)
SELECT g.state_group, room_id, type, coalesce(user_id(s.who), ''), s.event_id
FROM (SELECT n, pos, state_group FROM state_line WHERE starts_group AND prev_group IS NULL) g
    JOIN state_line s ON s.n = g.n AND s.pos <= g.pos AND (s.until IS NULL OR s.until > g.pos)
    JOIN plan_room r ON r.n = g.n JOIN kind k ON k.kind = s.kind;

-- * event_to_state_groups
INSERT INTO event_to_state_groups (event_id, state_group) SELECT event_id, state_group FROM timeline WHERE NOT is_outlier;

-- * sequences
SELECT setval('events_stream_seq', (SELECT max(ordering) + 1 FROM timeline)),
       setval('events_backfill_stream_seq', (SELECT greatest(1, -min(ordering)) + 1 FROM timeline)),
       setval('state_group_id_seq', (SELECT max(state_group) + 1 FROM timeline));
