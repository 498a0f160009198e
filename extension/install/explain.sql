-- Why a room is in a user's list or not, and where the values of a room's row come from: for a person.

CREATE FUNCTION sliding_sync.require_rights(target_schema text, tables text[], functions text[]) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    refused record;
BEGIN
    SELECT x.* INTO refused FROM (
        SELECT 'schema' AS kind, n.nspname::text AS name, format('GRANT USAGE ON SCHEMA %I TO %I;', n.nspname, current_user) AS remedy
        FROM pg_namespace n WHERE n.nspname = target_schema AND NOT has_schema_privilege(n.oid, 'USAGE')
        UNION ALL
        SELECT 'table', c.relname, format('GRANT SELECT ON %I.%I TO %I;', n.nspname, c.relname, current_user)
        FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = ANY (tables)
        WHERE n.nspname = target_schema AND NOT has_table_privilege(c.oid, 'SELECT')
        UNION ALL
        SELECT 'function', p.proname, format('GRANT EXECUTE ON FUNCTION %s TO %I;', p.oid::regprocedure, current_user)
        FROM pg_proc p WHERE p.pronamespace = 'sliding_sync'::regnamespace AND p.proname = ANY (functions)
            AND NOT has_function_privilege(p.oid, 'EXECUTE')
        LIMIT 1) x;
    IF FOUND THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('permission denied for %s %s', refused.kind, refused.name),
            DETAIL = 'The rows are read with the rights of whoever calls the function.',
            HINT = refused.remedy;
    END IF;
END
$$;
COMMENT ON FUNCTION sliding_sync.require_rights(text, text[], text[]) IS
    'raises an error with the GRANT that helps where the caller may not read one of these tables or call one of these functions';

CREATE FUNCTION sliding_sync.compare_rooms(room_ids text[], target_schema text DEFAULT NULL)
    RETURNS TABLE (room_id text, column_name text, expected text, actual text, has_expected_row boolean, has_actual_row boolean)
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 7 AS 'MODULE_PATHNAME', 'sliding_sync_compare_rooms';
COMMENT ON FUNCTION sliding_sync.compare_rooms(text[], text) IS
    'the rows of these rooms in sliding_sync_joined_rooms as they are and as they must be, a line for each column, right or wrong; changes nothing';
REVOKE ALL ON FUNCTION sliding_sync.compare_rooms(text[], text) FROM PUBLIC;

CREATE FUNCTION sliding_sync.explain_room(room_id text, target_schema text DEFAULT NULL)
    RETURNS TABLE (column_name text, expected text, actual text, source_event_id text, rule text, verdict text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 7 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    homeserver text := sliding_sync.attached_schema(target_schema);
BEGIN
    IF explain_room.room_id IS NULL THEN
        RETURN;
    END IF;
    PERFORM sliding_sync.require_rights(homeserver, '{current_state_events,events,sliding_sync_joined_rooms}', '{compare_rooms}');
    RETURN QUERY EXECUTE format($query$
        SELECT c.column_name, c.expected, c.actual, s.event_id,
               CASE WHEN NOT c.has_expected_row THEN
                        'No row: the homeserver is not in the room (any more), or stores nothing of its current state'
                    WHEN c.column_name = 'room_id' THEN 'The room has current state on this homeserver'
                    WHEN c.column_name = 'event_stream_ordering' THEN
                        'Position of the newest event that was neither rejected nor stored aside: the order of the list'
                    WHEN c.column_name = 'bump_stamp' THEN
                        'Position of the newest message, call, poll, sticker or creation: what clients sort by'
                    WHEN s.event_id IS NULL THEN format('Current state has no event %%s', t.type)
                    WHEN c.expected IS NULL OR (c.column_name = 'is_encrypted' AND c.expected = 'false') THEN
                        format('The field "%%s" of the current event %%s is missing, unusable or redacted', t.field, t.type)
                    ELSE format('The field "%%s" of the current event %%s', t.field, t.type) END,
               CASE WHEN c.has_expected_row AND NOT c.has_actual_row THEN 'row_missing'
                    WHEN c.has_actual_row AND NOT c.has_expected_row THEN 'row_extra'
                    WHEN NOT c.has_actual_row THEN 'no_row'
                    WHEN c.expected IS DISTINCT FROM c.actual THEN 'wrong'
                    ELSE 'right' END
        FROM sliding_sync.compare_rooms(ARRAY[$1], $2) WITH ORDINALITY
                c (room_id, column_name, expected, actual, has_expected_row, has_actual_row, n)
            LEFT JOIN (VALUES ('room_type', 'm.room.create', 'type'), ('room_name', 'm.room.name', 'name'),
                              ('is_encrypted', 'm.room.encryption', 'algorithm'),
                              ('tombstone_successor_room_id', 'm.room.tombstone', 'replacement_room')
                      ) t (column_name, type, field) ON t.column_name = c.column_name
            LEFT JOIN LATERAL (
                SELECT x.event_id FROM %1$I.current_state_events x
                WHERE x.room_id = $1 AND x.type = t.type AND x.state_key = ''
                UNION ALL
                SELECT e.event_id FROM %1$I.events e
                WHERE c.column_name IN ('event_stream_ordering', 'bump_stamp') AND e.stream_ordering = c.expected::bigint
            ) s ON true
        ORDER BY c.n$query$, homeserver) USING explain_room.room_id, homeserver;
END
$$;
COMMENT ON FUNCTION sliding_sync.explain_room(text, text) IS
    'each column of a room''s row in sliding_sync_joined_rooms: what it should be, what it is, and the event that it comes from';

-- What a verdict means, for somebody who does not know the tables.
CREATE FUNCTION sliding_sync.verdict_detail(verdict text, membership text, sender text, more text, room_version text, is_known_room boolean)
    RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE verdict
        WHEN 'not_a_member' THEN CASE WHEN more IS NOT NULL
            THEN format('As far as the homeserver knows, the user has nothing to do with this room, and yet the list knows of it: %s.', more)
            WHEN is_known_room THEN 'As far as the homeserver knows, the user has never been in this room, nor been invited to it.'
            ELSE 'The homeserver knows no room of this id. It may be misspelt.' END
        WHEN 'row_missing' THEN format('A part of what the list is made of is missing: %s.',
                                       coalesce(more, 'the user''s own entry for this room, so that it is not shown'))
        WHEN 'row_wrong' THEN format('The list does not show the room as it is: %s.', more)
        WHEN 'queued' THEN 'The homeserver has put this room aside to look at it again, and may show it late or wrong until then.'
        WHEN 'hidden_unknown_version' THEN CASE WHEN room_version IS NULL
            THEN 'The homeserver does not know the version of this room, and shows no such room.'
            ELSE format('The room has version %s, which the homeserver does not know: it shows no such room.', quote_literal(room_version)) END
        WHEN 'hidden_forgotten' THEN 'The user has left this room, or was removed from it, and has then forgotten it (deleted it from the list).'
        WHEN 'hidden_own_leave' THEN 'The user has left this room, declined the invitation, or withdrawn the request to be let in.'
        WHEN 'hidden_ignored_inviter' THEN format('The user was invited by %s, whom the user ignores.', sender)
        ELSE CASE membership
            WHEN 'join' THEN 'The user is in this room'
            WHEN 'invite' THEN format('The user was invited by %s', sender)
            WHEN 'knock' THEN 'The user has asked to be let in'
            WHEN 'ban' THEN format('The user was banned by %s, and may see that', sender)
            WHEN 'leave' THEN format('The user was removed by %s, or an invitation or a ban was taken back, and may see that', sender)
            ELSE format('The user''s membership is %s', quote_literal(membership)) END
            || coalesce('; it is shown as ' || quote_literal(more) || '.', '; it has no name.') END
$$;
COMMENT ON FUNCTION sliding_sync.verdict_detail(text, text, text, text, text, boolean) IS 'a verdict of explain_user() in words';

CREATE FUNCTION sliding_sync.verdict_remedy(verdict text, user_id text, room_id text, sender text, more text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE verdict
        WHEN 'not_a_member' THEN CASE WHEN more IS NULL THEN 'Invite the user, or let the user join.'
            ELSE format('SELECT * FROM sliding_sync.repair(room => %L);', room_id) END
        WHEN 'row_missing' THEN format('SELECT * FROM sliding_sync.repair(room => %L);', room_id)
        WHEN 'row_wrong' THEN format('SELECT * FROM sliding_sync.repair(room => %L);', room_id)
        WHEN 'queued' THEN 'SELECT * FROM sliding_sync.finish_background_updates();'
        WHEN 'hidden_unknown_version' THEN 'Use a homeserver that knows this version.'
        WHEN 'hidden_forgotten' THEN 'Invite the user again, or let the user join.'
        WHEN 'hidden_own_leave' THEN 'Invite the user again, or let the user join.'
        WHEN 'hidden_ignored_inviter' THEN format('The user stops ignoring %s in the client''s settings.', sender) END
$$;
COMMENT ON FUNCTION sliding_sync.verdict_remedy(text, text, text, text, text) IS 'what ends a verdict of explain_user(); NULL where nothing is wrong';

-- What a wrong column means in a list.
CREATE FUNCTION sliding_sync.difference_in_words(column_name text, expected text, actual text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE column_name
        WHEN 'forgotten' THEN CASE WHEN actual = '0' THEN 'the user has forgotten it, and still sees it'
            ELSE 'it is hidden as if the user had forgotten it' END
        WHEN 'is_encrypted' THEN CASE WHEN expected IN ('t', 'true') THEN 'it is encrypted, and counts as not encrypted'
            ELSE 'it is not encrypted, and counts as encrypted' END
        WHEN 'has_known_state' THEN 'what the homeserver knows of it is not what the list takes to be known'
        ELSE format('%s is %s, but should be %s',
            CASE column_name
                WHEN 'room_name' THEN 'its name'
                WHEN 'room_type' THEN 'its type'
                WHEN 'tombstone_successor_room_id' THEN 'the room that replaces it'
                WHEN 'membership' THEN 'the user''s membership'
                WHEN 'sender' THEN 'who joined, invited or removed the user'
                WHEN 'membership_event_id' THEN 'the event that tells of the user''s membership'
                WHEN 'event_stream_ordering' THEN 'the number of its newest event, which it is sorted by,'
                WHEN 'bump_stamp' THEN 'the number of its newest message, which clients sort by,'
                WHEN 'event_instance_name' THEN 'the process that stored its newest event'
                ELSE column_name END,
            coalesce(quote_literal(actual), 'missing'), coalesce(quote_literal(expected), 'none')) END
$$;
COMMENT ON FUNCTION sliding_sync.difference_in_words(text, text, text) IS 'a wrong column of a row, for somebody who does not know the tables';

-- The findings of one user's memberships, a line for each, in words; and of the rooms that the user has
-- joined.
CREATE FUNCTION sliding_sync.wrong_rows(member text, room text, target_schema text)
    RETURNS TABLE (room_id text, is_missing boolean, detail text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    joined text[];
BEGIN
    EXECUTE format('SELECT ARRAY(SELECT l.room_id FROM %I.local_current_membership l WHERE l.user_id = $1'
                   ' AND l.membership = ''join'' AND ($2 IS NULL OR l.room_id = $2))', target_schema)
        INTO joined USING wrong_rows.member, wrong_rows.room;
    RETURN QUERY
        SELECT f.room_id, bool_or(f.is_missing),
               string_agg(CASE WHEN f.column_name IS NOT NULL THEN sliding_sync.difference_in_words(f.column_name, f.expected, f.actual)
                               WHEN f.is_missing AND f.is_of_room
                                   THEN 'the room''s own entry, so that it is shown as it was when the user joined'
                               WHEN f.is_missing THEN 'the user''s own entry for this room, so that it is not shown'
                               WHEN f.is_of_room THEN 'there is an entry of a room that nobody on this homeserver is in'
                               ELSE 'there is an entry for a user who is no member' END, '; ' ORDER BY f.is_of_room, f.column_name)
        FROM (SELECT v.room_id, v.reason = 'missing_row' AS is_missing, v.column_name, v.actual, v.expected,
                     false AS is_of_room
              FROM sliding_sync.verify(target_schema => target_schema, tables => 'memberships', member => wrong_rows.member,
                                       room => wrong_rows.room) v
              WHERE v.severity IN ('visible', 'hidden')
              UNION ALL
              SELECT c.room_id, NOT c.has_actual_row,
                     CASE WHEN c.has_actual_row AND c.has_expected_row THEN c.column_name END, c.actual, c.expected, true
              FROM sliding_sync.compare_rooms(joined, target_schema) c
              WHERE c.expected IS DISTINCT FROM c.actual
                  AND (c.has_actual_row AND c.has_expected_row OR c.column_name = 'room_id')) f
        GROUP BY f.room_id;
END
$$;
COMMENT ON FUNCTION sliding_sync.wrong_rows(text, text, text) IS
    'what verify() finds wrong with the rows that a user''s list is made of, a line for each room, in words';

CREATE FUNCTION sliding_sync.explain_memberships(member text, room text, target_schema text)
    RETURNS TABLE (room_id text, verdict text, place bigint, detail text, remedy text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 100 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    homeserver text := sliding_sync.attached_schema(target_schema);
    queue text := sliding_sync.homeserver_table(homeserver, 'sliding_sync_joined_rooms_to_recalculate', '{room_id text}');
    ignored text := sliding_sync.homeserver_table(homeserver, 'ignored_users', '{ignorer_user_id text,ignored_user_id text}');
BEGIN
    IF member IS NULL THEN
        RETURN;
    END IF;
    PERFORM sliding_sync.require_rights(homeserver, ARRAY['local_current_membership', 'sliding_sync_membership_snapshots',
        'sliding_sync_joined_rooms', 'rooms', CASE WHEN queue IS NOT NULL THEN 'sliding_sync_joined_rooms_to_recalculate' END,
        CASE WHEN ignored IS NOT NULL THEN 'ignored_users' END], '{verify,compare_rooms}');
    RETURN QUERY EXECUTE format($query$
        SELECT f.room_id, x.verdict, CASE WHEN x.verdict = 'listed' THEN l.place END,
               sliding_sync.verdict_detail(x.verdict, f.membership, f.sender,
                   CASE WHEN x.verdict = 'listed' THEN l.room_name ELSE w.detail END, f.room_version, f.is_known_room),
               sliding_sync.verdict_remedy(x.verdict, $1, f.room_id, f.sender, w.detail)
        FROM (SELECT k.room_id, c.event_id IS NOT NULL AS is_member, m.room_id IS NOT NULL AS has_row, r.room_version,
                     r.room_id IS NOT NULL AS is_known_room,
                     coalesce(m.membership, c.membership) AS membership, m.sender, m.forgotten,
                     EXISTS (SELECT FROM %2$s q WHERE q.room_id = k.room_id) AS is_queued,
                     EXISTS (SELECT FROM %3$s i WHERE i.ignorer_user_id = $1 AND i.ignored_user_id = m.sender) AS is_ignored
              FROM (SELECT x.room_id FROM %1$I.local_current_membership x WHERE x.user_id = $1
                    UNION SELECT x.room_id FROM %1$I.sliding_sync_membership_snapshots x WHERE x.user_id = $1
                    UNION SELECT $2) k
                  LEFT JOIN %1$I.local_current_membership c ON c.room_id = k.room_id AND c.user_id = $1
                  LEFT JOIN %1$I.sliding_sync_membership_snapshots m ON m.room_id = k.room_id AND m.user_id = $1
                  LEFT JOIN %1$I.rooms r ON r.room_id = k.room_id
              WHERE k.room_id IS NOT NULL AND ($2 IS NULL OR k.room_id = $2)) f
            LEFT JOIN sliding_sync.wrong_rows($1, $2, $3) w ON w.room_id = f.room_id
            LEFT JOIN sliding_sync.room_list($1, target_schema => $3) l ON l.room_id = f.room_id
            CROSS JOIN LATERAL (SELECT CASE
                WHEN NOT f.is_member THEN 'not_a_member'
                WHEN NOT f.has_row OR w.is_missing THEN 'row_missing'
                WHEN w.room_id IS NOT NULL THEN 'row_wrong'
                WHEN f.is_queued THEN 'queued'
                WHEN f.room_version IS NULL OR f.room_version <> ALL (sliding_sync.known_room_versions()) THEN 'hidden_unknown_version'
                WHEN f.forgotten <> 0 THEN 'hidden_forgotten'
                WHEN f.membership = 'leave' AND f.sender = $1 THEN 'hidden_own_leave'
                WHEN f.membership = 'invite' AND f.is_ignored THEN 'hidden_ignored_inviter'
                ELSE 'listed' END AS verdict) x
        ORDER BY 3 NULLS LAST, f.room_id COLLATE "C"$query$, homeserver,
        coalesce(queue, '(SELECT NULL::text AS room_id WHERE false)'),
        coalesce(ignored, '(SELECT NULL::text AS ignorer_user_id, NULL::text AS ignored_user_id WHERE false)'))
        USING member, room, homeserver;
END
$$;
COMMENT ON FUNCTION sliding_sync.explain_memberships(text, text, text) IS 'explain_user(), whose arguments have the names of its columns';

CREATE FUNCTION sliding_sync.explain_user(user_id text, room_id text DEFAULT NULL, target_schema text DEFAULT NULL)
    RETURNS TABLE (room_id text, verdict text, place bigint, detail text, remedy text)
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 100 SET search_path = pg_catalog, pg_temp AS $$
    SELECT x.* FROM sliding_sync.explain_memberships($1, $2, $3) x
$$;
COMMENT ON FUNCTION sliding_sync.explain_user(text, text, text) IS
    'for each of a user''s memberships, or for one room: whether the room is in the list, at which place, and why or why not';
