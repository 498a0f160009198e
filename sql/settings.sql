-- Switches, roles, transaction modes and migrations.
\getenv abs_srcdir PG_ABS_SRCDIR
\set schema settings
\set ECHO none
\i :abs_srcdir/sql/include/homeserver.psql
\i :abs_srcdir/sql/include/views.psql
\set ECHO all
SELECT sliding_sync.attach('settings');
SELECT create_room('!r', '@anna:hs.test', name => 'Zero') \gset
-- does the row show the newest event?
CREATE VIEW newest AS SELECT name, latest = (SELECT max(stream_ordering) FROM events WHERE room_id = room) AS latest
    FROM joined_rooms WHERE room = '!r';

--
-- flush() and last_flush()
--

-- a session that has flushed nothing yet
\c
SET search_path = settings, public;
SET client_min_messages = warning;
SELECT * FROM sliding_sync.last_flush();

-- what has changed can be read within the transaction
BEGIN;
SELECT rename('!r', '@anna:hs.test', 'One') \gset
SELECT join('!r', '@bert:hs.test') \gset
TABLE newest;
SELECT * FROM sliding_sync.flush();
TABLE newest;
SELECT who, name FROM snapshots;
-- a second flush finds nothing to write
SELECT * FROM sliding_sync.flush();
COMMIT;
SELECT joined_rooms, memberships, rows_written, microseconds > 0 AS took_time FROM sliding_sync.last_flush();
-- nothing to flush
SELECT * FROM sliding_sync.flush();

--
-- sliding_sync.enabled
--

-- off: nothing is noted
SET sliding_sync.enabled = off;
SELECT rename('!r', '@anna:hs.test', 'Unseen') \gset
SELECT join('!r', '@carl:hs.test') \gset
TABLE newest;
SELECT who, name FROM snapshots;
-- nor is anything released: foreign keys hold
SELECT event_id AS pointed_to FROM events JOIN joined_rooms ON latest = stream_ordering \gset
BEGIN;
DELETE FROM current_state_events;
DELETE FROM local_current_membership;
DELETE FROM room_memberships;
DELETE FROM events WHERE event_id = :'pointed_to';
ROLLBACK;
-- on again: the next change of what was missed brings it up to date
SET sliding_sync.enabled = on;
SELECT rename('!r', '@anna:hs.test', 'Seen') \gset
SELECT join('!r', '@carl:hs.test') \gset
TABLE newest;
SELECT who, name FROM snapshots;

-- what was noted before it was switched off is still written; what is changed while it is off is not noted, but a membership
-- without a row is found where its room was
BEGIN;
SELECT rename('!r', '@anna:hs.test', 'Noted') \gset
SET LOCAL sliding_sync.enabled = off;
SELECT join('!r', '@dora:hs.test') \gset
COMMIT;
SHOW sliding_sync.enabled;
SELECT name FROM newest;
SELECT who FROM snapshots WHERE who = '@dora';
SELECT join('!r', '@dora:hs.test') \gset

-- as connection option of the homeserver
\c -reuse-previous=on "options='-c sliding_sync.enabled=off -c search_path=settings,public -c client_min_messages=warning'"
SHOW sliding_sync.enabled;
SELECT rename('!r', '@anna:hs.test', 'Unseen') \gset
SELECT name FROM newest;
\c -reuse-previous=on "options='-c search_path=settings,public -c client_min_messages=warning'"
SELECT rename('!r', '@anna:hs.test', 'Seen') \gset
SELECT name FROM newest;
SHOW sliding_sync.enabled;

-- a setting that does not exist
SET sliding_sync.enable = off;

-- H36: session_replication_role
SET session_replication_role = replica;
SELECT rename('!r', '@anna:hs.test', 'Replicated') \gset
RESET session_replication_role;
SELECT name FROM newest;
SELECT rename('!r', '@anna:hs.test', 'Three') \gset
TABLE newest;

--
-- sliding_sync.on_failure
--

-- quarantine: a row that cannot be written is removed and noted, the homeserver's transaction goes on
ALTER TABLE sliding_sync_joined_rooms ADD CONSTRAINT unlikely CHECK (room_name <> 'Fails');
SHOW sliding_sync.on_failure;
SELECT create_room('!other', '@anna:hs.test', name => 'Other') \gset
CREATE VIEW noted AS SELECT table_name, room_id, user_id, reason, sqlstate, message FROM sliding_sync.quarantine
    WHERE schema_name = 'settings';
BEGIN;
SELECT rename('!other', '@anna:hs.test', 'Other 2') \gset
SELECT rename('!r', '@anna:hs.test', 'Fails') \gset
COMMIT;
TABLE newest;
TABLE noted;
SELECT count(*) FROM event_json WHERE json LIKE '%Fails%';
-- the other room of that transaction has its row
SELECT room, name FROM joined_rooms;
-- another try, which fails again; and when the obstacle is gone
SELECT sliding_sync.repair_quarantine() \gset
TABLE newest;
SELECT count(*) FROM noted;
ALTER TABLE sliding_sync_joined_rooms DROP CONSTRAINT unlikely;
SELECT sliding_sync.repair_quarantine() \gset
TABLE newest;
SELECT count(*) FROM noted;
-- the next change that can be written brings the row back as well
ALTER TABLE sliding_sync_joined_rooms ADD CONSTRAINT unlikely CHECK (room_name <> 'Fails too');
SELECT rename('!r', '@anna:hs.test', 'Fails too') \gset
SELECT rename('!r', '@anna:hs.test', 'Four') \gset
TABLE newest;
-- a membership: the snapshot alone is removed, not the rows of the others
ALTER TABLE sliding_sync_membership_snapshots ADD CONSTRAINT unlikely CHECK (user_id <> '@evil:hs.test');
BEGIN;
SELECT join('!r', '@evil:hs.test') \gset
SELECT join('!r', '@good:hs.test') \gset
COMMIT;
TABLE newest;
SELECT who FROM snapshots WHERE who IN ('@evil', '@good');
SELECT table_name, room_id, user_id, reason, sqlstate FROM noted WHERE user_id IS NOT NULL;
ALTER TABLE sliding_sync_membership_snapshots DROP CONSTRAINT unlikely;
SELECT sliding_sync.repair_quarantine() \gset
SELECT who FROM snapshots WHERE who IN ('@evil', '@good');
DROP VIEW noted;
-- error: the transaction fails
SET sliding_sync.on_failure = error;
SELECT rename('!r', '@anna:hs.test', 'Fails too') \gset
TABLE newest;
RESET sliding_sync.on_failure;
ALTER TABLE sliding_sync_joined_rooms DROP CONSTRAINT unlikely;

-- a derived table of another shape: its rows cannot be kept, so those of what changes go
ALTER TABLE sliding_sync_joined_rooms RENAME COLUMN bump_stamp TO bumped;
SELECT send_message('!r', '@anna:hs.test') \gset
SELECT rename('!r', '@anna:hs.test', 'Five') \gset
TABLE newest;
ALTER TABLE sliding_sync_joined_rooms RENAME COLUMN bumped TO bump_stamp;
SELECT set_state('!r', '@anna:hs.test', 'm.room.tombstone') \gset
TABLE newest;

--
-- Transaction modes
--

-- read only after the change
BEGIN;
SELECT rename('!r', '@anna:hs.test', 'Six') \gset
SET CONSTRAINTS ALL IMMEDIATE;  -- the homeserver's own would fail
SET TRANSACTION READ ONLY;
COMMIT;
TABLE newest;
-- read only from the start: nothing to do, nothing to fail
BEGIN READ ONLY;
SELECT * FROM sliding_sync.flush();
COMMIT;
-- every isolation level
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT rename('!r', '@anna:hs.test', 'Seven') \gset
SELECT leave('!r', '@bert:hs.test') \gset
COMMIT;
TABLE newest;
SELECT who, membership, name FROM snapshots WHERE who = '@bert';
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT rename('!r', '@anna:hs.test', 'Eight') \gset
SELECT join('!r', '@bert:hs.test') \gset
COMMIT;
TABLE newest;
SELECT who, membership, name FROM snapshots WHERE who = '@bert';
-- a hostile search_path (H42): nothing of it is used
CREATE FUNCTION greatest_lie(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR settings.< (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = greatest_lie);
CREATE OPERATOR settings.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = greatest_lie);
BEGIN;
SELECT rename('!r', '@anna:hs.test', 'Nine') \gset
SET LOCAL search_path = settings, pg_catalog;
COMMIT;
DROP OPERATOR settings.< (bigint, bigint);
DROP OPERATOR settings.= (bigint, bigint);
BEGIN;
SELECT rename('!r', '@anna:hs.test', 'Ten') \gset
SET LOCAL search_path = '';
COMMIT;
TABLE newest;

-- read only, with something in quarantine (H87)
SET client_min_messages = error;
ALTER TABLE sliding_sync_joined_rooms ADD CONSTRAINT unlikely CHECK (room_name <> 'Fails');
SELECT rename('!r', '@anna:hs.test', 'Fails') \gset
ALTER TABLE sliding_sync_joined_rooms DROP CONSTRAINT unlikely;
-- what only looks works, what writes is refused
BEGIN READ ONLY;
SELECT * FROM sliding_sync.flush();
SELECT library_version = extension_version AS same_version FROM sliding_sync.version();
\set VERBOSITY sqlstate
SAVEPOINT a;
SELECT * FROM sliding_sync.repair_quarantine();
ROLLBACK TO a;
SELECT sliding_sync.detach('settings');
ROLLBACK TO a;
\set VERBOSITY default
-- nothing to do
SELECT sliding_sync.attach('settings');
COMMIT;
TABLE newest;
SELECT sliding_sync.repair_quarantine() \gset
SET client_min_messages = warning;
TABLE newest;

--
-- Roles
--

-- somebody who may write the base tables but knows nothing of the derived ones
CREATE ROLE regress_sliding_sync_writer;
GRANT USAGE ON SCHEMA settings TO regress_sliding_sync_writer;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA settings TO regress_sliding_sync_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA settings TO regress_sliding_sync_writer;
REVOKE ALL ON sliding_sync_joined_rooms, sliding_sync_membership_snapshots FROM regress_sliding_sync_writer;
SET ROLE regress_sliding_sync_writer;
SELECT count(*) FROM sliding_sync_joined_rooms;
SELECT rename('!r', '@anna:hs.test', 'By a writer') \gset
SELECT leave('!r', '@bert:hs.test') \gset
SELECT * FROM sliding_sync.flush();
RESET ROLE;
TABLE newest;
SELECT who, membership, name FROM snapshots WHERE who = '@bert';

-- a function with the rights of its owner, called by somebody with none
CREATE FUNCTION say(text) RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT send_message('!r', $1)
$$;
REVOKE ALL ON ALL TABLES IN SCHEMA settings FROM regress_sliding_sync_writer;
SET ROLE regress_sliding_sync_writer;
SELECT say('@anna:hs.test') \gset
RESET ROLE;
TABLE newest;

DROP OWNED BY regress_sliding_sync_writer;
DROP ROLE regress_sliding_sync_writer;

--
-- Migrations of the homeserver, in one transaction with its writes
--

BEGIN;
SELECT send_message('!r', '@anna:hs.test') \gset
-- columns that we do not read
ALTER TABLE events ADD COLUMN sticky boolean DEFAULT false;
ALTER TABLE events ALTER COLUMN depth TYPE numeric;
ALTER TABLE events RENAME COLUMN unrecognized_keys TO unknown_keys;
ALTER TABLE events DROP COLUMN content;
ALTER TABLE room_memberships DROP COLUMN display_name;
ALTER TABLE rooms ADD COLUMN first_column_of_the_future text;
CREATE INDEX new_index ON events (type);
CREATE INDEX another_index ON local_current_membership (membership);
COMMIT;
TABLE newest;

-- columns that we do read, to another type
BEGIN;
SELECT send_message('!r', '@anna:hs.test') \gset
ALTER TABLE events ALTER COLUMN sender TYPE varchar(255);
ALTER TABLE room_memberships ALTER COLUMN forgotten TYPE bigint;
ALTER TABLE event_json ALTER COLUMN internal_metadata TYPE varchar;
COMMIT;
TABLE newest;
INSERT INTO events (event_id, room_id, type, state_key, sender, stream_ordering, topological_ordering, depth, processed, outlier)
    VALUES ('$dora', '!r', 'm.room.member', '@dora:hs.test', '@dora:hs.test', nextval('events_stream_seq'), 99, 99, true, false);
INSERT INTO room_memberships (event_id, user_id, sender, room_id, membership, forgotten)
    VALUES ('$dora', '@dora:hs.test', '@dora:hs.test', '!r', 'leave', 1);
UPDATE local_current_membership SET event_id = '$dora', membership = 'leave', event_stream_ordering = NULL
    WHERE user_id = '@dora:hs.test';
SELECT who, sender, membership, forgotten FROM snapshots WHERE who = '@dora';
UPDATE room_memberships SET forgotten = 0 WHERE event_id = '$dora';
SELECT who, sender, membership, forgotten FROM snapshots WHERE who = '@dora';

-- H41: a column that we read is replaced by a copy: another attribute number
BEGIN;
SELECT send_message('!r', '@anna:hs.test') AS message \gset
ALTER TABLE events ADD COLUMN reason2 text;
UPDATE events SET reason2 = rejection_reason;
ALTER TABLE events DROP COLUMN rejection_reason;
ALTER TABLE events RENAME COLUMN reason2 TO rejection_reason;
COMMIT;
TABLE newest;
UPDATE events SET rejection_reason = 'auth_error' WHERE event_id = :'message';
TABLE newest;
UPDATE events SET rejection_reason = NULL WHERE event_id = :'message';
TABLE newest;

-- a column that we read is gone when the transaction commits: the migration goes through, rows are removed
SET client_min_messages = error;
BEGIN;
SELECT rename('!r', '@anna:hs.test', 'Eleven') \gset
ALTER TABLE events RENAME COLUMN rejection_reason TO why_not;
COMMIT;
TABLE newest;
ALTER TABLE events RENAME COLUMN why_not TO rejection_reason;
SET client_min_messages = warning;
SELECT rename('!r', '@anna:hs.test', 'Twelve') \gset
TABLE newest;

-- a table that we read is away when the transaction commits
BEGIN;
SELECT rename('!r', '@anna:hs.test', 'Thirteen') \gset
ALTER TABLE rejections RENAME TO rejections_old;
COMMIT;
TABLE newest;
ALTER TABLE rejections_old RENAME TO rejections;

-- tables that go and come (schema 92)
DROP TABLE room_ban_redactions;
SELECT rename('!r', '@anna:hs.test', 'Fourteen') \gset
TABLE newest;
CREATE TABLE room_ban_redactions (room_id text NOT NULL, user_id text NOT NULL, redacting_event_id text NOT NULL,
    redact_end_ordering bigint, CONSTRAINT room_ban_redaction_uniqueness UNIQUE (room_id, user_id));
ALTER TABLE events ALTER COLUMN sender TYPE text;
ALTER TABLE event_json ALTER COLUMN internal_metadata TYPE text;
ALTER TABLE room_memberships ALTER COLUMN forgotten TYPE integer;
SELECT sliding_sync.attach('settings');
SELECT rename('!r', '@anna:hs.test', 'Fifteen') AS name_event, ban('!r', '@anna:hs.test', '@bert:hs.test') AS ban_event \gset
SELECT redact_all_of('!r', '@anna:hs.test', :'ban_event') \gset
TABLE newest;
DELETE FROM room_ban_redactions;
TABLE newest;

-- H78, O22: columns that background updates fill in, of all rows: no key changes, nothing is looked at
UPDATE current_state_events SET membership = 'join', event_stream_ordering = NULL;
SELECT joined_rooms, memberships, rows_written FROM sliding_sync.last_flush();
UPDATE local_current_membership SET event_stream_ordering = NULL;
SELECT joined_rooms, memberships, rows_written FROM sliding_sync.last_flush();
UPDATE room_memberships SET event_stream_ordering = NULL, participant = true;
SELECT joined_rooms, memberships, rows_written FROM sliding_sync.last_flush();
-- which earlier invite is the newest: snapshots that know nothing are looked at
UPDATE events SET topological_ordering = topological_ordering + 1, depth = depth + 1, received_ts = 1;
SELECT joined_rooms, memberships, rows_written FROM sliding_sync.last_flush();
UPDATE rooms SET is_public = true, has_auth_chain_index = true;
SELECT joined_rooms, memberships, rows_written FROM sliding_sync.last_flush();

-- H44: no lock on the homeserver's tables that an index build waits for, or that waits for one
BEGIN;
SELECT rename('!r', '@anna:hs.test', 'Locked'), join('!r', '@carl:hs.test') \gset
SELECT count(*) AS already FROM pg_locks WHERE pid = pg_backend_pid() AND mode NOT IN ('AccessShareLock', 'RowShareLock',
    'RowExclusiveLock') AND relation IN (SELECT oid FROM pg_class WHERE relnamespace = 'settings'::regnamespace);
SELECT rows_written FROM sliding_sync.flush();
SELECT relation::regclass, mode FROM pg_locks WHERE pid = pg_backend_pid() AND mode NOT IN ('AccessShareLock', 'RowShareLock',
    'RowExclusiveLock') AND relation IN (SELECT oid FROM pg_class WHERE relnamespace = 'settings'::regnamespace);
COMMIT;

-- the schema is renamed
ALTER SCHEMA settings RENAME TO settings_renamed;
SET search_path = settings_renamed, public;
SELECT rename('!r', '@bert:hs.test', 'Sixteen') \gset
TABLE newest;
ALTER SCHEMA settings_renamed RENAME TO settings;
SET search_path = settings, public;
SELECT rename('!r', '@bert:hs.test', 'Seventeen') \gset
TABLE newest;
