"""What somebody has put on the derived tables refuses, swallows or changes what is written for one room, or one member.

The homeserver's transaction commits; the row is absent and noted rather than wrong, its neighbours are right, as often as it
happens. Only where a wrong row cannot be removed either does the homeserver see an error, and nothing has changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from oracle import Finding, check
from oracle.finding import JOINED_ROOMS, ROW, SNAPSHOTS
from synthetic.database import ROOM, SCHEMA, connect, copied, create_homeserver

Connection = psycopg.Connection[Any]

BAD, GOOD, ANNA, BERT = "!bad:hs.test", "!good:hs.test", "@anna:hs.test", "@bert:hs.test"
MORE_THAN_A_BREAKER = 10

_BODY = {
    "refuses": "RAISE EXCEPTION 'refused'",
    "swallows": "RETURN NULL",
    "changes": "NEW.is_encrypted := NOT NEW.is_encrypted; RETURN NEW",
    "moves": "NEW.event_stream_ordering := 1; RETURN NEW",
}


def trigger(does: str, events: str, table: str = JOINED_ROOMS, when: str = "BEFORE") -> str:
    """A trigger that does so with rows of the bad room, or of the bad member, and lets all others through."""
    mine = f"changed.room_id = '{BAD}'" + (f" AND changed.user_id = '{BERT}'" if table == SNAPSHOTS else "")
    kind, after = ("CONSTRAINT", " DEFERRABLE INITIALLY DEFERRED") if when == "DEFERRED" else ("", "")
    return f"""
        CREATE FUNCTION operations.{does}() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            changed record := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
        BEGIN
            IF {mine} THEN {_BODY[does]}; END IF;
            RETURN changed;
        END $$;
        CREATE {kind} TRIGGER {does} {"AFTER" if kind else when} {events} ON {table}{after}
            FOR EACH ROW EXECUTE FUNCTION operations.{does}();
    """


def rule(event: str, table: str = JOINED_ROOMS) -> str:
    return f"CREATE RULE nothing_{event.lower()} AS ON {event} TO {table} DO INSTEAD NOTHING;"


_REFERENCE = f"""
    CREATE TABLE operations.favourites (room_id text REFERENCES {JOINED_ROOMS} (room_id));
    INSERT INTO operations.favourites VALUES ('{BAD}');
"""
_CHANGE = "INSERT OR UPDATE"

# The row can be removed, so it is.
ROW_GOES = {
    "a trigger refuses": trigger("refuses", _CHANGE),
    "a trigger refuses updates": trigger("refuses", "UPDATE"),
    "a trigger refuses afterwards": trigger("refuses", _CHANGE, when="AFTER"),
    "a deferred trigger refuses": trigger("refuses", _CHANGE, when="DEFERRED"),
    "a trigger swallows updates": trigger("swallows", "UPDATE"),
    "a trigger swallows": trigger("swallows", _CHANGE),
    "a trigger changes a column": trigger("changes", _CHANGE),
    "a trigger changes the ordering": trigger("moves", "UPDATE"),
    "a child of the table has the row as well": f"""
        CREATE TABLE operations.child () INHERITS ({JOINED_ROOMS});
        INSERT INTO operations.child SELECT * FROM ONLY {JOINED_ROOMS} WHERE room_id = '{BAD}';
    """,
    "without a primary key, the row is there twice": f"""
        ALTER TABLE {JOINED_ROOMS} DROP CONSTRAINT sliding_sync_joined_rooms_pkey CASCADE;
        INSERT INTO {JOINED_ROOMS} SELECT room_id, event_stream_ordering - 1, bump_stamp, room_type, 'Twin', is_encrypted
            FROM {JOINED_ROOMS} WHERE room_id = '{BAD}';
    """,
    "a check": f"ALTER TABLE {JOINED_ROOMS} ADD CHECK (room_id <> '{BAD}') NOT VALID;",
    "an index on an expression": f"""
        DO $$ BEGIN EXECUTE format('CREATE FUNCTION operations.fails(room text, stamp bigint) RETURNS bigint IMMUTABLE'
            ' LANGUAGE plpgsql AS %L', format('BEGIN IF room = %L AND stamp > %s THEN RAISE EXCEPTION USING MESSAGE = room;'
            ' END IF; RETURN stamp; END', '{BAD}', (SELECT bump_stamp FROM {JOINED_ROOMS} WHERE room_id = '{BAD}'))); END $$;
        CREATE INDEX ON {JOINED_ROOMS} (operations.fails(room_id, bump_stamp));
    """,
}
# The row can be neither changed nor removed.
ROW_STAYS = {
    "a trigger refuses everything": trigger("refuses", "INSERT OR UPDATE OR DELETE"),
    "a trigger swallows everything": trigger("swallows", "INSERT OR UPDATE OR DELETE"),
    "a trigger swallows updates and deletes": trigger("swallows", "UPDATE OR DELETE"),
    "a trigger refuses, and a foreign key holds the row": trigger("refuses", "UPDATE") + _REFERENCE,
    "a trigger swallows, and a foreign key holds the row": trigger("swallows", "UPDATE") + _REFERENCE,
}
# The row must go with the room's state, and does not.
CANNOT_GO = {
    "a trigger refuses deletes": trigger("refuses", "DELETE"),
    "a trigger swallows deletes": trigger("swallows", "DELETE"),
    "a rule swallows deletes": rule("DELETE"),
    "a foreign key holds the row": _REFERENCE,
}

CHANGES = {
    "message": f"SELECT send_message('{BAD}', '{ANNA}')",
    "name": f"SELECT rename('{BAD}', '{ANNA}', 'New ' || nextval('event_counter'))",
    "newest event deleted": f"""
        DELETE FROM event_forward_extremities WHERE room_id = '{BAD}';
        DELETE FROM events WHERE stream_ordering = (SELECT max(stream_ordering) FROM events WHERE room_id = '{BAD}');
    """,
}


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> str:
    name = create_homeserver(cluster, "obstacles_template", owner=SUPERUSER)
    with connect(cluster, name, SUPERUSER) as connection:
        for room in (BAD, GOOD):
            connection.execute("SELECT create_room(%s, %s, name => 'Old')", (room, ANNA))
            connection.execute('SELECT "join"(%s, %s)', (room, BERT))
        for _ in range(MORE_THAN_A_BREAKER + 5):
            connection.execute("SELECT send_message(%s, %s)", (BAD, ANNA))
    return name


@pytest.fixture
def connection(cluster: Cluster, template: str) -> Iterator[Connection]:
    with copied(cluster, template, "obstacles") as name, connect(cluster, name, SUPERUSER) as connection:
        yield connection


def judge(connection: Connection, absent: set[tuple[str, ...]] = frozenset()) -> None:  # type: ignore[assignment]
    """What is there is right; what may be absent is absent, and noted."""
    findings = check(connection, SCHEMA)
    gone = {finding.key for finding in findings if (finding.column, finding.actual) == (ROW, "absent")}
    wrong: list[Finding] = [finding for finding in findings if finding.key not in gone or finding.key not in absent]
    assert not wrong, "\n".join(map(str, wrong))
    notes = connection.execute("SELECT room_id, user_id FROM sliding_sync.quarantine").fetchall()
    noted = {tuple(part for part in note if part) for note in notes}
    assert gone <= noted, f"absent and not noted: {gone - noted}"


def live_on(connection: Connection) -> None:
    """The neighbour's changes are as right as ever, also in the transactions of the bad one."""
    connection.execute("SELECT rename(%s, %s, 'Newer')", (GOOD, ANNA))
    connection.execute("SELECT send_message(%s, %s)", (GOOD, ANNA))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("obstacle", ROW_GOES)
def test_a_room_loses_its_row_and_nothing_else(connection: Connection, obstacle: str, change: str) -> None:
    connection.execute(ROW_GOES[obstacle])
    events = connection.execute("SELECT count(*) FROM events").fetchone()
    for _ in range(MORE_THAN_A_BREAKER):
        connection.execute(CHANGES[change])
        judge(connection, {(BAD,)})
        with connection.transaction():
            connection.execute(CHANGES[change].split(";\n")[0])
            live_on(connection)
        judge(connection, {(BAD,)})
    assert connection.execute("SELECT count(*) FROM events").fetchone() != events
    connection.execute(f"DROP FUNCTION IF EXISTS operations.refuses, operations.swallows, operations.changes, operations.moves,"
                       f" operations.fails CASCADE; ALTER TABLE {JOINED_ROOMS} DROP CONSTRAINT IF EXISTS"
                       f" sliding_sync_joined_rooms_room_id_check; CREATE UNIQUE INDEX ON {JOINED_ROOMS} (room_id)")  # fmt: skip
    connection.execute(CHANGES["message"])
    judge(connection)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("obstacle", ROW_STAYS)
def test_a_wrong_row_that_stays_is_an_error(connection: Connection, obstacle: str, change: str) -> None:
    connection.execute(ROW_STAYS[obstacle])
    before = connection.execute("SELECT count(*), sum(stream_ordering) FROM events").fetchone()
    for _ in range(MORE_THAN_A_BREAKER):
        with pytest.raises(psycopg.Error):
            connection.execute(CHANGES[change])
        assert connection.execute("SELECT count(*), sum(stream_ordering) FROM events").fetchone() == before
    judge(connection)
    live_on(connection)
    judge(connection)


@pytest.mark.parametrize("obstacle", CANNOT_GO)
def test_a_row_that_must_go_and_does_not(connection: Connection, obstacle: str) -> None:
    connection.execute('SELECT "leave"(%s, %s)', (BAD, BERT))
    connection.execute(CANNOT_GO[obstacle])
    for _ in range(MORE_THAN_A_BREAKER):
        with pytest.raises(psycopg.Error):
            connection.execute('SELECT "leave"(%s, %s)', (BAD, ANNA))
    judge(connection)
    connection.execute(CHANGES["name"])
    live_on(connection)
    judge(connection)


@pytest.mark.parametrize("has_trigger", [False, True])
@pytest.mark.parametrize("events", [("UPDATE",), ("INSERT", "UPDATE"), ("INSERT",)], ids=["updates", "all", "inserts"])
def test_rules_that_do_nothing_instead(connection: Connection, events: tuple[str, ...], has_trigger: bool) -> None:
    """They hit every room alike. When they have gone, so have our plans, whatever else there is."""
    if has_trigger:
        connection.execute(
            "CREATE FUNCTION operations.agrees() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
            f"CREATE TRIGGER agrees AFTER DELETE ON {JOINED_ROOMS} FOR EACH ROW EXECUTE FUNCTION operations.agrees()"
        )
    for table in (JOINED_ROOMS, SNAPSHOTS):
        for event in events:
            connection.execute(rule(event, table))
    for number in range(MORE_THAN_A_BREAKER):
        connection.execute(CHANGES["name"])
        connection.execute('SELECT "join"(%s, %s)', (BAD, f"@new{number}:hs.test"))
        live_on(connection)
    judge(connection, {(BAD,), (GOOD,), *((BAD, f"@new{number}:hs.test") for number in range(MORE_THAN_A_BREAKER))})
    for table in (JOINED_ROOMS, SNAPSHOTS):
        for event in events:
            connection.execute(f"DROP RULE nothing_{event.lower()} ON {table}")
    assert connection.execute("SELECT remaining FROM sliding_sync.repair_quarantine()").fetchone() == (0,)
    judge(connection)


MEMBER_GOES = {
    "refuses": trigger("refuses", _CHANGE, SNAPSHOTS),
    "refuses afterwards": trigger("refuses", _CHANGE, SNAPSHOTS, "AFTER"),
    "refuses when deferred": trigger("refuses", _CHANGE, SNAPSHOTS, "DEFERRED"),
    "swallows": trigger("swallows", _CHANGE, SNAPSHOTS),
    "changes": trigger("changes", _CHANGE, SNAPSHOTS),
}
MEMBER_CHANGES = {
    "leave": f"""SELECT "leave"('{BAD}', '{BERT}')""",
    "new profile": f"""SELECT "join"('{BAD}', '{BERT}')""",
    "forget": f"SELECT forget('{BAD}', '{BERT}')",
}


@pytest.mark.parametrize("change", MEMBER_CHANGES)
@pytest.mark.parametrize("obstacle", MEMBER_GOES)
def test_a_member_loses_the_snapshot_and_nothing_else(connection: Connection, obstacle: str, change: str) -> None:
    connection.execute(MEMBER_GOES[obstacle])
    for number in range(MORE_THAN_A_BREAKER):
        connection.execute(MEMBER_CHANGES[change])
        judge(connection, {(BAD, BERT)})
        connection.execute('SELECT "join"(%s, %s)', (BAD, f"@new{number}:hs.test"))
        judge(connection, {(BAD, BERT)})


@pytest.mark.parametrize("does", ["refuses", "swallows"])
@pytest.mark.parametrize("change", MEMBER_CHANGES)
def test_a_wrong_snapshot_that_stays_is_an_error(connection: Connection, does: str, change: str) -> None:
    connection.execute(trigger(does, "INSERT OR UPDATE OR DELETE", SNAPSHOTS))
    for _ in range(MORE_THAN_A_BREAKER):
        with pytest.raises(psycopg.Error):
            connection.execute(MEMBER_CHANGES[change])
    judge(connection)
    connection.execute(CHANGES["message"])
    live_on(connection)
    judge(connection)


@pytest.mark.parametrize("table", [JOINED_ROOMS, SNAPSHOTS])
def test_what_the_planner_runs_leads_here_again(connection: Connection, table: str) -> None:
    """A constant expression of an index purges a room while a statement of ours is planned, which plans more of them."""
    connection.execute(f"""
        CREATE FUNCTION operations.purge() RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            IF current_setting('obstacles.purge', true) = 'yes' THEN
                PERFORM set_config('obstacles.purge', '', true), purge_room('{BAD}');
            END IF;
        END $$;
        CREATE FUNCTION operations.constant() RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM operations.purge();
            RETURN 1;
        END $$;
        CREATE INDEX ON {table} ((operations.constant()));
        SET obstacles.purge = 'yes';
    """)
    connection.execute('SELECT "join"(%s, %s)', (GOOD, "@new:hs.test"))
    assert not connection.execute("SELECT FROM rooms WHERE room_id = %s", (BAD,)).fetchall(), "it has not run"
    live_on(connection)
    judge(connection)


def test_a_message_where_the_owner_may_not_update_rows(cluster: Cluster, tea_room: str) -> None:
    """It is stored, and the row goes: as with any other change."""
    cluster.create_role("writer")
    with copied(cluster, tea_room) as name, connect(cluster, name, SUPERUSER) as admin:
        admin.execute(
            f"GRANT USAGE ON SCHEMA {SCHEMA}, operations TO writer; GRANT ALL ON ALL TABLES IN SCHEMA {SCHEMA} TO writer;"
            f" GRANT ALL ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO writer"
        )
        with connect(cluster, name, "writer") as writer:
            writer.execute("SELECT send_message(%s, %s)", (ROOM, ANNA))
            admin.execute(f"REVOKE UPDATE ON {SCHEMA}.{JOINED_ROOMS} FROM homeserver_owner")
            writer.execute("SELECT send_message(%s, %s)", (ROOM, ANNA))
        assert [finding for finding in check(admin, SCHEMA) if finding.actual != "absent"] == []
        assert admin.execute("SELECT sqlstate FROM sliding_sync.quarantine").fetchall() == [("42501",)]
