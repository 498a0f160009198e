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
