-- What the world is like, in scratch tables. Numbers are drawn from keys, not from a sequence of dice: the same seed
-- gives the same world, whatever plan the server chooses. Whole tables are written at once, without any loop.
--
-- Users are numbers here: 0, 1, 2, ... are ours, -1, -2, ... are of other servers.

-- * functions
CREATE FUNCTION rnd(n bigint, salt integer) RETURNS double precision IMMUTABLE PARALLEL SAFE
    RETURN (hashint8extended(n, seed() * 100 + salt) & 4503599627370495) / 4503599627370496.0::double precision;
CREATE FUNCTION pick(n bigint, salt integer, choices bigint) RETURNS bigint IMMUTABLE PARALLEL SAFE
    RETURN floor(rnd(n, salt) * choices)::bigint;
CREATE FUNCTION digest(n bigint, kind text) RETURNS text IMMUTABLE PARALLEL SAFE
    RETURN left(translate(encode(sha256(convert_to(kind || seed() || ' ' || n, 'UTF8')), 'base64'), '+/', '-_'), 43);
CREATE FUNCTION local_user(room bigint, number bigint) RETURNS bigint IMMUTABLE PARALLEL SAFE
    RETURN (pick(room, 1, local_users()) + number * 7919) % local_users();
CREATE FUNCTION remote_user(room bigint, number bigint) RETURNS bigint IMMUTABLE PARALLEL SAFE
    RETURN -1 - (pick(room, 2, remote_users()) + number * 7919) % remote_users();
CREATE FUNCTION user_id(who bigint) RETURNS text IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN who >= 0 THEN '@user' || who || ':hs.test' ELSE '@guest' || -who || ':server' || -who % 97 || '.test' END;
CREATE FUNCTION has_event_ids() RETURNS boolean IMMUTABLE PARALLEL SAFE RETURN population.version() IN ('1', '2');
CREATE FUNCTION reference(event_id text) RETURNS text IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN has_event_ids()
                THEN '["' || event_id || '",{"sha256":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"}]'
                ELSE '"' || event_id || '"' END;
CREATE TABLE kind AS SELECT * FROM (VALUES
    (1::smallint, 'm.room.create', true, NULL), (2, 'm.room.power_levels', true, NULL), (3, 'm.room.join_rules', true, NULL),
    (4, 'm.room.history_visibility', true, NULL), (5, 'm.room.encryption', true, NULL), (6, 'm.room.name', true, NULL),
    (7, 'm.room.name', true, NULL), (8, 'm.room.tombstone', true, NULL), (9, 'm.room.member', true, 'join'),
    (10, 'm.room.member', true, 'leave'), (11, 'm.room.member', true, 'ban'), (12, 'm.room.member', true, 'invite'),
    (13, 'm.room.member', true, 'knock'), (20, 'm.room.message', false, NULL), (21, 'm.room.encrypted', false, NULL),
    (22, 'm.reaction', false, NULL), (23, 'm.room.redaction', false, NULL)
) kinds (kind, type, is_state, membership);

-- * rooms
-- The first four are large. Sizes of the others: 10 to 500, twice as many members half as often, 40 on average. Rooms
-- beyond `our_rooms()` are known from invites and knocks only. `leavers` are local; they joined and left.
CREATE UNLOGGED TABLE plan_room AS
SELECT *, local + members AS arrivals, 12 + 2 * (local + members) AS finish, joined + leavers AS locals,
       (1 - start) / (13 + 2 * (local + members)) AS pace,
       CASE WHEN is_remote THEN remote_user(n, 0) ELSE local_user(n, 0) END AS creator,
       floor(29 * talk_permille() / 1000.0 * (local + members) / 42.0 * -ln(1 - rnd(n, 12)) + rnd(n, 13))::bigint AS messages
FROM (
    SELECT *, leavers - CASE WHEN is_gone THEN joined_first ELSE 0 END AS local,
           CASE WHEN is_gone THEN 0 ELSE joined_first END AS joined
    FROM (
        SELECT *, greatest(1, CASE WHEN n <= 4 THEN members / 50 ELSE floor(members * 0.222 + rnd(n, 5))::bigint END)
                      AS joined_first,
               floor(CASE WHEN n <= 4 THEN members * 0.002 ELSE members * 0.047 END + rnd(n, 6))::bigint
                   + CASE WHEN is_gone THEN greatest(1, floor(members * 0.222 + rnd(n, 5))::bigint) ELSE 0 END AS leavers
        FROM (
            SELECT n,
                   '!' || translate(left(digest(n, 'room'), 18), '-_', 'Aa') || ':'
                       || CASE WHEN n <= 4 OR rnd(n, 4) < 0.2 OR n > our_rooms() THEN 'server' || n % 97 || '.test'
                               ELSE 'hs.test' END AS room_id,
                   CASE WHEN n <= 4 THEN large_members()
                        ELSE floor(10 / (1 - rnd(n, 3) * (1 - 10 / 500.0)))::bigint END AS members,
                   n > our_rooms() AS is_far,
                   n <= 4 OR rnd(n, 4) < 0.2 OR n > our_rooms() AS is_remote,
                   n > 4 AND rnd(n, 7) < 0.02 AS is_gone,
                   rnd(n, 8) < 0.04 AS is_space,
                   rnd(n, 9) < 0.4 AS is_encrypted,
                   rnd(n, 10) < 0.7 AS is_named,
                   rnd(n, 10) < 0.2 AS is_renamed,
                   rnd(n, 10) BETWEEN 0.2 AND 0.23 AS is_name_redacted,
                   rnd(n, 11) < 0.02 AS is_upgraded,
                   0.9 * rnd(n, 14) * rnd(n, 15) AS start
            FROM generate_series(1, our_rooms() + far_rooms()) n
        ) drawn
    ) counted
) r;
ALTER TABLE plan_room ADD PRIMARY KEY (n);
ANALYZE plan_room;

-- * events
-- `pos` is an event's place in its room's life. In a remote room, what happened before our first join at 10 arrived with
-- that join: outliers with negative orderings.
CREATE UNLOGGED TABLE plan_event AS
SELECT n, pos, kind, who, by, is_remote AND pos < 10 AS is_outlier, is_rejected, is_left
FROM (
    SELECT n, is_remote, k.pos::double precision, k.kind::smallint, NULL::bigint AS who, creator AS by,
           false AS is_rejected, false AS is_left
    FROM plan_room, LATERAL (VALUES (0, 1, true), (2, 2, true), (3, 3, true), (4, 4, true), (5, 5, is_encrypted),
                                    (6, 6, is_named)) k (pos, kind, happens)
    WHERE NOT is_far AND happens
    UNION ALL
    SELECT n, is_remote, 12 + rnd(n, 20 + k.kind) * (finish - 12), k.kind, NULL, creator, false, false
    FROM plan_room, LATERAL (VALUES (7, is_renamed), (23, is_name_redacted), (8, is_upgraded)) k (kind, happens)
    WHERE NOT is_far AND happens
    UNION ALL
    -- the creator of a remote room
    SELECT n, is_remote, 1, 9, creator, creator, false, false FROM plan_room WHERE is_remote AND NOT is_far
    UNION ALL
    -- arrivals: members k = 0, 1, ..., of whom every so-and-so-manieth is local, the first one too
    SELECT n, is_remote,
           CASE WHEN NOT is_local AND is_remote THEN 8 + k / (arrivals + 1.0) WHEN is_remote THEN 10 + k
                WHEN k = 0 THEN 1 ELSE 10 + k END,
           9, who, who, false, is_local AND local_number >= joined
    FROM (
        SELECT *, CASE WHEN is_local THEN local_user(n, local_number) ELSE remote_user(n, k - local_number) END AS who
        FROM (
            SELECT n, is_remote, arrivals, joined, k, k * locals % arrivals < locals AS is_local,
                   k * locals / arrivals AS local_number
            FROM plan_room, generate_series(0, arrivals - 1) k WHERE NOT is_far
        ) numbered
    ) arrivals
    UNION ALL
    -- departures of local users: leave, kick or ban
    SELECT n, is_remote, 10 + arrivals + rnd(n * 100003 + number, 30) * (finish - 10 - arrivals),
           CASE WHEN rnd(n * 100003 + number, 31) < 0.15 THEN 11 ELSE 10 END, local_user(n, number),
           CASE WHEN rnd(n * 100003 + number, 31) < 0.3 THEN creator ELSE local_user(n, number) END, false, true
    FROM plan_room, generate_series(joined, locals - 1) number WHERE NOT is_far
    UNION ALL
    -- invites of and knocks by local users
    SELECT n, is_remote, 11 + rnd(n, 40) * (finish - 11), CASE WHEN rnd(n, 41) < 0.8 THEN 12 ELSE 13 END,
           local_user(n, locals), CASE WHEN rnd(n, 41) < 0.8 THEN creator ELSE local_user(n, locals) END, false, false
    FROM plan_room WHERE NOT is_far AND NOT is_gone AND rnd(n, 42) < 0.13
    UNION ALL
    -- messages, by some of the first members
    SELECT n, is_remote, 11 + rnd(n * 100003 + m, 50) * (finish - 11),
           CASE WHEN rnd(n * 100003 + m, 51) < 0.08 THEN 22 WHEN is_encrypted THEN 21 ELSE 20 END, NULL,
           CASE WHEN rnd(n * 100003 + m, 52) < 0.5 THEN local_user(n, pick(n * 100003 + m, 53, least(locals, 3)))
                ELSE creator END,
           rnd(n * 100003 + m, 54) < 0.001, false
    FROM plan_room, generate_series(1, messages) m WHERE NOT is_far
    UNION ALL
    -- rooms that we only hear of: invites and knocks, some of them answered
    SELECT n, is_remote, 20 + i + rnd(n * 10 + i, 60), CASE WHEN rnd(n * 10 + i, 61) < 0.8 THEN 12 ELSE 13 END,
           local_user(n, i), CASE WHEN rnd(n * 10 + i, 61) < 0.8 THEN creator ELSE local_user(n, i) END, false,
           rnd(n * 10 + i, 62) < 0.25
    FROM plan_room, generate_series(0, pick(n, 63, 3)) i WHERE is_far
    UNION ALL
    SELECT n, is_remote, 30 + i + rnd(n * 10 + i, 64), 10, local_user(n, i), local_user(n, i), false, true
    FROM plan_room, generate_series(0, pick(n, 63, 3)) i WHERE is_far AND rnd(n * 10 + i, 62) < 0.25
) e;

-- * orderings
CREATE UNLOGGED TABLE plan_ordered AS
SELECT e.n, e.pos, e.kind, e.who, e.by, e.is_outlier OR r.is_far AS is_outlier, e.is_rejected, e.is_left,
       CASE WHEN e.is_outlier THEN -1 ELSE 1 END * row_number() OVER age AS ordering,
       sum((NOT e.is_outlier AND NOT r.is_far AND k.is_state)::integer) OVER age AS group_number,
       NOT e.is_outlier AND NOT r.is_far AND k.is_state AS starts_group,
       '$' || digest(CASE WHEN e.is_outlier THEN -1 ELSE 1 END * row_number() OVER age, 'event') AS event_id
FROM plan_event e JOIN plan_room r USING (n) JOIN kind k USING (kind)
WINDOW age AS (PARTITION BY e.is_outlier ORDER BY r.start + e.pos * r.pace, e.n, e.pos, e.who ROWS UNBOUNDED PRECEDING);
DROP TABLE plan_event;
ANALYZE plan_ordered;

-- * timeline
-- Each event with its state group; the hundredth group after a full one is full again.
CREATE UNLOGGED TABLE timeline AS
SELECT n, pos, kind, who, by, is_outlier, is_rejected, is_left, ordering, starts_group, state_group,
       CASE WHEN starts_group AND group_rank % 100 <> 1 THEN before_group END AS prev_group, depth,
       event_id, previous_id
FROM (
    SELECT *, max(CASE WHEN starts_group THEN group_number END) OVER life AS state_group,
           max(CASE WHEN starts_group THEN group_number END) OVER past AS before_group,
           count(*) FILTER (WHERE starts_group) OVER life AS group_rank,
           row_number() OVER life AS depth, lag(event_id) OVER life AS previous_id
    FROM plan_ordered
    WINDOW life AS (PARTITION BY n ORDER BY pos, who ROWS UNBOUNDED PRECEDING),
           past AS (PARTITION BY n ORDER BY pos, who ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
) t;
DROP TABLE plan_ordered;
ANALYZE timeline;

-- * state
-- How long each state event stood. Nothing stands in a room that we only hear of.
CREATE UNLOGGED TABLE state_line AS
SELECT n, pos, kind, who, is_outlier, is_left, ordering, event_id, starts_group, state_group, prev_group,
       lead(pos) OVER (PARTITION BY n, type, who ORDER BY pos) AS until
FROM timeline JOIN kind USING (kind) WHERE is_state;
CREATE INDEX ON state_line (n, pos) WHERE kind <= 8;
ANALYZE state_line;
