-- May a reader trust the tables, and the end of the homeserver's own background updates.
\getenv abs_srcdir PG_ABS_SRCDIR
SET client_min_messages = warning;
CREATE DATABASE regress_readiness;
\c regress_readiness
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION sliding_sync;

--
-- ready(): which schema
--
SELECT * FROM sliding_sync.ready();
SELECT * FROM sliding_sync.ready('public');
SELECT * FROM sliding_sync.ready('nowhere');
SELECT * FROM sliding_sync.ready('');
SELECT sliding_sync.attached_schema('public');
SELECT sliding_sync.attached_schema('nowhere');
\set ECHO none
CREATE EXTENSION sliding_sync_test;
CALL make_homeserver('public');
\i :abs_srcdir/sql/include/coverage.psql
\set ECHO all
SELECT * FROM sliding_sync.ready('public');
SELECT sliding_sync.attach();
SELECT sliding_sync.attached_schema(), sliding_sync.attached_schema('public');
\set ECHO none
CALL make_homeserver('Second "2"');
\set ECHO all
SELECT sliding_sync.attach('Second "2"');
SELECT * FROM sliding_sync.ready();
SELECT * FROM sliding_sync.ready('Second "2"');
SELECT sliding_sync.detach('Second "2"');
SELECT * FROM sliding_sync.ready('Second "2"');

--
-- ready(): reasons
--

-- nobody has filled the tables
SELECT * FROM sliding_sync.ready();
SELECT pg_temp.mark_complete('public') \gset
SELECT * FROM sliding_sync.ready();
SELECT DISTINCT state FROM sliding_sync.triggers;

-- a trigger is off, and on again: what happened meanwhile nobody knows
ALTER TABLE events DISABLE TRIGGER "A_sliding_sync";
SELECT * FROM sliding_sync.ready();
SELECT table_name, trigger_name, state FROM sliding_sync.triggers WHERE state <> 'always';
ALTER TABLE events ENABLE REPLICA TRIGGER "A_sliding_sync";
SELECT * FROM sliding_sync.ready();
SELECT table_name, trigger_name, state FROM sliding_sync.triggers WHERE state <> 'always';
ALTER TABLE events ENABLE ALWAYS TRIGGER "A_sliding_sync";
SELECT * FROM sliding_sync.ready();
SELECT pg_temp.mark_complete('public') \gset
-- one that does not see the writes of a replica leaves no trace of them
ALTER TABLE events ENABLE TRIGGER "A_sliding_sync";
SELECT table_name, trigger_name, state FROM sliding_sync.triggers WHERE state <> 'always';
UPDATE sliding_sync.trigger_coverage SET fingerprint = sliding_sync.coverage_fingerprint('public');
SELECT * FROM sliding_sync.ready();
SELECT pg_temp.mark_complete('public') \gset

-- a trigger is gone; somebody else's of that name is none of ours
DROP TRIGGER "A_sliding_sync_truncate" ON rooms;
SELECT * FROM sliding_sync.ready();
CREATE FUNCTION does_nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER "A_sliding_sync_truncate" AFTER TRUNCATE ON rooms EXECUTE FUNCTION does_nothing();
SELECT table_name, trigger_name, state FROM sliding_sync.triggers WHERE state <> 'always';
DROP TRIGGER "A_sliding_sync_truncate" ON rooms;
SELECT sliding_sync.attach('public');
SELECT pg_temp.mark_complete('public') \gset
SELECT * FROM sliding_sync.ready();

-- the homeserver's migration makes a table that has no triggers yet
ALTER TABLE room_ban_redactions RENAME TO old_table;
SELECT * FROM sliding_sync.ready();
UPDATE sliding_sync.trigger_coverage SET fingerprint = sliding_sync.coverage_fingerprint('public');
CREATE TABLE room_ban_redactions (LIKE old_table INCLUDING ALL);
UPDATE sliding_sync.trigger_coverage SET fingerprint = sliding_sync.coverage_fingerprint('public');
SELECT * FROM sliding_sync.ready();
DROP TABLE room_ban_redactions;
ALTER TABLE old_table RENAME TO room_ban_redactions;
SELECT pg_temp.mark_complete('public') \gset

-- a derived table is gone
ALTER TABLE sliding_sync_joined_rooms RENAME TO old_table;
SELECT * FROM sliding_sync.ready();
ALTER TABLE old_table RENAME TO sliding_sync_joined_rooms;
SELECT * FROM sliding_sync.ready();
SELECT pg_temp.mark_complete('public') \gset

-- one that does not fire for every change is as good as none; attach() makes it anew
DROP TRIGGER "A_sliding_sync" ON rooms;
CREATE TRIGGER "A_sliding_sync" AFTER INSERT OR UPDATE OR DELETE ON rooms FOR EACH ROW WHEN (false)
    EXECUTE FUNCTION sliding_sync.collect();
ALTER TABLE rooms ENABLE ALWAYS TRIGGER "A_sliding_sync";
SELECT pg_temp.mark_complete('public') \gset
SELECT * FROM sliding_sync.ready();
CREATE OR REPLACE TRIGGER "A_sliding_sync" AFTER INSERT OR UPDATE OF creator OR DELETE ON rooms FOR EACH ROW
    EXECUTE FUNCTION sliding_sync.collect();
SELECT * FROM sliding_sync.coverage_gaps;
SELECT sliding_sync.attach('public');
TABLE sliding_sync.coverage_gaps;
SELECT pg_temp.mark_complete('public') \gset

-- tables that are not covered as long as they are like this
ALTER TABLE sliding_sync_joined_rooms SET UNLOGGED;
ALTER TABLE sliding_sync_membership_snapshots SET UNLOGGED;
CREATE TABLE child () INHERITS (redactions);
CREATE ROLE regress_sliding_sync_other;
ALTER TABLE event_json OWNER TO regress_sliding_sync_other;
CREATE ROLE regress_sliding_sync_superuser SUPERUSER;
ALTER TABLE rejections OWNER TO regress_sliding_sync_superuser;
ALTER TABLE rejections ENABLE ROW LEVEL SECURITY;
ALTER TABLE room_memberships RENAME TO old_table;
CREATE VIEW room_memberships AS TABLE old_table;
UPDATE sliding_sync.trigger_coverage SET fingerprint = sliding_sync.coverage_fingerprint('public');
SELECT * FROM sliding_sync.ready();
TABLE sliding_sync.coverage_gaps ORDER BY reason COLLATE "C", table_name COLLATE "C";
SELECT severity, code, detail, replace(remedy, current_user, 'CURRENT_USER') AS remedy FROM sliding_sync.health;
DROP VIEW room_memberships;
ALTER TABLE old_table RENAME TO room_memberships;
ALTER TABLE event_json OWNER TO CURRENT_USER;
ALTER TABLE rejections OWNER TO CURRENT_USER;
DROP ROLE regress_sliding_sync_other, regress_sliding_sync_superuser;
ALTER TABLE rejections DISABLE ROW LEVEL SECURITY;
ALTER TABLE sliding_sync_joined_rooms SET LOGGED;
ALTER TABLE sliding_sync_membership_snapshots SET LOGGED;
-- a child that is gone has left no row behind, but nobody knows since when
DROP TABLE child;
UPDATE sliding_sync.trigger_coverage SET fingerprint = sliding_sync.coverage_fingerprint('public');
SELECT * FROM sliding_sync.ready();
ANALYZE redactions;
SELECT * FROM sliding_sync.ready();
SELECT pg_temp.mark_complete('public') \gset
SELECT * FROM sliding_sync.ready();

-- a transaction was not seen
INSERT INTO sliding_sync.bypassed_writes (schema_name, reason) VALUES ('elsewhere', 'disabled');
SELECT * FROM sliding_sync.ready();
INSERT INTO sliding_sync.bypassed_writes (schema_name, reason) VALUES ('public', 'replica');
SELECT * FROM sliding_sync.ready();
SELECT pg_temp.mark_complete('public') \gset

-- a row could not be made
INSERT INTO sliding_sync.quarantine (schema_name, table_name, room_id, reason, sqlstate, message)
    VALUES ('elsewhere', 'sliding_sync_joined_rooms', '!r', 'refresh_failed', '23514', 'no');
SELECT * FROM sliding_sync.ready();
UPDATE sliding_sync.quarantine SET schema_name = 'public';
SELECT * FROM sliding_sync.ready();

-- all at once
INSERT INTO sliding_sync.bypassed_writes (schema_name, reason) VALUES ('public', 'replica');
UPDATE sliding_sync.trigger_coverage SET complete_at = NULL;
DROP TRIGGER "A_sliding_sync" ON rooms;
ALTER TABLE events DISABLE TRIGGER "A_sliding_sync";
ALTER TABLE sliding_sync_joined_rooms RENAME TO old_table;
SELECT * FROM sliding_sync.ready();
ALTER TABLE old_table RENAME TO sliding_sync_joined_rooms;
SELECT sliding_sync.attach('public');
DELETE FROM sliding_sync.quarantine;
SELECT pg_temp.mark_complete('public') \gset

-- everybody may ask, also where nothing can be written
CREATE ROLE regress_sliding_sync_reader;
SET ROLE regress_sliding_sync_reader;
BEGIN READ ONLY;
SELECT * FROM sliding_sync.ready();
SELECT * FROM sliding_sync.schemas;
COMMIT;
SELECT * FROM sliding_sync.finish_background_updates();
SELECT FROM sliding_sync.trigger_coverage;
RESET ROLE;
DROP ROLE regress_sliding_sync_reader;

--
-- finish_background_updates()
--
SELECT create_room('!r', '@anna:hs.test', name => 'Room') \gset
SELECT create_room('!s', '@anna:hs.test', name => 'Other') \gset
-- nothing is pending
SELECT * FROM sliding_sync.finish_background_updates();
-- as a homeserver's upgrade to schema 87, and its start after a downgrade, leave them
INSERT INTO background_updates (update_name, progress_json, depends_on, ordering) VALUES
    ('sliding_sync_prefill_joined_rooms_to_recalculate_table_bg_update', '{}', NULL, 8701),
    ('sliding_sync_joined_rooms_bg_update', '{}', 'sliding_sync_prefill_joined_rooms_to_recalculate_table_bg_update', 8701),
    ('sliding_sync_membership_snapshots_bg_update', '{}', NULL, 8701),
    ('sliding_sync_membership_snapshots_fix_forgotten_column_bg_update', '{}', NULL, 8802),
    ('sliding_sync_membership_snapshots_membership_event_id_idx', '{}', NULL, 8901),
    ('events_jump_to_date_index', '{}', NULL, 7324);
INSERT INTO sliding_sync_joined_rooms_to_recalculate VALUES ('!r'), ('!s');

-- not ready
INSERT INTO sliding_sync.bypassed_writes (schema_name, reason) VALUES ('public', 'disabled');
SELECT * FROM sliding_sync.finish_background_updates();
SELECT pg_temp.mark_complete('public') \gset
-- drift
UPDATE sliding_sync_joined_rooms SET room_name = 'Wrong' WHERE room_id = '!r';
SELECT * FROM sliding_sync.finish_background_updates();
SELECT * FROM sliding_sync.finish_background_updates(dry_run => true);
SELECT table_name, room_id, reasons FROM sliding_sync.repair(target_schema => 'public');
-- nothing was ended so far
SELECT count(*) FROM background_updates;
-- a dry run
SELECT * FROM sliding_sync.finish_background_updates(dry_run => true);
SELECT count(*) FROM background_updates;
SELECT count(*) FROM sliding_sync_joined_rooms_to_recalculate;
-- in earnest: what builds an index, or concerns other tables, goes on
SET client_min_messages = notice;
SELECT * FROM sliding_sync.finish_background_updates();
SET client_min_messages = warning;
SELECT update_name FROM background_updates ORDER BY update_name;
SELECT count(*) FROM sliding_sync_joined_rooms_to_recalculate;
-- again
SELECT * FROM sliding_sync.finish_background_updates('public');
SELECT * FROM sliding_sync.finish_background_updates('nowhere');

-- tables of somebody else, or of another shape, are not the homeserver's
CREATE ROLE regress_sliding_sync_mallory;
INSERT INTO background_updates VALUES ('sliding_sync_joined_rooms_bg_update', '{}');
INSERT INTO sliding_sync_joined_rooms_to_recalculate VALUES ('!r');
ALTER TABLE background_updates OWNER TO regress_sliding_sync_mallory;
SELECT * FROM sliding_sync.finish_background_updates();
ALTER TABLE background_updates OWNER TO CURRENT_USER;
DROP ROLE regress_sliding_sync_mallory;
ALTER TABLE background_updates ALTER update_name TYPE varchar;
SELECT * FROM sliding_sync.finish_background_updates();
ALTER TABLE background_updates ALTER update_name TYPE text;
SELECT * FROM sliding_sync.finish_background_updates();

--
-- A homeserver older than the derived tables: nothing to end, and its upgrade finds nothing in its way
--
\set ECHO none
CALL make_homeserver('old', old_schema => true);
SET search_path = old, public;
\set ECHO all
SELECT sliding_sync.attach('old');
SELECT * FROM sliding_sync.ready('old');
SELECT pg_temp.mark_complete('old') \gset
SELECT * FROM sliding_sync.ready('old');
SELECT * FROM sliding_sync.finish_background_updates('old');
TABLE background_updates;
-- as its delta does
CREATE TABLE IF NOT EXISTS sliding_sync_joined_rooms_to_recalculate (room_id text NOT NULL REFERENCES rooms (room_id), PRIMARY KEY (room_id));
INSERT INTO background_updates (ordering, update_name, progress_json) VALUES (8701, 'sliding_sync_prefill_joined_rooms_to_recalculate_table_bg_update', '{}');
INSERT INTO background_updates (ordering, update_name, progress_json, depends_on) VALUES
    (8701, 'sliding_sync_joined_rooms_bg_update', '{}', 'sliding_sync_prefill_joined_rooms_to_recalculate_table_bg_update');
INSERT INTO background_updates (ordering, update_name, progress_json) VALUES (8701, 'sliding_sync_membership_snapshots_bg_update', '{}');
-- what it has just asked for need not be done
SELECT * FROM sliding_sync.finish_background_updates('old');
TABLE background_updates;

\c postgres
DROP DATABASE regress_readiness;
