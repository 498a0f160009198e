"""What sliding_sync.room_list() and room_list_changes() promise besides the right rooms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from harness.standby import Standby
from lists.homeserver import answer_by_queries, copy_of, create_template, grant_reading
from oracle.room_list import lower
from synthetic.database import OWNER, connect, create_homeserver

Connection = psycopg.Connection[Any]

ANNA, BERT = "@anna:hs.test", "@bert:hs.test"


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> Iterator[str]:
    """A hundred rooms of Anna's; Bert is in ten of them."""
    name = create_template(cluster, "contract")
    with connect(cluster, name) as connection:
        for number in range(100):
            connection.execute("SELECT create_room(%s, %s, name => %s)", [f"!r{number}:hs.test", ANNA, f"Room {number}"])
            if number % 10 == 0:
                connection.execute('SELECT "join"(%s, %s)', [f"!r{number}:hs.test", BERT])
        connection.execute("ANALYZE")
    yield name
    cluster.drop_database(name)


@pytest.fixture
def connection(cluster: Cluster, template: str) -> Iterator[Connection]:
    with copy_of(cluster, template) as connection:
        yield connection


def rooms(connection: Connection, arguments: str = "", user: str = BERT) -> list[str]:
    query = f"SELECT room_id FROM sliding_sync.room_list('{user}'{arguments})"
    return [room for (room,) in connection.execute(query).fetchall()]  # type: ignore[arg-type]


# -- arguments


def test_ranges(connection: Connection) -> None:
    whole = rooms(connection)
    assert len(whole) == 10
    assert rooms(connection, ", range_start => 0, range_end => 0") == whole[:1]
    assert rooms(connection, ", range_start => 3, range_end => 5") == whole[3:6]
    assert rooms(connection, ", range_start => 8") == whole[8:]
    assert rooms(connection, ", range_start => 5, range_end => 3") == []
    assert rooms(connection, ", range_start => 10, range_end => 12") == []
    assert rooms(connection, ", range_end => 9223372036854775807") == whole
    assert rooms(connection, ", range_start => 9223372036854775807, range_end => 9223372036854775807") == []


def test_null_is_the_default(connection: Connection) -> None:
    nulls = ", NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL"
    assert rooms(connection, nulls) == rooms(connection)
    for user in ("NULL::text", "''", "'@nobody:hs.test'"):
        assert connection.execute(f"SELECT * FROM sliding_sync.room_list({user})").fetchall() == []  # type: ignore[arg-type]
        query = f"SELECT * FROM sliding_sync.room_list_changes({user}, 0)"
        assert connection.execute(query).fetchall() == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call",
    [
        "room_list('@bert:hs.test', range_start => -1)",
        "room_list('@bert:hs.test', range_end => -1)",
        "room_list(NULL, range_end => -9223372036854775808)",
        "room_list('@bert:hs.test', sort_by => 'Recency')",
        "room_list('@bert:hs.test', sort_by => '')",
        "room_list_changes('@bert:hs.test', NULL)",
    ],
)
def test_bad_arguments(connection: Connection, call: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue) as error:
        connection.execute(f"SELECT * FROM sliding_sync.{call}")  # type: ignore[arg-type]
    assert error.value.diag.message_hint


def test_nothing_is_injected(connection: Connection) -> None:
    for text in ("'; DROP TABLE rooms; --", '"', "$1", "%S", "%=", "\\", "E'\\''"):
        for argument in ("room_name_like", "target_schema"):
            try:
                connection.execute(f"SELECT * FROM sliding_sync.room_list(%s, {argument} => %s)", [text, text])  # type: ignore[arg-type]
            except psycopg.errors.UndefinedTable as error:
                assert argument == "target_schema" and "no homeserver" in str(error)
        for argument in ("tags", "not_tags", "spaces", "room_types", "not_room_types", "known_versions"):
            connection.execute(f"SELECT * FROM sliding_sync.room_list(%s, {argument} => %s::text[])", [BERT, [text, None]])  # type: ignore[arg-type]
    assert len(rooms(connection)) == 10


def test_a_schema_with_an_odd_name(connection: Connection) -> None:
    name = "odd \"name\" %S $1 '"
    quoted = '"' + name.replace('"', '""') + '"'
    with psycopg.connect(connection.info.dsn, user="postgres", autocommit=True) as superuser:
        superuser.execute(f"ALTER SCHEMA homeserver RENAME TO {quoted}")  # type: ignore[arg-type]
        superuser.execute("SELECT sliding_sync.attach(%s)", [name])
        query = "SELECT count(*) FROM sliding_sync.room_list(%s, target_schema => %s)"
        assert superuser.execute(query, [BERT, name]).fetchall() == [(10,)]


# -- names


def test_lower_case_of_every_character(connection: Connection) -> None:
    codes = [code for code in range(1, 0x110000) if not 0xD800 <= code < 0xE000]
    text = "".join(map(chr, codes))
    ((ours,),) = connection.execute("SELECT sliding_sync.lower_case(%s)", [text]).fetchall()
    assert ours == lower(text)


def test_bytes_that_are_no_utf8(cluster: Cluster) -> None:
    cluster.execute("CREATE DATABASE bytes TEMPLATE template0 ENCODING 'SQL_ASCII'")
    try:
        cluster.execute("CREATE EXTENSION sliding_sync", "bytes")
        query = r"SELECT sliding_sync.lower_case(E'A\303\204B\377\303C\360\220\220\200\355\240')::bytea::text"
        assert cluster.execute(query, "bytes") == [(rb"\x61c3a462ffc363f09090a8eda0",)]
    finally:
        cluster.drop_database("bytes")


# -- where it works


def test_in_a_read_only_transaction(connection: Connection) -> None:
    connection.execute("SET default_transaction_read_only = on")
    ask_everything(connection)


def test_on_a_standby(cluster: Cluster, connection: Connection) -> None:
    with Standby(cluster) as standby, standby.connect(connection.info.dbname) as there:
        ask_everything(there)


def ask_everything(connection: Connection) -> None:
    filters = ", is_dm => false, spaces => '{!r0:hs.test}', tags => '{x}', not_tags => '{x}', room_types => '{NULL}'"
    assert rooms(connection, filters) == []
    assert len(rooms(connection, ", range_end => 4, is_dm => false")) == 5
    assert len(connection.execute("SELECT * FROM sliding_sync.room_list_changes(%s, 0)", [BERT]).fetchall()) == 10
    if connection.info.user == "postgres":
        verdicts = connection.execute("SELECT DISTINCT verdict FROM sliding_sync.explain_user(%s)", [BERT])
        assert verdicts.fetchall() == [("listed",)]


def test_it_sees_what_its_statement_sees(connection: Connection) -> None:
    """STABLE: a row that the same transaction changes later is not seen by a statement that began before."""
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    before = rooms(connection)
    with psycopg.connect(connection.info.dsn, autocommit=True) as other:
        other.execute("SET search_path = operations, homeserver")
        other.execute("SELECT send_message('!r0:hs.test', %s)", [ANNA])
    assert rooms(connection) == before
    connection.execute("COMMIT")
    assert rooms(connection) == ["!r0:hs.test", *(room for room in before if room != "!r0:hs.test")]


def test_in_parallel_workers(connection: Connection) -> None:
    connection.execute(
        "CREATE TABLE people AS SELECT '@bert:hs.test' AS user_id FROM generate_series(1, 20000);"
        "ALTER TABLE people SET (parallel_workers = 2); ANALYZE people;"
        "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;"
    )
    query = (
        "SELECT sum(x.n) FROM people p, LATERAL (SELECT count(*) AS n FROM sliding_sync.room_list(p.user_id, is_dm => false,"
        " spaces => '{!r0:hs.test}', range_end => 1)) x"
    )
    plan = "\n".join(line for (line,) in connection.execute("EXPLAIN (ANALYZE) " + query).fetchall())  # type: ignore[arg-type]
    assert re.search(r"Workers Launched: [12]", plan) and re.search(r"Parallel Seq Scan on people", plan), plan


def test_homeservers_without_the_optional_tables(cluster: Cluster) -> None:
    """Nothing is ignored, tagged or direct there."""
    create_homeserver(cluster, "plain_lists", owner=SUPERUSER)
    try:
        with cluster.connect("plain_lists") as connection:
            connection.execute("SET search_path = operations, homeserver")
            connection.execute("SELECT create_room('!r:hs.test', %s)", [ANNA])
            counts = [
                len(rooms(connection, more, ANNA))
                for more in ("", ", tags => '{x}'", ", not_tags => '{x}'", ", is_dm => true", ", is_dm => false")
            ]
            assert counts == [1, 0, 1, 0, 1]
            # somebody else's table of that name does not count
            cluster.create_role("planter")
            connection.execute("GRANT ALL ON SCHEMA homeserver TO planter; SET ROLE planter")
            connection.execute("CREATE VIEW homeserver.room_tags AS SELECT 1 / 0 AS user_id, 1 AS room_id, 2 AS tag")
            connection.execute("RESET ROLE")
            assert rooms(connection, ", tags => '{x}'", ANNA) == []
    finally:
        cluster.drop_database("plain_lists")


def test_nothing_depends_on_columns(connection: Connection) -> None:
    """A homeserver may alter and drop what it likes, also after lists have been asked for."""
    rooms(connection)
    connection.execute("ALTER TABLE rooms ALTER COLUMN room_version TYPE varchar(80)")
    connection.execute("ALTER TABLE sliding_sync_membership_snapshots ADD COLUMN more text")
    assert len(rooms(connection)) == 10
    assert len(rooms(connection, ", range_end => 2")) == 3
    connection.execute("ALTER TABLE sliding_sync_joined_rooms RENAME COLUMN room_name TO title")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        rooms(connection)


# -- rights


def test_what_is_missing_is_named(cluster: Cluster, connection: Connection) -> None:
    """Table after table: the hint is the statement that helps, and nothing more than these is needed."""
    name = connection.info.dbname
    cluster.create_role("list_reader")
    calls = [
        "SELECT * FROM sliding_sync.room_list('@bert:hs.test')",
        "SELECT * FROM sliding_sync.room_list('@bert:hs.test', is_dm => true, tags => '{x}', spaces => '{!r0:hs.test}')",
        "SELECT * FROM sliding_sync.room_list_changes('@bert:hs.test', 0)",
    ]
    granted = []
    with cluster.connect(name, "list_reader") as session:
        for call in calls:
            for _ in range(20):
                try:
                    session.execute(call)  # type: ignore[arg-type]
                    break
                except psycopg.errors.InsufficientPrivilege as error:
                    hint = str(error.diag.message_hint)
                    assert re.fullmatch(r"GRANT (USAGE ON SCHEMA homeserver|SELECT ON homeserver\.\w+) TO list_reader;", hint)
                    assert hint not in granted
                    connection.execute(hint)  # type: ignore[arg-type]
                    granted.append(hint)
    assert len(granted) == 1 + 4 + 2 + 6 + 1, granted


def test_row_security_is_the_callers(cluster: Cluster, connection: Connection) -> None:
    name = connection.info.dbname
    grant_reading(cluster, name, "half_blind")
    connection.execute(
        "ALTER TABLE sliding_sync_membership_snapshots ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY first_rooms ON sliding_sync_membership_snapshots TO half_blind USING (room_id < '!r5')"
    )
    with cluster.connect(name, "half_blind") as session:
        assert len(rooms(session)) == 5
    assert len(rooms(connection)) == 10


# -- plans


PLANS = [
    "room_list('@bert:hs.test')",
    "room_list('@anna:hs.test', range_end => 19)",
    "room_list('@bert:hs.test', is_dm => true, is_encrypted => false, room_types => '{NULL}', tags => '{x}', not_tags => '{y}',"
    " spaces => '{!r0:hs.test}', room_name_like => 'x', sort_by => 'name', range_end => 19)",
    "room_list_changes('@bert:hs.test', 0)",
    "room_list_changes('@anna:hs.test', 400)",
    "room_list_changes('@anna:hs.test', 400, is_encrypted => true, is_invite => false)",
]


@pytest.mark.parametrize("call", PLANS)
def test_no_table_is_read_from_end_to_end(cluster: Cluster, connection: Connection, call: str) -> None:
    """Also where tables are small, and statistics would advise it; and where row security leaves nothing but queries."""
    answer_by_queries(cluster, connection.info.dbname, "asks_by_queries")
    with cluster.connect(connection.info.dbname) as session:
        plans = plans_of(session, call, "asks_by_queries")
        assert "sliding_sync_membership_snapshots" in plans
        assert "Seq Scan" not in plans and "Bitmap Heap Scan" not in plans, plans
        # Anna is in all rooms, Bert in a tenth of them
        assert ("Merge" in plans) == ("anna" in call and "changes" not in call), plans
        if "range_end => 19)" in call and "anna" in call:
            # sorted are a room's id and its position, and only twenty of them
            (top,) = re.findall(r"Sort Method: top-N heapsort.*", plans)
            assert top


def plans_of(session: Connection, call: str, role: str) -> str:
    notices: list[str] = []
    session.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
    session.execute(
        "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;"
        f"SET auto_explain.log_analyze = on; SET client_min_messages = log; SET ROLE {role}"  # type: ignore[arg-type]
    )
    session.execute(f"SELECT * FROM sliding_sync.{call}")  # type: ignore[arg-type]
    return "\n".join(notices)


@pytest.mark.parametrize("call", [call for call in PLANS if call.startswith("room_list(")])
def test_no_plan_is_needed(cluster: Cluster, connection: Connection, call: str) -> None:
    """The tables of lists are read through their indexes, and none from end to end."""
    with cluster.connect(connection.info.dbname) as session:
        assert "sliding_sync_membership_snapshots s" not in plans_of(session, call, OWNER)
        session.execute("BEGIN")
        session.execute(f"SELECT * FROM sliding_sync.{call}")  # type: ignore[arg-type]
        scanned = session.execute("SELECT relname FROM pg_stat_xact_user_tables WHERE seq_scan > 0 AND schemaname = 'homeserver'")
        assert scanned.fetchall() == []


# -- where indexes alone do not do

STRANGE = {
    "no index": "DROP INDEX sliding_sync_membership_snapshots_user_id_stream_ordering",
    "no unique index": "ALTER TABLE rooms DROP CONSTRAINT rooms_pkey CASCADE; CREATE INDEX ON rooms (room_id)",
    "a deferrable one": "ALTER TABLE sliding_sync_joined_rooms DROP CONSTRAINT sliding_sync_joined_rooms_pkey,"
    " ADD PRIMARY KEY (room_id) DEFERRABLE",
    "other types": "ALTER TABLE sliding_sync_membership_snapshots ALTER forgotten TYPE bigint",
    "another collation": "ALTER TABLE sliding_sync_membership_snapshots ALTER room_id TYPE text COLLATE \"ucs_basic\"",
    "children": "CREATE TABLE child () INHERITS (rooms)",
    "children, where an inviter may be ignored": "CREATE TABLE child () INHERITS (ignored_users);"
    "SELECT remote_invite('!far:remote.test', '@anna:hs.test', '@pest:remote.test')",
    "empty columns": "ALTER TABLE sliding_sync_membership_snapshots ALTER sender DROP NOT NULL;"
    "UPDATE sliding_sync_membership_snapshots SET sender = NULL WHERE room_id = '!r0:hs.test' AND user_id = '@anna:hs.test'",
}


@pytest.mark.parametrize("what", STRANGE)
def test_what_only_a_query_can_read(cluster: Cluster, connection: Connection, what: str) -> None:
    """The same session goes on with queries, and finds the same rooms."""
    before = rooms(connection, user=ANNA)
    assert len(before) == 100
    connection.execute(STRANGE[what])  # type: ignore[arg-type]
    assert [room for room in rooms(connection, user=ANNA) if room != "!far:remote.test"] == before
    with cluster.connect(connection.info.dbname) as session:
        assert "sliding_sync_membership_snapshots s" in plans_of(session, f"room_list('{ANNA}')", OWNER)


def test_rights_to_some_columns(cluster: Cluster, connection: Connection) -> None:
    """They are enough, where they are those that the list needs."""
    name = connection.info.dbname
    grant_reading(cluster, name, "sees_columns")
    connection.execute("REVOKE SELECT ON rooms FROM sees_columns; GRANT SELECT (room_id, room_version) ON rooms TO sees_columns")
    with cluster.connect(name, "sees_columns") as session:
        assert rooms(session) == rooms(connection)
    connection.execute("REVOKE SELECT (room_version) ON rooms FROM sees_columns")
    with cluster.connect(name, "sees_columns") as session, pytest.raises(psycopg.errors.InsufficientPrivilege):
        rooms(session)


def test_memory_has_a_limit(cluster: Cluster, connection: Connection) -> None:
    """What does not fit into work_mem is sorted by a query, which knows files."""
    query = "SELECT count(create_room('!m' || n || ':hs.test', %s, name => repeat('long name ', 20) || n)) FROM generate_series(1, 600) n"
    connection.execute(query, ["@many:hs.test"])
    expected = rooms(connection, ", sort_by => 'name'", "@many:hs.test")
    assert len(expected) == 600
    with cluster.connect(connection.info.dbname) as session:
        call = "room_list('@many:hs.test', sort_by => 'name')"
        assert "sliding_sync_membership_snapshots s" not in plans_of(session, call, OWNER)
        session.execute("RESET ROLE; SET work_mem = '64kB'; SET hash_mem_multiplier = 1")
        assert "sliding_sync_membership_snapshots s" in plans_of(session, call, OWNER)
        assert rooms(session, ", sort_by => 'name'", "@many:hs.test") == expected


def test_a_list_within_the_reading_of_another_homeservers(cluster: Cluster) -> None:
    """A policy of the tables' owner asks for a list of another schema, whose tables have their columns in another order."""
    name = create_homeserver(cluster, "nested lists")
    with connect(cluster, name, SUPERUSER) as connection:
        connection.execute("CALL operations.make_homeserver('other')")
        connection.execute("DROP TABLE other.rooms CASCADE")
        connection.execute("CREATE TABLE other.rooms (room_id text PRIMARY KEY, room_version text, is_public boolean, creator text)")
        connection.execute("SELECT sliding_sync.attach('other')")
        connection.execute("SELECT create_room('!a:hs.test', '@anna:hs.test', name => 'A'); UPDATE rooms SET is_public = true")
        connection.execute("CREATE TABLE homeserver.room_tags (user_id text, room_id text, tag text, content text)")
        connection.execute("INSERT INTO homeserver.room_tags VALUES ('@anna:hs.test', '!a:hs.test', 'x', '{}')")
        connection.execute(
            "CREATE FUNCTION asks_for_the_other() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN"
            " PERFORM FROM sliding_sync.room_list('@nobody:hs.test', target_schema => 'other'); RETURN true; END $$"
        )
        connection.execute("CREATE POLICY p ON homeserver.room_tags USING (asks_for_the_other())")
        connection.execute("ALTER TABLE homeserver.room_tags ENABLE ROW LEVEL SECURITY")
        connection.execute("CREATE ROLE lister; GRANT USAGE ON SCHEMA homeserver, other, operations TO lister")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA homeserver, other TO lister; SET ROLE lister")
        listed = connection.execute(
            "SELECT room_id, room_name FROM sliding_sync.room_list('@anna:hs.test', tags => '{x}', target_schema => 'homeserver')"
        ).fetchall()
        assert listed == [("!a:hs.test", "A")]
    cluster.drop_database(name)
    cluster.execute("DROP ROLE lister")
