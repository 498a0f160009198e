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
            AND (SELECT sliding_sync.has_own_function()) AND c.relhastriggers
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

CREATE FUNCTION sliding_sync.reasons_of(has_derived_tables boolean, coverage_gaps text[], is_complete boolean,
                                        may_be_stale boolean, has_quarantine boolean) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN array_remove(CASE WHEN NOT has_derived_tables THEN '{derived_table_missing}'::text[] ELSE '{}' END
                        || coverage_gaps || ARRAY[
        CASE WHEN NOT is_complete THEN 'never_completed' END,
        CASE WHEN may_be_stale THEN 'bypassed_writes' END,
        CASE WHEN has_quarantine THEN 'quarantine' END], NULL);
END
$$;
COMMENT ON FUNCTION sliding_sync.reasons_of(boolean, text[], boolean, boolean, boolean) IS
    'the reason codes of ready(), from what sliding_sync.schemas tells of a homeserver';

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
    reasons := sliding_sync.reasons_of(facts.has_derived_tables, facts.coverage_gaps, facts.complete_at IS NOT NULL,
                                       facts.has_bypassed_writes OR facts.tables_changed, facts.has_quarantine);
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
