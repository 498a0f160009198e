"""sliding-sync list, explain-user and explain-room: the rows of the SQL functions behind them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from harness.cluster import Cluster
from harness.tool import Tool
from synthetic.database import SCHEMA, connect, create_homeserver

ANNA, BERT = "@anna:hs.test", "@bert:hs.test"


@pytest.fixture(scope="module")
def tool(cluster: Cluster) -> Iterator[Tool]:
    name = create_homeserver(cluster, "listed")
    if not cluster.execute("SELECT 1 FROM pg_proc WHERE proname = 'room_list'", name):
        pytest.skip("the extension has no room_list() yet")
    with connect(cluster, name) as connection:
        for number in range(5):
            connection.execute("SELECT create_room(%s, %s, name => %s)", [f"!r{number}:hs.test", ANNA, f"Room {number}"])
    cluster.execute("CALL sliding_sync.backfill()", name)
    yield Tool(cluster, name)
    cluster.drop_database(name)


def rows(tool: Tool, *arguments: str) -> list[dict[str, object]]:
    done = tool.run(*arguments, "--json")
    assert (done.returncode, done.stderr) == (0, ""), done
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def test_list(tool: Tool) -> None:
    found = rows(tool, "list", ANNA)
    assert [row["room_name"] for row in found] == [f"Room {number}" for number in (4, 3, 2, 1, 0)]
    assert [row["place"] for row in found] == [0, 1, 2, 3, 4]
    assert rows(tool, "list", BERT) == []
    assert [row["place"] for row in rows(tool, "list", ANNA, "--from", "1", "--to", "2")] == [1, 2]
    assert [row["room_name"] for row in rows(tool, "list", ANNA, "--name-like", "room 3")] == ["Room 3"]
    assert rows(tool, "list", ANNA, "--sort-by", "name")[0]["room_name"] == "Room 0"
    assert rows(tool, "list", ANNA, "--encrypted", "true") == []
    assert len(rows(tool, "list", ANNA, "--room-type", "")) == 5
    assert rows(tool, "list", ANNA, "--not-room-type", "") == []
    assert rows(tool, "list", ANNA, "--tag", "m.favourite", "--dm", "true") == []
    assert "Room 4" in tool.run("list", ANNA).stdout


def test_list_of_another_database(tool: Tool) -> None:
    database = tool.variables["PGDATABASE"]
    assert len(rows(Tool(tool.cluster, "nowhere"), "list", ANNA, database, "--schema", SCHEMA)) == 5


def test_explain(tool: Tool) -> None:
    assert {row["verdict"] for row in rows(tool, "explain-user", ANNA)} == {"listed"}
    (one,) = rows(tool, "explain-user", ANNA, "!r1:hs.test")
    assert one["room_id"] == "!r1:hs.test"
    explained = {row["column_name"]: row for row in rows(tool, "explain-room", "!r1:hs.test")}
    assert explained["room_name"]["expected"] == explained["room_name"]["actual"] == "Room 1"


def test_wrong_arguments(tool: Tool) -> None:
    done = tool.run("list", ANNA, "--from", "-1")
    assert done.returncode == 1 and "sliding-sync: error: " in done.stderr, done
