-- Snapshots of rooms that the homeserver is not in: all that is known is what came with the invite or the knock.
\getenv abs_srcdir PG_ABS_SRCDIR
\set schema stripped_state
\set ECHO none
\i :abs_srcdir/sql/include/homeserver.psql
\i :abs_srcdir/sql/include/views.psql
\set ECHO all
SELECT sliding_sync.attach('stripped_state');

-- An invite of its own room for each list of stripped state; shows what the snapshot makes of it.
CREATE FUNCTION invited_with(elements text, OUT known boolean, OUT type text, OUT name text, OUT encrypted boolean,
                             OUT successor text) LANGUAGE plpgsql AS $$
DECLARE
    new_room text := format('!r%s', nextval('events_stream_seq'));
BEGIN
    PERFORM remote_invite(new_room, '@anna:hs.test', '@boss:remote.test', elements);
    PERFORM sliding_sync.flush();
    SELECT s.known, s.type, s.name, s.encrypted, s.successor INTO STRICT known, type, name, encrypted, successor
        FROM snapshots s WHERE s.room = new_room;
END
$$;
\pset null NULL

--
-- What counts as stripped state (docs/rules.md#stripped-state)
--

-- O5: all four, and things that nobody wants
SELECT * FROM invited_with(format('[%s, %s, %s, %s, %s]', stripped('m.room.create', '{"type": "m.space"}'),
    stripped('m.room.name', '{"name": "Tea"}'), stripped('m.room.encryption', '{"algorithm": "x"}'),
    stripped('m.room.tombstone', '{"replacement_room": "!new"}'), stripped('m.room.topic', '{"topic": "x"}')));
-- the invite of a homeserver is not a room of ours
SELECT count(*) FROM joined_rooms;

-- only a create event
SELECT * FROM invited_with(format('[%s]', stripped('m.room.create', '{}')));
-- no create event: nothing is known
SELECT * FROM invited_with(format('[%s]', stripped('m.room.name', '{"name": "Tea"}')));
-- no stripped state at all; an empty list; no list; null
SELECT * FROM invited_with(NULL);
SELECT * FROM invited_with('[]');
SELECT * FROM invited_with('{}');
SELECT * FROM invited_with('"m.room.create"');
SELECT * FROM invited_with('null');

-- an element needs string type, state_key and sender, and object content
SELECT * FROM invited_with('[{"type": "m.room.create", "sender": "@b:r", "content": {}}]');
SELECT * FROM invited_with('[{"type": "m.room.create", "state_key": null, "sender": "@b:r", "content": {}}]');
SELECT * FROM invited_with('[{"type": "m.room.create", "state_key": "x", "sender": "@b:r", "content": {}}]');
SELECT * FROM invited_with('[{"type": "m.room.create", "state_key": "", "content": {}}]');
SELECT * FROM invited_with('[{"type": "m.room.create", "state_key": "", "sender": 1, "content": {}}]');
SELECT * FROM invited_with('[{"type": "m.room.create", "state_key": "", "sender": "@b:r"}]');
SELECT * FROM invited_with('[{"type": "m.room.create", "state_key": "", "sender": "@b:r", "content": null}]');
SELECT * FROM invited_with('[{"type": "m.room.create", "state_key": "", "sender": "@b:r", "content": []}]');
SELECT * FROM invited_with('[null, 1, "x", [], {}, {"type": 1}, {"content": {"type": "m.space"}, "sender": "@b:r", "state_key": "", "type": "m.room.create"}]');

-- H63: of duplicates the last one counts, as long as it is valid
SELECT * FROM invited_with(format('[%s, %s, %s, %s]', stripped('m.room.create', '{"type": "a"}'),
    stripped('m.room.name', '{"name": "first"}'), stripped('m.room.create', '{"type": "b"}'),
    stripped('m.room.name', '{"name": "second"}')));
SELECT * FROM invited_with(format('[%s, %s, {"type": "m.room.name", "state_key": "", "content": {"name": "no sender"}}]',
    stripped('m.room.create', '{}'), stripped('m.room.name', '{"name": "first"}')));
SELECT * FROM invited_with(format('[%s, %s, %s]', stripped('m.room.create', '{}'),
    stripped('m.room.name', '{"name": "first"}'), stripped('m.room.name', '{}')));

-- H63: a full event instead of a stripped one
SELECT * FROM invited_with('[{"type": "m.room.create", "state_key": "", "sender": "@b:r", "content": {"type": "m.space"},
    "auth_events": [], "hashes": {"sha256": "x"}, "signatures": {}, "unsigned": {"content": {"type": "wrong"}}}]');

-- H63: 10^5 elements, and deep nesting
SELECT * FROM invited_with(format('[%s, %s%s]', stripped('m.room.create', '{"type": "m.space"}'),
    repeat('{"type": "m.room.member", "state_key": "@x:y", "sender": "@x:y", "content": {}}, ', 100000),
    stripped('m.room.name', '{"name": "Big"}')));
SELECT * FROM invited_with(format('[%s, {"type": "x", "content": %s%s}, %s]', stripped('m.room.create', '{}'),
    repeat('[', 500), repeat(']', 500), stripped('m.room.name', '{"name": "Deep"}')));

--
-- Odd values (docs/rules.md#values)
--

-- an empty string is a value
SELECT * FROM invited_with(format('[%s, %s, %s, %s]', stripped('m.room.create', '{"type": ""}'),
    stripped('m.room.name', '{"name": ""}'), stripped('m.room.encryption', '{"algorithm": ""}'),
    stripped('m.room.tombstone', '{"replacement_room": ""}')));
-- null is none
SELECT * FROM invited_with(format('[%s, %s, %s, %s]', stripped('m.room.create', '{"type": null}'),
    stripped('m.room.name', '{"name": null}'), stripped('m.room.encryption', '{"algorithm": null}'),
    stripped('m.room.tombstone', '{"replacement_room": null}')));
-- D30: what is no string is none, and no error; any algorithm encrypts
SELECT * FROM invited_with(format('[%s, %s, %s, %s]', stripped('m.room.create', '{"type": 1}'),
    stripped('m.room.name', '{"name": ["l"]}'), stripped('m.room.encryption', '{"algorithm": false}'),
    stripped('m.room.tombstone', '{"replacement_room": {}}')));
-- U+0000 and a lone surrogate are none; the other values still count
SELECT * FROM invited_with(format('[%s, %s, %s, %s]', stripped('m.room.create', '{"type": "m.space"}'),
    stripped('m.room.name', '{"name": "a\u0000b"}'), stripped('m.room.encryption', '{"algorithm": "\u0000"}'),
    stripped('m.room.tombstone', '{"replacement_room": "\ud800"}')));
-- escapes, surrogate pairs, UTF-8, duplicate and escaped keys
SELECT * FROM invited_with(format('[%s, %s]', stripped('m.room.create', '{"type": "wrong", "t\u0079pe": "m.space"}'),
    stripped('m.room.name', '{"name": "\u00e9\ud83c\udf75 \/ é"}')));

--
-- From the invite on
--

\set known_state '[{"type": "m.room.create", "state_key": "", "sender": "@b:r", "content": {"type": "m.space"}}, {"type": "m.room.name", "state_key": "", "sender": "@b:r", "content": {"name": "Told"}}, {"type": "m.room.encryption", "state_key": "", "sender": "@b:r", "content": {"algorithm": "x"}}, {"type": "m.room.tombstone", "state_key": "", "sender": "@b:r", "content": {"replacement_room": "!told"}}]'

-- O5: the invite
SELECT remote_invite('!invited', '@anna:hs.test', '@boss:remote.test', :'known_state') \gset
SELECT who, membership, sender, known, type, name, encrypted, successor FROM snapshots WHERE room = '!invited';
-- O6: it is rejected: the state stays known
SELECT reject_remote_invite('!invited', '@anna:hs.test') \gset
SELECT who, membership, sender, known, type, name, encrypted, successor FROM snapshots WHERE room = '!invited';
-- O17: and forgotten
SELECT forget('!invited', '@anna:hs.test') \gset
SELECT who, membership, forgotten FROM snapshots WHERE room = '!invited';
-- invited again, with nothing told: nothing of the old invite is left, and it is no longer forgotten (D19)
SELECT remote_invite('!invited', '@anna:hs.test', '@boss:remote.test') \gset
SELECT who, membership, forgotten, known, type, name, encrypted, successor FROM snapshots WHERE room = '!invited';
-- O7: retracted by the inviter: a leave by somebody else
SELECT retract_remote_invite('!invited', '@anna:hs.test', '@boss:remote.test') \gset
SELECT who, membership, sender, known FROM snapshots WHERE room = '!invited';

-- O8: a knock reads its own list, an invite only its own
SELECT remote_knock('!knocked', '@anna:hs.test', :'known_state') \gset
SELECT remote_membership('!knocked', '@bert:hs.test', 'invite', '@boss:remote.test',
                         format('{"knock_room_state": %s}', :'known_state')) \gset
SELECT who, membership, sender, known, type, name, encrypted, successor FROM snapshots WHERE room = '!knocked';
-- and is rescinded
SELECT reject_remote_invite('!knocked', '@anna:hs.test') \gset
SELECT who, membership, known, name FROM snapshots WHERE room = '!knocked' AND who = '@anna';

-- D22: a leave without a snapshot: the last invite or knock is still there to read
SELECT remote_invite('!unseen', '@anna:hs.test', '@boss:remote.test', :'known_state') \gset
DELETE FROM sliding_sync_membership_snapshots WHERE room_id = '!unseen';
SELECT reject_remote_invite('!unseen', '@anna:hs.test') \gset
SELECT who, membership, known, type, name, encrypted, successor FROM snapshots WHERE room = '!unseen';
-- and without any invite nothing is known
SELECT remote_membership('!unheard', '@anna:hs.test', 'leave', '@boss:remote.test') \gset
SELECT who, membership, known, type, name, encrypted, successor FROM snapshots WHERE room = '!unheard';

-- invite and rejection in one transaction: what the invite told
BEGIN;
SELECT remote_invite('!quick', '@anna:hs.test', '@boss:remote.test', :'known_state') \gset
SELECT reject_remote_invite('!quick', '@anna:hs.test') \gset
COMMIT;
SELECT who, membership, known, name FROM snapshots WHERE room = '!quick';

-- D24: the invite is redacted, then censored: history stays
SELECT remote_invite('!redacted', '@anna:hs.test', '@boss:remote.test', :'known_state') AS invite \gset
SELECT redact('!redacted', '@boss:remote.test', :'invite') \gset
SELECT censor(:'invite') \gset
SELECT who, membership, known, name FROM snapshots WHERE room = '!redacted';
-- the redaction came before the invite (A11): no stripped state
SELECT redact('!knocked', '@boss:remote.test', format('$e%s:hs.test', currval('event_counter') + 2)) \gset
SELECT remote_invite('!knocked', '@carl:hs.test', '@boss:remote.test', :'known_state') \gset
SELECT who, membership, known, name FROM snapshots WHERE room = '!knocked' AND who = '@carl';

--
-- The room is joined
--

-- O13, D18, D19: the join clears what only the stripped state claimed
SELECT remote_invite('!joined', '@anna:hs.test', '@boss:remote.test', :'known_state') \gset
SELECT remote_join('!joined', '@anna:hs.test', '{@boss:remote.test}', 'm.room.create', '', '{}') \gset
SELECT who, membership, known, type, name, encrypted, successor FROM snapshots WHERE room = '!joined';
SELECT latest = s.ordering AS join_is_latest, j.bump, j.type, j.name, j.encrypted, j.successor
FROM joined_rooms j JOIN snapshots s USING (room) WHERE room = '!joined';

-- H80: another user's out-of-band invite becomes part of the joined room's state: real state for her as well
SELECT remote_invite('!both', '@anna:hs.test', '@boss:remote.test', :'known_state') \gset
SELECT remote_invite('!both', '@bert:hs.test', '@boss:remote.test', :'known_state') \gset
SELECT remote_join('!both', '@bert:hs.test', '{@boss:remote.test}', 'm.room.create', '', '{}',
                   'm.room.name', '', '{"name": "Real"}') \gset
SELECT who, membership, known, type, name, encrypted, successor FROM snapshots WHERE room = '!both';
SELECT room, type, name, encrypted, successor FROM joined_rooms WHERE room = '!both';

-- O5: we are in the room, another user's invite still arrives out of band: what it tells ...
SELECT remote_invite('!both', '@carl:hs.test', '@boss:remote.test', :'known_state') AS invite \gset
SELECT who, membership, known, name FROM snapshots WHERE room = '!both' AND who = '@carl';
-- ... (D5: it does not count as the newest event of the room) ...
SELECT latest = e.stream_ordering AS counts FROM joined_rooms, events e WHERE room = '!both' AND e.event_id = :'invite';
-- ... until it arrives as a normal event: then the room's real state
SELECT deoutlier(:'invite') \gset
SELECT who, membership, known, type, name, encrypted, successor FROM snapshots WHERE room = '!both' AND who = '@carl';
SELECT latest = e.stream_ordering AS counts FROM joined_rooms, events e WHERE room = '!both' AND e.event_id = :'invite';

-- H13: to be no outlier any more changes no snapshot by itself
SELECT remote_invite('!joined', '@dora:hs.test', '@boss:remote.test', :'known_state') AS invite \gset
SELECT deoutlier(:'invite', changes_state => false) \gset
SELECT who, membership, known, name FROM snapshots WHERE room = '!joined' AND who = '@dora';

-- H85: an outlier without the flag that stands in current state: the state path
SELECT persist(ARRAY[make_event('!joined', '@erna:hs.test', 'm.room.member', '@erna:hs.test', '{"membership": "invite"}',
    'invite', outlier => true, unsigned => format('{"invite_room_state": %s}', :'known_state'))]) \gset
SELECT change_current_state('!joined', nextval('events_stream_seq'), '{}', ARRAY[event_id]) FROM state_events
WHERE state_key = '@erna:hs.test' \gset
SELECT who, membership, known, type, name, encrypted FROM snapshots WHERE room = '!joined' AND who = '@erna';

-- H64: stripped state on what is no invite or knock of a local user
SELECT create_room('!keys', '@anna:hs.test', name => 'Keys') \gset
SELECT format('{"invite_room_state": [%s]}', stripped('m.room.create', '{"type": "wrong"}')) AS wrong_state \gset
SELECT persist(ARRAY[make_event('!keys', '@anna:hs.test', 'm.room.name', '', '{"name": "Keys 2"}',
                                unsigned => :'wrong_state')]) \gset
SELECT type, name FROM joined_rooms WHERE room = '!keys';
SELECT remote_membership('!afar', '@rita:remote.test', 'invite', '@boss:remote.test', :'wrong_state') \gset
SELECT remote_membership('!afar', '@anna:hs.test', 'leave', '@boss:remote.test', :'wrong_state') \gset
SELECT who, membership, known, type FROM snapshots WHERE room = '!afar';
SELECT room FROM joined_rooms WHERE room = '!afar';

-- the last user leaves the joined room: real state
SELECT leave('!both', '@bert:hs.test') \gset
SELECT who, membership, known, type, name, encrypted, successor FROM snapshots WHERE room = '!both' AND who = '@bert';
SELECT room FROM joined_rooms WHERE room = '!both';
-- H8: the invitee declines afterwards, from outside: inherits the real state
SELECT reject_remote_invite('!both', '@anna:hs.test') \gset
SELECT who, membership, known, type, name, encrypted, successor FROM snapshots WHERE room = '!both' AND who = '@anna';
