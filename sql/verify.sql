-- sliding_sync.verify() and repair(): every reason code, its severity, and what a repair makes of it.
\getenv abs_srcdir PG_ABS_SRCDIR
\set schema verify
\set ECHO none
\i :abs_srcdir/sql/include/homeserver.psql
\i :abs_srcdir/sql/include/views.psql
\set ECHO all
\pset null NULL
SELECT sliding_sync.attach('verify');

-- in short; the rooms of the scenario come first and stand aside
CREATE FUNCTION short(table_name text) RETURNS text LANGUAGE sql AS $$
    SELECT CASE table_name WHEN 'sliding_sync_joined_rooms' THEN 'JR' ELSE 'MS' END
$$;
CREATE VIEW found AS
    SELECT short(table_name) AS t, room_id AS room, split_part(user_id, ':', 1) AS who, column_name AS "column", expected,
           actual, reason, severity
    FROM sliding_sync.verify('verify', first_room => '!v');
-- a repair: what became of each row
CREATE FUNCTION difference(before jsonb, after jsonb) RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN before IS NULL THEN 'inserted' WHEN after IS NULL THEN 'deleted' ELSE (
        SELECT string_agg(format('%s: %s > %s', b.key, coalesce(b.value, 'NULL'), coalesce(a.value, 'NULL')), ', ' ORDER BY b.key)
        FROM jsonb_each_text(before) b JOIN jsonb_each_text(after) a USING (key)
        WHERE a.value IS DISTINCT FROM b.value) END
$$;
CREATE VIEW repaired AS
    SELECT short(table_name) AS t, room_id AS room, split_part(user_id, ':', 1) AS who, reasons,
           difference(row_before, row_after) AS what
    FROM sliding_sync.repair('verify', first_room => '!v');

--
-- Arguments
--

\set VERBOSITY terse
SELECT * FROM sliding_sync.verify('nowhere');
SELECT * FROM sliding_sync.repair('nowhere');
\set VERBOSITY default
SELECT * FROM sliding_sync.verify('verify', tables => 'everything');
SELECT * FROM sliding_sync.repair('verify', tables => 'nothing');
SELECT * FROM sliding_sync.verify('verify', sample => 0);
SELECT * FROM sliding_sync.verify('verify', sample => -0.5);
SELECT * FROM sliding_sync.verify('verify', sample => 1.01);
SELECT * FROM sliding_sync.verify('verify', sample => 'NaN');
SELECT * FROM sliding_sync.repair('verify', sample => 2);
-- a homeserver without rooms; NULL is the default; rooms and users that do not exist
SELECT * FROM sliding_sync.verify('verify');
SELECT * FROM sliding_sync.verify('verify', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT * FROM sliding_sync.repair('verify', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT * FROM sliding_sync.verify('verify', room => '!nowhere');
SELECT * FROM sliding_sync.verify('verify', member => '@nobody:hs.test');
SELECT * FROM sliding_sync.verify('verify', room => '!nowhere', member => '@nobody:hs.test');

--
-- A homeserver of which everything is right
--

\set ECHO none
\i :abs_srcdir/sql/include/scenario.psql
\set ECHO all
-- what is older than a room's present state is not known to be wrong
SELECT short(table_name) AS t, room_id, user_id, column_name, expected, actual, reason, severity
FROM sliding_sync.verify('verify');
SELECT * FROM sliding_sync.verify('verify', history => false);
SELECT * FROM sliding_sync.repair('verify');
TABLE found;
TABLE repaired;
SELECT count(*) FROM sliding_sync.repairs WHERE schema_name = 'verify';

--
-- sliding_sync_joined_rooms
--

-- every column: too low, too high, and what state gives
SELECT create_room('!v1', '@anna:hs.test', name => 'One', room_type => 'm.space', encrypted => true) \gset
SELECT create_room('!v2', '@anna:hs.test', name => 'Two') \gset
SELECT create_room('!v3', '@anna:hs.test', name => 'Three') \gset
SELECT create_room('!v4', '@anna:hs.test', name => 'Four') \gset
SELECT tombstone('!v1', '@anna:hs.test', '!next') \gset
SELECT join('!v1', '@anna:hs.test') \gset
SELECT send_message('!v2', '@anna:hs.test') \gset
SELECT send_message('!v3', '@anna:hs.test'), send_message('!v3', '@anna:hs.test', 'm.reaction') \gset
TABLE found;
SELECT room, latest, bump FROM joined_rooms WHERE room >= '!v';
UPDATE sliding_sync_joined_rooms SET room_type = NULL, room_name = NULL, is_encrypted = false,
    tombstone_successor_room_id = '!wrong', bump_stamp = bump_stamp - 1,
    event_stream_ordering = (SELECT min(stream_ordering) FROM events WHERE room_id = '!v1') WHERE room_id = '!v1';
-- a message is ahead of the room that it is newer than
UPDATE sliding_sync_joined_rooms SET event_stream_ordering = (SELECT max(stream_ordering) - 1 FROM events),
    bump_stamp = 1000000, room_type = 'm.wrong', room_name = 'Wrong', is_encrypted = true,
    tombstone_successor_room_id = '' WHERE room_id = '!v2';
UPDATE sliding_sync_joined_rooms SET bump_stamp = NULL WHERE room_id = '!v3';
TABLE found;
TABLE repaired;
TABLE found;

-- a row is missing; is there without current state, without an event that counts, without a room
SELECT create_room('!v5', '@anna:hs.test', name => 'Five') \gset
SELECT create_room('!v6', '@anna:hs.test', name => 'Six') \gset
DELETE FROM sliding_sync_joined_rooms WHERE room_id = '!v4';
CREATE TABLE kept AS SELECT * FROM sliding_sync_joined_rooms WHERE room_id IN ('!v5', '!v6');
SELECT drop_current_state('!v5') \gset
UPDATE events SET outlier = true WHERE room_id = '!v6';
ALTER TABLE sliding_sync_joined_rooms DROP CONSTRAINT sliding_sync_joined_rooms_room_id_fkey;
INSERT INTO sliding_sync_joined_rooms SELECT * FROM kept;
INSERT INTO sliding_sync_joined_rooms (room_id, event_stream_ordering) SELECT '!v7', min(stream_ordering) FROM events WHERE room_id = '!v1';
TABLE found;
TABLE repaired;
TABLE found;
ALTER TABLE sliding_sync_joined_rooms ADD CONSTRAINT sliding_sync_joined_rooms_room_id_fkey FOREIGN KEY (room_id) REFERENCES rooms;
SELECT purge_room('!v5'), purge_room('!v6') \gset

-- bump stamps that are NULL, and are not
UPDATE events SET outlier = true WHERE room_id = '!v4' AND type = 'm.room.create';
SELECT room, bump FROM joined_rooms WHERE room = '!v4';
UPDATE sliding_sync_joined_rooms SET bump_stamp = 5 WHERE room_id = '!v4';
TABLE found;
TABLE repaired;
UPDATE events SET outlier = false WHERE room_id = '!v4';

--
-- sliding_sync_membership_snapshots
--

-- every column but those of the past
SELECT join('!v4', '@bert:hs.test'), join('!v4', '@carl:hs.test'), join('!v4', '@dora:hs.test'), join('!v4', '@emma:hs.test'),
       join('!v4', '@fred:hs.test') \gset
SELECT leave('!v4', '@carl:hs.test'), ban('!v4', '@dora:hs.test', '@anna:hs.test'), leave('!v4', '@emma:hs.test') \gset
SELECT forget('!v4', '@emma:hs.test') \gset
TABLE found;
UPDATE sliding_sync_membership_snapshots SET sender = '@wrong:hs.test', event_instance_name = 'worker9',
    event_stream_ordering = (SELECT max(stream_ordering) FROM events WHERE room_id = '!v3')
WHERE room_id = '!v4' AND user_id = '@anna:hs.test';
UPDATE sliding_sync_membership_snapshots SET membership = 'invite' WHERE room_id = '!v4' AND user_id = '@bert:hs.test';
UPDATE sliding_sync_membership_snapshots SET forgotten = 1 WHERE room_id = '!v4' AND user_id = '@carl:hs.test';
UPDATE sliding_sync_membership_snapshots SET forgotten = 0 WHERE room_id = '!v4' AND user_id = '@emma:hs.test';
-- one that was left behind: of an older membership, with all that it said
UPDATE sliding_sync_membership_snapshots m SET membership_event_id = r.event_id, membership = 'join', sender = r.sender,
    event_stream_ordering = r.event_stream_ordering, room_name = 'Old'
FROM room_memberships r WHERE m.room_id = '!v4' AND m.user_id = '@dora:hs.test' AND r.room_id = '!v4'
    AND r.user_id = m.user_id AND r.membership = 'join';
-- missing; and there without a membership
DELETE FROM sliding_sync_membership_snapshots WHERE room_id = '!v4' AND user_id = '@fred:hs.test';
INSERT INTO sliding_sync_membership_snapshots (room_id, user_id, sender, membership_event_id, membership,
        event_stream_ordering, event_instance_name)
    SELECT room_id, '@nobody:hs.test', sender, event_id, 'join', stream_ordering, 'master' FROM events
    WHERE room_id = '!v4' AND type = 'm.room.create';
TABLE found;
TABLE repaired;
TABLE found;

--
-- What snapshots say of the past
--

SELECT create_room('!w', '@anna:hs.test', name => 'First', room_type => 'm.space') \gset
SELECT join('!w', '@bert:hs.test'), join('!w', '@carl:hs.test') \gset
SELECT rename('!w', '@anna:hs.test', 'Second') \gset
SELECT leave('!w', '@carl:hs.test') AS leave_of_carl \gset
SELECT invite('!w', '@dora:hs.test', '@anna:hs.test', format('[%s, %s]', stripped('m.room.create', '{"type": "m.space"}'),
    stripped('m.room.name', '{"name": "Second"}'))) \gset
SELECT remote_invite('!x', '@anna:hs.test', '@boss:remote.test', format('[%s, %s]', stripped('m.room.create', '{}'),
    stripped('m.room.name', '{"name": "Far"}'))) \gset
SELECT remote_invite('!x', '@bert:hs.test', '@boss:remote.test', format('[%s, %s]', stripped('m.room.create', '{}'),
    stripped('m.room.name', '{"name": "Far"}'))) \gset
SELECT reject_remote_invite('!x', '@bert:hs.test') \gset
SELECT rename('!w', '@anna:hs.test', 'Third') \gset
CREATE VIEW past AS SELECT room, who, membership, known, type, name, encrypted, successor FROM snapshots
    WHERE room >= '!w';
TABLE past;
TABLE found;
-- what is not known to be wrong is left alone
TABLE repaired;

-- history_unknown: it can be known. That of an out-of-band leave, which came from the invite, cannot but from there.
UPDATE sliding_sync_membership_snapshots SET has_known_state = false, room_type = NULL, room_name = NULL WHERE room_id >= '!w';
TABLE found;
TABLE repaired;
TABLE past;
TABLE found;

-- state_differs: an out-of-band invite itself says what it said
UPDATE sliding_sync_membership_snapshots SET room_name = 'Wrong', is_encrypted = true, tombstone_successor_room_id = '!t'
    WHERE room_id = '!x' AND user_id = '@anna:hs.test';
TABLE found;
TABLE repaired;

-- history_impossible: the room never had this name, type, successor, nor encryption
UPDATE sliding_sync_membership_snapshots SET room_name = 'Never' WHERE room_id = '!w' AND user_id = '@anna:hs.test';
UPDATE sliding_sync_membership_snapshots SET is_encrypted = true, tombstone_successor_room_id = '!never'
    WHERE room_id = '!w' AND user_id = '@bert:hs.test';
UPDATE sliding_sync_membership_snapshots SET room_type = 'm.never' WHERE room_id = '!w' AND user_id = '@carl:hs.test';
TABLE found;
-- history is not looked at unless asked for
SELECT * FROM sliding_sync.verify('verify', first_room => '!v', history => false);
SELECT * FROM sliding_sync.repair('verify', first_room => '!v', history => false);
TABLE repaired;
TABLE past;
TABLE found;

-- history_unverifiable: it had it at some time
UPDATE sliding_sync_membership_snapshots SET room_name = 'First' WHERE room_id = '!w';
TABLE found;
TABLE repaired;
SELECT DISTINCT name FROM past WHERE room = '!w';
-- an invite from inside: what the homeserver put into it is not what the room was like, so nothing of it is impossible
UPDATE sliding_sync_membership_snapshots SET room_name = 'Never' WHERE room_id = '!w' AND user_id = '@dora:hs.test';
SELECT * FROM found WHERE who = '@dora';
-- the state group of a leave is gone: what the row says cannot be looked up any more, and stays
DELETE FROM event_to_state_groups WHERE event_id = :'leave_of_carl';
SELECT * FROM found WHERE who = '@carl';
TABLE repaired;
SELECT * FROM past WHERE who = '@carl';
-- ... unless it cannot have been
UPDATE sliding_sync_membership_snapshots SET room_name = 'Never' WHERE room_id = '!w' AND user_id = '@carl:hs.test';
SELECT * FROM found WHERE who = '@carl';
TABLE repaired;
SELECT * FROM past WHERE who = '@carl';
SELECT * FROM found WHERE who = '@carl';
-- a stream of changes that does not begin with the room's creation rules nothing out; nor does a homeserver without one
BEGIN;
DELETE FROM current_state_delta_stream WHERE room_id = '!w' AND type = 'm.room.create';
UPDATE sliding_sync_membership_snapshots SET room_name = 'Never' WHERE room_id = '!w' AND user_id = '@bert:hs.test';
SELECT * FROM found WHERE who = '@bert';
ROLLBACK;
BEGIN;
DROP TABLE current_state_delta_stream;
UPDATE sliding_sync_membership_snapshots SET room_name = 'Never' WHERE room_id = '!w' AND user_id = '@bert:hs.test';
SELECT * FROM found WHERE who = '@bert';
ROLLBACK;
-- without state groups the past of a leave is not known (P56), and a row that says something is left alone
BEGIN;
DROP TABLE state_groups_state;
UPDATE sliding_sync_membership_snapshots SET has_known_state = true, room_name = 'Second' WHERE room_id = '!w' AND user_id = '@carl:hs.test';
SELECT * FROM found WHERE who = '@carl';
TABLE repaired;
ROLLBACK;
-- what was redacted since was true then
SELECT redact('!w', '@anna:hs.test', c.event_id) FROM current_state_events c WHERE room_id = '!w' AND type = 'm.room.name' \gset
UPDATE sliding_sync_membership_snapshots SET room_name = 'Third' WHERE room_id = '!w' AND user_id IN ('@anna:hs.test', '@bert:hs.test');
UPDATE sliding_sync_membership_snapshots SET room_name = 'Second' WHERE room_id = '!w' AND user_id = '@dora:hs.test';
SELECT * FROM found WHERE room = '!w';

--
-- What is right, though today's tables tell something else
--

-- a name whose content was censored, after a purge of history even without a trace of the redaction
SELECT create_room('!v8', '@anna:hs.test', name => 'Censored') \gset
SELECT join('!v8', '@bert:hs.test') \gset
SELECT event_id AS censored FROM current_state_events WHERE room_id = '!v8' AND type = 'm.room.name' \gset
SELECT rename('!v8', '@anna:hs.test', 'New') \gset
SELECT redact('!v8', '@anna:hs.test', :'censored') \gset
SELECT censor(:'censored') \gset
SELECT * FROM found WHERE room = '!v8';
BEGIN;
DELETE FROM redactions WHERE redacts = :'censored';
SELECT * FROM found WHERE room = '!v8';
-- ... or whose event is gone
DELETE FROM event_json WHERE event_id = :'censored';
SELECT * FROM found WHERE room = '!v8';
ROLLBACK;
-- an out-of-band invite that was part of a joined room's state, which the homeserver has left since
SELECT remote_invite('!v9', '@bert:hs.test', '@boss:remote.test') \gset
SELECT remote_join('!v9', '@anna:hs.test', '{@boss:remote.test}', 'm.room.create', '', '{}', 'm.room.name', '',
                   '{"name": "Real"}') \gset
SELECT leave('!v9', '@anna:hs.test') \gset
SELECT membership, known, name FROM snapshots WHERE room = '!v9' AND who = '@bert';
SELECT * FROM found WHERE room = '!v9';
-- a leave that inherited what the invite claimed, from a room that had never said so
SELECT create_room('!va', '@anna:hs.test', name => 'Said') \gset
SELECT leave('!va', '@anna:hs.test') \gset
SELECT remote_invite('!va', '@bert:hs.test', '@boss:remote.test', format('[%s, %s]', stripped('m.room.create', '{}'),
    stripped('m.room.name', '{"name": "Claimed"}'))) \gset
SELECT leave('!va', '@bert:hs.test') \gset
SELECT membership, known, name FROM snapshots WHERE room = '!va' AND who = '@bert';
SELECT * FROM found WHERE room = '!va';
TABLE repaired;

--
-- source_conflict: the homeserver's own tables disagree
--

SELECT create_room('!y', '@anna:hs.test', name => 'Y') \gset
SELECT join('!y', '@bert:hs.test') \gset
DELETE FROM current_state_events WHERE room_id = '!y' AND type = 'm.room.member' AND state_key = '@bert:hs.test';
SELECT * FROM found WHERE room = '!y';
TABLE repaired;
SELECT membership FROM snapshots WHERE room = '!y' AND who = '@bert';
-- ... which hides no other finding of the row
UPDATE sliding_sync_membership_snapshots SET forgotten = 1 WHERE room_id = '!y' AND user_id = '@bert:hs.test';
SELECT * FROM found WHERE room = '!y';
TABLE repaired;
SELECT change_membership('!y', '@bert:hs.test', 'leave') \gset
SELECT * FROM found WHERE room = '!y';
-- a key of current state that stands there twice, as after a broken index (P55): one of them counts
SELECT rename('!y', '@anna:hs.test', 'Yy') \gset
BEGIN;
ALTER TABLE current_state_events DROP CONSTRAINT current_state_events_room_id_type_state_key_key;
INSERT INTO current_state_events (event_id, room_id, type, state_key)
    SELECT e.event_id, c.room_id, c.type, c.state_key FROM current_state_events c JOIN events e USING (room_id, type)
    WHERE c.room_id = '!y' AND c.type = 'm.room.name' AND e.event_id <> c.event_id;
SELECT count(*) < 2 AS copes FROM found WHERE t = 'JR';
ROLLBACK;

--
-- What is looked at
--

-- wrong: two rooms, and two users in three
UPDATE sliding_sync_joined_rooms SET room_name = 'Wrong' WHERE room_id IN ('!v1', '!v4');
UPDATE sliding_sync_membership_snapshots SET sender = '@wrong:hs.test' WHERE room_id IN ('!v1', '!v4', '!x')
    AND user_id IN ('@anna:hs.test', '@bert:hs.test');
CREATE FUNCTION looked_at(tables text DEFAULT NULL, first_room text DEFAULT NULL, last_room text DEFAULT NULL,
                          room text DEFAULT NULL, member text DEFAULT NULL, sample double precision DEFAULT NULL)
RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(short(v.table_name) || ' ' || v.room_id || coalesce(' ' || split_part(v.user_id, ':', 1), ''), ', '
                      ORDER BY v.table_name, v.room_id, v.user_id)
    FROM sliding_sync.verify('verify', tables, first_room, last_room, room, member, sample, history => false) v
$$;
SELECT looked_at();
SELECT looked_at(tables => 'joined_rooms');
SELECT looked_at(tables => 'memberships');
SELECT looked_at(first_room => '!v2');
SELECT looked_at(first_room => '!v4');  -- both ends belong to it
SELECT looked_at(last_room => '!v4');
SELECT looked_at(last_room => '!v3');
SELECT looked_at(first_room => '!v1', last_room => '!v1');
SELECT looked_at(first_room => '!v11', last_room => '!v39');
SELECT looked_at(first_room => '!w', last_room => '!v1');
SELECT looked_at(room => '!v4');
SELECT looked_at(room => '!v4', tables => 'joined_rooms');
SELECT looked_at(room => '!v4', tables => 'memberships');
SELECT looked_at(member => '@anna:hs.test');
SELECT looked_at(room => '!v4', member => '@anna:hs.test');
SELECT looked_at(room => '!x', member => '@bert:hs.test');
SELECT looked_at(tables => 'joined_rooms', member => '@anna:hs.test');
SELECT looked_at(sample => 1);
SELECT looked_at(sample => 1e-300);
SELECT looked_at(sample => 1e-300, member => '@anna:hs.test');
-- half of them, more or less
SELECT count(change_membership('!v3', format('@user%s:hs.test', n), 'join')) FROM generate_series(1, 100) n;
UPDATE sliding_sync_membership_snapshots SET forgotten = 1 WHERE room_id = '!v3' AND user_id LIKE '@user%';
SELECT count(*) BETWEEN 20 AND 80 AS about_half, count(DISTINCT user_id) = count(*) AS each_once
FROM sliding_sync.verify('verify', room => '!v3', sample => 0.5);
SELECT count(*) FROM sliding_sync.verify('verify', room => '!v3');
-- a repair of what was drawn, of one room, of one user; the rest stays as it is
SELECT count(*) FROM sliding_sync.repair('verify', room => '!v3', sample => 1e-300);
SELECT count(*) FROM sliding_sync.repair('verify', room => '!v3');
SELECT looked_at();
SELECT room_id, user_id FROM sliding_sync.repair('verify', room => '!v1');
SELECT looked_at();
SELECT room_id, user_id FROM sliding_sync.repair('verify', member => '@bert:hs.test');
SELECT looked_at();

--
-- repair()
--

-- a dry run tells what would be repaired, and writes nothing
CREATE TABLE before AS TABLE sliding_sync_membership_snapshots;
CREATE VIEW noted AS SELECT * FROM sliding_sync.repairs WHERE schema_name = 'verify' ORDER BY repair_id;
CREATE VIEW quarantined AS SELECT room_id, reason, sqlstate FROM sliding_sync.quarantine WHERE schema_name = 'verify';
SELECT count(*) AS repairs FROM noted \gset
INSERT INTO sliding_sync.quarantine (schema_name, table_name, room_id, reason, sqlstate, message)
    VALUES ('verify', 'sliding_sync_joined_rooms', '!v2', 'refresh_failed', '58030', 'no error');
SELECT short(table_name) AS t, room_id, user_id, reasons, row_before ->> 'sender' AS sender, row_after
FROM sliding_sync.repair('verify', first_room => '!v', dry_run => true);
TABLE sliding_sync_membership_snapshots EXCEPT TABLE before;
SELECT count(*) - :repairs AS more_repairs FROM noted;
TABLE quarantined;

-- in earnest: what it returns is what it keeps
CREATE TABLE returned AS SELECT * FROM sliding_sync.repair('verify', first_room => '!v');
SELECT role_name = session_user AS by_me, short(table_name) AS t, room_id, user_id, reasons, difference(row_before, row_after),
    repaired_at BETWEEN clock_timestamp() - interval '1 minute' AND clock_timestamp() AS now
FROM noted OFFSET :repairs;
SELECT table_name, room_id, user_id, reasons, row_before, row_after FROM returned EXCEPT
SELECT table_name, room_id, user_id, reasons, row_before, row_after FROM noted;
-- and the quarantine is empty
TABLE quarantined;
SELECT looked_at();
-- a second time there is nothing to do
SELECT count(*) FROM sliding_sync.repair('verify');
-- a row that is missing, one that should not be there
DELETE FROM sliding_sync_joined_rooms WHERE room_id = '!v2';
INSERT INTO sliding_sync_membership_snapshots (room_id, user_id, sender, membership_event_id, membership,
        event_stream_ordering, event_instance_name)
    SELECT room_id, '@nobody:hs.test', sender, event_id, 'join', stream_ordering, 'master' FROM events
    WHERE room_id = '!v4' AND type = 'm.room.create';
SELECT short(table_name) AS t, room_id, user_id, reasons, row_before - 'membership_event_id' AS before, row_after AS after
FROM sliding_sync.repair('verify', first_room => '!v');
SELECT short(table_name) AS t, room_id, user_id, row_before IS NULL AS was_missing, row_after IS NULL AS is_gone
FROM noted ORDER BY repair_id DESC LIMIT 2;

-- rows in each other's way: two rooms have each other's ordering
BEGIN;
SELECT room AS one, latest AS one_ordering FROM joined_rooms WHERE room = '!v1' \gset
SELECT room AS other, latest AS other_ordering FROM joined_rooms WHERE room = '!v2' \gset
UPDATE sliding_sync_joined_rooms SET event_stream_ordering = (SELECT min(stream_ordering) FROM events) WHERE room_id = :'one';
UPDATE sliding_sync_joined_rooms SET event_stream_ordering = :one_ordering WHERE room_id = :'other';
UPDATE sliding_sync_joined_rooms SET event_stream_ordering = :other_ordering WHERE room_id = :'one';
COMMIT;
SELECT * FROM found WHERE t = 'JR';
SET client_min_messages = error;
TABLE repaired;
SET client_min_messages = warning;
SELECT * FROM found WHERE t = 'JR';
TABLE quarantined;

-- a row that cannot be written is removed and noted, and the rest is repaired; without the obstacle so is it
ALTER TABLE sliding_sync_joined_rooms ADD CONSTRAINT unlikely CHECK (room_name <> 'Two') NOT VALID;
UPDATE sliding_sync_joined_rooms SET room_name = 'Wrong' WHERE room_id IN ('!v1', '!v2');
TABLE repaired;
SELECT * FROM found WHERE t = 'JR';
TABLE quarantined;
ALTER TABLE sliding_sync_joined_rooms DROP CONSTRAINT unlikely;
TABLE repaired;
SELECT * FROM found WHERE t = 'JR';
TABLE quarantined;

--
-- Transactions
--

UPDATE sliding_sync_joined_rooms SET room_name = 'Wrong' WHERE room_id = '!v1';
BEGIN READ ONLY;
SELECT looked_at();
SELECT room_id FROM sliding_sync.repair('verify', dry_run => true);
SAVEPOINT a;
SELECT room_id FROM sliding_sync.repair('verify');
ROLLBACK TO a;
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT looked_at();
SELECT room_id FROM sliding_sync.repair('verify');
SELECT looked_at();
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;
SELECT looked_at();
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT room_id FROM sliding_sync.repair('verify');
COMMIT;
SELECT looked_at();
-- what a transaction has changed itself is written at its end, or by flush()
BEGIN;
SELECT rename('!v1', '@anna:hs.test', 'Uno') \gset
SELECT looked_at();
SELECT sliding_sync.flush() \gset
SELECT looked_at();
COMMIT;
-- in a cursor, and in a subtransaction that fails
BEGIN;
DECLARE drift CURSOR FOR SELECT table_name FROM sliding_sync.verify('verify', first_room => '!v');
FETCH 1 FROM drift;
CLOSE drift;
COMMIT;
UPDATE sliding_sync_joined_rooms SET room_name = 'Wrong' WHERE room_id = '!v1';
DO $$
BEGIN
    PERFORM sliding_sync.repair('verify');
    RAISE division_by_zero;
EXCEPTION WHEN division_by_zero THEN NULL;
END
$$;
SELECT looked_at();

--
-- Rights
--

CREATE ROLE regress_sliding_sync_verifier;
SET ROLE regress_sliding_sync_verifier;
SELECT * FROM sliding_sync.verify('verify');
SELECT * FROM sliding_sync.repair('verify');
SELECT * FROM sliding_sync.repair('verify', dry_run => true);
RESET ROLE;
-- the right to call is all that is needed: it reads and writes as the owners of the tables
GRANT EXECUTE ON FUNCTION sliding_sync.verify TO regress_sliding_sync_verifier;
SET ROLE regress_sliding_sync_verifier;
SELECT room_id, column_name, expected, actual FROM sliding_sync.verify('verify', first_room => '!v', history => false);
SELECT * FROM sliding_sync.repair('verify');
SELECT count(*) FROM verify.sliding_sync_joined_rooms;
RESET ROLE;
GRANT EXECUTE ON FUNCTION sliding_sync.repair TO regress_sliding_sync_verifier;
INSERT INTO sliding_sync.quarantine (schema_name, table_name, room_id, reason, sqlstate, message)
    VALUES ('verify', 'sliding_sync_joined_rooms', '!v2', 'refresh_failed', '58030', 'no error');
SET ROLE regress_sliding_sync_verifier;
SELECT room_id, reasons FROM sliding_sync.repair('verify');
SELECT count(*) FROM sliding_sync.repairs;
RESET ROLE;
TABLE quarantined;
SELECT role_name = session_user AS by_session_user FROM noted ORDER BY repair_id DESC LIMIT 1;
REVOKE EXECUTE ON FUNCTION sliding_sync.verify, sliding_sync.repair FROM regress_sliding_sync_verifier;
DROP ROLE regress_sliding_sync_verifier;

-- what is left is of the past
SELECT DISTINCT severity FROM sliding_sync.verify('verify');
