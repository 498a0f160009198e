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
