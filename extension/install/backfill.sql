-- Fills and corrects the derived tables.

CREATE PROCEDURE sliding_sync.backfill(
    target_schema text DEFAULT NULL,
    tables text DEFAULT 'both',
    first_room text DEFAULT NULL,
    last_room text DEFAULT NULL,
    batch_size bigint DEFAULT NULL,
    batch_time interval DEFAULT '100 ms',
    pause interval DEFAULT '0',
    share double precision DEFAULT 1,
    max_duration interval DEFAULT NULL,
    restart boolean DEFAULT false,
    verbose boolean DEFAULT NULL,
    run_id bigint DEFAULT NULL,
    INOUT joined_rooms bigint DEFAULT NULL,
    INOUT memberships bigint DEFAULT NULL,
    INOUT rows_written bigint DEFAULT NULL,
    INOUT quarantined bigint DEFAULT NULL,
    INOUT is_finished boolean DEFAULT NULL
) LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_backfill';
COMMENT ON PROCEDURE sliding_sync.backfill(text, text, text, text, bigint, interval, interval, double precision, interval,
    boolean, boolean, bigint, bigint, bigint, bigint, bigint, boolean) IS
    'fills and corrects the derived tables, batch by batch, while the homeserver runs; goes on with an unfinished run';
REVOKE ALL ON PROCEDURE sliding_sync.backfill(text, text, text, text, bigint, interval, interval, double precision,
    interval, boolean, boolean, bigint, bigint, bigint, bigint, bigint, boolean) FROM PUBLIC;

CREATE PROCEDURE sliding_sync.begin_backfill(
    target_schema text DEFAULT NULL,
    tables text DEFAULT 'both',
    first_room text DEFAULT NULL,
    last_room text DEFAULT NULL,
    restart boolean DEFAULT false,
    INOUT run_id bigint DEFAULT NULL
) LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_begin_backfill';
COMMENT ON PROCEDURE sliding_sync.begin_backfill(text, text, text, text, boolean, bigint) IS
    'the number of the unfinished run, or of a new one: sessions that name it work on this run, and never begin another';
REVOKE ALL ON PROCEDURE sliding_sync.begin_backfill(text, text, text, text, boolean, bigint) FROM PUBLIC;

CREATE FUNCTION sliding_sync.catch_up(target_schema text DEFAULT NULL, mode text DEFAULT 'repair', OUT had_gap boolean,
    OUT joined_rooms bigint, OUT memberships bigint, OUT rows_written bigint, OUT quarantined bigint)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sliding_sync_catch_up';
COMMENT ON FUNCTION sliding_sync.catch_up(text, text) IS
    'for a homeserver''s start: returns when no wrong row is left, at once when nothing changed without the triggers, otherwise after a look at every row; mode remove takes wrong rows away for repair_quarantine() to make them later';
REVOKE ALL ON FUNCTION sliding_sync.catch_up(text, text) FROM PUBLIC;
