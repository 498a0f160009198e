"""Code of the tables' owner and an administrator's cursors, and what an error shows a role without rights."""

from __future__ import annotations

import psycopg
import pytest

from harness.cluster import Cluster
from synthetic.database import OWNER, SCHEMA, connect, create_homeserver

ROOM, ANNA = "!r:hs.test", "@anna:hs.test"
TABLE = f"{SCHEMA}.sliding_sync_joined_rooms"


def test_cursors(cluster: Cluster) -> None:
    name = create_homeserver(cluster, "cursors")
    with connect(cluster, name) as owner:
        owner.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
        owner.execute(f"""
            CREATE TABLE {SCHEMA}.stolen (what text);
            CREATE FUNCTION {SCHEMA}.steal() RETURNS trigger LANGUAGE plpgsql AS $$
            DECLARE mine refcursor := 'planted'; yours refcursor := 'report'; what text;
            BEGIN
                OPEN mine FOR SELECT 1;
                BEGIN
                    FETCH NEXT FROM yours INTO what;
                    INSERT INTO {SCHEMA}.stolen VALUES (what);
                EXCEPTION WHEN OTHERS THEN NULL;
                END;
                RETURN NULL;
            END $$;
            CREATE TRIGGER steal AFTER UPDATE ON {TABLE} FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.steal()""")
    with cluster.connect(name) as administrator, administrator.transaction():
        administrator.execute(f"UPDATE {TABLE} SET room_name = 'wrong'")
        administrator.execute("CLOSE planted")
        administrator.execute("DECLARE report CURSOR FOR SELECT 'secret'")
        administrator.execute(f"TRUNCATE {SCHEMA}.stolen")
        assert administrator.execute("SELECT room_id FROM sliding_sync.repair()").fetchall() == [(ROOM,)]
        assert administrator.execute("SELECT name FROM pg_cursors WHERE name IN ('report', 'planted')").fetchall() == [
            ("report",)
        ]
        assert administrator.execute(f"SELECT * FROM {SCHEMA}.stolen").fetchall() == []
        assert administrator.execute("FETCH ALL FROM report").fetchall() == [("secret",)]
    cluster.drop_database(name)


def test_an_error_shows_no_row(cluster: Cluster) -> None:
    name = create_homeserver(cluster, "details")
    cluster.create_role("bot")
    with connect(cluster, name) as owner:
        owner.execute("SELECT create_room(%s, %s, name => 'Secret')", (ROOM, ANNA))
        owner.execute(f"UPDATE {TABLE} SET is_encrypted = true")  # so that it is written again
        owner.execute(f"ALTER TABLE {TABLE} ADD CHECK (room_type IS NOT NULL) NOT VALID")
        owner.execute(f"GRANT USAGE ON SCHEMA {SCHEMA} TO bot; GRANT SELECT, UPDATE ON {SCHEMA}.events TO bot")
    change = f"UPDATE {SCHEMA}.events SET sender = sender || 'x' WHERE type = 'm.room.name'"
    for user, is_shown in (("bot", False), (OWNER, True)):
        with cluster.connect(name, user) as connection:
            connection.execute("SET sliding_sync.on_failure = error")
            with pytest.raises(psycopg.errors.CheckViolation) as raised:
                connection.execute(change)
            assert ("Secret" in (raised.value.diag.message_detail or "")) == is_shown
    cluster.drop_database(name)
