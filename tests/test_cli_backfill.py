"""sliding-sync backfill: on a terminal, in a pipe, interrupted, killed, and when the server goes away."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator

import pytest

from generator.load import generate
from harness.cluster import Cluster
from harness.proxy import Proxy
from harness.screen import Screen
from harness.tool import Tool
from synthetic.database import SCHEMA, connect, create_homeserver

DATABASE = "filled by the tool"
SLOWLY = ("--batch-size", "10", "--pause", "300 ms")
TO_THE_END = ("--batch-size", "10", "--pause", "150 ms")  # longer than the ten seconds between two lines
PERCENT = re.compile(r"(\d+) %")


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """One that may be restarted."""
    with Cluster() as running:
        yield running


@pytest.fixture(scope="module")
def template(server: Cluster) -> str:
    name = create_homeserver(server, "a past", extension=False)
    with connect(server, name) as connection:
        generate(connection, SCHEMA, 40)
    server.execute("VACUUM ANALYZE", name)  # for the estimate of what there is to do
    return name


@pytest.fixture
def tool(server: Cluster, template: str) -> Iterator[Tool]:
    server.create_database(DATABASE, template=template)
    server.execute("CREATE EXTENSION sliding_sync", DATABASE)
    yield Tool(server, DATABASE)
    server.drop_database(DATABASE)


def is_ready(tool: Tool) -> bool:
    return tool.run("ready").returncode == 0


def keys_done(tool: Tool) -> int:
    return sum(row["items_done"] for row in json.loads(tool.run("progress", "--json").stdout))


def sessions(tool: Tool) -> list[tuple[int]]:
    return tool.cluster.execute(
        "SELECT pid FROM pg_stat_activity WHERE query LIKE 'CALL sliding\\_sync.backfill%' AND state = 'active'",
        DATABASE,
    )


def wait_until(condition: object, timeout: float = 20) -> None:
    assert callable(condition)
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)


# -- what is seen


def test_the_bar_moves_and_vanishes(tool: Tool) -> None:
    screen = Screen(tool.in_terminal("backfill", *TO_THE_END))
    seen = []
    screen.read_until(r"\[=*>? *\] +\d+ %")
    while screen.program.isalive():
        screen.read(0.2)
        if found := PERCENT.search(screen.text()):
            seen.append(int(found[1]))
            assert len(screen.text().splitlines()) == 1, screen.text()
            assert re.search(r"keys/s  [\d,]+ rows  [\d:-]+ left$", screen.text())
    assert seen == sorted(seen) and len(set(seen)) > 3, seen
    assert screen.read_to_end() == 0
    names, _, values, count = screen.text().splitlines()
    assert names.split() == ["joined_rooms", "|", "memberships", "|", "rows_written", "|", "quarantined", "|", "is_finished"]
    assert values.split()[-1] == "t" and count == "(1 row)"
    assert is_ready(tool)


def test_the_bar_follows_the_window(tool: Tool) -> None:
    screen = Screen(tool.in_terminal("backfill", *SLOWLY, size=(10, 100)))
    screen.read_until(r"\d+ %")
    assert len(screen.text()) == 97
    for columns in (60, 30, 20, 70):
        screen.resize(10, columns)
        screen.read(0.4)
        bar = screen.text().splitlines()[-1]
        assert len(bar) < columns, (columns, bar)
    screen.read_until(r"\] +\d+ %")
    screen.program.sendcontrol("c")
    assert screen.read_to_end() == 130


def test_lines_where_there_is_no_terminal(tool: Tool) -> None:
    done = tool.run("backfill", *TO_THE_END)
    assert done.returncode == 0, done
    lines = done.stderr.splitlines()
    assert lines and all(re.fullmatch(r"sliding-sync: \d+ %, [\d,]+ of [\d,]+ keys, .* left", line) for line in lines), done
    assert tool.run("backfill", "--restart", "-q").stderr == ""


def test_json_lines(tool: Tool) -> None:
    done = tool.run("backfill", "--json", "-j", "2", *TO_THE_END)
    assert (done.returncode, done.stderr) == (0, ""), done
    *events, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert events and len(events) > 2
    for event in events:
        assert list(event) == ["event", "keys_done", "keys_total", "rows_written", "rate", "eta_seconds"]
        assert event["event"] == "progress" and 0 < event["keys_done"] <= event["keys_total"]
    assert [event["keys_done"] for event in events] == sorted(event["keys_done"] for event in events)
    assert list(last) == ["event", "joined_rooms", "memberships", "rows_written", "quarantined", "is_finished"]
    assert last["event"] == "finished" and last["is_finished"] is True and last["quarantined"] == 0
    with connect(tool.cluster, DATABASE) as connection:
        ((rooms,),) = connection.execute("SELECT count(*) FROM sliding_sync_joined_rooms").fetchall()
        ((members,),) = connection.execute("SELECT count(*) FROM sliding_sync_membership_snapshots").fetchall()
    assert last["rows_written"] == rooms + members


def test_several_sessions_share_one_run(tool: Tool) -> None:
    program = tool.start("backfill", "-j", "3", *SLOWLY)
    wait_until(lambda: len(sessions(tool)) == 3)
    wait_until(lambda: keys_done(tool) > 0)
    assert {row["run_id"] for row in json.loads(tool.run("progress", "--json").stdout)} == {1}
    out, _ = program.communicate(timeout=60)
    assert program.returncode == 0 and is_ready(tool), out
    assert tool.cluster.execute("SELECT count(*) FROM sliding_sync.runs", DATABASE) == [(1,)]


def test_scope_and_time(tool: Tool) -> None:
    done = tool.run("backfill", "--tables", "joined_rooms", "--max-duration", "300 ms", *SLOWLY)
    assert done.returncode == 0 and done.stdout.splitlines()[2].split()[-1] == "f", done
    assert "hint: What was done is kept. This goes on with it: sliding-sync backfill --tables joined_rooms" in done.stderr
    done = tool.run("backfill", "--tables", "joined_rooms")
    assert done.stdout.splitlines()[2].split()[-1] == "t", done
    assert done.stdout.splitlines()[2].split()[2] == "0"
    done = tool.run("backfill", "--max-duration", "often")
    assert done.returncode == 1 and "invalid input syntax for type interval" in done.stderr, done


def test_a_role_that_may_do_no_more(tool: Tool) -> None:
    tool.cluster.create_role("filler")
    tool.cluster.execute("GRANT USAGE ON SCHEMA sliding_sync TO filler", DATABASE)
    tool.cluster.execute(
        "GRANT EXECUTE ON PROCEDURE sliding_sync.backfill, sliding_sync.begin_backfill TO filler", DATABASE
    )
    done = Tool(tool.cluster, DATABASE, "filler").run("backfill", "-j", "2")
    assert done.returncode == 0 and done.stdout.splitlines()[2].split()[-1] == "t", done
    done = Tool(tool.cluster, DATABASE, "filler").run("verify")
    assert done.returncode == 1 and "error: permission denied for function verify" in done.stderr, done


# -- interrupted


def test_ctrl_c_keeps_what_was_done(tool: Tool) -> None:
    screen = Screen(tool.in_terminal("backfill", "-j", "2", *SLOWLY, size=(24, 200)))
    screen.read_until(r"\d+ %")
    screen.program.sendcontrol("c")
    assert screen.read_to_end() == 130
    text = screen.text()
    assert text.startswith("sliding-sync: ending after the batches in hand"), text
    assert "sliding-sync: error: interrupted" in text
    goes_on = re.search(r"This goes on with it: sliding-sync (backfill .*)$", text, re.MULTILINE)
    assert goes_on and goes_on[1] == "backfill -j 2 --batch-size 10 --pause '300 ms'", text
    assert not sessions(tool)
    done_before = keys_done(tool)
    assert done_before > 0
    row = next(line for line in text.splitlines() if line.rstrip().endswith("| f"))
    assert sum(map(int, re.findall(r"\d+", row)[:2])) == done_before, (text, done_before)
    last = json.loads(tool.run("backfill", "--json").stdout.splitlines()[-1])
    assert last["is_finished"] and is_ready(tool)
    assert tool.cluster.execute("SELECT count(*) FROM sliding_sync.runs", DATABASE) == [(1,)]


def test_a_second_ctrl_c_ends_at_once(tool: Tool) -> None:
    with connect(tool.cluster, DATABASE, "postgres") as connection:
        connection.execute("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(60); RETURN NEW; END$$")
        connection.execute("CREATE TRIGGER slow BEFORE INSERT ON sliding_sync_joined_rooms FOR EACH ROW EXECUTE FUNCTION slow()")
    screen = Screen(tool.in_terminal("backfill", size=(24, 200)))
    wait_until(lambda: tool.cluster.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'", DATABASE))
    screen.program.sendcontrol("c")
    screen.read_until("Ctrl-C again ends at once")
    assert screen.program.isalive()
    screen.program.sendcontrol("c")
    assert screen.read_to_end() == 130
    wait_until(lambda: not sessions(tool), timeout=5)


def test_killed_and_resumed(tool: Tool) -> None:
    program = tool.start("backfill", *SLOWLY)
    wait_until(lambda: keys_done(tool) > 50)
    os.kill(program.pid, signal.SIGKILL)
    program.communicate(timeout=10)
    wait_until(lambda: not sessions(tool), timeout=10)
    before = keys_done(tool)
    done = tool.run("backfill", "--json")
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["is_finished"] and is_ready(tool)
    ((everything,),) = tool.cluster.execute("SELECT sum(items_done) FROM sliding_sync.run_ranges", DATABASE)
    assert last["joined_rooms"] + last["memberships"] == everything - before


def test_ctrl_c_in_another_command(tool: Tool) -> None:
    with tool.cluster.connect(DATABASE) as holder:
        holder.execute("BEGIN; LOCK TABLE sliding_sync.quarantine IN ACCESS EXCLUSIVE MODE")
        program = tool.start("health")
        wait_until(lambda: tool.cluster.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
        program.send_signal(signal.SIGINT)
        out, errors = program.communicate(timeout=10)
    assert (program.returncode, out, errors) == (130, "", "sliding-sync: error: interrupted\n")


# -- without a server


def test_a_session_that_dies_is_replaced(tool: Tool) -> None:
    program = tool.start("backfill", "-j", "2", "--json", *SLOWLY)
    wait_until(lambda: len(sessions(tool)) == 2 and keys_done(tool) > 0)
    ((victim,), _) = sessions(tool)
    tool.cluster.execute(f"SELECT pg_terminate_backend({victim})")  # type: ignore[arg-type]
    wait_until(lambda: len(sessions(tool)) == 2 and (victim,) not in sessions(tool))
    out, errors = program.communicate(timeout=60)
    assert program.returncode == 0, errors
    assert "warning: lost a session: the server has ended the session" in errors
    assert "connected again after" in errors
    last = json.loads(out.splitlines()[-1])
    ((everything,),) = tool.cluster.execute("SELECT sum(items_done) FROM sliding_sync.run_ranges", DATABASE)
    assert last["joined_rooms"] + last["memberships"] == everything
    assert tool.cluster.execute("SELECT count(*) FROM sliding_sync.runs", DATABASE) == [(1,)]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_session_that_comes_when_all_is_done(tool: Tool, jobs: str) -> None:
    """The answer to a call was lost, and the run is finished: there is nothing to begin again."""
    with Proxy(tool.cluster.port, b"CALL sliding_sync.backfill") as proxy:
        program = tool.start("backfill", "--json", "-j", jobs, PGPORT=str(proxy.port))
        wait_until(lambda: tool.cluster.execute("SELECT run_id FROM sliding_sync.runs WHERE finished_at IS NOT NULL", DATABASE))
        wait_until(lambda: not sessions(tool))
        assert program.poll() is None
        proxy.cut()
        out, errors = program.communicate(timeout=60)
    assert program.returncode == 0 and "connected again after" in errors, errors
    last = json.loads(out.splitlines()[-1])
    ((everything,),) = tool.cluster.execute("SELECT sum(items_done) FROM sliding_sync.run_ranges", DATABASE)
    assert last["is_finished"] and last["joined_rooms"] + last["memberships"] == everything
    assert tool.cluster.execute("SELECT count(*) FROM sliding_sync.runs", DATABASE) == [(1,)]


def test_somebody_begins_anew(tool: Tool) -> None:
    program = tool.start("backfill", "-j", "2", *SLOWLY)
    wait_until(lambda: keys_done(tool) > 50)
    assert tool.run("backfill", "--restart").returncode == 0
    out, errors = program.communicate(timeout=60)
    assert (program.returncode, out) == (1, ""), errors
    assert "error: somebody else has begun this run anew" in errors


@pytest.mark.parametrize("mode", [signal.SIGINT, signal.SIGQUIT])
def test_the_server_is_restarted(tool: Tool, mode: signal.Signals) -> None:
    program = tool.start("backfill", "-j", "2", "--json", *SLOWLY)
    wait_until(lambda: keys_done(tool) > 50)
    tool.cluster.stop(mode)
    time.sleep(1)
    tool.cluster.start()
    out, errors = program.communicate(timeout=90)
    assert program.returncode == 0, errors
    assert errors.count("warning: lost a session") == 1 and "Trying again for 300 s." in errors
    assert json.loads(out.splitlines()[-1])["is_finished"] is True
    assert is_ready(tool)


def test_the_server_does_not_come_back(tool: Tool) -> None:
    program = tool.start("backfill", "--retry", "2s", *SLOWLY)
    wait_until(lambda: keys_done(tool) > 0)
    tool.cluster.stop()
    try:
        out, errors = program.communicate(timeout=30)
        assert (program.returncode, out) == (1, ""), errors
        assert "sliding-sync: error: connection to server at" in errors
        assert "sliding-sync: hint: What was done is kept. This goes on with it: sliding-sync backfill --retry 2s" in errors
    finally:
        tool.cluster.start()
    assert tool.run("backfill").returncode == 0 and is_ready(tool)


def test_passwords_are_not_told(tool: Tool) -> None:
    uri = f"postgresql://postgres:secret@127.0.0.1:{tool.cluster.port}/{DATABASE.replace(' ', '%20')}"
    done = tool.run("backfill", "--max-duration", "200ms", *SLOWLY, uri)
    assert done.returncode == 0 and "goes on with it" in done.stderr and "secret" not in done.stderr, done
