-- Puts the triggers where they belong, and takes them away.

CREATE FUNCTION sliding_sync.attach(target_schema text DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sliding_sync_attach';
COMMENT ON FUNCTION sliding_sync.attach(text) IS
    'puts the triggers on the homeserver''s tables in this schema (or in the only one that holds some), and makes the derived tables when they are missing; returns the schema';

CREATE FUNCTION sliding_sync.detach(target_schema text DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sliding_sync_detach';
COMMENT ON FUNCTION sliding_sync.detach(text) IS
    'takes the triggers off the homeserver''s tables in this schema, or in all; tables and rows stay; returns the number of schemas';

CREATE FUNCTION sliding_sync.attached_schema(target_schema text DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    attached text[] := (SELECT v.attached_schemas FROM sliding_sync.version() v);
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
