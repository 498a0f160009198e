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
