-- What is installed.

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
