-- sliding_sync.catch_up(): after a time without the triggers, and after none. Needs max_prepared_transactions > 0.
\getenv abs_srcdir PG_ABS_SRCDIR
\set schema catch_up
\set ECHO none
\i :abs_srcdir/sql/include/homeserver.psql
\i :abs_srcdir/sql/include/views.psql
\set ECHO all
\pset null NULL
SELECT sliding_sync.attach('catch_up');
CREATE VIEW missed AS SELECT had_gap, joined_rooms AS rooms, memberships, rows_written AS written, quarantined
    FROM sliding_sync.catch_up('catch_up');
CREATE VIEW traces AS SELECT reason, role_name = session_user AS mine, application_name
    FROM sliding_sync.bypassed_writes WHERE schema_name = 'catch_up' ORDER BY write_id;
-- what is wrong now
CREATE VIEW wrong AS SELECT room_id AS room, split_part(user_id, ':', 1) AS who, column_name AS "column", reason
    FROM sliding_sync.verify('catch_up') WHERE severity <> 'unverifiable';
CREATE VIEW coverage AS SELECT fingerprint = sliding_sync.coverage_fingerprint(schema_name) AS same_tables,
        complete_at IS NOT NULL AS complete, caught_up_at IS NOT NULL AS caught_up
    FROM sliding_sync.trigger_coverage WHERE schema_name = 'catch_up';
CREATE VIEW quarantined AS SELECT room_id, user_id, reason, sqlstate, message FROM sliding_sync.quarantine
    WHERE schema_name = 'catch_up' ORDER BY room_id, user_id NULLS FIRST;

--
-- Arguments
--

\set VERBOSITY terse
SELECT * FROM sliding_sync.catch_up('nowhere');
SELECT * FROM sliding_sync.catch_up('catch_up', mode => 'hope');
SELECT * FROM sliding_sync.catch_up('catch_up', mode => '');
BEGIN READ ONLY;
SELECT * FROM sliding_sync.catch_up('catch_up');
ROLLBACK;
CREATE ROLE regress_sliding_sync_starter;
SET ROLE regress_sliding_sync_starter;
SELECT * FROM sliding_sync.catch_up('catch_up');
RESET ROLE;
\set VERBOSITY default

--
-- Nothing escaped the triggers
--

-- nobody has ever looked
TABLE coverage;
SELECT * FROM sliding_sync.catch_up('catch_up', NULL);
TABLE coverage;
TABLE missed;
\set ECHO none
\i :abs_srcdir/sql/include/scenario.psql
\set ECHO all
TABLE missed;
-- nothing is written, not even a transaction id
BEGIN;
TABLE missed;
SELECT pg_current_xact_id_if_assigned();
COMMIT;
-- so the rows are not even looked at
BEGIN;
UPDATE sliding_sync_joined_rooms SET event_stream_ordering = (SELECT min(stream_ordering) FROM events) WHERE room_id = '!tea';
TABLE missed;
ROLLBACK;
TABLE traces;

-- P17: the newest event is in a room without a row, as after a remote invite, the last leave or an outlier. A start finds
-- nothing, and one that looks at everything deletes nothing.
SELECT remote_invite('!elsewhere', '@anna:hs.test', '@boss:remote.test') \gset
SELECT send_outlier('!tea', '@anna:hs.test'), reject_event('!tea', '@anna:hs.test', 'm.room.message') \gset
CREATE TABLE rows_before AS SELECT j.*, xmin AS version FROM sliding_sync_joined_rooms j;
SELECT (SELECT max(stream_ordering) FROM events) > max(latest) AS newer_events FROM joined_rooms;
TABLE missed;
DELETE FROM sliding_sync.trigger_coverage WHERE schema_name = 'catch_up';
TABLE missed;
SELECT count(*) FROM (SELECT j.*, xmin FROM sliding_sync_joined_rooms j EXCEPT TABLE rows_before) x;

--
-- sliding_sync.enabled = off
--

SELECT create_room('!a', '@anna:hs.test', name => 'A'), create_room('!b', '@anna:hs.test', name => 'B'),
    create_room('!c', '@anna:hs.test', name => 'C') \gset
SELECT join('!a', '@bert:hs.test'), join('!a', '@carl:hs.test'), join('!a', '@dora:hs.test'), join('!a', '@emma:hs.test') \gset
SELECT leave('!a', '@dora:hs.test'), leave('!a', '@emma:hs.test') \gset
SELECT forget('!a', '@emma:hs.test') \gset

-- P18: an older room is stale, the newest event of all was watched
SET sliding_sync.enabled = off;
SELECT send_message('!a', '@anna:hs.test') \gset
SET sliding_sync.enabled = on;
SELECT send_message('!b', '@anna:hs.test') \gset
TABLE wrong;
TABLE traces;
TABLE missed;
TABLE wrong;
TABLE missed;
TABLE traces;

-- everything that can be stale: state, memberships, new rooms, rooms that were left, users who are gone, forgotten
SET application_name = 'an old homeserver';
SET sliding_sync.enabled = off;
SELECT rename('!a', '@anna:hs.test', 'Aa') \gset
SELECT leave('!a', '@bert:hs.test'), join('!a', '@fred:hs.test') \gset
SELECT create_room('!new', '@gwen:hs.test', name => 'New') \gset
SELECT remote_invite('!far2', '@gwen:hs.test', '@boss:remote.test', format('[%s, %s]', stripped('m.room.create', '{}'),
    stripped('m.room.name', '{"name": "Far"}'))) \gset
SELECT leave('!c', '@anna:hs.test') \gset
DELETE FROM local_current_membership WHERE room_id = '!a' AND user_id = '@carl:hs.test';
SELECT forget('!a', '@dora:hs.test') \gset
UPDATE room_memberships SET forgotten = 0 WHERE room_id = '!a' AND user_id = '@emma:hs.test';
SET sliding_sync.enabled = on;
RESET application_name;
TABLE wrong;
TABLE traces;  -- one for all these transactions
TABLE missed;
TABLE wrong;
SELECT room, name FROM joined_rooms WHERE room IN ('!a', '!c', '!new');
SELECT room, who, membership, forgotten, known, name FROM snapshots WHERE room IN ('!a', '!c', '!new', '!far2');
TABLE missed;

-- rows that a homeserver's start, or somebody, has deleted
SET sliding_sync.enabled = off;
DELETE FROM sliding_sync_joined_rooms WHERE room_id IN ('!a', '!b');
DELETE FROM sliding_sync_membership_snapshots WHERE room_id = '!a';
UPDATE rooms SET creator = NULL WHERE room_id = '!a';
SET sliding_sync.enabled = on;
TABLE missed;
TABLE wrong;
TABLE missed;

--
-- mode => 'remove'
--

SET sliding_sync.enabled = off;
SELECT rename('!a', '@anna:hs.test', 'Aaa') \gset
SELECT leave('!a', '@fred:hs.test'), create_room('!new2', '@gwen:hs.test', name => 'New 2') \gset
SET sliding_sync.enabled = on;
SELECT had_gap, joined_rooms, memberships, rows_written, quarantined FROM sliding_sync.catch_up('catch_up', mode => 'remove');
TABLE quarantined;
SELECT room FROM joined_rooms WHERE room IN ('!a', '!b', '!new2');
SELECT who FROM snapshots WHERE room = '!a';
SELECT room, who, "column", reason FROM wrong;
SELECT had_gap, joined_rooms, memberships, rows_written, quarantined FROM sliding_sync.catch_up('catch_up', mode => 'remove');
-- later
SELECT * FROM sliding_sync.repair_quarantine();
TABLE wrong;
TABLE quarantined;
TABLE missed;

--
-- Triggers that were off for everybody
--

-- disabled: as long as they are, nobody knows
ALTER TABLE events DISABLE TRIGGER "A_sliding_sync";
SELECT send_message('!a', '@anna:hs.test') \gset
TABLE wrong;
TABLE traces;
TABLE missed;
TABLE wrong;
SELECT send_message('!a', '@anna:hs.test') \gset
TABLE missed;
ALTER TABLE events ENABLE ALWAYS TRIGGER "A_sliding_sync";
TABLE missed;
TABLE missed;
-- for a moment, in one transaction; the membership's other tables tell of it
BEGIN;
ALTER TABLE events DISABLE TRIGGER ALL;
ALTER TABLE local_current_membership DISABLE TRIGGER ALL;
SELECT join('!a', '@bert:hs.test') \gset
ALTER TABLE events ENABLE TRIGGER ALL;
ALTER TABLE local_current_membership ENABLE TRIGGER ALL;
COMMIT;
TABLE wrong;
TABLE missed;
TABLE missed;
-- ... which leaves triggers that do not see a replica; attach() makes them as they were
SELECT table_name, trigger_name, state FROM sliding_sync.triggers WHERE schema_name = 'catch_up' AND state <> 'always'
    ORDER BY table_name COLLATE "C", trigger_name;
SELECT sliding_sync.attach('catch_up');
SELECT table_name, trigger_name, state FROM sliding_sync.triggers WHERE schema_name = 'catch_up' AND state <> 'always'
    ORDER BY table_name COLLATE "C", trigger_name;
TABLE missed;
TABLE missed;
-- one is missing
DROP TRIGGER "A_sliding_sync" ON local_current_membership;
TABLE missed;
SELECT change_membership('!a', '@bert:hs.test', 'leave') \gset
TABLE missed;
TABLE wrong;
SELECT sliding_sync.attach('catch_up');
TABLE missed;
TABLE missed;
-- detached and attached
SELECT sliding_sync.detach('catch_up');
SELECT send_message('!a', '@anna:hs.test') \gset
\set VERBOSITY terse
TABLE missed;
\set VERBOSITY default
SELECT sliding_sync.attach('catch_up');
TABLE missed;
TABLE wrong;
TABLE missed;

-- as a replica
SET session_replication_role = replica;
SELECT rename('!a', '@anna:hs.test', 'Replicated') \gset
RESET session_replication_role;
TABLE wrong;
TABLE traces;
TABLE missed;
TABLE wrong;
TABLE missed;

--
-- Traces
--

-- one row a transaction at most, and one for all of them where it is seen
SET sliding_sync.enabled = off;
INSERT INTO rooms (room_id) SELECT format('!many%s', n) FROM generate_series(1, 1000) n;
TABLE traces;
DELETE FROM rooms WHERE room_id LIKE '!many%';
TABLE traces;
SET sliding_sync.enabled = on;
-- a reason of its own
SET session_replication_role = replica;
INSERT INTO rooms (room_id) VALUES ('!replica');
RESET session_replication_role;
TABLE traces;
TABLE missed;
TABLE traces;
-- TRUNCATE, COPY, nothing
SET sliding_sync.enabled = off;
TRUNCATE room_ban_redactions;
TABLE traces;
TABLE missed;
COPY rooms (room_id) FROM stdin;
!copied
\.
TABLE traces;
TABLE missed;
UPDATE rooms SET creator = NULL WHERE room_id = '!nowhere';
TABLE traces;
TABLE missed;
-- not what was rolled back; nor what another homeserver missed
BEGIN;
SELECT send_message('!a', '@anna:hs.test') \gset
ROLLBACK;
TABLE traces;
INSERT INTO sliding_sync.bypassed_writes (schema_name, reason) VALUES ('another', 'disabled');
TABLE missed;
SELECT count(*) FROM sliding_sync.bypassed_writes WHERE schema_name = 'another';
DELETE FROM sliding_sync.bypassed_writes WHERE schema_name = 'another';
-- in part of a transaction
SET sliding_sync.enabled = on;
BEGIN;
SELECT send_message('!b', '@anna:hs.test') \gset
SET LOCAL sliding_sync.enabled = off;
SELECT send_message('!a', '@anna:hs.test') \gset
COMMIT;
TABLE traces;
TABLE missed;
TABLE wrong;
-- catch_up() in the very transaction: its end is what counts
BEGIN;
SET LOCAL sliding_sync.enabled = off;
SELECT send_message('!a', '@anna:hs.test') \gset
SET LOCAL sliding_sync.enabled = on;
TABLE missed;
COMMIT;
TABLE missed;
TABLE missed;

-- prepared: seen when it is committed; what it holds stays until then
SET sliding_sync.enabled = off;
BEGIN;
SELECT send_message('!a', '@anna:hs.test') \gset
PREPARE TRANSACTION 'catch_up_1';
TABLE traces;
TABLE missed;
COMMIT PREPARED 'catch_up_1';
TABLE traces;
BEGIN;
SELECT send_message('!a', '@anna:hs.test') \gset
PREPARE TRANSACTION 'catch_up_2';
TABLE missed;
TABLE traces;
COMMIT PREPARED 'catch_up_2';
TABLE wrong;
TABLE missed;
TABLE wrong;
TABLE missed;
BEGIN;
SELECT send_message('!a', '@anna:hs.test') \gset
PREPARE TRANSACTION 'catch_up_3';
ROLLBACK PREPARED 'catch_up_3';
TABLE traces;
TABLE missed;
SET sliding_sync.enabled = on;

-- a trace that cannot be left costs a warning, not the transaction
ALTER TABLE sliding_sync.bypassed_writes ADD CONSTRAINT full_up CHECK (schema_name <> 'catch_up');
SET sliding_sync.enabled = off;
SELECT send_message('!a', '@anna:hs.test') \gset
SET sliding_sync.enabled = on;
ALTER TABLE sliding_sync.bypassed_writes DROP CONSTRAINT full_up;
TABLE missed;
SELECT send_message('!a', '@anna:hs.test') \gset
TABLE wrong;

--
-- catch_up() itself
--

-- rolled back, it has not happened
SET sliding_sync.enabled = off;
SELECT send_message('!a', '@anna:hs.test'), send_message('!b', '@anna:hs.test') \gset
SET sliding_sync.enabled = on;
BEGIN;
TABLE missed;
ROLLBACK;
TABLE wrong;
-- at any level, by the homeserver's role, which needs nothing but the right to call it
GRANT EXECUTE ON FUNCTION sliding_sync.catch_up TO regress_sliding_sync_starter;
SET ROLE regress_sliding_sync_starter;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM sliding_sync.catch_up('catch_up');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT * FROM sliding_sync.catch_up('catch_up');
COMMIT;
RESET ROLE;
REVOKE EXECUTE ON FUNCTION sliding_sync.catch_up FROM regress_sliding_sync_starter;
DROP ROLE regress_sliding_sync_starter;
TABLE wrong;

-- a row that cannot be written is removed and noted, the rest is repaired
ALTER TABLE sliding_sync_joined_rooms ADD CONSTRAINT unlikely CHECK (room_name <> 'Fails');
SET sliding_sync.enabled = off;
SELECT rename('!a', '@anna:hs.test', 'Fails'), send_message('!b', '@anna:hs.test') \gset
SET sliding_sync.enabled = on;
TABLE missed;
TABLE wrong;
SELECT room_id, reason, sqlstate FROM quarantined;
ALTER TABLE sliding_sync_joined_rooms DROP CONSTRAINT unlikely;
SELECT * FROM sliding_sync.repair_quarantine();
TABLE wrong;

-- a membership that nothing can be made of is in nobody's way: its event is one of another user
SET sliding_sync.enabled = off;
INSERT INTO local_current_membership (room_id, user_id, event_id, membership)
    SELECT room_id, '@other:hs.test', event_id, membership FROM local_current_membership
    WHERE room_id = '!a' AND user_id = '@anna:hs.test';
SET sliding_sync.enabled = on;
TABLE missed;
TABLE wrong;
TABLE missed;
DELETE FROM local_current_membership WHERE user_id = '@other:hs.test';
-- ... even where there are more of them than are looked at in one pass
SELECT create_room('!z', '@anna:hs.test'), join('!z', '@zoe:hs.test') \gset
BEGIN;
SET LOCAL sliding_sync.enabled = off;
INSERT INTO local_current_membership (room_id, user_id, event_id, membership)
    SELECT l.room_id, format('@a%s:hs.test', n), l.event_id, l.membership
    FROM local_current_membership l, generate_series(1, 50000) n WHERE l.room_id = '!z' AND l.user_id = '@anna:hs.test';
DELETE FROM local_current_membership WHERE room_id = '!z' AND user_id = '@zoe:hs.test';
INSERT INTO sliding_sync.bypassed_writes (schema_name, reason) VALUES ('catch_up', 'disabled');
TABLE missed;
SELECT who FROM snapshots WHERE room = '!z';
ROLLBACK;

-- what has left no newer event, or one that the triggers saw after it: the row's numbers say nothing of its name
SET sliding_sync.enabled = off;
DELETE FROM current_state_events WHERE room_id = '!a' AND type = 'm.room.name';
SELECT drop_current_state('!b') \gset
SELECT rename('!z', '@anna:hs.test', 'Zed') \gset
SET sliding_sync.enabled = on;
SELECT send_message('!z', '@anna:hs.test') \gset
TABLE wrong;
TABLE missed;
TABLE wrong;
SET sliding_sync.enabled = off;
UPDATE event_json j SET json = replace(json, 'Zed', 'Zoo') FROM events e WHERE e.event_id = j.event_id AND e.room_id = '!z';
SET sliding_sync.enabled = on;
TABLE wrong;
TABLE missed;
TABLE wrong;

-- a row of a room that was deleted by a script, as one of the triggers would not have let it be
SELECT create_room('!deleted', '@anna:hs.test', name => 'Deleted') \gset
SET session_replication_role = replica;
SELECT purge_room('!deleted', true) \gset
RESET session_replication_role;
TABLE missed;
SELECT room FROM joined_rooms WHERE room = '!deleted';
