"""What a monitor looks at costs the same however much is in quarantine, and is not planned anew at each look."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from synthetic.database import connect, create_homeserver
from synthetic.many_rooms import make_rooms

Connection = psycopg.Connection[Any]

VIEWS = ("status", "health", "metrics")
MANY = 20_000


@pytest.fixture(scope="module")
def connection(cluster: Cluster) -> Iterator[Connection]:
    create_homeserver(cluster, "looking")
    with connect(cluster, "looking", SUPERUSER) as connection:
        yield connection


def note(connection: Connection, keys: int) -> None:
    connection.execute(
        "INSERT INTO sliding_sync.quarantine (schema_name, table_name, room_id, reason, sqlstate, message)"
        " SELECT a.schema_name, 'sliding_sync_joined_rooms', '!' || n, 'refresh_failed', '22000', 'no'"
        f" FROM sliding_sync.attachments a CROSS JOIN generate_series(1, {keys}) n"
    )
    connection.execute("VACUUM ANALYZE sliding_sync.quarantine")


def plan(connection: Connection, view: str) -> list[str]:
    explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING off) TABLE sliding_sync.{view}"
    connection.execute(explain)  # the functions plan
    return [row[0] for row in connection.execute(explain)]


def buffers(lines: list[str]) -> int:
    found = re.search(r"Buffers: shared hit=(\d+)", "\n".join(lines))  # of the whole
    assert found
    return int(found[1])


@pytest.mark.parametrize("view", VIEWS)
def test_little_is_planned(connection: Connection, view: str) -> None:
    assert len(plan(connection, view)) < 300


def test_many_keys_in_quarantine(connection: Connection) -> None:
    quarantined = "SELECT quarantined FROM sliding_sync.status"
    finding = "SELECT detail FROM sliding_sync.health WHERE code = 'quarantine'"

    note(connection, 1000)
    assert connection.execute(quarantined).fetchone() == (1000,)
    assert connection.execute(finding).fetchone() == (
        "Keys without a derived row: 1000 (refresh_failed 22000). The last one: no",
    )
    before = {view: buffers(plan(connection, view)) for view in VIEWS}

    note(connection, MANY - 1000)
    ((count,),) = connection.execute(quarantined)
    assert abs(count - MANY) <= MANY // 20
    ((detail,),) = connection.execute(finding)
    assert detail == f"Keys without a derived row: about {count} (refresh_failed 22000). The last one: no"
    for view in VIEWS:
        assert buffers(plan(connection, view)) < before[view] + 30

    # those of another schema do not hide the older ones of this one
    connection.execute("UPDATE sliding_sync.quarantine SET schema_name = 'other' WHERE room_id <> '!1'")
    ((count,),) = connection.execute(quarantined)
    assert count >= 1
    assert connection.execute(finding + " AND schema_name <> 'other'").fetchone() is not None
    connection.execute("TRUNCATE sliding_sync.quarantine")
    assert connection.execute(quarantined).fetchone() == (0,)


def entries_read(connection: Connection, arguments: str = "") -> int:
    """Of indexes, by verify()."""
    connection.execute("SELECT pg_stat_force_next_flush()")  # what was counted before
    with connection.transaction():
        connection.execute(f"SELECT FROM sliding_sync.verify({arguments})")
        ((entries,),) = connection.execute(
            "SELECT sum(pg_stat_get_xact_tuples_returned(c.oid)) FROM pg_class c"
            " WHERE c.relkind = 'i' AND c.relnamespace = 'homeserver'::regnamespace"
        )
    return int(entries)


def test_a_sample_is_drawn_without_looking_at_every_key(cluster: Cluster) -> None:
    create_homeserver(cluster, "sampled")
    with connect(cluster, "sampled", SUPERUSER) as connection:
        make_rooms(connection, 2000)
        connection.execute("CALL sliding_sync.backfill()")
        connection.execute("VACUUM ANALYZE")
        assert entries_read(connection, "sample => 0.01") < entries_read(connection) / 25

        # wrong, missing and left over: each is drawn as likely as any other
        connection.execute("SET sliding_sync.enabled = off")
        connection.execute("UPDATE sliding_sync_joined_rooms SET room_name = 'wrong'")
        connection.execute("DELETE FROM sliding_sync_membership_snapshots WHERE hashtext(room_id) % 2 = 0")
        connection.execute("DELETE FROM local_current_membership WHERE hashtext(room_id) % 2 <> 0")
        findings = (
            "SELECT v.table_name, v.expected IS NULL AND v.column_name IS NULL, count(DISTINCT (v.room_id, v.user_id))"
            " FROM sliding_sync.verify(%s) v WHERE v.severity <> 'unverifiable' GROUP BY 1, 2 ORDER BY 1, 2"
        )
        everything = connection.execute(findings % "").fetchall()
        half = connection.execute(findings % "sample => 0.5").fetchall()
        assert [kind[:2] for kind in half] == [kind[:2] for kind in everything]
        for some, all_of_them in zip(half, everything, strict=True):
            assert 0.4 * all_of_them[2] < some[2] < 0.6 * all_of_them[2], (some, all_of_them)
