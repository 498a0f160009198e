-- Two-phase commit. Needs max_prepared_transactions > 0.
\getenv abs_srcdir PG_ABS_SRCDIR
\set schema prepared
\set ECHO none
\i :abs_srcdir/sql/include/homeserver.psql
\i :abs_srcdir/sql/include/views.psql
\set ECHO all
SELECT sliding_sync.attach('prepared');

SELECT create_room('!r', '@anna:hs.test', name => 'Zero') \gset

-- the rows are written when the transaction is prepared, and seen when it is committed
BEGIN;
SELECT rename('!r', '@anna:hs.test', 'One') \gset
SELECT join('!r', '@bert:hs.test') \gset
PREPARE TRANSACTION 'sliding_sync_1';
SELECT name FROM joined_rooms;
SELECT who FROM snapshots;
COMMIT PREPARED 'sliding_sync_1';
SELECT name FROM joined_rooms;
SELECT who, name FROM snapshots;

-- rolled back
BEGIN;
SELECT rename('!r', '@anna:hs.test', 'Lie') \gset
PREPARE TRANSACTION 'sliding_sync_2';
ROLLBACK PREPARED 'sliding_sync_2';
SELECT name FROM joined_rooms;

-- nothing of a prepared transaction is left in the session
BEGIN;
SELECT rename('!r', '@anna:hs.test', 'Lie') \gset
PREPARE TRANSACTION 'sliding_sync_3';
ROLLBACK PREPARED 'sliding_sync_3';
BEGIN;
INSERT INTO rooms (room_id) VALUES ('!another');
COMMIT;
SELECT joined_rooms, memberships, rows_written FROM sliding_sync.last_flush();

-- with a savepoint
BEGIN;
SELECT rename('!r', '@anna:hs.test', 'Two') \gset
SAVEPOINT a;
SELECT rename('!r', '@anna:hs.test', 'Lie') \gset
ROLLBACK TO a;
PREPARE TRANSACTION 'sliding_sync_4';
COMMIT PREPARED 'sliding_sync_4';
SELECT name FROM joined_rooms;

-- a deferred constraint on the derived table is checked when the transaction is prepared
CREATE TABLE allowed_names (name text PRIMARY KEY);
INSERT INTO allowed_names VALUES ('Two'), ('Three');
ALTER TABLE sliding_sync_joined_rooms ADD CONSTRAINT allowed FOREIGN KEY (room_name) REFERENCES allowed_names
    DEFERRABLE INITIALLY DEFERRED;
BEGIN;
SELECT rename('!r', '@anna:hs.test', 'Forbidden') \gset
PREPARE TRANSACTION 'sliding_sync_5';
ROLLBACK PREPARED 'sliding_sync_5';
BEGIN;
SELECT rename('!r', '@anna:hs.test', 'Three') \gset
PREPARE TRANSACTION 'sliding_sync_6';
COMMIT PREPARED 'sliding_sync_6';
SELECT name FROM joined_rooms;
ALTER TABLE sliding_sync_joined_rooms DROP CONSTRAINT allowed;
