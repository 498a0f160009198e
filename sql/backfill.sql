-- CALL sliding_sync.backfill(): its arguments, its runs, and the rows that it fills, corrects and removes.
\getenv abs_srcdir PG_ABS_SRCDIR
\set schema backfill
\set ECHO none
\i :abs_srcdir/sql/include/homeserver.psql
\i :abs_srcdir/sql/include/views.psql
\set ECHO all
\pset null NULL
SELECT sliding_sync.attach('backfill');

-- all runs of this homeserver, and what the latest one has done
CREATE VIEW runs AS SELECT tables, first_room AS first, last_room AS last, finished_at IS NOT NULL AS finished
    FROM sliding_sync.runs WHERE schema_name = 'backfill' ORDER BY run_id;
CREATE VIEW latest AS SELECT count(*) FILTER (WHERE NOT is_done) AS open_ranges,
        sum(items_done) FILTER (WHERE table_name = 'sliding_sync_joined_rooms') AS rooms,
        sum(items_done) FILTER (WHERE table_name = 'sliding_sync_membership_snapshots') AS memberships,
        sum(rows_written) AS written, sum(quarantined) AS quarantined
    FROM sliding_sync.run_ranges
    WHERE run_id = (SELECT max(run_id) FROM sliding_sync.runs WHERE schema_name = 'backfill');
CREATE VIEW coverage AS SELECT fingerprint = sliding_sync.coverage_fingerprint(schema_name) AS same_tables,
        complete_at IS NOT NULL AS complete, caught_up_at IS NOT NULL AS caught_up
    FROM sliding_sync.trigger_coverage WHERE schema_name = 'backfill';

--
-- Arguments
--

\set VERBOSITY terse
CALL sliding_sync.backfill('nowhere');
CALL sliding_sync.backfill('backfill', tables => 'everything');
CALL sliding_sync.backfill('backfill', tables => '');
CALL sliding_sync.backfill('backfill', share => 0);
CALL sliding_sync.backfill('backfill', share => 1.5);
CALL sliding_sync.backfill('backfill', share => 'NaN');
CALL sliding_sync.backfill('backfill', batch_size => 0);
CALL sliding_sync.backfill('backfill', batch_size => -1);
CALL sliding_sync.backfill('backfill', batch_time => '0');
CALL sliding_sync.backfill('backfill', pause => '-1 s');
CALL sliding_sync.backfill('backfill', max_duration => '0');
-- it commits: not in a transaction of somebody else, nor in a function
\set VERBOSITY default
BEGIN;
CALL sliding_sync.backfill('backfill');
ROLLBACK;
\set VERBOSITY sqlstate
CREATE FUNCTION backfill_in_a_function() RETURNS void LANGUAGE plpgsql AS $$
BEGIN EXECUTE 'CALL sliding_sync.backfill(''backfill'')'; END $$;
SELECT backfill_in_a_function();
BEGIN READ ONLY;
CALL sliding_sync.backfill('backfill');
ROLLBACK;
-- nor by anybody
CREATE ROLE backfill_nobody;
GRANT USAGE ON SCHEMA backfill TO backfill_nobody;
SET ROLE backfill_nobody;
CALL sliding_sync.backfill('backfill');
RESET ROLE;
REVOKE USAGE ON SCHEMA backfill FROM backfill_nobody;
DROP ROLE backfill_nobody;
\set VERBOSITY default
-- none of these began a run
TABLE runs;

-- NULL is the default
CALL sliding_sync.backfill('backfill', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
TABLE runs;

--
-- A homeserver without rooms, and one of which everything is right
--

TABLE latest;
TABLE coverage;
\set ECHO none
\i :abs_srcdir/sql/include/scenario.psql
\set ECHO all
CALL sliding_sync.backfill('backfill');
-- keys, not rows: also those that must have no row
SELECT (SELECT count(*) FROM rooms) AS rooms, (SELECT count(*) FROM local_current_membership) AS memberships;
TABLE latest;
TABLE coverage;

--
-- Empty tables: equal rows
--

CREATE TABLE live_rooms AS TABLE joined_rooms;
CREATE TABLE live_snapshots AS TABLE snapshots;
CREATE VIEW differences AS
    SELECT 'missing' AS row, room, NULL AS who, name FROM (TABLE live_rooms EXCEPT TABLE joined_rooms) r
    UNION ALL SELECT 'new', room, NULL, name FROM (TABLE joined_rooms EXCEPT TABLE live_rooms) r
    UNION ALL SELECT 'missing', room, who, name FROM (TABLE live_snapshots EXCEPT TABLE snapshots) s
    UNION ALL SELECT 'new', room, who, name FROM (TABLE snapshots EXCEPT TABLE live_snapshots) s
    ORDER BY 2, 3, 1;
DELETE FROM sliding_sync_joined_rooms;
DELETE FROM sliding_sync_membership_snapshots;
CALL sliding_sync.backfill('backfill', tables => 'joined_rooms');
SELECT count(*) = (SELECT count(*) FROM live_rooms) AS all_rooms FROM joined_rooms;
SELECT count(*) FROM snapshots;
CALL sliding_sync.backfill('backfill', tables => 'memberships');
-- but for history: a join has the state of today, an invite what it tells itself
SELECT d.row, d.room, d.who, s.membership, d.name FROM differences d JOIN snapshots s USING (room, who);
-- again: nothing is left to write
CALL sliding_sync.backfill('backfill');
SELECT * FROM runs OFFSET 2;

--
-- Spoiled rows
--

-- a room and an invited user for each column
SELECT count(create_room('!s' || n, '@anna:hs.test', name => 'S' || n)) FROM generate_series(1, 7) n \gset
SELECT count(send_message('!s' || n, '@anna:hs.test')) FROM generate_series(1, 7) n \gset
SELECT count(remote_invite('!far', format('@u%s:hs.test', lpad(n::text, 2, '0')), '@boss:remote.test', format('[%s, %s]',
    stripped('m.room.create', '{}'), stripped('m.room.name', '{"name": "Far"}')))) FROM generate_series(1, 11) n \gset
SELECT create_room('!s8', '@anna:hs.test') \gset
TRUNCATE live_rooms, live_snapshots;
INSERT INTO live_rooms TABLE joined_rooms;
INSERT INTO live_snapshots TABLE snapshots;
SELECT min(stream_ordering) AS old_ordering FROM events WHERE room_id = '!s2' \gset
UPDATE sliding_sync_joined_rooms SET event_stream_ordering = :old_ordering WHERE room_id = '!s2';
UPDATE sliding_sync_joined_rooms SET bump_stamp = NULL WHERE room_id = '!s3';
UPDATE sliding_sync_joined_rooms SET bump_stamp = 1000000 WHERE room_id = '!s1';
UPDATE sliding_sync_joined_rooms SET room_type = 'm.space' WHERE room_id = '!s4';
UPDATE sliding_sync_joined_rooms SET room_name = 'wrong' WHERE room_id = '!s5';
UPDATE sliding_sync_joined_rooms SET is_encrypted = true WHERE room_id = '!s6';
UPDATE sliding_sync_joined_rooms SET tombstone_successor_room_id = '!s1' WHERE room_id = '!s7';
SELECT event_id AS other, stream_ordering AS other_ordering FROM events WHERE room_id = '!s1' AND type = 'm.room.message' \gset
UPDATE sliding_sync_membership_snapshots SET sender = '@eve:hs.test' WHERE user_id = '@u01:hs.test';
UPDATE sliding_sync_membership_snapshots SET membership_event_id = :'other' WHERE user_id = '@u02:hs.test';
UPDATE sliding_sync_membership_snapshots SET membership = 'join' WHERE user_id = '@u03:hs.test';
UPDATE sliding_sync_membership_snapshots SET forgotten = 1 WHERE user_id = '@u04:hs.test';
UPDATE sliding_sync_membership_snapshots SET event_stream_ordering = :other_ordering WHERE user_id = '@u05:hs.test';
UPDATE sliding_sync_membership_snapshots SET event_instance_name = 'else' WHERE user_id = '@u06:hs.test';
UPDATE sliding_sync_membership_snapshots SET has_known_state = false WHERE user_id = '@u07:hs.test';
UPDATE sliding_sync_membership_snapshots SET room_type = 'm.space' WHERE user_id = '@u08:hs.test';
UPDATE sliding_sync_membership_snapshots SET room_name = 'wrong' WHERE user_id = '@u09:hs.test';
UPDATE sliding_sync_membership_snapshots SET is_encrypted = true WHERE user_id = '@u10:hs.test';
UPDATE sliding_sync_membership_snapshots SET tombstone_successor_room_id = '!s1' WHERE user_id = '@u11:hs.test';
-- rows that must not be there: of a room without current state, of a user without membership
INSERT INTO sliding_sync_joined_rooms (room_id, event_stream_ordering)
    SELECT '!last', max(stream_ordering) FROM events WHERE room_id = '!last';
INSERT INTO sliding_sync_membership_snapshots SELECT room_id, '@nobody:hs.test', sender, event_id, 'join', 0, stream_ordering, 'master'
    FROM events WHERE room_id = '!s2' AND type = 'm.room.message';
-- rows that are missing
DELETE FROM sliding_sync_joined_rooms WHERE room_id = '!s8';
DELETE FROM sliding_sync_membership_snapshots WHERE room_id = '!s8';
SELECT row, room, who FROM differences;
CALL sliding_sync.backfill('backfill');
TABLE differences;

-- history of a membership of which it is known: only today's facts are corrected (a repair rewrites it)
UPDATE sliding_sync_membership_snapshots SET sender = '@eve:hs.test', membership = 'leave', forgotten = 1,
    event_instance_name = 'else', room_name = 'history', room_type = 'm.space', is_encrypted = true
    WHERE room_id = '!s1';
CALL sliding_sync.backfill('backfill', first_room => '!s1', last_room => '!s1');
SELECT who, sender, membership, forgotten, instance, known, name, type, encrypted FROM snapshots WHERE room = '!s1';
-- ... but not when nothing was known
UPDATE sliding_sync_membership_snapshots SET has_known_state = false WHERE room_id = '!s1';
CALL sliding_sync.backfill('backfill', first_room => '!s1', last_room => '!s1');
SELECT who, known, name, type, encrypted FROM snapshots WHERE room = '!s1';

-- P11, D25: a row of another membership of the user: that of the current one, and the history with it
SELECT join('!s2', '@bert:hs.test') AS first_join \gset
SELECT rename('!s2', '@anna:hs.test', 'Left') \gset
SELECT leave('!s2', '@bert:hs.test') AS last_leave \gset
SELECT rename('!s2', '@anna:hs.test', 'Later') \gset
UPDATE sliding_sync_membership_snapshots SET membership_event_id = :'first_join', membership = 'join', room_name = 'S2',
    event_stream_ordering = (SELECT stream_ordering FROM events WHERE event_id = :'first_join')
    WHERE room_id = '!s2' AND user_id = '@bert:hs.test';
CALL sliding_sync.backfill('backfill', first_room => '!s2', last_room => '!s2');
SELECT membership, event = :'last_leave' AS is_last_leave, name FROM snapshots WHERE room = '!s2' AND who = '@bert';

-- forgotten while nobody watched; P13: NULL means no; without a row of the membership it stays as it was
SET sliding_sync.enabled = off;
SELECT forget('!s2', '@bert:hs.test') \gset
UPDATE room_memberships SET forgotten = NULL WHERE room_id = '!far' AND user_id = '@u01:hs.test';
UPDATE sliding_sync_membership_snapshots SET forgotten = 1 WHERE room_id = '!far' AND user_id IN ('@u01:hs.test', '@u02:hs.test');
DELETE FROM room_memberships WHERE room_id = '!far' AND user_id = '@u02:hs.test';
RESET sliding_sync.enabled;
CALL sliding_sync.backfill('backfill', tables => 'memberships');
SELECT who, forgotten FROM snapshots WHERE (room, who) IN (('!s2', '@bert'), ('!far', '@u01'), ('!far', '@u02'));

--
-- Part of the rooms
--

-- both ends belong to it; no such room is needed; in the wrong order there is nothing to do
DELETE FROM sliding_sync_joined_rooms WHERE room_id LIKE '!s%';
CALL sliding_sync.backfill('backfill', 'joined_rooms', first_room => '!s3', last_room => '!s5');
SELECT room FROM joined_rooms WHERE room LIKE '!s%';
CALL sliding_sync.backfill('backfill', 'joined_rooms', first_room => '!s55', last_room => '!s66');
SELECT room FROM joined_rooms WHERE room LIKE '!s%';
CALL sliding_sync.backfill('backfill', 'joined_rooms', first_room => '!s8', last_room => '!s1');
CALL sliding_sync.backfill('backfill', 'joined_rooms', last_room => '!s1');
CALL sliding_sync.backfill('backfill', 'joined_rooms', first_room => '!s8');
SELECT room FROM joined_rooms WHERE room LIKE '!s%';
DELETE FROM sliding_sync_membership_snapshots WHERE room_id LIKE '!s%';
CALL sliding_sync.backfill('backfill', 'memberships', first_room => '!s3', last_room => '!s5');
SELECT room, who FROM snapshots WHERE room LIKE '!s%';
-- parts do not make the whole
SELECT tables, first, last, finished FROM runs OFFSET 4;
CALL sliding_sync.backfill('backfill');

--
-- P1: a room that is bigger than a batch
--

SELECT create_room('!big', '@anna:hs.test', name => 'Big') \gset
SELECT count(join('!big', format('@member%s:hs.test', n))) FROM generate_series(1, 35) n \gset
SELECT count(*) AS memberships FROM local_current_membership WHERE room_id = '!big' \gset
DELETE FROM sliding_sync_membership_snapshots WHERE room_id = '!big';
-- each key once, whatever the batch
CALL sliding_sync.backfill('backfill', 'memberships', '!big', '!big', batch_size => 1);
SELECT memberships = :memberships AS once, written FROM latest;
CALL sliding_sync.backfill('backfill', 'memberships', '!big', '!big', batch_size => 2);
SELECT memberships = :memberships AS once, written FROM latest;
CALL sliding_sync.backfill('backfill', 'memberships', '!big', '!big', batch_size => 3);
SELECT memberships = :memberships AS once, written FROM latest;
CALL sliding_sync.backfill('backfill', 'memberships', '!big', '!big', batch_size => 4);
SELECT memberships = :memberships AS once, written FROM latest;
CALL sliding_sync.backfill('backfill', 'memberships', '!big', '!big', batch_size => 5);
SELECT memberships = :memberships AS once, written FROM latest;
CALL sliding_sync.backfill('backfill', 'memberships', '!big', '!big', batch_size => 6);
SELECT memberships = :memberships AS once, written FROM latest;
CALL sliding_sync.backfill('backfill', 'memberships', '!big', '!big', batch_size => 7);
SELECT memberships = :memberships AS once, written FROM latest;
-- each range moved on with each batch, and ends where the room does
SELECT position_room, position_user, items_done FROM sliding_sync.run_ranges WHERE run_id = (SELECT max(run_id) FROM sliding_sync.runs) AND items_done > 0;

--
-- Runs: one that is not finished is gone on with
--

DELETE FROM sliding_sync_membership_snapshots WHERE room_id = '!big';
-- ended after the first batch
CALL sliding_sync.backfill('backfill', 'memberships', '!big', '!big', batch_size => 7, max_duration => '1 us');
SELECT finished FROM runs WHERE first = '!big' OFFSET 7;
SELECT open_ranges, memberships FROM latest;
SELECT count(*) FROM snapshots WHERE room = '!big';
-- another scope is another run
CALL sliding_sync.backfill('backfill', 'joined_rooms', '!big', '!big');
SELECT finished FROM runs WHERE first = '!big' OFFSET 7;
-- the rest, and only that
CALL sliding_sync.backfill('backfill', 'memberships', '!big', '!big');
SELECT finished FROM runs WHERE first = '!big' OFFSET 7;
-- from the beginning
CALL sliding_sync.backfill('backfill', 'memberships', '!big', '!big', batch_size => 7, max_duration => '1 us');
CALL sliding_sync.backfill('backfill', 'memberships', '!big', '!big', restart => true);
SELECT finished FROM runs WHERE first = '!big' OFFSET 7;
-- a pause after each batch
SELECT clock_timestamp() AS began \gset
CALL sliding_sync.backfill('backfill', 'memberships', '!big', '!big', batch_size => 7, pause => '50 ms');
SELECT clock_timestamp() - :'began' >= interval '250 ms' AS paused;
SELECT throttled_seconds >= 0.25 AS told FROM sliding_sync.run_ranges WHERE run_id = (SELECT max(run_id) FROM sliding_sync.runs);
-- it does not outlast the time that is given
CALL sliding_sync.backfill('backfill', 'memberships', '!big', '!big', batch_size => 7, pause => '1 hour', max_duration => '100 ms');
CALL sliding_sync.backfill('backfill', 'memberships', '!big', '!big', verbose => false);

--
-- A run that is named: sessions that come late, or again after they died, work on this one and never begin another
--

SELECT max(run_id) AS last_run FROM sliding_sync.runs \gset
CALL sliding_sync.begin_backfill('backfill', tables => 'joined_rooms') \gset
SELECT :run_id > :last_run AS is_new;
\set begun :run_id
-- the same until it is finished
CALL sliding_sync.begin_backfill('backfill', 'joined_rooms') \gset
SELECT :run_id = :begun AS is_same;
CALL sliding_sync.backfill(run_id => :begun, batch_size => 1, max_duration => '1 us');
CALL sliding_sync.backfill(run_id => :begun) \gset
SELECT :joined_rooms + 1 = sum(items_done) AS "does the rest", :'is_finished' AS finished
FROM sliding_sync.run_ranges WHERE run_id = :begun;
CALL sliding_sync.backfill(run_id => :begun);
SELECT max(run_id) = :begun AS "began no other" FROM sliding_sync.runs;
-- a new one, or one from the beginning
CALL sliding_sync.begin_backfill('backfill', 'joined_rooms') \gset
SELECT :run_id > :begun AS is_new;
\set replaced :run_id
CALL sliding_sync.begin_backfill('backfill', 'joined_rooms', restart => true) \gset
SELECT :run_id > :replaced AS is_new;
\set VERBOSITY sqlstate
CALL sliding_sync.backfill(run_id => :replaced);
CALL sliding_sync.backfill(run_id => -1);
\set VERBOSITY default
CALL sliding_sync.backfill(run_id => :run_id) \gset
SELECT :'is_finished' AS finished;
-- it says itself what it is about
CALL sliding_sync.backfill('backfill', run_id => :begun);
\set VERBOSITY terse
CALL sliding_sync.backfill(run_id => :begun, tables => 'joined_rooms');
CALL sliding_sync.backfill(run_id => :begun, first_room => '!a');
CALL sliding_sync.backfill(run_id => :begun, last_room => '!a');
CALL sliding_sync.backfill(run_id => :begun, restart => true);
CALL sliding_sync.begin_backfill('nowhere');
CALL sliding_sync.begin_backfill('backfill', 'everything');
\set VERBOSITY default
BEGIN;
CALL sliding_sync.begin_backfill('backfill');
ROLLBACK;
BEGIN READ ONLY;
CALL sliding_sync.begin_backfill('backfill');
ROLLBACK;

--
-- Since when everything is watched
--

-- a run of everything that began after the triggers were switched off
ALTER TABLE events DISABLE TRIGGER "A_sliding_sync";
TABLE coverage;
SELECT send_message('!big', '@anna:hs.test') \gset
ALTER TABLE events ENABLE TRIGGER "A_sliding_sync";
TABLE coverage;
-- one of a part does not tell
CALL sliding_sync.backfill('backfill', 'joined_rooms');
TABLE coverage;
-- begun, not finished
CALL sliding_sync.backfill('backfill', batch_size => 1, max_duration => '1 us');
TABLE coverage;
-- switched again before the run goes on: it begins anew
ALTER TABLE events DISABLE TRIGGER "A_sliding_sync";
ALTER TABLE events ENABLE TRIGGER "A_sliding_sync";
CALL sliding_sync.backfill('backfill') \gset
TABLE coverage;
CALL sliding_sync.backfill('backfill') \gset
TABLE coverage;

--
-- What others stumble over
--

-- P7: a row that cannot be written is quarantined, the others are done
ALTER TABLE sliding_sync_membership_snapshots ADD CONSTRAINT poison CHECK (user_id <> '@member7:hs.test') NOT VALID;
ALTER TABLE sliding_sync_joined_rooms ADD CONSTRAINT poison CHECK (room_id NOT IN ('!s1', '!s3')) NOT VALID;
CREATE VIEW noted AS SELECT table_name, room_id, user_id, reason, sqlstate FROM sliding_sync.quarantine
    WHERE schema_name = 'backfill' ORDER BY table_name, room_id, user_id;
DELETE FROM sliding_sync_joined_rooms;
DELETE FROM sliding_sync_membership_snapshots WHERE room_id = '!big';
SET client_min_messages = error;
CALL sliding_sync.backfill('backfill');
RESET client_min_messages;
SELECT quarantined FROM latest;
TABLE noted;
SELECT room FROM joined_rooms WHERE room LIKE '!s%';
SELECT count(*) FROM snapshots WHERE room = '!big';
-- a batch of nothing but poison
SET client_min_messages = error;
CALL sliding_sync.backfill('backfill', 'joined_rooms', '!s1', '!s1', batch_size => 1);
RESET client_min_messages;
ALTER TABLE sliding_sync_membership_snapshots DROP CONSTRAINT poison;
ALTER TABLE sliding_sync_joined_rooms DROP CONSTRAINT poison;
-- one that a deferred trigger refuses, which would be at commit
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
CREATE CONSTRAINT TRIGGER poison AFTER INSERT ON sliding_sync_joined_rooms DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.room_id = '!s8') EXECUTE FUNCTION refuse();
DELETE FROM sliding_sync_joined_rooms WHERE room_id IN ('!s7', '!s8');
SET client_min_messages = error;
CALL sliding_sync.backfill('backfill', 'joined_rooms', '!s7', '!s8');
RESET client_min_messages;
SELECT room_id, reason, sqlstate FROM noted WHERE room_id IN ('!s7', '!s8');
DROP TRIGGER poison ON sliding_sync_joined_rooms;
SELECT sliding_sync.repair_quarantine() \gset
TABLE noted;
SELECT room FROM joined_rooms WHERE room LIKE '!s%';
SELECT count(*) FROM snapshots WHERE room = '!big';

-- P12: six rooms that are not in `rooms`, each with two invites of long ago: no rows, and no error
SET sliding_sync.enabled = off;
SELECT count(remote_invite('!lost' || room, who, '@boss:remote.test', NULL))
    FROM generate_series(1, 6) room, unnest(ARRAY['@anna:hs.test', '@bert:hs.test']) who \gset
DELETE FROM rooms WHERE room_id LIKE '!lost%';
-- memberships whose event is not stored, or whose event is none of them
INSERT INTO local_current_membership VALUES ('!s4', '@lost:hs.test', '$nowhere', 'join', NULL),
    ('!s4', '@other:hs.test', :'other', 'join', NULL);
-- D26: without an ordering of their own
SELECT join('!s5', '@bert:hs.test') \gset
UPDATE local_current_membership SET event_stream_ordering = NULL WHERE room_id = '!s5';
UPDATE room_memberships SET event_stream_ordering = NULL WHERE room_id = '!s5';
-- P9: a version nobody knows
UPDATE rooms SET room_version = 'org.example.x' WHERE room_id = '!s6';
UPDATE rooms SET room_version = NULL WHERE room_id = '!s7';
-- P8: a type that is none; P10: an event that is not there, JSON that is none
SELECT create_room('!odd', '@anna:hs.test') \gset
UPDATE event_json SET json = replace(json, '"room_version"', '"type": 5, "room_version"') WHERE room_id = '!odd' AND json LIKE '%m.room.create%';
SELECT create_room('!torn', '@anna:hs.test', name => 'Torn', encrypted => true) \gset
UPDATE event_json SET json = '{' WHERE room_id = '!torn' AND json LIKE '%m.room.name%';
DELETE FROM event_json WHERE room_id = '!torn' AND json LIKE '%m.room.encryption%';
SELECT create_room('!void', '@anna:hs.test', name => 'Void') \gset
UPDATE event_json SET json = 'null' WHERE room_id = '!void';
DELETE FROM sliding_sync_joined_rooms WHERE room_id ~ '!s[567]|!odd|!torn|!void';
DELETE FROM sliding_sync_membership_snapshots WHERE room_id ~ '!s[4567]';
RESET sliding_sync.enabled;
CALL sliding_sync.backfill('backfill');
SELECT room, type, name, encrypted FROM joined_rooms WHERE room ~ '!s[567]|!odd|!torn|!void';
SELECT room, who, ordering = (SELECT stream_ordering FROM events WHERE event_id = event) AS own, known, name FROM snapshots
    WHERE room ~ '!s[4567]|!odd|!torn|!void|!lost';
TABLE noted;

-- a poll of the newest run tells of the session that did it
SELECT bool_and(pid = pg_backend_pid() AND updated_at IS NOT NULL AND work_seconds > 0 AND throttled_seconds = 0) AS told
    FROM sliding_sync.run_ranges WHERE run_id = (SELECT max(run_id) FROM sliding_sync.runs) AND items_done > 0;
-- nothing was left open
SELECT count(*) FROM runs WHERE NOT finished;
