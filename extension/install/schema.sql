\echo Use "CREATE EXTENSION sliding_sync" to load this file. \quit

-- The schema is made here and not by the control file: so it belongs to the extension, and nobody else can
-- put functions into it.
CREATE SCHEMA sliding_sync;
-- No name below means anything of somebody else's, whatever the schema that CREATE EXTENSION was called in.
SET LOCAL search_path = pg_catalog, pg_temp;
COMMENT ON SCHEMA sliding_sync IS 'keeps the sliding sync tables of a Matrix homeserver exact';
GRANT USAGE ON SCHEMA sliding_sync TO PUBLIC;
