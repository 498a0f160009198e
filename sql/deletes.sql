-- Nothing that a homeserver, an old version of it, or a person wants to delete is held up by the derived tables.
\getenv abs_srcdir PG_ABS_SRCDIR
\set schema deletes
\set ECHO none
\i :abs_srcdir/sql/include/homeserver.psql
\i :abs_srcdir/sql/include/views.psql
\set ECHO all
SELECT sliding_sync.attach('deletes');

--
-- History
--

-- H26, H27: the newest event is deleted by hand: the row points to the one before
SELECT create_room('!r', '@anna:hs.test', name => 'R') \gset
SELECT send_message('!r', '@anna:hs.test') AS older, send_message('!r', '@anna:hs.test') AS newer \gset
DELETE FROM event_forward_extremities WHERE room_id = '!r';
DELETE FROM events WHERE event_id = :'newer';
SELECT latest = e.stream_ordering AS latest, bump = e.stream_ordering AS bump FROM joined_rooms, events e
WHERE e.event_id = :'older';

-- H27: the event of the bump alone
SELECT send_message('!r', '@anna:hs.test', 'm.reaction') AS reaction \gset
DELETE FROM events WHERE event_id = :'older';
SELECT latest = r.stream_ordering AS latest, bump = c.stream_ordering AS bump FROM joined_rooms, events r, events c
WHERE r.event_id = :'reaction' AND c.type = 'm.room.create' AND c.room_id = '!r';

-- all messages in one statement
SELECT send_message('!r', '@anna:hs.test'), send_message('!r', '@anna:hs.test') \gset
DELETE FROM event_forward_extremities WHERE room_id = '!r';
DELETE FROM events WHERE room_id = '!r' AND state_key IS NULL;
SELECT latest = (SELECT max(stream_ordering) FROM events) AS latest FROM joined_rooms;

-- H26: purge history deletes the newest event: soft-failed, with a low depth
SELECT create_room('!purge', '@anna:hs.test', name => 'Purge') \gset
SELECT join('!purge', '@bert:hs.test') \gset
SELECT leave('!purge', '@bert:hs.test') \gset
SELECT rename('!purge', '@anna:hs.test', 'Purge 2') \gset
SELECT send_message('!purge', '@anna:hs.test') AS kept \gset
SELECT soft_fail('!purge', '@anna:hs.test') AS low \gset
UPDATE events SET topological_ordering = 1 WHERE event_id = :'low';
SELECT latest = e.stream_ordering AS latest, bump = e.stream_ordering AS bump FROM joined_rooms, events e
WHERE e.event_id = :'low' AND room = '!purge';
SELECT purge_history('!purge', :'kept') \gset
SELECT latest = e.stream_ordering AS latest, bump = e.stream_ordering AS bump, name FROM joined_rooms, events e
WHERE e.event_id = :'kept' AND room = '!purge';
-- H28, D23: the state events are outliers now, and snapshots are history
SELECT count(*) FILTER (WHERE outlier) > 0 AS has_outliers FROM events WHERE room_id = '!purge';
SELECT who, membership, known, name FROM snapshots WHERE room = '!purge';
-- life goes on
SELECT leave('!purge', '@anna:hs.test') \gset
SELECT who, membership, known, name FROM snapshots WHERE room = '!purge';

--
-- Rooms
--

-- H29, H30: purged by a homeserver that does not know the tables
SELECT create_room('!old', '@anna:hs.test', name => 'Old') \gset
SELECT join('!old', '@bert:hs.test') \gset
SELECT leave('!old', '@bert:hs.test') \gset
SELECT remote_invite('!old', '@carl:hs.test', '@boss:remote.test') \gset
SELECT purge_room('!old') \gset
SELECT (SELECT count(*) FROM joined_rooms WHERE room = '!old') AS joined,
       (SELECT count(*) FROM snapshots WHERE room = '!old') AS snapshots,
       (SELECT count(*) FROM events WHERE room_id = '!old') AS events,
       (SELECT count(*) FROM rooms WHERE room_id = '!old') AS rooms;
-- H32: it does so twice
SELECT purge_room('!old') \gset

-- by one that does
SELECT create_room('!new', '@anna:hs.test', name => 'New') \gset
SELECT join('!new', '@bert:hs.test') \gset
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT purge_room('!new', old_version => false) \gset
COMMIT;
SELECT (SELECT count(*) FROM joined_rooms WHERE room = '!new') AS joined,
       (SELECT count(*) FROM snapshots WHERE room = '!new') AS snapshots,
       (SELECT count(*) FROM rooms WHERE room_id = '!new') AS rooms;

-- H31: the room is queued for the homeserver's own background update
SELECT create_room('!queued', '@anna:hs.test', name => 'Queued') \gset
INSERT INTO sliding_sync_joined_rooms_to_recalculate VALUES ('!queued'), ('!r');
SELECT purge_room('!queued', old_version => false) \gset
TABLE sliding_sync_joined_rooms_to_recalculate;
DELETE FROM sliding_sync_joined_rooms_to_recalculate;

-- H33: purged and joined again
SELECT create_room('!queued', '@anna:hs.test', name => 'Once more') \gset
SELECT name FROM joined_rooms WHERE room = '!queued';
SELECT who, membership, name FROM snapshots WHERE room = '!queued';

-- the last message of a room and the room, in one transaction
BEGIN;
SELECT send_message('!queued', '@anna:hs.test') \gset
SELECT purge_room('!queued') \gset
COMMIT;
SELECT room FROM joined_rooms WHERE room = '!queued';

-- a rooms row alone is deleted by hand, and comes back
SELECT create_room('!gone', '@anna:hs.test', name => 'Gone') \gset
DELETE FROM rooms WHERE room_id = '!gone';
SELECT room FROM joined_rooms WHERE room = '!gone';
SELECT room FROM snapshots WHERE room = '!gone';
INSERT INTO rooms (room_id, room_version) VALUES ('!gone', '10');
SELECT room, name, latest = (SELECT max(stream_ordering) FROM events WHERE room_id = '!gone') AS latest
FROM joined_rooms WHERE room = '!gone';
SELECT who, membership, name FROM snapshots WHERE room = '!gone';

--
-- Events of any kind, in any order
--

-- every event of a room by itself, the newest first, the memberships pointing to them taken away first
SELECT create_room('!one', '@anna:hs.test', name => 'One by one') \gset
SELECT join('!one', '@bert:hs.test') \gset
BEGIN;
DELETE FROM current_state_events WHERE room_id = '!one';
DELETE FROM local_current_membership WHERE room_id = '!one';
DELETE FROM room_memberships WHERE room_id = '!one';
DELETE FROM event_forward_extremities WHERE room_id = '!one';
DO $$
DECLARE
    event text;
BEGIN
    FOR event IN SELECT event_id FROM events WHERE room_id = '!one' ORDER BY stream_ordering DESC LOOP
        DELETE FROM events WHERE event_id = event;
    END LOOP;
END
$$;
COMMIT;
SELECT room FROM joined_rooms WHERE room = '!one';
SELECT room FROM snapshots WHERE room = '!one';

-- the same for several rooms in one statement, the derived rows still there
SELECT create_room('!a', '@anna:hs.test', name => 'A'), create_room('!b', '@anna:hs.test', name => 'B') \gset
SELECT join('!a', '@bert:hs.test'), remote_invite('!b', '@bert:hs.test', '@boss:remote.test') \gset
UPDATE room_memberships SET event_stream_ordering = NULL WHERE room_id IN ('!a', '!b');
UPDATE local_current_membership SET event_stream_ordering = NULL WHERE room_id IN ('!a', '!b');
UPDATE current_state_events SET event_stream_ordering = NULL WHERE room_id IN ('!a', '!b');
DELETE FROM event_forward_extremities WHERE room_id IN ('!a', '!b');
SELECT room, who, membership FROM snapshots WHERE room IN ('!a', '!b');
DELETE FROM events WHERE room_id IN ('!a', '!b') AND type = 'm.room.member';
SELECT room, who FROM snapshots WHERE room IN ('!a', '!b');
SELECT room, name, latest = (SELECT max(stream_ordering) FROM events WHERE room_id = room) AS latest
FROM joined_rooms WHERE room IN ('!a', '!b');
-- the name, then the create event: current state still names them, but nobody can read them
DELETE FROM events WHERE room_id IN ('!a', '!b') AND type = 'm.room.name';
SELECT room, name FROM joined_rooms WHERE room IN ('!a', '!b');
DELETE FROM events WHERE room_id IN ('!a', '!b') AND type = 'm.room.create';
SELECT room FROM joined_rooms WHERE room IN ('!a', '!b');

-- H30: the JSON of a current event goes, and the event stays: it cannot be read any more
SELECT create_room('!json', '@anna:hs.test', name => 'JSON') \gset
DELETE FROM event_json WHERE room_id = '!json' AND json LIKE '%m.room.name%';
SELECT room, name FROM joined_rooms WHERE room = '!json';
SELECT who, name FROM snapshots WHERE room = '!json';

-- at REPEATABLE READ, and as somebody who may delete but not see the derived tables
CREATE ROLE regress_sliding_sync_cleaner;
GRANT USAGE ON SCHEMA deletes TO regress_sliding_sync_cleaner;
GRANT SELECT, DELETE, UPDATE ON events, event_forward_extremities TO regress_sliding_sync_cleaner;
SELECT send_message('!json', '@anna:hs.test') AS message \gset
BEGIN ISOLATION LEVEL REPEATABLE READ;
SET LOCAL ROLE regress_sliding_sync_cleaner;
DELETE FROM event_forward_extremities WHERE event_id = :'message';
DELETE FROM events WHERE event_id = :'message';
SELECT current_user;
COMMIT;
SELECT latest = (SELECT max(stream_ordering) FROM events WHERE room_id = room) AS latest
FROM joined_rooms WHERE room = '!json';
DROP OWNED BY regress_sliding_sync_cleaner;
DROP ROLE regress_sliding_sync_cleaner;

--
-- TRUNCATE
--

SELECT create_room('!t', '@anna:hs.test', name => 'T', encrypted => true) \gset
SELECT redact('!t', '@anna:hs.test', event_id) FROM current_state_events WHERE room_id = '!t' AND type = 'm.room.name' \gset
SELECT encrypt('!t', '@bert:hs.test') AS by_bert, ban('!t', '@bert:hs.test', '@anna:hs.test') AS banned \gset
SELECT redact_all_of('!t', '@bert:hs.test', :'banned') \gset
SELECT send_message('!t', '@anna:hs.test') AS rejected \gset
INSERT INTO rejections (event_id, reason, last_check) VALUES (:'rejected', 'auth_error', '0');
CREATE VIEW t AS SELECT name, encrypted, latest = (SELECT max(stream_ordering) FROM events WHERE room_id = room) AS latest
    FROM joined_rooms WHERE room = '!t';
TABLE t;
TRUNCATE redactions;
TABLE t;
TRUNCATE room_ban_redactions;
TABLE t;
TRUNCATE rejections;
TABLE t;
-- what was forgotten stays known
SELECT leave('!t', '@carl:hs.test') \gset
SELECT forget('!t', '@carl:hs.test') \gset
TRUNCATE room_memberships;
SELECT who, membership, forgotten FROM snapshots WHERE room = '!t';
-- no JSON can be read: no state is known
TRUNCATE event_json;
SELECT count(*) FROM joined_rooms;
SELECT who, membership, forgotten FROM snapshots WHERE room = '!t';
-- no memberships
TRUNCATE local_current_membership;
SELECT count(*) FROM snapshots;

-- no current state
SELECT create_room('!u', '@anna:hs.test', name => 'U') \gset
SELECT room, name FROM joined_rooms;
TRUNCATE current_state_events;
SELECT count(*) FROM joined_rooms;
SELECT who, membership, name FROM snapshots;

-- truncated and filled again in one transaction, as by a copy
SELECT create_room('!v', '@anna:hs.test', name => 'V') \gset
CREATE TEMP TABLE saved AS SELECT * FROM current_state_events;
CREATE TEMP TABLE saved_memberships AS SELECT * FROM local_current_membership;
BEGIN;
TRUNCATE current_state_events, local_current_membership;
INSERT INTO current_state_events SELECT * FROM saved;
INSERT INTO local_current_membership SELECT * FROM saved_memberships;
COMMIT;
SELECT room, name FROM joined_rooms;
SELECT room, who, name FROM snapshots WHERE room = '!v';

-- TRUNCATE ... CASCADE empties the derived tables with the others
TRUNCATE rooms CASCADE;
SELECT (SELECT count(*) FROM joined_rooms) AS joined, (SELECT count(*) FROM snapshots) AS snapshots;
-- rooms come back: so do their rows, as far as the base tables tell
INSERT INTO rooms (room_id) VALUES ('!v');
SELECT room, name FROM joined_rooms;
SELECT room, who, name FROM snapshots;
TRUNCATE events CASCADE;
SELECT (SELECT count(*) FROM joined_rooms) AS joined, (SELECT count(*) FROM snapshots) AS snapshots;

-- and begin again
TRUNCATE event_json, state_events, rooms CASCADE;
SELECT create_room('!w', '@anna:hs.test', name => 'W') \gset
SELECT room, name FROM joined_rooms;
SELECT room, who, name FROM snapshots;
