-- The rows of sliding_sync_joined_rooms through the life of a room.
\getenv abs_srcdir PG_ABS_SRCDIR
\set schema rooms
\set ECHO none
\i :abs_srcdir/sql/include/homeserver.psql
\i :abs_srcdir/sql/include/views.psql
\set ECHO all
SELECT sliding_sync.attach('rooms');

--
-- Creation
--

-- O2: the create event alone makes the row, before anybody joins (D8: a half-created room counts)
INSERT INTO rooms (room_id, room_version) VALUES ('!tea', '10');
SELECT set_state('!tea', '@anna:hs.test', 'm.room.create', '', '{"type": "m.space"}') \gset
SELECT * FROM joined_rooms;

-- the creator's join raises the ordering; a member event is no bump
SELECT join('!tea', '@anna:hs.test') \gset
SELECT room, latest, bump FROM joined_rooms;

-- the rest of the initial state comes in one chunk (power levels, join rules, encryption, name)
SELECT create_room('!all', '@anna:hs.test', name => 'All at once', encrypted => true) \gset
SELECT * FROM joined_rooms WHERE room = '!all';

--
-- Events that are no state
--

-- a message raises both numbers
SELECT send_message('!tea', '@anna:hs.test') \gset
SELECT room, latest, bump FROM joined_rooms WHERE room = '!tea';

-- a reaction raises the ordering only
SELECT send_message('!tea', '@anna:hs.test', 'm.reaction') \gset
SELECT room, latest, bump FROM joined_rooms WHERE room = '!tea';

-- every bump type bumps
SELECT create_room('!bumps', '@anna:hs.test') \gset
CREATE TEMP TABLE bumped (type text, bumps boolean);
DO $$
DECLARE
    event_type text;
BEGIN
    FOREACH event_type IN ARRAY ARRAY['m.room.message', 'm.room.encrypted', 'm.sticker', 'm.call.invite', 'm.poll.start',
                                      'm.beacon_info', 'm.poll.response', 'm.call.answer', 'm.beacon', 'M.room.message'] LOOP
        PERFORM send_message('!bumps', '@anna:hs.test', event_type);
        PERFORM sliding_sync.flush();
        INSERT INTO bumped SELECT event_type, j.bump = j.latest FROM joined_rooms j WHERE j.room = '!bumps';
    END LOOP;
END
$$;
TABLE bumped;

-- a state event of a bump type bumps as well
SELECT set_state('!bumps', '@anna:hs.test', 'm.beacon_info', '@anna:hs.test') \gset
SELECT bump = latest AS bumps FROM joined_rooms WHERE room = '!bumps';

-- several events in one chunk: the newest of each kind counts
SELECT persist(ARRAY[make_event('!bumps', '@anna:hs.test', 'm.room.message'),
                     make_event('!bumps', '@anna:hs.test', 'm.room.message'),
                     make_event('!bumps', '@anna:hs.test', 'm.reaction')]) \gset
SELECT latest - bump AS reaction_is_one_later FROM joined_rooms WHERE room = '!bumps';

-- H66: a soft-failed event counts
SELECT soft_fail('!bumps', '@anna:hs.test') \gset
SELECT bump = latest AS bumps FROM joined_rooms WHERE room = '!bumps';

--
-- State
--

-- name and encryption
SELECT rename('!tea', '@anna:hs.test', 'Tea') \gset
SELECT encrypt('!tea', '@anna:hs.test') AS encryption \gset
SELECT * FROM joined_rooms WHERE room = '!tea';

-- a topic changes nothing but the ordering, nor does a name with another state key than "" (H60)
SELECT set_state('!tea', '@anna:hs.test', 'm.room.topic', '', '{"topic": "tea", "name": "wrong"}') \gset
SELECT set_state('!tea', '@anna:hs.test', 'm.room.name', 'x', '{"name": "wrong"}') \gset
SELECT * FROM joined_rooms WHERE room = '!tea';

-- nor does a soft-failed name: it is not current state
SELECT soft_fail('!tea', '@anna:hs.test', 'm.room.name', '', '{"name": "wrong"}') \gset
SELECT name FROM joined_rooms WHERE room = '!tea';

-- a tombstone names the successor
SELECT tombstone('!tea', '@anna:hs.test', '!new_tea') AS tombstone \gset
SELECT successor FROM joined_rooms WHERE room = '!tea';

-- H56: a tombstone without a successor
SELECT set_state('!tea', '@anna:hs.test', 'm.room.tombstone', '', '{"body": "closed"}') \gset
SELECT successor FROM joined_rooms WHERE room = '!tea';

-- a state reset puts the old tombstone back
SELECT state_reset('!tea', 'm.room.tombstone', old_event => :'tombstone') \gset
SELECT successor FROM joined_rooms WHERE room = '!tea';

-- D1: the tombstone leaves current state
SELECT state_reset('!tea', 'm.room.tombstone') \gset
SELECT successor FROM joined_rooms WHERE room = '!tea';

-- H58: an encryption event without an algorithm, then none, then one again
SELECT set_state('!tea', '@anna:hs.test', 'm.room.encryption', '', '{}') \gset
SELECT encrypted FROM joined_rooms WHERE room = '!tea';
SELECT state_reset('!tea', 'm.room.encryption') \gset
SELECT encrypted FROM joined_rooms WHERE room = '!tea';
SELECT state_reset('!tea', 'm.room.encryption', old_event => :'encryption') \gset
SELECT encrypted FROM joined_rooms WHERE room = '!tea';

-- the name and the create event leave current state: what is left still makes a row
SELECT state_reset('!tea', 'm.room.name') \gset
SELECT state_reset('!tea', 'm.room.create') \gset
SELECT type, name, encrypted FROM joined_rooms WHERE room = '!tea';

-- no relevant state is left: no row, and a message does not bring it back
SELECT state_reset('!tea', 'm.room.encryption') \gset
SELECT send_message('!tea', '@anna:hs.test') \gset
SELECT * FROM joined_rooms WHERE room = '!tea';

-- H4: between the delete and the insert of a key the room is momentarily without any relevant state
SELECT set_state('!tea', '@anna:hs.test', 'm.room.name', '', '{"name": "Tea 2"}') \gset
SELECT set_state('!tea', '@anna:hs.test', 'm.room.name', '', '{"name": "Tea 3"}') \gset
SELECT name, latest, bump FROM joined_rooms WHERE room = '!tea';

-- D12: a clean-up takes all current state away
SELECT drop_current_state('!tea') \gset
SELECT * FROM joined_rooms WHERE room = '!tea';

--
-- A missing row
--

-- somebody deletes the row: that stands until the next change (H22) ...
SELECT create_room('!gap', '@anna:hs.test', name => 'Gap', encrypted => true) \gset
DELETE FROM sliding_sync_joined_rooms WHERE room_id = '!gap';
SELECT * FROM joined_rooms WHERE room = '!gap';
-- H89: ... and a message completes it, with everything
SELECT send_message('!gap', '@anna:hs.test') \gset
SELECT name, encrypted, latest = bump AS bumps FROM joined_rooms WHERE room = '!gap';
-- so does an event that is no bump ...
DELETE FROM sliding_sync_joined_rooms WHERE room_id = '!gap';
SELECT send_message('!gap', '@anna:hs.test', 'm.reaction') \gset
SELECT name, encrypted, latest - bump AS bump_is_older_by FROM joined_rooms WHERE room = '!gap';
-- ... and a membership
DELETE FROM sliding_sync_joined_rooms WHERE room_id = '!gap';
SELECT join('!gap', '@bert:hs.test') \gset
SELECT name, encrypted, latest - bump AS bump_is_older_by FROM joined_rooms WHERE room = '!gap';
-- ... also when several rooms change at once
DELETE FROM sliding_sync_joined_rooms WHERE room_id = '!gap';
SELECT send_message('!gap', '@anna:hs.test'), send_message('!all', '@anna:hs.test') \gset
SELECT room, name, latest = bump AS bumps FROM joined_rooms WHERE room IN ('!all', '!gap');

-- a room whose state is not known here has no row, however many messages it has (H77)
INSERT INTO rooms (room_id) VALUES ('!stateless');
SELECT send_message('!stateless', '@anna:hs.test') \gset
SELECT * FROM joined_rooms WHERE room = '!stateless';

--
-- Orderings that do not count
--

-- O15: backfilled events have negative orderings
SELECT create_room('!order', '@anna:hs.test') \gset
SELECT latest AS latest_before, bump AS bump_before FROM joined_rooms WHERE room = '!order' \gset
SELECT backfill_events('!order', '@anna:hs.test') \gset
SELECT latest - :latest_before AS latest, bump - :bump_before AS bump FROM joined_rooms WHERE room = '!order';

-- D5, D6: outliers
SELECT send_outlier('!order', '@anna:hs.test') AS outlier \gset
SELECT latest - :latest_before AS latest, bump - :bump_before AS bump FROM joined_rooms WHERE room = '!order';

-- O14: rejected events
SELECT reject_event('!order', '@anna:hs.test', 'm.room.message') \gset
SELECT reject_event('!order', '@anna:hs.test', 'm.room.name', '', '{"name": "wrong"}') \gset
SELECT latest - :latest_before AS latest, bump - :bump_before AS bump, name FROM joined_rooms WHERE room = '!order';

-- D7, H12: the outlier becomes a normal event and counts with the ordering that it has
SELECT deoutlier(:'outlier', changes_state => false) \gset
SELECT latest = e.stream_ordering AS latest, bump = e.stream_ordering AS bump
FROM joined_rooms, events e WHERE room = '!order' AND e.event_id = :'outlier';

-- H12: but it never lowers what a newer event has set
SELECT send_outlier('!order', '@anna:hs.test') AS outlier \gset
SELECT send_message('!order', '@anna:hs.test') AS newest \gset
SELECT deoutlier(:'outlier', changes_state => false) \gset
SELECT latest = e.stream_ordering AS latest, bump = e.stream_ordering AS bump
FROM joined_rooms, events e WHERE room = '!order' AND e.event_id = :'newest';

-- H70: the newest event is rejected after all: back to the one before; and accepted again
SELECT latest AS latest_before FROM joined_rooms WHERE room = '!order' \gset
SELECT change_verdict(:'newest', rejected => true) \gset
SELECT latest - :latest_before AS latest, bump - :latest_before AS bump FROM joined_rooms WHERE room = '!order';
SELECT change_verdict(:'newest', rejected => false) \gset
SELECT latest - :latest_before AS latest, bump - :latest_before AS bump FROM joined_rooms WHERE room = '!order';

-- H2: the row in rejections alone tells as much
INSERT INTO rejections (event_id, reason, last_check) VALUES (:'newest', 'auth_error', '0');
SELECT latest - :latest_before AS latest, bump - :latest_before AS bump FROM joined_rooms WHERE room = '!order';
DELETE FROM rejections WHERE event_id = :'newest';
SELECT latest - :latest_before AS latest, bump - :latest_before AS bump FROM joined_rooms WHERE room = '!order';

-- a name that is current state and rejected says nothing to a reader
SELECT rename('!order', '@anna:hs.test', 'Order') AS name_event \gset
SELECT change_verdict(:'name_event', rejected => true) \gset
SELECT name FROM joined_rooms WHERE room = '!order';
SELECT change_verdict(:'name_event', rejected => false) \gset
SELECT name FROM joined_rooms WHERE room = '!order';

-- H72: an event without an ordering is no newest event, now or in a recompute
SELECT latest AS latest_before FROM joined_rooms WHERE room = '!order' \gset
INSERT INTO events (event_id, room_id, type, sender, stream_ordering, topological_ordering, processed, outlier)
    VALUES ('$unordered', '!order', 'm.room.message', '@anna:hs.test', NULL, 99, true, false);
SELECT latest - :latest_before AS latest FROM joined_rooms WHERE room = '!order';
SELECT change_verdict(:'name_event', rejected => true) \gset
SELECT change_verdict(:'name_event', rejected => false) \gset
SELECT latest - :latest_before AS latest FROM joined_rooms WHERE room = '!order';
DELETE FROM events WHERE event_id = '$unordered';

-- D13, H49: all events are negative: a negative ordering, and no bump
INSERT INTO rooms (room_id) VALUES ('!ancient');
SELECT persist(ARRAY[make_event('!ancient', '@anna:hs.test', 'm.room.create', '', '{"type": "old"}', backfilled => true),
                     make_event('!ancient', '@anna:hs.test', 'm.room.message', backfilled => true)],
               backfilled => true) \gset
SELECT * FROM joined_rooms WHERE room = '!ancient';
INSERT INTO current_state_events (event_id, room_id, type, state_key)
    SELECT event_id, room_id, type, state_key FROM state_events WHERE room_id = '!ancient';
SELECT * FROM joined_rooms WHERE room = '!ancient';
-- a message raises both
SELECT send_message('!ancient', '@anna:hs.test') \gset
SELECT latest > 0 AS latest, bump = latest AS bump, type FROM joined_rooms WHERE room = '!ancient';

-- H73: orderings beyond 2^31
SELECT setval('events_stream_seq', 3000000000) \gset
SELECT send_message('!ancient', '@anna:hs.test') \gset
SELECT latest, bump FROM joined_rooms WHERE room = '!ancient';

-- H73: the first and the last ordering that there is
INSERT INTO rooms (room_id) VALUES ('!limits');
INSERT INTO event_json (event_id, room_id, internal_metadata, json) VALUES
    ('$first', '!limits', '{}', '{"content": {"name": "Limits"}}'), ('$last', '!limits', '{}', '{"content": {}}');
INSERT INTO events (event_id, room_id, type, state_key, sender, stream_ordering, topological_ordering, processed, outlier)
    VALUES ('$first', '!limits', 'm.room.name', '', '@anna:hs.test', -9223372036854775808, 1, true, false);
INSERT INTO current_state_events (event_id, room_id, type, state_key) VALUES ('$first', '!limits', 'm.room.name', '');
SELECT latest, bump FROM joined_rooms WHERE room = '!limits';
INSERT INTO events (event_id, room_id, type, state_key, sender, stream_ordering, topological_ordering, processed, outlier)
    VALUES ('$last', '!limits', 'm.room.message', NULL, '@anna:hs.test', 9223372036854775807, 2, true, false);
SELECT latest, bump FROM joined_rooms WHERE room = '!limits';
-- ... and in one transaction, also of a membership
BEGIN;
INSERT INTO rooms (room_id) VALUES ('!both_limits');
UPDATE events SET room_id = '!both_limits', type = 'm.room.member', state_key = '@anna:hs.test' WHERE event_id = '$last';
INSERT INTO local_current_membership VALUES ('!both_limits', '@anna:hs.test', '$last', 'join', NULL);
COMMIT;
SELECT latest, bump FROM joined_rooms WHERE room = '!limits';
SELECT who, ordering FROM snapshots WHERE room = '!both_limits';

--
-- Tables filled in another order, as by a copy
--

-- current state first, then the events, then their JSON, then the room: the row comes with the last of them
INSERT INTO current_state_events (event_id, room_id, type, state_key) VALUES
    ('$create', '!copy', 'm.room.create', ''), ('$name', '!copy', 'm.room.name', '');
INSERT INTO events (event_id, room_id, type, state_key, sender, stream_ordering, topological_ordering, processed, outlier)
    VALUES ('$create', '!copy', 'm.room.create', '', '@anna:hs.test', 3900000001, 1, true, false),
           ('$name', '!copy', 'm.room.name', '', '@anna:hs.test', 3900000002, 2, true, false);
INSERT INTO rooms (room_id) VALUES ('!copy');
SELECT * FROM joined_rooms WHERE room = '!copy';
INSERT INTO event_json (event_id, room_id, internal_metadata, json)
    VALUES ('$create', '!copy', '{}', '{"content": {"type": "m.space"}}');
SELECT * FROM joined_rooms WHERE room = '!copy';
INSERT INTO event_json (event_id, room_id, internal_metadata, json)
    VALUES ('$name', '!copy', '{}', '{"content": {"name": "Copy"}}');
SELECT * FROM joined_rooms WHERE room = '!copy';

-- the same with the room last
INSERT INTO event_json (event_id, room_id, internal_metadata, json)
    VALUES ('$late', '!late', '{}', '{"content": {"type": "m.space"}}');
INSERT INTO events (event_id, room_id, type, state_key, sender, stream_ordering, topological_ordering, processed, outlier)
    VALUES ('$late', '!late', 'm.room.create', '', '@anna:hs.test', 3900000003, 1, true, false);
INSERT INTO current_state_events (event_id, room_id, type, state_key) VALUES ('$late', '!late', 'm.room.create', '');
SELECT * FROM joined_rooms WHERE room = '!late';
INSERT INTO rooms (room_id) VALUES ('!late');
SELECT * FROM joined_rooms WHERE room = '!late';

-- JSON that comes late, in one transaction with an event that comes without
INSERT INTO current_state_events (event_id, room_id, type, state_key) VALUES ('$late_name', '!late', 'm.room.name', '');
INSERT INTO events (event_id, room_id, type, state_key, sender, stream_ordering, topological_ordering, processed, outlier)
    VALUES ('$late_name', '!late', 'm.room.name', '', '@anna:hs.test', 3900000004, 2, true, false);
SELECT type, name FROM joined_rooms WHERE room = '!late';
BEGIN;
INSERT INTO event_json (event_id, room_id, internal_metadata, json)
    VALUES ('$late_name', '!late', '{}', '{"content": {"name": "Late"}}');
INSERT INTO events (event_id, room_id, type, sender, stream_ordering, topological_ordering, processed, outlier)
    VALUES ('$late_message', '!late', 'm.room.message', '@anna:hs.test', 3900000005, 3, true, false);
COMMIT;
SELECT type, name, latest, bump FROM joined_rooms WHERE room = '!late';

-- H37: COPY, the tables in an order that nobody would choose, one transaction
BEGIN;
COPY local_current_membership (room_id, user_id, event_id, membership) FROM stdin;
!copied1	@anna:hs.test	$copied1_join	join
!copied2	@anna:hs.test	$copied2_join	join
\.
COPY current_state_events (event_id, room_id, type, state_key) FROM stdin;
$copied1_create	!copied1	m.room.create	
$copied1_join	!copied1	m.room.member	@anna:hs.test
$copied2_name	!copied2	m.room.name	
\.
COPY events (event_id, room_id, type, state_key, sender, stream_ordering, topological_ordering, processed, outlier) FROM stdin;
$copied1_create	!copied1	m.room.create		@anna:hs.test	3900000010	1	t	f
$copied1_join	!copied1	m.room.member	@anna:hs.test	@anna:hs.test	3900000011	2	t	f
$copied2_name	!copied2	m.room.name		@anna:hs.test	3900000012	1	t	f
$copied2_join	!copied2	m.room.member	@anna:hs.test	@anna:hs.test	3900000013	2	t	f
\.
COPY event_json (event_id, room_id, internal_metadata, json) FROM stdin;
$copied1_create	!copied1	{}	{"content": {"type": "m.space"}}
$copied1_join	!copied1	{}	{}
$copied2_name	!copied2	{}	{"content": {"name": "Copied"}}
$copied2_join	!copied2	{}	{}
\.
INSERT INTO rooms (room_id) VALUES ('!copied1'), ('!copied2');
COMMIT;
SELECT room, latest, bump, type, name FROM joined_rooms WHERE room LIKE '!copied%';
SELECT room, who, membership, ordering, known, type, name FROM snapshots WHERE room LIKE '!copied%';

-- H77: a script that writes events and current state, but knows no local members
SELECT create_room('!script', '@erik:remote.test', name => 'Script') \gset
SELECT name, latest = bump + 4 AS create_bumps FROM joined_rooms WHERE room = '!script';
SELECT count(*) FROM snapshots WHERE room = '!script';

--
-- More rooms than one pass takes
--

BEGIN;
INSERT INTO rooms (room_id) SELECT '!many' || n FROM generate_series(1, 1200) n;
INSERT INTO event_json (event_id, room_id, internal_metadata, json)
    SELECT '$many' || n, '!many' || n, '{}', format('{"content": {"type": "t%s"}}', n) FROM generate_series(1, 1200) n;
INSERT INTO events (event_id, room_id, type, state_key, sender, stream_ordering, topological_ordering, processed, outlier)
    SELECT '$many' || n, '!many' || n, 'm.room.create', '', '@anna:hs.test', 4000000000 + n, 1, true, false
    FROM generate_series(1, 1200) n;
INSERT INTO current_state_events (event_id, room_id, type, state_key)
    SELECT '$many' || n, '!many' || n, 'm.room.create', '' FROM generate_series(1, 1200) n;
COMMIT;
SELECT count(*), bool_and(latest - 4000000000 || '' = substr(type, 2)) AS right FROM joined_rooms WHERE room LIKE '!many%';
-- a message in each
INSERT INTO events (event_id, room_id, type, sender, stream_ordering, topological_ordering, processed, outlier)
    SELECT '$many_messages' || n, '!many' || n, 'm.room.message', '@anna:hs.test', 4000010000 + n, 2, true, false
    FROM generate_series(1, 1200) n;
SELECT count(*), bool_and(latest - 4000010000 || '' = substr(type, 2) AND latest = bump) AS right FROM joined_rooms WHERE room LIKE '!many%';
-- all of them deleted
DELETE FROM events WHERE event_id LIKE '$many_messages%';
SELECT count(*), bool_and(latest - 4000000000 || '' = substr(type, 2) AND latest = bump) AS right FROM joined_rooms WHERE room LIKE '!many%';
DELETE FROM rooms WHERE room_id LIKE '!many%';
SELECT count(*) FROM joined_rooms WHERE room LIKE '!many%';
