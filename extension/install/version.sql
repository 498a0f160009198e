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
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT l.version INTO library_version FROM sliding_sync.library() l;
    SELECT x.extversion INTO extension_version FROM pg_extension x WHERE x.extname = 'sliding_sync';
    attached_schemas := ARRAY(SELECT h.schema_name FROM sliding_sync.homeservers h ORDER BY h.schema_name);
END
$$;
COMMENT ON FUNCTION sliding_sync.version() IS
    'the versions of library and SQL, which should be the same, and the attached schemas; library_version is NULL when the library cannot be loaded';
