"""How sliding-sync looks on a terminal: width, colour, pager; and how it asks for a password."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cluster import Cluster
from harness.screen import Screen
from harness.tool import Tool, program
from synthetic.database import SCHEMA, connect, create_homeserver


NAMES = ["plain", "ünïcode Zürich", "日本語の部屋", "esc\x1b[31mred", "line\nend", "‮turned"]


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[str]:
    name = create_homeserver(cluster, "looked at")
    with connect(cluster, name) as connection:
        for number, room_name in enumerate(NAMES):
            connection.execute(
                "SELECT create_room(%s, '@anna:hs.test', name => %s)", [f"!r{number}:hs.test", room_name]
            )
    cluster.execute("CALL sliding_sync.backfill()", name)
    cluster.execute(f"UPDATE {SCHEMA}.sliding_sync_joined_rooms SET bump_stamp = NULL, room_name = room_name || '?'", name)  # type: ignore[arg-type]
    yield name
    cluster.drop_database(name)


@pytest.fixture
def tool(cluster: Cluster, database: str) -> Tool:
    return Tool(cluster, database)


def shown(tool: Tool, *arguments: str, size: tuple[int, int] = (50, 80), **variables: str) -> str:
    screen = Screen(tool.in_terminal(*arguments, size=size, **variables))
    screen.read_to_end()
    return screen.text()


@pytest.mark.parametrize("columns", [200, 110, 80, 60, 40])
def test_a_table_is_as_wide_as_the_terminal(tool: Tool, columns: int) -> None:
    text = shown(tool, "verify", size=(400, columns))
    assert text.endswith("(12 rows)")
    assert max(map(len, text.splitlines())) <= columns
    if columns >= 110:
        assert len({line.index("|") for line in text.splitlines() if "|" in line}) == 1
    if columns == 40:
        assert "-[ RECORD 12 ]" in text


def test_what_a_room_is_called_cannot_command_the_terminal(tool: Tool) -> None:
    text = shown(tool, "verify", size=(400, 200))
    for name in ("plain?", "ünïcode Zürich?", "esc\\x1B[31mred?", "line\\nend?", "\\u202Eturned?"):
        assert name in text, text
    assert "日本語の部屋?" in tool.run("verify").stdout


def test_color(tool: Tool) -> None:
    red = "\x1b[31mvisible\x1b[0m"
    assert red not in tool.run("verify").stdout
    assert red in tool.run("verify", "--color", "always").stdout
    for variables, expected in (({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)):
        program_on_terminal = tool.in_terminal("verify", size=(400, 200), **variables)
        assert (red in program_on_terminal.read()) is expected, variables
    assert red not in tool.in_terminal("verify", "--color", "never", size=(400, 200)).read()


def test_pager(tool: Tool, tmp_path: Path) -> None:
    assert "paged 1" in shown(tool, "verify", size=(10, 200), PSQL_PAGER="sh -c 'cat >/dev/null; echo paged 1'", PAGER="false")
    assert "paged 2" in shown(tool, "verify", size=(10, 200), PAGER="sh -c 'cat >/dev/null; echo paged 2'")
    assert "(12 rows)" in shown(tool, "verify", size=(10, 200), PSQL_PAGER="", PAGER="sh -c 'echo paged'")
    assert "(12 rows)" in shown(tool, "verify", size=(60, 200), PAGER="sh -c 'echo paged'")
    assert "(1 row)" in tool.run("ready", PAGER="false").stdout
    screen = Screen(tool.in_terminal("verify", size=(10, 200), PAGER="less"))
    screen.read_until("severity")
    screen.program.send("q")
    assert screen.read_to_end() == 3


def test_nobody_reads(tool: Tool) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [program(), "verify"], env=tool.environment(), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode == 1
    assert done.stderr == "sliding-sync: error: could not write to standard output: No space left on device\n"


def test_waiting_for_a_lock_is_seen(cluster: Cluster, tool: Tool, database: str) -> None:
    cluster.execute("SELECT sliding_sync.detach()", database)
    with cluster.connect(database) as holder:
        holder.execute("BEGIN; LOCK TABLE homeserver.rooms IN ROW EXCLUSIVE MODE; SELECT 'a long\nquery " + "x" * 500 + "'")
        screen = Screen(tool.in_terminal("attach", size=(24, 100)))
        text = screen.read_until(r"waiting for session \d+ \(role postgres\), in its transaction since .* \(\d+ s\)")
        assert len(text.splitlines()) == 1 and text.endswith("...")
        holder.execute("COMMIT")
        assert screen.read_to_end() == 0
    assert "waiting" not in screen.text() and SCHEMA in screen.text()


# -- passwords


@pytest.fixture(scope="module")
def guarded() -> Iterator[Cluster]:
    """A server that wants a password from everybody but its superuser on the socket."""
    with Cluster(extension=False) as running:
        running.execute("CREATE ROLE anna LOGIN PASSWORD 'sesame'")
        rules = running.data / "pg_hba.conf"
        rules.write_text("host all postgres all trust\nhost all all all scram-sha-256\n")
        running.execute("SELECT pg_reload_conf()")
        yield running


def test_password_prompt(guarded: Cluster) -> None:
    tool = Tool(guarded, "postgres", "anna")
    for arguments in (["version"], ["version", "-W"]):
        screen = Screen(tool.in_terminal(*arguments))
        screen.read_until("Password for user anna:$")
        screen.program.sendline("sesame")
        assert screen.read_to_end() == 1
        assert "sesame" not in screen.text()
        assert "sliding_sync" in screen.text()  # that it is not installed there
    screen = Screen(tool.in_terminal("version"))
    screen.read_until("Password")
    screen.program.sendline("open")
    assert screen.read_to_end() == 1
    assert "password authentication failed" in screen.text()
    screen = Screen(tool.in_terminal("version"))
    screen.read_until("Password")
    screen.program.sendcontrol("c")
    assert screen.read_to_end() == 130


def test_no_prompt(guarded: Cluster, tmp_path: Path) -> None:
    tool = Tool(guarded, "postgres", "anna")
    done = tool.run("version", "-w")
    assert done.returncode == 1 and "no password supplied" in done.stderr and "hint: Write the password" in done.stderr
    done = tool.run("version")
    assert done.returncode == 1 and "there is no terminal to ask for it" in done.stderr
    passwords = tmp_path / "passwords"
    passwords.write_text(f"127.0.0.1:{guarded.port}:*:anna:sesame\n")
    passwords.chmod(0o600)
    assert "not installed" in tool.run("verify", PGPASSFILE=str(passwords)).stderr


@pytest.mark.parametrize(
    ("config", "status", "text"),
    [
        ("database: {name: psycopg2, args: {user: anna, password: sesame, database: postgres, host: 127.0.0.1, port: PORT, cp_min: 5, cp_max: 10}}", 1, "is not installed"),
        ("database: {name: psycopg2, args: {user: anna, password: sesame, dbname: postgres, host: 127.0.0.1, port: PORT}}", 1, "is not installed"),
        ("databases: {state: {name: psycopg2, data_stores: [state], args: {port: 1}}, main: {name: psycopg2, data_stores: [main], args: {user: anna, password: sesame, dbname: postgres, host: 127.0.0.1, port: PORT}}}", 1, "is not installed"),
        ("database: {name: psycopg2, args: {user: anna, password: wrong, dbname: postgres, host: 127.0.0.1, port: PORT}}", 1, "password authentication failed"),
        ("database: {name: sqlite3, args: {database: x.db}}", 1, "its database is sqlite3, not PostgreSQL"),
        ("database: {name: psycopg2, args: {password: wrong", 1, "no valid YAML at line"),
        ("server_name: hs.test", 1, "it has no database section"),
        ("[]", 1, "it is no mapping"),
    ],
)
def test_synapse_config(guarded: Cluster, tmp_path: Path, config: str, status: int, text: str) -> None:
    path = tmp_path / "homeserver.yaml"
    path.write_text(config.replace("PORT", str(guarded.port)))
    done = Tool(guarded, "nowhere", "nobody").run("verify", "--synapse-config", str(path))
    assert (done.returncode, done.stdout) == (status, "") and text in done.stderr, done
    assert "sesame" not in done.stderr and "wrong" not in done.stderr


def test_synapse_config_is_not_there(guarded: Cluster) -> None:
    done = Tool(guarded, "nowhere").run("verify", "--synapse-config", "/nowhere.yaml")
    assert done.returncode == 1 and re.search('"/nowhere.yaml": No such file', done.stderr), done
