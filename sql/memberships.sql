-- The rows of sliding_sync_membership_snapshots for rooms that the homeserver is in.
\getenv abs_srcdir PG_ABS_SRCDIR
\set schema memberships
\set ECHO none
\i :abs_srcdir/sql/include/homeserver.psql
\i :abs_srcdir/sql/include/views.psql
\set ECHO all
SELECT sliding_sync.attach('memberships');

--
-- The moment of the membership is what a snapshot shows
--

-- O2: the creator's join, in a transaction of its own: only the create event is known
INSERT INTO rooms (room_id, room_version) VALUES ('!steps', '10');
SELECT set_state('!steps', '@anna:hs.test', 'm.room.create', '', '{"type": "m.space"}') \gset
SELECT join('!steps', '@anna:hs.test') \gset
SELECT * FROM snapshots;

-- D31: a membership and a later name in one chunk: the state after the whole chunk
SELECT persist(ARRAY[make_event('!steps', '@bert:hs.test', 'm.room.member', '@bert:hs.test', '{"membership": "join"}', 'join'),
                     make_event('!steps', '@anna:hs.test', 'm.room.name', '', '{"name": "Steps"}')]) \gset
SELECT who, ordering, type, name FROM snapshots WHERE room = '!steps';

-- a join knows name, type, encryption and tombstone
SELECT create_room('!tea', '@anna:hs.test', name => 'Tea', encrypted => true) \gset
SELECT join('!tea', '@bert:hs.test') \gset
SELECT who, membership, sender, known, type, name, encrypted, successor FROM snapshots WHERE room = '!tea';

-- later state does not change it, nor does a message
SELECT rename('!tea', '@anna:hs.test', 'Coffee') \gset
SELECT send_message('!tea', '@anna:hs.test') \gset
SELECT who, name FROM snapshots WHERE room = '!tea';

-- a profile change is a join again: a fresh snapshot
SELECT join('!tea', '@bert:hs.test') AS second_join \gset
SELECT who, event = :'second_join' AS is_second_join, name FROM snapshots WHERE room = '!tea';

-- leave: sender and user are the same; the state of the moment
SELECT leave('!tea', '@bert:hs.test') \gset
SELECT rename('!tea', '@anna:hs.test', 'Cocoa') \gset
SELECT who, membership, sender, name FROM snapshots WHERE room = '!tea';

-- invite from inside: current state, the tombstone too, whatever its stripped state says (D16)
SELECT tombstone('!tea', '@anna:hs.test', '!new_tea') \gset
SELECT invite('!tea', '@carl:hs.test', '@anna:hs.test', format('[%s, %s]', stripped('m.room.create', '{}'),
              stripped('m.room.name', '{"name": "wrong"}'))) \gset
SELECT who, membership, sender, known, name, encrypted, successor FROM snapshots WHERE who = '@carl';

-- knock from inside
SELECT knock('!tea', '@dora:hs.test') \gset
SELECT who, membership, sender, known, name, encrypted, successor FROM snapshots WHERE who = '@dora';

-- D18: the tombstone is gone; the next membership has none, the older ones keep theirs
SELECT state_reset('!tea', 'm.room.tombstone') \gset
SELECT join('!tea', '@carl:hs.test') \gset
SELECT who, membership, successor FROM snapshots WHERE room = '!tea';

-- kick and unban are leaves by somebody else
SELECT kick('!tea', '@carl:hs.test', '@anna:hs.test') \gset
SELECT who, membership, sender FROM snapshots WHERE who = '@carl';
SELECT ban('!tea', '@carl:hs.test', '@anna:hs.test') \gset
SELECT who, membership, sender FROM snapshots WHERE who = '@carl';
SELECT unban('!tea', '@carl:hs.test', '@anna:hs.test') \gset
SELECT who, membership, sender FROM snapshots WHERE who = '@carl';

-- H14: several memberships of one user in one chunk: the last one
SELECT persist(ARRAY[make_event('!tea', '@carl:hs.test', 'm.room.member', '@carl:hs.test', '{"membership": "join"}', 'join'),
                     make_event('!tea', '@carl:hs.test', 'm.room.member', '@carl:hs.test', '{"membership": "leave"}', 'leave')]) \gset
SELECT who, membership, sender FROM snapshots WHERE who = '@carl';

-- H61: a member of another homeserver has no row
SELECT join('!tea', '@erik:remote.test') \gset
SELECT who FROM snapshots WHERE who = '@erik';

-- H62: a membership that nobody knows is stored as it is
SELECT change_membership('!tea', '@carl:hs.test', 'lurk') \gset
SELECT who, membership, known, name FROM snapshots WHERE who = '@carl';

--
-- Forgotten
--

SELECT create_room('!forget', '@anna:hs.test', name => 'Forget') \gset
SELECT join('!forget', '@bert:hs.test') AS first_join \gset
SELECT leave('!forget', '@bert:hs.test') AS first_leave \gset
SELECT who, membership, forgotten FROM snapshots WHERE room = '!forget';
SELECT forget('!forget', '@bert:hs.test') \gset
SELECT who, membership, forgotten FROM snapshots WHERE room = '!forget';

-- H21: a new membership is not forgotten
SELECT join('!forget', '@bert:hs.test') \gset
SELECT who, membership, forgotten FROM snapshots WHERE who = '@bert' AND room = '!forget';

-- H79: forgotten on older memberships only changes nothing
SELECT leave('!forget', '@bert:hs.test') AS last_leave \gset
UPDATE room_memberships SET forgotten = 0 WHERE event_id = :'first_leave';
UPDATE room_memberships SET forgotten = 1 WHERE event_id = :'first_leave';
SELECT who, membership, forgotten FROM snapshots WHERE who = '@bert' AND room = '!forget';
-- on the current one it does, in both directions; NULL means no (docs/rules.md#columns-of-a-membership)
UPDATE room_memberships SET forgotten = 1 WHERE event_id = :'last_leave';
SELECT who, membership, forgotten FROM snapshots WHERE who = '@bert' AND room = '!forget';
UPDATE room_memberships SET forgotten = NULL WHERE event_id = :'last_leave';
SELECT who, membership, forgotten FROM snapshots WHERE who = '@bert' AND room = '!forget';

-- D21: a state reset to an old, forgotten membership: forgotten as that one is
SELECT state_reset('!forget', 'm.room.member', '@bert:hs.test', :'first_leave') \gset
SELECT who, membership, event = :'first_leave' AS is_first_leave, forgotten FROM snapshots
WHERE who = '@bert' AND room = '!forget';

-- RMB.participant is nothing to us (H78)
UPDATE room_memberships SET participant = true WHERE room_id = '!forget';
SELECT joined_rooms, memberships, rows_written FROM sliding_sync.last_flush();

--
-- Memberships that go, and come back
--

-- O10: a state reset takes a member out: no membership, no row
SELECT create_room('!reset', '@anna:hs.test', name => 'Reset') \gset
SELECT join('!reset', '@bert:hs.test') AS bert_join \gset
SELECT state_reset('!reset', 'm.room.member', '@bert:hs.test') \gset
SELECT who, membership FROM snapshots WHERE room = '!reset';

-- ... and another puts him back, with the state of now
SELECT rename('!reset', '@anna:hs.test', 'Reset 2') \gset
SELECT state_reset('!reset', 'm.room.member', '@bert:hs.test', :'bert_join') \gset
SELECT who, membership, name FROM snapshots WHERE room = '!reset';

-- H5: deleted and inserted again in one transaction is no change: history stays
SELECT rename('!reset', '@anna:hs.test', 'Reset 3') \gset
BEGIN;
DELETE FROM local_current_membership WHERE room_id = '!reset' AND user_id = '@bert:hs.test';
INSERT INTO local_current_membership VALUES ('!reset', '@bert:hs.test', :'bert_join', 'join', NULL);
COMMIT;
SELECT who, membership, name FROM snapshots WHERE room = '!reset';

-- ... also when the row was read, and so removed, in between
BEGIN;
DELETE FROM local_current_membership WHERE room_id = '!reset' AND user_id = '@bert:hs.test';
SELECT * FROM sliding_sync.flush();
SELECT who FROM snapshots WHERE room = '!reset';
INSERT INTO local_current_membership VALUES ('!reset', '@bert:hs.test', :'bert_join', 'join', NULL);
COMMIT;
SELECT who, membership, name FROM snapshots WHERE room = '!reset';

-- A5: all memberships of a room are written again with the same events; who had forgotten it has still forgotten it
SELECT join('!reset', '@carl:hs.test') \gset
SELECT leave('!reset', '@carl:hs.test') \gset
SELECT forget('!reset', '@carl:hs.test') \gset
SELECT rename('!reset', '@anna:hs.test', 'Reset 4') \gset
SELECT rewrite_memberships('!reset') \gset
SELECT who, membership, forgotten, name FROM snapshots WHERE room = '!reset';

-- H6: an upsert to another event
SELECT join('!reset', '@dora:hs.test') AS dora_join \gset
SELECT leave('!reset', '@dora:hs.test') AS dora_leave \gset
INSERT INTO local_current_membership VALUES ('!reset', '@dora:hs.test', :'dora_join', 'join', NULL)
    ON CONFLICT (room_id, user_id) DO UPDATE SET event_id = excluded.event_id, membership = excluded.membership,
        event_stream_ordering = excluded.event_stream_ordering;
SELECT who, membership, event = :'dora_join' AS is_join FROM snapshots WHERE who = '@dora' AND room = '!reset';

-- an upsert that does nothing changes nothing
INSERT INTO local_current_membership VALUES ('!reset', '@dora:hs.test', :'dora_leave', 'leave', NULL)
    ON CONFLICT DO NOTHING;
SELECT who, membership, event = :'dora_join' AS is_join FROM snapshots WHERE who = '@dora' AND room = '!reset';

-- a membership that moves to another user: the old pair goes
SELECT invite('!reset', '@fred:hs.test', '@anna:hs.test') \gset
UPDATE local_current_membership SET user_id = '@gina:hs.test' WHERE user_id = '@fred:hs.test';
SELECT who, membership FROM snapshots WHERE who IN ('@fred', '@gina');
UPDATE local_current_membership SET user_id = '@fred:hs.test' WHERE user_id = '@gina:hs.test';
SELECT who, membership FROM snapshots WHERE who IN ('@fred', '@gina');

-- H34: the row alone is deleted by hand: nothing fails later, and the next membership makes a new one
DELETE FROM sliding_sync_membership_snapshots WHERE room_id = '!reset' AND user_id = '@dora:hs.test';
SELECT send_message('!reset', '@anna:hs.test') \gset
SELECT who FROM snapshots WHERE who = '@dora' AND room = '!reset';
SELECT leave('!reset', '@dora:hs.test') \gset
SELECT who, membership, name FROM snapshots WHERE who = '@dora' AND room = '!reset';

--
-- The homeserver leaves a room
--

-- H7: the last local user leaves: current state is wiped before the membership changes; the snapshot has it all
SELECT create_room('!last', '@anna:hs.test', room_type => 'm.space', name => 'Last', encrypted => true) \gset
SELECT tombstone('!last', '@anna:hs.test', '!next') \gset
SELECT invite('!last', '@bert:hs.test', '@anna:hs.test') \gset
SELECT invite('!last', '@carl:hs.test', '@anna:hs.test', format('[%s, %s]', stripped('m.room.create', '{}'),
              stripped('m.room.name', '{"name": "Last, as told to Carl"}'))) \gset
SELECT rename('!last', '@anna:hs.test', 'Last 2') \gset
SELECT leave('!last', '@anna:hs.test') \gset
SELECT room FROM joined_rooms WHERE room = '!last';
SELECT who, membership, known, type, name, encrypted, successor FROM snapshots WHERE room = '!last';

-- H8: an invitee says no afterwards, current state is gone: the row keeps what it knew
SELECT leave('!last', '@bert:hs.test') \gset
SELECT who, membership, sender, known, type, name, encrypted, successor FROM snapshots WHERE room = '!last' AND who = '@bert';

-- H8, D22: without a row to inherit from: what the invite told
DELETE FROM sliding_sync_membership_snapshots WHERE room_id = '!last' AND user_id = '@carl:hs.test';
SELECT leave('!last', '@carl:hs.test') \gset
SELECT who, membership, known, type, name, encrypted, successor FROM snapshots WHERE room = '!last' AND who = '@carl';

-- H7: a new name and the last leave in one chunk: the new name
SELECT create_room('!chunk', '@anna:hs.test', name => 'Chunk') \gset
SELECT persist(ARRAY[make_event('!chunk', '@anna:hs.test', 'm.room.name', '', '{"name": "Chunk 2"}'),
                     make_event('!chunk', '@anna:hs.test', 'm.room.encryption', '', '{"algorithm": "x"}'),
                     make_event('!chunk', '@anna:hs.test', 'm.room.member', '@anna:hs.test', '{"membership": "leave"}', 'leave')]) \gset
SELECT room FROM joined_rooms WHERE room = '!chunk';
SELECT who, membership, known, name, encrypted FROM snapshots WHERE room = '!chunk';

-- H7: the same in one transaction but two chunks, with a look in between
SELECT create_room('!chunks', '@anna:hs.test', name => 'Chunks') \gset
BEGIN;
SELECT rename('!chunks', '@anna:hs.test', 'Chunks 2') \gset
SELECT name FROM joined_rooms WHERE room = '!chunks';
SELECT * FROM sliding_sync.flush();
SELECT name FROM joined_rooms WHERE room = '!chunks';
SELECT leave('!chunks', '@anna:hs.test') \gset
COMMIT;
SELECT who, membership, known, name FROM snapshots WHERE room = '!chunks';

-- the room is created and left in one transaction
BEGIN;
SELECT create_room('!brief', '@anna:hs.test', name => 'Brief') \gset
SELECT leave('!brief', '@anna:hs.test') \gset
COMMIT;
SELECT room FROM joined_rooms WHERE room = '!brief';
SELECT who, membership, known, name FROM snapshots WHERE room = '!brief';

-- a member event of somebody else stands in state when the last local user is banned
SELECT create_room('!banned', '@anna:hs.test', name => 'Banned') \gset
SELECT join('!banned', '@erik:remote.test') \gset
SELECT ban('!banned', '@anna:hs.test', '@erik:remote.test') \gset
SELECT room FROM joined_rooms WHERE room = '!banned';
SELECT who, membership, sender, known, name FROM snapshots WHERE room = '!banned';

--
-- Odd rows
--

-- H45: no instance name, an empty one, another one
SELECT create_room('!odd', '@anna:hs.test', name => 'Odd') \gset
SELECT join('!odd', '@bert:hs.test') AS bert_join \gset
UPDATE events SET instance_name = NULL WHERE event_id = :'bert_join';
SELECT instance FROM snapshots WHERE event = :'bert_join';
UPDATE events SET instance_name = 'writer2' WHERE event_id = :'bert_join';
SELECT instance FROM snapshots WHERE event = :'bert_join';
UPDATE events SET instance_name = '' WHERE event_id = :'bert_join';
SELECT instance FROM snapshots WHERE event = :'bert_join';

-- H46: no sender in events: taken from room_memberships, or from the event itself
UPDATE events SET sender = NULL WHERE event_id = :'bert_join';
SELECT sender FROM snapshots WHERE event = :'bert_join';
UPDATE room_memberships SET sender = '@old:hs.test' WHERE event_id = :'bert_join';
UPDATE events SET sender = '' WHERE event_id = :'bert_join';
UPDATE events SET sender = NULL WHERE event_id = :'bert_join';
SELECT sender FROM snapshots WHERE event = :'bert_join';
DELETE FROM room_memberships WHERE event_id = :'bert_join';
SELECT rewrite_memberships('!odd') \gset
SELECT sender FROM snapshots WHERE event = :'bert_join';

-- H47: no ordering in local_current_membership: that of the event counts
SELECT leave('!odd', '@bert:hs.test') AS bert_leave \gset
DELETE FROM local_current_membership WHERE event_id = :'bert_leave';
INSERT INTO local_current_membership VALUES ('!odd', '@bert:hs.test', :'bert_leave', 'leave', NULL);
SELECT who, membership, ordering = e.stream_ordering AS ordering, name
FROM snapshots, events e WHERE event = :'bert_leave' AND e.event_id = event;

-- H48: the event is not stored: no row
INSERT INTO local_current_membership VALUES ('!odd', '@carl:hs.test', '$lost', 'leave', NULL);
SELECT who FROM snapshots WHERE event = '$lost';

-- an event of another room makes no row
INSERT INTO local_current_membership
    SELECT '!odd', '@dora:hs.test', event_id, 'join', NULL FROM events WHERE room_id = '!tea' AND type = 'm.room.message' LIMIT 1;
SELECT who FROM snapshots WHERE room = '!odd' AND who = '@dora';
DELETE FROM local_current_membership WHERE room_id = '!odd' AND user_id IN ('@carl:hs.test', '@dora:hs.test');

-- H50: no row in rooms: no snapshot; it comes with the room
INSERT INTO events (event_id, room_id, type, state_key, sender, stream_ordering, topological_ordering, processed, outlier)
    VALUES ('$unroomed', '!unroomed', 'm.room.member', '@anna:hs.test', '@boss:remote.test', 800001, 1, true, true);
INSERT INTO event_json (event_id, room_id, internal_metadata, json)
    VALUES ('$unroomed', '!unroomed', '{"out_of_band_membership": true}',
            format('{"unsigned": {"invite_room_state": [%s, %s]}}', stripped('m.room.create', '{}'),
                   stripped('m.room.name', '{"name": "Unroomed"}')));
INSERT INTO local_current_membership VALUES ('!unroomed', '@anna:hs.test', '$unroomed', 'invite', 800001);
SELECT who FROM snapshots WHERE room = '!unroomed';
INSERT INTO rooms (room_id) VALUES ('!unroomed');
SELECT who, membership, sender, known, name FROM snapshots WHERE room = '!unroomed';

-- H33: a membership with a negative ordering
SELECT join('!odd', '@fred:hs.test') AS fred_join \gset
INSERT INTO events (event_id, room_id, type, state_key, sender, stream_ordering, topological_ordering, processed, outlier)
    VALUES ('$negative', '!odd', 'm.room.member', '@fred:hs.test', '@fred:hs.test', -800002, 1, true, false);
INSERT INTO event_json (event_id, room_id, internal_metadata, json) VALUES ('$negative', '!odd', '{}', '{"content": {}}');
UPDATE local_current_membership SET event_id = '$negative', membership = 'leave', event_stream_ordering = -800002
    WHERE event_id = :'fred_join';
SELECT who, membership, ordering, name FROM snapshots WHERE room = '!odd' AND who = '@fred';

-- H72: an event without an ordering makes no row
INSERT INTO events (event_id, room_id, type, state_key, sender, stream_ordering, topological_ordering, processed, outlier)
    VALUES ('$unordered', '!odd', 'm.room.member', '@gina:hs.test', '@gina:hs.test', NULL, 1, true, false);
INSERT INTO local_current_membership VALUES ('!odd', '@gina:hs.test', '$unordered', 'join', NULL);
SELECT who FROM snapshots WHERE room = '!odd' AND who = '@gina';
DELETE FROM local_current_membership WHERE event_id = '$unordered';

-- H52: two users claim one event: the second claim makes no row, and costs nobody else his
SET client_min_messages = error;
BEGIN;
SELECT join('!odd', '@hans:hs.test') \gset
INSERT INTO local_current_membership VALUES ('!odd', '@ivan:hs.test', '$negative', 'leave', NULL);
COMMIT;
SET client_min_messages = warning;
SELECT who, membership FROM snapshots WHERE room = '!odd';
DELETE FROM local_current_membership WHERE user_id = '@ivan:hs.test';

-- H61: whose membership is followed, the homeserver's table alone says, not the look of a user id
SELECT create_room('!ids', '@anna:hs.test', name => 'Ids') \gset
SELECT join('!ids', '@irc_dora:hs.test') \gset
SELECT join('!ids', '@erik:remote.test') AS erik, join('!ids', 'no user') AS nobody \gset
SELECT who FROM snapshots WHERE room = '!ids';
INSERT INTO local_current_membership VALUES ('!ids', '@erik:remote.test', :'erik', 'join', NULL),
    ('!ids', 'no user', :'nobody', 'join', NULL);
SELECT who, membership, name FROM snapshots WHERE room = '!ids';

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
