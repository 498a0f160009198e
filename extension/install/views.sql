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

-- Planning what looks at catalogs takes ten times what executing it does. In a function it is planned once a
-- session, and what follows is short enough to be planned anew each time. These functions read nothing but
-- catalogs and views that are open to everybody, with the rights of whoever calls them.

CREATE FUNCTION sliding_sync.schema_status() RETURNS TABLE (schema_name text, library_version text,
        extension_version text, is_ready boolean, reasons text[], triggers_found bigint, triggers_expected bigint,
        trigger_state text, joined_rooms_estimate bigint, membership_snapshots_estimate bigint, complete_at timestamptz,
        caught_up_at timestamptz, unfinished_run bigint)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH tables AS MATERIALIZED (
        SELECT n.nspname AS schema_name, c.relname AS table_name, c.reltuples::bigint AS rows_estimate
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND c.relname IN ('sliding_sync_joined_rooms', 'sliding_sync_membership_snapshots')
            AND c.reltuples >= 0)
    SELECT s.schema_name, v.library_version, v.extension_version, cardinality(r.reasons) = 0, r.reasons,
           t.triggers_found, t.triggers_expected, t.trigger_state,
           (SELECT d.rows_estimate FROM tables d
            WHERE d.schema_name = s.schema_name AND d.table_name = 'sliding_sync_joined_rooms'),
           (SELECT d.rows_estimate FROM tables d WHERE d.schema_name = s.schema_name
                AND d.table_name = 'sliding_sync_membership_snapshots'),
           s.complete_at, s.caught_up_at, s.unfinished_run
    FROM sliding_sync.schemas s
        CROSS JOIN sliding_sync.version() v
        CROSS JOIN LATERAL (
            SELECT sliding_sync.reasons_of(s.has_derived_tables, s.coverage_gaps, s.complete_at IS NOT NULL,
                                           s.has_bypassed_writes OR s.tables_changed, s.has_quarantine) AS reasons OFFSET 0) r
        CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE x.state <> 'missing') AS triggers_found, count(*) AS triggers_expected,
                   (array_agg(x.state ORDER BY array_position(
                       '{missing,disabled,replica,origin,always}'::text[], x.state)))[1] AS trigger_state
            FROM sliding_sync.triggers x WHERE x.schema_name = s.schema_name) t;
END
$$;
COMMENT ON FUNCTION sliding_sync.schema_status() IS 'what catalogs tell for sliding_sync.status';

-- There may be as many as there are rooms.
CREATE VIEW sliding_sync.quarantine_counts AS
    SELECT x.schema_name,
           CASE WHEN x.is_estimate THEN greatest(x.keys, x.keys * e.keys / 1001) ELSE x.keys END AS keys, x.is_estimate,
           x.reasons, x.last_entry
    FROM (SELECT q.schema_name, count(*) AS keys, sum(count(*)) OVER () > 1000 AS is_estimate,
                 string_agg(DISTINCT q.reason || ' ' || q.sqlstate, ', ') AS reasons, max(q.entry_id) AS last_entry
          FROM (SELECT n.schema_name, n.reason, n.sqlstate, n.entry_id FROM sliding_sync.quarantine n
                ORDER BY n.entry_id DESC LIMIT 1001) q
          GROUP BY q.schema_name) x
        CROSS JOIN (SELECT greatest(c.reltuples::bigint, pg_stat_get_live_tuples(c.oid)) AS keys
                    FROM pg_class c WHERE c.oid = 'sliding_sync.quarantine'::regclass) e;
COMMENT ON VIEW sliding_sync.quarantine_counts IS
    'keys in quarantine, by schema: counted up to 1000 in all, estimated above, from the newest 1001 and what the server counts of the table';

--
-- status: one row an attached schema
--
CREATE VIEW sliding_sync.status AS
    SELECT s.schema_name, s.library_version, s.extension_version, s.is_ready, s.reasons,
           s.triggers_found, s.triggers_expected, s.trigger_state,
           s.joined_rooms_estimate, s.membership_snapshots_estimate,
           s.complete_at, s.caught_up_at,
           (SELECT count(*) FROM sliding_sync.bypassed_writes u
            WHERE u.schema_name = s.schema_name) AS bypassed_writes,
           coalesce((SELECT q.keys FROM sliding_sync.quarantine_counts q WHERE q.schema_name = s.schema_name),
                    ('quarantine' = ANY (s.reasons))::integer) AS quarantined,
           s.unfinished_run,
           (SELECT format('%s in 30 days (%s)', sum(x.corrections),
                          string_agg(format('%s %s', x.column_name, x.corrections), ', '
                                     ORDER BY x.corrections DESC, x.column_name))
            FROM (SELECT c.column_name, sum(c.corrections) AS corrections FROM sliding_sync.correction_counts c
                  WHERE c.schema_name = s.schema_name GROUP BY c.column_name) x
            HAVING count(*) > 0) AS corrected
    FROM sliding_sync.schema_status() s;
COMMENT ON VIEW sliding_sync.status IS
    'one row an attached schema: versions, triggers, how complete its derived tables are';
COMMENT ON COLUMN sliding_sync.status.trigger_state IS
    'the worst of sliding_sync.triggers: missing, disabled, replica, origin or always';
COMMENT ON COLUMN sliding_sync.status.joined_rooms_estimate IS 'as of the last ANALYZE; NULL: never analyzed';
COMMENT ON COLUMN sliding_sync.status.membership_snapshots_estimate IS 'as of the last ANALYZE; NULL: never analyzed';
COMMENT ON COLUMN sliding_sync.status.unfinished_run IS 'the next call of backfill() for the same rooms goes on with it';
COMMENT ON COLUMN sliding_sync.status.corrected IS
    'how many values that the homeserver wrote itself were corrected, and in which columns; NULL: none';

CREATE VIEW sliding_sync.run_tables AS
    SELECT r.run_id, r.schema_name, g.table_name, r.started_at, bool_and(g.is_done) AS is_done,
           max(g.updated_at) AS updated_at, sum(g.items_done)::bigint AS items_done,
           greatest(sum(g.items_total), sum(g.items_done))::bigint AS items_total,
           sum(g.rows_written)::bigint AS rows_written, sum(g.quarantined)::bigint AS quarantined,
           sum(g.work_seconds) AS work_seconds, sum(g.throttled_seconds) AS throttled_seconds,
           coalesce(array_agg(DISTINCT a.pid ORDER BY a.pid) FILTER (WHERE a.pid IS NOT NULL), '{}') AS sessions
    FROM sliding_sync.runs r JOIN sliding_sync.run_ranges g ON g.run_id = r.run_id
        -- a session that still works on it: the same process id may long belong to somebody else
        LEFT JOIN pg_stat_activity a ON a.pid = g.pid AND NOT g.is_done AND a.datname = current_database()
            AND a.state = 'active' AND a.backend_start <= g.updated_at
    WHERE r.finished_at IS NULL
    GROUP BY r.run_id, r.schema_name, g.table_name, r.started_at;
COMMENT ON VIEW sliding_sync.run_tables IS 'one row for each table of a backfill that is not finished';

--
-- progress: one row for each table of a backfill that is not finished, and for each session that verifies
--
CREATE VIEW sliding_sync.progress AS
    SELECT 'backfill' AS command, r.run_id, r.schema_name, r.table_name,
           CASE WHEN r.is_done THEN 'done' WHEN r.sessions <> '{}' THEN 'working'
                WHEN r.updated_at IS NULL THEN 'waiting' ELSE 'interrupted' END AS phase,
           r.items_done, r.items_total, r.rows_written, r.quarantined, speed.items_per_second,
           CASE WHEN r.sessions <> '{}' AND speed.items_per_second > 0
                THEN make_interval(secs => round((r.items_total - r.items_done)::double precision
                                                 / speed.items_per_second)) END AS eta,
           r.throttled_seconds, last.position_room AS last_room, last.position_user AS last_user,
           r.started_at, r.updated_at, r.sessions
    FROM sliding_sync.run_tables r
        CROSS JOIN LATERAL (
            SELECT round((r.items_done / nullif(r.work_seconds + r.throttled_seconds, 0)
                          * greatest(cardinality(r.sessions), 1))::numeric, 1)::double precision AS items_per_second) speed
        CROSS JOIN LATERAL (
            SELECT l.position_room, l.position_user FROM sliding_sync.run_ranges l
            WHERE l.run_id = r.run_id AND l.table_name = r.table_name
            ORDER BY l.updated_at DESC NULLS LAST, l.range_number LIMIT 1) last
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
CREATE FUNCTION sliding_sync.catalog_findings()
    RETURNS TABLE (severity text, schema_name text, code text, detail text, remedy text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH schemas AS MATERIALIZED (SELECT * FROM sliding_sync.schemas),
    -- asked first, so that where all is well nothing else is looked at for its sake
    gaps AS MATERIALIZED (SELECT unnest(s.coverage_gaps) AS reason FROM schemas s),
    triggers AS MATERIALIZED (SELECT * FROM sliding_sync.triggers),
    derived_tables AS MATERIALIZED (SELECT * FROM sliding_sync.derived_tables),
    needed_indexes AS MATERIALIZED (SELECT * FROM sliding_sync.needed_indexes),
    role_settings AS MATERIALIZED (SELECT * FROM sliding_sync.role_settings),
    unattached AS MATERIALIZED (
        SELECT n.nspname AS schema_name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.relname IN ('events', 'event_json', 'redactions', 'rooms', 'room_memberships',
                'current_state_events', 'local_current_membership')
            AND NOT EXISTS (SELECT FROM schemas s WHERE s.schema_name = n.nspname)
        GROUP BY n.nspname HAVING count(*) = 7 ORDER BY min(n.oid) LIMIT 10)  -- who may create schemas fills no view
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
    FROM triggers t WHERE EXISTS (SELECT FROM gaps g WHERE g.reason = 'trigger_missing') AND t.state = 'missing' GROUP BY t.schema_name
    UNION ALL
    SELECT 'error', t.schema_name, 'trigger_disabled',
           format('Trigger %s of table %s does not fire.', t.trigger_name, t.table_name),
           format('ALTER TABLE %I.%I ENABLE ALWAYS TRIGGER "%s"; SELECT sliding_sync.catch_up(%1$L)',
                  t.schema_name, t.table_name, t.trigger_name)
    FROM triggers t
        WHERE EXISTS (SELECT FROM gaps g WHERE g.reason = 'trigger_disabled') AND t.state IN ('replica', 'disabled')
    UNION ALL
    SELECT 'error', t.schema_name, 'trigger_not_always',
           format('Where session_replication_role is replica, writes go unnoticed. Tables: %s.',
                  string_agg(DISTINCT t.table_name, ', ')),
           format('SELECT sliding_sync.attach(%L); SELECT sliding_sync.catch_up(%1$L)', t.schema_name)
    FROM triggers t WHERE EXISTS (SELECT FROM gaps g WHERE g.reason = 'trigger_not_always') AND t.state = 'origin' GROUP BY t.schema_name
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
        WHERE EXISTS (SELECT FROM gaps)
    UNION ALL
    SELECT 'error', m.schema_name, 'column_missing',
           format('The homeserver is not of a version that this extension knows (database schemas 86 to 94). Table %s: %s.',
                  m.table_name, string_agg(m.column_name || CASE WHEN m.found_type IS NULL THEN ' is missing'
                      ELSE format(' has type %s instead of %s', m.found_type, m.needed_type) END, ', '
                      ORDER BY m.column_name)),
           format('Install a version of sliding_sync that knows it, ALTER EXTENSION sliding_sync UPDATE, '
                  'SELECT sliding_sync.catch_up(%L); or SELECT sliding_sync.detach(%1$L)', m.schema_name)
    FROM sliding_sync.missing_columns m WHERE EXISTS (SELECT FROM gaps g WHERE g.reason = 'column_missing') GROUP BY m.schema_name, m.table_name
    UNION ALL
    SELECT 'error', s.schema_name, 'never_completed',
           'Rows from before the triggers are missing or not known to be right.',
           format('CALL sliding_sync.backfill(target_schema => %L)', s.schema_name)
    FROM schemas s WHERE s.complete_at IS NULL
    UNION ALL
    SELECT 'error', s.schema_name, 'bypassed_writes',
           'Tables or triggers were made, dropped, altered, rewritten or truncated since every row was last known to be '
           'right.',
           format('SELECT sliding_sync.catch_up(%L)', s.schema_name)
    FROM schemas s WHERE s.has_bypassed_writes OR s.tables_changed
    UNION ALL
    SELECT 'error', s.schema_name, 'quarantine', 'Keys without a derived row.',
           'SELECT * FROM sliding_sync.repair_quarantine()'
    FROM schemas s WHERE s.has_quarantine
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
    SELECT 'notice', d.schema_name, 'bloated',
           format('Table %s has %s dead rows and %s live ones.', d.table_name, d.dead_rows, d.live_rows),
           format('VACUUM %I.%I', d.schema_name, d.table_name)
    FROM derived_tables d WHERE d.dead_rows > 10000 + d.live_rows;
END
$$;
COMMENT ON FUNCTION sliding_sync.catalog_findings() IS 'what catalogs tell for sliding_sync.health';

CREATE VIEW sliding_sync.health AS
    WITH findings AS MATERIALIZED (SELECT * FROM sliding_sync.catalog_findings()),
    quarantined AS MATERIALIZED (SELECT * FROM sliding_sync.quarantine_counts)
    -- collations as in 1.0.0: a view that is replaced keeps those of its columns
    SELECT f.severity, f.schema_name COLLATE "C" AS schema_name, f.code, f.detail COLLATE "C" AS detail,
           f.remedy COLLATE "C" AS remedy
    FROM (
        SELECT c.severity, c.schema_name, c.code, c.detail, c.remedy FROM findings c
        WHERE c.code <> 'bypassed_writes'
            AND NOT (c.code = 'quarantine' AND EXISTS (SELECT FROM quarantined q WHERE q.schema_name = c.schema_name))
        UNION ALL
        SELECT c.severity, c.schema_name, c.code,
               coalesce((SELECT format('Transactions whose changes the triggers could not act on: %s. '
                                       'The last one at %s, role %s (%s).',
                                       count(*), max(u.recorded_at), (array_agg(u.role_name ORDER BY u.recorded_at DESC))[1],
                                       (array_agg(u.reason ORDER BY u.recorded_at DESC))[1])
                         FROM sliding_sync.bypassed_writes u WHERE u.schema_name = c.schema_name HAVING count(*) > 0),
                        c.detail),
               c.remedy
        FROM findings c WHERE c.code = 'bypassed_writes'
        UNION ALL
        SELECT 'error', k.schema_name, 'quarantine',
               format('Keys without a derived row: %s%s (%s). The last one: %s',
                      CASE WHEN k.is_estimate THEN 'about ' ELSE '' END, k.keys, k.reasons,
                      (SELECT q.message FROM sliding_sync.quarantine q WHERE q.entry_id = k.last_entry)),
               'SELECT * FROM sliding_sync.repair_quarantine()'
        FROM quarantined k
        UNION ALL
        SELECT 'notice', NULL, 'corrections_full',
               'The log of what commits corrected takes no more.',
               'DELETE FROM sliding_sync.corrections'
        FROM sliding_sync.corrections c HAVING max(c.correction_id) - min(c.correction_id) >= 10000
        UNION ALL
        SELECT 'warning', p.schema_name, 'run_interrupted',
               format('Run %s of backfill() is not finished, and no session works on it.', p.run_id),
               format('CALL sliding_sync.backfill(target_schema => %L)', p.schema_name)
        FROM sliding_sync.run_tables p GROUP BY p.schema_name, p.run_id
        -- a session is seen from the end of its first batch on
        HAVING bool_and(p.sessions = '{}')
            AND max(coalesce(p.updated_at, p.started_at)) < statement_timestamp() - interval '1 minute'
    ) f
    ORDER BY array_position('{error,warning,notice}'::text[], f.severity), f.schema_name COLLATE "C", f.code, f.detail COLLATE "C";
COMMENT ON VIEW sliding_sync.health IS 'one row a finding, with the command that cures it; no row: all is well';
COMMENT ON COLUMN sliding_sync.health.severity IS
    'error: readers must not trust the tables; warning: will lead to that, or costs time; notice: costs space';
COMMENT ON COLUMN sliding_sync.health.schema_name IS 'NULL: concerns the database';
COMMENT ON COLUMN sliding_sync.health.code IS 'one of docs/diagnostics.md';

--
-- metrics: for an exporter
--
CREATE FUNCTION sliding_sync.catalog_metrics() RETURNS TABLE (name text, labels jsonb, value double precision)
    LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 20 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT 'sliding_sync_triggers'::text, jsonb_build_object('schema', t.schema_name, 'state', t.state), count(*)::double precision
    FROM sliding_sync.triggers t GROUP BY t.schema_name, t.state
    UNION ALL
    SELECT m.name, jsonb_build_object('schema', d.schema_name, 'table', d.table_name) || m.labels, m.value
    FROM sliding_sync.derived_tables d CROSS JOIN LATERAL (VALUES
        ('sliding_sync_table_rows_estimate', '{}'::jsonb, d.rows_estimate::double precision),
        ('sliding_sync_table_dead_rows_estimate', '{}', d.dead_rows::double precision),
        ('sliding_sync_table_changes_total', '{"change": "insert"}', d.inserts::double precision),
        ('sliding_sync_table_changes_total', '{"change": "update"}', d.updates::double precision),
        ('sliding_sync_table_changes_total', '{"change": "delete"}', d.deletes::double precision)
    ) m (name, labels, value) WHERE m.value IS NOT NULL;
END
$$;
COMMENT ON FUNCTION sliding_sync.catalog_metrics() IS 'what catalogs tell for sliding_sync.metrics';

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
         (SELECT extract(epoch FROM q.recorded_at)::double precision FROM sliding_sync.quarantine q
          WHERE q.schema_name = s.schema_name ORDER BY q.entry_id LIMIT 1))
    ) m (name, value) WHERE m.value IS NOT NULL
    UNION ALL
    SELECT 'sliding_sync_corrected_values', jsonb_build_object('schema', c.schema_name, 'table', c.table_name,
               'column', c.column_name), sum(c.corrections)::double precision
    FROM sliding_sync.correction_counts c GROUP BY c.schema_name, c.table_name, c.column_name
    UNION ALL
    SELECT 'sliding_sync_not_ready_reason', jsonb_build_object('schema', s.schema_name, 'reason', r.reason), 1
    FROM status s CROSS JOIN unnest(s.reasons) r (reason)
    UNION ALL
    SELECT c.name, c.labels, c.value FROM sliding_sync.catalog_metrics() c
    UNION ALL
    SELECT m.name, jsonb_build_object('schema', p.schema_name, 'table', p.table_name, 'run', p.run_id::text), m.value
    FROM sliding_sync.run_tables p CROSS JOIN LATERAL (VALUES
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
