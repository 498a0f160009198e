"""CALL sliding_sync.backfill() on a homeserver with a past: complete, shared, cancelled, and under load."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from generator import generate
from harness.cluster import SUPERUSER, Cluster
from oracle.check import check_picture, count_rows
from oracle.picture import take_picture
from synthetic.database import OPERATIONS, OWNER, SCHEMA, add_homeserver, connect, create_homeserver
from synthetic.load import Rooms, play, prepare

Connection = psycopg.Connection[Any]
Row = dict[str, Any]
Rows = dict[tuple[str, ...], Row]

JOINED_ROOMS, SNAPSHOTS = "sliding_sync_joined_rooms", "sliding_sync_membership_snapshots"
ROOMS = 150
UNWATCHED = "-c sliding_sync.enabled=off"
HISTORY = ("has_known_state", "room_type", "room_name", "is_encrypted", "tombstone_successor_room_id")
UNKNOWN = {"has_known_state": False, "is_encrypted": False}

_KEYS = """
    SELECT (SELECT count(*) FROM (SELECT room_id FROM rooms
            UNION SELECT room_id FROM sliding_sync_joined_rooms) r),
        (SELECT count(*) FROM (SELECT room_id, user_id FROM local_current_membership
            UNION SELECT room_id, user_id FROM sliding_sync_membership_snapshots) m)
"""
_PROGRESS = """
    SELECT coalesce(sum(items_done) FILTER (WHERE table_name = 'sliding_sync_joined_rooms'), 0)::bigint,
        coalesce(sum(items_done) FILTER (WHERE table_name = 'sliding_sync_membership_snapshots'), 0)::bigint
    FROM sliding_sync.run_ranges WHERE run_id = (SELECT max(run_id) FROM sliding_sync.runs)
"""
_CALL_IS_RUNNING = """
    SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'
        AND query LIKE 'CALL sliding_sync.backfill%' AND pid <> pg_backend_pid()
"""


def grown(cluster: Cluster, name: str, **options: str) -> str:
    """A homeserver with a past of thousands of events."""
    create_homeserver(cluster, name)
    with connect(cluster, name, **options) as connection:
        generate(connection, SCHEMA, ROOMS, seed=5)
    return name


@pytest.fixture(scope="module")
def live(cluster: Cluster) -> str:
    """The triggers were there from the beginning."""
    return grown(cluster, "live")


@pytest.fixture(scope="module")
def unwatched(cluster: Cluster) -> str:
    """The same past, without a single row of the derived tables."""
    return grown(cluster, "unwatched", options=UNWATCHED)


@pytest.fixture
def database(cluster: Cluster, unwatched: str) -> Iterator[str]:
    yield cluster.create_database("filled", OWNER, unwatched)
    cluster.drop_database("filled")


@pytest.fixture(scope="module")
def filled(cluster: Cluster, unwatched: str) -> dict[str, Rows]:
    """What one session, undisturbed, makes of it."""
    cluster.create_database("undisturbed", OWNER, unwatched)
    backfill(cluster, "undisturbed")
    rows = derived_rows(cluster, "undisturbed")
    cluster.drop_database("undisturbed")
    return rows


def administrator(cluster: Cluster, database: str, **more: Any) -> Connection:
    return connect(cluster, database, SUPERUSER, **more)


def call(connection: Connection, **arguments: object) -> Row:
    """Its result."""
    named = sql.SQL(", ").join(
        sql.SQL("{} => {}").format(sql.Identifier(k), sql.Literal(v)) for k, v in arguments.items()
    )
    cursor = connection.execute(sql.SQL("CALL sliding_sync.backfill({})").format(named))
    assert cursor.description is not None
    return dict(zip((column.name for column in cursor.description), cursor.fetchone() or ()))


def backfill(cluster: Cluster, database: str, **arguments: object) -> Row:
    with administrator(cluster, database) as connection:
        return call(connection, **arguments)


def rows_of(connection: Connection, table: str, keys: int) -> Rows:
    query = sql.SQL("SELECT * FROM {}").format(sql.Identifier(SCHEMA, table))
    cursor = connection.execute(query)
    names = [column.name for column in cursor.description or ()]
    return {row[:keys]: dict(zip(names, row)) for row in cursor}


def derived_rows(cluster: Cluster, database: str) -> dict[str, Rows]:
    with connect(cluster, database) as connection:
        found = {
            JOINED_ROOMS: rows_of(connection, JOINED_ROOMS, 1),
            SNAPSHOTS: rows_of(connection, SNAPSHOTS, 2),
        }
    assert all(found.values()), "a comparison of nothing proves nothing"
    return found


def assert_right(cluster: Cluster, database: str) -> None:
    with connect(cluster, database) as connection:
        picture = take_picture(connection, SCHEMA)
    findings = check_picture(picture)
    print(f"{count_rows(picture)} rows checked, {len(findings)} findings")
    assert not findings, "\n".join(map(str, findings[:30]))
    assert not cluster.execute("SELECT * FROM sliding_sync.quarantine", database)


def one_row(cluster: Cluster, database: str, query: LiteralString) -> tuple[Any, ...]:
    with administrator(cluster, database) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return tuple(row)


def assert_each_key_once(cluster: Cluster, database: str) -> None:
    assert one_row(cluster, database, _PROGRESS) == one_row(cluster, database, _KEYS)


# -- what it makes


def test_a_past_that_nobody_watched(cluster: Cluster, database: str, filled: dict[str, Rows]) -> None:
    """Every row, from nothing, as the oracle has it; and then none is left to write."""
    with administrator(cluster, database) as connection:
        done = call(connection)
        assert done["is_finished"] and not done["quarantined"]
        assert done["rows_written"] == sum(map(len, filled.values())) > 500
        again = call(connection)
        assert again == done | {"rows_written": 0}
    assert_each_key_once(cluster, database)
    assert derived_rows(cluster, database) == filled
    assert_right(cluster, database)


def test_rows_of_the_triggers_and_of_the_backfill(
    cluster: Cluster, live: str, filled: dict[str, Rows]
) -> None:
    """Equal, but for what the past alone knew."""
    made_live = derived_rows(cluster, live)
    assert filled[JOINED_ROOMS] == made_live[JOINED_ROOMS]
    assert filled[SNAPSHOTS].keys() == made_live[SNAPSHOTS].keys()
    today = made_live[JOINED_ROOMS]
    differences: dict[str, int] = {}
    for key, row in filled[SNAPSHOTS].items():
        before = made_live[SNAPSHOTS][key]
        if row == before:
            continue
        assert {k: v for k, v in row.items() if k not in HISTORY} == {
            k: v for k, v in before.items() if k not in HISTORY
        }
        membership = row["membership"]
        differences[membership] = differences.get(membership, 0) + 1
        history = {name: row[name] for name in HISTORY}
        if membership == "join":  # today's state
            room = today[key[:1]]
            assert history == {"has_known_state": True} | {name: room[name] for name in HISTORY[1:]}
        elif membership in ("invite", "knock"):  # from inside: what it tells itself, which is nothing here
            assert history == dict.fromkeys(HISTORY) | UNKNOWN
        else:  # a name that was redacted since
            assert history == {name: before[name] for name in HISTORY} | {"room_name": None}
    print(f"{len(filled[SNAPSHOTS])} memberships, of which with another history: {differences}")
    assert differences["join"] > 10


def test_rows_of_the_triggers_are_kept(cluster: Cluster, live: str) -> None:
    name = cluster.create_database("kept", OWNER, live)
    before = derived_rows(cluster, name)
    assert backfill(cluster, name)["rows_written"] == 0
    assert derived_rows(cluster, name) == before
    cluster.drop_database(name)


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_sessions_of_other_isolation_levels(
    cluster: Cluster, database: str, filled: dict[str, Rows], level: str
) -> None:
    options = f"-c default_transaction_isolation={level}".replace("e r", "e\\ r")
    with administrator(cluster, database, options=options) as connection:
        assert call(connection, batch_size=100)["is_finished"]
    assert_each_key_once(cluster, database)
    assert derived_rows(cluster, database) == filled


def test_no_table_is_read_from_end_to_end(cluster: Cluster, database: str) -> None:
    """P4: all but the list of rooms, for the ranges, is looked up by keys."""
    with administrator(cluster, database) as connection:
        call(connection, batch_size=100)
        connection.execute("SELECT pg_stat_force_next_flush()")
    scans = dict(
        cluster.execute(
            "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE schemaname = 'homeserver' AND idx_scan > 0",
            database,
        )
    )
    assert scans.keys() > {"events", "event_json", "current_state_events", "state_groups_state", SNAPSHOTS}
    assert {table for table, count in scans.items() if count > 0} <= {"rooms"}


def test_memberships_of_a_room_are_read_in_one_scan(cluster: Cluster) -> None:
    """Where whole rooms are looked at; a few memberships are looked up by their keys."""
    name = create_homeserver(cluster, "in one scan")
    scans = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'local_current_membership_idx'"
    with connect(cluster, name, options=UNWATCHED) as connection:
        for room, members in (("!a:hs.test", 12), ("!b:hs.test", 12), ("!c:hs.test", 3)):
            connection.execute("SELECT create_room(%s, '@anna:hs.test')", (room,))
            for n in range(1, members):
                connection.execute("SELECT join(%s, %s)", (room, f"@u{n}:hs.test"))
    assert backfill(cluster, name)["rows_written"] == 3 + 27
    with administrator(cluster, name) as connection:

        def looked(**arguments: object) -> int:
            """How many memberships were looked up by their keys."""
            ((before,),) = connection.execute(scans)
            assert call(connection, **arguments)["rows_written"] == 0
            connection.execute("SELECT pg_stat_force_next_flush()")
            ((after,),) = connection.execute(scans)
            return int(after - before)

        connection.execute("SELECT pg_stat_force_next_flush()")
        assert looked(tables="memberships") == 3
        assert looked(tables="memberships", batch_size=1) == 27
    cluster.drop_database(name)


def test_a_database_with_another_collation(cluster: Cluster) -> None:
    """P2: the order of keys is that of the database, whatever it is; every key is met."""
    name = "icu"
    cluster.create_role(OWNER)
    cluster.execute(
        "CREATE DATABASE icu OWNER homeserver_owner TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
    )
    add_homeserver(cluster, name, owner=OWNER)
    cluster.execute("CREATE EXTENSION sliding_sync", name)
    odd = (
        "a",
        "A",
        "b",
        "B",
        "_a",
        "a_",
        "aa",
        "Aa",
        "ä",
        "Ä",
        "z",
        "Z",
        "-a",
        "a-",
        "1",
        "10",
        "2",
        "ß",
        "ss",
        "漢",
    )
    with connect(cluster, name, options=UNWATCHED) as connection:
        for room in odd:
            connection.execute("SELECT create_room(%s, '@anna:hs.test')", (f"!{room}:hs.test",))
            for user in odd:
                connection.execute('SELECT "join"(%s, %s)', (f"!{room}:hs.test", f"@{user}:hs.test"))
    for batch_size in (1, 7):
        done = backfill(cluster, name, batch_size=batch_size, restart=True)
        assert (done["joined_rooms"], done["memberships"]) == (len(odd), len(odd) * (len(odd) + 1))
        assert_each_key_once(cluster, name)
    assert_right(cluster, name)
    done = backfill(cluster, name, first_room="!a:hs.test", last_room="!B:hs.test")
    between = one_row(
        cluster,
        name,
        "SELECT count(*) FROM homeserver.rooms WHERE room_id BETWEEN '!a:hs.test' AND '!B:hs.test'",
    )
    assert (done["joined_rooms"],) == between
    cluster.drop_database(name)


def create_big_room(cluster: Cluster, name: str) -> str:
    """A homeserver with one room of 20,000 local members, which nobody watched."""
    create_homeserver(cluster, name)
    with connect(cluster, name, options=UNWATCHED) as connection:
        connection.execute("SELECT create_room('!big:hs.test', '@anna:hs.test', name => 'Big')")
        connection.execute(
            "CREATE TEMP TABLE member AS SELECT '$m' || n AS event_id, '!big:hs.test'::text AS room_id,"
            " format('@u%s:hs.test', n) AS user_id, 100 + n AS ordering FROM generate_series(1, 19999) n"
        )
        for statement in (
            "INSERT INTO event_json SELECT event_id, room_id, '{}', '{}', 3 FROM member",
            "INSERT INTO events (instance_name, stream_ordering, topological_ordering, event_id, room_id, type,"
            " processed, outlier, sender, state_key) SELECT 'master', ordering, ordering, event_id, room_id,"
            " 'm.room.member', true, false, user_id, user_id FROM member",
            "INSERT INTO room_memberships (event_id, event_stream_ordering, user_id, sender, room_id,"
            " membership) SELECT event_id, ordering, user_id, user_id, room_id, 'join' FROM member",
            "INSERT INTO current_state_events SELECT event_id, room_id, 'm.room.member', user_id, 'join',"
            " ordering FROM member",
            "INSERT INTO local_current_membership SELECT room_id, user_id, event_id, 'join', ordering"
            " FROM member",
        ):
            connection.execute(statement)
    return name


def test_a_room_of_many_windows(cluster: Cluster) -> None:
    """P1: keys are read ten thousand at once; the last window is full to the brim."""
    name = create_big_room(cluster, "big room")
    # Statistics that were right when the statements were planned: the tables are empty.
    cluster.execute(f"VACUUM ANALYZE {SCHEMA}.{JOINED_ROOMS}, {SCHEMA}.{SNAPSHOTS}", name)
    done = backfill(cluster, name, batch_size=2500)
    assert (done["memberships"], done["rows_written"]) == (20_000, 20_001)
    assert_each_key_once(cluster, name)
    done = backfill(cluster, name)
    assert (done["memberships"], done["rows_written"]) == (20_000, 0)
    assert_right(cluster, name)
    # Each pass looks its own keys up; it does not walk through the table.
    fetched = cluster.execute(f"SELECT idx_tup_fetch FROM pg_stat_user_tables WHERE relname = '{SNAPSHOTS}'", name)[0][0]
    assert 20_000 <= fetched <= 10 * 20_000
    cluster.drop_database(name)


def test_catching_up_does_not_walk_through_events(cluster: Cluster) -> None:
    """P4: what one membership without a snapshot needs to know is looked up."""
    name = create_big_room(cluster, "big gap")
    assert backfill(cluster, name)["rows_written"] == 20_001
    with connect(cluster, name, options=UNWATCHED) as connection:
        connection.execute("DELETE FROM sliding_sync_membership_snapshots WHERE user_id = '@u7:hs.test'")
        connection.execute("UPDATE events SET processed = true WHERE stream_ordering = 107")
    cluster.execute("VACUUM ANALYZE", name)
    scanned = "SELECT seq_scan, n_live_tup FROM pg_stat_user_tables WHERE relname = 'events'"
    with administrator(cluster, name) as connection:
        connection.execute("SET maintenance_work_mem = '1GB'")  # so that nothing is too big to be hashed
        connection.execute("SELECT pg_stat_force_next_flush()")
        ((before, rows),) = connection.execute(scanned)
        caught_up = connection.execute("SELECT had_gap, memberships, rows_written FROM sliding_sync.catch_up()")
        assert caught_up.fetchall() == [(True, 1, 1)]
        connection.execute("SELECT pg_stat_force_next_flush()")
        assert rows > 10_000
        assert list(connection.execute(scanned)) == [(before, rows)]
    assert_right(cluster, name)
    cluster.drop_database(name)


def test_the_homeserver_need_not_be_named(cluster: Cluster) -> None:
    """As long as there is one only."""
    name = create_homeserver(cluster, "one and two", extension=False)
    with administrator(cluster, name) as connection:
        connection.execute("CREATE EXTENSION sliding_sync")
        assert call(connection)["is_finished"]
        connection.execute(f"CALL {OPERATIONS}.make_homeserver('second')")
        connection.execute("SELECT sliding_sync.attach('second')")
        with pytest.raises(psycopg.errors.AmbiguousAlias):
            call(connection)
        assert call(connection, target_schema="second")["is_finished"]
        connection.execute("SELECT sliding_sync.detach()")
        with pytest.raises(psycopg.errors.UndefinedTable):
            call(connection)
    cluster.drop_database(name)


def test_notices_on_request(cluster: Cluster, database: str) -> None:
    told: list[str] = []
    with administrator(cluster, database) as connection:
        connection.execute("SET client_min_messages = notice")
        connection.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
        done = call(connection, tables="joined_rooms", verbose=True)
        call(connection, tables="memberships")
    assert told and all(f"{done['joined_rooms']} rooms and 0 memberships" in message for message in told[-1:])


def test_notices_of_a_long_call(cluster: Cluster, database: str) -> None:
    told: list[str] = []
    with administrator(cluster, database) as connection:
        connection.execute("SET client_min_messages = notice")
        connection.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
        done = call(connection, tables="joined_rooms", batch_size=1, pause="11 s", max_duration="12 s")
        assert not done["is_finished"]
        call(connection, tables="joined_rooms", batch_size=1, pause="11 s", max_duration="12 s", verbose=False)
    assert len(told) == 1 and re.fullmatch(
        r"backfill: \d+ % of about \d+ rooms and memberships, about \d+ (seconds|minutes|hours) left", told[0]
    ), told


# -- several sessions


def in_background(
    pool: ThreadPoolExecutor, cluster: Cluster, database: str, **arguments: object
) -> Future[Row]:
    return pool.submit(backfill, cluster, database, **arguments)


def wait_until(condition: Callable[[], Any], running: Future[Any]) -> Any:
    """What it says once it says something, while the other one is still at it."""
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline
        if running.done():
            running.result()
            raise AssertionError("finished before anything could be done to it")
        time.sleep(0.01)
    return found


def running_backend(cluster: Cluster, database: str, running: Future[Any]) -> int:
    return int(wait_until(lambda: cluster.execute(_CALL_IS_RUNNING, database), running)[0][0])


def wait_for_items(cluster: Cluster, database: str, items: int, running: Future[Any]) -> None:
    wait_until(lambda: sum(one_row(cluster, database, _PROGRESS)) >= items, running)


@pytest.mark.parametrize("sessions", [4, pytest.param(16, marks=pytest.mark.long)])
def test_sessions_share_the_work(
    cluster: Cluster, database: str, filled: dict[str, Rows], sessions: int
) -> None:
    with ThreadPoolExecutor(sessions) as pool:
        calls = [in_background(pool, cluster, database, batch_size=5) for _ in range(sessions)]
        results = [running.result() for running in calls]
    assert all(result["is_finished"] for result in results)
    keys = one_row(cluster, database, _KEYS)
    assert (sum(r["joined_rooms"] for r in results), sum(r["memberships"] for r in results)) == keys
    assert sum(r["rows_written"] for r in results) == sum(map(len, filled.values()))
    assert_each_key_once(cluster, database)
    workers = one_row(
        cluster, database, "SELECT count(DISTINCT pid) FROM sliding_sync.run_ranges WHERE items_done > 0"
    )
    runs = one_row(cluster, database, "SELECT count(*), count(finished_at) FROM sliding_sync.runs")
    assert workers[0] > 1 and runs == (1, 1)
    assert derived_rows(cluster, database) == filled
    assert one_row(
        cluster, database, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    ) == (0,)
    assert not cluster.execute("SELECT * FROM sliding_sync.quarantine", database)


def test_a_restart_while_another_session_works(
    cluster: Cluster, database: str, filled: dict[str, Rows]
) -> None:
    """The other session's run is gone; it does not take that for its end."""
    with ThreadPoolExecutor(1) as pool:
        first = in_background(pool, cluster, database, batch_size=5, pause="20 ms")
        wait_for_items(cluster, database, 20, first)
        assert backfill(cluster, database, restart=True)["is_finished"]
        assert not first.result()["is_finished"]
    assert_each_key_once(cluster, database)
    assert derived_rows(cluster, database) == filled


def begin(cluster: Cluster, database: str, **arguments: object) -> int:
    named = sql.SQL(", ").join(sql.SQL("{} => {}").format(sql.Identifier(name), value) for name, value in arguments.items())
    with administrator(cluster, database) as connection:
        ((run,),) = connection.execute(sql.SQL("CALL sliding_sync.begin_backfill({})").format(named)).fetchall()
    return int(run)


def test_sessions_of_a_named_run(cluster: Cluster, database: str, filled: dict[str, Rows]) -> None:
    """One that comes when all is done says so, and begins nothing."""
    run = begin(cluster, database)
    with ThreadPoolExecutor(4) as pool:
        calls = [in_background(pool, cluster, database, batch_size=5, run_id=run) for _ in range(4)]
        results = [running.result() for running in calls]
    results.append(backfill(cluster, database, run_id=run))
    assert all(result["is_finished"] for result in results)
    assert results[-1]["joined_rooms"] == results[-1]["memberships"] == 0
    assert_each_key_once(cluster, database)
    assert one_row(cluster, database, "SELECT count(*), count(finished_at) FROM sliding_sync.runs") == (1, 1)
    assert derived_rows(cluster, database) == filled
    assert_right(cluster, database)


def test_a_named_run_is_begun_anew_meanwhile(cluster: Cluster, database: str) -> None:
    run = begin(cluster, database)
    with ThreadPoolExecutor(1) as pool:
        first = in_background(pool, cluster, database, batch_size=5, pause="20 ms", run_id=run)
        wait_for_items(cluster, database, 20, first)
        assert begin(cluster, database, restart=True) > run
        assert not first.result()["is_finished"]
    with pytest.raises(psycopg.errors.UndefinedObject, match=f"run {run} does not exist"):
        backfill(cluster, database, run_id=run)


def test_a_run_does_not_hide_what_passed_the_triggers_after_it_began(cluster: Cluster, database: str) -> None:
    run = begin(cluster, database)
    with cluster.connect(database) as connection:
        connection.execute("SET sliding_sync.enabled = off")
        connection.execute("UPDATE homeserver.events SET outlier = outlier")
    assert backfill(cluster, database, run_id=run)["is_finished"]
    assert one_row(cluster, database, "SELECT is_ready FROM sliding_sync.ready()") == (False,)
    assert backfill(cluster, database)["is_finished"]
    assert one_row(cluster, database, "SELECT is_ready FROM sliding_sync.ready()") == (True,)


# -- sessions that are stopped


def expect_cancel(running: Future[Row]) -> None:
    """Without it they would go on for hours."""
    with pytest.raises(psycopg.errors.QueryCanceled):
        running.result(timeout=60)


def assert_goes_on(cluster: Cluster, database: str, filled: dict[str, Rows]) -> None:
    """The next call does the rest, and only that."""
    done_before = one_row(cluster, database, _PROGRESS)
    done = backfill(cluster, database)
    keys = one_row(cluster, database, _KEYS)
    assert done["is_finished"]
    assert (done["joined_rooms"], done["memberships"]) == tuple(a - b for a, b in zip(keys, done_before))
    assert one_row(cluster, database, "SELECT count(*), count(finished_at) FROM sliding_sync.runs") == (1, 1)
    assert_each_key_once(cluster, database)
    assert derived_rows(cluster, database) == filled
    assert_right(cluster, database)


@pytest.mark.parametrize("arguments", [{"pause": "1 day"}, {"share": 1e-9}, {"share": 1e-300}], ids=str)
def test_cancelled_while_it_rests(
    cluster: Cluster, database: str, filled: dict[str, Rows], arguments: dict[str, object]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = in_background(pool, cluster, database, batch_size=100, **arguments)
        wait_for_items(cluster, database, 1, running)
        pid = running_backend(cluster, database, running)
        cluster.execute(sql.SQL("SELECT pg_cancel_backend({})").format(sql.Literal(pid)))
        expect_cancel(running)
    assert_goes_on(cluster, database, filled)


def test_cancelled_while_it_waits_for_a_lock(
    cluster: Cluster, database: str, filled: dict[str, Rows]
) -> None:
    """A homeserver that holds on to a row is waited for, in short attempts, for as long as it takes."""
    with connect(cluster, database, autocommit=False) as writer, ThreadPoolExecutor(1) as pool:
        writer.execute("SELECT FROM rooms FOR UPDATE")
        running = in_background(pool, cluster, database, tables="memberships")
        pid = running_backend(cluster, database, running)
        time.sleep(1)  # several attempts
        assert not running.done()
        cluster.execute(sql.SQL("SELECT pg_cancel_backend({})").format(sql.Literal(pid)))
        expect_cancel(running)
        writer.rollback()
    assert backfill(cluster, database, tables="memberships")["is_finished"]
    assert derived_rows_of(cluster, database, SNAPSHOTS) == filled[SNAPSHOTS]


def derived_rows_of(cluster: Cluster, database: str, table: str) -> Rows:
    with connect(cluster, database) as connection:
        return rows_of(connection, table, 1 if table == JOINED_ROOMS else 2)


def test_a_lock_costs_one_range_only(cluster: Cluster, database: str, filled: dict[str, Rows]) -> None:
    """P7: what can be done is done while somebody sits on one row."""
    room_id = min(room_id for (room_id,) in filled[JOINED_ROOMS])
    with connect(cluster, database, autocommit=False) as writer, ThreadPoolExecutor(1) as pool:
        writer.execute("SELECT FROM rooms WHERE room_id = %s FOR UPDATE", (room_id,))  # as who deletes the room
        running = in_background(pool, cluster, database)
        wait_until(
            lambda: one_row(
                cluster, database, "SELECT count(*) = 2 FROM sliding_sync.run_ranges WHERE NOT is_done"
            )[0],
            running,
        )
        writer.rollback()
        assert running.result()["is_finished"]
    assert_each_key_once(cluster, database)
    assert derived_rows(cluster, database) == filled


def test_terminated(cluster: Cluster, database: str, filled: dict[str, Rows]) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = in_background(pool, cluster, database, batch_size=7, pause="5 ms")
        wait_for_items(cluster, database, 30, running)
        pid = running_backend(cluster, database, running)
        cluster.execute(sql.SQL("SELECT pg_terminate_backend({})").format(sql.Literal(pid)))
        with pytest.raises(psycopg.OperationalError):
            running.result(timeout=60)
    assert_goes_on(cluster, database, filled)


def test_the_extension_is_dropped_meanwhile(cluster: Cluster, database: str) -> None:
    """The call ends with an error, and the session lives."""
    with administrator(cluster, database) as connection, ThreadPoolExecutor(1) as pool:
        running = pool.submit(call, connection, batch_size=5, pause="20 ms")
        wait_for_items(cluster, database, 20, running)
        cluster.execute("DROP EXTENSION sliding_sync", database)
        with pytest.raises((psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)):
            running.result()
        connection.execute("CREATE EXTENSION sliding_sync")
        assert call(connection)["is_finished"]
    assert_right(cluster, database)


def test_the_triggers_are_replaced_meanwhile(
    cluster: Cluster, database: str, filled: dict[str, Rows]
) -> None:
    """Triggers that go and come back in the middle: every row is there, but nobody claims that it was watched."""
    with ThreadPoolExecutor(1) as pool:
        running = in_background(pool, cluster, database, batch_size=5, pause="20 ms")
        wait_for_items(cluster, database, 20, running)
        cluster.execute("SELECT sliding_sync.detach()", database)
        cluster.execute("SELECT sliding_sync.attach()", database)
        assert running.result()["is_finished"]
    assert derived_rows(cluster, database) == filled
    watched = "SELECT complete_at IS NULL, fingerprint <> sliding_sync.coverage_fingerprint(schema_name)"
    assert one_row(cluster, database, watched + " FROM sliding_sync.trigger_coverage") == (True, True)


# -- under load


@pytest.fixture
def busy(cluster: Cluster) -> Iterator[str]:
    yield create_homeserver(cluster, "busy")
    cluster.drop_database("busy")


@pytest.mark.parametrize("rounds", [6, pytest.param(30, marks=pytest.mark.long)])
@pytest.mark.parametrize("writes_tables", [False, True], ids=["older homeserver", "newer homeserver"])
def test_while_the_homeserver_writes(cluster: Cluster, busy: str, writes_tables: bool, rounds: int) -> None:
    """H20, P14: both tables are filled from nothing, and every row is right; nobody meets a lasting error."""
    rooms = Rooms(6, shared=6, own=3)
    with connect(cluster, busy, options=UNWATCHED) as connection:
        prepare(connection, rooms)
        play(lambda: connect(cluster, busy, options=UNWATCHED), rooms, seed=3, transactions=60)
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(
            play, lambda: connect(cluster, busy), rooms, seed=4, stop=stop, writes_tables=writes_tables
        )
        written = 0
        try:
            with administrator(cluster, busy) as connection:
                for number in range(rounds):
                    # what an administrator might do in between: it is absent, and never wrong
                    connection.execute("DELETE FROM sliding_sync_joined_rooms WHERE random() < 0.2")
                    connection.execute("DELETE FROM sliding_sync_membership_snapshots WHERE random() < 0.2")
                    done = call(connection, batch_size=1 + number % 5, restart=True)
                    assert done["is_finished"] and not done["quarantined"]
                    written += done["rows_written"]
        finally:
            stop.set()
        outcome = load.result()
    print(f"{written} rows written by the backfill; the load: {outcome}")
    assert written > 50 and outcome.effective.total() > 20 * rounds
    assert not outcome.errors and not outcome.exhausted, outcome.examples
    assert outcome.retries.total() < outcome.committed.total()
    assert_right(cluster, busy)
