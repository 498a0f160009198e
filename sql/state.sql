-- Current state that changes otherwise than by the next event of a key: in another order, by resets and corrections.
\getenv abs_srcdir PG_ABS_SRCDIR
\set schema state
\set ECHO none
\i :abs_srcdir/sql/include/homeserver.psql
\i :abs_srcdir/sql/include/views.psql
\set ECHO all
SELECT sliding_sync.attach('state');
-- is this the event that the room's row names as its newest?
CREATE VIEW newest AS SELECT room, event_id FROM joined_rooms JOIN events ON stream_ordering = latest;
CREATE FUNCTION is_newest(in_room text, event text) RETURNS boolean LANGUAGE sql AS $$
    SELECT n.event_id = event FROM newest n WHERE n.room = in_room
$$;

--
-- Events and state in another order
--

-- H3: memberships first, then the state, key by key
BEGIN;
INSERT INTO rooms (room_id, room_version) VALUES ('!order', '10');
INSERT INTO event_json (event_id, room_id, internal_metadata, json) VALUES
    ('$o1', '!order', '{}', '{"content": {"type": "m.space"}}'), ('$o2', '!order', '{}', '{"content": {}}'),
    ('$o3', '!order', '{}', '{"content": {"name": "Order"}}');
INSERT INTO events (event_id, room_id, type, state_key, sender, stream_ordering, topological_ordering, processed, outlier)
    VALUES ('$o1', '!order', 'm.room.create', '', '@anna:hs.test', 901, 1, true, false),
           ('$o2', '!order', 'm.room.member', '@anna:hs.test', '@anna:hs.test', 902, 2, true, false),
           ('$o3', '!order', 'm.room.name', '', '@anna:hs.test', 903, 3, true, false);
INSERT INTO local_current_membership VALUES ('!order', '@anna:hs.test', '$o2', 'join', 902);
INSERT INTO current_state_events VALUES ('$o2', '!order', 'm.room.member', '@anna:hs.test', 'join', 902);
INSERT INTO current_state_events VALUES ('$o3', '!order', 'm.room.name', '', NULL, 903);
INSERT INTO current_state_events VALUES ('$o1', '!order', 'm.room.create', '', NULL, 901);
COMMIT;
SELECT * FROM joined_rooms;
SELECT who, membership, ordering, known, type, name FROM snapshots;
SELECT setval('events_stream_seq', 1000) \gset

SELECT create_room('!one', '@anna:hs.test', name => 'One'), create_room('!two', '@anna:hs.test', name => 'Two') \gset

-- H13: an outlier that becomes a normal event, before any change of current state: nothing but the orderings
SELECT send_outlier('!one', '@anna:hs.test', 'm.room.name', '', '{"name": "Outlier"}') AS outlier \gset
SELECT deoutlier(:'outlier', changes_state => false) \gset
SELECT name FROM joined_rooms WHERE room = '!one';
SELECT is_newest('!one', :'outlier');
-- O12: and then the change
SELECT deoutlier(:'outlier') \gset
SELECT name FROM joined_rooms WHERE room = '!one';

-- H90: one event cannot be current in two rooms; the homeserver is told so, by PostgreSQL
BEGIN;
INSERT INTO current_state_events (event_id, room_id, type, state_key) VALUES (:'outlier', '!two', 'm.room.name', '');
ROLLBACK;
-- with the old place emptied first it goes through; but the event is none of the new room's
BEGIN;
DELETE FROM current_state_events WHERE event_id = :'outlier';
INSERT INTO current_state_events (event_id, room_id, type, state_key)
    VALUES (:'outlier', '!two', 'm.room.encryption', '');
COMMIT;
SELECT room, name, encrypted FROM joined_rooms WHERE room IN ('!one', '!two');
DELETE FROM current_state_events WHERE event_id = :'outlier';

--
-- State resets and joins with partial state
--

-- O10: the reset takes the last local user out: his membership is gone, and the homeserver with it
SELECT create_room('!out', '@anna:hs.test', name => 'Out') \gset
SELECT invite('!out', '@bert:hs.test', '@anna:hs.test') \gset
SELECT state_reset('!out', 'm.room.member', '@anna:hs.test') \gset
SELECT room FROM joined_rooms WHERE room = '!out';
SELECT who, membership, name FROM snapshots WHERE room = '!out';

-- several keys at once, one of them to an older event; a membership too
SELECT create_room('!reset', '@anna:hs.test', room_type => 'm.space', name => 'Old', encrypted => true) \gset
SELECT event_id AS old_name FROM current_state_events WHERE room_id = '!reset' AND type = 'm.room.name' \gset
SELECT join('!reset', '@bert:hs.test') AS bert_join \gset
SELECT leave('!reset', '@bert:hs.test') \gset
SELECT rename('!reset', '@anna:hs.test', 'New'), tombstone('!reset', '@anna:hs.test', '!next') \gset
SELECT send_message('!reset', '@anna:hs.test') AS message \gset
SELECT change_current_state('!reset', nextval('events_stream_seq'),
    ARRAY(SELECT event_id FROM current_state_events WHERE room_id = '!reset'
          AND type IN ('m.room.encryption', 'm.room.tombstone')),
    ARRAY[:'old_name', :'bert_join']) \gset
SELECT type, name, encrypted, successor FROM joined_rooms WHERE room = '!reset';
SELECT who, membership, type, name, encrypted, successor FROM snapshots WHERE room = '!reset';
-- H71: the reset's place in the stream is no event's ordering
SELECT is_newest('!reset', :'message');

-- H86: joined with partial state: the members are missing, the rest is there
SELECT remote_join('!partial', '@anna:hs.test', '{}', 'm.room.create', '', '{}', 'm.room.name', '',
                   '{"name": "Partial"}') AS joined \gset
SELECT name, bump FROM joined_rooms WHERE room = '!partial';
SELECT who, membership, known, name FROM snapshots WHERE room = '!partial';
-- O20: more events arrive, judged by partial state
SELECT rename('!partial', '@boss:remote.test', 'Accepted too soon') AS early \gset
SELECT event_id AS real_name FROM state_events
WHERE room_id = '!partial' AND type = 'm.room.name' AND event_id <> :'early' \gset
SELECT name FROM joined_rooms WHERE room = '!partial';
-- H70: full state rejects it. Nobody can read the name that current state still holds ...
SELECT change_verdict(:'early', rejected => true) \gset
SELECT name FROM joined_rooms WHERE room = '!partial';
SELECT is_newest('!partial', :'joined');
-- ... until current state is corrected, with members: D11, H71: no event comes with it
SELECT persist(ARRAY[make_event('!partial', '@boss:remote.test', 'm.room.member', '@boss:remote.test',
                                '{"membership": "join"}', 'join', outlier => true, backfilled => true)], backfilled => true) \gset
SELECT change_current_state('!partial', nextval('events_stream_seq'), '{}',
    ARRAY(SELECT event_id FROM state_events WHERE room_id = '!partial' AND state_key = '@boss:remote.test')
    || ARRAY[:'real_name']) \gset
SELECT name FROM joined_rooms WHERE room = '!partial';
SELECT is_newest('!partial', :'joined');
SELECT who, membership, known, name FROM snapshots WHERE room = '!partial';
-- and one that was rejected too soon
SELECT reject_event('!partial', '@boss:remote.test', 'm.room.message') AS rejected \gset
SELECT is_newest('!partial', :'joined');
SELECT change_verdict(:'rejected', rejected => false) \gset
SELECT is_newest('!partial', :'rejected');

-- O15: memberships of a local user from before, backfilled: they are not his membership of today
SELECT persist(ARRAY[make_event('!partial', '@anna:hs.test', 'm.room.member', '@anna:hs.test',
                                '{"membership": "leave"}', 'leave', backfilled => true)], backfilled => true) \gset
SELECT who, membership FROM snapshots WHERE room = '!partial';
SELECT is_newest('!partial', :'rejected');

--
-- Rooms and keys that are not as usual
--

-- H51: an unknown room version; redacted, all but the create event is empty
SELECT create_room('!version', '@anna:hs.test', 'org.example.x', room_type => 'm.space', name => 'Version',
                   encrypted => true) \gset
SELECT tombstone('!version', '@anna:hs.test', '!next') \gset
SELECT type, name, encrypted, successor FROM joined_rooms WHERE room = '!version';
SELECT who, known, type, name, encrypted, successor FROM snapshots WHERE room = '!version';
SELECT count(redact('!version', '@anna:hs.test', event_id)) FROM current_state_events
WHERE room_id = '!version' AND type <> 'm.room.member' \gset
SELECT type, name, encrypted, successor FROM joined_rooms WHERE room = '!version';

-- H54: a room's row without any current state: the next change of its state removes it
INSERT INTO rooms (room_id) VALUES ('!shell');
SELECT send_message('!shell', '@anna:hs.test') AS message \gset
INSERT INTO sliding_sync_joined_rooms (room_id, event_stream_ordering, room_name)
    SELECT room_id, stream_ordering, 'Shell' FROM events WHERE event_id = :'message';
BEGIN;
SELECT rename('!shell', '@anna:hs.test', 'For a moment') \gset
SELECT state_reset('!shell', 'm.room.name') \gset
COMMIT;
SELECT room FROM joined_rooms WHERE room = '!shell';

-- H55: a room is upgraded: who was there keeps what he saw, who leaves later has seen the tombstone
SELECT create_room('!v1', '@anna:hs.test', name => 'Upgrade me') \gset
SELECT join('!v1', '@bert:hs.test'), join('!v1', '@carl:hs.test') \gset
SELECT create_room('!v2', '@anna:hs.test', name => 'Upgrade me') \gset
SELECT set_state('!v2', '@anna:hs.test', 'm.room.create', '', '{"room_version": "12", "predecessor": {"room_id": "!v1"}}') \gset
SELECT tombstone('!v1', '@anna:hs.test', '!v2') \gset
SELECT leave('!v1', '@bert:hs.test') \gset
SELECT invite('!v2', '@carl:hs.test', '@anna:hs.test') \gset
SELECT room, type, name, successor FROM joined_rooms WHERE room IN ('!v1', '!v2');
SELECT room, who, membership, name, successor FROM snapshots WHERE room IN ('!v1', '!v2');

-- H60: state keys other than ""
SELECT create_room('!keys', '@anna:hs.test', name => 'Keys') \gset
SELECT persist(ARRAY[make_event('!keys', '@anna:hs.test', 'm.room.create', 'x', '{"type": "wrong"}'),
                     make_event('!keys', '@anna:hs.test', 'm.room.name', 'x', '{"name": "wrong"}'),
                     make_event('!keys', '@anna:hs.test', 'm.room.encryption', 'x', '{"algorithm": "wrong"}'),
                     make_event('!keys', '@anna:hs.test', 'm.room.tombstone', 'x', '{"replacement_room": "!wrong"}')]) \gset
SELECT join('!keys', '@bert:hs.test') \gset
SELECT type, name, encrypted, successor FROM joined_rooms WHERE room = '!keys';
SELECT who, type, name, encrypted, successor FROM snapshots WHERE room = '!keys';
-- alone they are no state of a room
INSERT INTO rooms (room_id) VALUES ('!only_keys');
SELECT set_state('!only_keys', '@anna:hs.test', 'm.room.create', 'x', '{"type": "wrong"}') \gset
SELECT room FROM joined_rooms WHERE room = '!only_keys';

--
-- H11, H71: every ordering that stands anywhere is that of an event of the very room, or of the very membership
--
SELECT room FROM joined_rooms WHERE NOT EXISTS (SELECT FROM events WHERE room_id = room AND stream_ordering = latest);
SELECT room, who FROM snapshots
WHERE NOT EXISTS (SELECT FROM events WHERE room_id = room AND stream_ordering = ordering AND event_id = event);
