-- Installing, attaching, detaching and removing, in a database of its own.
\getenv abs_srcdir PG_ABS_SRCDIR
\set SHOW_CONTEXT never
SET client_min_messages = warning;

--
-- A database without a homeserver
--
CREATE DATABASE regress_sliding_sync;
\c regress_sliding_sync
SET client_min_messages = warning;
CREATE EXTENSION sliding_sync;
SELECT library_version = extension_version AS same_version, attached_schemas FROM sliding_sync.version();
SELECT sliding_sync.attach();
SELECT sliding_sync.attach('nowhere');
SELECT sliding_sync.attach('public');
SELECT sliding_sync.detach();
SELECT sliding_sync.detach('nowhere');
SELECT * FROM sliding_sync.flush();

-- a trigger function is nothing to call
SELECT sliding_sync.collect();

-- what the extension consists of: every object has a comment. In PostgreSQL 18 row types are members too.
SELECT pg_describe_object(classid, objid, objsubid) COLLATE "C" AS object FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND classid <> 'pg_type'::regclass
    AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'sliding_sync') ORDER BY 1;
SELECT pg_describe_object(classid, objid, objsubid) AS without_comment FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND classid <> 'pg_type'::regclass
    AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'sliding_sync')
    AND coalesce(obj_description(objid, classid::regclass::name), '') = '';
-- and so has every column
SELECT c.relname, a.attname AS without_comment FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'sliding_sync'::regnamespace AND c.relkind IN ('r', 'v') AND a.attnum > 0 AND NOT a.attisdropped
    AND col_description(c.oid, a.attnum) IS NULL ORDER BY c.relname, a.attnum;

-- what everybody may call: trigger functions, which need a trigger, and reports
SELECT p.proname, p.prorettype::regtype FROM pg_proc p WHERE p.pronamespace = 'sliding_sync'::regnamespace
    AND has_function_privilege('public', p.oid, 'EXECUTE') ORDER BY p.proname;
-- what only the owner may call
SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'sliding_sync'::regnamespace
    AND NOT has_function_privilege('public', p.oid, 'EXECUTE') ORDER BY p.proname;
SELECT relname FROM pg_class WHERE relnamespace = 'sliding_sync'::regnamespace AND relkind <> 'i'
    AND has_table_privilege('public', oid, 'INSERT, UPDATE, DELETE, TRUNCATE');
-- what everybody may read: catalogs, and that rows are missing, but not which; what a monitor may read besides
SELECT relname, relkind, has_table_privilege('public', oid, 'SELECT') AS everybody FROM pg_class
WHERE relnamespace = 'sliding_sync'::regnamespace AND relkind <> 'i' AND has_table_privilege('pg_monitor', oid, 'SELECT')
ORDER BY relname;
-- nothing runs with the rights of its owner, nobody but the owner may put objects into the schema
SELECT proname FROM pg_proc WHERE pronamespace = 'sliding_sync'::regnamespace AND prosecdef;
SELECT has_schema_privilege('public', 'sliding_sync', 'USAGE') AS usage, has_schema_privilege('public', 'sliding_sync', 'CREATE') AS creates;
-- the extension stays where it is
CREATE SCHEMA elsewhere;
ALTER EXTENSION sliding_sync SET SCHEMA elsewhere;
DROP SCHEMA elsewhere;

-- a homeserver comes later
\set ECHO none
CREATE EXTENSION sliding_sync_test;
CALL make_homeserver('public');
\i :abs_srcdir/sql/include/views.psql
\set ECHO all
SELECT create_room('!before', '@anna:hs.test', name => 'Before') \gset
SELECT sliding_sync.attach();
SELECT attached_schemas FROM sliding_sync.version();
SELECT create_room('!after', '@anna:hs.test', name => 'After') \gset
-- rooms from before are left to the next change
SELECT room, name FROM joined_rooms;
SELECT send_message('!before', '@anna:hs.test') \gset
SELECT room, name FROM joined_rooms;

-- the triggers: on each table one for rows, and one for TRUNCATE; no condition, no columns
SELECT tgrelid::regclass::text COLLATE "C" AS table, tgname, tgtype & 1 = 1 AS each_row, tgenabled, tgqual IS NULL AND tgattr = '' AS unconditional
FROM pg_trigger WHERE tgname LIKE 'A\_%' ORDER BY 1, 2;
-- they depend on the extension (x): DROP EXTENSION takes them along, and a dump says so
SELECT deptype, count(*) FROM pg_depend d JOIN pg_trigger t ON d.classid = 'pg_trigger'::regclass AND d.objid = t.oid
WHERE d.refclassid = 'pg_extension'::regclass GROUP BY deptype;
-- they depend on no column of the homeserver's tables
SELECT count(*) FROM pg_depend d JOIN pg_trigger t ON d.classid = 'pg_trigger'::regclass AND d.objid = t.oid
WHERE tgname LIKE 'A\_%' AND refobjsubid <> 0;
-- the tables belong to the homeserver and not to the extension
SELECT objid::regclass FROM pg_depend WHERE deptype = 'e' AND classid = 'pg_class'::regclass
    AND objid NOT IN (SELECT oid FROM pg_class WHERE relnamespace = 'sliding_sync'::regnamespace) AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'sliding_sync');

-- again: nothing changes
CREATE TEMP TABLE triggers AS SELECT oid, tgname, tgrelid FROM pg_trigger;
SELECT sliding_sync.attach();
SELECT sliding_sync.attach('public');
SELECT count(*) AS differences FROM (SELECT oid FROM pg_trigger EXCEPT SELECT oid FROM triggers) x;
-- a trigger was lost: that one is made
DROP TRIGGER "A_sliding_sync" ON rejections;
SELECT sliding_sync.attach();
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE oid NOT IN (SELECT oid FROM triggers);
-- the session's lock_timeout is what it was
BEGIN;
SET LOCAL lock_timeout = '42s';
SELECT sliding_sync.attach();
SHOW lock_timeout;
COMMIT;

-- detached: nothing is kept up, nothing is lost
SELECT sliding_sync.detach();
SELECT sliding_sync.detach();
SELECT attached_schemas FROM sliding_sync.version();
SELECT rename('!after', '@anna:hs.test', 'Detached') \gset
SELECT room, name FROM joined_rooms;
SELECT sliding_sync.attach();
SELECT rename('!after', '@anna:hs.test', 'Attached') \gset
SELECT room, name FROM joined_rooms;

-- removed, without CASCADE: no trigger is left, tables and rows are
DROP EXTENSION sliding_sync;
SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'A\_%';
SELECT room, name FROM joined_rooms;
SELECT send_message('!after', '@anna:hs.test') \gset

--
-- A database with a homeserver
--

-- attached at once
CREATE EXTENSION sliding_sync;
SELECT attached_schemas FROM sliding_sync.version();
SELECT rename('!after', '@anna:hs.test', 'At once') \gset
SELECT room, name FROM joined_rooms;
DROP EXTENSION sliding_sync;

-- two of them: which one must be said
\set ECHO none
SET client_min_messages = warning;
CALL make_homeserver('second');
\set ECHO all
SET search_path = public;
CREATE EXTENSION sliding_sync;
SELECT attached_schemas FROM sliding_sync.version();
SELECT sliding_sync.attach();
SELECT sliding_sync.attach('second');
SELECT sliding_sync.attach('public');
SELECT attached_schemas FROM sliding_sync.version();
SELECT sliding_sync.detach('second');
SELECT attached_schemas FROM sliding_sync.version();
SELECT sliding_sync.detach();
SELECT attached_schemas FROM sliding_sync.version();

--
-- A homeserver of schema 86, older than the derived tables
--
\set ECHO none
SET client_min_messages = warning;
CALL make_homeserver('Old "86"', old_schema => true);
CREATE SCHEMA operations;
ALTER EXTENSION sliding_sync_test SET SCHEMA operations;
SET search_path = "Old ""86""", operations;
\set ECHO all
SELECT to_regclass('sliding_sync_joined_rooms') AS joined_rooms, to_regclass('sliding_sync_membership_snapshots') AS snapshots;
SELECT sliding_sync.attach('Old "86"');
\set ECHO none
\i :abs_srcdir/sql/include/views.psql
\set ECHO all
-- the tables are made as the homeserver itself makes them: columns
CREATE TEMP VIEW shape AS
    SELECT n.nspname AS schema, c.relname AS table, format('column %s: %s %s not null: %s default: %s', a.attnum, a.attname,
        format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)) AS part
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE c.relname LIKE 'sliding\_sync\_%' AND c.relkind = 'r' AND a.attnum > 0
    UNION ALL
    -- constraints; in PostgreSQL 18 those of NOT NULL are among them
    SELECT n.nspname, c.relname, format('constraint %s: %s %s', k.conname,
        replace(replace(pg_get_constraintdef(k.oid), '"Old ""86""".', ''), 'second.', ''), k.convalidated)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_constraint k ON k.conrelid = c.oid
    WHERE c.relname LIKE 'sliding\_sync\_%' AND k.contype <> 'n'
    UNION ALL
    -- indexes
    SELECT schemaname, tablename, replace(replace(indexdef, '"Old ""86""".', ''), 'second.', '') FROM pg_indexes
    WHERE tablename LIKE 'sliding\_sync\_%'
    UNION ALL
    -- anything else
    SELECT n.nspname, c.relname, format('persistence %s, options %s, owner like events: %s', c.relpersistence, c.reloptions,
        c.relowner = (SELECT relowner FROM pg_class e WHERE e.relnamespace = n.oid AND e.relname = 'events'))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname LIKE 'sliding\_sync\_%' AND c.relkind = 'r';
SELECT "table", count(*) AS parts FROM shape WHERE schema = 'Old "86"' GROUP BY 1 ORDER BY 1;
(SELECT "table", part FROM shape WHERE schema = 'Old "86"' EXCEPT SELECT "table", part FROM shape WHERE schema = 'second')
UNION ALL
(SELECT "table", part FROM shape WHERE schema = 'second' AND "table" NOT LIKE '%recalculate'
 EXCEPT SELECT "table", part FROM shape WHERE schema = 'Old "86"');
-- H39: the queue and the pending updates are the homeserver's own business: they would be in the way of its upgrade
SELECT to_regclass('sliding_sync_joined_rooms_to_recalculate') AS queue, (SELECT count(*) FROM background_updates) AS updates;

-- and kept: room list, redaction without the recheck column, forgetting, purging
SELECT create_room('!r', '@anna:hs.test', name => 'R') \gset
SELECT join('!r', '@bert:hs.test') \gset
SELECT rename('!r', '@anna:hs.test', 'R 2') AS name_event \gset
SELECT room, name FROM joined_rooms;
SELECT redact('!r', '@anna:hs.test', :'name_event') \gset
SELECT room, name FROM joined_rooms;
SELECT leave('!r', '@bert:hs.test') \gset
SELECT forget('!r', '@bert:hs.test') \gset
SELECT remote_invite('!far', '@anna:hs.test', '@boss:remote.test', format('[%s]', stripped('m.room.create', '{}'))) \gset
SELECT room, who, membership, forgotten, known, name FROM snapshots;
SELECT purge_room('!r') \gset
SELECT room FROM joined_rooms;
SELECT room, who FROM snapshots;

-- H39: the homeserver's upgrade to schema 87 finds the tables there
CREATE TABLE IF NOT EXISTS sliding_sync_joined_rooms (room_id text NOT NULL PRIMARY KEY);
CREATE UNIQUE INDEX IF NOT EXISTS sliding_sync_joined_rooms_event_stream_ordering ON sliding_sync_joined_rooms (event_stream_ordering);
SELECT sliding_sync.attach('Old "86"');
DROP EXTENSION sliding_sync;
SELECT count(*) FROM snapshots;

--
-- What is not a homeserver's
--
CREATE EXTENSION sliding_sync;
SET search_path = second;
-- columns missing, or of another type
ALTER TABLE events RENAME COLUMN outlier TO is_outlier;
SELECT sliding_sync.attach('second');
ALTER TABLE events RENAME COLUMN is_outlier TO outlier;
ALTER TABLE sliding_sync_joined_rooms DROP CONSTRAINT sliding_sync_joined_rooms_event_stream_ordering_fkey;
ALTER TABLE sliding_sync_membership_snapshots DROP CONSTRAINT sliding_sync_membership_snapshots_event_stream_ordering_fkey;
ALTER TABLE events ALTER COLUMN stream_ordering TYPE numeric;
SELECT sliding_sync.attach('second');
ALTER TABLE events ALTER COLUMN stream_ordering TYPE bigint;
ALTER TABLE sliding_sync_membership_snapshots DROP COLUMN forgotten;
SELECT sliding_sync.attach('second');
\set VERBOSITY sqlstate
SELECT sliding_sync.attach('second');
SELECT sliding_sync.attach('nowhere');
SELECT sliding_sync.attach('pg_catalog');
\set VERBOSITY default
ALTER TABLE sliding_sync_membership_snapshots ADD COLUMN forgotten integer NOT NULL DEFAULT 0;
-- half a homeserver
ALTER TABLE event_json RENAME TO event_json_old;
ALTER TABLE rooms RENAME TO rooms_old;
SELECT sliding_sync.attach('second');
ALTER TABLE event_json_old RENAME TO event_json;
ALTER TABLE rooms_old RENAME TO rooms;
-- derived tables of somebody else: a plain role could have made them first
CREATE ROLE regress_sliding_sync_mallory;
ALTER TABLE sliding_sync_joined_rooms OWNER TO regress_sliding_sync_mallory;
SELECT sliding_sync.attach('second');
ALTER TABLE sliding_sync_joined_rooms OWNER TO CURRENT_USER;
-- nothing of all this has left a trigger behind
SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'A\_%' AND tgrelid = 'second.events'::regclass;
SELECT sliding_sync.attach('second');

-- who may attach: whoever was given the right, and owns the tables
GRANT USAGE ON SCHEMA second TO regress_sliding_sync_mallory;
SET ROLE regress_sliding_sync_mallory;
SELECT sliding_sync.attach('second');
SELECT sliding_sync.detach('second');
SELECT * FROM sliding_sync.flush();
SELECT library_version IS NOT NULL AS known FROM sliding_sync.version();
RESET ROLE;
SELECT sliding_sync.detach('second');
GRANT EXECUTE ON FUNCTION sliding_sync.attach, sliding_sync.detach TO regress_sliding_sync_mallory;
SET ROLE regress_sliding_sync_mallory;
\set VERBOSITY sqlstate
SELECT sliding_sync.attach('second');
\set VERBOSITY default
RESET ROLE;
SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'A\_%' AND tgrelid = 'second.events'::regclass;
DROP OWNED BY regress_sliding_sync_mallory;
DROP ROLE regress_sliding_sync_mallory;

\c postgres
DROP DATABASE regress_sliding_sync;
