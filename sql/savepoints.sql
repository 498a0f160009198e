-- What a rollback to a savepoint takes back, and what it must not.
\getenv abs_srcdir PG_ABS_SRCDIR
\set schema savepoints
\set ECHO none
\i :abs_srcdir/sql/include/homeserver.psql
\i :abs_srcdir/sql/include/views.psql
\set ECHO all
SELECT sliding_sync.attach('savepoints');

SELECT create_room('!r', '@anna:hs.test', name => 'Zero') \gset
SELECT join('!r', '@bert:hs.test') AS bert_join \gset
-- does the row show the newest event that is stored?
CREATE VIEW newest AS SELECT j.name, j.latest = (SELECT max(stream_ordering) FROM events e WHERE e.room_id = j.room) AS latest,
    j.bump = (SELECT max(stream_ordering) FROM events e WHERE e.room_id = j.room AND e.type IN ('m.room.message', 'm.room.create')) AS bump
    FROM joined_rooms j WHERE j.room = '!r';
TABLE newest;

--
-- Inserts that are rolled back
--

-- the only message
BEGIN;
SAVEPOINT a;
SELECT send_message('!r', '@anna:hs.test') \gset
ROLLBACK TO a;
COMMIT;
TABLE newest;

-- the newer of two, the older of two
BEGIN;
SELECT send_message('!r', '@anna:hs.test') \gset
SAVEPOINT a;
SELECT send_message('!r', '@anna:hs.test') \gset
ROLLBACK TO a;
COMMIT;
TABLE newest;
BEGIN;
SAVEPOINT a;
SELECT send_message('!r', '@anna:hs.test') \gset
ROLLBACK TO a;
SELECT send_message('!r', '@anna:hs.test') \gset
COMMIT;
TABLE newest;

-- a name
BEGIN;
SAVEPOINT a;
SELECT rename('!r', '@anna:hs.test', 'Lie') \gset
ROLLBACK TO a;
COMMIT;
TABLE newest;

-- a first message of a room without a row, and a room
BEGIN;
SAVEPOINT a;
SELECT create_room('!never', '@anna:hs.test', name => 'Never') \gset
ROLLBACK TO a;
COMMIT;
SELECT room FROM joined_rooms WHERE room = '!never';
SELECT room FROM snapshots WHERE room = '!never';

-- an exception block
DO $$
BEGIN
    PERFORM rename('!r', '@anna:hs.test', 'One');
    BEGIN
        PERFORM rename('!r', '@anna:hs.test', 'Lie');
        PERFORM send_message('!r', '@anna:hs.test');
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN
        NULL;
    END;
END
$$;
TABLE newest;

-- nested: a released savepoint within one that is rolled back
BEGIN;
SAVEPOINT a;
SAVEPOINT b;
SELECT rename('!r', '@anna:hs.test', 'Lie') \gset
RELEASE b;
SAVEPOINT c;
SELECT send_message('!r', '@anna:hs.test') \gset
RELEASE c;
ROLLBACK TO a;
COMMIT;
TABLE newest;

-- nested: one that is rolled back within a released one
BEGIN;
SAVEPOINT a;
SELECT rename('!r', '@anna:hs.test', 'Two') \gset
SAVEPOINT b;
SELECT rename('!r', '@anna:hs.test', 'Lie') \gset
ROLLBACK TO b;
RELEASE a;
COMMIT;
TABLE newest;

-- a thousand of them
BEGIN;
DO $$
BEGIN
    FOR i IN 1 .. 1000 LOOP
        BEGIN
            INSERT INTO events (event_id, room_id, type, sender, stream_ordering, topological_ordering, processed, outlier)
                VALUES ('$loop' || i, '!r', 'm.room.message', '@anna:hs.test', nextval('events_stream_seq'), 99, true, false);
            IF i % 2 = 0 THEN
                RAISE division_by_zero;
            END IF;
        EXCEPTION WHEN division_by_zero THEN
            NULL;
        END;
    END LOOP;
END
$$;
COMMIT;
TABLE newest;

--
-- Deletes that are rolled back
--

-- a membership: history stays
SELECT rename('!r', '@anna:hs.test', 'Three') \gset
BEGIN;
SAVEPOINT a;
DELETE FROM local_current_membership WHERE event_id = :'bert_join';
ROLLBACK TO a;
COMMIT;
SELECT who, membership, name FROM snapshots WHERE who = '@bert';

-- the delete stands, its other half is rolled back
BEGIN;
DELETE FROM local_current_membership WHERE event_id = :'bert_join';
SAVEPOINT a;
INSERT INTO local_current_membership VALUES ('!r', '@bert:hs.test', :'bert_join', 'join', NULL);
ROLLBACK TO a;
COMMIT;
SELECT who, membership, name FROM snapshots WHERE who = '@bert';
INSERT INTO local_current_membership VALUES ('!r', '@bert:hs.test', :'bert_join', 'join', NULL);
SELECT who, membership, name FROM snapshots WHERE who = '@bert';

-- the newest event: its row is released by the delete, and must be back
SELECT send_message('!r', '@anna:hs.test') AS message \gset
BEGIN;
SAVEPOINT a;
DELETE FROM event_forward_extremities WHERE event_id = :'message';
DELETE FROM events WHERE event_id = :'message';
ROLLBACK TO a;
COMMIT;
TABLE newest;
-- ... deleted for good the second time
BEGIN;
SAVEPOINT a;
DELETE FROM event_forward_extremities WHERE event_id = :'message';
DELETE FROM events WHERE event_id = :'message';
ROLLBACK TO a;
DELETE FROM event_forward_extremities WHERE event_id = :'message';
DELETE FROM events WHERE event_id = :'message';
COMMIT;
TABLE newest;

-- a whole room is purged, and is not
BEGIN;
SAVEPOINT a;
SELECT purge_room('!r') \gset
SELECT count(*) FROM joined_rooms;
ROLLBACK TO a;
COMMIT;
TABLE newest;
SELECT who, membership, name FROM snapshots WHERE room = '!r';

-- current state is wiped, and is not
BEGIN;
SAVEPOINT a;
DELETE FROM current_state_events WHERE room_id = '!r';
ROLLBACK TO a;
SELECT send_message('!r', '@anna:hs.test') \gset
COMMIT;
TABLE newest;

-- the last leave is rolled back; then it stands, but a new name before it is rolled back
SELECT create_room('!last', '@anna:hs.test', name => 'Last') \gset
BEGIN;
SAVEPOINT a;
SELECT leave('!last', '@anna:hs.test') \gset
ROLLBACK TO a;
COMMIT;
SELECT name FROM joined_rooms WHERE room = '!last';
SELECT membership, name FROM snapshots WHERE room = '!last';
BEGIN;
SAVEPOINT a;
SELECT rename('!last', '@anna:hs.test', 'Lie') \gset
ROLLBACK TO a;
SELECT leave('!last', '@anna:hs.test') \gset
COMMIT;
SELECT name FROM joined_rooms WHERE room = '!last';
SELECT membership, known, name FROM snapshots WHERE room = '!last';

-- TRUNCATE, rolled back
BEGIN;
SAVEPOINT a;
TRUNCATE local_current_membership, current_state_events;
ROLLBACK TO a;
COMMIT;
TABLE newest;
SELECT count(*) FROM snapshots WHERE room = '!r';

--
-- flush() and savepoints
--

-- the change is kept, the flush is rolled back
BEGIN;
SELECT rename('!r', '@anna:hs.test', 'Four') \gset
SELECT leave('!r', '@bert:hs.test') \gset
SAVEPOINT a;
SELECT * FROM sliding_sync.flush();
SELECT name FROM joined_rooms WHERE room = '!r';
ROLLBACK TO a;
SELECT name FROM joined_rooms WHERE room = '!r';
COMMIT;
TABLE newest;
SELECT who, membership, name FROM snapshots WHERE who = '@bert';

-- both are rolled back
BEGIN;
SAVEPOINT a;
SELECT rename('!r', '@anna:hs.test', 'Lie') \gset
SELECT join('!r', '@bert:hs.test') \gset
SELECT * FROM sliding_sync.flush();
ROLLBACK TO a;
COMMIT;
TABLE newest;
SELECT who, membership, name FROM snapshots WHERE who = '@bert';

-- the change is rolled back after it was flushed outside of the savepoint
BEGIN;
SAVEPOINT a;
SELECT rename('!r', '@anna:hs.test', 'Lie') \gset
RELEASE a;
SELECT joined_rooms, rows_written FROM sliding_sync.flush();
ROLLBACK;
TABLE newest;

-- insert and delete in one transaction
BEGIN;
SELECT send_message('!r', '@anna:hs.test') AS message \gset
DELETE FROM event_forward_extremities WHERE event_id = :'message';
DELETE FROM events WHERE event_id = :'message';
COMMIT;
TABLE newest;

-- a transaction that fails leaves nothing behind for the next one
BEGIN;
SELECT rename('!r', '@anna:hs.test', 'Lie') \gset
SELECT 1 / 0;
COMMIT;
SELECT send_message('!r', '@anna:hs.test') \gset
TABLE newest;

-- COMMIT and ROLLBACK within a procedure
DO $$
BEGIN
    PERFORM rename('!r', '@anna:hs.test', 'Five');
    COMMIT;
    PERFORM rename('!r', '@anna:hs.test', 'Lie');
    ROLLBACK;
    PERFORM send_message('!r', '@anna:hs.test');
END
$$;
TABLE newest;
