-- Puts the triggers where they belong, and takes them away.

CREATE FUNCTION sliding_sync.attach(target_schema text DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sliding_sync_attach';
COMMENT ON FUNCTION sliding_sync.attach(text) IS
    'puts the triggers on the homeserver''s tables in this schema (or in the only one that holds some), and makes the derived tables when they are missing; returns the schema';

CREATE FUNCTION sliding_sync.detach(target_schema text DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sliding_sync_detach';
COMMENT ON FUNCTION sliding_sync.detach(text) IS
    'takes the triggers off the homeserver''s tables in this schema, or in all; tables and rows stay; returns the number of schemas';

REVOKE ALL ON FUNCTION sliding_sync.attach(text), sliding_sync.detach(text) FROM PUBLIC;
