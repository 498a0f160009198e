"""Dumps, restores, bulk copies and replication of a homeserver's database keep triggers and rows."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from harness import processes
from harness.cluster import SUPERUSER, Cluster
from oracle import Watcher, check
from synthetic.database import ANNA, BERT, DERIVED_TABLES, OWNER, ROOM, SCHEMA, connect, create_homeserver, flags
from synthetic.load import Rooms, play, prepare

Connection = psycopg.Connection[Any]
Rows = dict[str, list[tuple[Any, ...]]]


# Base tables, and where the triggers are: what a copy must have as well.
_TRIGGERS = """
    SELECT t.tgrelid::regclass::text, t.tgname, t.tgenabled, pg_get_triggerdef(t.oid), e.extname
    FROM pg_trigger t LEFT JOIN pg_depend d ON d.classid = 'pg_trigger'::regclass AND d.objid = t.oid
        AND d.deptype = 'x' LEFT JOIN pg_extension e ON e.oid = d.refobjid
    WHERE t.tgname LIKE 'A\\_sliding\\_sync%' ORDER BY 1, 2
"""


@pytest.fixture(scope="module")
def source(cluster: Cluster) -> str:
    """A homeserver with the past of a short load."""
    name = create_homeserver(cluster, "dumped")
    rooms = Rooms(3, shared=3, own=2)
    with connect(cluster, name) as connection:
        prepare(connection, rooms)
        play(lambda: connect(cluster, name), rooms, seed=7, transactions=60)
        connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
        connection.execute('SELECT "join"(%s, %s)', (ROOM, BERT))
        connection.execute('SELECT "leave"(%s, %s)', (ROOM, BERT))
        connection.execute("SELECT rename(%s, %s, 'Coffee')", (ROOM, ANNA))
        assert not check(connection, SCHEMA)
    return name


@pytest.fixture
def copy(cluster: Cluster) -> Iterator[str]:
    """The name of a database that is not there yet."""
    yield "the copy"
    cluster.drop_database("the copy")


@pytest.fixture
def folder(cluster: Cluster) -> Path:
    return cluster.socket_directory  # the servers' user may write there


def run(cluster: Cluster, folder: Path, program: str, *arguments: object, options: str = "") -> str:
    return processes.run([cluster.bin / program, *arguments], cwd=folder, PGOPTIONS=options)


def all_rows(cluster: Cluster, database: str) -> Rows:
    with connect(cluster, database, SUPERUSER) as connection:
        return {table: rows_of(connection, table) for table in tables(connection)}


def tables(connection: Connection) -> list[str]:
    rows = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'r' ORDER BY 1",
        (SCHEMA,),
    )
    return [name for (name,) in rows]


def rows_of(connection: Connection, table: str) -> list[tuple[Any, ...]]:
    query = sql.SQL("SELECT * FROM {} t ORDER BY t::text").format(sql.Identifier(SCHEMA, table))
    return connection.execute(query).fetchall()


def assert_writes_are_right(cluster: Cluster, database: str) -> None:
    with connect(cluster, database) as connection:
        watcher = Watcher(connection, SCHEMA)
        for statement, arguments in (
            ("SELECT send_message(%s, %s)", (ROOM, ANNA)),
            ("SELECT rename(%s, %s, 'Milk')", (ROOM, ANNA)),
            ('SELECT "join"(%s, %s)', (ROOM, BERT)),
            ("SELECT purge_room(%s)", ("!shared1:hs.test",)),
        ):
            connection.execute(statement, arguments)
            assert not watcher.check_step()
        names = connection.execute(
            "SELECT room_name FROM sliding_sync_joined_rooms WHERE room_id = %s", (ROOM,)
        )
        assert names.fetchall() == [("Milk",)]


def assert_same(cluster: Cluster, source: str, copy: str) -> None:
    there = cluster.execute(_TRIGGERS, source)
    assert len(there) == 20 and all(extension == "sliding_sync" for *_, extension in there)
    assert cluster.execute(_TRIGGERS, copy) == there
    assert all_rows(cluster, copy) == all_rows(cluster, source)


@pytest.mark.parametrize("restored_by", [SUPERUSER, OWNER])
@pytest.mark.parametrize("dumped_by", [SUPERUSER, OWNER])
@pytest.mark.parametrize("form", ["plain", "custom", "parallel"])
def test_dump_and_restore(
    cluster: Cluster, source: str, copy: str, folder: Path, form: str, dumped_by: str, restored_by: str
) -> None:
    file = folder / "dump"
    # whoever does not own the extension may not comment on it; nothing of the homeserver's has a comment
    dump_flags = ["--no-comments", "-f", file, "-Fp" if form == "plain" else "-Fc", source]
    run(cluster, folder, "pg_dump", *flags(cluster, dumped_by), *dump_flags)
    cluster.create_database(copy, OWNER)
    if restored_by == OWNER:
        cluster.execute("CREATE EXTENSION sliding_sync", copy)  # which only an administrator may
    restore_flags = [*flags(cluster, restored_by), "-d", copy]
    if form == "plain":
        run(cluster, folder, "psql", "-qX", "-v", "ON_ERROR_STOP=1", *restore_flags, "-f", file)
    else:
        jobs = ["-j2"] if form == "parallel" else ["--exit-on-error"]
        run(cluster, folder, "pg_restore", *jobs, *restore_flags, file)
    assert_same(cluster, source, copy)
    assert_writes_are_right(cluster, copy)
    assert_attach_only_records(cluster, copy)
    cluster.execute("DROP EXTENSION sliding_sync", copy)
    assert not cluster.execute(_TRIGGERS, copy)


def assert_attach_only_records(cluster: Cluster, copy: str) -> None:
    """A restore brings triggers, which act; nobody has attached anything here, or looked at the rows."""
    triggers = "SELECT oid, xmin, tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
    with connect(cluster, copy, SUPERUSER) as connection:
        before = connection.execute(triggers).fetchall()
        assert connection.execute("SELECT * FROM sliding_sync.ready()").fetchone() == (
            False,
            ["not_attached"],
        )
        cures = connection.execute("SELECT code, remedy FROM sliding_sync.health").fetchall()
        assert cures == [("not_attached", f"SELECT sliding_sync.attach('{SCHEMA}')")]
        connection.execute("SELECT sliding_sync.attach()")
        assert connection.execute("SELECT * FROM sliding_sync.ready()").fetchone() == (
            False,
            ["never_completed"],
        )
        connection.execute("CALL sliding_sync.backfill()")
        assert connection.execute("SELECT * FROM sliding_sync.ready()").fetchone() == (True, [])
        assert connection.execute(triggers).fetchall() == before


def test_a_backup_of_the_homeservers_role_with_the_flags_of_most_scripts(
    cluster: Cluster, source: str, copy: str, folder: Path
) -> None:
    """A superuser creates the extension first; one error, about its comment, is left."""
    file = folder / "dump"
    run(cluster, folder, "pg_dump", *flags(cluster, OWNER), "-Fc", "-f", file, source)
    cluster.create_database(copy, OWNER)
    restore = [cluster.bin / "pg_restore", *flags(cluster, OWNER), "-d", copy, file]
    # without the extension the data comes back, and nobody keeps the rows
    with pytest.raises(RuntimeError, match="errors ignored on restore: 22"):
        processes.run(restore, cwd=folder)
    cluster.drop_database(copy)
    cluster.create_database(copy, OWNER)
    cluster.execute("CREATE EXTENSION sliding_sync", copy)
    with pytest.raises(RuntimeError, match="must be owner of extension sliding_sync") as failure:
        processes.run(restore, cwd=folder)
    assert "errors ignored on restore: 1" in str(failure.value)
    assert_same(cluster, source, copy)
    assert_attach_only_records(cluster, copy)


# -- data alone, into tables that have the triggers already


def empty_copy(cluster: Cluster, copy: str) -> None:
    create_homeserver(cluster, copy)
    with cluster.connect(copy) as connection:
        connection.execute(
            "SELECT setval('homeserver.event_counter', 1000000)"
        )  # the data has events of its own
        # The homeserver's own trigger, unlike ours, needs its search_path.
        connection.execute(
            "ALTER FUNCTION homeserver.check_event_stream_ordering() SET search_path = homeserver"
        )
        for table in ("schema_version", "schema_compat_version", "applied_schema_deltas"):
            connection.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(SCHEMA, table)))


@pytest.mark.parametrize("how", ["switched off", "disabled triggers", "replica"])
def test_data_only(cluster: Cluster, source: str, copy: str, folder: Path, how: str) -> None:
    """Whichever way the triggers are kept still, the rows are those of the dump."""
    empty_copy(cluster, copy)
    more = ["--disable-triggers"] if how == "disabled triggers" else []
    options = {
        "switched off": "-c sliding_sync.enabled=off",
        "replica": "-c session_replication_role=replica",
    }.get(how, "")
    file = folder / "data"
    run(cluster, folder, "pg_dump", *flags(cluster), "--data-only", *more, "-n", SCHEMA, "-f", file, source)
    by = OWNER if how == "switched off" else SUPERUSER
    psql = ["-qX", "-v", "ON_ERROR_STOP=1", *flags(cluster, by), "-d", copy, "-f", file]
    run(cluster, folder, "psql", *psql, options=options)
    if how == "disabled triggers":  # ENABLE TRIGGER ALL knows one kind of enabled only
        cluster.execute("SELECT sliding_sync.attach()", copy)
    assert_same(cluster, source, copy)
    assert_writes_are_right(cluster, copy)


@pytest.mark.parametrize("single", [False, True], ids=["a transaction a table", "a single transaction"])
def test_data_only_of_the_base_tables(
    cluster: Cluster, source: str, copy: str, folder: Path, single: bool
) -> None:
    """The triggers fire under an empty search_path, table by table, and make the rows themselves."""
    empty_copy(cluster, copy)
    file = folder / "data"
    without = [f"--exclude-table={SCHEMA}.{table}" for table in DERIVED_TABLES]
    run(
        cluster, folder, "pg_dump", *flags(cluster), "--data-only", *without, "-n", SCHEMA, "-f", file, source
    )
    assert "set_config('search_path', '', false)" in file.read_text()
    more = ["--single-transaction"] if single else []
    psql = ["-qX", "-v", "ON_ERROR_STOP=1", *more, *flags(cluster, OWNER), "-d", copy, "-f", file]
    run(cluster, folder, "psql", *psql)
    with connect(cluster, copy) as connection:
        findings = check(connection, SCHEMA)
        joined_rooms = rows_of(connection, "sliding_sync_joined_rooms")
        history = connection.execute(
            "SELECT room_id, user_id FROM local_current_membership WHERE membership <> 'join'"
        ).fetchall()
    assert joined_rooms == all_rows(cluster, source)["sliding_sync_joined_rooms"]
    # What a room was like when somebody left or was invited stands in state groups, which the backfill reads:
    # there is no such row, or, all in one transaction, one with the state at the end of that transaction.
    wrong = [
        str(finding)
        for finding in findings
        if finding.key not in history or not (single or finding.column == "(row)")
    ]
    assert not wrong, "\n".join(wrong[:30])
    assert_writes_are_right(cluster, copy)


# -- a bulk copy, table by table over several connections


def bulk_copy(
    cluster: Cluster,
    source: str,
    connect_copy: Callable[[], Connection],
    seed: int,
    last: tuple[str, ...] = (),
) -> None:
    """As the homeserver's own tool moves a database: rooms and events first, then everything in any order."""
    with connect(cluster, source, SUPERUSER) as origin:
        names = [name for name in tables(origin) if name not in ("rooms", "events", *last)]
    random.Random(seed).shuffle(names)

    def move(table: str) -> None:
        with connect(cluster, source, SUPERUSER) as origin, connect_copy() as target:
            columns = origin.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
                " AND NOT attisdropped ORDER BY attnum",
                (f"{SCHEMA}.{table}",),
            ).fetchall()
            insert = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                sql.Identifier(SCHEMA, table),
                sql.SQL(", ").join(sql.Identifier(name) for (name,) in columns),
                sql.SQL(", ").join(sql.Placeholder() * len(columns)),
            )
            rows = rows_of(origin, table)
            for begin in range(0, len(rows), 100):
                with target.transaction(), target.cursor() as cursor:
                    cursor.executemany(insert, rows[begin : begin + 100])

    for table in ("rooms", "events"):
        move(table)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(move, names))
    for table in last:
        move(table)


@pytest.mark.parametrize("seed", [1, 2, pytest.param(3, marks=pytest.mark.long)])
def test_bulk_copy_with_the_triggers_switched_off(
    cluster: Cluster, source: str, copy: str, seed: int
) -> None:
    empty_copy(cluster, copy)
    options = "-c sliding_sync.enabled=off"
    bulk_copy(cluster, source, lambda: connect(cluster, copy, options=options), seed)
    assert_same(cluster, source, copy)


def test_bulk_copy_with_the_triggers_at_work(cluster: Cluster, source: str, copy: str) -> None:
    """Why they have to be off: their rows are there first."""
    empty_copy(cluster, copy)
    with pytest.raises(psycopg.errors.UniqueViolation, match="sliding_sync_"):
        bulk_copy(cluster, source, lambda: connect(cluster, copy), 1, last=DERIVED_TABLES)


# -- replication


def test_a_session_of_a_replica(cluster: Cluster, source: str, copy: str) -> None:
    cluster.create_database(copy, OWNER, source)
    with connect(cluster, copy, SUPERUSER) as connection:
        before = {table: rows_of(connection, table) for table in DERIVED_TABLES}
        connection.execute("SET session_replication_role = replica")
        connection.execute("SELECT send_message(%s, %s), rename(%s, %s, 'Unseen')", (ROOM, ANNA, ROOM, ANNA))
        connection.execute('SELECT "join"(%s, %s)', (ROOM, BERT))
        assert {table: rows_of(connection, table) for table in DERIVED_TABLES} == before
        # the next change of the room and of the membership mends them
        connection.execute("RESET session_replication_role")
        connection.execute("SELECT rename(%s, %s, 'Seen')", (ROOM, ANNA))
        connection.execute("SELECT send_message(%s, %s)", (ROOM, ANNA))
        connection.execute('SELECT "join"(%s, %s)', (ROOM, BERT))
        assert not check(connection, SCHEMA)
    assert_writes_are_right(cluster, copy)


@pytest.mark.parametrize("with_derived", [True, False], ids=["all tables", "base tables"])
def test_logical_replication(with_derived: bool) -> None:
    """The triggers do nothing on a subscriber: rows arrive as data, or not at all."""
    with Cluster({"wal_level": "logical"}) as cluster:
        create_homeserver(cluster, "publisher")
        with connect(cluster, "publisher", SUPERUSER) as connection:
            connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
            published = [name for name in tables(connection) if with_derived or name not in DERIVED_TABLES]
            for table in published:
                # most of them have no primary key
                query = sql.SQL("ALTER TABLE {} REPLICA IDENTITY FULL")
                connection.execute(query.format(sql.Identifier(SCHEMA, table)))
            query = sql.SQL("CREATE PUBLICATION homeserver FOR TABLE {}")
            names = sql.SQL(", ").join(sql.Identifier(SCHEMA, table) for table in published)
            connection.execute(query.format(names))
        cluster.create_database("subscriber", OWNER, "publisher")
        before = all_rows(cluster, "subscriber")
        cluster.execute("SELECT pg_create_logical_replication_slot('homeserver', 'pgoutput')", "publisher")
        cluster.execute(
            sql.SQL(
                "CREATE SUBSCRIPTION homeserver CONNECTION {} PUBLICATION homeserver"
                " WITH (copy_data = false, create_slot = false, slot_name = 'homeserver')"
            ).format(sql.Literal(f"host=127.0.0.1 port={cluster.port} user={SUPERUSER} dbname=publisher")),
            "subscriber",
        )
        rooms = Rooms(2, shared=2, own=1)
        with connect(cluster, "publisher") as connection:
            prepare(connection, rooms)
            play(lambda: connect(cluster, "publisher"), rooms, seed=3, transactions=80)
            connection.execute("SELECT rename(%s, %s, 'Coffee')", (ROOM, ANNA))
        wait_for_subscriber(cluster)
        after, there = all_rows(cluster, "subscriber"), all_rows(cluster, "publisher")
        for table in published:
            assert after[table] == there[table], table
        if with_derived:
            with connect(cluster, "subscriber") as connection:
                assert not check(connection, SCHEMA)
        else:
            assert {table: after[table] for table in DERIVED_TABLES} == {table: before[table] for table in DERIVED_TABLES}
        cluster.execute("ALTER SUBSCRIPTION homeserver DISABLE", "subscriber")
        cluster.execute("ALTER SUBSCRIPTION homeserver SET (slot_name = NONE)", "subscriber")
        cluster.execute("DROP SUBSCRIPTION homeserver", "subscriber")
        with connect(cluster, "subscriber") as connection:
            # numbers of its own, as sequences are not replicated
            connection.execute("SELECT setval('homeserver.event_counter', 1000000)")
            for sequence in ("events_stream_seq", "events_backfill_stream_seq", "state_group_id_seq"):
                connection.execute("SELECT setval(%s, 1000000)", (sequence,))
            connection.execute("SELECT rename(%s, %s, 'Milk')", (ROOM, ANNA))
            names = connection.execute(
                "SELECT room_name FROM sliding_sync_joined_rooms WHERE room_id = %s", (ROOM,)
            )
            assert names.fetchall() == [("Milk",)]


def wait_for_subscriber(cluster: Cluster) -> None:
    deadline = time.monotonic() + 60
    target = cluster.execute("SELECT pg_current_wal_insert_lsn()")[0][0]
    query = sql.SQL("SELECT count(*) FROM pg_replication_slots WHERE confirmed_flush_lsn >= {}")
    while cluster.execute(query.format(sql.Literal(target))) != [(1,)]:
        assert time.monotonic() < deadline, cluster.read_log()[-3000:]
        time.sleep(0.1)
