-- What the running session has changed.

CREATE FUNCTION sliding_sync.flush(OUT joined_rooms bigint, OUT memberships bigint, OUT rows_written bigint)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sliding_sync_flush';
COMMENT ON FUNCTION sliding_sync.flush() IS
    'writes the derived rows of what this transaction has changed so far, so that it can read them before it commits';

CREATE FUNCTION sliding_sync.last_flush(OUT joined_rooms bigint, OUT memberships bigint, OUT rows_written bigint,
                                        OUT microseconds double precision)
    LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'sliding_sync_last_flush';
COMMENT ON FUNCTION sliding_sync.last_flush() IS
    'what the last commit of this session refreshed, and the time that took; NULLs when there was none';

REVOKE ALL ON FUNCTION sliding_sync.flush() FROM PUBLIC;
