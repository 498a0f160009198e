-- Finds what is wrong, and mends it.

CREATE TABLE sliding_sync.repairs (
    repair_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    repaired_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    role_name text NOT NULL DEFAULT session_user,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    room_id text NOT NULL,
    user_id text,
    reasons text NOT NULL,
    row_before jsonb,
    row_after jsonb
);
COMMENT ON TABLE sliding_sync.repairs IS 'what repair() has changed; may be emptied at any time';
COMMENT ON COLUMN sliding_sync.repairs.role_name IS 'who called repair()';
COMMENT ON COLUMN sliding_sync.repairs.user_id IS 'NULL for a row of sliding_sync_joined_rooms';
COMMENT ON COLUMN sliding_sync.repairs.reasons IS 'reason codes of verify()';
COMMENT ON COLUMN sliding_sync.repairs.row_before IS 'NULL when the row was missing';
COMMENT ON COLUMN sliding_sync.repairs.row_after IS 'NULL when the row was removed';
COMMENT ON SEQUENCE sliding_sync.repairs_repair_id_seq IS 'numbers of the repairs';

CREATE FUNCTION sliding_sync.verify(
    target_schema text DEFAULT NULL,
    tables text DEFAULT 'both',
    first_room text DEFAULT NULL,
    last_room text DEFAULT NULL,
    room text DEFAULT NULL,
    member text DEFAULT NULL,
    sample double precision DEFAULT 1,
    history boolean DEFAULT true
) RETURNS TABLE (table_name text, room_id text, user_id text, column_name text, expected text, actual text, reason text,
    severity text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'sliding_sync_verify';
COMMENT ON FUNCTION sliding_sync.verify(text, text, text, text, text, text, double precision, boolean) IS
    'what is wrong in the derived tables, a row for each difference; changes nothing and works on a standby';

CREATE FUNCTION sliding_sync.repair(
    target_schema text DEFAULT NULL,
    tables text DEFAULT 'both',
    first_room text DEFAULT NULL,
    last_room text DEFAULT NULL,
    room text DEFAULT NULL,
    member text DEFAULT NULL,
    sample double precision DEFAULT 1,
    history boolean DEFAULT true,
    dry_run boolean DEFAULT false
) RETURNS TABLE (table_name text, room_id text, user_id text, reasons text, row_before jsonb, row_after jsonb)
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'sliding_sync_repair';
COMMENT ON FUNCTION sliding_sync.repair(text, text, text, text, text, text, double precision, boolean, boolean) IS
    'mends what verify() finds and drains the quarantine; returns the rows, whose rooms and users a running homeserver should drop from its caches';

REVOKE ALL ON FUNCTION sliding_sync.verify(text, text, text, text, text, text, double precision, boolean),
    sliding_sync.repair(text, text, text, text, text, text, double precision, boolean, boolean) FROM PUBLIC;
