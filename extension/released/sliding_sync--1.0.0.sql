\echo Use "CREATE EXTENSION sliding_sync" to load this file. \quit

-- The schema is made here and not by the control file: so it belongs to the extension, and nobody else can
-- put functions into it.
CREATE SCHEMA sliding_sync;
-- No name below means anything of somebody else's, whatever the schema that CREATE EXTENSION was called in.
SET LOCAL search_path = pg_catalog, pg_temp;
COMMENT ON SCHEMA sliding_sync IS 'keeps the sliding sync tables of a Matrix homeserver exact';
GRANT USAGE ON SCHEMA sliding_sync TO PUBLIC;
-- The trigger function of every table. Any role may name it in CREATE TRIGGER, which a restore by the tables'
-- plain owner needs; a trigger needs ownership of the table all the same.

CREATE FUNCTION sliding_sync.collect() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect';
COMMENT ON FUNCTION sliding_sync.collect() IS
    'trigger: on a homeserver''s table, makes the keys pending that a changed row concerns; on a derived table, keeps the keys of rows that somebody else deletes';
-- What could not be kept.

CREATE TABLE sliding_sync.quarantine (
    entry_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recorded_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
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
COMMENT ON SEQUENCE sliding_sync.quarantine_entry_id_seq IS 'numbers of the notes';
COMMENT ON COLUMN sliding_sync.quarantine.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.quarantine.table_name IS 'the derived table; empty when the rows concerned could not be found out';
COMMENT ON COLUMN sliding_sync.quarantine.user_id IS 'NULL for a row of sliding_sync_joined_rooms';
COMMENT ON COLUMN sliding_sync.quarantine.reason IS 'refresh_failed, circuit_breaker_open, lookup_failed, unreadable or stale';

CREATE SEQUENCE sliding_sync.lost_records;
COMMENT ON SEQUENCE sliding_sync.lost_records IS
    'counts notes of rows removed or left doubtful that could not be written, because the table was locked for instance';

CREATE FUNCTION sliding_sync.repair_quarantine(OUT repaired bigint, OUT remaining bigint)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sliding_sync_repair_quarantine';
COMMENT ON FUNCTION sliding_sync.repair_quarantine() IS
    'makes the rows of the keys in quarantine once more and takes the keys out for which that works';

REVOKE ALL ON FUNCTION sliding_sync.repair_quarantine() FROM PUBLIC;
-- What long work has done, where it stands, and since when nothing can have escaped the triggers. Written by
-- the functions of the extension only, as the owner of these tables.

CREATE TABLE sliding_sync.runs (
    run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schema_name text NOT NULL,
    tables text NOT NULL CHECK (tables IN ('joined_rooms', 'memberships', 'both')),
    first_room text,
    last_room text,
    verifies_history boolean NOT NULL DEFAULT false,
    failed_lookups bigint[] NOT NULL DEFAULT '{}',
    started_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    finished_at timestamptz
);
COMMENT ON TABLE sliding_sync.runs IS 'one row a backfill; a call of backfill() goes on with the one that is not finished';
COMMENT ON COLUMN sliding_sync.runs.first_room IS 'NULL: from the first room';
COMMENT ON COLUMN sliding_sync.runs.last_room IS 'NULL: to the last room';
COMMENT ON COLUMN sliding_sync.runs.verifies_history IS
    'tables had been altered or rewritten: at its end the run judges what snapshots say of the past, too';

COMMENT ON COLUMN sliding_sync.runs.failed_lookups IS
    'entries of quarantine without a key that were there at its start: a run over everything deals with them';

CREATE TABLE sliding_sync.run_ranges (
    run_id bigint NOT NULL REFERENCES sliding_sync.runs ON DELETE CASCADE,
    range_number integer NOT NULL,
    table_name text NOT NULL,
    after_room text NOT NULL,
    up_to_room text,
    position_room text NOT NULL,
    position_user text NOT NULL DEFAULT '',
    is_done boolean NOT NULL DEFAULT false,
    items_total bigint NOT NULL,
    items_done bigint NOT NULL DEFAULT 0,
    rows_written bigint NOT NULL DEFAULT 0,
    quarantined bigint NOT NULL DEFAULT 0,
    work_seconds double precision NOT NULL DEFAULT 0,
    throttled_seconds double precision NOT NULL DEFAULT 0,
    updated_at timestamptz,
    pid integer,
    PRIMARY KEY (run_id, range_number)
) WITH (fillfactor = 50);
COMMENT ON TABLE sliding_sync.run_ranges IS
    'a run''s ranges of rooms; a session claims one for each batch, and moves its position in the transaction of the batch';
COMMENT ON COLUMN sliding_sync.run_ranges.after_room IS 'the range begins after this room';
COMMENT ON COLUMN sliding_sync.run_ranges.up_to_room IS 'the last room of the range; NULL: no end';
COMMENT ON COLUMN sliding_sync.run_ranges.position_room IS 'rows up to this key are done';
COMMENT ON COLUMN sliding_sync.run_ranges.position_user IS 'second part of the key, for memberships';
COMMENT ON COLUMN sliding_sync.run_ranges.items_total IS 'estimate';
COMMENT ON COLUMN sliding_sync.run_ranges.quarantined IS 'keys that went into quarantine';
COMMENT ON COLUMN sliding_sync.run_ranges.pid IS 'session that worked on it last';

CREATE TABLE sliding_sync.trigger_coverage (
    schema_name text PRIMARY KEY,
    fingerprint text NOT NULL,
    tables oid[] NOT NULL,
    complete_at timestamptz,
    caught_up_at timestamptz,
    lost_records bigint NOT NULL DEFAULT 0,
    counted_records bigint,
    counted_before xid8
);
COMMENT ON TABLE sliding_sync.trigger_coverage IS 'since when a homeserver''s tables have not changed without the triggers';
COMMENT ON COLUMN sliding_sync.trigger_coverage.fingerprint IS 'sliding_sync.coverage_fingerprint() at that moment';
COMMENT ON COLUMN sliding_sync.trigger_coverage.tables IS
    'the homeserver''s tables of that moment: their triggers tell of writes wherever they have been moved since';
COMMENT ON COLUMN sliding_sync.trigger_coverage.lost_records IS 'how many notes had been lost by then, in the whole database';
COMMENT ON COLUMN sliding_sync.trigger_coverage.counted_records IS
    'how many there were when a catch-up could not see yet what every transaction that had counted has changed';
COMMENT ON COLUMN sliding_sync.trigger_coverage.counted_before IS 'those transactions are older than this one';
COMMENT ON COLUMN sliding_sync.trigger_coverage.complete_at IS 'when a backfill of everything was finished';
COMMENT ON COLUMN sliding_sync.trigger_coverage.caught_up_at IS 'when no wrong row was left';

CREATE TABLE sliding_sync.bypassed_writes (
    write_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schema_name text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    reason text NOT NULL CHECK (reason IN ('disabled', 'replica', 'moved', 'deleted')),
    role_name text NOT NULL DEFAULT session_user,
    application_name text NOT NULL DEFAULT pg_catalog.current_setting('application_name', true)
);
COMMENT ON TABLE sliding_sync.bypassed_writes IS
    'transactions that changed a homeserver''s tables while the triggers could not act, or took rows of the derived tables away; catch_up() deals with them';
COMMENT ON COLUMN sliding_sync.bypassed_writes.reason IS
    'disabled: sliding_sync.enabled was off; replica: session_replication_role was replica; moved: the table had another name, schema or owner; deleted: rows of a derived table are missing';

CREATE VIEW sliding_sync.homeserver_tables AS
    SELECT n.nspname::text AS schema_name, c.oid AS table_oid, c.relname::text AS table_name,
           c.relname IN ('sliding_sync_joined_rooms', 'sliding_sync_membership_snapshots') AS is_derived,
           (SELECT format('%s %s', r.xmin, r.ctid) FROM pg_authid r WHERE r.oid = c.relowner AND r.oid <> e.relowner)
               AS owner_version
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_class e ON e.relnamespace = c.relnamespace AND e.relname = 'events'
            -- whoever may create tables in the schema can make one that an older homeserver does not have
            AND (c.relowner = e.relowner OR (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = c.relowner))
    WHERE c.relkind = 'r' AND c.relname IN ('events', 'event_json', 'rejections', 'redactions', 'room_ban_redactions',
        'rooms', 'room_memberships', 'current_state_events', 'local_current_membership', 'sliding_sync_joined_rooms',
        'sliding_sync_membership_snapshots');
COMMENT ON VIEW sliding_sync.homeserver_tables IS
    'of each schema with a table of events: the tables that derived rows are made from, and the derived tables, of the owner of events or a superuser';
COMMENT ON COLUMN sliding_sync.homeserver_tables.owner_version IS
    'changes when the superuser who owns the table is altered; NULL: the owner of events does';
GRANT SELECT ON sliding_sync.homeserver_tables TO PUBLIC;

-- The version of a catalog row (xmin, and ctid within a transaction) changes with every command that changes
-- the row, also with one that changes it back. VACUUM, ANALYZE and CREATE INDEX write their numbers in place
-- and leave it.
CREATE FUNCTION sliding_sync.coverage_fingerprint(target_schema text) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tables oid[] := ARRAY(SELECT t.table_oid FROM sliding_sync.homeserver_tables t WHERE t.schema_name = target_schema);
BEGIN
    RETURN (SELECT md5(coalesce(string_agg(part, ',' ORDER BY part COLLATE "C"), '')) FROM (
        -- another table, name, schema, owner, file, persistence; truncated, rewritten
        SELECT format('table %s %s %s %s', c.oid, c.relfilenode, c.xmin, c.ctid)
        FROM pg_class c WHERE c.oid = ANY (tables)
        UNION ALL
        -- a superuser who owns a table was none for a while, and rows were made without the table
        SELECT format('owner %s %s', t.table_oid, t.owner_version)
        FROM sliding_sync.homeserver_tables t WHERE t.schema_name = target_schema AND t.owner_version IS NOT NULL
        UNION ALL
        -- columns renamed, dropped, of another type
        SELECT format('column %s %s %s %s', a.attrelid, a.attnum, a.xmin, a.ctid)
        FROM pg_attribute a WHERE a.attrelid = ANY (tables) AND a.attnum > 0
        UNION ALL
        -- our triggers made, dropped, disabled, enabled; their functions replaced
        SELECT format('trigger %s %s %s %s %s %s', g.tgrelid, g.oid, g.xmin, g.ctid, p.xmin, p.ctid)
        FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid
        WHERE g.tgrelid = ANY (tables)
            AND g.tgname IN ('A_sliding_sync', 'A_sliding_sync_truncate')
        UNION ALL
        SELECT format('child %s %s %s %s', i.inhparent, i.inhrelid, i.xmin, i.ctid)
        FROM pg_inherits i WHERE i.inhparent = ANY (tables)
        UNION ALL
        SELECT format('policy %s %s %s', o.oid, o.xmin, o.ctid)
        FROM pg_policy o WHERE o.polrelid = ANY (tables)
        UNION ALL
        SELECT format('rule %s %s %s', r.oid, r.xmin, r.ctid)
        FROM pg_rewrite r WHERE r.ev_class = ANY (tables)) x (part));
END
$$;
COMMENT ON FUNCTION sliding_sync.coverage_fingerprint(text) IS
    'changes whenever a homeserver''s tables, the derived tables or the extension''s triggers on them may have been changed by anything but rows that the triggers saw';

COMMENT ON SEQUENCE sliding_sync.runs_run_id_seq IS 'numbers of the runs';
COMMENT ON SEQUENCE sliding_sync.bypassed_writes_write_id_seq IS 'numbers of the bypassed writes';
-- Puts the triggers where they belong, and takes them away.

CREATE TABLE sliding_sync.attachments (
    schema_name text PRIMARY KEY,
    events_oid oid NOT NULL,
    attached_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    attached_by text NOT NULL DEFAULT session_user
);
COMMENT ON TABLE sliding_sync.attachments IS
    'the homeservers that attach() was called for; a trigger alone attaches nothing, for anybody may make one';
COMMENT ON COLUMN sliding_sync.attachments.events_oid IS
    'its table of events: the record is not of another homeserver that gets the same name later';

CREATE VIEW sliding_sync.homeservers AS
    SELECT a.schema_name, e.relnamespace AS namespace_oid, e.relowner AS owner_oid, a.attached_at, a.attached_by
    FROM sliding_sync.attachments a JOIN pg_class e ON e.oid = a.events_oid AND e.relname = 'events'
        JOIN pg_namespace n ON n.oid = e.relnamespace AND n.nspname = a.schema_name;
COMMENT ON VIEW sliding_sync.homeservers IS 'the attached homeservers that are still what they were when they were attached';
COMMENT ON COLUMN sliding_sync.homeservers.owner_oid IS 'owner of its tables';
GRANT SELECT ON sliding_sync.homeservers TO PUBLIC;

CREATE VIEW sliding_sync.homeserver_triggers AS
    SELECT n.nspname::text AS schema_name, c.oid AS table_oid, c.relname::text AS table_name, t.oid AS trigger_oid,
           t.tgname::text AS trigger_name
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace pn ON pn.oid = p.pronamespace
        JOIN pg_class e ON e.relnamespace = c.relnamespace AND e.relname = 'events' AND e.relkind = 'r'
    WHERE pn.nspname = 'sliding_sync' AND p.proname = 'collect' AND c.relpersistence <> 't'
        AND (c.relowner = e.relowner OR c.oid IN (SELECT x.table_oid FROM sliding_sync.homeserver_tables x)
             OR EXISTS (SELECT FROM sliding_sync.trigger_coverage w
                        WHERE w.schema_name = n.nspname AND c.oid = ANY (w.tables)));
COMMENT ON VIEW sliding_sync.homeserver_triggers IS
    'triggers that call sliding_sync.collect() on tables of a homeserver: any role may put one on a table of its own, and those are nobody''s concern';
GRANT SELECT ON sliding_sync.homeserver_triggers TO PUBLIC;

CREATE FUNCTION sliding_sync.attach(target_schema text DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sliding_sync_attach';
COMMENT ON FUNCTION sliding_sync.attach(text) IS
    'puts the triggers on the homeserver''s tables in this schema (or in the only one that holds some), and makes the derived tables when they are missing; returns the schema';

-- In SQL, as everything that is needed when the library is gone. Whoever comes after a lock request waits as
-- long as it does: attempts are short, and each takes every table or none.
CREATE FUNCTION sliding_sync.detach(target_schema text DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET lock_timeout = 0 AS $$
DECLARE
    longest_wait constant interval := '700 ms';
    wait interval;
    give_up constant timestamptz := clock_timestamp() + interval '1 minute';
    deadline timestamptz;
    homeserver record;
    relation oid;
    our_trigger record;
    detached bigint := 0;
BEGIN
    IF target_schema IS NOT NULL AND NOT EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = target_schema) THEN
        RAISE invalid_schema_name USING MESSAGE = format('schema "%s" does not exist', target_schema);
    END IF;
    FOR homeserver IN
        -- A homeserver's transaction begins by locking its room: asked for there first, the lock keeps new
        -- writers waiting before they hold anything that it has to wait for in turn.
        SELECT h.schema_name,
               array_agg(c.oid ORDER BY array_position('{rooms,event_json,events,redactions,rejections,room_memberships,'
                   'current_state_events,local_current_membership,room_ban_redactions}'::text[], c.relname::text)
                   ) FILTER (WHERE c.oid IS NOT NULL) AS relations
        FROM (SELECT x.schema_name, x.namespace_oid FROM sliding_sync.homeservers x
              UNION
              -- named by whoever calls this, and restored from a dump since it was attached
              SELECT n.nspname::text, n.oid FROM pg_namespace n WHERE n.nspname = target_schema) h
            LEFT JOIN pg_class c ON c.relnamespace = h.namespace_oid
                AND c.oid IN (SELECT t.table_oid FROM sliding_sync.homeserver_triggers t)
        WHERE target_schema IS NULL OR h.schema_name = target_schema
        GROUP BY h.schema_name ORDER BY h.schema_name
    LOOP
        wait := interval '60 ms';
        LOOP
            BEGIN
                deadline := clock_timestamp() + wait;
                FOREACH relation IN ARRAY coalesce(homeserver.relations, '{}') LOOP
                    PERFORM set_config('lock_timeout', greatest(1, ceil(1000 * extract(
                        epoch FROM deadline - clock_timestamp())))::text, true);
                    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', relation::regclass);
                END LOOP;
                EXIT;
            EXCEPTION WHEN lock_not_available THEN
                IF clock_timestamp() > give_up THEN
                    RAISE lock_not_available USING
                        MESSAGE = 'could not lock the homeserver''s tables',
                        DETAIL = 'They were in use every time; nobody was kept waiting longer than a second.',
                        HINT = 'Look for old transactions in pg_stat_activity, and try again.';
                END IF;
            END;
            PERFORM pg_sleep(0.15);
            wait := least(2 * wait, longest_wait);
        END LOOP;
        FOR our_trigger IN
            SELECT t.trigger_name, t.table_oid FROM sliding_sync.homeserver_triggers t
            WHERE t.table_oid = ANY (homeserver.relations)
        LOOP
            EXECUTE format('DROP TRIGGER %I ON %s', our_trigger.trigger_name, our_trigger.table_oid::regclass);
        END LOOP;
        detached := detached + (homeserver.relations IS NOT NULL)::integer;
    END LOOP;
    DELETE FROM sliding_sync.attachments a WHERE target_schema IS NULL OR a.schema_name = target_schema;
    RETURN detached;
END
$$;
COMMENT ON FUNCTION sliding_sync.detach(text) IS
    'takes the triggers off the homeserver''s tables in this schema, or in all that are attached; tables and rows stay; works without the library; returns the number of schemas that had triggers';

CREATE FUNCTION sliding_sync.attached_schema(target_schema text DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    attached text[] := ARRAY(SELECT h.schema_name FROM sliding_sync.homeservers h ORDER BY h.schema_name);
BEGIN
    IF target_schema IS NOT NULL AND NOT target_schema = ANY (attached) THEN
        RAISE EXCEPTION 'schema "%" has no homeserver that sliding_sync is attached to', target_schema
            USING ERRCODE = 'undefined_table', DETAIL = format('Attached schemas: %s.',
                coalesce(nullif(array_to_string(attached, ', '), ''), 'none')),
            HINT = format('Call SELECT sliding_sync.attach(%L).', target_schema);
    END IF;
    IF target_schema IS NULL AND cardinality(attached) = 0 THEN
        RAISE EXCEPTION 'sliding_sync is not attached to any homeserver in this database'
            USING ERRCODE = 'undefined_table', HINT = 'Call SELECT sliding_sync.attach().';
    END IF;
    IF target_schema IS NULL AND cardinality(attached) > 1 THEN
        RAISE EXCEPTION 'sliding_sync is attached to more than one homeserver in this database'
            USING ERRCODE = 'ambiguous_alias', DETAIL = format('Attached schemas: %s.', array_to_string(attached, ', ')),
            HINT = 'Name one with target_schema.';
    END IF;
    RETURN coalesce(target_schema, attached[1]);
END
$$;
COMMENT ON FUNCTION sliding_sync.attached_schema(text) IS
    'the schema itself when its homeserver is attached, or the only attached one; an error otherwise';

REVOKE ALL ON FUNCTION sliding_sync.attach(text), sliding_sync.detach(text) FROM PUBLIC;
-- Fills and corrects the derived tables.

CREATE PROCEDURE sliding_sync.backfill(
    target_schema text DEFAULT NULL,
    tables text DEFAULT 'both',
    first_room text DEFAULT NULL,
    last_room text DEFAULT NULL,
    batch_size bigint DEFAULT NULL,
    batch_time interval DEFAULT '100 ms',
    pause interval DEFAULT '0',
    share double precision DEFAULT 1,
    max_duration interval DEFAULT NULL,
    restart boolean DEFAULT false,
    verbose boolean DEFAULT NULL,
    run_id bigint DEFAULT NULL,
    INOUT joined_rooms bigint DEFAULT NULL,
    INOUT memberships bigint DEFAULT NULL,
    INOUT rows_written bigint DEFAULT NULL,
    INOUT quarantined bigint DEFAULT NULL,
    INOUT is_finished boolean DEFAULT NULL
) LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_backfill';
COMMENT ON PROCEDURE sliding_sync.backfill(text, text, text, text, bigint, interval, interval, double precision, interval,
    boolean, boolean, bigint, bigint, bigint, bigint, bigint, boolean) IS
    'fills and corrects the derived tables, batch by batch, while the homeserver runs; goes on with an unfinished run';
REVOKE ALL ON PROCEDURE sliding_sync.backfill(text, text, text, text, bigint, interval, interval, double precision,
    interval, boolean, boolean, bigint, bigint, bigint, bigint, bigint, boolean) FROM PUBLIC;

CREATE PROCEDURE sliding_sync.begin_backfill(
    target_schema text DEFAULT NULL,
    tables text DEFAULT 'both',
    first_room text DEFAULT NULL,
    last_room text DEFAULT NULL,
    restart boolean DEFAULT false,
    INOUT run_id bigint DEFAULT NULL
) LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_begin_backfill';
COMMENT ON PROCEDURE sliding_sync.begin_backfill(text, text, text, text, boolean, bigint) IS
    'the number of the unfinished run, or of a new one: sessions that name it work on this run, and never begin another';
REVOKE ALL ON PROCEDURE sliding_sync.begin_backfill(text, text, text, text, boolean, bigint) FROM PUBLIC;

CREATE FUNCTION sliding_sync.catch_up(target_schema text DEFAULT NULL, mode text DEFAULT 'repair', OUT had_gap boolean,
    OUT joined_rooms bigint, OUT memberships bigint, OUT rows_written bigint, OUT quarantined bigint)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sliding_sync_catch_up';
COMMENT ON FUNCTION sliding_sync.catch_up(text, text) IS
    'for a homeserver''s start: returns when no wrong row is left, at once when nothing changed without the triggers, otherwise after a look at every row; mode remove takes wrong rows away for repair_quarantine() to make them later';
REVOKE ALL ON FUNCTION sliding_sync.catch_up(text, text) FROM PUBLIC;
-- Finds what is wrong, and mends it.

CREATE TABLE sliding_sync.repairs (
    repair_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    repaired_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    role_name text NOT NULL DEFAULT session_user,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    room_id text NOT NULL,
    user_id text,
    reasons text NOT NULL,
    row_before jsonb,
    row_after jsonb
);
COMMENT ON TABLE sliding_sync.repairs IS 'what repair() has changed; may be emptied at any time';
COMMENT ON COLUMN sliding_sync.repairs.role_name IS 'who called repair()';
COMMENT ON COLUMN sliding_sync.repairs.user_id IS 'NULL for a row of sliding_sync_joined_rooms';
COMMENT ON COLUMN sliding_sync.repairs.reasons IS 'reason codes of verify()';
COMMENT ON COLUMN sliding_sync.repairs.row_before IS 'NULL when the row was missing';
COMMENT ON COLUMN sliding_sync.repairs.row_after IS 'NULL when the row was removed';
COMMENT ON SEQUENCE sliding_sync.repairs_repair_id_seq IS 'numbers of the repairs';

CREATE FUNCTION sliding_sync.verify(
    target_schema text DEFAULT NULL,
    tables text DEFAULT 'both',
    first_room text DEFAULT NULL,
    last_room text DEFAULT NULL,
    room text DEFAULT NULL,
    member text DEFAULT NULL,
    sample double precision DEFAULT 1,
    history boolean DEFAULT true
) RETURNS TABLE (table_name text, room_id text, user_id text, column_name text, expected text, actual text, reason text,
    severity text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'sliding_sync_verify';
COMMENT ON FUNCTION sliding_sync.verify(text, text, text, text, text, text, double precision, boolean) IS
    'what is wrong in the derived tables, a row for each difference; changes nothing and works on a standby';

CREATE FUNCTION sliding_sync.repair(
    target_schema text DEFAULT NULL,
    tables text DEFAULT 'both',
    first_room text DEFAULT NULL,
    last_room text DEFAULT NULL,
    room text DEFAULT NULL,
    member text DEFAULT NULL,
    sample double precision DEFAULT 1,
    history boolean DEFAULT true,
    dry_run boolean DEFAULT false
) RETURNS TABLE (table_name text, room_id text, user_id text, reasons text, row_before jsonb, row_after jsonb)
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'sliding_sync_repair';
COMMENT ON FUNCTION sliding_sync.repair(text, text, text, text, text, text, double precision, boolean, boolean) IS
    'mends what verify() finds and drains the quarantine; returns the rows, whose rooms and users a running homeserver should drop from its caches';

REVOKE ALL ON FUNCTION sliding_sync.verify(text, text, text, text, text, text, double precision, boolean),
    sliding_sync.repair(text, text, text, text, text, text, double precision, boolean, boolean) FROM PUBLIC;
-- What the running session has changed.

CREATE FUNCTION sliding_sync.flush(OUT joined_rooms bigint, OUT memberships bigint, OUT rows_written bigint)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sliding_sync_flush';
COMMENT ON FUNCTION sliding_sync.flush() IS
    'writes the derived rows of what this transaction has changed so far, so that it can read them before it commits';

CREATE FUNCTION sliding_sync.last_flush(OUT joined_rooms bigint, OUT memberships bigint, OUT rows_written bigint,
                                        OUT microseconds double precision)
    LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'sliding_sync_last_flush';
COMMENT ON FUNCTION sliding_sync.last_flush() IS
    'what the last commit of this session refreshed, and the time that took; NULLs when there was none';

REVOKE ALL ON FUNCTION sliding_sync.flush() FROM PUBLIC;
-- What is installed.

CREATE FUNCTION sliding_sync.library_version() RETURNS text
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sliding_sync_library_version';
COMMENT ON FUNCTION sliding_sync.library_version() IS 'version of the loaded library';

-- Not for parallel queries, which may not begin a subtransaction.
CREATE FUNCTION sliding_sync.library(OUT version text, OUT failure text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    version := sliding_sync.library_version();
EXCEPTION WHEN OTHERS THEN
    failure := SQLERRM;
END
$$;
COMMENT ON FUNCTION sliding_sync.library() IS 'version of the library, or why it cannot be loaded';

CREATE FUNCTION sliding_sync.version(OUT library_version text, OUT extension_version text, OUT attached_schemas text[])
    LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT l.version,
           (SELECT extversion FROM pg_extension WHERE extname = 'sliding_sync'),
           ARRAY(SELECT h.schema_name FROM sliding_sync.homeservers h ORDER BY h.schema_name)
    FROM sliding_sync.library() l
$$;
COMMENT ON FUNCTION sliding_sync.version() IS
    'the versions of library and SQL, which should be the same, and the attached schemas; library_version is NULL when the library cannot be loaded';
-- May a reader trust the tables? Everything here looks at catalogs and at the extension's own tables only, so
-- it costs the same on a large homeserver as on a small one.

CREATE FUNCTION sliding_sync.has_own_function() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang JOIN pg_namespace n ON n.oid = p.pronamespace
                   WHERE n.nspname = 'sliding_sync' AND p.proname = 'collect' AND l.lanname = 'c'
                       AND p.prosrc = 'sliding_sync_collect' AND p.proconfig IS NULL AND NOT p.prosecdef
                       AND replace(p.probin, '$libdir/', '') = (
                           SELECT replace(x.probin, '$libdir/', '') FROM pg_proc x
                           WHERE x.oid = 'sliding_sync.attach(text)'::regprocedure))
$$;
COMMENT ON FUNCTION sliding_sync.has_own_function() IS
    'whether sliding_sync.collect(), which the triggers call, still is the function of the library';

CREATE VIEW sliding_sync.triggers AS
    WITH tables AS (
        SELECT t.schema_name, c.oid, c.relname, c.relhastriggers, t.is_derived
        FROM sliding_sync.homeserver_tables t
            JOIN sliding_sync.homeservers h ON h.schema_name = t.schema_name
            JOIN pg_class c ON c.oid = t.table_oid
    ), ours AS (
        SELECT t.tgrelid, t.tgname, t.tgenabled
        FROM tables c
            JOIN pg_trigger t ON t.tgrelid = c.oid AND t.tgname IN ('A_sliding_sync', 'A_sliding_sync_truncate')
            JOIN pg_proc p ON p.oid = t.tgfoid
        WHERE p.pronamespace = (SELECT n.oid FROM pg_namespace n WHERE n.nspname = 'sliding_sync')
            AND p.proname = 'collect' AND t.tgqual IS NULL AND t.tgattr::text = ''
            -- our function, and not another one under its name; a table whose own row says that it has no
            -- triggers fires none
            AND sliding_sync.has_own_function() AND c.relhastriggers
            -- AFTER DELETE FOR EACH ROW; AFTER INSERT OR UPDATE OR DELETE FOR EACH ROW; AFTER TRUNCATE
            AND t.tgtype = CASE WHEN c.is_derived THEN 9 WHEN t.tgname = 'A_sliding_sync' THEN 29 ELSE 32 END
    )
    SELECT c.schema_name, c.relname::text AS table_name, expected.trigger_name,
           CASE o.tgenabled WHEN 'A' THEN 'always' WHEN 'O' THEN 'origin' WHEN 'R' THEN 'replica'
                            WHEN 'D' THEN 'disabled' ELSE 'missing' END AS state
    FROM tables c
        JOIN (VALUES ('A_sliding_sync', true), ('A_sliding_sync', false), ('A_sliding_sync_truncate', false)
             ) expected (trigger_name, is_derived) ON expected.is_derived = c.is_derived
        LEFT JOIN ours o ON o.tgrelid = c.oid AND o.tgname = expected.trigger_name;
COMMENT ON VIEW sliding_sync.triggers IS
    'the triggers that the tables of every attached schema should have, and the state of each';
COMMENT ON COLUMN sliding_sync.triggers.state IS
    'always: as it should be; origin: does not fire where session_replication_role is replica; replica and disabled: does not fire for a homeserver; missing: it is not there or cannot fire, and attach() makes it; or its function was replaced';

CREATE VIEW sliding_sync.missing_columns AS
    WITH needed (table_name, type_oid, columns) AS (VALUES
        ('events', 'text'::regtype, '{event_id,room_id,type,sender,state_key,instance_name,rejection_reason}'::text[]),
        ('events', 'bigint', '{stream_ordering,topological_ordering}'),
        ('events', 'boolean', '{outlier}'),
        ('event_json', 'text', '{event_id,room_id,json,internal_metadata}'),
        ('rejections', 'text', '{event_id}'),
        ('redactions', 'text', '{event_id,redacts}'),
        ('room_ban_redactions', 'text', '{room_id,user_id,redacting_event_id}'),
        ('room_ban_redactions', 'bigint', '{redact_end_ordering}'),
        ('rooms', 'text', '{room_id}'),
        ('room_memberships', 'text', '{event_id,room_id,user_id,sender,membership}'),
        ('room_memberships', 'integer', '{forgotten}'),
        ('current_state_events', 'text', '{event_id,room_id,type,state_key}'),
        ('local_current_membership', 'text', '{room_id,user_id,event_id,membership}'),
        ('sliding_sync_joined_rooms', 'text', '{room_id,room_type,room_name,tombstone_successor_room_id}'),
        ('sliding_sync_joined_rooms', 'bigint', '{event_stream_ordering,bump_stamp}'),
        ('sliding_sync_joined_rooms', 'boolean', '{is_encrypted}'),
        ('sliding_sync_membership_snapshots', 'text', '{room_id,user_id,sender,membership_event_id,membership,'
            'event_instance_name,room_type,room_name,tombstone_successor_room_id}'),
        ('sliding_sync_membership_snapshots', 'bigint', '{event_stream_ordering}'),
        ('sliding_sync_membership_snapshots', 'integer', '{forgotten}'),
        ('sliding_sync_membership_snapshots', 'boolean', '{has_known_state,is_encrypted}')
    )
    SELECT t.schema_name, t.table_name, y.column_name, format_type(x.type_oid, NULL) AS needed_type,
           format_type(a.atttypid, a.atttypmod) AS found_type
    FROM sliding_sync.homeservers s JOIN sliding_sync.homeserver_tables t ON t.schema_name = s.schema_name
        JOIN needed x ON x.table_name = t.table_name
        CROSS JOIN unnest(x.columns) y (column_name)
        LEFT JOIN pg_attribute a ON a.attrelid = t.table_oid AND a.attname = y.column_name AND NOT a.attisdropped
    WHERE a.atttypid IS DISTINCT FROM x.type_oid
        AND NOT (x.type_oid = 'text'::regtype AND a.atttypid IS NOT DISTINCT FROM 'varchar'::regtype);
COMMENT ON VIEW sliding_sync.missing_columns IS
    'columns that rows are made from or written to and that a table of an attached schema lacks, or has with another type: the homeserver is newer than this extension';
COMMENT ON COLUMN sliding_sync.missing_columns.found_type IS 'its type; NULL: there is no such column';

-- Here and in what follows: a view that is named twice is planned twice, and planning is most of the cost, so
-- each stands in a WITH of its own.
CREATE VIEW sliding_sync.coverage_gaps AS
    WITH triggers AS MATERIALIZED (SELECT * FROM sliding_sync.triggers),
    tables AS MATERIALIZED (
        SELECT s.schema_name, t.table_name, t.table_oid
        FROM sliding_sync.homeservers s JOIN sliding_sync.homeserver_tables t ON t.schema_name = s.schema_name)
    SELECT t.schema_name, t.table_name,
           CASE t.state WHEN 'missing' THEN 'trigger_missing' WHEN 'origin' THEN 'trigger_not_always'
                        ELSE 'trigger_disabled' END AS reason
    FROM triggers t WHERE t.state <> 'always'
    UNION
    SELECT s.schema_name, x.table_name, 'table_missing'
    FROM sliding_sync.homeservers s
        CROSS JOIN (VALUES ('events'), ('event_json'), ('redactions'), ('rooms'), ('room_memberships'),
                           ('current_state_events'), ('local_current_membership')) x (table_name)
    WHERE NOT EXISTS (SELECT FROM triggers y
                      WHERE y.schema_name = s.schema_name AND y.table_name = x.table_name)
    UNION ALL
    SELECT DISTINCT m.schema_name, m.table_name, 'column_missing' FROM sliding_sync.missing_columns m
    UNION ALL
    SELECT t.schema_name, t.table_name, r.reason
    FROM tables t
        JOIN pg_class c ON c.oid = t.table_oid
        JOIN pg_class events ON events.relnamespace = c.relnamespace AND events.relname = 'events'
        CROSS JOIN LATERAL (VALUES
            ('table_unlogged', c.relpersistence <> 'p'),
            -- set by the first child, taken back by ANALYZE when there is none any more
            ('table_has_children', c.relhassubclass),
            ('row_security', c.relrowsecurity AND c.relowner <> events.relowner)) r (reason, applies)
    WHERE r.applies;
COMMENT ON VIEW sliding_sync.coverage_gaps IS
    'tables of attached schemas that may be changing at this moment without the triggers, or be read in part only, and why';
COMMENT ON COLUMN sliding_sync.coverage_gaps.reason IS 'one of the reason codes of ready()';

CREATE VIEW sliding_sync.schemas AS
    WITH homeservers AS MATERIALIZED (SELECT * FROM sliding_sync.homeservers),
    derived AS MATERIALIZED (
        SELECT x.schema_name, c.relowner
        FROM sliding_sync.homeserver_tables x JOIN pg_class c ON c.oid = x.table_oid WHERE x.is_derived),
    gaps AS MATERIALIZED (SELECT u.schema_name, u.reason FROM sliding_sync.coverage_gaps u)
    SELECT t.schema_name,
           (SELECT count(*) = 2 FROM derived x WHERE x.schema_name = t.schema_name AND x.relowner = t.owner_oid)
               AS has_derived_tables,
           ARRAY(SELECT DISTINCT u.reason COLLATE "C" FROM gaps u WHERE u.schema_name = t.schema_name
                 ORDER BY 1) AS coverage_gaps,
           w.complete_at, w.caught_up_at,
           coalesce(w.fingerprint <> sliding_sync.coverage_fingerprint(t.schema_name), false) AS tables_changed,
           EXISTS (SELECT FROM sliding_sync.bypassed_writes u
                   WHERE u.schema_name = t.schema_name)
               OR coalesce(w.lost_records <> (SELECT CASE WHEN l.is_called THEN l.last_value ELSE 0 END
                                            FROM sliding_sync.lost_records l), false) AS has_bypassed_writes,
           EXISTS (SELECT FROM sliding_sync.quarantine q WHERE q.schema_name = t.schema_name) AS has_quarantine,
           (SELECT max(r.run_id) FROM sliding_sync.runs r
            WHERE r.schema_name = t.schema_name AND r.finished_at IS NULL) AS unfinished_run
    FROM homeservers t
        LEFT JOIN sliding_sync.trigger_coverage w ON w.schema_name = t.schema_name;
COMMENT ON VIEW sliding_sync.schemas IS 'one row an attached schema: what ready() looks at; names no room and no user';
COMMENT ON COLUMN sliding_sync.schemas.coverage_gaps IS
    'why tables may be changing at this moment without the triggers; sliding_sync.coverage_gaps names them';
COMMENT ON COLUMN sliding_sync.schemas.tables_changed IS
    'tables or triggers were made, dropped, altered, rewritten or truncated since every row was last known to be right';

-- A homeserver's role, a reader and a monitor may all ask.
GRANT SELECT ON sliding_sync.triggers, sliding_sync.missing_columns, sliding_sync.coverage_gaps, sliding_sync.schemas
    TO PUBLIC;

CREATE FUNCTION sliding_sync.ready(target_schema text DEFAULT NULL, OUT is_ready boolean, OUT reasons text[])
    LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    homeserver text := target_schema;
    facts sliding_sync.schemas;
BEGIN
    IF homeserver IS NULL AND EXISTS (SELECT FROM sliding_sync.homeservers) THEN
        homeserver := sliding_sync.attached_schema();
    END IF;
    SELECT s.* INTO facts FROM sliding_sync.schemas s WHERE s.schema_name = homeserver;
    IF NOT FOUND THEN
        IF homeserver IS NOT NULL AND NOT EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = homeserver) THEN
            PERFORM sliding_sync.attached_schema(homeserver);  -- says that it does not exist
        END IF;
        is_ready := false;
        reasons := ARRAY['not_attached'];
        RETURN;
    END IF;
    reasons := array_remove(CASE WHEN NOT facts.has_derived_tables THEN '{derived_table_missing}'::text[] ELSE '{}' END
                            || facts.coverage_gaps || ARRAY[
        CASE WHEN facts.complete_at IS NULL THEN 'never_completed' END,
        CASE WHEN facts.has_bypassed_writes OR facts.tables_changed THEN 'bypassed_writes' END,
        CASE WHEN facts.has_quarantine THEN 'quarantine' END], NULL);
    is_ready := cardinality(reasons) = 0;
END
$$;
COMMENT ON FUNCTION sliding_sync.ready(text) IS
    'may a reader trust the derived tables of this schema, or of the only attached one; otherwise the reason codes of docs/diagnostics.md; cheap enough to poll';

CREATE FUNCTION sliding_sync.homeserver_table(target_schema text, table_name text, columns text[]) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_namespace n
        JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = $2 AND c.relkind = 'r'
        JOIN pg_class events ON events.relnamespace = n.oid AND events.relname = 'events' AND events.relkind = 'r'
    WHERE n.nspname = $1
        AND (c.relowner = events.relowner OR (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = c.relowner))
        AND NOT EXISTS (SELECT FROM unnest($3) x (wanted) WHERE NOT EXISTS (
            SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
                AND a.attname = split_part(x.wanted, ' ', 1) AND a.atttypid = split_part(x.wanted, ' ', 2)::regtype))
$$;
COMMENT ON FUNCTION sliding_sync.homeserver_table(text, text, text[]) IS
    'qualified name of a table if it belongs to the homeserver and has these columns ("name type"), NULL otherwise: somebody else may have made one of that name';

CREATE FUNCTION sliding_sync.as_owner(target_schema text, command text) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE STRICT AS 'MODULE_PATHNAME', 'sliding_sync_as_owner';
COMMENT ON FUNCTION sliding_sync.as_owner(text, text) IS
    'runs a command as the owner of an attached homeserver''s tables, kept from the session as in VACUUM, for whoever has that role''s privileges; returns its first value';

CREATE FUNCTION sliding_sync.own_background_updates() RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ARRAY['sliding_sync_joined_rooms_bg_update',
                 'sliding_sync_membership_snapshots_bg_update',
                 'sliding_sync_membership_snapshots_fix_forgotten_column_bg_update',
                 'sliding_sync_prefill_joined_rooms_to_recalculate_table_bg_update']
$$;
COMMENT ON FUNCTION sliding_sync.own_background_updates() IS
    'names of the homeserver''s own updates that fill or correct the derived tables; those that build their indexes are none of them';

CREATE FUNCTION sliding_sync.assert_ready(target_schema text) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    answer record;
BEGIN
    SELECT r.* INTO answer FROM sliding_sync.ready(target_schema) r;
    IF NOT answer.is_ready THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('the derived tables of schema "%s" are not ready', target_schema),
            DETAIL = format('Reasons: %s.', array_to_string(answer.reasons, ', ')),
            HINT = 'SELECT code, remedy FROM sliding_sync.health; names the remedy of each.';
    END IF;
END
$$;
COMMENT ON FUNCTION sliding_sync.assert_ready(text) IS 'raises an error with the reasons unless ready()';

CREATE FUNCTION sliding_sync.finish_background_updates(target_schema text DEFAULT NULL, dry_run boolean DEFAULT false,
                                                       OUT updates_ended text[], OUT rooms_dequeued bigint)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    homeserver text := sliding_sync.attached_schema(target_schema);
    updates text := sliding_sync.homeserver_table(homeserver, 'background_updates', '{update_name text}');
    queue text := sliding_sync.homeserver_table(homeserver, 'sliding_sync_joined_rooms_to_recalculate',
                                                '{room_id text}');
    drift record;
BEGIN
    PERFORM sliding_sync.assert_ready(homeserver);
    SELECT count(*) AS findings,
           string_agg(format('%s: room %s%s, %s is %s instead of %s (%s)', v.table_name, v.room_id,
                             ' user ' || v.user_id, coalesce(v.column_name, 'the row'),
                             coalesce(quote_literal(v.actual), 'NULL'), coalesce(quote_literal(v.expected), 'NULL'),
                             v.reason), E'\n') FILTER (WHERE v.position <= 5) AS first_ones
    INTO drift
    FROM (SELECT x.*, row_number() OVER () AS position FROM sliding_sync.verify(target_schema => homeserver) x
          WHERE x.severity IN ('visible', 'hidden')) v;
    IF drift.findings > 0 THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('the derived tables of schema "%s" are not right', homeserver),
            DETAIL = format(E'Findings: %s.\n%s', drift.findings, drift.first_ones),
            HINT = format('SELECT * FROM sliding_sync.repair(target_schema => %L);', homeserver);
    END IF;
    PERFORM sliding_sync.assert_ready(homeserver);  -- verify may have taken an hour

    updates_ended := '{}';
    rooms_dequeued := 0;
    IF updates IS NOT NULL THEN
        updates_ended := sliding_sync.as_owner(homeserver, format(
            'SELECT coalesce(array_agg(u.update_name ORDER BY u.update_name), ''{}'')::text FROM %s u'
            ' WHERE u.update_name = ANY (%L)', updates, sliding_sync.own_background_updates()));
    END IF;
    IF queue IS NOT NULL THEN
        rooms_dequeued := sliding_sync.as_owner(homeserver, format('SELECT count(*)::text FROM %s', queue));
    END IF;
    IF dry_run THEN
        RETURN;
    END IF;
    IF updates_ended <> '{}' THEN
        updates_ended := sliding_sync.as_owner(homeserver, format(
            'WITH gone AS (DELETE FROM %s u WHERE u.update_name = ANY (%L) RETURNING u.update_name)'
            ' SELECT coalesce(array_agg(update_name ORDER BY update_name), ''{}'')::text FROM gone',
            updates, updates_ended));
        RAISE NOTICE USING
            MESSAGE = 'the homeserver''s background updates were ended',
            HINT = 'Restart the homeserver: it reads from the tables from its next start on, '
                   'and a running one may still look for what was ended.';
    END IF;
    IF rooms_dequeued > 0 THEN
        rooms_dequeued := sliding_sync.as_owner(homeserver, format(
            'WITH gone AS (DELETE FROM %s RETURNING 1) SELECT count(*)::text FROM gone', queue));
    END IF;
END
$$;
COMMENT ON FUNCTION sliding_sync.finish_background_updates(text, boolean) IS
    'when ready() and verify() find nothing wrong: ends the homeserver''s own updates that fill the derived tables, and empties their queue; a dry run only says what it would end';

REVOKE ALL ON FUNCTION sliding_sync.finish_background_updates(text, boolean) FROM PUBLIC;
-- The extension's own tables are published like any others, by FOR ALL TABLES. What they say is of one
-- database: of its triggers, process ids and bypassed writes. So the rows that a subscription brings are
-- dropped on arrival: they neither meet rows of this database under the same key nor are taken for such.

CREATE FUNCTION sliding_sync.drop_replicated_row() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sliding_sync_drop_replicated_row';
COMMENT ON FUNCTION sliding_sync.drop_replicated_row() IS
    'on the extension''s own tables: drops what replication brings, and lets the extension''s own writes through';
REVOKE ALL ON FUNCTION sliding_sync.drop_replicated_row() FROM PUBLIC;

DO $$
DECLARE
    own_table regclass;
BEGIN
    FOR own_table IN SELECT c.oid FROM pg_catalog.pg_class c
                     WHERE c.relnamespace = 'sliding_sync'::regnamespace AND c.relkind = 'r' LOOP
        EXECUTE format('CREATE TRIGGER drop_replicated_row BEFORE INSERT OR UPDATE OR DELETE ON %s '
                       'FOR EACH ROW EXECUTE FUNCTION sliding_sync.drop_replicated_row()', own_table);
        EXECUTE format('ALTER TABLE %s ENABLE REPLICA TRIGGER drop_replicated_row', own_table);
        EXECUTE format('ALTER TRIGGER drop_replicated_row ON %s DEPENDS ON EXTENSION sliding_sync', own_table);
    END LOOP;
END
$$;
-- What the triggers are worth: derived rows that the homeserver itself has written in a transaction, and that
-- the commit corrected. It does not say which rows, but values may be names of rooms, and ids: nobody is
-- granted it.

CREATE TABLE sliding_sync.corrections (
    correction_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    corrected_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    schema_name text NOT NULL,
    table_name text NOT NULL,
    column_name text,
    case_codes text NOT NULL,
    homeserver_value text,
    corrected_value text
);
COMMENT ON TABLE sliding_sync.corrections IS
    'values that the homeserver wrote into derived rows and that the commit of the same transaction corrected; kept for 30 days, 10000 at most, pruned by backfill() and repair()';
COMMENT ON SEQUENCE sliding_sync.corrections_correction_id_seq IS 'numbers of the corrections';
COMMENT ON COLUMN sliding_sync.corrections.correction_id IS 'number of the record';
COMMENT ON COLUMN sliding_sync.corrections.corrected_at IS 'when the transaction began';
COMMENT ON COLUMN sliding_sync.corrections.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.corrections.table_name IS 'the derived table';
COMMENT ON COLUMN sliding_sync.corrections.column_name IS 'NULL: there must be no such row';
COMMENT ON COLUMN sliding_sync.corrections.case_codes IS
    'the cases of docs/differences.md that give such a difference; empty: none of them is known to';
COMMENT ON COLUMN sliding_sync.corrections.homeserver_value IS 'what the homeserver had written, its first 500 characters';
COMMENT ON COLUMN sliding_sync.corrections.corrected_value IS 'what was committed, its first 500 characters';

CREATE TRIGGER drop_replicated_row BEFORE INSERT OR UPDATE OR DELETE ON sliding_sync.corrections
    FOR EACH ROW EXECUTE FUNCTION sliding_sync.drop_replicated_row();
ALTER TABLE sliding_sync.corrections ENABLE REPLICA TRIGGER drop_replicated_row;
ALTER TRIGGER drop_replicated_row ON sliding_sync.corrections DEPENDS ON EXTENSION sliding_sync;

CREATE VIEW sliding_sync.correction_counts AS
    SELECT c.schema_name, c.table_name, coalesce(c.column_name, 'row') AS column_name, c.case_codes,
           count(*) AS corrections
    FROM sliding_sync.corrections c
    WHERE c.corrected_at > now() - interval '30 days'
    GROUP BY c.schema_name, c.table_name, coalesce(c.column_name, 'row'), c.case_codes;
COMMENT ON VIEW sliding_sync.correction_counts IS 'corrections of the last 30 days, without their values';
COMMENT ON COLUMN sliding_sync.correction_counts.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.correction_counts.table_name IS 'the derived table';
COMMENT ON COLUMN sliding_sync.correction_counts.column_name IS 'row: there must be no such row';
COMMENT ON COLUMN sliding_sync.correction_counts.case_codes IS 'the cases of docs/differences.md that give such a difference';
COMMENT ON COLUMN sliding_sync.correction_counts.corrections IS 'how many values were corrected';
-- What a monitor looks at. The views read the extension's tables with the rights of their owner and otherwise
-- only catalogs, so a role that has nothing but pg_monitor can read them.

CREATE VIEW sliding_sync.derived_tables AS
    SELECT n.nspname::text AS schema_name, c.relname::text AS table_name, pg_get_userbyid(c.relowner)::text AS owner_name,
           CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END AS rows_estimate,
           pg_stat_get_live_tuples(c.oid) AS live_rows, pg_stat_get_dead_tuples(c.oid) AS dead_rows,
           pg_stat_get_tuples_inserted(c.oid) AS inserts, pg_stat_get_tuples_updated(c.oid) AS updates,
           pg_stat_get_tuples_deleted(c.oid) AS deletes
    FROM sliding_sync.homeservers s JOIN pg_namespace n ON n.nspname = s.schema_name
        JOIN pg_class c ON c.relnamespace = n.oid
    WHERE c.relkind = 'r' AND c.relname IN ('sliding_sync_joined_rooms', 'sliding_sync_membership_snapshots');
COMMENT ON VIEW sliding_sync.derived_tables IS 'both tables of each attached schema, and what the server counts of them';
COMMENT ON COLUMN sliding_sync.derived_tables.rows_estimate IS 'as of the last ANALYZE; NULL: never analyzed';
COMMENT ON COLUMN sliding_sync.derived_tables.inserts IS 'rows, since the server''s statistics were reset';

CREATE VIEW sliding_sync.role_settings AS
    SELECT x.role_name, x.database_name, x.name, x.value,
           x.name = 'sliding_sync.enabled'
               AND lower(x.value) IN ('off', 'of', 'false', 'fals', 'fal', 'fa', 'f', 'no', 'n', '0') AS switches_off,
           CASE WHEN x.role_name IS NULL THEN format('ALTER DATABASE %I RESET %s', x.database_name, x.name)
                WHEN x.database_name IS NULL THEN format('ALTER ROLE %I RESET %s', x.role_name, x.name)
                ELSE format('ALTER ROLE %I IN DATABASE %I RESET %s', x.role_name, x.database_name, x.name) END AS remedy
    FROM (SELECT r.rolname::text AS role_name, d.datname::text AS database_name, split_part(y.setting, '=', 1) AS name,
                 substr(y.setting, strpos(y.setting, '=') + 1) AS value
          FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) y (setting)
              LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase
          WHERE starts_with(y.setting, 'sliding_sync.') AND (s.setdatabase = 0 OR d.datname = current_database())) x;
COMMENT ON VIEW sliding_sync.role_settings IS
    'settings of sliding_sync that ALTER ROLE or ALTER DATABASE made and that concern this database';
COMMENT ON COLUMN sliding_sync.role_settings.role_name IS 'NULL: every role';
COMMENT ON COLUMN sliding_sync.role_settings.database_name IS 'NULL: every database';
COMMENT ON COLUMN sliding_sync.role_settings.switches_off IS 'the triggers do nothing in sessions that begin with it';
COMMENT ON COLUMN sliding_sync.role_settings.remedy IS 'takes the setting back';

CREATE VIEW sliding_sync.needed_indexes AS
    WITH needed (table_name, columns, is_unique) AS (VALUES
        ('events', '{event_id}'::text[], false),
        ('events', '{room_id,stream_ordering}', false),
        ('events', '{stream_ordering}', false),
        ('event_json', '{event_id}', false),
        ('rejections', '{event_id}', false),
        ('redactions', '{event_id}', false),
        ('redactions', '{redacts}', false),
        ('room_ban_redactions', '{room_id,user_id}', false),
        ('rooms', '{room_id}', false),
        ('room_memberships', '{event_id}', false),
        ('room_memberships', '{user_id,room_id}', false),
        ('current_state_events', '{event_id}', false),
        ('current_state_events', '{room_id,type,state_key}', false),
        ('local_current_membership', '{room_id}', false),
        ('local_current_membership', '{user_id,room_id}', false),
        ('sliding_sync_joined_rooms', '{room_id}', true),
        ('sliding_sync_joined_rooms', '{event_stream_ordering}', false),
        ('sliding_sync_membership_snapshots', '{room_id,user_id}', true),
        ('sliding_sync_membership_snapshots', '{user_id}', false),
        ('sliding_sync_membership_snapshots', '{event_stream_ordering}', false),
        ('sliding_sync_membership_snapshots', '{membership_event_id}', false)
    )
    SELECT s.schema_name, x.table_name, x.columns, x.is_unique,
           CASE WHEN bool_or(i.indisvalid) THEN 'valid' WHEN count(i.indexrelid) > 0 THEN 'invalid'
                ELSE 'missing' END AS state,
           min(ic.relname::text) FILTER (WHERE NOT i.indisvalid) AS invalid_index,
           CASE WHEN bool_or(i.indisvalid) THEN NULL
                WHEN count(i.indexrelid) > 0 THEN format('REINDEX INDEX CONCURRENTLY %I.%I', s.schema_name,
                    min(ic.relname::text) FILTER (WHERE NOT i.indisvalid))
                ELSE format('CREATE %sINDEX CONCURRENTLY ON %I.%I (%s)', CASE WHEN x.is_unique THEN 'UNIQUE ' END,
                    s.schema_name, x.table_name, array_to_string(x.columns, ', ')) END AS remedy
    FROM sliding_sync.homeservers s CROSS JOIN needed x
        JOIN pg_namespace n ON n.nspname = s.schema_name
        JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = x.table_name AND c.relkind = 'r'
        LEFT JOIN (pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid)
            ON i.indrelid = c.oid AND i.indpred IS NULL
            AND (NOT x.is_unique OR i.indisunique AND i.indnkeyatts = cardinality(x.columns))
            AND (SELECT array_agg(a.attname::text ORDER BY a.attname::text) FROM pg_attribute a
                 WHERE a.attrelid = c.oid AND a.attnum = ANY ((i.indkey::smallint[])[0:cardinality(x.columns) - 1]))
                = (SELECT array_agg(y.name ORDER BY y.name) FROM unnest(x.columns) y (name))
    GROUP BY s.schema_name, x.table_name, x.columns, x.is_unique;
COMMENT ON VIEW sliding_sync.needed_indexes IS
    'the indexes that the triggers'' statements and the derived tables'' foreign keys look rows up by';
COMMENT ON COLUMN sliding_sync.needed_indexes.columns IS 'an index that begins with these, in any order, will do';
COMMENT ON COLUMN sliding_sync.needed_indexes.is_unique IS 'ON CONFLICT needs a unique index on just these columns';

GRANT SELECT ON sliding_sync.derived_tables, sliding_sync.role_settings, sliding_sync.needed_indexes TO PUBLIC;

--
-- status: one row an attached schema
--
CREATE VIEW sliding_sync.status AS
    WITH schemas AS MATERIALIZED (SELECT * FROM sliding_sync.schemas),
    tables AS MATERIALIZED (
        SELECT n.nspname AS schema_name, c.relname AS table_name, c.reltuples::bigint AS rows_estimate
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND c.relname IN ('sliding_sync_joined_rooms', 'sliding_sync_membership_snapshots')
            AND c.reltuples >= 0)
    SELECT s.schema_name, v.library_version, v.extension_version, r.is_ready, r.reasons,
           t.triggers_found, t.triggers_expected, t.trigger_state,
           (SELECT d.rows_estimate FROM tables d
            WHERE d.schema_name = s.schema_name AND d.table_name = 'sliding_sync_joined_rooms') AS joined_rooms_estimate,
           (SELECT d.rows_estimate FROM tables d WHERE d.schema_name = s.schema_name
                AND d.table_name = 'sliding_sync_membership_snapshots') AS membership_snapshots_estimate,
           s.complete_at, s.caught_up_at,
           (SELECT count(*) FROM sliding_sync.bypassed_writes u
            WHERE u.schema_name = s.schema_name) AS bypassed_writes,
           (SELECT count(*) FROM sliding_sync.quarantine q WHERE q.schema_name = s.schema_name) AS quarantined,
           s.unfinished_run,
           (SELECT format('%s in 30 days (%s)', sum(x.corrections),
                          string_agg(format('%s %s', x.column_name, x.corrections), ', '
                                     ORDER BY x.corrections DESC, x.column_name))
            FROM (SELECT c.column_name, sum(c.corrections) AS corrections FROM sliding_sync.correction_counts c
                  WHERE c.schema_name = s.schema_name GROUP BY c.column_name) x
            HAVING count(*) > 0) AS corrected
    FROM schemas s
        CROSS JOIN sliding_sync.version() v
        CROSS JOIN LATERAL sliding_sync.ready(s.schema_name) r
        CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE x.state <> 'missing') AS triggers_found, count(*) AS triggers_expected,
                   (array_agg(x.state ORDER BY array_position(
                       '{missing,disabled,replica,origin,always}'::text[], x.state)))[1] AS trigger_state
            FROM sliding_sync.triggers x WHERE x.schema_name = s.schema_name) t;
COMMENT ON VIEW sliding_sync.status IS
    'one row an attached schema: versions, triggers, how complete its derived tables are';
COMMENT ON COLUMN sliding_sync.status.trigger_state IS
    'the worst of sliding_sync.triggers: missing, disabled, replica, origin or always';
COMMENT ON COLUMN sliding_sync.status.joined_rooms_estimate IS 'as of the last ANALYZE; NULL: never analyzed';
COMMENT ON COLUMN sliding_sync.status.membership_snapshots_estimate IS 'as of the last ANALYZE; NULL: never analyzed';
COMMENT ON COLUMN sliding_sync.status.unfinished_run IS 'the next call of backfill() for the same rooms goes on with it';
COMMENT ON COLUMN sliding_sync.status.corrected IS
    'how many values that the homeserver wrote itself were corrected, and in which columns; NULL: none';

--
-- progress: one row for each table of a backfill that is not finished, and for each session that verifies
--
CREATE VIEW sliding_sync.progress AS
    SELECT 'backfill' AS command, r.run_id, r.schema_name, g.table_name,
           CASE WHEN bool_and(g.is_done) THEN 'done' WHEN count(a.pid) > 0 THEN 'working'
                WHEN max(g.updated_at) IS NULL THEN 'waiting' ELSE 'interrupted' END AS phase,
           sum(g.items_done)::bigint AS items_done,
           greatest(sum(g.items_total), sum(g.items_done))::bigint AS items_total,
           sum(g.rows_written)::bigint AS rows_written, sum(g.quarantined)::bigint AS quarantined,
           speed.items_per_second,
           CASE WHEN count(a.pid) > 0 AND speed.items_per_second > 0
                THEN make_interval(secs => round(greatest(sum(g.items_total) - sum(g.items_done), 0)::double precision
                                                 / speed.items_per_second)) END AS eta,
           sum(g.throttled_seconds) AS throttled_seconds,
           last.position_room AS last_room, last.position_user AS last_user,
           r.started_at, max(g.updated_at) AS updated_at,
           coalesce(array_agg(DISTINCT a.pid ORDER BY a.pid) FILTER (WHERE a.pid IS NOT NULL), '{}') AS sessions
    FROM sliding_sync.runs r JOIN sliding_sync.run_ranges g ON g.run_id = r.run_id
        -- a session that still works on it: the same process id may long belong to somebody else
        LEFT JOIN pg_stat_activity a ON a.pid = g.pid AND NOT g.is_done AND a.datname = current_database()
            AND a.state = 'active' AND a.backend_start <= g.updated_at
        CROSS JOIN LATERAL (
            SELECT round((sum(y.items_done) / nullif(sum(y.work_seconds + y.throttled_seconds), 0)
                          * greatest((SELECT count(DISTINCT b.pid) FROM sliding_sync.run_ranges z
                                      JOIN pg_stat_activity b ON b.pid = z.pid AND NOT z.is_done
                                          AND b.datname = current_database() AND b.state = 'active'
                                          AND b.backend_start <= z.updated_at
                                      WHERE z.run_id = r.run_id AND z.table_name = g.table_name), 1))::numeric, 1)
                   ::double precision AS items_per_second
            FROM sliding_sync.run_ranges y WHERE y.run_id = r.run_id AND y.table_name = g.table_name) speed
        CROSS JOIN LATERAL (
            SELECT l.position_room, l.position_user FROM sliding_sync.run_ranges l
            WHERE l.run_id = r.run_id AND l.table_name = g.table_name
            ORDER BY l.updated_at DESC NULLS LAST, l.range_number LIMIT 1) last
    WHERE r.finished_at IS NULL
    GROUP BY r.run_id, r.schema_name, g.table_name, r.started_at, speed.items_per_second, last.position_room,
        last.position_user
    UNION ALL
    SELECT v.said[1], NULL, v.said[6],
           CASE v.said[4] WHEN 'rooms' THEN 'sliding_sync_joined_rooms' ELSE 'sliding_sync_membership_snapshots' END,
           'working', v.said[2]::bigint, v.said[3]::bigint, NULL, NULL, v.per_second,
           CASE WHEN v.per_second > 0
                THEN make_interval(secs => round((v.said[3]::bigint - v.said[2]::bigint) / v.per_second)) END,
           NULL, NULL, NULL, v.query_start, NULL, ARRAY[v.pid]
    FROM (SELECT s.said, round((s.said[2]::bigint / nullif(s.said[5]::numeric, 0)), 1)::double precision AS per_second,
                 s.query_start, s.pid
          FROM (SELECT a.pid, a.query_start, regexp_match(a.query,
                       '^sliding_sync[.]([a-z_]+)[(][)]: ([0-9]+)(?: of ([0-9]+))? (rooms|memberships) in ([0-9.]+) s of schema (.*)$') AS said
                FROM pg_stat_activity a WHERE a.datname = current_database() AND a.state = 'active') s
          WHERE s.said IS NOT NULL) v;
COMMENT ON VIEW sliding_sync.progress IS
    'one row for each table of a backfill that is not finished, and for each session that is in verify(), or in what calls it';
COMMENT ON COLUMN sliding_sync.progress.command IS 'backfill, verify, repair or catch_up; finish_background_updates() verifies';
COMMENT ON COLUMN sliding_sync.progress.run_id IS 'of a backfill; NULL: of a session that is seen only while it works';
COMMENT ON COLUMN sliding_sync.progress.phase IS
    'waiting: not begun; working: a session is at it; interrupted: none is, and the next call of backfill() for the same rooms goes on; done: the run has more tables to do';
COMMENT ON COLUMN sliding_sync.progress.items_done IS 'rooms, or memberships';
COMMENT ON COLUMN sliding_sync.progress.items_total IS 'estimate';
COMMENT ON COLUMN sliding_sync.progress.quarantined IS 'keys that went into quarantine';
COMMENT ON COLUMN sliding_sync.progress.items_per_second IS 'of all sessions together, throttling included';
COMMENT ON COLUMN sliding_sync.progress.eta IS 'time left at this speed; NULL when no session works';
COMMENT ON COLUMN sliding_sync.progress.last_room IS 'where the range that moved last stands';
COMMENT ON COLUMN sliding_sync.progress.sessions IS 'process ids that are at work';

--
-- health: one row a finding
--
CREATE VIEW sliding_sync.health AS
    WITH schemas AS MATERIALIZED (SELECT * FROM sliding_sync.schemas),
    triggers AS MATERIALIZED (SELECT * FROM sliding_sync.triggers),
    derived_tables AS MATERIALIZED (SELECT * FROM sliding_sync.derived_tables),
    needed_indexes AS MATERIALIZED (SELECT * FROM sliding_sync.needed_indexes),
    role_settings AS MATERIALIZED (SELECT * FROM sliding_sync.role_settings),
    unattached AS MATERIALIZED (
        SELECT n.nspname AS schema_name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.relname IN ('events', 'event_json', 'redactions', 'rooms', 'room_memberships',
                'current_state_events', 'local_current_membership')
            AND NOT EXISTS (SELECT FROM schemas s WHERE s.schema_name = n.nspname)
        GROUP BY n.nspname HAVING count(*) = 7)
    SELECT f.severity, f.schema_name, f.code, f.detail, f.remedy
    FROM (
        -- what makes ready() say no
        SELECT 'error' AS severity, s.schema_name, 'derived_table_missing' AS code,
               'A derived table does not exist, or does not belong to the owner of the homeserver''s tables.' AS detail,
               format('SELECT sliding_sync.attach(%L)', s.schema_name) AS remedy
        FROM schemas s WHERE NOT s.has_derived_tables
        UNION ALL
        SELECT 'error', t.schema_name, 'trigger_missing',
               format('Without their triggers: %s.', string_agg(DISTINCT t.table_name, ', ')),
               CASE WHEN NOT sliding_sync.has_own_function()
                    THEN format('CREATE OR REPLACE FUNCTION sliding_sync.collect() RETURNS trigger LANGUAGE c AS %L, '
                                '''sliding_sync_collect''; ', (SELECT p.probin FROM pg_proc p
                                WHERE p.oid = 'sliding_sync.attach(text)'::regprocedure))
                    ELSE '' END ||
               format('SELECT sliding_sync.attach(%L); SELECT sliding_sync.catch_up(%1$L)', t.schema_name)
        FROM triggers t WHERE t.state = 'missing' GROUP BY t.schema_name
        UNION ALL
        SELECT 'error', t.schema_name, 'trigger_disabled',
               format('Trigger %s of table %s does not fire.', t.trigger_name, t.table_name),
               format('ALTER TABLE %I.%I ENABLE ALWAYS TRIGGER "%s"; SELECT sliding_sync.catch_up(%1$L)',
                      t.schema_name, t.table_name, t.trigger_name)
        FROM triggers t WHERE t.state IN ('replica', 'disabled')
        UNION ALL
        SELECT 'error', t.schema_name, 'trigger_not_always',
               format('Where session_replication_role is replica, writes go unnoticed. Tables: %s.',
                      string_agg(DISTINCT t.table_name, ', ')),
               format('SELECT sliding_sync.attach(%L); SELECT sliding_sync.catch_up(%1$L)', t.schema_name)
        FROM triggers t WHERE t.state = 'origin' GROUP BY t.schema_name
        UNION ALL
        SELECT 'error', u.schema_name, u.reason, format(x.detail, u.table_name),
               format(x.remedy, u.schema_name, u.table_name)
        FROM sliding_sync.coverage_gaps u JOIN (VALUES
            ('table_missing', 'There is no ordinary table %s that belongs to the owner of events or to a superuser.',
             'Bring it back, or SELECT sliding_sync.detach(%1$L)'),
            ('table_unlogged', 'A crash empties table %s.', 'ALTER TABLE %1$I.%2$I SET LOGGED; SELECT sliding_sync.catch_up(%1$L)'),
            ('table_has_children', 'Rows of tables that inherit from %s are read with it, and nobody notes their changes.',
             'pg_inherits names them: ALTER TABLE ... NO INHERIT %1$I.%2$I; ANALYZE %1$I.%2$I; '
             'SELECT sliding_sync.catch_up(%1$L)'),
            ('row_security', 'Row security may hide rows of table %s from the owner of the derived tables.',
             'ALTER TABLE %1$I.%2$I DISABLE ROW LEVEL SECURITY; SELECT sliding_sync.catch_up(%1$L)')) x (reason, detail, remedy) ON x.reason = u.reason
        UNION ALL
        SELECT 'error', m.schema_name, 'column_missing',
               format('The homeserver is not of a version that this extension knows (database schemas 86 to 94). Table %s: %s.',
                      m.table_name, string_agg(m.column_name || CASE WHEN m.found_type IS NULL THEN ' is missing'
                          ELSE format(' has type %s instead of %s', m.found_type, m.needed_type) END, ', '
                          ORDER BY m.column_name)),
               format('Install a version of sliding_sync that knows it, ALTER EXTENSION sliding_sync UPDATE, '
                      'SELECT sliding_sync.catch_up(%L); or SELECT sliding_sync.detach(%1$L)', m.schema_name)
        FROM sliding_sync.missing_columns m GROUP BY m.schema_name, m.table_name
        UNION ALL
        SELECT 'error', s.schema_name, 'never_completed',
               'Rows from before the triggers are missing or not known to be right.',
               format('CALL sliding_sync.backfill(target_schema => %L)', s.schema_name)
        FROM schemas s WHERE s.complete_at IS NULL
        UNION ALL
        SELECT 'error', s.schema_name, 'bypassed_writes',
               CASE WHEN EXISTS (SELECT FROM sliding_sync.bypassed_writes u WHERE u.schema_name = s.schema_name)
                    THEN (SELECT format('Transactions whose changes the triggers could not act on: %s. '
                                        'The last one at %s, role %s (%s).',
                                        count(*), max(u.recorded_at), (array_agg(u.role_name ORDER BY u.recorded_at DESC))[1],
                                        (array_agg(u.reason ORDER BY u.recorded_at DESC))[1])
                          FROM sliding_sync.bypassed_writes u WHERE u.schema_name = s.schema_name)
                    ELSE 'Tables or triggers were made, dropped, altered, rewritten or truncated since every row was last '
                         'known to be right.'
                    END,
               format('SELECT sliding_sync.catch_up(%L)', s.schema_name)
        FROM schemas s WHERE s.has_bypassed_writes OR s.tables_changed
        UNION ALL
        SELECT 'error', k.schema_name, 'quarantine',
               format('Keys without a derived row: %s (%s). The last one: %s', sum(k.keys),
                      string_agg(k.reason || ' ' || k.sqlstate, ', ' ORDER BY k.reason, k.sqlstate),
                      (SELECT q.message FROM sliding_sync.quarantine q WHERE q.entry_id = max(k.last_entry))),
               'SELECT * FROM sliding_sync.repair_quarantine()'
        -- in one pass: there may be as many as there are rooms
        FROM (SELECT q.schema_name, q.reason, q.sqlstate, count(*) AS keys, max(q.entry_id) AS last_entry
              FROM sliding_sync.quarantine q GROUP BY q.schema_name, q.reason, q.sqlstate) k
        GROUP BY k.schema_name
        UNION ALL
        -- what will make it say no, or will fail
        SELECT 'error', d.schema_name, 'owner_differs',
               format('Table %s belongs to %s, and events to %s.', d.table_name, d.owner_name,
                      pg_get_userbyid(e.relowner)),
               format('ALTER TABLE %I.%I OWNER TO %I', d.schema_name, d.table_name, pg_get_userbyid(e.relowner))
        FROM derived_tables d JOIN pg_namespace n ON n.nspname = d.schema_name
            JOIN pg_class e ON e.relnamespace = n.oid AND e.relname = 'events' AND e.relkind = 'r'
        WHERE d.owner_name <> pg_get_userbyid(e.relowner)
        UNION ALL
        SELECT 'warning', u.schema_name, 'not_attached',
               'The schema holds a homeserver''s tables, and attach() was not called for them.',
               format('SELECT sliding_sync.attach(%L)', u.schema_name)
        FROM unattached u
        UNION ALL
        SELECT 'warning', NULL, 'not_attached',
               'No homeserver is attached in this database, and no schema of it holds a homeserver''s tables.',
               'Start the homeserver once, so that it creates its tables, then SELECT sliding_sync.attach(); '
               'or DROP EXTENSION sliding_sync, if its database is another one'
        WHERE NOT EXISTS (SELECT FROM schemas) AND NOT EXISTS (SELECT FROM unattached)
        UNION ALL
        SELECT 'warning', t.schema_name, 'trigger_not_dependent',
               format('DROP EXTENSION would be refused because of trigger %s of table %s.', t.trigger_name, t.table_name),
               format('ALTER TRIGGER %I ON %I.%I DEPENDS ON EXTENSION sliding_sync', t.trigger_name, t.schema_name,
                      t.table_name)
        FROM sliding_sync.homeserver_triggers t
        WHERE NOT EXISTS (
            SELECT FROM pg_depend d WHERE d.classid = 'pg_trigger'::regclass AND d.objid = t.trigger_oid
                AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'x')
        UNION ALL
        SELECT 'warning', d.schema_name, 'foreign_trigger',
               format('Table %s has trigger %s, which calls %I.%I().', d.table_name, t.tgname, pn.nspname, p.proname),
               format('DROP TRIGGER %I ON %I.%I', t.tgname, d.schema_name, d.table_name)
        FROM derived_tables d JOIN pg_namespace n ON n.nspname = d.schema_name
            JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = d.table_name
            JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal
            JOIN pg_proc p ON p.oid = t.tgfoid
            JOIN pg_namespace pn ON pn.oid = p.pronamespace AND pn.nspname <> 'sliding_sync'
        UNION ALL
        SELECT 'warning', i.schema_name, 'index_missing',
               format('Table %s has no %sindex on (%s).', i.table_name, CASE WHEN i.is_unique THEN 'unique ' END,
                      array_to_string(i.columns, ', ')),
               i.remedy
        FROM needed_indexes i WHERE i.state = 'missing'
        UNION ALL
        SELECT 'warning', i.schema_name, 'index_invalid',
               format('Index %s of table %s was not built to its end.', i.invalid_index, i.table_name), i.remedy
        FROM needed_indexes i WHERE i.state = 'invalid'
        UNION ALL
        SELECT 'warning', NULL, 'switched_off',
               format('sliding_sync.enabled is off for role %s in database %s.', coalesce(r.role_name, '(any)'),
                      coalesce(r.database_name, '(any)')),
               r.remedy
        FROM role_settings r WHERE r.switches_off
        UNION ALL
        SELECT 'warning', NULL, 'raises_errors',
               format('A failing refresh fails the transaction of role %s in database %s.',
                      coalesce(r.role_name, '(any)'), coalesce(r.database_name, '(any)')),
               r.remedy
        FROM role_settings r WHERE r.name = 'sliding_sync.on_failure' AND lower(r.value) = 'error'
        UNION ALL
        SELECT 'error', NULL, 'library_missing',
               format('The library cannot be loaded, and every write to the tables with triggers fails: %s.', l.failure),
               'Install the package of the extension on this host; or let the homeserver go on without it: SELECT '
               'sliding_sync.detach()'
        FROM sliding_sync.library() l WHERE l.failure IS NOT NULL
        UNION ALL
        SELECT 'warning', NULL, 'version_differs',
               format('The library is %s and the SQL is %s. A session keeps the library that it has loaded.',
                      v.library_version, v.extension_version),
               CASE WHEN string_to_array(v.library_version, '.')::integer[] > string_to_array(v.extension_version, '.')::integer[]
                    THEN 'ALTER EXTENSION sliding_sync UPDATE'
                    ELSE format('Install the extension''s package, version %s, on this host; then connect anew', v.extension_version) END
        FROM sliding_sync.version() v WHERE v.library_version <> v.extension_version
        UNION ALL
        SELECT 'notice', NULL, 'corrections_full',
               'The log of what commits corrected takes no more.',
               'DELETE FROM sliding_sync.corrections'
        FROM sliding_sync.corrections c HAVING max(c.correction_id) - min(c.correction_id) >= 10000
        UNION ALL
        SELECT 'warning', p.schema_name, 'run_interrupted',
               format('Run %s of backfill() is not finished, and no session works on it.', p.run_id),
               format('CALL sliding_sync.backfill(target_schema => %L)', p.schema_name)
        FROM sliding_sync.progress p WHERE p.run_id IS NOT NULL GROUP BY p.schema_name, p.run_id
        -- a session is seen from the end of its first batch on
        HAVING bool_and(cardinality(p.sessions) = 0)
            AND max(coalesce(p.updated_at, p.started_at)) < statement_timestamp() - interval '1 minute'
        UNION ALL
        SELECT 'notice', d.schema_name, 'bloated',
               format('Table %s has %s dead rows and %s live ones.', d.table_name, d.dead_rows, d.live_rows),
               format('VACUUM %I.%I', d.schema_name, d.table_name)
        FROM derived_tables d WHERE d.dead_rows > 10000 + d.live_rows
    ) f
    ORDER BY array_position('{error,warning,notice}'::text[], f.severity), f.schema_name, f.code, f.detail;
COMMENT ON VIEW sliding_sync.health IS 'one row a finding, with the command that cures it; no row: all is well';
COMMENT ON COLUMN sliding_sync.health.severity IS
    'error: readers must not trust the tables; warning: will lead to that, or costs time; notice: costs space';
COMMENT ON COLUMN sliding_sync.health.schema_name IS 'NULL: concerns the database';
COMMENT ON COLUMN sliding_sync.health.code IS 'one of docs/diagnostics.md';

--
-- metrics: for an exporter
--
CREATE VIEW sliding_sync.metrics AS
    WITH status AS MATERIALIZED (SELECT * FROM sliding_sync.status)
    SELECT 'sliding_sync_info' AS name,
           jsonb_build_object('library_version', v.library_version, 'extension_version', v.extension_version) AS labels,
           1::double precision AS value
    FROM sliding_sync.version() v
    UNION ALL
    SELECT 'sliding_sync_lost_records_total', '{}', CASE WHEN l.is_called THEN l.last_value ELSE 0 END
    FROM sliding_sync.lost_records l
    UNION ALL
    SELECT m.name, jsonb_build_object('schema', s.schema_name), m.value
    FROM status s CROSS JOIN LATERAL (VALUES
        ('sliding_sync_ready', s.is_ready::integer::double precision),
        ('sliding_sync_complete_timestamp_seconds', extract(epoch FROM s.complete_at)::double precision),
        ('sliding_sync_caught_up_timestamp_seconds', extract(epoch FROM s.caught_up_at)::double precision),
        ('sliding_sync_bypassed_writes', s.bypassed_writes::double precision),
        ('sliding_sync_quarantined_keys', s.quarantined::double precision),
        ('sliding_sync_quarantine_oldest_timestamp_seconds',
         (SELECT extract(epoch FROM min(q.recorded_at))::double precision FROM sliding_sync.quarantine q
          WHERE q.schema_name = s.schema_name))
    ) m (name, value) WHERE m.value IS NOT NULL
    UNION ALL
    SELECT 'sliding_sync_corrected_values', jsonb_build_object('schema', c.schema_name, 'table', c.table_name,
               'column', c.column_name), sum(c.corrections)::double precision
    FROM sliding_sync.correction_counts c GROUP BY c.schema_name, c.table_name, c.column_name
    UNION ALL
    SELECT 'sliding_sync_not_ready_reason', jsonb_build_object('schema', s.schema_name, 'reason', r.reason), 1
    FROM status s CROSS JOIN unnest(s.reasons) r (reason)
    UNION ALL
    SELECT 'sliding_sync_triggers', jsonb_build_object('schema', t.schema_name, 'state', t.state), count(*)
    FROM sliding_sync.triggers t GROUP BY t.schema_name, t.state
    UNION ALL
    SELECT m.name, jsonb_build_object('schema', d.schema_name, 'table', d.table_name) || m.labels, m.value
    FROM sliding_sync.derived_tables d CROSS JOIN LATERAL (VALUES
        ('sliding_sync_table_rows_estimate', '{}'::jsonb, d.rows_estimate::double precision),
        ('sliding_sync_table_dead_rows_estimate', '{}', d.dead_rows::double precision),
        ('sliding_sync_table_changes_total', '{"change": "insert"}', d.inserts::double precision),
        ('sliding_sync_table_changes_total', '{"change": "update"}', d.updates::double precision),
        ('sliding_sync_table_changes_total', '{"change": "delete"}', d.deletes::double precision)
    ) m (name, labels, value) WHERE m.value IS NOT NULL
    UNION ALL
    SELECT m.name, jsonb_build_object('schema', p.schema_name, 'table', p.table_name, 'run', p.run_id::text), m.value
    FROM (SELECT * FROM sliding_sync.progress WHERE run_id IS NOT NULL) p CROSS JOIN LATERAL (VALUES
        ('sliding_sync_run_items_done', p.items_done::double precision),
        ('sliding_sync_run_items_total', p.items_total::double precision),
        ('sliding_sync_run_rows_written', p.rows_written::double precision),
        ('sliding_sync_run_quarantined', p.quarantined::double precision),
        ('sliding_sync_run_throttled_seconds', p.throttled_seconds),
        ('sliding_sync_run_sessions', cardinality(p.sessions)::double precision)
    ) m (name, value)
    UNION ALL
    SELECT 'sliding_sync_health_findings', jsonb_build_object('severity', x.severity), count(h.severity)
    FROM (VALUES ('error'), ('warning'), ('notice')) x (severity)
        LEFT JOIN sliding_sync.health h ON h.severity = x.severity
    GROUP BY x.severity;
COMMENT ON VIEW sliding_sync.metrics IS
    'numbers for an exporter; names and labels are listed in docs/diagnostics.md and stay';

GRANT SELECT ON sliding_sync.status, sliding_sync.progress, sliding_sync.health, sliding_sync.metrics TO pg_monitor;
-- What stands in the way of something that an administrator is about to do.

CREATE FUNCTION sliding_sync.preflight(operation text, target_schema text DEFAULT NULL)
    RETURNS TABLE (severity text, finding text, detail text, remedy text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    tasks constant text[] :=
        '{delete_room,purge_history,port_database,upgrade,downgrade,remove_extension}';
    deletes constant boolean := preflight.operation IN ('delete_room', 'purge_history');
    changes_version constant boolean := preflight.operation IN ('upgrade', 'downgrade');
    without_triggers constant text := CASE WHEN changes_version THEN 'rows go stale.'
        ELSE 'foreign keys of the derived tables stop deletes.' END;
    severity_without_triggers constant text := CASE preflight.operation WHEN 'upgrade' THEN 'warning' ELSE 'blocker' END;
    homeserver text;
    owner_name text;
    events oid;
    rooms oid;
    facts sliding_sync.schemas;
    is_off boolean;
    on_again text;
    updates text;
    pending text[] := '{}';
    own_pending text[];
    other_pending text[];
    queue text;
    queued bigint := 0;
    deltas text;
    knows_tables boolean;
    compat text;
    oldest_schema integer;
    scheduled text;
    left_tasks text[] := '{}';
BEGIN
    IF preflight.operation IS NULL OR preflight.operation <> ALL (tasks) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('unrecognized operation: "%s"', preflight.operation),
            HINT = format('One of: %s.', array_to_string(tasks, ', '));
    END IF;

    -- the extension leaves the whole database at once
    IF preflight.operation = 'remove_extension' THEN
        RETURN QUERY SELECT DISTINCT 'blocker', 'dependent_object',
                format('DROP EXTENSION would be refused because of %s.', pg_describe_object(o.classid, o.objid, 0)),
                CASE WHEN r.oid IS NOT NULL THEN format('DROP VIEW %s', o.objid::regclass)
                     ELSE 'Drop it; DROP EXTENSION ... CASCADE would take it along' END
            FROM pg_depend d JOIN pg_depend m ON m.classid = d.refclassid AND m.objid = d.refobjid
                JOIN pg_extension x ON x.oid = m.refobjid
                LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
                CROSS JOIN LATERAL (
                    SELECT CASE WHEN r.oid IS NULL THEN d.classid ELSE 'pg_class'::regclass::oid END AS classid,
                           coalesce(r.ev_class, d.objid) AS objid) o
            WHERE m.refclassid = 'pg_extension'::regclass AND m.deptype = 'e' AND x.extname = 'sliding_sync'
                AND d.deptype = 'n' AND d.classid <> 'pg_trigger'::regclass
                -- not another member, nor a part of one
                AND NOT EXISTS (
                    SELECT FROM pg_depend own WHERE own.classid = o.classid AND own.objid = o.objid
                        AND own.refclassid = 'pg_extension'::regclass AND own.deptype = 'e')
                AND NOT EXISTS (
                    SELECT FROM pg_depend part JOIN pg_depend own
                        ON own.classid = part.refclassid AND own.objid = part.refobjid
                    WHERE part.classid = o.classid AND part.objid = o.objid AND part.deptype IN ('i', 'a')
                        AND own.refclassid = 'pg_extension'::regclass AND own.deptype = 'e')
            ORDER BY 3;
        RETURN QUERY SELECT 'blocker', 'trigger_not_dependent',
                format('DROP EXTENSION would be refused because of trigger %s of table %s.', t.trigger_name,
                       t.table_oid::regclass),
                format('ALTER TRIGGER %I ON %s DEPENDS ON EXTENSION sliding_sync', t.trigger_name, t.table_oid::regclass)
            FROM sliding_sync.homeserver_triggers t
            WHERE NOT EXISTS (
                SELECT FROM pg_depend d WHERE d.classid = 'pg_trigger'::regclass AND d.objid = t.trigger_oid
                    AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'x')
            ORDER BY t.table_oid::regclass::text, t.trigger_name;
        -- Any role can make one, of a temporary table too: they are counted, and none is named.
        RETURN QUERY SELECT 'warning', 'trigger_of_others',
                format('Triggers that other roles have put on tables of their own: %s. DROP EXTENSION is refused without '
                       'CASCADE.', count(*)),
                'DROP EXTENSION sliding_sync CASCADE'
            FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
            WHERE p.pronamespace = 'sliding_sync'::regnamespace AND p.proname = 'collect'
                AND t.oid NOT IN (SELECT x.trigger_oid FROM sliding_sync.homeserver_triggers x)
                AND NOT EXISTS (
                    SELECT FROM pg_depend d WHERE d.classid = 'pg_trigger'::regclass AND d.objid = t.oid
                        AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'x')
            HAVING count(*) > 0;
        IF preflight.target_schema IS NULL THEN
            FOR homeserver IN SELECT s.schema_name FROM sliding_sync.schemas s ORDER BY s.schema_name LOOP
                RETURN QUERY SELECT p.* FROM sliding_sync.preflight(preflight.operation, homeserver) p
                    WHERE p.finding NOT IN ('dependent_object', 'trigger_not_dependent', 'trigger_of_others');
            END LOOP;
            RETURN;
        END IF;
    END IF;

    -- what catalogs tell
    homeserver := sliding_sync.attached_schema(preflight.target_schema);
    SELECT s.* INTO facts FROM sliding_sync.schemas s WHERE s.schema_name = homeserver;
    SELECT pg_get_userbyid(c.relowner), c.oid INTO owner_name, events
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = homeserver AND c.relname = 'events';
    SELECT c.oid INTO rooms FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = homeserver AND c.relname = 'rooms';
    -- the most specific setting counts
    SELECT r.switches_off, r.remedy INTO is_off, on_again FROM sliding_sync.role_settings r
    WHERE r.name = 'sliding_sync.enabled' AND (r.role_name = owner_name OR r.role_name IS NULL)
    ORDER BY r.role_name IS NULL, r.database_name IS NULL LIMIT 1;
    is_off := coalesce(is_off, false);

    -- what the homeserver's own tables tell
    updates := sliding_sync.homeserver_table(homeserver, 'background_updates', '{update_name text}');
    IF updates IS NOT NULL THEN
        pending := sliding_sync.as_owner(homeserver, format(
            'SELECT coalesce(array_agg(u.update_name ORDER BY u.update_name), ''{}'')::text FROM %s u', updates));
    END IF;
    own_pending := ARRAY(SELECT x FROM unnest(pending) x WHERE x = ANY (sliding_sync.own_background_updates()));
    other_pending := ARRAY(SELECT x FROM unnest(pending) x WHERE x <> ALL (sliding_sync.own_background_updates()));
    queue := sliding_sync.homeserver_table(homeserver, 'sliding_sync_joined_rooms_to_recalculate', '{room_id text}');
    IF queue IS NOT NULL THEN
        queued := sliding_sync.as_owner(homeserver, format('SELECT count(*)::text FROM %s', queue));
    END IF;
    deltas := sliding_sync.homeserver_table(homeserver, 'applied_schema_deltas', '{file text}');
    IF deltas IS NOT NULL THEN
        knows_tables := sliding_sync.as_owner(homeserver, format(
            'SELECT (count(*) > 0)::text FROM %s d WHERE d.file = %L', deltas, '87/01_sliding_sync_memberships.sql'));
    END IF;
    compat := sliding_sync.homeserver_table(homeserver, 'schema_compat_version', '{compat_version integer}');
    IF compat IS NOT NULL THEN
        oldest_schema := sliding_sync.as_owner(homeserver, format(
            'SELECT c.compat_version::text FROM %s c LIMIT 1', compat));
    END IF;
    scheduled := sliding_sync.homeserver_table(homeserver, 'scheduled_tasks', '{action text,status text}');
    IF scheduled IS NOT NULL THEN
        left_tasks := sliding_sync.as_owner(homeserver, format(
            'SELECT coalesce(array_agg(DISTINCT t.action ORDER BY t.action), ''{}'')::text FROM %s t'
            ' WHERE t.status IN (''scheduled'', ''active'')', scheduled));
    END IF;

    RETURN QUERY SELECT f.severity, f.finding, f.detail, f.remedy
    FROM (
        SELECT severity_without_triggers AS severity, 'trigger_missing' AS finding,
               format('Table %s has no trigger of sliding_sync: %s', t.table_name, without_triggers) AS detail,
               format('SELECT sliding_sync.attach(%L)', homeserver) AS remedy
        FROM sliding_sync.triggers t
        WHERE (deletes OR changes_version) AND t.schema_name = homeserver AND t.state = 'missing'
        GROUP BY t.table_name
        UNION ALL
        SELECT severity_without_triggers, 'trigger_disabled',
               format('Trigger %s of table %s does not fire: %s', t.trigger_name, t.table_name, without_triggers),
               format('ALTER TABLE %I.%I ENABLE ALWAYS TRIGGER "%s"', homeserver, t.table_name, t.trigger_name)
        FROM sliding_sync.triggers t
        WHERE (deletes OR changes_version) AND t.schema_name = homeserver AND t.state IN ('replica', 'disabled')
        UNION ALL
        SELECT severity_without_triggers, 'switched_off',
               format('sliding_sync.enabled is off for role %s: %s', owner_name, without_triggers), on_again
        WHERE (deletes OR changes_version) AND is_off
        UNION ALL
        -- the homeserver forgets its own queue; the trigger on rooms does not
        SELECT 'blocker', 'queued_rooms',
               format('%s rooms are queued for recalculation, and without the triggers none of them can be deleted.',
                      queued),
               format('DELETE FROM %s', queue)
        WHERE preflight.operation = 'delete_room' AND queued > 0 AND (is_off OR EXISTS (
            SELECT FROM sliding_sync.triggers t WHERE t.schema_name = homeserver AND t.table_name = 'rooms'
                AND t.state IN ('missing', 'replica', 'disabled')))
        UNION ALL
        SELECT 'warning', 'foreign_key',
               format('Table %s, which is not the homeserver''s, refers to %s: the homeserver does not empty it.',
                      k.conrelid::regclass, k.confrelid::regclass),
               format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname)
        FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE k.contype = 'f' AND k.confdeltype IN ('a', 'r')
            AND (deletes AND k.confrelid = events OR preflight.operation = 'delete_room' AND k.confrelid = rooms)
            AND (n.nspname <> homeserver OR pg_get_userbyid(c.relowner) <> owner_name)
        UNION ALL
        SELECT 'warning', 'index_missing',
               format('Table %s has no index on (%s): every deleted event or room costs a scan of it.', i.table_name,
                      array_to_string(i.columns, ', ')),
               i.remedy
        FROM sliding_sync.needed_indexes i
        WHERE deletes AND i.schema_name = homeserver AND i.state <> 'valid' AND i.columns <> '{user_id}'
            AND i.table_name IN ('sliding_sync_joined_rooms', 'sliding_sync_membership_snapshots')
        UNION ALL
        SELECT 'blocker', 'not_switched_off',
               format('The triggers would make rows while tables are copied, and the copy would fail on them. Off for '
                      'role %s is enough; -c sliding_sync.enabled=off in the connection''s options does as well. '
                      'Afterwards RESET it.', owner_name),
               format('ALTER ROLE %I IN DATABASE %I SET sliding_sync.enabled = off', owner_name, current_database())
        WHERE preflight.operation = 'port_database' AND NOT is_off
        UNION ALL
        -- the script ends those of the database that it writes to, and refuses those of the one that it reads
        SELECT 'warning', 'background_updates',
               format('Pending: %s. synapse_port_db ends them before it copies; pending in the SQLite database, they '
                      'make it refuse.', array_to_string(pending, ', ')),
               'Let the homeserver run on SQLite until SELECT update_name FROM background_updates is empty there'
        WHERE preflight.operation = 'port_database' AND pending <> '{}'
        UNION ALL
        SELECT 'warning', 'background_updates', format('Pending: %s.', array_to_string(other_pending, ', ')),
               format('Let the homeserver run until none of them is in SELECT update_name FROM %s', updates)
        WHERE changes_version AND other_pending <> '{}'
        UNION ALL
        -- delta 87 inserts these very names, and fails when one exists
        SELECT CASE WHEN preflight.operation = 'upgrade' AND knows_tables THEN 'warning' ELSE 'blocker' END,
               'own_background_updates',
               format('Pending for the derived tables: %s. ', array_to_string(own_pending, ', ')) ||
               CASE WHEN preflight.operation = 'downgrade'
                    THEN 'An older homeserver does not know them, and stops all background updates.'
                    WHEN knows_tables
                    THEN 'Until they have ended, the homeserver does not read from the tables.'
                    ELSE 'The schema is older than they are: its upgrade inserts these names, and fails when one '
                         'exists.' END,
               CASE WHEN knows_tables
                    THEN format('SELECT * FROM sliding_sync.finish_background_updates(target_schema => %L)', homeserver)
                    ELSE format('DELETE FROM %s WHERE update_name = ANY (%L)', updates, own_pending) END
        WHERE changes_version AND own_pending <> '{}'
        UNION ALL
        SELECT 'blocker', 'scheduled_tasks',
               format('Unfinished: %s. One that the older homeserver does not know stops its scheduler, and with that '
                      'the deletion of rooms.', array_to_string(left_tasks, ', ')),
               format('Wait for them, or DELETE FROM %s WHERE status IN (''scheduled'', ''active'')', scheduled)
        WHERE preflight.operation = 'downgrade' AND left_tasks <> '{}'
        UNION ALL
        SELECT 'warning', 'compat_version',
               format('A homeserver whose database schema is older than %s refuses to start.', oldest_schema),
               format('Choose a version whose schema is %s or newer', oldest_schema)
        WHERE preflight.operation = 'downgrade' AND oldest_schema > 86
        UNION ALL
        SELECT 'warning', 'index_invalid',
               format('Index %s of table %s was not built to its end; an upgrade that wants it takes it for done.',
                      i.invalid_index, i.table_name),
               i.remedy
        FROM sliding_sync.needed_indexes i
        WHERE preflight.operation = 'upgrade' AND i.schema_name = homeserver AND i.state = 'invalid'
        UNION ALL
        SELECT 'warning', x.finding, x.detail, x.remedy
        FROM (VALUES
            ('unfinished_run', facts.unfinished_run IS NOT NULL,
             format('Run %s of backfill() is not finished: rows are missing.', facts.unfinished_run),
             format('CALL sliding_sync.backfill(target_schema => %L)', homeserver)),
            ('never_completed', facts.complete_at IS NULL AND facts.unfinished_run IS NULL,
             'Rows from before the triggers are missing or not known to be right.',
             format('CALL sliding_sync.backfill(target_schema => %L)', homeserver)),
            ('bypassed_writes', facts.has_bypassed_writes OR facts.tables_changed,
             'Tables changed, or may have changed, without the triggers: rows may be stale.',
             format('SELECT sliding_sync.catch_up(%L)', homeserver)),
            ('quarantine', facts.has_quarantine,
             'Some keys have no derived row' || CASE preflight.operation WHEN 'remove_extension'
                 THEN ', and the list of them goes with the extension.' ELSE '.' END,
             'SELECT * FROM sliding_sync.repair_quarantine()')) x (finding, applies, detail, remedy)
        WHERE preflight.operation IN ('upgrade', 'remove_extension') AND x.applies
        UNION ALL
        SELECT 'warning', 'tables_without_keeper',
               'The homeserver is too old to know the derived tables: nobody would keep them, and their foreign keys '
               'would stop the deletion of rooms.',
               format('After DROP EXTENSION: DROP TABLE %I.sliding_sync_joined_rooms, '
                      '%1$I.sliding_sync_membership_snapshots', homeserver)
        WHERE preflight.operation = 'remove_extension' AND facts.has_derived_tables AND NOT knows_tables
        UNION ALL
        SELECT 'warning', 'locks',
               coalesce('Session ' || a.pid || ', in its transaction since ' || a.xact_start || ',',
                        'A prepared transaction') ||
               ' holds tables of the homeserver: DROP EXTENSION would wait for it without limit, and writers behind '
               'that.',
               format('SELECT sliding_sync.detach(%L)', homeserver)
        FROM sliding_sync.triggers t JOIN pg_namespace n ON n.nspname = t.schema_name
            JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.table_name
            JOIN pg_locks l ON l.relation = c.oid AND l.locktype = 'relation' AND l.granted
                AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
            LEFT JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE preflight.operation = 'remove_extension' AND t.schema_name = homeserver
            AND (l.pid IS NULL OR a.backend_type = 'client backend' AND l.pid <> pg_backend_pid()
                 AND a.xact_start < clock_timestamp() - interval '2 seconds')
        GROUP BY a.pid, a.xact_start
    ) f
    ORDER BY f.severity, f.finding, f.detail;
END
$$;
COMMENT ON FUNCTION sliding_sync.preflight(text, text) IS
    'what stands in the way of delete_room, purge_history, port_database, upgrade, downgrade or remove_extension, and the command that cures it; no row: go ahead';
-- A user's room list, for whoever may read the homeserver's tables.

CREATE FUNCTION sliding_sync.lower_case(value text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sliding_sync_lower_case';
COMMENT ON FUNCTION sliding_sync.lower_case(text) IS
    'each code point by its simple lower-case mapping, whatever the collation: how room names are compared and sorted';

CREATE FUNCTION sliding_sync.known_room_versions() RETURNS text[]
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sliding_sync_known_room_versions';
COMMENT ON FUNCTION sliding_sync.known_room_versions() IS
    'the room versions that the newest supported Synapse knows without experimental settings; rooms of others are in no list';

CREATE FUNCTION sliding_sync.room_list(
    user_id text,
    is_dm boolean DEFAULT NULL,
    is_encrypted boolean DEFAULT NULL,
    is_invite boolean DEFAULT NULL,
    room_types text[] DEFAULT NULL,
    not_room_types text[] DEFAULT NULL,
    tags text[] DEFAULT NULL,
    not_tags text[] DEFAULT NULL,
    spaces text[] DEFAULT NULL,
    room_name_like text DEFAULT NULL,
    sort_by text DEFAULT 'recency',
    range_start bigint DEFAULT 0,
    range_end bigint DEFAULT NULL,
    known_versions text[] DEFAULT sliding_sync.known_room_versions(),
    target_schema text DEFAULT NULL
) RETURNS TABLE (place bigint, total bigint, room_id text, membership text, sender text, membership_event_id text,
    room_name text, room_type text, is_encrypted boolean, has_known_state boolean, tombstone_successor_room_id text,
    event_stream_ordering bigint, bump_stamp bigint)
    LANGUAGE c STABLE PARALLEL SAFE ROWS 100 AS 'MODULE_PATHNAME', 'sliding_sync_room_list';
COMMENT ON FUNCTION sliding_sync.room_list IS
    'the rooms that a client of this user sees, filtered and sorted as MSC4186 says; reads with the rights of the caller';

CREATE FUNCTION sliding_sync.room_list_changes(
    user_id text,
    since bigint,
    is_dm boolean DEFAULT NULL,
    is_encrypted boolean DEFAULT NULL,
    is_invite boolean DEFAULT NULL,
    room_types text[] DEFAULT NULL,
    not_room_types text[] DEFAULT NULL,
    tags text[] DEFAULT NULL,
    not_tags text[] DEFAULT NULL,
    spaces text[] DEFAULT NULL,
    room_name_like text DEFAULT NULL,
    known_versions text[] DEFAULT sliding_sync.known_room_versions(),
    target_schema text DEFAULT NULL
) RETURNS TABLE (place bigint, total bigint, room_id text, membership text, sender text, membership_event_id text,
    room_name text, room_type text, is_encrypted boolean, has_known_state boolean, tombstone_successor_room_id text,
    event_stream_ordering bigint, bump_stamp bigint, change text)
    LANGUAGE c STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'sliding_sync_room_list_changes';
COMMENT ON FUNCTION sliding_sync.room_list_changes IS
    'what changed in room_list(), sorted by recency, since this position: entered, updated or left; changes without a position are not reported';
-- Why a room is in a user's list or not, and where the values of a room's row come from: for a person.

CREATE FUNCTION sliding_sync.require_rights(target_schema text, tables text[], functions text[]) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    refused record;
BEGIN
    SELECT x.* INTO refused FROM (
        SELECT 'schema' AS kind, n.nspname::text AS name, format('GRANT USAGE ON SCHEMA %I TO %I;', n.nspname, current_user) AS remedy
        FROM pg_namespace n WHERE n.nspname = target_schema AND NOT has_schema_privilege(n.oid, 'USAGE')
        UNION ALL
        SELECT 'table', c.relname, format('GRANT SELECT ON %I.%I TO %I;', n.nspname, c.relname, current_user)
        FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = ANY (tables)
        WHERE n.nspname = target_schema AND NOT has_table_privilege(c.oid, 'SELECT')
        UNION ALL
        SELECT 'function', p.proname, format('GRANT EXECUTE ON FUNCTION %s TO %I;', p.oid::regprocedure, current_user)
        FROM pg_proc p WHERE p.pronamespace = 'sliding_sync'::regnamespace AND p.proname = ANY (functions)
            AND NOT has_function_privilege(p.oid, 'EXECUTE')
        LIMIT 1) x;
    IF FOUND THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('permission denied for %s %s', refused.kind, refused.name),
            DETAIL = 'The rows are read with the rights of whoever calls the function.',
            HINT = refused.remedy;
    END IF;
END
$$;
COMMENT ON FUNCTION sliding_sync.require_rights(text, text[], text[]) IS
    'raises an error with the GRANT that helps where the caller may not read one of these tables or call one of these functions';

CREATE FUNCTION sliding_sync.compare_rooms(room_ids text[], target_schema text DEFAULT NULL)
    RETURNS TABLE (room_id text, column_name text, expected text, actual text, has_expected_row boolean, has_actual_row boolean)
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 7 AS 'MODULE_PATHNAME', 'sliding_sync_compare_rooms';
COMMENT ON FUNCTION sliding_sync.compare_rooms(text[], text) IS
    'the rows of these rooms in sliding_sync_joined_rooms as they are and as they must be, a line for each column, right or wrong; changes nothing';
REVOKE ALL ON FUNCTION sliding_sync.compare_rooms(text[], text) FROM PUBLIC;

CREATE FUNCTION sliding_sync.explain_room(room_id text, target_schema text DEFAULT NULL)
    RETURNS TABLE (column_name text, expected text, actual text, source_event_id text, rule text, verdict text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 7 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    homeserver text := sliding_sync.attached_schema(target_schema);
BEGIN
    IF explain_room.room_id IS NULL THEN
        RETURN;
    END IF;
    PERFORM sliding_sync.require_rights(homeserver, '{current_state_events,events,sliding_sync_joined_rooms}', '{compare_rooms}');
    RETURN QUERY EXECUTE format($query$
        SELECT c.column_name, c.expected, c.actual, s.event_id,
               CASE WHEN NOT c.has_expected_row THEN
                        'No row: the homeserver is not in the room (any more), or stores nothing of its current state'
                    WHEN c.column_name = 'room_id' THEN 'The room has current state on this homeserver'
                    WHEN c.column_name = 'event_stream_ordering' THEN
                        'Position of the newest event that was neither rejected nor stored aside: the order of the list'
                    WHEN c.column_name = 'bump_stamp' THEN
                        'Position of the newest message, call, poll, sticker or creation: what clients sort by'
                    WHEN s.event_id IS NULL THEN format('Current state has no event %%s', t.type)
                    WHEN c.expected IS NULL OR (c.column_name = 'is_encrypted' AND c.expected = 'false') THEN
                        format('The field "%%s" of the current event %%s is missing, unusable or redacted', t.field, t.type)
                    ELSE format('The field "%%s" of the current event %%s', t.field, t.type) END,
               CASE WHEN c.has_expected_row AND NOT c.has_actual_row THEN 'row_missing'
                    WHEN c.has_actual_row AND NOT c.has_expected_row THEN 'row_extra'
                    WHEN NOT c.has_actual_row THEN 'no_row'
                    WHEN c.expected IS DISTINCT FROM c.actual THEN 'wrong'
                    ELSE 'right' END
        FROM sliding_sync.compare_rooms(ARRAY[$1], $2) WITH ORDINALITY
                c (room_id, column_name, expected, actual, has_expected_row, has_actual_row, n)
            LEFT JOIN (VALUES ('room_type', 'm.room.create', 'type'), ('room_name', 'm.room.name', 'name'),
                              ('is_encrypted', 'm.room.encryption', 'algorithm'),
                              ('tombstone_successor_room_id', 'm.room.tombstone', 'replacement_room')
                      ) t (column_name, type, field) ON t.column_name = c.column_name
            LEFT JOIN LATERAL (
                SELECT x.event_id FROM %1$I.current_state_events x
                WHERE x.room_id = $1 AND x.type = t.type AND x.state_key = ''
                UNION ALL
                SELECT e.event_id FROM %1$I.events e
                WHERE c.column_name IN ('event_stream_ordering', 'bump_stamp') AND e.stream_ordering = c.expected::bigint
            ) s ON true
        ORDER BY c.n$query$, homeserver) USING explain_room.room_id, homeserver;
END
$$;
COMMENT ON FUNCTION sliding_sync.explain_room(text, text) IS
    'each column of a room''s row in sliding_sync_joined_rooms: what it should be, what it is, and the event that it comes from';

-- What a verdict means, for somebody who does not know the tables.
CREATE FUNCTION sliding_sync.verdict_detail(verdict text, membership text, sender text, more text, room_version text, is_known_room boolean)
    RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE verdict
        WHEN 'not_a_member' THEN CASE WHEN more IS NOT NULL
            THEN format('As far as the homeserver knows, the user has nothing to do with this room, and yet the list knows of it: %s.', more)
            WHEN is_known_room THEN 'As far as the homeserver knows, the user has never been in this room, nor been invited to it.'
            ELSE 'The homeserver knows no room of this id. It may be misspelt.' END
        WHEN 'row_missing' THEN format('A part of what the list is made of is missing: %s.',
                                       coalesce(more, 'the user''s own entry for this room, so that it is not shown'))
        WHEN 'row_wrong' THEN format('The list does not show the room as it is: %s.', more)
        WHEN 'queued' THEN 'The homeserver has put this room aside to look at it again, and may show it late or wrong until then.'
        WHEN 'hidden_unknown_version' THEN CASE WHEN room_version IS NULL
            THEN 'The homeserver does not know the version of this room, and shows no such room.'
            ELSE format('The room has version %s, which the homeserver does not know: it shows no such room.', quote_literal(room_version)) END
        WHEN 'hidden_forgotten' THEN 'The user has left this room, or was removed from it, and has then forgotten it (deleted it from the list).'
        WHEN 'hidden_own_leave' THEN 'The user has left this room, declined the invitation, or withdrawn the request to be let in.'
        WHEN 'hidden_ignored_inviter' THEN format('The user was invited by %s, whom the user ignores.', sender)
        ELSE CASE membership
            WHEN 'join' THEN 'The user is in this room'
            WHEN 'invite' THEN format('The user was invited by %s', sender)
            WHEN 'knock' THEN 'The user has asked to be let in'
            WHEN 'ban' THEN format('The user was banned by %s, and may see that', sender)
            WHEN 'leave' THEN format('The user was removed by %s, or an invitation or a ban was taken back, and may see that', sender)
            ELSE format('The user''s membership is %s', quote_literal(membership)) END
            || coalesce('; it is shown as ' || quote_literal(more) || '.', '; it has no name.') END
$$;
COMMENT ON FUNCTION sliding_sync.verdict_detail(text, text, text, text, text, boolean) IS 'a verdict of explain_user() in words';

CREATE FUNCTION sliding_sync.verdict_remedy(verdict text, user_id text, room_id text, sender text, more text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE verdict
        WHEN 'not_a_member' THEN CASE WHEN more IS NULL THEN 'Invite the user, or let the user join.'
            ELSE format('SELECT * FROM sliding_sync.repair(room => %L);', room_id) END
        WHEN 'row_missing' THEN format('SELECT * FROM sliding_sync.repair(room => %L);', room_id)
        WHEN 'row_wrong' THEN format('SELECT * FROM sliding_sync.repair(room => %L);', room_id)
        WHEN 'queued' THEN 'SELECT * FROM sliding_sync.finish_background_updates();'
        WHEN 'hidden_unknown_version' THEN 'Use a homeserver that knows this version.'
        WHEN 'hidden_forgotten' THEN 'Invite the user again, or let the user join.'
        WHEN 'hidden_own_leave' THEN 'Invite the user again, or let the user join.'
        WHEN 'hidden_ignored_inviter' THEN format('The user stops ignoring %s in the client''s settings.', sender) END
$$;
COMMENT ON FUNCTION sliding_sync.verdict_remedy(text, text, text, text, text) IS 'what ends a verdict of explain_user(); NULL where nothing is wrong';

-- What a wrong column means in a list.
CREATE FUNCTION sliding_sync.difference_in_words(column_name text, expected text, actual text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE column_name
        WHEN 'forgotten' THEN CASE WHEN actual = '0' THEN 'the user has forgotten it, and still sees it'
            ELSE 'it is hidden as if the user had forgotten it' END
        WHEN 'is_encrypted' THEN CASE WHEN expected IN ('t', 'true') THEN 'it is encrypted, and counts as not encrypted'
            ELSE 'it is not encrypted, and counts as encrypted' END
        WHEN 'has_known_state' THEN 'what the homeserver knows of it is not what the list takes to be known'
        ELSE format('%s is %s, but should be %s',
            CASE column_name
                WHEN 'room_name' THEN 'its name'
                WHEN 'room_type' THEN 'its type'
                WHEN 'tombstone_successor_room_id' THEN 'the room that replaces it'
                WHEN 'membership' THEN 'the user''s membership'
                WHEN 'sender' THEN 'who joined, invited or removed the user'
                WHEN 'membership_event_id' THEN 'the event that tells of the user''s membership'
                WHEN 'event_stream_ordering' THEN 'the number of its newest event, which it is sorted by,'
                WHEN 'bump_stamp' THEN 'the number of its newest message, which clients sort by,'
                WHEN 'event_instance_name' THEN 'the process that stored its newest event'
                ELSE column_name END,
            coalesce(quote_literal(actual), 'missing'), coalesce(quote_literal(expected), 'none')) END
$$;
COMMENT ON FUNCTION sliding_sync.difference_in_words(text, text, text) IS 'a wrong column of a row, for somebody who does not know the tables';

-- The findings of one user's memberships, a line for each, in words; and of the rooms that the user has
-- joined.
CREATE FUNCTION sliding_sync.wrong_rows(member text, room text, target_schema text)
    RETURNS TABLE (room_id text, is_missing boolean, detail text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    joined text[];
BEGIN
    EXECUTE format('SELECT ARRAY(SELECT l.room_id FROM %I.local_current_membership l WHERE l.user_id = $1'
                   ' AND l.membership = ''join'' AND ($2 IS NULL OR l.room_id = $2))', target_schema)
        INTO joined USING wrong_rows.member, wrong_rows.room;
    RETURN QUERY
        SELECT f.room_id, bool_or(f.is_missing),
               string_agg(CASE WHEN f.column_name IS NOT NULL THEN sliding_sync.difference_in_words(f.column_name, f.expected, f.actual)
                               WHEN f.is_missing AND f.is_of_room
                                   THEN 'the room''s own entry, so that it is shown as it was when the user joined'
                               WHEN f.is_missing THEN 'the user''s own entry for this room, so that it is not shown'
                               WHEN f.is_of_room THEN 'there is an entry of a room that nobody on this homeserver is in'
                               ELSE 'there is an entry for a user who is no member' END, '; ' ORDER BY f.is_of_room, f.column_name)
        FROM (SELECT v.room_id, v.reason = 'missing_row' AS is_missing, v.column_name, v.actual, v.expected,
                     false AS is_of_room
              FROM sliding_sync.verify(target_schema => target_schema, tables => 'memberships', member => wrong_rows.member,
                                       room => wrong_rows.room) v
              WHERE v.severity IN ('visible', 'hidden')
              UNION ALL
              SELECT c.room_id, NOT c.has_actual_row,
                     CASE WHEN c.has_actual_row AND c.has_expected_row THEN c.column_name END, c.actual, c.expected, true
              FROM sliding_sync.compare_rooms(joined, target_schema) c
              WHERE c.expected IS DISTINCT FROM c.actual
                  AND (c.has_actual_row AND c.has_expected_row OR c.column_name = 'room_id')) f
        GROUP BY f.room_id;
END
$$;
COMMENT ON FUNCTION sliding_sync.wrong_rows(text, text, text) IS
    'what verify() finds wrong with the rows that a user''s list is made of, a line for each room, in words';

CREATE FUNCTION sliding_sync.explain_memberships(member text, room text, target_schema text)
    RETURNS TABLE (room_id text, verdict text, place bigint, detail text, remedy text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 100 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    homeserver text := sliding_sync.attached_schema(target_schema);
    queue text := sliding_sync.homeserver_table(homeserver, 'sliding_sync_joined_rooms_to_recalculate', '{room_id text}');
    ignored text := sliding_sync.homeserver_table(homeserver, 'ignored_users', '{ignorer_user_id text,ignored_user_id text}');
BEGIN
    IF member IS NULL THEN
        RETURN;
    END IF;
    PERFORM sliding_sync.require_rights(homeserver, ARRAY['local_current_membership', 'sliding_sync_membership_snapshots',
        'sliding_sync_joined_rooms', 'rooms', CASE WHEN queue IS NOT NULL THEN 'sliding_sync_joined_rooms_to_recalculate' END,
        CASE WHEN ignored IS NOT NULL THEN 'ignored_users' END], '{verify,compare_rooms}');
    RETURN QUERY EXECUTE format($query$
        SELECT f.room_id, x.verdict, CASE WHEN x.verdict = 'listed' THEN l.place END,
               sliding_sync.verdict_detail(x.verdict, f.membership, f.sender,
                   CASE WHEN x.verdict = 'listed' THEN l.room_name ELSE w.detail END, f.room_version, f.is_known_room),
               sliding_sync.verdict_remedy(x.verdict, $1, f.room_id, f.sender, w.detail)
        FROM (SELECT k.room_id, c.event_id IS NOT NULL AS is_member, m.room_id IS NOT NULL AS has_row, r.room_version,
                     r.room_id IS NOT NULL AS is_known_room,
                     coalesce(m.membership, c.membership) AS membership, m.sender, m.forgotten,
                     EXISTS (SELECT FROM %2$s q WHERE q.room_id = k.room_id) AS is_queued,
                     EXISTS (SELECT FROM %3$s i WHERE i.ignorer_user_id = $1 AND i.ignored_user_id = m.sender) AS is_ignored
              FROM (SELECT x.room_id FROM %1$I.local_current_membership x WHERE x.user_id = $1
                    UNION SELECT x.room_id FROM %1$I.sliding_sync_membership_snapshots x WHERE x.user_id = $1
                    UNION SELECT $2) k
                  LEFT JOIN %1$I.local_current_membership c ON c.room_id = k.room_id AND c.user_id = $1
                  LEFT JOIN %1$I.sliding_sync_membership_snapshots m ON m.room_id = k.room_id AND m.user_id = $1
                  LEFT JOIN %1$I.rooms r ON r.room_id = k.room_id
              WHERE k.room_id IS NOT NULL AND ($2 IS NULL OR k.room_id = $2)) f
            LEFT JOIN sliding_sync.wrong_rows($1, $2, $3) w ON w.room_id = f.room_id
            LEFT JOIN sliding_sync.room_list($1, target_schema => $3) l ON l.room_id = f.room_id
            CROSS JOIN LATERAL (SELECT CASE
                WHEN NOT f.is_member THEN 'not_a_member'
                WHEN NOT f.has_row OR w.is_missing THEN 'row_missing'
                WHEN w.room_id IS NOT NULL THEN 'row_wrong'
                WHEN f.is_queued THEN 'queued'
                WHEN f.room_version IS NULL OR f.room_version <> ALL (sliding_sync.known_room_versions()) THEN 'hidden_unknown_version'
                WHEN f.forgotten <> 0 THEN 'hidden_forgotten'
                WHEN f.membership = 'leave' AND f.sender = $1 THEN 'hidden_own_leave'
                WHEN f.membership = 'invite' AND f.is_ignored THEN 'hidden_ignored_inviter'
                ELSE 'listed' END AS verdict) x
        ORDER BY 3 NULLS LAST, f.room_id COLLATE "C"$query$, homeserver,
        coalesce(queue, '(SELECT NULL::text AS room_id WHERE false)'),
        coalesce(ignored, '(SELECT NULL::text AS ignorer_user_id, NULL::text AS ignored_user_id WHERE false)'))
        USING member, room, homeserver;
END
$$;
COMMENT ON FUNCTION sliding_sync.explain_memberships(text, text, text) IS 'explain_user(), whose arguments have the names of its columns';

CREATE FUNCTION sliding_sync.explain_user(user_id text, room_id text DEFAULT NULL, target_schema text DEFAULT NULL)
    RETURNS TABLE (room_id text, verdict text, place bigint, detail text, remedy text)
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 100 SET search_path = pg_catalog, pg_temp AS $$
    SELECT x.* FROM sliding_sync.explain_memberships($1, $2, $3) x
$$;
COMMENT ON FUNCTION sliding_sync.explain_user(text, text, text) IS
    'for each of a user''s memberships, or for one room: whether the room is in the list, at which place, and why or why not';
-- What every column holds that is not described beside its table or view.

COMMENT ON COLUMN sliding_sync.attachments.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.attachments.attached_at IS 'when attach() was called';
COMMENT ON COLUMN sliding_sync.attachments.attached_by IS 'the session''s role of that call';

COMMENT ON COLUMN sliding_sync.bypassed_writes.write_id IS 'number of the record';
COMMENT ON COLUMN sliding_sync.bypassed_writes.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.bypassed_writes.recorded_at IS 'when the change was made';
COMMENT ON COLUMN sliding_sync.bypassed_writes.role_name IS 'the session''s role';
COMMENT ON COLUMN sliding_sync.bypassed_writes.application_name IS 'the session''s application_name';

COMMENT ON COLUMN sliding_sync.quarantine.entry_id IS 'number of the record';
COMMENT ON COLUMN sliding_sync.quarantine.recorded_at IS 'when the row was removed';
COMMENT ON COLUMN sliding_sync.quarantine.room_id IS 'first part of the row''s key; empty when the rows concerned could not be found out';
COMMENT ON COLUMN sliding_sync.quarantine.sqlstate IS 'of the error';
COMMENT ON COLUMN sliding_sync.quarantine.message IS 'of the error';

COMMENT ON COLUMN sliding_sync.repairs.repair_id IS 'number of the record';
COMMENT ON COLUMN sliding_sync.repairs.repaired_at IS 'when the row was changed';
COMMENT ON COLUMN sliding_sync.repairs.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.repairs.table_name IS 'the derived table';
COMMENT ON COLUMN sliding_sync.repairs.room_id IS 'first part of the row''s key';

COMMENT ON COLUMN sliding_sync.run_ranges.run_id IS 'the run that it is a part of';
COMMENT ON COLUMN sliding_sync.run_ranges.range_number IS 'its number within the run';
COMMENT ON COLUMN sliding_sync.run_ranges.table_name IS 'the derived table';
COMMENT ON COLUMN sliding_sync.run_ranges.is_done IS 'nothing is left to do in it';
COMMENT ON COLUMN sliding_sync.run_ranges.items_done IS 'rooms, or memberships';
COMMENT ON COLUMN sliding_sync.run_ranges.rows_written IS 'rows that were missing or wrong';
COMMENT ON COLUMN sliding_sync.run_ranges.work_seconds IS 'time that its batches took';
COMMENT ON COLUMN sliding_sync.run_ranges.throttled_seconds IS 'time that sessions rested after them';
COMMENT ON COLUMN sliding_sync.run_ranges.updated_at IS 'end of its last batch; NULL: not begun';

COMMENT ON COLUMN sliding_sync.runs.run_id IS 'number of the run';
COMMENT ON COLUMN sliding_sync.runs.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.runs.tables IS 'which derived tables: joined_rooms, memberships or both';
COMMENT ON COLUMN sliding_sync.runs.started_at IS 'when the first call began';
COMMENT ON COLUMN sliding_sync.runs.finished_at IS 'when nothing was left to do; NULL: it is not finished';

COMMENT ON COLUMN sliding_sync.trigger_coverage.schema_name IS 'schema of the homeserver''s tables';

COMMENT ON COLUMN sliding_sync.coverage_gaps.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.coverage_gaps.table_name IS 'the table';

COMMENT ON COLUMN sliding_sync.derived_tables.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.derived_tables.table_name IS 'the derived table';
COMMENT ON COLUMN sliding_sync.derived_tables.owner_name IS 'its owner';
COMMENT ON COLUMN sliding_sync.derived_tables.live_rows IS 'as the server''s statistics count them';
COMMENT ON COLUMN sliding_sync.derived_tables.dead_rows IS 'versions of rows that VACUUM has not removed yet';
COMMENT ON COLUMN sliding_sync.derived_tables.updates IS 'rows, since the server''s statistics were reset';
COMMENT ON COLUMN sliding_sync.derived_tables.deletes IS 'rows, since the server''s statistics were reset';

COMMENT ON COLUMN sliding_sync.health.detail IS 'the finding, in a sentence';
COMMENT ON COLUMN sliding_sync.health.remedy IS 'the command that cures it';

COMMENT ON COLUMN sliding_sync.homeserver_tables.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.homeserver_tables.table_oid IS 'the table';
COMMENT ON COLUMN sliding_sync.homeserver_tables.table_name IS 'its name';
COMMENT ON COLUMN sliding_sync.homeserver_tables.is_derived IS 'it is one of the two that the extension writes';

COMMENT ON COLUMN sliding_sync.homeserver_triggers.schema_name IS 'schema of the table';
COMMENT ON COLUMN sliding_sync.homeserver_triggers.table_oid IS 'the table';
COMMENT ON COLUMN sliding_sync.homeserver_triggers.table_name IS 'its name';
COMMENT ON COLUMN sliding_sync.homeserver_triggers.trigger_oid IS 'the trigger';
COMMENT ON COLUMN sliding_sync.homeserver_triggers.trigger_name IS 'its name';

COMMENT ON COLUMN sliding_sync.homeservers.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.homeservers.namespace_oid IS 'the same, by number';
COMMENT ON COLUMN sliding_sync.homeservers.attached_at IS 'when attach() was called';
COMMENT ON COLUMN sliding_sync.homeservers.attached_by IS 'the session''s role of that call';

COMMENT ON COLUMN sliding_sync.metrics.name IS 'of the metric';
COMMENT ON COLUMN sliding_sync.metrics.labels IS 'names and values, as an object';
COMMENT ON COLUMN sliding_sync.metrics.value IS 'the number';

COMMENT ON COLUMN sliding_sync.missing_columns.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.missing_columns.table_name IS 'the table';
COMMENT ON COLUMN sliding_sync.missing_columns.column_name IS 'the column';
COMMENT ON COLUMN sliding_sync.missing_columns.needed_type IS 'the type that it must have';

COMMENT ON COLUMN sliding_sync.needed_indexes.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.needed_indexes.table_name IS 'the table';
COMMENT ON COLUMN sliding_sync.needed_indexes.state IS 'valid, invalid (not built to its end) or missing';
COMMENT ON COLUMN sliding_sync.needed_indexes.invalid_index IS 'one that was not built to its end';
COMMENT ON COLUMN sliding_sync.needed_indexes.remedy IS 'builds it; NULL: there is one';

COMMENT ON COLUMN sliding_sync.progress.run_id IS 'number of the run';
COMMENT ON COLUMN sliding_sync.progress.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.progress.table_name IS 'the derived table';
COMMENT ON COLUMN sliding_sync.progress.rows_written IS 'rows that were missing or wrong';
COMMENT ON COLUMN sliding_sync.progress.throttled_seconds IS 'time that sessions rested';
COMMENT ON COLUMN sliding_sync.progress.last_user IS 'second part of that key, for memberships';
COMMENT ON COLUMN sliding_sync.progress.started_at IS 'when the first call began';
COMMENT ON COLUMN sliding_sync.progress.updated_at IS 'end of the last batch; NULL: none has ended';

COMMENT ON COLUMN sliding_sync.role_settings.name IS 'of the setting';
COMMENT ON COLUMN sliding_sync.role_settings.value IS 'of the setting';

COMMENT ON COLUMN sliding_sync.schemas.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.schemas.has_derived_tables IS 'both are there and belong to the owner of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.schemas.complete_at IS 'when a backfill of everything was finished; NULL: never';
COMMENT ON COLUMN sliding_sync.schemas.caught_up_at IS 'when no wrong row was left';
COMMENT ON COLUMN sliding_sync.schemas.has_bypassed_writes IS 'a change may have escaped the triggers since then';
COMMENT ON COLUMN sliding_sync.schemas.has_quarantine IS 'rows are missing that could not be made';
COMMENT ON COLUMN sliding_sync.schemas.unfinished_run IS 'the next call of backfill() for the same rooms goes on with it';

COMMENT ON COLUMN sliding_sync.status.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.status.library_version IS 'of the library; NULL: it cannot be loaded';
COMMENT ON COLUMN sliding_sync.status.extension_version IS 'of the SQL';
COMMENT ON COLUMN sliding_sync.status.is_ready IS 'may readers trust the derived tables?';
COMMENT ON COLUMN sliding_sync.status.reasons IS 'why not: codes of docs/diagnostics.md';
COMMENT ON COLUMN sliding_sync.status.triggers_found IS 'how many of the triggers are there';
COMMENT ON COLUMN sliding_sync.status.triggers_expected IS 'how many there should be';
COMMENT ON COLUMN sliding_sync.status.complete_at IS 'when a backfill of everything was finished; NULL: never';
COMMENT ON COLUMN sliding_sync.status.caught_up_at IS 'when no wrong row was left';
COMMENT ON COLUMN sliding_sync.status.bypassed_writes IS 'how many transactions'' changes escaped the triggers since then';
COMMENT ON COLUMN sliding_sync.status.quarantined IS 'how many keys are in quarantine';

COMMENT ON COLUMN sliding_sync.triggers.schema_name IS 'schema of the table';
COMMENT ON COLUMN sliding_sync.triggers.table_name IS 'the table';
COMMENT ON COLUMN sliding_sync.triggers.trigger_name IS 'the trigger';
-- Attach at once where there is a homeserver. The function is needed here only.

CREATE FUNCTION sliding_sync.attach_at_creation() RETURNS void
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'sliding_sync_attach_at_creation';
SELECT sliding_sync.attach_at_creation();
DROP FUNCTION sliding_sync.attach_at_creation();
