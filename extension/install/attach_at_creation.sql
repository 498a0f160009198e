-- Attach at once where there is a homeserver. The function is needed here only.

CREATE FUNCTION sliding_sync.attach_at_creation() RETURNS void
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'sliding_sync_attach_at_creation';
SELECT sliding_sync.attach_at_creation();
DROP FUNCTION sliding_sync.attach_at_creation();
