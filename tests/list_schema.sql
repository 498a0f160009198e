-- The homeserver's tables that only room lists read, beside those of tests/extension/schema.sql.
CREATE TABLE account_data (
    user_id           text NOT NULL,
    account_data_type text NOT NULL,
    stream_id         bigint NOT NULL,
    content           text NOT NULL,
    instance_name     text,
    CONSTRAINT account_data_uniqueness UNIQUE (user_id, account_data_type)
);
CREATE TABLE room_tags (
    user_id text NOT NULL,
    room_id text NOT NULL,
    tag     text NOT NULL,
    content text NOT NULL,
    CONSTRAINT room_tag_uniqueness UNIQUE (user_id, room_id, tag)
);
CREATE TABLE ignored_users (
    ignorer_user_id text NOT NULL,
    ignored_user_id text NOT NULL
);
CREATE UNIQUE INDEX ignored_users_uniqueness ON ignored_users (ignorer_user_id, ignored_user_id);
CREATE INDEX ignored_users_ignored_user_id ON ignored_users (ignored_user_id);
