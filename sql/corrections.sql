-- What the homeserver wrote into derived rows itself, and the commit corrected, is logged.
\getenv abs_srcdir PG_ABS_SRCDIR
\set ECHO none
\set schema corrections
\i :abs_srcdir/sql/include/homeserver.psql
\i :abs_srcdir/sql/include/views.psql
\set ECHO all
SELECT sliding_sync.attach('corrections');
SET search_path = corrections, public;
CREATE VIEW logged AS
    SELECT table_name, column_name, case_codes, homeserver_value, corrected_value
    FROM sliding_sync.corrections WHERE schema_name = 'corrections' ORDER BY correction_id;

-- a homeserver that leaves the tables alone
SELECT create_room('!old', '@anna:hs.test', name => 'Old') \gset
SELECT count(*) FROM logged;

-- one that writes them, by the same rules but for the name that comes after the membership
SET homeserver.writes_tables = on;
SELECT create_room('!r', '@anna:hs.test', name => 'R') \gset
SELECT send_message('!r', '@anna:hs.test') \gset
SELECT tombstone('!r', '@anna:hs.test', '!next') \gset
SELECT count(*) FROM logged;

-- D1: it keeps the successor when the tombstone goes
SELECT state_reset('!r', 'm.room.tombstone') \gset
SELECT * FROM logged;

-- what is rolled back was not corrected
SELECT tombstone('!r', '@anna:hs.test', '!next') \gset
BEGIN;
SELECT state_reset('!r', 'm.room.tombstone') \gset
SELECT sliding_sync.flush() IS NOT NULL AS flushed;
SELECT count(*) FROM logged;
ROLLBACK;
SELECT count(*) FROM logged;

-- nor is what our own flush has written
BEGIN;
SET LOCAL homeserver.writes_tables = off;
SELECT rename('!r', '@anna:hs.test', 'Again') \gset
SELECT sliding_sync.flush() IS NOT NULL AS flushed;
UPDATE event_json SET json = replace(json, 'Again', 'Never') WHERE event_id = :'rename';
COMMIT;
SELECT count(*) FROM logged;

-- nor another transaction's rows
UPDATE sliding_sync_joined_rooms SET room_name = 'wrong' WHERE room_id = '!r';
SELECT rename('!r', '@anna:hs.test', 'Right') \gset
SELECT count(*) FROM logged WHERE homeserver_value = 'wrong';

-- values are cut
BEGIN;
SELECT rename('!r', '@anna:hs.test', 'Short') \gset
UPDATE sliding_sync_joined_rooms SET room_name = repeat('x', 60000) WHERE room_id = '!r';
COMMIT;
SELECT column_name, length(homeserver_value), corrected_value FROM logged WHERE homeserver_value LIKE 'xx%';

-- off
SET sliding_sync.log_corrections = off;
SELECT state_reset('!r', 'm.room.tombstone') \gset
SELECT tombstone('!r', '@anna:hs.test', '!next') \gset
SELECT count(*) FROM logged;
RESET sliding_sync.log_corrections;

-- at SERIALIZABLE it could fail the transaction, and is left out
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT state_reset('!r', 'm.room.tombstone') \gset
COMMIT;
SELECT successor FROM joined_rooms WHERE room = '!r';
SELECT count(*) FROM logged;

-- counted without values
SELECT corrected FROM sliding_sync.status WHERE schema_name = 'corrections';
SELECT labels, value FROM sliding_sync.metrics WHERE name = 'sliding_sync_corrected_values' AND labels ->> 'schema' = 'corrections';

-- a log that cannot be written costs nothing
ALTER TABLE sliding_sync.corrections ADD CONSTRAINT full_up CHECK (false) NOT VALID;
SELECT tombstone('!r', '@anna:hs.test', '!next') \gset
SELECT state_reset('!r', 'm.room.tombstone') \gset
SELECT successor FROM joined_rooms WHERE room = '!r';
SELECT count(*) FROM logged;
ALTER TABLE sliding_sync.corrections DROP CONSTRAINT full_up;

-- no more than so many
INSERT INTO sliding_sync.corrections (correction_id, schema_name, table_name, case_codes)
    OVERRIDING SYSTEM VALUE SELECT 20000, 'elsewhere', 'x', '';
SELECT tombstone('!r', '@anna:hs.test', '!next') \gset
SELECT state_reset('!r', 'm.room.tombstone') \gset
SELECT count(*) FROM logged;
SELECT severity, remedy FROM sliding_sync.health WHERE code = 'corrections_full';

-- repair takes out the older half, and what is old
SELECT count(*) FROM sliding_sync.repair('corrections');
SELECT count(*) FROM logged;
UPDATE sliding_sync.corrections SET corrected_at = now() - interval '31 days';
CALL sliding_sync.backfill('corrections', verbose => false) \gset
SELECT count(*) FROM sliding_sync.corrections;
SELECT tombstone('!r', '@anna:hs.test', '!next') \gset
SELECT state_reset('!r', 'm.room.tombstone') \gset
SELECT count(*) FROM logged;

-- nobody reads values but the owner, and a monitor counts
CREATE ROLE corrections_monitor IN ROLE pg_monitor;
SET ROLE corrections_monitor;
SELECT count(*) FROM sliding_sync.corrections;
SELECT corrected FROM sliding_sync.status WHERE schema_name = 'corrections';
RESET ROLE;
DROP ROLE corrections_monitor;
DELETE FROM sliding_sync.corrections;
