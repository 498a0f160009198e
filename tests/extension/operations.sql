-- What a homeserver writes, in its order of statements, as one function an operation: material for SQL tests.
--
--     CALL make_homeserver('hs'); SET search_path = hs, public;      -- public: where the extension is
--     SELECT create_room('!r:hs.test', '@anna:hs.test');
--     SELECT rename('!r:hs.test', '@anna:hs.test', 'Tea');
--
-- * Every function works in the caller's transaction and on the tables of the caller's search_path.
-- * Users of hs.test are local. Event ids are $e1:hs.test, $e2:hs.test, ..., orderings come from the sequences.
-- * Content is JSON text and goes into the event as it is, right or wrong.
-- * Nothing is written to the room list tables, as by a homeserver that does not know them. With
--   SET homeserver.writes_tables = on a newer one is played: it does its own upkeep at the same places.

CREATE TYPE new_event AS (
    event_id        text,
    room_id         text,
    sender          text,
    type            text,
    state_key       text,       -- NULL: not a state event
    membership      text,       -- of m.room.member
    redacts         text,       -- of m.room.redaction
    outlier         boolean,
    rejected        text,       -- the reason
    metadata        text,       -- event_json.internal_metadata
    depth           bigint,
    stream_ordering bigint,
    json            text
);

-- What a newer homeserver knows of a room; all NULL when it plays an older one.
CREATE TYPE room_state AS (
    is_known                    boolean,
    room_type                   text,
    room_name                   text,
    is_encrypted                boolean,
    tombstone_successor_room_id text
);

CREATE FUNCTION is_local(user_id text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT user_id LIKE '@%:hs.test'
$$;

CREATE FUNCTION writes_tables() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT coalesce(current_setting('homeserver.writes_tables', true), '') = 'on'
$$;

--
-- Events
--

-- An event that is not stored yet. `document` is its whole JSON, for what nothing can read.
CREATE FUNCTION make_event(room text, sender text, type text, state_key text DEFAULT NULL,
                           content text DEFAULT '{}', membership text DEFAULT NULL, redacts text DEFAULT NULL,
                           outlier boolean DEFAULT false, backfilled boolean DEFAULT false,
                           rejected text DEFAULT NULL, metadata text DEFAULT '{}', unsigned text DEFAULT '{}',
                           document text DEFAULT NULL)
RETURNS new_event LANGUAGE plpgsql AS $$
DECLARE
    e new_event;
BEGIN
    e.event_id := format('$e%s:hs.test', nextval('event_counter'));
    e.stream_ordering := CASE WHEN backfilled THEN -nextval('events_backfill_stream_seq')
                              ELSE nextval('events_stream_seq') END;
    e.depth := coalesce((SELECT max(s.depth) + 1 FROM events s WHERE s.room_id = room AND NOT s.outlier), 1);
    e.room_id := room;
    e.sender := sender;
    e.type := type;
    e.state_key := state_key;
    e.membership := membership;
    e.redacts := redacts;
    e.outlier := outlier;
    e.rejected := rejected;
    e.metadata := metadata;
    e.json := coalesce(document, format(
        '{"type": %s, "room_id": %s, "sender": %s%s%s, "content": %s, "depth": %s, "unsigned": %s}',
        to_json(type), to_json(room), to_json(sender),
        ', "state_key": ' || to_json(state_key), ', "redacts": ' || to_json(redacts), content, e.depth, unsigned));
    RETURN e;
END
$$;

-- The state group after an event: its own, one step from the room's newest, if it changes state.
CREATE FUNCTION state_group_after(e new_event) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    before_event bigint := (SELECT max(id) FROM state_groups WHERE room_id = e.room_id);
    after_event  bigint;
BEGIN
    -- a soft-failed event is in the state of nothing that comes after it
    IF before_event IS NOT NULL AND (e.state_key IS NULL OR e.rejected IS NOT NULL OR e.metadata LIKE '%"soft_failed": true%') THEN
        RETURN before_event;
    END IF;
    after_event := nextval('state_group_id_seq');
    INSERT INTO state_groups (id, room_id, event_id) VALUES (after_event, e.room_id, e.event_id);
    IF before_event IS NOT NULL THEN
        INSERT INTO state_group_edges (state_group, prev_state_group) VALUES (after_event, before_event);
    END IF;
    IF e.state_key IS NOT NULL AND e.rejected IS NULL THEN
        INSERT INTO state_groups_state (state_group, room_id, type, state_key, event_id)
            VALUES (after_event, e.room_id, e.type, e.state_key, e.event_id);
    END IF;
    RETURN after_event;
END
$$;

-- Stores a chunk of events of one room. `changes_state` is false for soft-failed events: they are stored, but
-- neither the extremities nor current state follow them. Backfilled ones never change state.
CREATE FUNCTION persist(chunk new_event[], backfilled boolean DEFAULT false, changes_state boolean DEFAULT true)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    room  text := chunk[1].room_id;
    e     new_event;
    added text[];
BEGIN
    PERFORM FROM rooms WHERE room_id = room FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'room % does not exist', room;
    END IF;
    changes_state := changes_state AND NOT backfilled;

    INSERT INTO event_json (event_id, room_id, internal_metadata, json, format_version)
        SELECT c.event_id, c.room_id, c.metadata, c.json, 3 FROM unnest(chunk) c;
    INSERT INTO events (instance_name, stream_ordering, topological_ordering, depth, event_id, room_id, type, processed,
                        outlier, origin_server_ts, received_ts, sender, contains_url, state_key, rejection_reason)
        SELECT 'master', c.stream_ordering, c.depth, c.depth, c.event_id, c.room_id, c.type, true,
               c.outlier, 0, 0, c.sender, false, c.state_key, c.rejected FROM unnest(chunk) c;
    UPDATE redactions SET have_censored = false WHERE redacts IN (SELECT c.event_id FROM unnest(chunk) c);
    INSERT INTO state_events (event_id, room_id, type, state_key)
        SELECT c.event_id, c.room_id, c.type, c.state_key FROM unnest(chunk) c WHERE c.state_key IS NOT NULL;

    IF changes_state AND EXISTS (SELECT FROM unnest(chunk) c WHERE NOT c.outlier AND c.rejected IS NULL) THEN
        DELETE FROM event_forward_extremities WHERE room_id = room;
        INSERT INTO event_forward_extremities (event_id, room_id)
            SELECT c.event_id, c.room_id FROM unnest(chunk) c WHERE NOT c.outlier AND c.rejected IS NULL
            ORDER BY c.stream_ordering DESC LIMIT 1;
    END IF;
    FOREACH e IN ARRAY chunk LOOP
        IF NOT e.outlier THEN
            INSERT INTO event_to_state_groups (event_id, state_group) VALUES (e.event_id, state_group_after(e));
        END IF;
    END LOOP;
    INSERT INTO rejections (event_id, reason, last_check)
        SELECT c.event_id, c.rejected, '0' FROM unnest(chunk) c WHERE c.rejected IS NOT NULL;
    INSERT INTO redactions (event_id, redacts, received_ts)
        SELECT c.event_id, c.redacts, 0 FROM unnest(chunk) c WHERE c.redacts IS NOT NULL AND c.rejected IS NULL;
    INSERT INTO room_memberships (event_id, event_stream_ordering, user_id, sender, room_id, membership)
        SELECT c.event_id, c.stream_ordering, c.state_key, c.sender, c.room_id, c.membership FROM unnest(chunk) c
        WHERE c.type = 'm.room.member' AND c.state_key IS NOT NULL AND c.rejected IS NULL;

    IF NOT backfilled THEN
        INSERT INTO local_current_membership (room_id, user_id, event_id, membership, event_stream_ordering)
            SELECT c.room_id, c.state_key, c.event_id, c.membership, c.stream_ordering FROM unnest(chunk) c
            WHERE c.type = 'm.room.member' AND is_local(c.state_key) AND c.rejected IS NULL
                AND c.outlier AND c.metadata LIKE '%"out_of_band_membership": true%'
            ON CONFLICT (room_id, user_id) DO UPDATE SET event_id = excluded.event_id,
                membership = excluded.membership, event_stream_ordering = excluded.event_stream_ordering;
        IF writes_tables() THEN
            PERFORM write_stripped_snapshot(c.event_id) FROM unnest(chunk) c
                WHERE c.type = 'm.room.member' AND is_local(c.state_key) AND c.rejected IS NULL AND c.outlier;
        END IF;
    END IF;
    IF changes_state THEN
        added := ARRAY(SELECT DISTINCT ON (c.type, c.state_key) c.event_id FROM unnest(chunk) c
                       WHERE c.state_key IS NOT NULL AND NOT c.outlier AND c.rejected IS NULL
                       ORDER BY c.type, c.state_key, c.stream_ordering DESC);
        PERFORM change_current_state(room, (SELECT min(c.stream_ordering) FROM unnest(chunk) c), '{}', added);
    END IF;
    IF writes_tables() AND NOT backfilled THEN
        PERFORM write_orderings(room, ARRAY(SELECT c.event_id FROM unnest(chunk) c WHERE c.rejected IS NULL));
    END IF;
END
$$;

-- Makes the change that a chunk, a join or a state reset means for current state: the keys of the stored events
-- `removed` go, those of `added` come, one statement a key, members first. If that takes the last local user out of
-- the room, its whole current state goes instead, before any membership changes.
CREATE FUNCTION change_current_state(room text, stream bigint, removed text[], added text[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    keys record;
    state room_state;
    last_one_left boolean;
BEGIN
    IF removed || added = '{}' THEN
        RETURN;
    END IF;
    state := own_room_state(room);
    IF NOT state.is_known THEN
        state := NULL;      -- nothing to say: a snapshot keeps what it has
    END IF;
    last_one_left :=
        EXISTS (SELECT FROM state_events s WHERE s.event_id = ANY (removed || added)
                AND s.type = 'm.room.member' AND is_local(s.state_key))
        AND NOT EXISTS (SELECT FROM room_memberships m WHERE m.event_id = ANY (added)
                        AND is_local(m.user_id) AND m.membership = 'join')
        AND NOT EXISTS (SELECT FROM local_current_membership l WHERE l.room_id = room AND l.membership = 'join'
                        AND l.user_id NOT IN (SELECT s.state_key FROM state_events s
                            WHERE s.event_id = ANY (removed || added) AND s.type = 'm.room.member'));

    IF last_one_left THEN
        INSERT INTO current_state_delta_stream (stream_id, room_id, type, state_key, event_id, prev_event_id)
            SELECT stream, c.room_id, c.type, c.state_key, NULL, c.event_id
            FROM current_state_events c WHERE c.room_id = room;
        DELETE FROM current_state_events c WHERE c.room_id = room;
        IF writes_tables() THEN
            DELETE FROM sliding_sync_joined_rooms j WHERE j.room_id = room;
        END IF;
    ELSE
        INSERT INTO current_state_delta_stream (stream_id, room_id, type, state_key, event_id, prev_event_id)
            SELECT stream, room, s.type, s.state_key, CASE WHEN s.event_id = ANY (added) THEN s.event_id END,
                   (SELECT c.event_id FROM current_state_events c
                    WHERE c.room_id = room AND c.type = s.type AND c.state_key = s.state_key)
            FROM state_events s WHERE s.event_id = ANY (removed || added);
        FOR keys IN SELECT s.type, s.state_key FROM state_events s WHERE s.event_id = ANY (removed || added)
                    ORDER BY s.type = 'm.room.member' DESC, s.type, s.state_key LOOP
            DELETE FROM current_state_events c
                WHERE c.room_id = room AND c.type = keys.type AND c.state_key = keys.state_key;
        END LOOP;
        FOR keys IN SELECT s.event_id, s.type, s.state_key FROM state_events s WHERE s.event_id = ANY (added)
                    ORDER BY s.type = 'm.room.member' DESC, s.type, s.state_key LOOP
            INSERT INTO current_state_events (room_id, type, state_key, event_id, membership, event_stream_ordering)
                VALUES (room, keys.type, keys.state_key, keys.event_id,
                        (SELECT m.membership FROM room_memberships m WHERE m.event_id = keys.event_id),
                        (SELECT e.stream_ordering FROM events e WHERE e.event_id = keys.event_id));
        END LOOP;
        state := own_room_state(room);
        IF writes_tables() THEN
            PERFORM write_joined_room(room, state);
        END IF;
    END IF;

    FOR keys IN SELECT s.state_key FROM state_events s WHERE s.event_id = ANY (removed || added)
                AND s.type = 'm.room.member' AND is_local(s.state_key) ORDER BY s.state_key LOOP
        DELETE FROM local_current_membership l WHERE l.room_id = room AND l.user_id = keys.state_key;
    END LOOP;
    FOR keys IN SELECT s.event_id, s.state_key FROM state_events s WHERE s.event_id = ANY (added)
                AND s.type = 'm.room.member' AND is_local(s.state_key) ORDER BY s.state_key LOOP
        INSERT INTO local_current_membership (room_id, user_id, event_id, membership, event_stream_ordering)
            VALUES (room, keys.state_key, keys.event_id,
                    (SELECT m.membership FROM room_memberships m WHERE m.event_id = keys.event_id),
                    (SELECT e.stream_ordering FROM events e WHERE e.event_id = keys.event_id));
    END LOOP;
    IF writes_tables() THEN
        DELETE FROM sliding_sync_membership_snapshots m WHERE m.room_id = room AND m.user_id IN (
            SELECT s.state_key FROM state_events s WHERE s.event_id = ANY (removed) AND s.type = 'm.room.member');
        PERFORM write_snapshot(s.event_id, state) FROM state_events s
            WHERE s.event_id = ANY (added) AND s.type = 'm.room.member' AND is_local(s.state_key);
    END IF;
END
$$;

--
-- Rooms
--

CREATE FUNCTION create_room(room text, creator text, version text DEFAULT '10', room_type text DEFAULT NULL,
                            name text DEFAULT NULL, encrypted boolean DEFAULT false)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    rest new_event[];
BEGIN
    INSERT INTO rooms (room_id, creator, is_public, room_version, has_auth_chain_index)
        VALUES (room, creator, false, version, true);
    PERFORM set_state(room, creator, 'm.room.create', '', format('{"room_version": %s%s}', to_json(version),
                      ', "type": ' || to_json(room_type)));
    PERFORM change_membership(room, creator, 'join');
    rest := ARRAY[make_event(room, creator, 'm.room.power_levels', '',
                             format('{"users": {%s: 100}}', to_json(creator))),
                  make_event(room, creator, 'm.room.join_rules', '', '{"join_rule": "public"}')];
    IF encrypted THEN
        rest := rest || make_event(room, creator, 'm.room.encryption', '', '{"algorithm": "m.megolm.v1.aes-sha2"}');
    END IF;
    IF name IS NOT NULL THEN
        rest := rest || make_event(room, creator, 'm.room.name', '', json_build_object('name', name)::text);
    END IF;
    PERFORM persist(rest);
END
$$;

CREATE FUNCTION send_message(room text, sender text, type text DEFAULT 'm.room.message',
                             content text DEFAULT '{"body": "hello"}')
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    e new_event := make_event(room, sender, type, NULL, content);
BEGIN
    PERFORM persist(ARRAY[e]);
    RETURN e.event_id;
END
$$;

CREATE FUNCTION set_state(room text, sender text, type text, state_key text DEFAULT '', content text DEFAULT '{}')
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    e new_event := make_event(room, sender, type, state_key, content);
BEGIN
    PERFORM persist(ARRAY[e]);
    RETURN e.event_id;
END
$$;

CREATE FUNCTION rename(room text, sender text, name text) RETURNS text LANGUAGE sql AS $$
    SELECT set_state(room, sender, 'm.room.name', '', json_build_object('name', name)::text)
$$;

CREATE FUNCTION encrypt(room text, sender text) RETURNS text LANGUAGE sql AS $$
    SELECT set_state(room, sender, 'm.room.encryption', '', '{"algorithm": "m.megolm.v1.aes-sha2"}')
$$;

CREATE FUNCTION tombstone(room text, sender text, successor text) RETURNS text LANGUAGE sql AS $$
    SELECT set_state(room, sender, 'm.room.tombstone', '', json_build_object('replacement_room', successor)::text)
$$;

--
-- Memberships, seen by a homeserver that is in the room
--

CREATE FUNCTION change_membership(room text, user_id text, membership text, sender text DEFAULT NULL,
                                  unsigned text DEFAULT '{}')
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    e new_event := make_event(room, coalesce(sender, user_id), 'm.room.member', user_id,
                              json_build_object('membership', membership)::text, membership, unsigned => unsigned);
BEGIN
    PERFORM persist(ARRAY[e]);
    RETURN e.event_id;
END
$$;

CREATE FUNCTION join(room text, user_id text) RETURNS text LANGUAGE sql AS $$
    SELECT change_membership(room, user_id, 'join')
$$;

-- The last local user's leave takes the homeserver out of the room.
CREATE FUNCTION leave(room text, user_id text) RETURNS text LANGUAGE sql AS $$
    SELECT change_membership(room, user_id, 'leave')
$$;

CREATE FUNCTION kick(room text, user_id text, sender text) RETURNS text LANGUAGE sql AS $$
    SELECT change_membership(room, user_id, 'leave', sender)
$$;

CREATE FUNCTION ban(room text, user_id text, sender text) RETURNS text LANGUAGE sql AS $$
    SELECT change_membership(room, user_id, 'ban', sender)
$$;

CREATE FUNCTION unban(room text, user_id text, sender text) RETURNS text LANGUAGE sql AS $$
    SELECT change_membership(room, user_id, 'leave', sender)
$$;

CREATE FUNCTION invite(room text, user_id text, sender text, stripped_state text DEFAULT NULL)
RETURNS text LANGUAGE sql AS $$
    SELECT change_membership(room, user_id, 'invite', sender,
                             coalesce('{"invite_room_state": ' || stripped_state || '}', '{}'))
$$;

CREATE FUNCTION knock(room text, user_id text, stripped_state text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT change_membership(room, user_id, 'knock', user_id,
                             coalesce('{"knock_room_state": ' || stripped_state || '}', '{}'))
$$;

CREATE FUNCTION forget(room text, user_id text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE room_memberships m SET forgotten = 1 WHERE m.user_id = forget.user_id AND m.room_id = room;
    IF writes_tables() THEN
        UPDATE sliding_sync_membership_snapshots m SET forgotten = 1
            WHERE m.user_id = forget.user_id AND m.room_id = room;
    END IF;
END
$$;

-- A homeserver that believes that it left writes every local membership again, with the events they had.
CREATE FUNCTION rewrite_memberships(room text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    rows local_current_membership[] := ARRAY(SELECT l FROM local_current_membership l WHERE l.room_id = room);
BEGIN
    DELETE FROM local_current_membership l WHERE l.room_id = room;
    INSERT INTO local_current_membership SELECT (unnest(rows)).*;
END
$$;

--
-- Memberships of rooms that the homeserver is not in ("out of band"): outliers with a flag
--

CREATE FUNCTION remote_membership(room text, user_id text, membership text, sender text, unsigned text DEFAULT '{}')
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    e new_event := make_event(room, sender, 'm.room.member', user_id,
                              json_build_object('membership', membership)::text, membership, outlier => true,
                              metadata => '{"out_of_band_membership": true}', unsigned => unsigned);
BEGIN
    INSERT INTO rooms (room_id, creator, is_public, room_version, has_auth_chain_index)
        VALUES (room, '', false, '10', false) ON CONFLICT DO NOTHING;
    PERFORM persist(ARRAY[e]);
    RETURN e.event_id;
END
$$;

CREATE FUNCTION remote_invite(room text, user_id text, sender text, stripped_state text DEFAULT NULL)
RETURNS text LANGUAGE sql AS $$
    SELECT remote_membership(room, user_id, 'invite', sender,
                             coalesce('{"invite_room_state": ' || stripped_state || '}', '{}'))
$$;

CREATE FUNCTION remote_knock(room text, user_id text, stripped_state text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT remote_membership(room, user_id, 'knock', user_id,
                             coalesce('{"knock_room_state": ' || stripped_state || '}', '{}'))
$$;

-- Also rescinds a knock.
CREATE FUNCTION reject_remote_invite(room text, user_id text) RETURNS text LANGUAGE sql AS $$
    SELECT remote_membership(room, user_id, 'leave', user_id)
$$;

CREATE FUNCTION retract_remote_invite(room text, user_id text, sender text) RETURNS text LANGUAGE sql AS $$
    SELECT remote_membership(room, user_id, 'leave', sender)
$$;

-- An element of stripped state; a list of them is format('[%s, %s]', ...).
CREATE FUNCTION stripped(type text, content text, sender text DEFAULT '@boss:remote.test') RETURNS text
LANGUAGE sql AS $$
    SELECT format('{"type": %s, "state_key": "", "sender": %s, "content": %s}', to_json(type), to_json(sender), content)
$$;

-- Joins a room of another homeserver: its state arrives as outliers with negative orderings, then the join puts all
-- of it into current state at once, also old out-of-band memberships of other local users. `states` holds
-- triples: type, state key, content.
CREATE FUNCTION remote_join(room text, user_id text, members text[] DEFAULT '{}', VARIADIC states text[] DEFAULT '{}')
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state   new_event[] := '{}';
    join_it new_event;
    member  text;
BEGIN
    INSERT INTO rooms (room_id, creator, is_public, room_version, has_auth_chain_index)
        VALUES (room, '', false, '10', true) ON CONFLICT (room_id) DO UPDATE SET room_version = '10';
    FOREACH member IN ARRAY members LOOP
        state := state || make_event(room, member, 'm.room.member', member, '{"membership": "join"}', 'join',
                                     outlier => true, backfilled => true);
    END LOOP;
    FOR i IN 1 .. coalesce(array_length(states, 1), 0) BY 3 LOOP
        state := state || make_event(room, '@boss:remote.test', states[i], states[i + 1], states[i + 2],
                                     outlier => true, backfilled => true);
    END LOOP;
    IF state <> '{}' THEN
        PERFORM persist(state, backfilled => true);
    END IF;

    join_it := make_event(room, user_id, 'm.room.member', user_id, '{"membership": "join"}', 'join');
    PERFORM enter_room(join_it, ARRAY(SELECT s.event_id FROM unnest(state) s)
        || ARRAY(SELECT l.event_id FROM local_current_membership l WHERE l.room_id = room AND l.membership = 'invite'
                 AND l.user_id <> remote_join.user_id));
    RETURN join_it.event_id;
END
$$;

-- The join's own transaction: the event and everything that stands in the state it joins.
CREATE FUNCTION enter_room(join_it new_event, state text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    joined bigint := nextval('state_group_id_seq');
BEGIN
    INSERT INTO state_groups (id, room_id, event_id) VALUES (joined, join_it.room_id, join_it.event_id);
    INSERT INTO state_groups_state (state_group, room_id, type, state_key, event_id)
        SELECT joined, s.room_id, s.type, s.state_key, s.event_id FROM state_events s WHERE s.event_id = ANY (state);
    PERFORM persist(ARRAY[join_it], changes_state => false);
    INSERT INTO event_forward_extremities (event_id, room_id) VALUES (join_it.event_id, join_it.room_id);
    PERFORM change_current_state(join_it.room_id, join_it.stream_ordering, '{}', state || join_it.event_id);
END
$$;

--
-- Events that do not follow the straight road
--

CREATE FUNCTION redact(room text, sender text, target text, metadata text DEFAULT '{}') RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    e new_event := make_event(room, sender, 'm.room.redaction', NULL, json_build_object('redacts', target)::text,
                              redacts => target, metadata => metadata);
BEGIN
    PERFORM persist(ARRAY[e]);
    RETURN e.event_id;
END
$$;

-- The stored event loses its content for good.
CREATE FUNCTION censor(target text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    e events := (SELECT ev FROM events ev WHERE ev.event_id = target);
BEGIN
    UPDATE event_json SET json = format(
        '{"type": %s, "room_id": %s, "sender": %s%s, "content": {}, "depth": %s, "unsigned": {}}',
        to_json(e.type), to_json(e.room_id), to_json(e.sender), ', "state_key": ' || to_json(e.state_key), e.depth)
        WHERE event_id = target;
    UPDATE redactions SET have_censored = true WHERE redacts = target;
END
$$;

-- A user is banned and all that they wrote is redacted, in a transaction of its own.
CREATE FUNCTION redact_all_of(room text, banned text, banning_event text, end_ordering bigint DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO room_ban_redactions (room_id, user_id, redacting_event_id, redact_end_ordering)
        VALUES (room, banned, banning_event, end_ordering)
        ON CONFLICT (room_id, user_id) DO UPDATE
        SET redacting_event_id = excluded.redacting_event_id, redact_end_ordering = excluded.redact_end_ordering;
END
$$;

CREATE FUNCTION reject_event(room text, sender text, type text, state_key text DEFAULT NULL, content text DEFAULT '{}')
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    e new_event := make_event(room, sender, type, state_key, content, rejected => 'auth_error',
                              membership => CASE WHEN type = 'm.room.member' THEN 'join' END);
BEGIN
    PERFORM persist(ARRAY[e]);
    RETURN e.event_id;
END
$$;

-- The verdict on a stored event changes when a partially joined room's state becomes complete.
CREATE FUNCTION change_verdict(target text, rejected boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM rejections WHERE event_id = target;
    IF rejected THEN
        INSERT INTO rejections (event_id, reason, last_check) VALUES (target, 'auth_error', '0');
    END IF;
    UPDATE events SET rejection_reason = CASE WHEN rejected THEN 'auth_error' END WHERE event_id = target;
END
$$;

CREATE FUNCTION soft_fail(room text, sender text, type text DEFAULT 'm.room.message', state_key text DEFAULT NULL,
                          content text DEFAULT '{}')
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    e new_event := make_event(room, sender, type, state_key, content, metadata => '{"soft_failed": true}');
BEGIN
    PERFORM persist(ARRAY[e], changes_state => false);
    RETURN e.event_id;
END
$$;

CREATE FUNCTION backfill_events(room text, sender text, count integer DEFAULT 3, outlier boolean DEFAULT false)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    chunk new_event[] := '{}';
BEGIN
    FOR i IN 1 .. count LOOP
        chunk := chunk || make_event(room, sender, 'm.room.message', NULL, '{"body": "long ago"}',
                                     outlier => outlier, backfilled => true);
    END LOOP;
    PERFORM persist(chunk, backfilled => true);
END
$$;

CREATE FUNCTION send_outlier(room text, sender text, type text DEFAULT 'm.room.message', state_key text DEFAULT NULL,
                             content text DEFAULT '{}')
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    e new_event := make_event(room, sender, type, state_key, content, outlier => true);
BEGIN
    PERFORM persist(ARRAY[e]);
    RETURN e.event_id;
END
$$;

-- A stored outlier arrives as a normal event; if it is a state event and should, it enters current state.
CREATE FUNCTION deoutlier(target text, changes_state boolean DEFAULT true) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    room text := (SELECT e.room_id FROM events e WHERE e.event_id = target);
    entering text[] := ARRAY(SELECT s.event_id FROM state_events s WHERE s.event_id = target);
    e new_event;
BEGIN
    SELECT ev.event_id, ev.room_id, ev.type, ev.state_key INTO e.event_id, e.room_id, e.type, e.state_key
        FROM events ev WHERE ev.event_id = target;
    INSERT INTO event_to_state_groups (event_id, state_group) VALUES (target, state_group_after(e))
        ON CONFLICT (event_id) DO UPDATE SET state_group = excluded.state_group;
    UPDATE events SET outlier = false WHERE event_id = target;
    IF changes_state THEN
        PERFORM change_current_state(room, nextval('events_stream_seq'), '{}', entering);
    END IF;
END
$$;

-- State resolution takes a key out of current state, or puts an old event back.
CREATE FUNCTION state_reset(room text, type text, state_key text DEFAULT '', old_event text DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    resolved bigint := nextval('state_group_id_seq');
BEGIN
    PERFORM change_current_state(room, nextval('events_stream_seq'),
        CASE WHEN old_event IS NULL THEN ARRAY(SELECT c.event_id FROM current_state_events c WHERE c.room_id = room
            AND c.type = state_reset.type AND c.state_key = state_reset.state_key) ELSE '{}' END,
        array_remove(ARRAY[old_event], NULL));
    -- what comes next comes after the state as it was resolved
    INSERT INTO state_groups (id, room_id, event_id)
        SELECT resolved, room, c.event_id FROM current_state_events c WHERE c.room_id = room LIMIT 1;
    INSERT INTO state_groups_state (state_group, room_id, type, state_key, event_id)
        SELECT resolved, room, c.type, c.state_key, c.event_id FROM current_state_events c WHERE c.room_id = room;
END
$$;

--
-- Cleaning up
--

-- Deletes what is older than an event, but for state events: those become outliers.
CREATE FUNCTION purge_history(room text, up_to text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    token   bigint := (SELECT e.topological_ordering FROM events e WHERE e.event_id = up_to);
    listed  text[] := ARRAY(SELECT e.event_id FROM events e
                            WHERE e.room_id = room AND e.topological_ordering < token AND NOT e.outlier);
    doomed  text[] := ARRAY(SELECT e.event_id FROM events e WHERE e.event_id = ANY (listed)
                            AND NOT EXISTS (SELECT FROM state_events s WHERE s.event_id = e.event_id));
BEGIN
    DELETE FROM event_to_state_groups WHERE event_id = ANY (listed);
    DELETE FROM events WHERE event_id = ANY (doomed);
    DELETE FROM event_json WHERE event_id = ANY (doomed);
    DELETE FROM event_forward_extremities WHERE event_id = ANY (doomed);
    DELETE FROM rejections WHERE event_id = ANY (doomed);
    DELETE FROM redactions WHERE event_id = ANY (doomed);
    UPDATE events SET outlier = true WHERE event_id = ANY (listed) AND event_id <> ALL (doomed);
END
$$;

-- `old_version`: as by homeservers that do not know the room list tables.
CREATE FUNCTION purge_room(room text, old_version boolean DEFAULT true) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM rooms r WHERE r.room_id = room FOR UPDATE;
    DELETE FROM event_json WHERE event_id IN (SELECT e.event_id FROM events e WHERE e.room_id = room);
    DELETE FROM event_to_state_groups WHERE event_id IN (SELECT e.event_id FROM events e WHERE e.room_id = room);
    DELETE FROM redactions WHERE event_id IN (SELECT e.event_id FROM events e WHERE e.room_id = room);
    DELETE FROM rejections WHERE event_id IN (SELECT e.event_id FROM events e WHERE e.room_id = room);
    DELETE FROM state_events WHERE event_id IN (SELECT e.event_id FROM events e WHERE e.room_id = room);
    DELETE FROM current_state_events c WHERE c.room_id = room;
    DELETE FROM event_forward_extremities x WHERE x.room_id = room;
    DELETE FROM current_state_delta_stream d WHERE d.room_id = room;
    DELETE FROM local_current_membership l WHERE l.room_id = room;
    DELETE FROM room_memberships m WHERE m.room_id = room;
    IF NOT old_version THEN
        DELETE FROM sliding_sync_joined_rooms j WHERE j.room_id = room;
        DELETE FROM sliding_sync_membership_snapshots m WHERE m.room_id = room;
    END IF;
    DELETE FROM events e WHERE e.room_id = room;
    DELETE FROM rooms r WHERE r.room_id = room;
    DELETE FROM state_group_edges WHERE state_group IN (SELECT g.id FROM state_groups g WHERE g.room_id = room);
    DELETE FROM state_groups_state s WHERE s.room_id = room;
    DELETE FROM state_groups g WHERE g.room_id = room;
END
$$;

-- The background update that drops the current state of rooms which the homeserver is no longer in.
CREATE FUNCTION drop_current_state(room text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM current_state_events c WHERE c.room_id = room;
    DELETE FROM event_forward_extremities x WHERE x.room_id = room;
END
$$;

--
-- The newer homeserver's own upkeep, in short: right for ordinary content, with its known gaps (an outlier moves a
-- room, the instance name stays, redactions are not looked at). Unreadable content makes these functions fail.
--

CREATE FUNCTION own_room_state(room text) RETURNS room_state LANGUAGE plpgsql AS $$
DECLARE
    state room_state;
BEGIN
    IF writes_tables() THEN
        SELECT count(*) > 0,
               max(j.json::json -> 'content' ->> 'type') FILTER (WHERE c.type = 'm.room.create'),
               max(j.json::json -> 'content' ->> 'name') FILTER (WHERE c.type = 'm.room.name'),
               coalesce(bool_or(j.json::json -> 'content' ->> 'algorithm' IS NOT NULL)
                   FILTER (WHERE c.type = 'm.room.encryption'), false),
               max(j.json::json -> 'content' ->> 'replacement_room') FILTER (WHERE c.type = 'm.room.tombstone')
            INTO state
            FROM current_state_events c JOIN event_json j USING (event_id)
            WHERE c.room_id = room AND c.state_key = ''
                AND c.type IN ('m.room.create', 'm.room.encryption', 'm.room.name', 'm.room.tombstone');
    END IF;
    RETURN state;
END
$$;

CREATE FUNCTION write_joined_room(room text, state room_state) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF state.is_known THEN
        INSERT INTO sliding_sync_joined_rooms AS j (room_id, event_stream_ordering, room_type, room_name, is_encrypted,
                                                    tombstone_successor_room_id)
            VALUES (room, (SELECT max(e.stream_ordering) FROM events e WHERE e.room_id = room), state.room_type,
                    state.room_name, state.is_encrypted, state.tombstone_successor_room_id)
            ON CONFLICT (room_id) DO UPDATE SET room_type = excluded.room_type, room_name = excluded.room_name,
                is_encrypted = excluded.is_encrypted,
                tombstone_successor_room_id =
                    coalesce(excluded.tombstone_successor_room_id, j.tombstone_successor_room_id);
    END IF;
END
$$;

CREATE FUNCTION write_orderings(room text, ids text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE sliding_sync_joined_rooms j SET
        event_stream_ordering = greatest(j.event_stream_ordering,
            (SELECT max(e.stream_ordering) FROM events e WHERE e.event_id = ANY (ids))),
        bump_stamp = greatest(j.bump_stamp,
            (SELECT max(e.stream_ordering) FROM events e WHERE e.event_id = ANY (ids)
             AND e.type IN ('m.room.create', 'm.room.message', 'm.room.encrypted', 'm.sticker', 'm.call.invite',
                            'm.poll.start', 'm.beacon_info')))
        WHERE j.room_id = room;
END
$$;

-- Without a known state only the columns of the membership change.
CREATE FUNCTION write_snapshot(membership_event text, state room_state) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sliding_sync_membership_snapshots AS s (room_id, user_id, sender, membership_event_id, membership,
            forgotten, event_stream_ordering, event_instance_name, has_known_state, room_type, room_name, is_encrypted,
            tombstone_successor_room_id)
        SELECT m.room_id, m.user_id, m.sender, m.event_id, m.membership, 0, m.event_stream_ordering, 'master',
               coalesce(state.is_known, false), state.room_type, state.room_name, coalesce(state.is_encrypted, false),
               state.tombstone_successor_room_id
        FROM room_memberships m WHERE m.event_id = membership_event
        ON CONFLICT (room_id, user_id) DO UPDATE SET sender = excluded.sender,
            membership_event_id = excluded.membership_event_id, membership = excluded.membership, forgotten = 0,
            event_stream_ordering = excluded.event_stream_ordering;
    IF state.is_known IS NOT NULL THEN
        UPDATE sliding_sync_membership_snapshots s SET has_known_state = state.is_known, room_type = state.room_type,
            room_name = state.room_name, is_encrypted = state.is_encrypted,
            tombstone_successor_room_id = state.tombstone_successor_room_id
            WHERE s.membership_event_id = membership_event;
    END IF;
END
$$;

-- Of an out-of-band membership: an invite or a knock tells the state, a leave leaves it as it was.
CREATE FUNCTION write_stripped_snapshot(membership_event text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    state    room_state;
    elements json;
BEGIN
    SELECT CASE m.membership WHEN 'invite' THEN j.json::json -> 'unsigned' -> 'invite_room_state'
                             WHEN 'knock' THEN j.json::json -> 'unsigned' -> 'knock_room_state' END
        INTO elements FROM room_memberships m JOIN event_json j USING (event_id) WHERE m.event_id = membership_event;
    IF EXISTS (SELECT FROM room_memberships m WHERE m.event_id = membership_event AND m.membership <> 'leave') THEN
        SELECT coalesce(bool_or(e ->> 'type' = 'm.room.create'), false),
               max(e -> 'content' ->> 'type') FILTER (WHERE e ->> 'type' = 'm.room.create'),
               max(e -> 'content' ->> 'name') FILTER (WHERE e ->> 'type' = 'm.room.name'),
               coalesce(bool_or(e -> 'content' ->> 'algorithm' IS NOT NULL)
                   FILTER (WHERE e ->> 'type' = 'm.room.encryption'), false),
               max(e -> 'content' ->> 'replacement_room') FILTER (WHERE e ->> 'type' = 'm.room.tombstone')
            INTO state FROM json_array_elements(elements) e;
    END IF;
    PERFORM write_snapshot(membership_event, state);
END
$$;
