-- Trigger functions. Anybody may name them in CREATE TRIGGER, which a restore by the tables' plain owner needs; a
-- trigger needs ownership of the table all the same.

CREATE FUNCTION sliding_sync.collect_events() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect_events';
CREATE FUNCTION sliding_sync.collect_event_json() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect_event_json';
CREATE FUNCTION sliding_sync.collect_rejections() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect_rejections';
CREATE FUNCTION sliding_sync.collect_redactions() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect_redactions';
CREATE FUNCTION sliding_sync.collect_room_ban_redactions() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect_room_ban_redactions';
CREATE FUNCTION sliding_sync.collect_rooms() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect_rooms';
CREATE FUNCTION sliding_sync.collect_room_memberships() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect_room_memberships';
CREATE FUNCTION sliding_sync.collect_current_state_events() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect_current_state_events';
CREATE FUNCTION sliding_sync.collect_local_current_membership() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect_local_current_membership';
CREATE FUNCTION sliding_sync.collect_sliding_sync_joined_rooms() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect_derived';
CREATE FUNCTION sliding_sync.collect_sliding_sync_membership_snapshots() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'sliding_sync_collect_derived';

COMMENT ON FUNCTION sliding_sync.collect_events() IS 'trigger: notes what a changed row of events may have changed';
COMMENT ON FUNCTION sliding_sync.collect_event_json() IS 'trigger: notes what a changed row of event_json may have changed';
COMMENT ON FUNCTION sliding_sync.collect_rejections() IS 'trigger: notes what a changed row of rejections may have changed';
COMMENT ON FUNCTION sliding_sync.collect_redactions() IS 'trigger: notes what a changed row of redactions may have changed';
COMMENT ON FUNCTION sliding_sync.collect_room_ban_redactions() IS 'trigger: notes what a changed row of room_ban_redactions may have changed';
COMMENT ON FUNCTION sliding_sync.collect_rooms() IS 'trigger: notes what a changed row of rooms may have changed';
COMMENT ON FUNCTION sliding_sync.collect_room_memberships() IS 'trigger: notes what a changed row of room_memberships may have changed';
COMMENT ON FUNCTION sliding_sync.collect_current_state_events() IS 'trigger: notes what a changed row of current_state_events may have changed';
COMMENT ON FUNCTION sliding_sync.collect_local_current_membership() IS 'trigger: notes what a changed row of local_current_membership may have changed';
COMMENT ON FUNCTION sliding_sync.collect_sliding_sync_joined_rooms() IS 'trigger: notes rows that somebody else deletes';
COMMENT ON FUNCTION sliding_sync.collect_sliding_sync_membership_snapshots() IS 'trigger: notes rows that somebody else deletes';
