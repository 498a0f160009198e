"""What examples/ ships does what it says."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import processes
from harness.cluster import SUPERUSER, Cluster
from harness.environment import PROJECT
from synthetic.database import create_homeserver, run_psql

EXAMPLES = PROJECT / "examples"


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[str]:
    name = create_homeserver(cluster, "examples")
    run_psql(
        cluster,
        name,
        "SELECT create_room('!r:hs.test', '@anna:hs.test', name => 'Tea');",
        search_path="operations, homeserver",
    )
    yield name
    cluster.drop_database(name)


Done = subprocess.CompletedProcess[str]


def run(cluster: Cluster, *command: str, user: str = SUPERUSER, **variables: str) -> Done:
    environment = processes.server_environment(
        PATH=f"{cluster.bin}:/usr/bin:/bin",
        PGHOST="127.0.0.1",
        PGPORT=str(cluster.port),
        PGUSER=user,
        **variables,
    )
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60
    )


def catch_up(cluster: Cluster, database: str) -> None:
    """The statement of the systemd drop-in."""
    (line,) = re.findall(r"^ExecStartPre=(.*)$", drop_in().read_text(), re.MULTILINE)
    assert "%" not in line  # systemd would expand it
    words = shlex.split(line)
    psql = words[words.index("--") + 1 :]
    assert psql[0] == "/usr/bin/psql"
    psql = [word.replace("${SLIDING_SYNC_DATABASE}", database) for word in psql]
    done = run(cluster, str(cluster.bin / "psql"), *psql[1:])
    assert done.returncode == 0, done.stderr


def drop_in() -> Path:
    return EXAMPLES / "systemd/matrix-synapse.service.d/sliding-sync.conf"


def test_check(cluster: Cluster, database: str) -> None:
    check = str(EXAMPLES / "sliding-sync-check")
    done = run(cluster, check, "-d", database, SAMPLE="1")
    assert done.returncode == 3 and "never_completed" in done.stdout, done
    cluster.execute("CALL sliding_sync.backfill()", database)
    done = run(cluster, check, "-d", database, SAMPLE="1")
    assert (done.returncode, done.stdout) == (0, ""), done
    cluster.execute("UPDATE homeserver.sliding_sync_joined_rooms SET room_name = 'Wrong'", database)
    done = run(cluster, check, "-d", database, SAMPLE="1")
    assert done.returncode == 3, done
    assert "room !r:hs.test: room_name is Wrong, expected Tea" in done.stdout
    cluster.execute("UPDATE homeserver.sliding_sync_joined_rooms SET room_name = 'Tea'", database)
    done = run(cluster, check, "-d", "nowhere")
    assert (done.returncode, done.stdout) == (1, ""), done
    assert "nowhere" in done.stderr


def test_start_of_a_homeserver(cluster: Cluster, database: str) -> None:
    cluster.execute("CALL sliding_sync.backfill()", database)
    run_psql(
        cluster,
        database,
        "SET sliding_sync.enabled = off; SELECT rename('!r:hs.test', '@anna:hs.test', 'Coffee');",
        search_path="operations, homeserver",
    )
    assert cluster.execute("SELECT reasons FROM sliding_sync.ready()", database) == [(["bypassed_writes"],)]
    catch_up(cluster, database)
    assert cluster.execute("SELECT is_ready FROM sliding_sync.ready()", database) == [(True,)]
    names = "SELECT room_name FROM homeserver.sliding_sync_joined_rooms"
    assert cluster.execute(names, database) == [("Coffee",)]


def test_metrics(cluster: Cluster, database: str) -> None:
    """A number, and no two of the same name and labels."""
    cluster.create_role("monitor")
    cluster.execute("GRANT pg_monitor TO monitor")
    done = run(cluster, str(EXAMPLES / "prometheus/sliding-sync-textfile"), "-d", database, user="monitor")
    assert done.returncode == 0, done.stderr
    lines = [text for text in done.stdout.splitlines() if not re.match(r"# (HELP|TYPE) sliding_sync_\w+ .", text)]
    line = re.compile(r'(sliding_sync_[a-z_]+)(\{[a-z_]+="[^"\\]*"(?:,[a-z_]+="[^"\\]*")*\})? (\S+)')
    matches = [line.fullmatch(text) for text in lines]
    assert all(matches), lines
    series = [match[1] + (match[2] or "") for match in matches if match]
    assert len(set(series)) == len(series) > 10
    assert all(float(match[3]) >= 0 for match in matches if match)
    names = {match[1] for match in matches if match}
    # what the alert rules and the documentation name exists
    documented = set(re.findall(r"`(sliding_sync_[a-z_]+)`", (PROJECT / "docs/diagnostics.md").read_text()))
    used = set(re.findall(r"\bsliding_sync_[a-z_]+", (EXAMPLES / "prometheus/rules.yml").read_text()))
    assert names <= documented and used <= documented


def test_the_list_of_a_user(cluster: Cluster, database: str) -> None:
    """The query that implementers are told to use."""
    cluster.execute("CALL sliding_sync.backfill()", database)
    text = (PROJECT / "docs/implementers.md").read_text()
    query = next(block for block in re.findall(r"```sql\n(.*?)```", text, re.DOTALL) if "sliding_sync.room_list(" in block)
    rows = cluster.execute(query.replace("@anna:example.org", "@anna:hs.test").rstrip().rstrip(";"), database)
    assert [row[2:4] for row in rows] == [("!r:hs.test", "join")]


def test_units(tmp_path: Path) -> None:
    """systemd understands them."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze")
    shutil.copytree(EXAMPLES / "systemd", tmp_path, dirs_exist_ok=True)
    unit = tmp_path / "sliding-sync-check.service"
    unit.write_text(unit.read_text().replace("/usr/local/bin/sliding-sync-check", "/bin/true"))
    (tmp_path / "matrix-synapse.service").write_text("[Service]\nExecStart=/bin/true\n")
    units = ["matrix-synapse.service", unit.name, "sliding-sync-check.timer"]
    done = subprocess.run(
        [program, "verify", "--man=no", *(str(tmp_path / name) for name in units)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in done.stderr and "sliding-sync" not in done.stderr, done.stderr


def without_place(command: str, database: str) -> str:
    place, asked = "/usr/local/bin/", "-d synapse"
    assert place in command and asked in command
    return command.replace(place, f"{EXAMPLES}/").replace(asked, f"-d {database}")


def test_cron(cluster: Cluster, database: str) -> None:
    """Each line is one of cron, and its command runs as cron runs it: by sh, with the variables of the file."""
    cluster.execute("CALL sliding_sync.backfill()", database)
    text = (EXAMPLES / "cron").read_text()
    variables = dict(re.findall(r"^([A-Z]+)=(.*)$", text, re.MULTILINE))
    lines = [line for line in text.splitlines() if line and not re.match(r"#|[A-Z]+=", line)]
    assert len(lines) == 2
    for line in lines:
        found = re.fullmatch(r"\S+ \S+ \* \* \S+ +postgres +(.*)", line)
        assert found and "%" not in line, line  # cron would end the command there
        done = run(cluster, "/bin/sh", "-c", without_place(found[1], database), **variables)
        assert (done.returncode, done.stdout) == (0, ""), done


def test_the_command_of_the_unit(cluster: Cluster, database: str) -> None:
    cluster.execute("CALL sliding_sync.backfill()", database)
    text = (EXAMPLES / "systemd/sliding-sync-check.service").read_text()
    (command,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    variables = dict(re.findall(r"^Environment=(\w+)=(.*)$", text, re.MULTILINE))
    done = run(cluster, *shlex.split(without_place(command, database)), **variables)
    assert (done.returncode, done.stdout) == (0, ""), done


def test_every_code_is_documented() -> None:
    """A code is the literal after a severity, or opens a row of findings."""
    sources = "".join(
        (PROJECT / f"extension/install/{part}.sql").read_text() for part in ("readiness", "views", "preflight")
    )
    codes = set(
        re.findall(
            r"(?:'(?:error|warning|notice|blocker)'|severity_without_triggers|'blocker' END)(?: AS severity)?,"
            r"(?: [\w.]+,)?\s+'([a-z_]+)'|THEN '([a-z_]+)' END|^ +\(?'([a-z_]+)', facts",
            sources,
            re.MULTILINE,
        )
    )
    names = {name for found in codes for name in found if name}
    assert len(names) >= 29, sorted(names)
    documentation = (PROJECT / "docs/diagnostics.md").read_text()
    assert [name for name in sorted(names) if f"`{name}`" not in documentation] == []
