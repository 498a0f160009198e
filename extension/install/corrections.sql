-- What the triggers are worth: derived rows that the homeserver itself has written in a transaction, and that
-- the commit corrected. It does not say which rows, but values may be names of rooms, and ids: nobody is
-- granted it.

CREATE TABLE sliding_sync.corrections (
    correction_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    corrected_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    schema_name text NOT NULL,
    table_name text NOT NULL,
    column_name text,
    case_codes text NOT NULL,
    homeserver_value text,
    corrected_value text
);
COMMENT ON TABLE sliding_sync.corrections IS
    'values that the homeserver wrote into derived rows and that the commit of the same transaction corrected; kept for 30 days, 10000 at most, pruned by backfill() and repair()';
COMMENT ON SEQUENCE sliding_sync.corrections_correction_id_seq IS 'numbers of the corrections';
COMMENT ON COLUMN sliding_sync.corrections.correction_id IS 'number of the record';
COMMENT ON COLUMN sliding_sync.corrections.corrected_at IS 'when the transaction began';
COMMENT ON COLUMN sliding_sync.corrections.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.corrections.table_name IS 'the derived table';
COMMENT ON COLUMN sliding_sync.corrections.column_name IS 'NULL: there must be no such row';
COMMENT ON COLUMN sliding_sync.corrections.case_codes IS
    'the cases of docs/differences.md that give such a difference; empty: none of them is known to';
COMMENT ON COLUMN sliding_sync.corrections.homeserver_value IS 'what the homeserver had written, its first 500 characters';
COMMENT ON COLUMN sliding_sync.corrections.corrected_value IS 'what was committed, its first 500 characters';

CREATE TRIGGER drop_replicated_row BEFORE INSERT OR UPDATE OR DELETE ON sliding_sync.corrections
    FOR EACH ROW EXECUTE FUNCTION sliding_sync.drop_replicated_row();
ALTER TABLE sliding_sync.corrections ENABLE REPLICA TRIGGER drop_replicated_row;
ALTER TRIGGER drop_replicated_row ON sliding_sync.corrections DEPENDS ON EXTENSION sliding_sync;

CREATE VIEW sliding_sync.correction_counts AS
    SELECT c.schema_name, c.table_name, coalesce(c.column_name, 'row') AS column_name, c.case_codes,
           count(*) AS corrections
    FROM sliding_sync.corrections c
    WHERE c.corrected_at > now() - interval '30 days'
    GROUP BY c.schema_name, c.table_name, coalesce(c.column_name, 'row'), c.case_codes;
COMMENT ON VIEW sliding_sync.correction_counts IS 'corrections of the last 30 days, without their values';
COMMENT ON COLUMN sliding_sync.correction_counts.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.correction_counts.table_name IS 'the derived table';
COMMENT ON COLUMN sliding_sync.correction_counts.column_name IS 'row: there must be no such row';
COMMENT ON COLUMN sliding_sync.correction_counts.case_codes IS 'the cases of docs/differences.md that give such a difference';
COMMENT ON COLUMN sliding_sync.correction_counts.corrections IS 'how many values were corrected';
