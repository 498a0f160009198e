-- What a monitor sees.
\getenv abs_srcdir PG_ABS_SRCDIR
SET client_min_messages = warning;
CREATE DATABASE regress_views;
\c regress_views
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION sliding_sync;

-- nothing is there
TABLE sliding_sync.status;
TABLE sliding_sync.progress;
TABLE sliding_sync.health;
SELECT name, labels - 'library_version' - 'extension_version' AS labels, value FROM sliding_sync.metrics
    ORDER BY name COLLATE "C", labels::text COLLATE "C";

-- a homeserver, not attached; half a homeserver is none
\set ECHO none
CREATE EXTENSION sliding_sync_test;
CALL make_homeserver('public');
\i :abs_srcdir/sql/include/coverage.psql
\set ECHO all
CREATE SCHEMA half;
CREATE TABLE half.events ();
TABLE sliding_sync.health;
DROP SCHEMA half CASCADE;

--
-- All is well
--
SELECT sliding_sync.attach();
SELECT create_room('!r', '@anna:hs.test', name => 'Room') \gset
SELECT pg_temp.mark_complete('public') \gset
ANALYZE sliding_sync_joined_rooms, sliding_sync_membership_snapshots;
TABLE sliding_sync.health;
SELECT schema_name, library_version = extension_version AS same_version, is_ready, reasons, triggers_found, triggers_expected,
    trigger_state FROM sliding_sync.status;
SELECT joined_rooms_estimate, membership_snapshots_estimate, complete_at, caught_up_at, bypassed_writes, quarantined,
    unfinished_run FROM sliding_sync.status;
SELECT name, labels, value FROM sliding_sync.metrics
    WHERE name NOT IN ('sliding_sync_info', 'sliding_sync_table_changes_total', 'sliding_sync_table_dead_rows_estimate')
    ORDER BY name COLLATE "C", labels::text COLLATE "C";
SELECT name, labels FROM sliding_sync.metrics
    WHERE name IN ('sliding_sync_table_changes_total', 'sliding_sync_table_dead_rows_estimate')
    ORDER BY name COLLATE "C", labels::text COLLATE "C";
-- a name and its labels stand for one number
SELECT name, labels, count(*) FROM sliding_sync.metrics GROUP BY 1, 2 HAVING count(*) > 1;

--
-- Every finding
--
CREATE VIEW findings AS SELECT severity, schema_name, code, detail, remedy FROM sliding_sync.health;

-- not ready
UPDATE sliding_sync.trigger_coverage SET complete_at = NULL;
TABLE findings;
SELECT pg_temp.mark_complete('public') \gset
ALTER TABLE sliding_sync_joined_rooms RENAME TO old_table;
TABLE findings;
ALTER TABLE old_table RENAME TO sliding_sync_joined_rooms;
SELECT pg_temp.mark_complete('public') \gset
DROP TRIGGER "A_sliding_sync" ON rooms;
DROP TRIGGER "A_sliding_sync" ON events;
DROP TRIGGER "A_sliding_sync_truncate" ON events;
TABLE findings;
SELECT triggers_found, triggers_expected, trigger_state, reasons FROM sliding_sync.status;
SELECT labels, value FROM sliding_sync.metrics WHERE name IN ('sliding_sync_triggers', 'sliding_sync_not_ready_reason')
    ORDER BY name COLLATE "C", labels::text COLLATE "C";
SELECT sliding_sync.attach();
SELECT pg_temp.mark_complete('public') \gset
ALTER TABLE rooms DISABLE TRIGGER "A_sliding_sync";
ALTER TABLE events ENABLE REPLICA TRIGGER "A_sliding_sync_truncate";
TABLE findings;
SELECT trigger_state FROM sliding_sync.status;
-- the remedy cures
SELECT split_part(remedy, ';', 1) FROM findings WHERE code = 'trigger_disabled' \gexec
TABLE findings;
INSERT INTO sliding_sync.bypassed_writes (schema_name, recorded_at, reason, role_name) VALUES
    ('public', '2026-01-02 00:00:00+00', 'disabled', 'first'), ('public', '2026-01-03 00:00:00+00', 'replica', 'last');
TABLE findings;
SELECT bypassed_writes FROM sliding_sync.status;
SELECT pg_temp.mark_complete('public') \gset
INSERT INTO sliding_sync.quarantine (recorded_at, schema_name, table_name, room_id, reason, sqlstate, message) VALUES
    ('2026-01-02 00:00:00+00', 'public', 'sliding_sync_joined_rooms', '!r', 'refresh_failed', '23514', 'no'),
    ('2026-01-03 00:00:00+00', 'public', 'sliding_sync_joined_rooms', '!s', 'circuit_breaker_open', '23514', 'no');
TABLE findings;
SELECT quarantined FROM sliding_sync.status;
SELECT name, labels, value FROM sliding_sync.metrics WHERE name LIKE '%quarantine%'
    ORDER BY name COLLATE "C", labels::text COLLATE "C";
DELETE FROM sliding_sync.quarantine;

-- triggers
ALTER TABLE events ENABLE TRIGGER "A_sliding_sync";
ALTER TABLE events ENABLE TRIGGER "A_sliding_sync_truncate";
UPDATE sliding_sync.trigger_coverage SET fingerprint = sliding_sync.coverage_fingerprint('public');
TABLE findings;
SELECT remedy FROM findings \gset
:remedy;
TABLE findings;
SELECT pg_temp.mark_complete('public') \gset
ALTER TRIGGER "A_sliding_sync" ON rooms NO DEPENDS ON EXTENSION sliding_sync;
TABLE findings;
SELECT remedy FROM findings WHERE code = 'trigger_not_dependent' \gexec
SELECT pg_temp.mark_complete('public') \gset
CREATE FUNCTION does_nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER theirs AFTER INSERT ON sliding_sync_joined_rooms EXECUTE FUNCTION does_nothing();
TABLE findings;
DROP TRIGGER theirs ON sliding_sync_joined_rooms;

-- owner
CREATE ROLE regress_sliding_sync_owner;
ALTER TABLE sliding_sync_membership_snapshots OWNER TO regress_sliding_sync_owner;
SELECT severity, schema_name, code, replace(detail, current_user, 'CURRENT_USER') AS detail, replace(remedy, current_user, 'CURRENT_USER') AS remedy
    FROM sliding_sync.health;
ALTER TABLE sliding_sync_membership_snapshots OWNER TO CURRENT_USER;
DROP ROLE regress_sliding_sync_owner;

-- indexes: another order of columns and more of them will do, a condition will not
SELECT state, count(*) FROM sliding_sync.needed_indexes GROUP BY state;
DROP INDEX local_current_membership_idx;
ALTER TABLE sliding_sync_membership_snapshots DROP CONSTRAINT sliding_sync_membership_snapshots_pkey;
CREATE INDEX ON local_current_membership (room_id, user_id) WHERE membership = 'join';
TABLE findings;
SELECT remedy FROM findings \gexec
TABLE findings;
CREATE UNIQUE INDEX ON local_current_membership (user_id, room_id, event_id);
DROP INDEX local_current_membership_user_id_room_id_idx;
TABLE findings;
-- not built to its end
CREATE INDEX half_built ON redactions (redacts);
DROP INDEX redactions_redacts;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'half_built'::regclass;
TABLE findings;
SELECT remedy FROM findings \gexec
TABLE findings;

-- settings
CREATE ROLE "regress_sliding_sync role";
ALTER DATABASE regress_views SET sliding_sync.enabled = off;
ALTER ROLE "regress_sliding_sync role" SET sliding_sync.enabled = 'No';
ALTER ROLE "regress_sliding_sync role" IN DATABASE regress_views SET sliding_sync.enabled = on;
ALTER ROLE "regress_sliding_sync role" IN DATABASE regress_views SET sliding_sync.on_failure = error;
ALTER ROLE "regress_sliding_sync role" IN DATABASE template1 SET sliding_sync.enabled = off;
TABLE sliding_sync.role_settings ORDER BY 1, 2, 3;
TABLE findings;
SELECT remedy FROM findings \gexec
TABLE findings;
DROP ROLE "regress_sliding_sync role";

-- versions
UPDATE pg_extension SET extversion = '0.0.0' WHERE extname = 'sliding_sync';
SELECT code, remedy FROM findings;
UPDATE pg_extension SET extversion = sliding_sync.library_version() WHERE extname = 'sliding_sync';

--
-- Progress of a backfill
--
INSERT INTO sliding_sync.runs (schema_name, tables, started_at) VALUES ('public', 'both', '2026-01-02 03:04:05+00') RETURNING run_id;
-- nobody has begun
INSERT INTO sliding_sync.run_ranges (run_id, range_number, table_name, after_room, up_to_room, position_room, items_total) VALUES
    (1, 1, 'sliding_sync_joined_rooms', '', '!m', '', 100),
    (1, 2, 'sliding_sync_joined_rooms', '!m', NULL, '!m', 50),
    (1, 3, 'sliding_sync_membership_snapshots', '', NULL, '', 1000);
CREATE VIEW progress AS SELECT run_id, table_name, phase, items_done, items_total, rows_written, quarantined, items_per_second AS rate, eta,
    throttled_seconds AS throttled, last_room, last_user, started_at, cardinality(sessions) AS sessions FROM sliding_sync.progress ORDER BY run_id, table_name;
TABLE progress;
TABLE findings;
SELECT unfinished_run FROM sliding_sync.status;
-- this session is at work
UPDATE sliding_sync.run_ranges SET position_room = '!c', items_done = 60, rows_written = 30, quarantined = 1, work_seconds = 5, throttled_seconds = 1,
    updated_at = clock_timestamp(), pid = pg_backend_pid() WHERE range_number = 1;
TABLE progress;
SELECT sessions = ARRAY[pg_backend_pid()] AS this_session FROM sliding_sync.progress WHERE phase = 'working';
TABLE findings;
SELECT name, labels, value FROM sliding_sync.metrics WHERE name LIKE 'sliding\_sync\_run%'
    ORDER BY name COLLATE "C", labels::text COLLATE "C";
-- it has died: the process id now belongs to a session that began later
UPDATE sliding_sync.run_ranges SET updated_at = '2026-01-02 03:04:06+00' WHERE range_number = 1;
TABLE progress;
TABLE findings;
-- more was to do than estimated; one table is done
UPDATE sliding_sync.run_ranges SET items_done = 80, is_done = true, pid = pg_backend_pid(), updated_at = clock_timestamp() WHERE range_number <= 2;
UPDATE sliding_sync.run_ranges SET items_done = 500, position_room = '!c', position_user = '@a:x', work_seconds = 10, pid = pg_backend_pid(),
    updated_at = clock_timestamp() WHERE range_number = 3;
TABLE progress;
-- finished
UPDATE sliding_sync.run_ranges SET is_done = true;
UPDATE sliding_sync.runs SET finished_at = clock_timestamp();
TABLE progress;
TABLE findings;
SELECT unfinished_run FROM sliding_sync.status;

\c postgres
DROP DATABASE regress_views;
