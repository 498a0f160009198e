-- Redactions: a row says what a reader of the event is told today (docs/rules.md#redactions).
\getenv abs_srcdir PG_ABS_SRCDIR
\set schema redactions
\set ECHO none
\i :abs_srcdir/sql/include/homeserver.psql
\i :abs_srcdir/sql/include/views.psql
\set ECHO all
SELECT sliding_sync.attach('redactions');

SELECT create_room('!r', '@anna:hs.test', room_type => 'm.space') \gset
SELECT rename('!r', '@anna:hs.test', 'Name') AS name_event, encrypt('!r', '@anna:hs.test') AS encryption_event,
       tombstone('!r', '@anna:hs.test', '!new') AS tombstone_event \gset
SELECT event_id AS create_event FROM current_state_events WHERE room_id = '!r' AND type = 'm.room.create' \gset
SELECT join('!r', '@bert:hs.test') \gset
SELECT type, name, encrypted, successor FROM joined_rooms;

-- D2: name, encryption and tombstone are redacted: gone at once; the redaction itself is no bump
SELECT redact('!r', '@anna:hs.test', :'name_event') AS name_redaction \gset
SELECT j.type, name, encrypted, successor, latest = e.stream_ordering AS latest, bump = e.stream_ordering AS bump
FROM joined_rooms j, events e WHERE e.event_id = :'name_redaction';
SELECT redact('!r', '@anna:hs.test', :'encryption_event') AS encryption_redaction \gset
SELECT redact('!r', '@anna:hs.test', :'tombstone_event') AS tombstone_redaction \gset
SELECT type, name, encrypted, successor FROM joined_rooms;

-- a create event is never redacted on read
SELECT redact('!r', '@anna:hs.test', :'create_event') \gset
SELECT type FROM joined_rooms;

-- snapshots are history: Bert's stays, a later one has what a reader is told then
SELECT join('!r', '@carl:hs.test') \gset
SELECT who, type, name, encrypted, successor FROM snapshots WHERE who <> '@anna';

-- the redaction of an older name says nothing about the current one
SELECT rename('!r', '@anna:hs.test', 'Name 2') AS name_event_2 \gset
SELECT name FROM joined_rooms;
SELECT redact('!r', '@anna:hs.test', :'name_event') \gset
SELECT name FROM joined_rooms;

-- a state reset to the redacted name: still redacted
SELECT state_reset('!r', 'm.room.name', old_event => :'name_event') \gset
SELECT name FROM joined_rooms;
SELECT state_reset('!r', 'm.room.name', old_event => :'name_event_2') \gset
SELECT name FROM joined_rooms;

-- the redaction of a message is none of our business
SELECT send_message('!r', '@anna:hs.test') AS message \gset
SELECT redact('!r', '@anna:hs.test', :'message') \gset
SELECT name FROM joined_rooms;

--
-- Which redactions count
--

-- to be checked, from another domain than the event: it does not; from the same: it does
SELECT redact('!r', '@eve:remote.test', :'name_event_2', '{"recheck_redaction": true}') \gset
SELECT name FROM joined_rooms;
SELECT redact('!r', '@zoe:hs.test', :'name_event_2', '{"recheck_redaction": true}') \gset
SELECT name FROM joined_rooms;

-- not to be checked, from another domain: it does (whoever stored it has checked)
SELECT rename('!r', '@anna:hs.test', 'Name 3') AS name_event \gset
SELECT redact('!r', '@eve:remote.test', :'name_event') \gset
SELECT name FROM joined_rooms;

-- from another room: it does not
SELECT create_room('!other', '@anna:hs.test') \gset
SELECT rename('!r', '@anna:hs.test', 'Name 4') AS name_event \gset
SELECT redact('!other', '@anna:hs.test', :'name_event') \gset
SELECT name FROM joined_rooms WHERE room = '!r';

-- recheck = false: it does, whatever its event is; set to true it is looked at, and here not found
INSERT INTO redactions (event_id, redacts, recheck) VALUES ('$nowhere', :'name_event', false);
SELECT name FROM joined_rooms WHERE room = '!r';
UPDATE redactions SET recheck = true WHERE event_id = '$nowhere';
SELECT name FROM joined_rooms WHERE room = '!r';
-- the event comes later: its row in events, then its JSON
INSERT INTO events (event_id, room_id, type, sender, stream_ordering, topological_ordering, processed, outlier)
    VALUES ('$nowhere', '!r', 'm.room.redaction', '@anna:hs.test', nextval('events_stream_seq'), 50, true, false);
SELECT name FROM joined_rooms WHERE room = '!r';
INSERT INTO event_json (event_id, room_id, internal_metadata, json) VALUES ('$nowhere', '!r', '{}', '{"content": {}}');
SELECT name FROM joined_rooms WHERE room = '!r';
-- its JSON cannot be read: no event, no redaction
UPDATE event_json SET json = 'nonsense' WHERE event_id = '$nowhere';
SELECT name FROM joined_rooms WHERE room = '!r';
UPDATE event_json SET json = '{}' WHERE event_id = '$nowhere';
SELECT name FROM joined_rooms WHERE room = '!r';
-- its metadata, its sender and its room decide
UPDATE event_json SET internal_metadata = '{"recheck_redaction": true}' WHERE event_id = '$nowhere';
SELECT name FROM joined_rooms WHERE room = '!r';
UPDATE events SET sender = '@eve:remote.test' WHERE event_id = '$nowhere';
SELECT name FROM joined_rooms WHERE room = '!r';
UPDATE events SET sender = '@zoe:hs.test' WHERE event_id = '$nowhere';
SELECT name FROM joined_rooms WHERE room = '!r';
UPDATE events SET room_id = '!elsewhere' WHERE event_id = '$nowhere';
SELECT name FROM joined_rooms WHERE room = '!r';
UPDATE events SET room_id = '!r' WHERE event_id = '$nowhere';
SELECT name FROM joined_rooms WHERE room = '!r';
-- it redacts something else
UPDATE redactions SET redacts = '$something_else' WHERE event_id = '$nowhere';
SELECT name FROM joined_rooms WHERE room = '!r';
UPDATE redactions SET redacts = :'name_event' WHERE event_id = '$nowhere';
SELECT name FROM joined_rooms WHERE room = '!r';
-- it is rejected after all, and accepted again
SELECT change_verdict('$nowhere', rejected => true) \gset
SELECT name FROM joined_rooms WHERE room = '!r';
SELECT change_verdict('$nowhere', rejected => false) \gset
SELECT name FROM joined_rooms WHERE room = '!r';
INSERT INTO rejections (event_id, reason, last_check) VALUES ('$nowhere', 'auth_error', '0');
SELECT name FROM joined_rooms WHERE room = '!r';
DELETE FROM rejections WHERE event_id = '$nowhere';
SELECT name FROM joined_rooms WHERE room = '!r';
-- its row goes
DELETE FROM redactions WHERE event_id = '$nowhere';
SELECT name FROM joined_rooms WHERE room = '!r';

-- H15: the redaction comes before its target
SELECT format('$e%s:hs.test', nextval('event_counter') + 2) AS coming \gset
SELECT redact('!r', '@anna:hs.test', :'coming') \gset
SELECT rename('!r', '@anna:hs.test', 'Redacted before') AS name_event \gset
SELECT :'name_event' = :'coming' AS as_intended, name FROM joined_rooms WHERE room = '!r';

-- two redactions of one event: one is enough
SELECT rename('!r', '@anna:hs.test', 'Twice') AS name_event \gset
SELECT redact('!r', '@anna:hs.test', :'name_event') AS first_redaction, redact('!r', '@anna:hs.test', :'name_event') \gset
DELETE FROM redactions WHERE event_id = :'first_redaction';
SELECT name FROM joined_rooms WHERE room = '!r';

--
-- Censoring and purging
--

-- H68: have_censored is nothing to us
UPDATE redactions SET have_censored = NOT have_censored;
SELECT joined_rooms, rows_written FROM sliding_sync.last_flush();

-- O21: the content of a redacted event is removed for good; and stays removed when the redaction goes
SELECT censor(:'name_event') \gset
SELECT name FROM joined_rooms WHERE room = '!r';
DELETE FROM redactions WHERE redacts = :'name_event';
SELECT name FROM joined_rooms WHERE room = '!r';

-- A6: a purge of history removes the redaction, the state event stays and can be read again
SELECT rename('!r', '@anna:hs.test', 'Back again') AS name_event \gset
SELECT redact('!r', '@anna:hs.test', :'name_event') \gset
SELECT name FROM joined_rooms WHERE room = '!r';
SELECT send_message('!r', '@anna:hs.test') AS message \gset
SELECT purge_history('!r', :'message') \gset
SELECT name, latest = e.stream_ordering AS latest FROM joined_rooms, events e WHERE room = '!r' AND e.event_id = :'message';

-- H67: a redaction of a redaction brings nothing back; a redacted membership is a membership
SELECT create_room('!redacted', '@anna:hs.test', name => 'Secret') \gset
SELECT join('!redacted', '@bert:hs.test') AS bert_join \gset
SELECT redact('!redacted', '@anna:hs.test', event_id) AS redaction FROM current_state_events
WHERE room_id = '!redacted' AND type = 'm.room.name' \gset
SELECT redact('!redacted', '@anna:hs.test', :'redaction') \gset
SELECT redact('!redacted', '@anna:hs.test', :'bert_join') \gset
SELECT censor(:'bert_join') \gset
SELECT name FROM joined_rooms WHERE room = '!redacted';
SELECT who, membership, name FROM snapshots WHERE room = '!redacted';

-- H69: the content of an event expires: gone for the room, history for its members
SELECT create_room('!expires', '@anna:hs.test', name => 'Expires') \gset
SELECT join('!expires', '@bert:hs.test') \gset
UPDATE event_json SET json = '{"content": {}}' WHERE room_id = '!expires' AND json LIKE '%m.room.name%';
SELECT name FROM joined_rooms WHERE room = '!expires';
SELECT who, name FROM snapshots WHERE room = '!expires' AND who = '@bert';
SELECT purge_room('!expires') \gset

--
-- MSC4293: all that a banned user wrote is redacted
--

SELECT create_room('!ban', '@anna:hs.test') \gset
SELECT join('!ban', '@bert:hs.test') \gset
SELECT rename('!ban', '@bert:hs.test', 'By Bert') AS name_event \gset
SELECT encrypt('!ban', '@anna:hs.test') \gset
SELECT ban('!ban', '@bert:hs.test', '@anna:hs.test') AS ban_event \gset
SELECT name, encrypted FROM joined_rooms WHERE room = '!ban';
SELECT redact_all_of('!ban', '@bert:hs.test', :'ban_event') \gset
SELECT name, encrypted FROM joined_rooms WHERE room = '!ban';
-- up to an ordering: not the event of that ordering, but those before
SELECT redact_all_of('!ban', '@bert:hs.test', :'ban_event', stream_ordering) FROM events WHERE event_id = :'name_event' \gset
SELECT name FROM joined_rooms WHERE room = '!ban';
SELECT redact_all_of('!ban', '@bert:hs.test', :'ban_event', stream_ordering + 1) FROM events WHERE event_id = :'name_event' \gset
SELECT name FROM joined_rooms WHERE room = '!ban';
-- 0 is no end
SELECT redact_all_of('!ban', '@bert:hs.test', :'ban_event', 0) \gset
SELECT name FROM joined_rooms WHERE room = '!ban';
-- the ban is rejected; its event is not stored
SELECT change_verdict(:'ban_event', rejected => true) \gset
SELECT name FROM joined_rooms WHERE room = '!ban';
SELECT change_verdict(:'ban_event', rejected => false) \gset
SELECT name FROM joined_rooms WHERE room = '!ban';
SELECT redact_all_of('!ban', '@bert:hs.test', '$nowhere_at_all') \gset
SELECT name FROM joined_rooms WHERE room = '!ban';
SELECT redact_all_of('!ban', '@bert:hs.test', :'ban_event') \gset
SELECT name FROM joined_rooms WHERE room = '!ban';
-- the row goes
DELETE FROM room_ban_redactions;
SELECT name FROM joined_rooms WHERE room = '!ban';

SELECT redact_all_of('!ban', '@bert:hs.test', :'ban_event') \gset
SELECT name FROM joined_rooms WHERE room = '!ban';
-- H91: the room is the column's; but whose event it is that a ban redacts, and where, the event itself says
UPDATE event_json SET json = '{"room_id": "!ban", "sender": "@carl:hs.test", "content": {"name": "By Carl"}}'
    WHERE event_id = :'name_event';
SELECT name FROM joined_rooms WHERE room = '!ban';
UPDATE event_json SET json = '{"room_id": "!elsewhere", "sender": "@bert:hs.test", "content": {"name": "Elsewhere"}}'
    WHERE event_id = :'name_event';
SELECT name FROM joined_rooms WHERE room = '!ban';
SELECT purge_room('!ban') \gset
