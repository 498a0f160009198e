-- What stands in the way of something that an administrator is about to do.
\getenv abs_srcdir PG_ABS_SRCDIR
SET client_min_messages = warning;
CREATE DATABASE regress_preflight;
\c regress_preflight
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION sliding_sync;

-- nothing is attached
SELECT * FROM sliding_sync.preflight('upgrade');
SELECT * FROM sliding_sync.preflight('remove_extension');
SELECT * FROM sliding_sync.preflight('upgrade', 'nowhere');
SELECT * FROM sliding_sync.preflight('dance');
SELECT * FROM sliding_sync.preflight(NULL);

-- a homeserver whose tables belong to a role of its own
CREATE ROLE regress_sliding_sync_server;
CREATE SCHEMA homeserver AUTHORIZATION regress_sliding_sync_server;
GRANT CREATE ON SCHEMA public TO regress_sliding_sync_server;
\set ECHO none
CREATE EXTENSION sliding_sync_test;
SET ROLE regress_sliding_sync_server;
CALL make_homeserver('homeserver');
SET search_path = homeserver, public;
CREATE TABLE scheduled_tasks (id text PRIMARY KEY, action text NOT NULL, status text NOT NULL, "timestamp" bigint NOT NULL,
    resource_id text, params text, result text, error text);
RESET ROLE;
\i :abs_srcdir/sql/include/coverage.psql
\set ECHO all
SELECT sliding_sync.attach();
SELECT pg_temp.mark_complete('homeserver') \gset
-- no view: that would be a finding
\set findings '(SELECT t.operation, p.* FROM unnest(ARRAY[''delete_room'', ''purge_history'', ''port_database'', ''upgrade'', ''downgrade'', ''remove_extension'']) WITH ORDINALITY t (operation, n) CROSS JOIN LATERAL sliding_sync.preflight(t.operation) WITH ORDINALITY p ORDER BY t.n, p.ordinality) f'

-- all is well: only a port needs something
SELECT operation, severity, finding, detail, remedy FROM :findings;

--
-- Triggers
--
DROP TRIGGER "A_sliding_sync" ON rooms;
ALTER TABLE events DISABLE TRIGGER "A_sliding_sync";
SELECT sliding_sync.coverage_fingerprint('homeserver') AS fingerprint \gset
UPDATE sliding_sync.trigger_coverage SET fingerprint = :'fingerprint';
SELECT operation, severity, finding, detail, remedy FROM :findings;
-- and rooms in the queue
INSERT INTO rooms (room_id) VALUES ('!r'), ('!s');
INSERT INTO sliding_sync_joined_rooms_to_recalculate VALUES ('!r'), ('!s');
SELECT severity, finding, detail, remedy FROM :findings WHERE finding = 'queued_rooms';
SELECT sliding_sync.attach();
SELECT pg_temp.mark_complete('homeserver') \gset
-- with the triggers they are in nobody's way
SELECT operation, finding FROM :findings;
DELETE FROM rooms;
TABLE sliding_sync_joined_rooms_to_recalculate;

--
-- Switched off: needed for a port, in the way of the rest
--
SELECT remedy FROM :findings \gexec
SELECT operation, severity, finding, detail, remedy FROM :findings;
INSERT INTO rooms (room_id) VALUES ('!r');
INSERT INTO sliding_sync_joined_rooms_to_recalculate VALUES ('!r');
SELECT operation, finding FROM :findings;
DELETE FROM sliding_sync_joined_rooms_to_recalculate;
DELETE FROM rooms;
ALTER ROLE regress_sliding_sync_server IN DATABASE regress_preflight RESET sliding_sync.enabled;
-- another role's setting does not matter, the more specific one counts
ALTER DATABASE regress_preflight SET sliding_sync.enabled = off;
SELECT operation, finding FROM :findings;
ALTER ROLE regress_sliding_sync_server SET sliding_sync.enabled = on;
SELECT operation, finding FROM :findings;
ALTER ROLE regress_sliding_sync_server IN DATABASE regress_preflight SET sliding_sync.enabled = 'f';
SELECT operation, finding FROM :findings;
ALTER DATABASE regress_preflight RESET sliding_sync.enabled;
ALTER ROLE regress_sliding_sync_server RESET sliding_sync.enabled;
ALTER ROLE regress_sliding_sync_server IN DATABASE regress_preflight RESET sliding_sync.enabled;

--
-- Background updates
--
INSERT INTO background_updates (update_name, progress_json) VALUES
    ('sliding_sync_joined_rooms_bg_update', '{}'), ('sliding_sync_membership_snapshots_bg_update', '{}'), ('events_jump_to_date_index', '{}');
SELECT operation, severity, finding, detail, remedy FROM :findings;
-- a schema that is older than the tables, and whose upgrade will insert these names
BEGIN;
DELETE FROM applied_schema_deltas;
SELECT severity, finding, detail, remedy FROM sliding_sync.preflight('upgrade');
SELECT remedy FROM sliding_sync.preflight('upgrade') WHERE severity = 'blocker' \gexec
SELECT severity, finding FROM sliding_sync.preflight('upgrade');
ROLLBACK;
DELETE FROM background_updates;

--
-- Downgrade
--
INSERT INTO scheduled_tasks (id, action, status, "timestamp") VALUES ('a', 'new_thing', 'scheduled', 1), ('b', 'delete_room', 'active', 1),
    ('c', 'new_thing', 'scheduled', 1), ('d', 'old_thing', 'complete', 1), ('e', 'bad_thing', 'failed', 1);
SELECT operation, severity, finding, detail, remedy FROM :findings;
DELETE FROM scheduled_tasks WHERE status IN ('scheduled', 'active');
UPDATE schema_compat_version SET compat_version = 90;
SELECT operation, severity, finding, detail, remedy FROM :findings;
UPDATE schema_compat_version SET compat_version = 86;

--
-- Foreign keys and indexes
--
CREATE TABLE public.notes (room_id text REFERENCES rooms (room_id), event_id text REFERENCES events (event_id),
    other_room_id text REFERENCES rooms (room_id) ON DELETE CASCADE);
DROP INDEX sliding_sync_membership_snapshots_membership_event_id_idx;
DROP INDEX sliding_sync_joined_rooms_event_stream_ordering;
CREATE INDEX half_built ON sliding_sync_joined_rooms (event_stream_ordering);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'half_built'::regclass;
SELECT operation, severity, finding, detail, remedy FROM :findings;
DROP TABLE public.notes;
SELECT remedy FROM sliding_sync.preflight('delete_room') \gexec
SELECT operation, finding FROM :findings;

--
-- Tables that are not complete
--
UPDATE sliding_sync.trigger_coverage SET complete_at = NULL;
INSERT INTO sliding_sync.quarantine (schema_name, table_name, room_id, reason, sqlstate, message)
    VALUES ('homeserver', 'sliding_sync_joined_rooms', '!r', 'refresh_failed', '23514', 'no');
INSERT INTO sliding_sync.bypassed_writes (schema_name, reason) VALUES ('homeserver', 'replica');
SELECT operation, severity, finding, detail, remedy FROM :findings;
INSERT INTO sliding_sync.runs (schema_name, what) VALUES ('homeserver', 'both');
SELECT operation, severity, finding, detail, remedy FROM :findings WHERE finding IN ('never_completed', 'unfinished_run');
DELETE FROM sliding_sync.runs;
DELETE FROM sliding_sync.quarantine;
SELECT pg_temp.mark_complete('homeserver') \gset

--
-- Removal
--
CREATE VIEW looks AS SELECT * FROM sliding_sync.status;
CREATE FUNCTION asks() RETURNS boolean LANGUAGE sql BEGIN ATOMIC SELECT is_ready FROM sliding_sync.ready(); END;
ALTER TRIGGER "A_sliding_sync" ON rooms NO DEPENDS ON EXTENSION sliding_sync;
SELECT * FROM sliding_sync.preflight('remove_extension');
-- they are what the server says as well
\set VERBOSITY terse
DROP EXTENSION sliding_sync;
SELECT remedy FROM sliding_sync.preflight('remove_extension') WHERE remedy LIKE 'DROP VIEW%' OR remedy LIKE 'ALTER%' \gexec
DROP FUNCTION asks();
SELECT * FROM sliding_sync.preflight('remove_extension');

\set VERBOSITY default

-- two homeservers: what concerns one of them names it
\set ECHO none
CALL make_homeserver('old', old_schema => true);
SET search_path = old, public;
\set ECHO all
SELECT sliding_sync.attach('old');
SELECT * FROM sliding_sync.preflight('upgrade');
SELECT * FROM sliding_sync.preflight('upgrade', 'old');
SELECT * FROM sliding_sync.preflight('downgrade', 'old');
SELECT * FROM sliding_sync.preflight('remove_extension', 'homeserver');
SELECT * FROM sliding_sync.preflight('remove_extension', 'old');
SELECT * FROM sliding_sync.preflight('remove_extension');
ALTER TRIGGER "A_sliding_sync" ON rooms NO DEPENDS ON EXTENSION sliding_sync;
SELECT severity, finding FROM sliding_sync.preflight('remove_extension');
SELECT severity, finding FROM sliding_sync.preflight('remove_extension', 'homeserver');
ALTER TRIGGER "A_sliding_sync" ON rooms DEPENDS ON EXTENSION sliding_sync;

-- somebody holds the tables; what this very transaction does is no obstacle
SET search_path = homeserver;
BEGIN;
LOCK TABLE rooms IN ROW EXCLUSIVE MODE;
SELECT severity, finding FROM sliding_sync.preflight('remove_extension', 'homeserver');
PREPARE TRANSACTION 'regress_preflight';
SELECT * FROM sliding_sync.preflight('remove_extension', 'homeserver');
ROLLBACK PREPARED 'regress_preflight';

SET search_path = public;

-- who may ask: whoever may read the homeserver's tables; it changes nothing
CREATE ROLE regress_sliding_sync_reader;
SET ROLE regress_sliding_sync_server;
BEGIN READ ONLY;
SELECT severity, finding FROM sliding_sync.preflight('port_database', 'homeserver');
COMMIT;
SET ROLE regress_sliding_sync_reader;
SELECT severity, finding FROM sliding_sync.preflight('port_database', 'homeserver');
RESET ROLE;
DROP ROLE regress_sliding_sync_reader;

-- what is said to be gone is gone
DROP EXTENSION sliding_sync;
SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'A\_%';
DROP TABLE old.sliding_sync_joined_rooms, old.sliding_sync_membership_snapshots;

\c postgres
DROP DATABASE regress_preflight;
DROP ROLE regress_sliding_sync_server;
