-- What could not be kept.

CREATE TABLE sliding_sync.quarantine (
    entry_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recorded_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    schema_name text NOT NULL,
    table_name text NOT NULL,
    room_id text NOT NULL,
    user_id text,
    reason text NOT NULL,
    sqlstate text NOT NULL,
    message text NOT NULL
);
CREATE INDEX quarantine_room_id_idx ON sliding_sync.quarantine (room_id, user_id);
COMMENT ON TABLE sliding_sync.quarantine IS
    'keys whose derived row could not be made: the row was removed, the homeserver''s transaction went on; sliding_sync.repair_quarantine() tries them again';
COMMENT ON SEQUENCE sliding_sync.quarantine_entry_id_seq IS 'numbers of the notes';
COMMENT ON COLUMN sliding_sync.quarantine.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.quarantine.table_name IS 'the derived table; empty when the rows concerned could not be found out';
COMMENT ON COLUMN sliding_sync.quarantine.user_id IS 'NULL for a row of sliding_sync_joined_rooms';
COMMENT ON COLUMN sliding_sync.quarantine.reason IS 'refresh_failed, circuit_breaker_open, lookup_failed, unreadable or stale';

CREATE SEQUENCE sliding_sync.lost_records;
COMMENT ON SEQUENCE sliding_sync.lost_records IS
    'counts notes of rows removed or left doubtful that could not be written, because the table was locked for instance';

CREATE FUNCTION sliding_sync.repair_quarantine(OUT repaired bigint, OUT remaining bigint)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sliding_sync_repair_quarantine';
COMMENT ON FUNCTION sliding_sync.repair_quarantine() IS
    'makes the rows of the keys in quarantine once more and takes the keys out for which that works';

REVOKE ALL ON FUNCTION sliding_sync.repair_quarantine() FROM PUBLIC;
