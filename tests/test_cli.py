"""The program sliding-sync: what each command prints and ends with, in the words of docs/cli.md."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from generator.load import generate
from harness.cluster import SUPERUSER, Cluster
from harness.tool import Done, Tool, program
from synthetic.attacker import ATTACKER, plant_names, witnessed
from synthetic.database import ANNA, OWNER, ROOM, SCHEMA, connect, create_homeserver

DATABASE = "told by the tool"


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[str]:
    name = create_homeserver(cluster, DATABASE)
    with connect(cluster, name) as connection:
        generate(connection, SCHEMA, 20)
    yield name
    cluster.drop_database(name)


@pytest.fixture
def tool(cluster: Cluster, database: str) -> Tool:
    return Tool(cluster, database)


@pytest.fixture
def filled(cluster: Cluster, database: str) -> None:
    cluster.execute("CALL sliding_sync.backfill()", database)
    cluster.execute("SELECT sliding_sync.repair()", database)


def rows(done: Done) -> list[dict[str, object]]:
    assert done.stderr == "", done
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def fails(done: Done, status: int, *texts: str) -> None:
    assert (done.returncode, done.stdout) == (status, ""), done
    assert all(line.startswith("sliding-sync: ") for line in done.stderr.splitlines() if line[:1] != "\t"), done
    for text in texts:
        assert text in done.stderr, done


# -- what is printed


def test_ready_says_no_and_yes(cluster: Cluster, tool: Tool, database: str) -> None:
    cluster.execute("DELETE FROM sliding_sync.trigger_coverage", database)
    done = tool.run("ready")
    assert (done.returncode, done.stderr) == (3, ""), done
    assert "never_completed" in done.stdout
    done = tool.run("ready", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (3, [{"is_ready": False, "reasons": ["never_completed"]}])
    cluster.execute("CALL sliding_sync.backfill()", database)
    done = tool.run("ready")
    assert done.stdout == " is_ready | reasons \n----------+---------\n t        | {}\n(1 row)\n"
    assert done.returncode == 0
    assert rows(tool.run("ready", "--json")) == [{"is_ready": True, "reasons": []}]


@pytest.mark.usefixtures("filled")
def test_views_as_json_keep_types(tool: Tool) -> None:
    (status,) = rows(tool.run("status", "--json"))
    assert status["is_ready"] is True
    assert status["reasons"] == []
    assert status["triggers_found"] == status["triggers_expected"] == 20
    assert status["unfinished_run"] is None
    assert rows(tool.run("health", "--json")) == []
    assert rows(tool.run("progress", "--json")) == []
    assert {finding["severity"] for finding in rows(tool.run("verify", "--json"))} <= {"unverifiable"}
    (caught,) = rows(tool.run("catch-up", "--json"))
    assert caught == {"had_gap": False, "joined_rooms": 0, "memberships": 0, "rows_written": 0, "quarantined": 0}


@pytest.mark.usefixtures("filled")
def test_a_row_broken_by_hand(cluster: Cluster, tool: Tool, database: str) -> None:
    ((room,),) = cluster.execute(
        "SELECT room_id FROM homeserver.sliding_sync_joined_rooms WHERE room_name IS NOT NULL LIMIT 1", database
    )
    with connect(cluster, database, SUPERUSER) as connection:
        connection.execute(
            "UPDATE homeserver.sliding_sync_joined_rooms SET room_name = E'W\\nrong\\x1B[2J' WHERE room_id = %s", [room]
        )
    done = tool.run("verify", "--no-history")
    assert done.returncode == 3, done
    assert "W\\nrong\\x1B[2J" in done.stdout and room in done.stdout
    (finding,) = rows_of_differences(tool.run("verify", "--json", "--room", room, "--no-history"))
    assert finding["actual"] == "W\nrong\x1b[2J"
    assert tool.run("verify", "--room", "!none", "--json").returncode == 0
    (change,) = rows(tool.run("repair", "--preview", "--json"))
    assert change["row_after"] is None
    (change,) = rows(tool.run("repair", "--json"))
    assert change["room_id"] == room and isinstance(change["row_before"], dict)
    done = tool.run("verify", "--no-history")
    assert done.returncode == 0 and done.stdout.endswith("(0 rows)\n")


def rows_of_differences(done: Done) -> list[dict[str, object]]:
    assert (done.returncode, done.stderr) == (3, ""), done
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def test_version_names_all_three(tool: Tool) -> None:
    (version,) = rows(tool.run("version", "--json"))
    assert version["program_version"] == version["library_version"] == version["extension_version"]
    assert version["attached_schemas"] == [SCHEMA]
    assert str(version["program_version"]) in tool.run("--version").stdout


def test_preflight(tool: Tool) -> None:
    findings = rows(tool.run("preflight", "port_database", "--json"))
    assert [finding["finding"] for finding in findings] == ["not_switched_off"]
    fails(tool.run("preflight", "paint"), 1, 'error: unrecognized operation: "paint"', "hint: One of: delete_room")


def test_detach_and_attach(cluster: Cluster, tool: Tool, database: str) -> None:
    assert rows(tool.run("detach", "--json")) == [{"detach": 1}]
    fails(tool.run("verify"), 1, "is not attached to any homeserver", "hint: Call SELECT sliding_sync.attach().")
    assert rows(tool.run("attach", "--json", "--schema", SCHEMA)) == [{"attach": SCHEMA}]
    assert tool.run("attach").stdout == f"   attach   \n------------\n {SCHEMA}\n(1 row)\n"
    assert tool.run("catch-up").returncode == 0


@pytest.mark.usefixtures("filled")
def test_finish(cluster: Cluster, tool: Tool, database: str) -> None:
    cluster.execute(
        "INSERT INTO homeserver.background_updates (update_name, progress_json) "
        "VALUES ('sliding_sync_joined_rooms_bg_update', '{}')",
        database,
    )
    (ended,) = rows(tool.run("finish", "--preview", "--json"))
    assert ended["updates_ended"] == ["sliding_sync_joined_rooms_bg_update"]
    done = tool.run("finish")
    assert done.returncode == 0 and "sliding_sync_joined_rooms_bg_update" in done.stdout
    assert "sliding-sync: notice: the homeserver's background updates were ended\n" in done.stderr
    assert "sliding-sync: hint: Restart the homeserver" in done.stderr
    assert tool.run("finish", "-q").stderr == ""


# -- options


def test_dry_run_sends_nothing(tool: Tool) -> None:
    done = tool.run("repair", "-n", "--room", "!it's", "--schema", "x", PGPORT="1")
    assert done.returncode == 0, done
    sql, *locks = done.stdout.splitlines()
    assert sql == "SELECT * FROM sliding_sync.repair(target_schema => 'x', room => '!it''s');"
    assert locks and all(line.startswith("-- ") for line in locks)


def test_dry_run_of_a_backfill(tool: Tool) -> None:
    """As psql takes it."""
    done = tool.run("backfill", "-n", "--restart", "--tables", "joined_rooms", "--share", "0.5", "-j", "4", PGPORT="1")
    assert done.stdout.splitlines()[:2] == [
        "CALL sliding_sync.begin_backfill(tables => 'joined_rooms', restart => true) \\gset",
        "CALL sliding_sync.backfill(run_id => :run_id, verbose => false, share => 0.5);",
    ]


def test_refused_before_a_run_begins(cluster: Cluster, tool: Tool, database: str) -> None:
    ((before,),) = cluster.execute("SELECT count(*) FROM sliding_sync.runs", database)
    for option, value in (("--max-duration", "0"), ("--batch-time", "0 s"), ("--pause", "-1 s")):
        fails(tool.run("backfill", option, value), 2, f"error: {option} must ")
    fails(tool.run("backfill", "--pause", "a while"), 1, "invalid input syntax for type interval")
    assert cluster.execute("SELECT count(*) FROM sliding_sync.runs", database) == [(before,)]


def test_closed_standard_streams(tool: Tool) -> None:
    """None of them is the connection."""
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(
            ["sh", "-c", f'exec "$0" version {closed}', program()], env=tool.environment(), capture_output=True, text=True
        )
        assert done.returncode == 0 and done.stderr == "", (closed, done)


def test_a_full_disk(tool: Tool) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [program(), "version"], env=tool.environment(), stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == "sliding-sync: error: could not write to standard output: No space left on device\n"


def test_echo_and_verbose(tool: Tool) -> None:
    done = tool.run("ready", "-e", "-v")
    assert "SELECT * FROM sliding_sync.ready();\n" in done.stderr
    assert f"in database {DATABASE} as {SUPERUSER}: PostgreSQL" in done.stderr


def test_help(tool: Tool) -> None:
    done = tool.run("-?")
    assert done.returncode == 0 and "Exit status:" in done.stdout and done.stderr == ""
    assert "--max-duration" not in done.stdout
    assert "--max-duration" in tool.run("backfill", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "a command is missing"),
        (["paint"], '"paint" is no command'),
        (["verify", "--paint"], "--paint"),
        (["verify", "--sample", "many"], "--sample"),
        (["verify", "--sample", "0"], "--sample"),
        (["verify", "--no-extension", "--sample", "1.5"], "--sample"),
        (["backfill", "--share", "2"], "--share"),
        (["backfill", "--share", "nan"], "--share"),
        (["backfill", "--batch-size", "0"], "--batch-size"),
        (["backfill", "--retry", "5 apples"], "--retry"),
        (["verify", "a", "b"], "b"),
        (["preflight"], "WHAT"),
        (["backfill", "-j", "0"], "--jobs"),
        (["catch-up", "--mode", "paint"], "--mode"),
        (["list", "@a:hs", "one", "two"], "two"),
        (["ready", "postgresql://user:secret@[/"], "the connection string is malformed"),
    ],
)
def test_wrong_command_lines(tool: Tool, arguments: list[str], text: str) -> None:
    done = tool.run(*arguments)
    fails(done, 2, text)
    assert "secret" not in done.stderr


# -- connections


def test_ways_to_name_the_database(cluster: Cluster, tool: Tool, database: str) -> None:
    host = str(cluster.socket_directory)
    uri = f"postgresql://{SUPERUSER}@127.0.0.1:{cluster.port}/{database.replace(' ', '%20')}"
    for arguments in (
        ["ready", database],
        ["ready", "-d", database],
        ["-d", database, "ready"],
        ["ready", "-h", host, "-p", str(cluster.port), "-U", OWNER, database],
        ["ready", uri],
        ["ready", "-h", "nowhere.invalid", uri],
        ["ready", f"host={host} port={cluster.port} dbname='{database}'"],
    ):
        done = tool.run(*arguments, PGDATABASE="nowhere")
        assert done.returncode in (0, 3) and done.stdout, (arguments, done)


def test_service_and_password_files(cluster: Cluster, tool: Tool, database: str, server_directory: object) -> None:
    services = cluster.root / "services"
    services.write_text(f"[hs]\nhost=127.0.0.1\nport={cluster.port}\ndbname={database}\nuser={SUPERUSER}\n")
    done = tool.run("ready", "service=hs", PGSERVICEFILE=str(services), PGDATABASE="nowhere", PGPORT="1")
    assert done.stdout, done


def test_no_server_and_no_database(tool: Tool) -> None:
    fails(tool.run("ready", "-p", "1"), 1, "error: connection to server at", "Connection refused")
    fails(tool.run("ready", "nowhere"), 1, 'database "nowhere" does not exist')


def test_no_extension(tool: Tool) -> None:
    fails(
        tool.run("verify", "postgres"),
        1,
        'the extension sliding_sync is not installed in database "postgres"',
        "hint: CREATE EXTENSION sliding_sync",
    )


def test_the_session_is_ended(cluster: Cluster, tool: Tool, database: str) -> None:
    with cluster.connect(database) as holder:
        holder.execute("BEGIN; LOCK TABLE sliding_sync.quarantine IN ACCESS EXCLUSIVE MODE")
        program = tool.start("health")
        ended: list[tuple[bool]] = []
        while not ended:
            ended = cluster.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'", database
            )
        out, errors = program.communicate(timeout=60)
    assert (program.returncode, out, errors) == (1, "", "sliding-sync: error: the server has ended the session\n")


def test_the_server_knows_who_asks(cluster: Cluster, tool: Tool, database: str) -> None:
    with cluster.connect(database) as holder:
        holder.execute("BEGIN; LOCK TABLE sliding_sync.quarantine IN ACCESS EXCLUSIVE MODE")
        program = tool.start("health")
        try:
            names: list[tuple[str]] = []
            while not names:
                names = cluster.execute(
                    "SELECT application_name FROM pg_stat_activity WHERE wait_event_type = 'Lock'", database
                )
            assert names == [("sliding-sync health",)]
        finally:
            holder.execute("COMMIT")
            program.communicate(timeout=60)


# -- the other exit codes


@pytest.mark.long  # it waits a minute
def test_a_lock_that_is_not_to_be_had(cluster: Cluster, tool: Tool, database: str) -> None:
    cluster.execute("SELECT sliding_sync.detach()", database)
    with cluster.connect(database, application_name="holder") as holder:
        holder.execute("BEGIN; LOCK TABLE homeserver.rooms IN ROW EXCLUSIVE MODE; SELECT 'long work'")
        done = tool.run("attach")
        fails(done, 4, "waiting for session", f"(role {SUPERUSER})", "long work", "could not lock the homeserver's tables")
        assert str(holder.info.backend_pid) in done.stderr
    assert tool.run("attach").returncode == 0


def test_other_versions(cluster: Cluster, tool: Tool, database: str) -> None:
    cluster.execute("UPDATE pg_extension SET extversion = '0.0.1' WHERE extname = 'sliding_sync'", database)
    try:
        done = tool.run("verify")
        fails(done, 5, "versions differ", "SQL 0.0.1", "Program ", "library ")
        done = tool.run("version")
        assert done.returncode == 5 and "0.0.1" in done.stdout
        assert "version_differs" in tool.run("health").stdout
    finally:
        cluster.execute(
            "UPDATE pg_extension SET extversion = sliding_sync.library_version() WHERE extname = 'sliding_sync'",
            database,
        )


# -- whose code runs


@pytest.mark.parametrize("options", [(), ("--json",), ("--schema", SCHEMA), ("--schema", SCHEMA, "--json")])
def test_no_search_path_of_the_database_lends_a_name_to_a_command(cluster: Cluster, armed_tea_room: str, options: tuple[str, ...]) -> None:
    """Its owner decides the path, and an administrator connects: the statements find the server's names only."""
    name = cluster.create_database("names for the tool", OWNER, armed_tea_room)
    with cluster.connect(name, ATTACKER) as connection:
        plant_names(connection, "attacker")
        connection.execute(
            "CREATE FUNCTION attacker.to_json(anyelement) RETURNS json LANGUAGE sql AS $$ SELECT json_build_object('x', attacker.ran('to_json')) $$;"
            "CREATE FUNCTION attacker.sum(bigint) RETURNS numeric LANGUAGE sql AS $$ SELECT attacker.ran('sum')::int::numeric $$"
        )
    cluster.execute(f'ALTER DATABASE "{name}" SET search_path = attacker, pg_catalog', name)  # type: ignore[arg-type]
    tool = Tool(cluster, name)
    for command in ("ready", "status", "health", "progress", "verify", "catch-up", "repair", "backfill", "version"):
        scope = [option for option in options if command != "version" or option == "--json"]
        done = tool.run(command, *scope)
        assert done.returncode in (0, 3), done
    for words in (("list", ANNA), ("explain-user", ANNA), ("explain-room", ROOM)):
        done = tool.run(*words, *options)
        assert done.returncode in (0, 3), done
    assert {role for _, role in witnessed(cluster, name)} <= {OWNER}
    cluster.drop_database(name)
