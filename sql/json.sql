-- Content that is not what it should be, in events of current state (docs/rules.md#values).
\getenv abs_srcdir PG_ABS_SRCDIR
\set schema json_content
\set ECHO none
\i :abs_srcdir/sql/include/homeserver.psql
\i :abs_srcdir/sql/include/views.psql
\set ECHO all
SELECT sliding_sync.attach('json_content');
\pset null NULL
SELECT create_room('!odd', '@anna:hs.test') \gset

-- Sets all four relevant events to the same content and shows the row.
CREATE FUNCTION row_with(content text, OUT type text, OUT name text, OUT encrypted boolean, OUT successor text)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM persist(ARRAY[make_event('!odd', '@anna:hs.test', 'm.room.create', '', content),
                          make_event('!odd', '@anna:hs.test', 'm.room.name', '', content),
                          make_event('!odd', '@anna:hs.test', 'm.room.encryption', '', content),
                          make_event('!odd', '@anna:hs.test', 'm.room.tombstone', '', content)]);
    PERFORM sliding_sync.flush();
    SELECT j.type, j.name, j.encrypted, j.successor INTO STRICT type, name, encrypted, successor
        FROM joined_rooms j WHERE j.room = '!odd';
END
$$;

-- ordinary
SELECT * FROM row_with('{"type": "t", "name": "n", "algorithm": "a", "replacement_room": "r"}');
-- missing
SELECT * FROM row_with('{}');
-- null
SELECT * FROM row_with('{"type": null, "name": null, "algorithm": null, "replacement_room": null}');
-- H57: an empty string is a value, and it encrypts
SELECT * FROM row_with('{"type": "", "name": "", "algorithm": "", "replacement_room": ""}');
-- D4: no string, no value; but any algorithm that is not null encrypts
SELECT * FROM row_with('{"type": 1, "name": 1.5, "algorithm": 0, "replacement_room": -1e400}');
SELECT * FROM row_with('{"type": true, "name": false, "algorithm": false, "replacement_room": false}');
SELECT * FROM row_with('{"type": [], "name": ["n"], "algorithm": [], "replacement_room": [null]}');
SELECT * FROM row_with('{"type": {}, "name": {"name": "n"}, "algorithm": {}, "replacement_room": {"": 0}}');
SELECT * FROM row_with('{"type": "t", "name": NaN, "algorithm": Infinity, "replacement_room": "r"}');
-- U+0000 and lone surrogates: PostgreSQL cannot store such text
SELECT * FROM row_with('{"type": "a\u0000", "name": "\u0000", "algorithm": "\u0000", "replacement_room": "\u0000r"}');
SELECT * FROM row_with('{"type": "\ud800", "name": "n\udc00", "algorithm": "\ud800", "replacement_room": "\ud800x"}');
-- ... elsewhere they do no harm, neither in values nor in keys
SELECT * FROM row_with('{"x": "\u0000\ud800", "\u0000": 1, "\ud800": 2, "type": "t", "name": "n", "algorithm": "a", "replacement_room": "r"}');
-- the last of several keys counts, also escaped
SELECT * FROM row_with('{"name": "first", "name": "second", "type": "first", "t\u0079pe": "second", "algorithm": "a", "algorithm": null}');
-- H59: nothing is normalised: white space, right-to-left marks, case
SELECT octet_length(name), name = E' \t\n' AS verbatim FROM row_with('{"name": " \t\n"}');
SELECT name = U&'\202Eabc\200F' AS verbatim FROM row_with('{"name": "\u202eabc\u200f"}');
-- H65: escapes and raw UTF-8
SELECT name FROM row_with('{"name": "\u00e9 é \ud83c\udf75 🍵 \/ \\ \" \u002f"}');
-- H59: 60 kB
SELECT length(name), name = repeat('x', 60000) AS verbatim FROM row_with(format('{"name": "%s"}', repeat('x', 60000)));
-- deep nesting and large numbers next to it
SELECT * FROM row_with(format('{"name": "n", "x": %s%s, "y": %s, "type": "t"}', repeat('[', 20000), repeat(']', 20000), repeat('9', 5000)));

-- content that is no object is empty content
SELECT * FROM row_with('null');
SELECT * FROM row_with('"name"');
SELECT * FROM row_with('[{"name": "n"}]');
-- an event that cannot be read says nothing: cut off, garbage behind it, not JSON at all, broken where nobody looks
SELECT * FROM row_with('{"name": "n", "type": "t"');
SELECT * FROM row_with('{"name": "n", "type": "t"}}');
SELECT * FROM row_with('nonsense');
SELECT * FROM row_with('{"name": "n", "type": "t"}, "x": {]');

-- whole documents: empty, an array, a byte order mark in front, white space around
SELECT rename('!odd', '@anna:hs.test', 'Odd') AS name_event \gset
SELECT name FROM joined_rooms WHERE room = '!odd';
UPDATE event_json SET json = '' WHERE event_id = :'name_event';
SELECT name FROM joined_rooms WHERE room = '!odd';
UPDATE event_json SET json = '[{"content": {"name": "n"}}]' WHERE event_id = :'name_event';
SELECT name FROM joined_rooms WHERE room = '!odd';
UPDATE event_json SET json = U&'\FEFF{"content": {"name": "n"}}' WHERE event_id = :'name_event';
SELECT name FROM joined_rooms WHERE room = '!odd';
UPDATE event_json SET json = E' \n{"content": {"name": "n"}}\t ' WHERE event_id = :'name_event';
SELECT name FROM joined_rooms WHERE room = '!odd';
-- the last "content" counts; "name" elsewhere does not
UPDATE event_json SET json = '{"name": "top", "content": {"name": "first"}, "content": {"x": {"name": "inner"}}, "unsigned": {"name": "u"}}'
    WHERE event_id = :'name_event';
SELECT name FROM joined_rooms WHERE room = '!odd';
-- H91: the room of the JSON is not looked at (room version 12 has none)
UPDATE event_json SET json = '{"room_id": "!other", "content": {"name": "Odd"}}' WHERE event_id = :'name_event';
SELECT name FROM joined_rooms WHERE room = '!odd';
-- H69: a rewrite of the same content (new signatures) writes nothing
UPDATE event_json SET json = '{"signatures": {"x": "y"}, "content": {"name": "Odd"}}' WHERE event_id = :'name_event';
SELECT rows_written FROM sliding_sync.last_flush();
-- A3: nor does other metadata
UPDATE event_json SET internal_metadata = '{"soft_failed": true}' WHERE event_id = :'name_event';
SELECT rows_written FROM sliding_sync.last_flush();

-- the same content in a membership's snapshot
SELECT row_with('{"type": 1, "name": "a\u0000", "algorithm": [], "replacement_room": "\ud800"}') \gset
SELECT join('!odd', '@bert:hs.test') \gset
SELECT known, type, name, encrypted, successor FROM snapshots WHERE who = '@bert';
-- D9: a room whose relevant events give no value at all is known all the same
SELECT row_with('nonsense') \gset
SELECT join('!odd', '@carl:hs.test') \gset
SELECT known, type, name, encrypted, successor FROM snapshots WHERE who = '@carl';

-- H51: an unknown room version, or none, is nothing to us
UPDATE rooms SET room_version = NULL WHERE room_id = '!odd';
SELECT rename('!odd', '@anna:hs.test', 'No version') \gset
SELECT name FROM joined_rooms WHERE room = '!odd';
