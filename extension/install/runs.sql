-- What long work has done, where it stands, and since when nothing can have escaped the triggers. Written by the
-- functions of the extension only, as the owner of these tables.

CREATE TABLE sliding_sync.runs (
    run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schema_name text NOT NULL,
    what text NOT NULL CHECK (what IN ('joined_rooms', 'memberships', 'both')),
    first_room text,
    last_room text,
    started_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    finished_at timestamptz
);
COMMENT ON TABLE sliding_sync.runs IS 'one row a backfill; a call of backfill() goes on with the one that is not finished';
COMMENT ON COLUMN sliding_sync.runs.first_room IS 'NULL: from the first room';
COMMENT ON COLUMN sliding_sync.runs.last_room IS 'NULL: to the last room';

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
    set_aside bigint NOT NULL DEFAULT 0,
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
COMMENT ON COLUMN sliding_sync.run_ranges.set_aside IS 'keys that went into quarantine';
COMMENT ON COLUMN sliding_sync.run_ranges.pid IS 'session that worked on it last';

CREATE TABLE sliding_sync.watched (
    schema_name text PRIMARY KEY,
    triggers text NOT NULL,
    complete_at timestamptz,
    caught_up_at timestamptz
);
COMMENT ON TABLE sliding_sync.watched IS 'since when a homeserver''s tables have not changed without the triggers';
COMMENT ON COLUMN sliding_sync.watched.triggers IS 'sliding_sync.trigger_fingerprint() at that moment';
COMMENT ON COLUMN sliding_sync.watched.complete_at IS 'when a backfill of everything was finished';
COMMENT ON COLUMN sliding_sync.watched.caught_up_at IS 'when no stale row was left';

CREATE TABLE sliding_sync.unwatched_writes (
    write_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schema_name text NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    reason text NOT NULL CHECK (reason IN ('disabled', 'replica')),
    role_name text NOT NULL DEFAULT session_user,
    application_name text NOT NULL DEFAULT pg_catalog.current_setting('application_name', true)
);
COMMENT ON TABLE sliding_sync.unwatched_writes IS
    'transactions that changed a homeserver''s tables while the triggers were switched off; catch_up() deals with them';
COMMENT ON COLUMN sliding_sync.unwatched_writes.reason IS
    'disabled: sliding_sync.enabled was off; replica: session_replication_role was replica';

CREATE FUNCTION sliding_sync.trigger_fingerprint(target_schema text) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT md5(coalesce(string_agg(c.relname || ' ' || t.tgname || ' ' || t.tgenabled::text || ' ' || t.xmin::text, ','
                                   ORDER BY c.relname, t.tgname), ''))
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = target_schema AND t.tgname IN ('A_sliding_sync', 'A_sliding_sync_truncate')
$$;
COMMENT ON FUNCTION sliding_sync.trigger_fingerprint(text) IS
    'changes whenever a trigger of the extension is made, dropped, disabled or enabled';

COMMENT ON SEQUENCE sliding_sync.runs_run_id_seq IS 'numbers of the runs';
COMMENT ON SEQUENCE sliding_sync.unwatched_writes_write_id_seq IS 'numbers of the unwatched writes';
