-- Hard cases of docs/testing.md that no other file covers.
\getenv abs_srcdir PG_ABS_SRCDIR
\set schema hard_cases
\set ECHO none
\i :abs_srcdir/sql/include/homeserver.psql
\i :abs_srcdir/sql/include/views.psql
\set ECHO all
SELECT sliding_sync.attach('hard_cases');
-- is this the event that the room's row names as its newest?
CREATE VIEW newest AS SELECT room, event_id FROM joined_rooms JOIN events ON stream_ordering = latest;
CREATE FUNCTION is_newest(in_room text, event text) RETURNS boolean LANGUAGE sql AS $$
    SELECT n.event_id = event FROM newest n WHERE n.room = in_room
$$;

--
-- Order inside one transaction
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

-- H11: our rows stand before the homeserver inserts its own, for two rooms and two members
BEGIN;
SELECT create_room('!one', '@anna:hs.test', name => 'One'), create_room('!two', '@anna:hs.test', name => 'Two') \gset
SELECT rows_written FROM sliding_sync.flush();
INSERT INTO sliding_sync_joined_rooms (room_id, event_stream_ordering, room_name)
    SELECT room_id, max(stream_ordering), 'by the homeserver' FROM events WHERE room_id IN ('!one', '!two') GROUP BY room_id
    ON CONFLICT (room_id) DO UPDATE SET room_name = excluded.room_name;
INSERT INTO sliding_sync_membership_snapshots (room_id, user_id, sender, membership_event_id, membership,
                                               event_stream_ordering, event_instance_name)
    SELECT room_id, state_key, sender, event_id, 'join', stream_ordering, 'master'
    FROM events WHERE room_id IN ('!one', '!two') AND type = 'm.room.member'
    ON CONFLICT (room_id, user_id) DO UPDATE SET membership_event_id = excluded.membership_event_id;
COMMIT;
SELECT room, name FROM joined_rooms WHERE room IN ('!one', '!two');
SELECT room, who, membership, known FROM snapshots WHERE room IN ('!one', '!two');

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

-- H44: no lock on the homeserver's tables that an index build waits for, or that waits for one
BEGIN;
SELECT rename('!two', '@anna:hs.test', 'Two 2'), join('!two', '@bert:hs.test') \gset
SELECT count(*) AS already FROM pg_locks WHERE pid = pg_backend_pid() AND mode NOT IN ('AccessShareLock', 'RowShareLock',
    'RowExclusiveLock') AND relation IN (SELECT oid FROM pg_class WHERE relnamespace = 'hard_cases'::regnamespace);
SELECT rows_written FROM sliding_sync.flush();
SELECT relation::regclass, mode FROM pg_locks WHERE pid = pg_backend_pid() AND mode NOT IN ('AccessShareLock', 'RowShareLock',
    'RowExclusiveLock') AND relation IN (SELECT oid FROM pg_class WHERE relnamespace = 'hard_cases'::regnamespace);
COMMIT;

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
-- Odd data
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

-- H53: a snapshot without a membership, as an old homeserver may have left it: it is in nobody's way ...
SELECT create_room('!ghost', '@anna:hs.test', name => 'Ghost') \gset
SELECT join('!ghost', '@bert:hs.test') AS bert_join, join('!ghost', '@carl:hs.test') AS carl_join \gset
CREATE PROCEDURE haunt(user_id text, event text) LANGUAGE sql AS $$
    DELETE FROM local_current_membership l WHERE l.event_id = event;
    INSERT INTO sliding_sync_membership_snapshots (room_id, user_id, sender, membership_event_id, membership,
                                                   event_stream_ordering, event_instance_name)
        SELECT e.room_id, haunt.user_id, e.sender, e.event_id, 'join', e.stream_ordering, 'master' FROM events e
        WHERE e.event_id = event;
$$;
SET sliding_sync.enabled = off;
DELETE FROM sliding_sync_membership_snapshots WHERE room_id = '!ghost' AND user_id <> '@anna:hs.test';
CALL haunt('@bert:hs.test', :'bert_join');
CALL haunt('@carl:hs.test', :'carl_join');
SET sliding_sync.enabled = on;
SELECT send_message('!ghost', '@anna:hs.test') \gset
SELECT who, membership FROM snapshots WHERE room = '!ghost';
-- ... its event can be deleted ...
DELETE FROM current_state_events WHERE event_id = :'bert_join';
DELETE FROM room_memberships WHERE event_id = :'bert_join';
DELETE FROM event_forward_extremities WHERE event_id = :'bert_join';
DELETE FROM events WHERE event_id = :'bert_join';
SELECT who, membership FROM snapshots WHERE room = '!ghost';
-- ... and it goes when its membership is looked at
BEGIN;
INSERT INTO local_current_membership VALUES ('!ghost', '@carl:hs.test', :'carl_join', 'join', NULL);
DELETE FROM local_current_membership WHERE user_id = '@carl:hs.test' AND room_id = '!ghost';
COMMIT;
SELECT who, membership FROM snapshots WHERE room = '!ghost';

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

-- H61: whose membership is followed, the homeserver's table alone says, not the look of a user id
SELECT join('!keys', '@irc_dora:hs.test') \gset
SELECT join('!keys', '@erik:remote.test') AS erik, join('!keys', 'no user') AS nobody \gset
SELECT who FROM snapshots WHERE room = '!keys';
INSERT INTO local_current_membership VALUES ('!keys', '@erik:remote.test', :'erik', 'join', NULL),
    ('!keys', 'no user', :'nobody', 'join', NULL);
SELECT who, membership, name FROM snapshots WHERE room = '!keys';

-- H64: stripped state on what is no invite or knock of a local user
SELECT format('{"invite_room_state": [%s]}', stripped('m.room.create', '{"type": "wrong"}')) AS wrong_state \gset
SELECT persist(ARRAY[make_event('!keys', '@anna:hs.test', 'm.room.name', '', '{"name": "Keys 2"}',
                                unsigned => :'wrong_state')]) \gset
SELECT type, name FROM joined_rooms WHERE room = '!keys';
SELECT remote_membership('!afar', '@rita:remote.test', 'invite', '@boss:remote.test', :'wrong_state') \gset
SELECT remote_membership('!afar', '@anna:hs.test', 'leave', '@boss:remote.test', :'wrong_state') \gset
SELECT who, membership, known, type FROM snapshots WHERE room = '!afar';
SELECT room FROM joined_rooms WHERE room = '!afar';

-- H67: a redaction of a redaction brings nothing back; a redacted membership is a membership
SELECT create_room('!redacted', '@anna:hs.test', name => 'Secret') \gset
SELECT join('!redacted', '@bert:hs.test') AS bert_join \gset
SELECT redact('!redacted', '@anna:hs.test', event_id) AS redaction FROM current_state_events
WHERE room_id = '!redacted' AND type = 'm.room.name' \gset
SELECT redact('!redacted', '@anna:hs.test', :'redaction') \gset
SELECT redact('!redacted', '@anna:hs.test', :'bert_join') \gset
SELECT censor(:'bert_join') \gset
SELECT name FROM joined_rooms WHERE room = '!redacted';
SELECT who, membership, name FROM snapshots WHERE room = '!redacted';

-- H69: the content of an event expires: gone for the room, history for its members
SELECT create_room('!expires', '@anna:hs.test', name => 'Expires') \gset
SELECT join('!expires', '@bert:hs.test') \gset
UPDATE event_json SET json = '{"content": {}}' WHERE room_id = '!expires' AND json LIKE '%m.room.name%';
SELECT name FROM joined_rooms WHERE room = '!expires';
SELECT who, name FROM snapshots WHERE room = '!expires' AND who = '@bert';
SELECT purge_room('!expires') \gset

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

-- H77: a script that writes events and current state, but knows no local members
SELECT create_room('!script', '@erik:remote.test', name => 'Script') \gset
SELECT name, latest = bump + 4 AS create_bumps FROM joined_rooms WHERE room = '!script';
SELECT count(*) FROM snapshots WHERE room = '!script';

-- H78, O22: columns that background updates fill in, of all rows: no key changes, nothing is looked at
UPDATE current_state_events SET membership = 'join', event_stream_ordering = NULL;
SELECT joined_rooms, memberships, rows_written FROM sliding_sync.last_flush();
UPDATE local_current_membership SET event_stream_ordering = NULL;
SELECT joined_rooms, memberships, rows_written FROM sliding_sync.last_flush();
UPDATE room_memberships SET event_stream_ordering = NULL, participant = true;
SELECT joined_rooms, memberships, rows_written FROM sliding_sync.last_flush();
-- which earlier invite is the newest: snapshots that know nothing are looked at
UPDATE events SET topological_ordering = topological_ordering + 1, depth = depth + 1, received_ts = 1;
SELECT joined_rooms, memberships, rows_written FROM sliding_sync.last_flush();
UPDATE rooms SET is_public = true, has_auth_chain_index = true;
SELECT joined_rooms, memberships, rows_written FROM sliding_sync.last_flush();

-- H91: the room is the column's; but whose event it is that a ban redacts, and where, the event itself says
SELECT create_room('!ban', '@anna:hs.test') \gset
SELECT join('!ban', '@bert:hs.test') \gset
SELECT rename('!ban', '@bert:hs.test', 'By Bert') AS name_event \gset
SELECT ban('!ban', '@bert:hs.test', '@anna:hs.test') AS ban_event \gset
SELECT redact_all_of('!ban', '@bert:hs.test', :'ban_event') \gset
SELECT name FROM joined_rooms WHERE room = '!ban';
UPDATE event_json SET json = '{"room_id": "!ban", "sender": "@carl:hs.test", "content": {"name": "By Carl"}}'
    WHERE event_id = :'name_event';
SELECT name FROM joined_rooms WHERE room = '!ban';
UPDATE event_json SET json = '{"room_id": "!elsewhere", "sender": "@bert:hs.test", "content": {"name": "Elsewhere"}}'
    WHERE event_id = :'name_event';
SELECT name FROM joined_rooms WHERE room = '!ban';

--
-- H87: transactions that only read
--
SET client_min_messages = error;
ALTER TABLE sliding_sync_joined_rooms ADD CONSTRAINT unlikely CHECK (room_name <> 'Fails');
SELECT rename('!ban', '@anna:hs.test', 'Fails') \gset
ALTER TABLE sliding_sync_joined_rooms DROP CONSTRAINT unlikely;
-- what only looks works, what writes is refused
BEGIN READ ONLY;
SELECT * FROM sliding_sync.flush();
SELECT library_version = extension_version AS same_version FROM sliding_sync.version();
\set VERBOSITY sqlstate
SAVEPOINT a;
SELECT * FROM sliding_sync.repair_quarantine();
ROLLBACK TO a;
SELECT sliding_sync.detach('hard_cases');
ROLLBACK TO a;
\set VERBOSITY default
-- nothing to do
SELECT sliding_sync.attach('hard_cases');
COMMIT;
SELECT room FROM joined_rooms WHERE room = '!ban';
SELECT sliding_sync.repair_quarantine() \gset
SELECT name FROM joined_rooms WHERE room = '!ban';
SELECT purge_room('!ban') \gset

--
-- H11, H71: every ordering that stands anywhere is that of an event of the very room, or of the very membership
--
SELECT room FROM joined_rooms WHERE NOT EXISTS (SELECT FROM events WHERE room_id = room AND stream_ordering = latest);
SELECT room, who FROM snapshots
WHERE NOT EXISTS (SELECT FROM events WHERE room_id = room AND stream_ordering = ordering AND event_id = event);
