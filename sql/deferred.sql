-- Two holes of work done at commit, and their cures (docs/architecture.md): deferred constraints and triggers that our
-- own writes set off, and changes noted while somebody else's code runs with higher rights.
\getenv abs_srcdir PG_ABS_SRCDIR
\set schema deferred
\set ECHO none
\i :abs_srcdir/sql/include/homeserver.psql
\i :abs_srcdir/sql/include/views.psql
\set ECHO all
SELECT sliding_sync.attach('deferred');
SELECT create_room('!r', '@anna:hs.test', name => 'Quiet') \gset

--
-- Deferred constraints and triggers on the derived tables
--

-- a deferred foreign key: a row that breaks it is removed
CREATE TABLE allowed_names (name text PRIMARY KEY);
INSERT INTO allowed_names VALUES ('Quiet'), ('Calm');
ALTER TABLE sliding_sync_joined_rooms ADD CONSTRAINT allowed FOREIGN KEY (room_name) REFERENCES allowed_names
    DEFERRABLE INITIALLY DEFERRED;
BEGIN;
SELECT rename('!r', '@anna:hs.test', 'Forbidden') \gset
COMMIT;
SELECT name FROM joined_rooms;
BEGIN;
SELECT rename('!r', '@anna:hs.test', 'Calm') \gset
COMMIT;
SELECT name FROM joined_rooms;
-- also outside of a transaction block
SELECT rename('!r', '@anna:hs.test', 'Forbidden') \gset
SELECT name FROM joined_rooms;
ALTER TABLE sliding_sync_joined_rooms DROP CONSTRAINT allowed;

-- a deferred trigger on the derived table that changes the base tables again: right at commit
CREATE FUNCTION no_shouting() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NEW.room_name <> lower(NEW.room_name) THEN
        PERFORM rename(NEW.room_id, '@moderator:hs.test', lower(NEW.room_name));
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER no_shouting AFTER INSERT OR UPDATE ON sliding_sync_joined_rooms
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION no_shouting();
SELECT rename('!r', '@anna:hs.test', 'LOUD') \gset
SELECT name, latest = (SELECT max(stream_ordering) FROM events) AS latest FROM joined_rooms;
DROP TRIGGER no_shouting ON sliding_sync_joined_rooms;

-- one that never stops is stopped
CREATE FUNCTION chatter() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM send_message(NEW.room_id, '@bot:hs.test');
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER chatter AFTER INSERT OR UPDATE ON sliding_sync_joined_rooms
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chatter();
SELECT send_message('!r', '@anna:hs.test') \gset
DROP TRIGGER chatter ON sliding_sync_joined_rooms;
SELECT name, latest = (SELECT max(stream_ordering) FROM events) AS latest FROM joined_rooms;

-- a deferred trigger on a base table: its changes count
CREATE FUNCTION welcome() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM send_message(NEW.room_id, '@bot:hs.test');
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER welcome AFTER INSERT ON room_memberships
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION welcome();
SELECT join('!r', '@bert:hs.test') \gset
SELECT e.sender, latest = e.stream_ordering AS latest, bump = e.stream_ordering AS bump
FROM joined_rooms JOIN events e ON e.stream_ordering = (SELECT max(stream_ordering) FROM events);
DROP TRIGGER welcome ON room_memberships;

-- a cursor that is made when the transaction commits: its changes count, too
CREATE FUNCTION say(room text) RETURNS text LANGUAGE sql SET search_path FROM CURRENT AS $$
    SELECT send_message(room, '@cursor:hs.test')
$$;
BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT say('!r');
COMMIT;
CLOSE held;
SELECT e.sender, latest = e.stream_ordering AS latest
FROM joined_rooms JOIN events e ON e.stream_ordering = (SELECT max(stream_ordering) FROM events);

-- a transaction that has the homeserver's own deferred constraint pending (event_forward_extremities)
BEGIN;
SELECT send_message('!r', '@anna:hs.test') AS message \gset
SET CONSTRAINTS ALL IMMEDIATE;
COMMIT;
SELECT latest = e.stream_ordering AS latest FROM joined_rooms, events e WHERE e.event_id = :'message';

--
-- Code of a plain role that runs within an operation of a superuser (ANALYZE, REINDEX, ...)
--

-- Mallory owns a homeserver. Its tables tell who runs their triggers.
CREATE ROLE regress_sliding_sync_mallory;
\set schema mallory
\set ECHO none
\i :abs_srcdir/sql/include/homeserver.psql
\set ECHO all
SELECT sliding_sync.attach('mallory');
SELECT create_room('!m', '@mallory:hs.test', name => 'Trap') \gset
CREATE TABLE ran_as (who name);
DO $$
DECLARE
    relation regclass;
BEGIN
    FOR relation IN SELECT oid FROM pg_class WHERE relnamespace = 'mallory'::regnamespace AND relkind = 'r' LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO regress_sliding_sync_mallory', relation);
    END LOOP;
END
$$;
GRANT USAGE, CREATE ON SCHEMA mallory TO regress_sliding_sync_mallory;
SET SESSION AUTHORIZATION regress_sliding_sync_mallory;
CREATE FUNCTION tell_who() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO mallory.ran_as VALUES (current_user);
    RETURN NEW;
END
$$;
CREATE TRIGGER tell_who BEFORE UPDATE ON sliding_sync_joined_rooms FOR EACH ROW EXECUTE FUNCTION tell_who();
CREATE CONSTRAINT TRIGGER tell_who_later AFTER UPDATE ON sliding_sync_joined_rooms
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tell_who();

-- an index whose function writes to the homeserver's events
CREATE TABLE bait (n integer);
INSERT INTO bait SELECT generate_series(1, 10);
CREATE FUNCTION hostile(n integer) RETURNS integer IMMUTABLE LANGUAGE sql AS $$ SELECT n $$;
CREATE INDEX hostile_index ON bait (hostile(n));
CREATE OR REPLACE FUNCTION hostile(n integer) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO mallory.events (event_id, room_id, type, sender, stream_ordering, topological_ordering, processed, outlier)
        VALUES ('$hostile' || n, '!m', 'm.room.message', '@mallory:hs.test', 1000 + n, 99, true, false)
        ON CONFLICT DO NOTHING;
    RETURN n;
END
$$;
RESET SESSION AUTHORIZATION;

-- a superuser's ANALYZE sets the trap off: refused
ANALYZE bait;
SELECT count(*) FROM events WHERE event_id LIKE '$hostile%';
TABLE ran_as;

-- what a superuser writes himself is refreshed as the owner of the derived tables, deferred triggers too, and whatever
-- row security says
ALTER TABLE sliding_sync_joined_rooms ENABLE ROW LEVEL SECURITY;
ALTER TABLE sliding_sync_joined_rooms FORCE ROW LEVEL SECURITY;
INSERT INTO events (event_id, room_id, type, sender, stream_ordering, topological_ordering, processed, outlier)
    VALUES ('$ordinary', '!m', 'm.room.message', '@mallory:hs.test', 2000, 99, true, false);
TABLE ran_as;
SELECT event_stream_ordering FROM sliding_sync_joined_rooms;
ALTER TABLE sliding_sync_joined_rooms NO FORCE ROW LEVEL SECURITY;
ALTER TABLE sliding_sync_joined_rooms DISABLE ROW LEVEL SECURITY;

-- cleared away: no other test meets this role
DROP INDEX hostile_index;
REASSIGN OWNED BY regress_sliding_sync_mallory TO CURRENT_USER;
DROP OWNED BY regress_sliding_sync_mallory;
DROP ROLE regress_sliding_sync_mallory;
