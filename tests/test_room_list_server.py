"""examples/room-list-server: what clients and a support person get from it."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import requests

from harness import processes
from harness.browser import Browser
from harness.cluster import Cluster
from harness.environment import PROJECT, cache_directory
from harness.folders import make_folder
from harness.synapse import ROLE, Synapse
from lists.homeserver import copy_of, create_template, grant_reading
from lists.questions import random_filters
from lists.synapse_population import SynapseLife
from oracle.room_list import Filters, RoomLists
from synthetic.database import SCHEMA

SYNC = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
ANNA, BERT = "@anna:hs.test", "@bert:hs.test"
READER = "list_server"


@dataclass
class Server:
    url: str
    connection: Any  # of the homeserver's owner
    database: str

    def call(self, method: str, path: str, token: str | None = "anna's", **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, self.url + path, headers=headers, timeout=60, **more)

    def sync(self, lists: dict[str, Any], pos: str | None = None, timeout: int = 0, token: str = "anna's") -> Any:
        query = {"timeout": str(timeout)} | ({"pos": pos} if pos else {})
        answer = self.call("POST", SYNC, token, params=query, json={"conn_id": "test", "lists": lists})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def listed(self, filters: dict[str, Any] | None = None, ranges: list[list[int]] | None = None) -> list[str]:
        wanted = {"ranges": ranges or [[0, 99]], "filters": filters or {}}
        return self.sync({"x": wanted})["lists"]["x"]["ops"][0]["room_ids"]


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> Iterator[str]:
    name = create_template(cluster, "served")
    grant_reading(cluster, name, READER)
    yield name
    cluster.drop_database(name)


@pytest.fixture
def server(cluster: Cluster, template: str) -> Iterator[Server]:
    with copy_of(cluster, template) as connection:
        for number in range(6):
            connection.execute("SELECT create_room(%s, %s, name => %s)", [f"!r{number}:hs.test", ANNA, f"Room <b>{number}</b>"])
        connection.execute("SELECT create_room('!space:hs.test', %s, room_type => 'm.space', encrypted => true)", [ANNA])
        connection.execute("SELECT set_state('!space:hs.test', %s, 'm.space.child', '!r3:hs.test', '{\"via\": [\"x\"]}')", [ANNA])
        connection.execute("INSERT INTO room_tags VALUES (%s, '!r1:hs.test', 'm.favourite', '{}')", [ANNA])
        connection.execute("SELECT create_room('!left:hs.test', %s), leave('!left:hs.test', %s)", [ANNA, ANNA])
        with running(cluster, connection.info.dbname) as url:
            yield Server(url, connection, connection.info.dbname)


TOKENS = {"anna's": ANNA, "bert's": BERT, "support's": "*"}


@contextmanager
def running(cluster: Cluster, database: str, known: dict[str, str] = TOKENS) -> Iterator[str]:
    """The example as its README starts it, from a folder of its own."""
    folder = make_folder("list_server")
    shutil.copytree(PROJECT / "examples/room-list-server", folder / "server")
    tokens = folder / "tokens.json"
    tokens.write_text(json.dumps(known))
    log, port = folder / "log", processes.free_port()
    for path in (folder, tokens, *folder.rglob("*")):
        processes.give_to_server(path)
    info = cluster.conninfo(database, READER)
    dsn = " ".join(f"{key}={value}" for key, value in info.items())
    python = cache_directory() / "room-list-server/bin/python"
    command = [python, folder / "server/server.py", "--dsn", dsn, "--tokens", tokens, "--port", port]
    process = processes.spawn(command, folder, log, signal.SIGTERM)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 30
        while not answers(url):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield url
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        processes.end(process, signal.SIGTERM, timeout=20)
        shutil.rmtree(folder, ignore_errors=True)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5, proxies={"http": ""}).status_code == 200
    except requests.ConnectionError:
        return False


# -- clients


def test_lists_of_a_new_client(server: Server) -> None:
    lists = RoomLists(server.connection, SCHEMA)
    everything = [room.room_id for room in lists.ask(ANNA)]
    answer = server.sync({"all": {"ranges": [[0, 2]]}, "spaces": {"range": [0, 9], "filters": {"room_types": ["m.space"]}}})
    assert answer["lists"] == {
        "all": {"count": 7, "ops": [{"op": "SYNC", "range": [0, 2], "room_ids": everything[:3]}]},
        "spaces": {"count": 1, "ops": [{"op": "SYNC", "range": [0, 9], "room_ids": ["!space:hs.test"]}]},
    }
    assert set(answer["rooms"]) == {*everything[:3], "!space:hs.test"}
    assert answer["rooms"]["!r5:hs.test"]["name"] == "Room <b>5</b>" and answer["rooms"]["!r5:hs.test"]["initial"]
    assert "name" not in answer["rooms"]["!space:hs.test"]


def test_filters(server: Server) -> None:
    lists = RoomLists(server.connection, SCHEMA)
    for filters in (
        {"is_encrypted": True},
        {"not_room_types": ["m.space"]},
        {"room_types": [None]},
        {"tags": ["m.favourite"]},
        {"not_tags": ["m.favourite"]},
        {"spaces": ["!space:hs.test"]},
        {"is_dm": False, "is_invite": False},
        {"room_name_like": "<B>4"},
    ):
        assert server.listed(filters) == [room.room_id for room in lists.ask(ANNA, Filters(**filters))], filters  # type: ignore[arg-type]
    assert server.listed({"is_invited": True}) == []
    assert server.listed({"of_the_future": 7}) == server.listed()
    assert server.listed(ranges=[[90, 99]]) == []


def test_only_what_changed_is_sent_again(server: Server) -> None:
    lists = {"all": {"ranges": [[0, 99]]}}
    first = server.sync(lists)
    assert server.sync(lists, first["pos"])["rooms"] == {}
    first = server.sync(lists)
    timer = threading.Timer(1, lambda: server.connection.execute("SELECT rename('!r0:hs.test', %s, 'New')", [ANNA]))
    timer.start()
    began = time.monotonic()
    second = server.sync(lists, first["pos"], timeout=20_000)
    assert time.monotonic() - began < 15
    assert second["rooms"].keys() == {"!r0:hs.test"} and second["rooms"]["!r0:hs.test"]["name"] == "New"
    assert second["lists"]["all"]["ops"][0]["room_ids"][0] == "!r0:hs.test"
    timer.join()


def test_what_is_refused(server: Server) -> None:
    ask = {"lists": {"x": {"ranges": [[0, 9]]}}}
    assert server.call("POST", SYNC, None, json=ask).status_code == 401
    assert server.call("POST", SYNC, "wrong", json=ask).json()["errcode"] == "M_UNKNOWN_TOKEN"
    assert server.call("POST", SYNC, "support's", json=ask).status_code == 403
    assert server.call("POST", SYNC, json=ask, params={"pos": "x"}).json()["errcode"] == "M_UNKNOWN_POS"
    assert server.call("POST", SYNC, data="{").json()["errcode"] == "M_NOT_JSON"
    for wanted in (
        {"ranges": [[-1, 2]]},
        {"ranges": [[3, 2]]},
        {"ranges": [[0, 2**60]]},
        {"ranges": "all"},
        {"filters": {"is_dm": "yes"}},
        {"filters": {"tags": [None]}},
        {"filters": {"room_types": "m.space"}},
        {"filters": {"room_name_like": "\0"}},
    ):
        answer = server.call("POST", SYNC, json={"lists": {"x": wanted}})
        assert (answer.status_code, answer.json()["errcode"]) == (400, "M_INVALID_PARAM"), wanted
    # somebody else's list
    assert server.call("GET", f"/api/list?user={BERT}").status_code == 403
    assert server.call("GET", f"/api/list?user={BERT}", "support's").status_code == 200
    assert server.call("GET", f"/api/list?user={ANNA}&sort_by=x").status_code == 400
    assert server.call("GET", f"/api/changes?user={ANNA}&since=x").status_code == 400


# -- beside a homeserver


def test_what_a_homeserver_answers(cluster: Cluster) -> None:
    """The same requests, with the same tokens, to a real Synapse and to the example, whose role has the rights that its README grants."""
    cluster.create_role(ROLE)
    cluster.create_role(READER)
    database = cluster.create_database("served_beside", ROLE)
    readme = (PROJECT / "examples/room-list-server/README.md").read_text()
    (grants,) = re.findall(r"CREATE ROLE list_reader LOGIN;\n(.*?)```", readme, re.DOTALL)
    with Synapse("1.163.2", cluster, database) as synapse, cluster.connect(database) as connection:
        synapse.wait_for_background_updates()
        connection.execute("CREATE EXTENSION sliding_sync")
        connection.execute(grants.replace("list_reader", READER))
        life = SynapseLife(synapse, 3)
        life.begin(rooms=12)
        for _ in range(150):
            life.step()
        rng, told = random.Random(3), 0
        with running(cluster, database, {user.token: user.user_id for user in life.users}) as url:
            for number in range(60):
                filters = replace(random_filters(rng, life.rooms), spaces=None, room_name_like=None)
                asked = {name: value for name, value in vars(filters).items() if value is not None}
                end = rng.choice([0, 3, 99])
                wanted = {"ranges": [[0, end]], "required_state": [], "timeline_limit": 1, "filters": asked}
                body, token = {"conn_id": f"c{number}", "lists": {"x": wanted}}, rng.choice(life.users).token
                theirs, ours = (ask_for_list(server, body, token) for server in (synapse.api.base_url, url))
                assert ours["count"] == theirs["count"], asked
                listed, expected = ours["ops"][0]["room_ids"], [room for op in theirs["ops"] for room in op["room_ids"]]
                # it does not sort what it sends whole
                assert listed == expected if end < theirs["count"] - 1 else set(listed) == set(expected), asked
                told += len(listed)
        assert told > 60


def ask_for_list(url: str, body: dict[str, Any], token: str) -> Any:
    answer = requests.post(url + SYNC, json=body, headers={"Authorization": f"Bearer {token}"}, timeout=60, proxies={"http": ""})
    assert answer.status_code == 200, answer.text
    return answer.json()["lists"]["x"]


# -- the page


def test_the_page_in_a_browser(server: Server) -> None:
    with Browser() as browser:
        browser.open(server.url)
        browser.type("#user", ANNA)
        browser.type("#token", "support's")
        browser.click("#who button")

        def names() -> list[str]:
            return browser.run("return [...document.querySelectorAll('#list tbody tr')].map(row => row.cells[1].innerText.split('\\n')[0])")

        browser.wait_for(lambda: len(names()) == 7)
        # newest first; names are text, whatever they hold
        assert names()[:2] == ["(no name)", "Room <b>5</b>"]
        assert browser.text("#count") == "7 rooms"

        browser.click("[data-filter*='m.space\"]}']:nth-of-type(4)")
        browser.wait_for(lambda: names() == ["(no name)"])
        browser.click("[data-filter='{}']")
        browser.wait_for(lambda: len(names()) == 7)

        # a room's explanation
        browser.click("[data-room='!r4:hs.test']")
        browser.wait_for(lambda: "The user is in this room" in browser.text("#why"))
        assert "The field \"name\" of the current event m.room.name" in browser.text("#why")

        # live
        server.connection.execute("SELECT rename('!r2:hs.test', %s, 'Renamed')", [ANNA])
        browser.wait_for(lambda: names()[0] == "Renamed")
        if path := os.environ.get("SLIDING_SYNC_SCREENSHOT"):
            browser.screenshot(Path(path))

        # why a room is not there
        browser.open(server.url)
        browser.type("#user", ANNA)
        browser.click("#all")
        browser.wait_for(lambda: "hidden_own_leave" in browser.text("#why"))
        browser.click("#who button")

        # a wrong token
        browser.run("document.getElementById('token').value = 'wrong'")
        browser.click("#who button")
        browser.wait_for(lambda: browser.text("#status") == "No such token")
