-- The same tables kept by triggers in PL/pgSQL: what somebody would write who wants no C++. To be compared with, not to
-- be used. It acts at once: on statements where that pays (events), on rows where a WHEN condition keeps others cheap.
-- It knows current state, orderings, redactions and stripped state of ordinary content; it does not know ban redactions,
-- room state at the time of a leave, savepoints' lies, unreadable JSON (which makes it fail), or rows to re-point.

CREATE FUNCTION kept_state(room text, OUT is_known boolean, OUT room_type text, OUT room_name text,
                           OUT is_encrypted boolean, OUT successor text)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    SELECT count(*) > 0,
           max(content ->> 'type') FILTER (WHERE type = 'm.room.create'),
           max(content ->> 'name') FILTER (WHERE type = 'm.room.name' AND NOT is_redacted),
           coalesce(bool_or(content ->> 'algorithm' IS NOT NULL AND NOT is_redacted)
                    FILTER (WHERE type = 'm.room.encryption'), false),
           max(content ->> 'replacement_room') FILTER (WHERE type = 'm.room.tombstone' AND NOT is_redacted)
        INTO is_known, room_type, room_name, is_encrypted, successor
        FROM (SELECT c.type, j.json::json -> 'content' AS content,
                     EXISTS (SELECT FROM redactions r WHERE r.redacts = c.event_id) AS is_redacted
              FROM current_state_events c JOIN event_json j ON j.event_id = c.event_id
              WHERE c.room_id = room AND c.state_key = ''
                  AND c.type IN ('m.room.create', 'm.room.name', 'm.room.encryption', 'm.room.tombstone')) state;
END
$$;

CREATE FUNCTION keep_joined_room(room text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    state record;
BEGIN
    state := kept_state(room);
    IF NOT state.is_known THEN
        DELETE FROM sliding_sync_joined_rooms j WHERE j.room_id = room;
        RETURN;
    END IF;
    UPDATE sliding_sync_joined_rooms j SET room_type = state.room_type, room_name = state.room_name,
            is_encrypted = state.is_encrypted, tombstone_successor_room_id = state.successor
        WHERE j.room_id = room AND (j.room_type, j.room_name, j.is_encrypted, j.tombstone_successor_room_id)
            IS DISTINCT FROM (state.room_type, state.room_name, state.is_encrypted, state.successor);
    IF FOUND OR EXISTS (SELECT FROM sliding_sync_joined_rooms j WHERE j.room_id = room) THEN
        RETURN;
    END IF;
    INSERT INTO sliding_sync_joined_rooms (room_id, event_stream_ordering, bump_stamp, room_type, room_name,
                                           is_encrypted, tombstone_successor_room_id)
        SELECT room, max(e.stream_ordering),
               max(e.stream_ordering) FILTER (WHERE e.stream_ordering > 0 AND e.type IN ('m.room.create',
                   'm.room.message', 'm.room.encrypted', 'm.sticker', 'm.call.invite', 'm.poll.start', 'm.beacon_info')),
               state.room_type, state.room_name, state.is_encrypted, state.successor
        FROM events e WHERE e.room_id = room AND NOT e.outlier AND e.rejection_reason IS NULL
        HAVING max(e.stream_ordering) IS NOT NULL;
END
$$;

CREATE FUNCTION on_new_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE sliding_sync_joined_rooms j SET event_stream_ordering = greatest(j.event_stream_ordering, n.newest),
                                           bump_stamp = greatest(j.bump_stamp, n.bump)
        FROM (SELECT e.room_id, max(e.stream_ordering) AS newest,
                     max(e.stream_ordering) FILTER (WHERE e.type IN ('m.room.create', 'm.room.message',
                         'm.room.encrypted', 'm.sticker', 'm.call.invite', 'm.poll.start', 'm.beacon_info')) AS bump
              FROM added e WHERE NOT e.outlier AND e.rejection_reason IS NULL GROUP BY e.room_id) n
        WHERE j.room_id = n.room_id
            AND (n.newest > j.event_stream_ordering OR n.bump > coalesce(j.bump_stamp, 0));
    RETURN NULL;
END
$$;

CREATE FUNCTION on_deleted_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE sliding_sync_joined_rooms j SET
            event_stream_ordering = (SELECT max(e.stream_ordering) FROM events e WHERE e.room_id = j.room_id
                AND NOT e.outlier AND e.rejection_reason IS NULL),
            bump_stamp = (SELECT max(e.stream_ordering) FROM events e WHERE e.room_id = j.room_id AND NOT e.outlier
                AND e.rejection_reason IS NULL AND e.stream_ordering > 0 AND e.type IN ('m.room.create',
                'm.room.message', 'm.room.encrypted', 'm.sticker', 'm.call.invite', 'm.poll.start', 'm.beacon_info'))
        FROM removed d
        WHERE j.room_id = d.room_id AND d.stream_ordering IN (j.event_stream_ordering, j.bump_stamp);
    RETURN NULL;
END
$$;

CREATE FUNCTION on_current_state() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM keep_joined_room(CASE WHEN TG_OP = 'DELETE' THEN OLD.room_id ELSE NEW.room_id END);
    RETURN NULL;
END
$$;

CREATE FUNCTION on_local_membership() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    about    events;
    state    record;
    elements json;
BEGIN
    IF TG_OP = 'DELETE' THEN
        -- The row that comes next, if one does, finds it as it was.
        RETURN NULL;
    END IF;
    SELECT * INTO about FROM events e WHERE e.event_id = NEW.event_id;
    state := kept_state(NEW.room_id);
    IF about.outlier AND NOT EXISTS (SELECT FROM current_state_events c WHERE c.event_id = NEW.event_id) THEN
        SELECT j.json::json -> 'unsigned' -> (NEW.membership || '_room_state') INTO elements
            FROM event_json j WHERE j.event_id = NEW.event_id;
        SELECT coalesce(bool_or(e ->> 'type' = 'm.room.create'), false) AS is_known,
               max(e -> 'content' ->> 'type') FILTER (WHERE e ->> 'type' = 'm.room.create') AS room_type,
               max(e -> 'content' ->> 'name') FILTER (WHERE e ->> 'type' = 'm.room.name') AS room_name,
               coalesce(bool_or(e ->> 'type' = 'm.room.encryption'), false) AS is_encrypted,
               max(e -> 'content' ->> 'replacement_room') FILTER (WHERE e ->> 'type' = 'm.room.tombstone') AS successor
            INTO state FROM json_array_elements(elements) e;
    END IF;
    INSERT INTO sliding_sync_membership_snapshots AS m (room_id, user_id, sender, membership_event_id, membership,
            forgotten, event_stream_ordering, event_instance_name, has_known_state, room_type, room_name, is_encrypted,
            tombstone_successor_room_id)
        VALUES (NEW.room_id, NEW.user_id, about.sender, NEW.event_id, NEW.membership, 0, about.stream_ordering,
                coalesce(about.instance_name, 'master'), state.is_known, state.room_type, state.room_name,
                state.is_encrypted, state.successor)
        ON CONFLICT (room_id, user_id) DO UPDATE SET sender = excluded.sender,
            membership_event_id = excluded.membership_event_id, membership = excluded.membership, forgotten = 0,
            event_stream_ordering = excluded.event_stream_ordering, event_instance_name = excluded.event_instance_name,
            has_known_state = excluded.has_known_state OR m.has_known_state, room_type = excluded.room_type,
            room_name = excluded.room_name, is_encrypted = excluded.is_encrypted,
            tombstone_successor_room_id = excluded.tombstone_successor_room_id;
    RETURN NULL;
END
$$;

CREATE FUNCTION on_forgotten() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE sliding_sync_membership_snapshots m SET forgotten = NEW.forgotten
        WHERE m.room_id = NEW.room_id AND m.user_id = NEW.user_id AND m.membership_event_id = NEW.event_id;
    RETURN NULL;
END
$$;

CREATE TRIGGER a_new_events AFTER INSERT ON events REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION on_new_events();
CREATE TRIGGER a_deleted_events AFTER DELETE ON events REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION on_deleted_events();
CREATE TRIGGER a_new_state AFTER INSERT OR UPDATE ON current_state_events FOR EACH ROW
    WHEN (NEW.state_key = '' AND NEW.type IN ('m.room.create', 'm.room.name', 'm.room.encryption', 'm.room.tombstone'))
    EXECUTE FUNCTION on_current_state();
CREATE TRIGGER a_old_state AFTER DELETE ON current_state_events FOR EACH ROW
    WHEN (OLD.state_key = '' AND OLD.type IN ('m.room.create', 'm.room.name', 'm.room.encryption', 'm.room.tombstone'))
    EXECUTE FUNCTION on_current_state();
CREATE TRIGGER a_local_membership AFTER INSERT OR UPDATE OR DELETE ON local_current_membership
    FOR EACH ROW EXECUTE FUNCTION on_local_membership();
CREATE TRIGGER a_forgotten AFTER UPDATE ON room_memberships FOR EACH ROW
    WHEN (OLD.forgotten IS DISTINCT FROM NEW.forgotten) EXECUTE FUNCTION on_forgotten();
