-- A homeserver that keeps the derived tables itself, in the same transactions as we do (H9).
\getenv abs_srcdir PG_ABS_SRCDIR
\set ECHO none
\set schema both_writers_alone
\i :abs_srcdir/sql/include/homeserver.psql
\i :abs_srcdir/sql/include/views.psql
\set schema both_writers
\i :abs_srcdir/sql/include/homeserver.psql
\i :abs_srcdir/sql/include/views.psql
\set ECHO all

-- the same scenario, by a homeserver that does not know the tables ...
SELECT sliding_sync.attach('both_writers_alone');
SET search_path = both_writers_alone, public;
\set ECHO none
\i :abs_srcdir/sql/include/scenario.psql
\set ECHO all

-- ... and by one that does
SELECT sliding_sync.attach('both_writers');
SET search_path = both_writers, public;
SET homeserver.writes_tables = on;
\set ECHO none
\i :abs_srcdir/sql/include/scenario.psql
\set ECHO all

-- the end is the same
SELECT room, bump IS NOT NULL AS bump, type, name, encrypted, successor FROM joined_rooms;
SELECT room, who, membership, forgotten, known, type, name, encrypted, successor FROM snapshots;
(TABLE both_writers.joined_rooms EXCEPT TABLE both_writers_alone.joined_rooms) UNION ALL
(TABLE both_writers_alone.joined_rooms EXCEPT TABLE both_writers.joined_rooms);
(TABLE both_writers.snapshots EXCEPT TABLE both_writers_alone.snapshots) UNION ALL
(TABLE both_writers_alone.snapshots EXCEPT TABLE both_writers.snapshots);

--
-- What the homeserver wrote by other rules is corrected before the commit
--

SELECT create_room('!r', '@anna:hs.test', name => 'R') \gset
SELECT tombstone('!r', '@anna:hs.test', '!next') \gset

-- D5: it counts outliers
SELECT send_message('!r', '@anna:hs.test') AS message \gset
BEGIN;
SELECT send_outlier('!r', '@anna:hs.test') \gset
SELECT latest = e.stream_ordering AS latest, bump = e.stream_ordering AS bump FROM joined_rooms, events e
WHERE room = '!r' AND e.event_id = :'message';
COMMIT;
SELECT latest = e.stream_ordering AS latest, bump = e.stream_ordering AS bump FROM joined_rooms, events e
WHERE room = '!r' AND e.event_id = :'message';

-- D1: it keeps the successor when the tombstone goes
BEGIN;
SELECT state_reset('!r', 'm.room.tombstone') \gset
SELECT successor FROM joined_rooms WHERE room = '!r';
COMMIT;
SELECT successor FROM joined_rooms WHERE room = '!r';

-- D2: it does not care for redactions, and takes the raw content when state changes
SELECT rename('!r', '@anna:hs.test', 'Secret') AS name_event \gset
SELECT redact('!r', '@anna:hs.test', :'name_event') \gset
SELECT name FROM joined_rooms WHERE room = '!r';
BEGIN;
SELECT encrypt('!r', '@anna:hs.test') \gset
SELECT name, encrypted FROM joined_rooms WHERE room = '!r';
COMMIT;
SELECT name, encrypted FROM joined_rooms WHERE room = '!r';

-- and a change of state of no interest to us
BEGIN;
SELECT set_state('!r', '@anna:hs.test', 'm.room.topic') \gset
SELECT name, encrypted FROM joined_rooms WHERE room = '!r';
COMMIT;
SELECT name, encrypted FROM joined_rooms WHERE room = '!r';

-- A5: it believes that it left, and writes all memberships again, not forgotten and with the state of now
SELECT join('!r', '@bert:hs.test') \gset
SELECT leave('!r', '@bert:hs.test') \gset
SELECT forget('!r', '@bert:hs.test') \gset
SELECT rename('!r', '@anna:hs.test', 'Later') \gset
BEGIN;
SELECT rewrite_memberships('!r') \gset
UPDATE sliding_sync_membership_snapshots SET forgotten = 0, room_name = 'Later', has_known_state = true WHERE room_id = '!r';
SELECT who, membership, forgotten, name, encrypted FROM snapshots WHERE room = '!r';
COMMIT;
SELECT who, membership, forgotten, name, encrypted FROM snapshots WHERE room = '!r';

-- D18, D19: it keeps what stripped state claimed after the join
SELECT remote_invite('!s', '@anna:hs.test', '@boss:remote.test', format('[%s, %s, %s]', stripped('m.room.create', '{}'),
    stripped('m.room.name', '{"name": "Claimed"}'), stripped('m.room.encryption', '{"algorithm": "x"}'))) \gset
BEGIN;
SELECT remote_join('!s', '@anna:hs.test', '{}', 'm.room.create', '', '{}') \gset
UPDATE sliding_sync_membership_snapshots SET room_name = 'Claimed', is_encrypted = true WHERE room_id = '!s';
COMMIT;
SELECT who, membership, known, name, encrypted FROM snapshots WHERE room = '!s';

-- D20: it leaves the instance name of an older event
BEGIN;
SELECT leave('!s', '@anna:hs.test') \gset
UPDATE sliding_sync_membership_snapshots SET event_instance_name = 'older' WHERE room_id = '!s';
COMMIT;
SELECT who, membership, instance FROM snapshots WHERE room = '!s';

-- H10, D32: its upsert was meant for a row that is gone: it inserts half a row
DELETE FROM sliding_sync_joined_rooms WHERE room_id = '!r';
SET homeserver.writes_tables = off;
BEGIN;
SELECT encrypt('!r', '@anna:hs.test') \gset
INSERT INTO sliding_sync_joined_rooms (room_id, event_stream_ordering, is_encrypted)
    SELECT '!r', max(stream_ordering), true FROM events WHERE room_id = '!r';
COMMIT;
SELECT name, encrypted, latest = (SELECT max(stream_ordering) FROM events WHERE room_id = room AND NOT outlier) AS latest,
       bump = (SELECT stream_ordering FROM events WHERE event_id = :'message') AS bump
FROM joined_rooms WHERE room = '!r';

-- H11: our row comes first in the transaction, its upsert takes the update arm
BEGIN;
SELECT create_room('!t', '@anna:hs.test', name => 'T') \gset
SELECT rows_written FROM sliding_sync.flush();
INSERT INTO sliding_sync_joined_rooms (room_id, event_stream_ordering, room_name)
    SELECT '!t', max(stream_ordering), 'T' FROM events WHERE room_id = '!t'
    ON CONFLICT (room_id) DO UPDATE SET room_name = excluded.room_name;
COMMIT;
SELECT name FROM joined_rooms WHERE room = '!t';

-- ... our rows stand before the homeserver inserts its own, for two rooms and two members
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

-- it deletes a row in the same transaction in which it should be: back again
BEGIN;
SELECT rename('!t', '@anna:hs.test', 'T 2') \gset
DELETE FROM sliding_sync_joined_rooms WHERE room_id = '!t';
DELETE FROM sliding_sync_membership_snapshots WHERE room_id = '!t';
COMMIT;
SELECT name FROM joined_rooms WHERE room = '!t';
-- ... but the snapshot was not touched by the change, so its deletion stands (H22)
SELECT who FROM snapshots WHERE room = '!t';
SELECT join('!t', '@anna:hs.test') \gset
SELECT who, name FROM snapshots WHERE room = '!t';

-- what both write alike costs no second write
SET homeserver.writes_tables = on;
SELECT join('!t', '@bert:hs.test') \gset
SELECT joined_rooms, memberships, rows_written FROM sliding_sync.last_flush();
SELECT send_message('!t', '@bert:hs.test') \gset
SELECT joined_rooms, memberships, rows_written FROM sliding_sync.last_flush();
SELECT rename('!t', '@bert:hs.test', 'T 3') \gset
SELECT joined_rooms, memberships, rows_written FROM sliding_sync.last_flush();

-- H22: it deletes rows at its start: that stands until the next change
DELETE FROM sliding_sync_joined_rooms WHERE room_id = '!t';
INSERT INTO sliding_sync_joined_rooms_to_recalculate VALUES ('!t');
SELECT room FROM joined_rooms WHERE room = '!t';
SELECT send_message('!t', '@bert:hs.test') \gset
SELECT name FROM joined_rooms WHERE room = '!t';
TABLE sliding_sync_joined_rooms_to_recalculate;
RESET homeserver.writes_tables;
