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
