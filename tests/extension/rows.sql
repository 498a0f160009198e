-- Single events with ids and orderings of the caller's choice, by the fewest statements: for tests in which
-- sessions interleave. Event 7 is '$7'. Locks and references of the homeserver itself are not in the way.

CREATE FUNCTION event(room text, ordering bigint, type text, key text, content json) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO event_json VALUES ('$' || ordering, room, '{}', json_build_object('content', content));
    INSERT INTO events (event_id, room_id, type, state_key, sender, stream_ordering, topological_ordering,
                        processed, outlier)
        VALUES ('$' || ordering, room, type, key, '@anna:hs', ordering, ordering, true, false);
$$;

CREATE FUNCTION message(room text, ordering bigint) RETURNS void LANGUAGE sql AS $$
    SELECT event(room, ordering, 'm.room.message', NULL, '{}');
$$;

CREATE FUNCTION state(room text, ordering bigint, type text, content json, key text DEFAULT '') RETURNS void
LANGUAGE sql AS $$
    SELECT event(room, ordering, type, key, content);
    DELETE FROM current_state_events c WHERE c.room_id = room AND c.type = state.type AND c.state_key = key;
    INSERT INTO current_state_events VALUES ('$' || ordering, room, type, key);
$$;

CREATE FUNCTION member(room text, ordering bigint, member text, membership text) RETURNS void
LANGUAGE sql AS $$
    SELECT state(room, ordering, 'm.room.member', '{}', member);
    INSERT INTO room_memberships VALUES ('$' || ordering, member, member, room, membership);
    DELETE FROM local_current_membership l WHERE l.room_id = room AND l.user_id = member;
    INSERT INTO local_current_membership VALUES (room, member, '$' || ordering, membership);
$$;

-- As member(), but for how current state and the local membership change.
CREATE FUNCTION upsert_member(room text, ordering bigint, member text, membership text) RETURNS void
LANGUAGE sql AS $$
    SELECT event(room, ordering, 'm.room.member', member, '{}');
    INSERT INTO current_state_events VALUES ('$' || ordering, room, 'm.room.member', member)
        ON CONFLICT (room_id, type, state_key) DO UPDATE SET event_id = excluded.event_id;
    INSERT INTO room_memberships VALUES ('$' || ordering, member, member, room, membership);
    INSERT INTO local_current_membership VALUES (room, member, '$' || ordering, membership)
        ON CONFLICT (user_id, room_id) DO UPDATE
        SET event_id = excluded.event_id, membership = excluded.membership;
$$;

CREATE FUNCTION drop_event(ordering bigint) RETURNS void LANGUAGE sql AS $$
    DELETE FROM event_json e WHERE e.event_id = '$' || ordering;
    DELETE FROM events e WHERE e.event_id = '$' || ordering;
$$;

CREATE FUNCTION purge(room text) RETURNS void LANGUAGE sql AS $$
    DELETE FROM event_json e WHERE e.room_id = room;
    DELETE FROM current_state_events e WHERE e.room_id = room;
    DELETE FROM local_current_membership e WHERE e.room_id = room;
    DELETE FROM room_memberships e WHERE e.room_id = room;
    DELETE FROM events e WHERE e.room_id = room;
    DELETE FROM rooms e WHERE e.room_id = room;
$$;

CREATE FUNCTION purge_history(room text, up_to bigint) RETURNS void LANGUAGE sql AS $$
    DELETE FROM events e WHERE e.room_id = room AND e.stream_ordering <= up_to AND e.state_key IS NULL;
    DELETE FROM event_json j
        WHERE j.room_id = room AND NOT EXISTS (SELECT FROM events e WHERE e.event_id = j.event_id);
    UPDATE events e SET outlier = true WHERE e.room_id = room AND e.stream_ordering <= up_to AND NOT e.outlier;
$$;

--
-- Isolation tests
--

-- A homeserver `hs` with the triggers, and with Anna in each room: events 1 and 2, 3 and 4, ...
CREATE PROCEDURE new_homeserver(VARIADIC room_ids text[]) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('client_min_messages', 'warning', false);
    CALL make_homeserver('hs');
    PERFORM set_config('search_path', 'hs, public', false);
    -- An event that becomes an outlier would be written to every index: in so small a table SERIALIZABLE takes
    -- that for a conflict with all who have read there.
    DROP INDEX event_contains_url_index, events_jump_to_date_idx;
    PERFORM sliding_sync.attach('hs');
    FOR n IN 1 .. cardinality(room_ids) LOOP
        INSERT INTO rooms (room_id) VALUES (room_ids[n]);
        PERFORM state(room_ids[n], 2 * n - 1, 'm.room.create', '{}');
        PERFORM member(room_ids[n], 2 * n, '@anna:hs', 'join');
    END LOOP;
END
$$;

-- What a permutation leaves is kept for the oracle, which reads the past of the state from this table.
CREATE PROCEDURE keep_homeserver() LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO hs.current_state_delta_stream (stream_id, room_id, type, state_key, event_id, prev_event_id)
        SELECT stream_ordering, room_id, type, state_key, event_id,
               lag(event_id) OVER (PARTITION BY room_id, type, state_key ORDER BY stream_ordering)
        FROM hs.events WHERE state_key IS NOT NULL;
    EXECUTE format('ALTER SCHEMA hs RENAME TO hs_%s', 'hs'::regnamespace::oid);
END
$$;

-- A whole backfill. What it counts depends on the moment that it is woken.
CREATE PROCEDURE fill() LANGUAGE plpgsql AS $$
DECLARE
    joined_rooms bigint; memberships bigint; rows_written bigint; quarantined bigint; is_finished boolean;
BEGIN
    CALL sliding_sync.backfill('hs', joined_rooms => joined_rooms, memberships => memberships,
                               rows_written => rows_written, quarantined => quarantined,
                               is_finished => is_finished);
    IF quarantined > 0 OR NOT is_finished THEN
        RAISE EXCEPTION 'not everything was done';
    END IF;
END
$$;
