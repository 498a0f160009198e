-- CALL sliding_sync.backfill(): what a room was like when somebody left it or was invited, long before there were
-- triggers: from state groups, from invites, or not known.
\getenv abs_srcdir PG_ABS_SRCDIR
\set schema backfill_history
\set ECHO none
\i :abs_srcdir/sql/include/homeserver.psql
\i :abs_srcdir/sql/include/views.psql
\set ECHO all
\pset null NULL
SELECT sliding_sync.attach('backfill_history');

-- Bert leaves a room that has got another name since. The state after his leave is the end of a chain of `depth` groups
-- upon one that holds everything; the name changed in the middle of the chain. Answers the chain's groups.
CREATE FUNCTION left_long_ago(room text, depth integer) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    left_it text;
    middle  text;
    chain   bigint[] := ARRAY(SELECT nextval('state_group_id_seq') FROM generate_series(0, depth));
    state   text[];
BEGIN
    PERFORM create_room(room, '@anna:hs.test', name => 'Base', room_type => 'm.space');
    PERFORM join(room, '@bert:hs.test');
    state := ARRAY(SELECT c.event_id FROM current_state_events c WHERE c.room_id = room);
    middle := rename(room, '@anna:hs.test', 'Middle');
    left_it := leave(room, '@bert:hs.test');
    PERFORM rename(room, '@anna:hs.test', 'Now');
    INSERT INTO state_groups (id, room_id, event_id) SELECT g, room, left_it FROM unnest(chain) g;
    INSERT INTO state_group_edges (state_group, prev_state_group)
        SELECT chain[n + 1], chain[n] FROM generate_series(1, depth) n;
    INSERT INTO state_groups_state (state_group, room_id, type, state_key, event_id)
        SELECT chain[1], room, s.type, s.state_key, s.event_id FROM state_events s WHERE s.event_id = ANY (state);
    INSERT INTO state_groups_state (state_group, room_id, type, state_key, event_id)
        SELECT chain[n], room, 'm.room.member', format('@user%s:hs.test', n), left_it FROM generate_series(2, depth) n;
    INSERT INTO state_groups_state (state_group, room_id, type, state_key, event_id)
        VALUES (chain[depth + 1], room, 'm.room.member', '@bert:hs.test', left_it),
               (chain[depth / 2 + 2], room, 'm.room.name', '', middle);
    UPDATE event_to_state_groups SET state_group = chain[depth + 1] WHERE event_id = left_it;
    RETURN chain;
END
$$;
-- As a purge does it; the edges to what hangs on the group stay.
CREATE FUNCTION purge_group(state_group bigint) RETURNS void LANGUAGE sql AS $$
    DELETE FROM state_groups_state s WHERE s.state_group = purge_group.state_group;
    DELETE FROM state_groups g WHERE g.id = purge_group.state_group;
$$;
CREATE VIEW bert AS SELECT room, membership, known, type, name, encrypted FROM snapshots WHERE who = '@bert';

--
-- State groups
--

SELECT left_long_ago('!c1', 1) \gset
SELECT left_long_ago('!c100', 100) \gset
SELECT left_long_ago('!c5000', 5000) \gset
-- live, in one transaction each: the state at its end
TABLE bert;
DELETE FROM sliding_sync_membership_snapshots;
-- the homeserver's own way of chaining them
SELECT create_room('!own', '@anna:hs.test', name => 'First', encrypted => true) \gset
SET sliding_sync.enabled = off;
SELECT join('!own', '@bert:hs.test') \gset
SELECT rename('!own', '@anna:hs.test', 'Second') \gset
SELECT ban('!own', '@bert:hs.test', '@anna:hs.test') \gset
SELECT rename('!own', '@anna:hs.test', 'Third') \gset
-- ... and a room that nobody of ours is in any more: no current state is left
SELECT create_room('!empty', '@bert:hs.test', name => 'Empty') \gset
SELECT leave('!empty', '@bert:hs.test') \gset
RESET sliding_sync.enabled;
CALL sliding_sync.backfill('backfill_history', 'memberships');
TABLE bert;

-- rewritten by a tool that makes chains shorter: each group has its own way of saying the same
SELECT left_long_ago('!short', 10) AS chain \gset
UPDATE state_group_edges SET prev_state_group = (:'chain'::bigint[])[7] WHERE state_group = (:'chain'::bigint[])[11];
SELECT left_long_ago('!flat', 10) AS chain \gset
DELETE FROM state_group_edges WHERE state_group = (:'chain'::bigint[])[11];
INSERT INTO state_groups_state (state_group, room_id, type, state_key, event_id)
    SELECT (:'chain'::bigint[])[11], room_id, type, state_key, event_id FROM state_groups_state
    WHERE state_group = (:'chain'::bigint[])[1] AND (type, state_key) NOT IN (('m.room.name', ''), ('m.room.member', '@bert:hs.test'))
    UNION ALL SELECT (:'chain'::bigint[])[11], room_id, type, state_key, event_id FROM state_groups_state
    WHERE state_group = (:'chain'::bigint[])[7] AND type = 'm.room.name';
-- a group upon two others: the newer one
SELECT left_long_ago('!two', 10) AS chain \gset
INSERT INTO state_group_edges VALUES ((:'chain'::bigint[])[11], (:'chain'::bigint[])[1]);
-- state of another room, or under another type, is none
SELECT left_long_ago('!mixed', 10) AS chain \gset
UPDATE state_groups_state SET event_id = (SELECT event_id FROM current_state_events WHERE room_id = '!two' AND type = 'm.room.name')
    WHERE state_group = (:'chain'::bigint[])[7] AND type = 'm.room.name';
INSERT INTO state_groups_state SELECT state_group, room_id, 'm.room.tombstone', '', event_id FROM state_groups_state
    WHERE state_group = (:'chain'::bigint[])[1] AND type = 'm.room.create';
-- a group of many differences; what comes first in it are members
SELECT left_long_ago('!many', 10) AS chain \gset
INSERT INTO state_groups_state SELECT (:'chain'::bigint[])[7], '!many', 'm.room.member', format('@many%s:hs.test', n), 'x'
    FROM generate_series(1, 40) n;
-- groups that are listed nowhere hold what they hold, as for the homeserver's readers
SELECT left_long_ago('!loose', 10) AS chain \gset
DELETE FROM state_groups WHERE id = ANY (:'chain'::bigint[]);
-- a group that holds nothing differs in nothing
SELECT left_long_ago('!same', 10) AS chain \gset
DELETE FROM state_groups_state WHERE state_group = (:'chain'::bigint[])[4];
-- a name that was redacted since
SELECT left_long_ago('!redacted', 10) AS chain \gset
SELECT redact('!redacted', '@anna:hs.test', event_id) FROM state_groups_state
    WHERE state_group = (:'chain'::bigint[])[7] AND type = 'm.room.name' \gset
DELETE FROM sliding_sync_membership_snapshots;
CALL sliding_sync.backfill('backfill_history', 'memberships', '!flat', '!two');
SELECT room, membership, known, type, name, successor FROM snapshots WHERE who = '@bert';

-- not known: no group of the event
DELETE FROM sliding_sync_membership_snapshots;
SELECT left_long_ago('!u1', 10) AS chain \gset
DELETE FROM event_to_state_groups WHERE state_group = (:'chain'::bigint[])[11];
-- a group that is not there: the event's own, one in the middle, the first one
SELECT left_long_ago('!u2', 10) AS chain \gset
SELECT purge_group((:'chain'::bigint[])[11]) \gset
SELECT left_long_ago('!u3', 10) AS chain \gset
SELECT purge_group((:'chain'::bigint[])[5]) \gset
SELECT left_long_ago('!u4', 10) AS chain \gset
SELECT purge_group((:'chain'::bigint[])[1]) \gset
-- a chain that was cut: the rest is no whole state
SELECT left_long_ago('!u5', 10) AS chain \gset
DELETE FROM state_group_edges WHERE state_group = (:'chain'::bigint[])[5];
-- nothing in the first group, or in any
SELECT left_long_ago('!u6', 10) AS chain \gset
DELETE FROM state_groups_state WHERE state_group = (:'chain'::bigint[])[1];
SELECT left_long_ago('!u7', 10) AS chain \gset
DELETE FROM state_groups_state WHERE state_group = ANY (:'chain'::bigint[]);
-- in a circle; upon itself
SELECT left_long_ago('!u8', 10) AS chain \gset
INSERT INTO state_group_edges VALUES ((:'chain'::bigint[])[1], (:'chain'::bigint[])[10]);
SELECT left_long_ago('!u9', 10) AS chain \gset
INSERT INTO state_group_edges VALUES ((:'chain'::bigint[])[1], (:'chain'::bigint[])[1]);
SELECT room, known, name FROM bert WHERE room LIKE '!u%';
-- ... in a circle of two rooms: neither is known, in whatever order they come; the one beside them is
DELETE FROM sliding_sync_membership_snapshots;
SELECT left_long_ago('!v1', 3) AS chain \gset
SELECT left_long_ago('!v2', 3) AS other_chain \gset
SELECT left_long_ago('!v3', 3) \gset
INSERT INTO state_group_edges VALUES ((:'chain'::bigint[])[1], (:'other_chain'::bigint[])[4]),
    ((:'other_chain'::bigint[])[1], (:'chain'::bigint[])[4]);
DELETE FROM sliding_sync_membership_snapshots;
CALL sliding_sync.backfill('backfill_history', 'memberships', '!u', '!v9');
SELECT room, membership, known, type, name, encrypted FROM bert;
-- P57: what is known stays when the groups go
SELECT left_long_ago('!w', 10) AS chain \gset
SELECT purge_group((:'chain'::bigint[])[5]) \gset
CALL sliding_sync.backfill('backfill_history', 'memberships', '!w', '!w');
SELECT room, known, name FROM bert WHERE room = '!w';

--
-- Memberships from outside
--

SET sliding_sync.enabled = off;
\set stripped 'format(''[%s, %s]'', stripped(''m.room.create'', ''{}''), stripped(''m.room.name'', ''{"name": "Told"}''))'
-- invite and knock
SELECT remote_invite('!i1', '@bert:hs.test', '@boss:remote.test', :stripped) \gset
SELECT remote_knock('!i2', '@bert:hs.test', :stripped) \gset
-- D22: rejected, retracted, banned: what the latest invite told
SELECT remote_invite('!i3', '@bert:hs.test', '@boss:remote.test', :stripped) \gset
SELECT reject_remote_invite('!i3', '@bert:hs.test') \gset
SELECT remote_invite('!i4', '@bert:hs.test', '@boss:remote.test',
    format('[%s, %s]', stripped('m.room.create', '{}'), stripped('m.room.name', '{"name": "Told before"}'))) \gset
SELECT remote_invite('!i4', '@bert:hs.test', '@boss:remote.test', :stripped) \gset
SELECT retract_remote_invite('!i4', '@bert:hs.test', '@boss:remote.test') \gset
SELECT remote_knock('!i5', '@bert:hs.test', :stripped) \gset
SELECT remote_membership('!i5', '@bert:hs.test', 'ban', '@boss:remote.test') \gset
-- without any invite; with somebody else's
SELECT reject_remote_invite('!i6', '@bert:hs.test') \gset
SELECT remote_invite('!i7', '@anna:hs.test', '@boss:remote.test', :stripped) \gset
SELECT reject_remote_invite('!i7', '@bert:hs.test') \gset
-- redacted: the invite, and the one before the leave
SELECT remote_invite('!i8', '@bert:hs.test', '@boss:remote.test', :stripped) AS event \gset
SELECT redact('!i8', '@boss:remote.test', :'event') \gset
SELECT remote_invite('!i9', '@bert:hs.test', '@boss:remote.test', :stripped) AS event \gset
SELECT redact('!i9', '@boss:remote.test', :'event') \gset
SELECT reject_remote_invite('!i9', '@bert:hs.test') \gset
-- unreadable: the list, the document
SELECT remote_invite('!j1', '@bert:hs.test', '@boss:remote.test', '{"not": "a list"}') \gset
SELECT remote_invite('!j2', '@bert:hs.test', '@boss:remote.test', '[1, null, "x"]') \gset
SELECT remote_invite('!j3', '@bert:hs.test', '@boss:remote.test', :stripped) AS event \gset
UPDATE event_json SET json = json || '}' WHERE event_id = :'event';
SELECT remote_invite('!j4', '@bert:hs.test', '@boss:remote.test', :stripped) AS event \gset
UPDATE event_json SET json = json || '}' WHERE event_id = :'event';
SELECT reject_remote_invite('!j4', '@bert:hs.test') \gset
SELECT remote_invite('!j5', '@bert:hs.test', '@boss:remote.test', :stripped) AS event \gset
DELETE FROM event_json WHERE event_id = :'event';
-- an invite from inside: what it tells itself, as a homeserver's own background update has it
SELECT create_room('!k1', '@anna:hs.test', name => 'Inside') \gset
SELECT invite('!k1', '@bert:hs.test', '@anna:hs.test', :stripped) \gset
SELECT create_room('!k2', '@anna:hs.test', name => 'Inside') \gset
SELECT invite('!k2', '@bert:hs.test', '@anna:hs.test') \gset
-- D23: purging made an outlier of the leave, and its state group is gone: it did not come out of band
SELECT create_room('!k3', '@anna:hs.test', name => 'Inside') \gset
SELECT invite('!k3', '@bert:hs.test', '@anna:hs.test', :stripped) \gset
SELECT leave('!k3', '@bert:hs.test') \gset
SELECT send_message('!k3', '@anna:hs.test') AS event \gset
SELECT purge_history('!k3', :'event') \gset
-- a membership that nobody knows has a state as a leave has
SELECT create_room('!k4', '@anna:hs.test', name => 'Inside') \gset
SELECT change_membership('!k4', '@bert:hs.test', 'lurk') \gset
SELECT rename('!k4', '@anna:hs.test', 'Later') \gset
RESET sliding_sync.enabled;
CALL sliding_sync.backfill('backfill_history', 'memberships', '!i', '!k9');
SELECT room, membership, known, name FROM bert WHERE room BETWEEN '!i' AND '!k9';

-- D24: redacted later, what it told is history; a row that knows nothing learns nothing
SELECT event FROM snapshots WHERE room = '!i1' \gset
SELECT redact('!i1', '@boss:remote.test', :'event') \gset
CALL sliding_sync.backfill('backfill_history', 'memberships', '!i1', '!i1');
SELECT room, known, name FROM bert WHERE room = '!i1';
DELETE FROM sliding_sync_membership_snapshots WHERE room_id = '!i1';
CALL sliding_sync.backfill('backfill_history', 'memberships', '!i1', '!i1');
SELECT room, known, name FROM bert WHERE room = '!i1';
-- a leave that inherited keeps it, also when the invite is gone
SELECT event_id AS event FROM room_memberships WHERE room_id = '!i3' AND membership = 'invite' \gset
DELETE FROM room_memberships WHERE event_id = :'event';
CALL sliding_sync.backfill('backfill_history', 'memberships', '!i3', '!i3');
SELECT room, known, name FROM bert WHERE room = '!i3';

--
-- P56: the state is in another database
--

CREATE SCHEMA backfill_elsewhere;
DELETE FROM sliding_sync_membership_snapshots WHERE room_id = '!own';
DELETE FROM sliding_sync_membership_snapshots WHERE room_id = '!k4';
-- one table is enough to know nothing
ALTER TABLE state_groups SET SCHEMA backfill_elsewhere;
CALL sliding_sync.backfill('backfill_history', 'memberships', '!own', '!own');
SELECT room, membership, known, name FROM bert WHERE room = '!own';
ALTER TABLE state_group_edges SET SCHEMA backfill_elsewhere;
ALTER TABLE state_groups_state SET SCHEMA backfill_elsewhere;
ALTER TABLE event_to_state_groups SET SCHEMA backfill_elsewhere;
CALL sliding_sync.backfill('backfill_history', 'memberships');
-- known ones stay, invites are read, leaves are not known
SELECT known, count(*) FROM bert WHERE room IN ('!own', '!k4', '!flat', '!c100', '!i2', '!i3') GROUP BY known ORDER BY known;
-- when the tables are back, so is what they tell
ALTER TABLE backfill_elsewhere.state_groups SET SCHEMA backfill_history;
ALTER TABLE backfill_elsewhere.state_group_edges SET SCHEMA backfill_history;
ALTER TABLE backfill_elsewhere.state_groups_state SET SCHEMA backfill_history;
ALTER TABLE backfill_elsewhere.event_to_state_groups SET SCHEMA backfill_history;
DROP SCHEMA backfill_elsewhere;
CALL sliding_sync.backfill('backfill_history', 'memberships');
SELECT room, membership, known, name FROM bert WHERE room IN ('!own', '!k4');

-- P7: a leave that was quarantined; the repair of the quarantine reads state groups as well
ALTER TABLE sliding_sync_membership_snapshots ADD CONSTRAINT poison CHECK (membership <> 'ban') NOT VALID;
DELETE FROM sliding_sync_membership_snapshots WHERE room_id = '!own';
SET client_min_messages = error;
CALL sliding_sync.backfill('backfill_history', 'memberships', '!own', '!own');
RESET client_min_messages;
SELECT room FROM bert WHERE room = '!own';
ALTER TABLE sliding_sync_membership_snapshots DROP CONSTRAINT poison;
SELECT sliding_sync.repair_quarantine() \gset
SELECT room, membership, known, name FROM bert WHERE room = '!own';

-- what was damaged goes, for nobody can tell what is right there; and then everything else is
SELECT count(purge_room(room_id)) FROM rooms WHERE room_id ~ '^!(u.|v.|w|mixed|k3)$';
CALL sliding_sync.backfill('backfill_history');
CALL sliding_sync.backfill('backfill_history');
