"""Runs inside a bare Debian 12, as scripts/check-packages starts it: the README's quick start beside a running Synapse.

/packages has the packages; the environments of the tests are in /environments. The homeserver is configured by its own
generator, as an administrator's is: its role with a password, over TCP, to Debian's cluster.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "tests"))

from harness.matrix_client import MatrixError, User  # noqa: E402
from harness.processes import give_to_server  # noqa: E402
from harness.synapse_process import SynapseProcess  # noqa: E402

VERSION = sys.argv[1]
PYTHON = Path(f"/environments/synapse-{VERSION}/bin/python")
HOME = Path("/var/lib/matrix-synapse")
NO_LIMIT = {"per_second": 10000, "burst_count": 10000}


def step(text: str) -> None:
    print(f"== {text}", flush=True)


def equal(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise SystemExit(f"FAILED: {what}: expected {expected!r}, got {found!r}")


def run(*command: str, cwd: str = "/") -> str:
    done = subprocess.run(command, cwd=cwd, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise SystemExit(f"FAILED: {shlex.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout.rstrip("\n")


def as_postgres(*command: str) -> str:
    return run("runuser", "-u", "postgres", "--", *command)


def sql(statement: str, database: str = "synapse") -> str:
    return as_postgres("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement)


# -- what the README says


def quick_start() -> tuple[list[str], list[str]]:
    """Its commands, and the statements of its psql session."""
    (section,) = re.findall(r"^## Quick start.*?\n(.*?)^## ", (PROJECT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    commands = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[0].splitlines()
    return commands, re.findall(r"^synapse=# (.*)$", section, re.MULTILINE)


def as_here(command: str) -> str:
    """There is no sudo in a bare system, and nobody to say yes."""
    command = command.replace("sudo -u postgres", "runuser -u postgres --").replace("sudo ", "")
    return command.replace("apt-get install", "apt-get -q -y install").replace("psql synapse", "psql synapse -X -A -t -v ON_ERROR_STOP=1")


# -- a homeserver


def make_homeserver() -> SynapseProcess:
    sql("CREATE ROLE synapse LOGIN PASSWORD 'secret'", "postgres")
    sql("CREATE DATABASE synapse OWNER synapse TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'", "postgres")
    HOME.mkdir()
    give_to_server(HOME)
    generate = ("--generate-config", "--server-name", "hs.test", "--report-stats", "no", "-c", f"{HOME}/homeserver.yaml")
    as_postgres("env", "-C", str(HOME), str(PYTHON), "-m", "synapse.app.homeserver", *generate)
    homeserver = SynapseProcess("output", HOME)
    listener = {"port": homeserver.port, "type": "http", "bind_addresses": ["127.0.0.1"], "resources": [{"names": ["client"]}]}
    arguments = {"user": "synapse", "password": "secret", "dbname": "synapse", "host": "127.0.0.1", "cp_min": 2, "cp_max": 5}
    ours = {
        "database": {"name": "psycopg2", "args": arguments},
        "listeners": [listener],
        "registration_shared_secret": "shared",
        "federation_domain_whitelist": [],
        "trusted_key_servers": [],
        **{name: NO_LIMIT for name in ("rc_message", "rc_registration", "rc_room_creation", "rc_joins_per_room")},
        "rc_joins": {"local": NO_LIMIT},
        "rc_invites": {name: NO_LIMIT for name in ("per_room", "per_user", "per_issuer")},
    }
    (HOME / "ours.yaml").write_text(json.dumps(ours))  # JSON is YAML too
    return homeserver


def start(homeserver: SynapseProcess) -> None:
    homeserver.start(PYTHON, "synapse.app.homeserver", [f"{HOME}/homeserver.yaml", f"{HOME}/ours.yaml"])
    homeserver.wait_until_healthy()


def write_past(anna: User, bert: User) -> list[str]:
    """Rooms from before the extension, with what a homeserver's own upkeep leaves behind."""
    rooms = [anna.create_room(name=f"Room {i}", preset="public_chat") for i in range(8)]
    for i, room in enumerate(rooms):
        anna.say(room, "hello")
        if i % 2:
            bert.join(room)
        else:
            anna.invite(room, bert)
    anna.redact(rooms[0], anna.set_name(rooms[0], "To be redacted"))
    bert.leave(rooms[1])
    anna.ban(rooms[3], bert)
    anna.set_state(rooms[5], "m.room.tombstone", {"body": "moved", "replacement_room": rooms[7]})
    anna.create_room(creation_content={"type": "m.space"}, name="A space")
    return rooms


class Writer(threading.Thread):
    """Someone who goes on writing; what was refused to him."""

    def __init__(self, user: User, room: str) -> None:
        super().__init__(daemon=True)
        self.done, self.count, self.refused = threading.Event(), 0, list[str]()
        self._user, self._room = user, room

    def run(self) -> None:
        while not self.done.wait(0.05):
            try:
                self._user.say(self._room, "still here")
                self._user.set_name(self._room, f"Name {self.count}")
                self.count += 1
            except MatrixError as error:
                self.refused.append(str(error))

    def end(self) -> None:
        self.done.set()
        self.join(30)


def rows_agree(room: str, name: str) -> None:
    equal("the row's name", sql(f"SELECT room_name FROM sliding_sync_joined_rooms WHERE room_id = '{room}'"), name)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"FAILED: {what} did not come")
        time.sleep(0.2)


def main() -> None:
    step(f"PostgreSQL and Synapse {VERSION}, without the extension")
    run("apt-get", "-qq", "update")
    run("apt-get", "-q", "-y", "install", "postgresql-15", "python3")
    run("pg_ctlcluster", "15", "main", "start")
    homeserver = make_homeserver()
    start(homeserver)
    anna = homeserver.api.register("anna", "shared", admin=True)
    bert = homeserver.api.register("bert", "shared")
    rooms = write_past(anna, bert)
    kitchen = bert.create_room(name="Kitchen", preset="public_chat")
    anna.join(kitchen)
    # an index of its own that it makes late is a finding of health until then
    until(lambda: sql("SELECT count(*) FROM background_updates") == "0", "the end of its background updates")
    writer = Writer(bert, kitchen)
    writer.start()

    step("the quick start of the README")
    commands, statements = quick_start()
    equal("commands", len(commands), 3)
    shown = [run("bash", "-ec", as_here(command), cwd="/packages") for command in commands]
    version = run("dpkg-query", "-W", "-f", "${source:Upstream-Version}", "sliding-sync")
    assert shown[-1].startswith(f"{version}|{version}|"), shown[-1]
    assert subprocess.run(["sh", "-c", "command -v g++ cc"], stdout=subprocess.DEVNULL).returncode != 0, "a compiler is here"
    backfill, ready, verify = (sql(statement) for statement in statements)
    print(f"backfill {backfill}, ready {ready}, verify {verify or 'no rows'}", flush=True)
    joined, memberships, _, quarantined, is_finished = backfill.split("|")
    equal("backfill", (quarantined, is_finished), ("0", "t"))
    equal("rooms", joined, sql("SELECT count(DISTINCT room_id) FROM room_memberships"))
    equal("memberships", memberships, sql("SELECT count(*) FROM (SELECT DISTINCT user_id, room_id FROM room_memberships) AS k"))
    equal("ready", ready, "t|{}")
    equal("verify", verify, "")

    step("the homeserver goes on")
    before = writer.count
    until(lambda: writer.count > before + 5, "another name")
    rows_agree(rooms[0], "")
    tea = anna.create_room(name="Tea", preset="public_chat")
    bert.join(tea)
    rows_agree(tea, "Tea")
    name = anna.set_name(tea, "Coffee")
    rows_agree(tea, "Coffee")
    anna.redact(tea, name)
    rows_agree(tea, "")
    bert.leave(tea)
    anna.delete_room(rooms[2])
    equal("rows of a deleted room", sql(f"SELECT count(*) FROM sliding_sync_joined_rooms WHERE room_id = '{rooms[2]}'"), "0")
    writer.end()
    equal("refused", writer.refused, [])
    rows_agree(kitchen, f"Name {writer.count - 1}")
    print(f"{writer.count} names and messages while all this went on", flush=True)

    step("the program")
    (status,) = json.loads(as_postgres("sliding-sync", "status", "--json", "-d", "synapse"))
    print({name: status[name] for name in ("library_version", "is_ready", "trigger_state", "corrected")})
    equal("status", (status["is_ready"], status["bypassed_writes"], status["quarantined"]), (True, 0, 0))
    print(as_postgres("sliding-sync", "verify", "-d", "synapse").splitlines()[-1])
    as_postgres("env", "SAMPLE=1", "/usr/libexec/sliding-sync/sliding-sync-check", "-d", "synapse")

    step("room lists")
    if tuple(map(int, VERSION.split("."))) >= (1, 115):
        print(sql("SELECT * FROM sliding_sync.finish_background_updates()") or "nothing was left to finish")
        homeserver.stop()
        start(homeserver)
        lists = anna.sliding_sync()["rooms"]
        equal("the renamed room in the list", lists[kitchen]["name"], f"Name {writer.count - 1}")
        assert rooms[2] not in lists
    equal("findings", sql("SELECT * FROM sliding_sync.health"), "")
    equal("verify", sql("SELECT * FROM sliding_sync.verify() WHERE severity <> 'unverifiable'"), "")

    step("remove")
    sql("DROP EXTENSION sliding_sync")
    run("apt-get", "-q", "-y", "purge", "sliding-sync", "postgresql-15-sliding-sync")
    anna.say(kitchen, "without")
    homeserver.stop()
    equal("failed requests", [str(exchange) for exchange in homeserver.api.failed], [])
    logs = homeserver.read_log() + "".join(path.read_text() for path in HOME.glob("homeserver.log*"))
    equal("errors of the homeserver", re.findall(r"^.* - (?:ERROR|CRITICAL) - .*$", logs, re.MULTILINE), [])
    (log,) = Path("/var/log/postgresql").glob("*.log")
    # with the lines that follow: context and statement. Synapse repeats what could not be serialized, and says nothing
    errors = re.findall(r"^[^\n]* (?:PANIC|FATAL|ERROR):.*?(?=^[^\n]* (?:LOG|ERROR|FATAL|PANIC): |\Z)", log.read_text(), re.M | re.S)
    print("".join(errors), flush=True)
    equal("errors of the server", [text for text in errors if "could not serialize" not in text or "sliding_sync" in text], [])
    run("pg_ctlcluster", "15", "main", "stop")


if __name__ == "__main__":
    os.umask(0o022)
    main()
