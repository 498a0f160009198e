-- The homeserver's tables that matter to the room list, as a database at schema 94 has them after all background
-- updates; made in `target`, which is created unless it is there. With `old_schema` in the shape of schema 86: no room
-- list tables, no room_ban_redactions, no redactions.recheck, no room_memberships.participant.
CREATE PROCEDURE make_homeserver(target text, old_schema boolean DEFAULT false)
LANGUAGE plpgsql SET search_path = pg_catalog AS $procedure$
BEGIN
IF to_regnamespace(quote_ident(target)) IS NULL THEN
    EXECUTE format('CREATE SCHEMA %I', target);
END IF;
PERFORM set_config('search_path', quote_ident(target), true);

--
-- Number spaces
--
CREATE SEQUENCE events_stream_seq;
CREATE SEQUENCE events_backfill_stream_seq;     -- its values are used negated
CREATE SEQUENCE state_group_id_seq;
CREATE SEQUENCE event_counter;     -- no homeserver's: operations.sql numbers events by it

--
-- Bookkeeping of the schema itself
--
CREATE TABLE schema_version (
    lock     character(1) NOT NULL DEFAULT 'X' CONSTRAINT schema_version_lock_key UNIQUE CHECK (lock = 'X'),
    version  integer NOT NULL,
    upgraded boolean NOT NULL
);

CREATE TABLE schema_compat_version (
    lock           character(1) NOT NULL DEFAULT 'X'
                   CONSTRAINT schema_compat_version_lock_key UNIQUE CHECK (lock = 'X'),
    compat_version integer NOT NULL
);

CREATE TABLE applied_schema_deltas (
    version integer NOT NULL,
    file    text NOT NULL,
    CONSTRAINT applied_schema_deltas_version_file_key UNIQUE (version, file)
);

CREATE TABLE background_updates (
    update_name   text NOT NULL CONSTRAINT background_updates_uniqueness UNIQUE,
    progress_json text NOT NULL,
    depends_on    text,
    ordering      integer NOT NULL DEFAULT 0
);

--
-- Rooms and events
--
CREATE TABLE rooms (
    room_id              text NOT NULL CONSTRAINT rooms_pkey PRIMARY KEY,
    is_public            boolean,
    creator              text,
    room_version         text,
    has_auth_chain_index boolean
);
CREATE INDEX public_room_index ON rooms (is_public);

CREATE TABLE events (
    topological_ordering bigint NOT NULL,
    event_id             text NOT NULL CONSTRAINT events_event_id_key UNIQUE,
    type                 text NOT NULL,
    room_id              text NOT NULL,
    content              text,
    unrecognized_keys    text,
    processed            boolean NOT NULL,
    outlier              boolean NOT NULL,
    depth                bigint NOT NULL DEFAULT 0,
    origin_server_ts     bigint,
    received_ts          bigint,
    sender               text,
    contains_url         boolean,
    instance_name        text,
    stream_ordering      bigint,
    state_key            text,
    rejection_reason     text
);
CREATE UNIQUE INDEX events_stream_ordering ON events (stream_ordering);
CREATE INDEX event_contains_url_index ON events (room_id, topological_ordering, stream_ordering)
    WHERE contains_url = true AND outlier = false;
CREATE INDEX events_jump_to_date_idx ON events (room_id, origin_server_ts) WHERE NOT outlier;
CREATE INDEX events_order_room ON events (room_id, topological_ordering, stream_ordering);
CREATE INDEX events_room_stream ON events (room_id, stream_ordering);
CREATE INDEX events_ts ON events (origin_server_ts, stream_ordering);

CREATE TABLE event_json (
    event_id          text NOT NULL CONSTRAINT event_json_event_id_key UNIQUE,
    room_id           text NOT NULL,
    internal_metadata text NOT NULL,
    json              text NOT NULL,
    format_version    integer
);

CREATE TABLE state_events (
    event_id   text NOT NULL CONSTRAINT state_events_event_id_key UNIQUE,
    room_id    text NOT NULL,
    type       text NOT NULL,
    state_key  text NOT NULL,
    prev_state text
);

CREATE TABLE rejections (
    event_id   text NOT NULL CONSTRAINT rejections_event_id_key UNIQUE,
    reason     text NOT NULL,
    last_check text NOT NULL
);

CREATE TABLE event_forward_extremities (
    event_id text NOT NULL,
    room_id  text NOT NULL,
    CONSTRAINT event_forward_extremities_event_id_room_id_key UNIQUE (event_id, room_id),
    CONSTRAINT event_forward_extremities_event_id FOREIGN KEY (event_id) REFERENCES events (event_id)
        DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX ev_extrem_id ON event_forward_extremities (event_id);
CREATE INDEX ev_extrem_room ON event_forward_extremities (room_id);

--
-- Redactions
--
CREATE TABLE redactions (
    event_id      text NOT NULL CONSTRAINT redactions_event_id_key UNIQUE,
    redacts       text NOT NULL,
    have_censored boolean NOT NULL DEFAULT false,
    received_ts   bigint
);
CREATE INDEX redactions_have_censored_ts ON redactions (received_ts) WHERE NOT have_censored;
CREATE INDEX redactions_redacts ON redactions (redacts);

IF NOT old_schema THEN
ALTER TABLE redactions ADD COLUMN recheck boolean NOT NULL DEFAULT true;

CREATE TABLE room_ban_redactions (
    room_id             text NOT NULL,
    user_id             text NOT NULL,
    redacting_event_id  text NOT NULL,
    redact_end_ordering bigint,
    CONSTRAINT room_ban_redaction_uniqueness UNIQUE (room_id, user_id)
);
END IF;

--
-- Memberships and current state. Their foreign keys are NOT VALID: old rows may be NULL or dangling.
--
CREATE TABLE room_memberships (
    event_id              text NOT NULL CONSTRAINT room_memberships_event_id_key UNIQUE,
    user_id               text NOT NULL,
    sender                text NOT NULL,
    room_id               text NOT NULL,
    membership            text NOT NULL,
    forgotten             integer DEFAULT 0,
    display_name          text,
    avatar_url            text,
    event_stream_ordering bigint
);
CREATE INDEX room_membership_user_room_idx ON room_memberships (user_id, room_id);
CREATE INDEX room_memberships_room_id ON room_memberships (room_id);
CREATE INDEX room_memberships_stream_ordering_idx ON room_memberships (event_stream_ordering);
CREATE INDEX room_memberships_user_id ON room_memberships (user_id);
CREATE INDEX room_memberships_user_room_forgotten ON room_memberships (user_id, room_id) WHERE forgotten = 1;

IF NOT old_schema THEN
ALTER TABLE room_memberships ADD COLUMN participant boolean DEFAULT false;
CREATE INDEX received_ts_idx ON events (received_ts) WHERE type = 'm.room.member';
END IF;

CREATE TABLE local_current_membership (
    room_id               text NOT NULL,
    user_id               text NOT NULL,
    event_id              text NOT NULL,
    membership            text NOT NULL,
    event_stream_ordering bigint
);
CREATE UNIQUE INDEX local_current_membership_idx ON local_current_membership (user_id, room_id);
CREATE INDEX local_current_membership_room_idx ON local_current_membership (room_id);
CREATE INDEX local_current_membership_stream_ordering_idx ON local_current_membership (event_stream_ordering);

CREATE TABLE current_state_events (
    event_id              text NOT NULL CONSTRAINT current_state_events_event_id_key UNIQUE,
    room_id               text NOT NULL,
    type                  text NOT NULL,
    state_key             text NOT NULL,
    membership            text,
    event_stream_ordering bigint,
    CONSTRAINT current_state_events_room_id_type_state_key_key UNIQUE (room_id, type, state_key)
);
CREATE INDEX current_state_events_member_index ON current_state_events (state_key) WHERE type = 'm.room.member';
CREATE INDEX current_state_events_stream_ordering_idx ON current_state_events (event_stream_ordering);

CREATE TABLE current_state_delta_stream (
    stream_id     bigint NOT NULL,
    room_id       text NOT NULL,
    type          text NOT NULL,
    state_key     text NOT NULL,
    event_id      text,
    prev_event_id text,
    instance_name text
);
CREATE INDEX current_state_delta_stream_idx ON current_state_delta_stream (stream_id);

IF NOT old_schema THEN
CREATE INDEX current_state_events_members_room_index ON current_state_events (room_id, membership)
    WHERE type = 'm.room.member';
CREATE INDEX current_state_delta_stream_room_idx ON current_state_delta_stream (room_id, stream_id);
END IF;

ALTER TABLE room_memberships ADD CONSTRAINT event_stream_ordering_fkey
    FOREIGN KEY (event_stream_ordering) REFERENCES events (stream_ordering) NOT VALID;
ALTER TABLE local_current_membership ADD CONSTRAINT event_stream_ordering_fkey
    FOREIGN KEY (event_stream_ordering) REFERENCES events (stream_ordering) NOT VALID;
ALTER TABLE current_state_events ADD CONSTRAINT event_stream_ordering_fkey
    FOREIGN KEY (event_stream_ordering) REFERENCES events (stream_ordering) NOT VALID;

-- Refuses a row whose ordering is not that of its event. Says nothing about NULLs and events not stored.
CREATE FUNCTION check_event_stream_ordering() RETURNS trigger LANGUAGE plpgsql AS $trigger$
DECLARE
    stored bigint;
BEGIN
    SELECT stream_ordering INTO stored FROM events WHERE event_id = NEW.event_id;
    IF stored <> NEW.event_stream_ordering THEN
        RAISE EXCEPTION 'Incorrect event_stream_ordering';
    END IF;
    RETURN NEW;
END
$trigger$;

CREATE TRIGGER check_event_stream_ordering BEFORE INSERT OR UPDATE ON room_memberships
    FOR EACH ROW EXECUTE FUNCTION check_event_stream_ordering();
CREATE TRIGGER check_event_stream_ordering BEFORE INSERT OR UPDATE ON local_current_membership
    FOR EACH ROW EXECUTE FUNCTION check_event_stream_ordering();
CREATE TRIGGER check_event_stream_ordering BEFORE INSERT OR UPDATE ON current_state_events
    FOR EACH ROW EXECUTE FUNCTION check_event_stream_ordering();

--
-- Room state over time: each event's group, each group a full state or a difference to another group
--
CREATE TABLE event_to_state_groups (
    event_id    text NOT NULL CONSTRAINT event_to_state_groups_event_id_key UNIQUE,
    state_group bigint NOT NULL
);
CREATE INDEX event_to_state_groups_sg_index ON event_to_state_groups (state_group);

CREATE TABLE state_groups (
    id       bigint NOT NULL CONSTRAINT state_groups_pkey PRIMARY KEY,
    room_id  text NOT NULL,
    event_id text NOT NULL
);
CREATE INDEX state_groups_room_id_idx ON state_groups (room_id);

CREATE TABLE state_group_edges (
    state_group      bigint NOT NULL,
    prev_state_group bigint NOT NULL
);
CREATE UNIQUE INDEX state_group_edges_unique_idx ON state_group_edges (state_group, prev_state_group);
CREATE INDEX state_group_edges_prev_idx ON state_group_edges (prev_state_group);

CREATE TABLE state_groups_state (
    state_group bigint NOT NULL,
    room_id     text NOT NULL,
    type        text NOT NULL,
    state_key   text NOT NULL,
    event_id    text NOT NULL
);
CREATE INDEX state_groups_state_type_idx ON state_groups_state (state_group, type, state_key);

--
-- The room list tables
--
IF NOT old_schema THEN
CREATE TABLE sliding_sync_joined_rooms_to_recalculate (
    room_id text NOT NULL,
    CONSTRAINT sliding_sync_joined_rooms_to_recalculate_pkey PRIMARY KEY (room_id),
    CONSTRAINT sliding_sync_joined_rooms_to_recalculate_room_id_fkey FOREIGN KEY (room_id) REFERENCES rooms (room_id)
);

CREATE TABLE sliding_sync_joined_rooms (
    room_id                     text NOT NULL,
    event_stream_ordering       bigint NOT NULL,
    bump_stamp                  bigint,
    room_type                   text,
    room_name                   text,
    is_encrypted                boolean NOT NULL DEFAULT false,
    tombstone_successor_room_id text,
    CONSTRAINT sliding_sync_joined_rooms_pkey PRIMARY KEY (room_id),
    CONSTRAINT sliding_sync_joined_rooms_room_id_fkey FOREIGN KEY (room_id) REFERENCES rooms (room_id),
    CONSTRAINT sliding_sync_joined_rooms_event_stream_ordering_fkey
        FOREIGN KEY (event_stream_ordering) REFERENCES events (stream_ordering)
);
CREATE UNIQUE INDEX sliding_sync_joined_rooms_event_stream_ordering
    ON sliding_sync_joined_rooms (event_stream_ordering);

CREATE TABLE sliding_sync_membership_snapshots (
    room_id                     text NOT NULL,
    user_id                     text NOT NULL,
    sender                      text NOT NULL,
    membership_event_id         text NOT NULL,
    membership                  text NOT NULL,
    forgotten                   integer NOT NULL DEFAULT 0,
    event_stream_ordering       bigint NOT NULL,
    event_instance_name         text NOT NULL,
    has_known_state             boolean NOT NULL DEFAULT false,
    room_type                   text,
    room_name                   text,
    is_encrypted                boolean NOT NULL DEFAULT false,
    tombstone_successor_room_id text,
    CONSTRAINT sliding_sync_membership_snapshots_pkey PRIMARY KEY (room_id, user_id),
    CONSTRAINT sliding_sync_membership_snapshots_room_id_fkey FOREIGN KEY (room_id) REFERENCES rooms (room_id),
    CONSTRAINT sliding_sync_membership_snapshots_membership_event_id_fkey
        FOREIGN KEY (membership_event_id) REFERENCES events (event_id),
    CONSTRAINT sliding_sync_membership_snapshots_event_stream_ordering_fkey
        FOREIGN KEY (event_stream_ordering) REFERENCES events (stream_ordering)
);
CREATE UNIQUE INDEX sliding_sync_membership_snapshots_event_stream_ordering
    ON sliding_sync_membership_snapshots (event_stream_ordering);
CREATE INDEX sliding_sync_membership_snapshots_membership_event_id_idx
    ON sliding_sync_membership_snapshots (membership_event_id);
CREATE INDEX sliding_sync_membership_snapshots_user_id_stream_ordering
    ON sliding_sync_membership_snapshots (user_id, event_stream_ordering);

INSERT INTO applied_schema_deltas (version, file) VALUES (87, '87/01_sliding_sync_memberships.sql');
END IF;
INSERT INTO schema_version (version, upgraded) VALUES (CASE WHEN old_schema THEN 86 ELSE 94 END, true);
INSERT INTO schema_compat_version (compat_version) VALUES (CASE WHEN old_schema THEN 83 ELSE 84 END);
END
$procedure$;
