-- The trigger function of every table. Any role may name it in CREATE TRIGGER, which a restore by the tables'
-- plain owner needs; a trigger needs ownership of the table all the same.

CREATE FUNCTION sliding_sync.collect() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect';
COMMENT ON FUNCTION sliding_sync.collect() IS
    'trigger: on a homeserver''s table, makes the keys pending that a changed row concerns; on a derived table, keeps the keys of rows that somebody else deletes';
