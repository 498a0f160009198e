\echo Use "CREATE EXTENSION sliding_sync" to load this file. \quit

-- The schema is made here and not by the control file: so it belongs to the extension, and nobody else can put
-- functions into it.
CREATE SCHEMA sliding_sync;
COMMENT ON SCHEMA sliding_sync IS 'keeps the sliding sync tables of a Matrix homeserver exact';
GRANT USAGE ON SCHEMA sliding_sync TO PUBLIC;

-- Trigger functions. Anybody may name them in CREATE TRIGGER, which a restore by the tables' plain owner needs; a
-- trigger needs ownership of the table all the same.

CREATE FUNCTION sliding_sync.collect_events() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect_events';
CREATE FUNCTION sliding_sync.collect_event_json() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect_event_json';
CREATE FUNCTION sliding_sync.collect_rejections() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect_rejections';
CREATE FUNCTION sliding_sync.collect_redactions() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect_redactions';
CREATE FUNCTION sliding_sync.collect_room_ban_redactions() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect_room_ban_redactions';
CREATE FUNCTION sliding_sync.collect_rooms() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect_rooms';
CREATE FUNCTION sliding_sync.collect_room_memberships() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect_room_memberships';
CREATE FUNCTION sliding_sync.collect_current_state_events() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect_current_state_events';
CREATE FUNCTION sliding_sync.collect_local_current_membership() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect_local_current_membership';

COMMENT ON FUNCTION sliding_sync.collect_events() IS 'trigger: notes what a changed row of events may have changed';
COMMENT ON FUNCTION sliding_sync.collect_event_json() IS 'trigger: notes what a changed row of event_json may have changed';
COMMENT ON FUNCTION sliding_sync.collect_rejections() IS 'trigger: notes what a changed row of rejections may have changed';
COMMENT ON FUNCTION sliding_sync.collect_redactions() IS 'trigger: notes what a changed row of redactions may have changed';
COMMENT ON FUNCTION sliding_sync.collect_room_ban_redactions() IS 'trigger: notes what a changed row of room_ban_redactions may have changed';
COMMENT ON FUNCTION sliding_sync.collect_rooms() IS 'trigger: notes what a changed row of rooms may have changed';
COMMENT ON FUNCTION sliding_sync.collect_room_memberships() IS 'trigger: notes what a changed row of room_memberships may have changed';
COMMENT ON FUNCTION sliding_sync.collect_current_state_events() IS 'trigger: notes what a changed row of current_state_events may have changed';
COMMENT ON FUNCTION sliding_sync.collect_local_current_membership() IS 'trigger: notes what a changed row of local_current_membership may have changed';

-- What could not be kept.

CREATE TABLE sliding_sync.quarantine (
    noted_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    schema_name text NOT NULL,
    table_name text NOT NULL,
    room_id text NOT NULL,
    user_id text,
    reason text NOT NULL,
    sqlstate text NOT NULL,
    message text NOT NULL
);
CREATE INDEX quarantine_room_id_idx ON sliding_sync.quarantine (room_id, user_id);
COMMENT ON TABLE sliding_sync.quarantine IS
    'keys whose derived row could not be made: the row was removed, the homeserver''s transaction went on; sliding_sync.repair_quarantine() tries them again';
COMMENT ON COLUMN sliding_sync.quarantine.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.quarantine.table_name IS 'the derived table; empty when the rows concerned could not be found out';
COMMENT ON COLUMN sliding_sync.quarantine.user_id IS 'NULL for a row of sliding_sync_joined_rooms';
COMMENT ON COLUMN sliding_sync.quarantine.reason IS 'refresh_failed, fuse_blown or lookup_failed';

-- For administrators.

CREATE FUNCTION sliding_sync.repair_quarantine(OUT repaired bigint, OUT left_over bigint)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sliding_sync_repair_quarantine';
COMMENT ON FUNCTION sliding_sync.repair_quarantine() IS
    'makes the rows of the keys in quarantine once more and takes the keys out for which that works';

CREATE FUNCTION sliding_sync.attach(target_schema text DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sliding_sync_attach';
COMMENT ON FUNCTION sliding_sync.attach(text) IS
    'puts the triggers on the homeserver''s tables in this schema (or in the only one that holds some), and makes the derived tables when they are missing; returns the schema';

CREATE FUNCTION sliding_sync.detach(target_schema text DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sliding_sync_detach';
COMMENT ON FUNCTION sliding_sync.detach(text) IS
    'takes the triggers off the homeserver''s tables in this schema, or in all; tables and rows stay; returns the number of schemas';

CREATE FUNCTION sliding_sync.flush(OUT joined_rooms bigint, OUT memberships bigint, OUT rows_written bigint)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sliding_sync_flush';
COMMENT ON FUNCTION sliding_sync.flush() IS
    'writes the derived rows of what this transaction has changed so far, so that it can read them before it commits';

CREATE FUNCTION sliding_sync.last_flush(OUT joined_rooms bigint, OUT memberships bigint, OUT rows_written bigint,
                                        OUT microseconds double precision)
    LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'sliding_sync_last_flush';
COMMENT ON FUNCTION sliding_sync.last_flush() IS
    'what the last commit of this session refreshed, and the time that took; NULLs when there was none';

CREATE FUNCTION sliding_sync.library_version() RETURNS text
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sliding_sync_library_version';
COMMENT ON FUNCTION sliding_sync.library_version() IS 'version of the loaded library';

CREATE FUNCTION sliding_sync.version(OUT library_version text, OUT extension_version text, OUT attached_schemas text[])
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT sliding_sync.library_version(),
           (SELECT extversion FROM pg_extension WHERE extname = 'sliding_sync'),
           ARRAY(SELECT DISTINCT n.nspname::text
                 FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE t.tgname = 'A_sliding_sync' ORDER BY 1)
$$;
COMMENT ON FUNCTION sliding_sync.version() IS
    'the versions of library and SQL, which should be the same, and the schemas whose tables have the triggers';

REVOKE ALL ON FUNCTION sliding_sync.attach(text), sliding_sync.detach(text), sliding_sync.flush(),
    sliding_sync.repair_quarantine() FROM PUBLIC;

-- Attach at once where there is a homeserver. The function is needed here only.

CREATE FUNCTION sliding_sync.attach_at_creation() RETURNS void
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'sliding_sync_attach_at_creation';
SELECT sliding_sync.attach_at_creation();
DROP FUNCTION sliding_sync.attach_at_creation();
