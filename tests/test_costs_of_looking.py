"""What a monitor looks at costs the same however much is in quarantine, and is not planned anew at each look."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from harness.cluster import SUPERUSER, Cluster
from synthetic.database import connect, create_homeserver

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
