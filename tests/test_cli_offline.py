"""verify and status without the extension: the same findings on the same data, read by a role that may only SELECT."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from generator.load import generate
from harness.cluster import SUPERUSER, Cluster
from harness.tool import Tool, program
from property.random_homeserver import RandomHomeserver, Statement
from property.random_script import RandomScript
from synthetic.database import OWNER, SCHEMA, connect, create_homeserver
from test_verify import Vandal

READER = "reader of a homeserver"
_FIRST, _LAST = (int(part) for part in os.environ.get("SLIDING_SYNC_SEEDS", "1-4").split("-"))
_TRANSACTIONS = int(os.environ.get("SLIDING_SYNC_TRANSACTIONS", "130"))


def findings(tool: Tool, *arguments: str) -> list[dict[str, Any]]:
    done = tool.run("verify", "--json", *arguments)
    assert done.returncode in (0, 3) and done.stderr == "", done
    found = json.loads(done.stdout)
    assert done.returncode == (3 if any(finding["severity"] != "unverifiable" for finding in found) else 0)
    return found


def counted(found: list[dict[str, Any]]) -> Counter[str]:
    return Counter(json.dumps(finding, sort_keys=True) for finding in found)


def assert_same_findings(tool: Tool) -> Counter[str]:
    with_extension = counted(findings(tool))
    without = counted(findings(tool, "--no-extension", "--trust-owner"))
    assert without == with_extension, (without - with_extension, with_extension - without)
    return Counter(json.loads(finding)["reason"] for finding in without)


# -- the same findings


_REFUSED = (psycopg.IntegrityError, psycopg.DataError, psycopg.errors.RaiseException)


def begin(connection: psycopg.Connection[Any], chance: random.Random) -> None:
    """Half of the transactions go past the triggers, so that much is wrong."""
    connection.execute(f"SET sliding_sync.enabled = {chance.choice(('on', 'off'))}")  # type: ignore[arg-type]
    connection.execute("BEGIN")


def commit(connection: psycopg.Connection[Any]) -> None:
    try:
        connection.execute("COMMIT")
    except psycopg.errors.ForeignKeyViolation:  # a deferred one
        pass


def play(connection: psycopg.Connection[Any], chance: random.Random, statements: list[Statement]) -> None:
    """One transaction of a homeserver's: all or nothing."""
    begin(connection, chance)
    try:
        for statement in statements:
            connection.execute(statement.sql, statement.arguments or None)
    except _REFUSED:
        connection.execute("ROLLBACK")
        return
    commit(connection)


def play_on(connection: psycopg.Connection[Any], chance: random.Random, statements: list[Statement]) -> None:
    """One transaction that goes on after every refusal."""
    begin(connection, chance)
    for statement in statements:
        connection.execute("SAVEPOINT statement")
        try:
            connection.execute(statement.sql, statement.arguments or None)
            connection.execute("RELEASE SAVEPOINT statement")
        except _REFUSED:
            connection.execute("ROLLBACK TO SAVEPOINT statement")
    commit(connection)


@pytest.mark.parametrize("seed", range(_FIRST, _LAST + 1))
def test_after_any_statements(cluster: Cluster, connection: psycopg.Connection[Any], seed: int) -> None:
    script = RandomScript(random.Random(seed))
    tool = Tool(cluster, connection.info.dbname)
    reasons: Counter[str] = Counter()
    for number in range(_TRANSACTIONS):
        play_on(connection, script.random, script.transaction())
        if number % 10 == 9:
            reasons += assert_same_findings(tool)
    assert reasons, "a run without findings proves nothing"


@pytest.mark.parametrize("seed", range(_FIRST, _LAST + 1))
def test_after_any_operations(cluster: Cluster, connection: psycopg.Connection[Any], seed: int) -> None:
    homeserver = RandomHomeserver(random.Random(seed), both_writers=0.4 if seed % 2 else 0.0)
    tool = Tool(cluster, connection.info.dbname)
    reasons: Counter[str] = Counter()
    for number in range(_TRANSACTIONS):
        play(connection, homeserver.random, homeserver.transaction())
        if number % 10 == 9:
            reasons += assert_same_findings(tool)
    assert reasons, "a run without findings proves nothing"


@pytest.fixture(scope="module")
def grown(cluster: Cluster) -> Iterator[str]:
    name = create_homeserver(cluster, "judged without the extension")
    with connect(cluster, name) as connection:
        generate(connection, SCHEMA, 40)
    yield name
    cluster.drop_database(name)


def test_of_what_was_spoiled(cluster: Cluster, grown: str) -> None:
    name = cluster.create_database("spoiled for both", OWNER, grown)
    with connect(cluster, name, SUPERUSER) as connection:
        connection.execute("SET sliding_sync.enabled = off")
        assert Vandal(connection, 5).spoil(0.25) > 40
    tool = Tool(cluster, name)
    reasons = assert_same_findings(tool)
    assert len(reasons) > 6, reasons
    one = findings(tool)[0]
    for part in (
        ["--room", one["room_id"]],
        ["--tables", "joined_rooms"],
        ["--tables", "memberships", "--no-history"],
        ["--first-room", one["room_id"]],
        ["--last-room", one["room_id"]],
        ["--member", "@user1:hs.test"],
    ):
        assert counted(findings(tool, *part)) == counted(findings(tool, "--no-extension", "--trust-owner", *part)), part
    cluster.drop_database(name)


# -- where nothing is installed


@pytest.fixture(scope="module")
def bare(cluster: Cluster, grown: str) -> Iterator[str]:
    name = cluster.create_database("without the extension", OWNER, grown)
    cluster.execute("DROP EXTENSION sliding_sync", name)
    cluster.create_role(READER)
    with cluster.connect(name) as connection:
        connection.execute(f'GRANT USAGE ON SCHEMA {SCHEMA} TO "{READER}"')  # type: ignore[arg-type]
        connection.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO "{READER}"')  # type: ignore[arg-type]
    yield name
    cluster.drop_database(name)


def test_a_role_that_may_only_read(cluster: Cluster, bare: str) -> None:
    tool = Tool(cluster, bare, READER)
    assert {finding["severity"] for finding in findings(tool, "--no-extension")} <= {"unverifiable"}
    ((room,),) = cluster.execute(
        "UPDATE homeserver.sliding_sync_joined_rooms SET bump_stamp = 1 WHERE room_id = (SELECT min(room_id) FROM"
        " homeserver.sliding_sync_joined_rooms) RETURNING room_id",
        bare,
    )
    done = tool.run("verify", "--no-extension", "--no-history")
    assert done.returncode == 3 and room in done.stdout and "stale_ordering" in done.stdout, done
    assert done.stderr == ""
    done = tool.run("verify", "--no-extension", "--no-history", "--sample", "0.999999")
    assert re.fullmatch(
        r"sliding-sync: of [\d,]+ rooms looked at 1 is wrong: 1 stale_ordering\n"
        r"sliding-sync: of [\d,]+ memberships looked at 0 are wrong\n",
        done.stderr,
    ), done
    done = tool.run("verify")
    assert done.returncode == 1 and "hint: CREATE EXTENSION" in done.stderr and "--no-extension" in done.stderr


@pytest.mark.parametrize("command", ["verify", "status"])
def test_a_dry_run(command: str) -> None:
    """It needs no server. What is set ends with the transaction: a pooler gives the session to the homeserver next."""
    done = subprocess.run([program(), command, "-n", "--no-extension", "--schema", "it's"], stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\nSET LOCAL search_path = pg_catalog;\n")
    assert not re.findall(r"^SET (?!LOCAL).*", done.stdout, re.MULTILINE)
    assert "SELECT n.nspname AS schema_name,\n" in done.stdout and "WHERE n.nspname = 'it''s'\n" in done.stdout and "sliding_sync.verify" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("-- ACCESS SHARE on the homeserver's tables")


def test_status(cluster: Cluster, bare: str) -> None:
    cluster.execute("ANALYZE", bare)
    (status,) = json.loads(Tool(cluster, bare, READER).run("status", "--no-extension", "--json").stdout)
    assert status["schema_name"] == SCHEMA and status["has_derived_tables"] is True
    assert status["extension_version"] is None
    assert status["membership_snapshots_estimate"] == status["memberships_estimate"] > 0
    assert SCHEMA in Tool(cluster, bare, READER).run("status", "--no-extension").stdout


def test_no_homeserver_and_no_rights(cluster: Cluster, bare: str) -> None:
    done = Tool(cluster, "postgres").run("verify", "--no-extension")
    assert done.returncode == 1 and "no schema of this database holds a homeserver's tables" in done.stderr, done
    cluster.execute(f'REVOKE SELECT ON {SCHEMA}.events FROM "{READER}"', bare)  # type: ignore[arg-type]
    done = Tool(cluster, bare, READER).run("verify", "--no-extension")
    assert (done.returncode, done.stdout) == (1, "") and "error: permission denied for table events" in done.stderr
    cluster.execute(f'GRANT SELECT ON {SCHEMA}.events TO "{READER}"', bare)  # type: ignore[arg-type]


# -- whose rights code in the tables gets

@pytest.fixture(scope="module")
def trapped(cluster: Cluster, bare: str) -> Iterator[str]:
    name = cluster.create_database("trapped without the extension", OWNER, bare)
    with connect(cluster, name) as connection:
        connection.execute(
            "CREATE FUNCTION homeserver.trap() RETURNS integer IMMUTABLE LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE WARNING 'trapped %', current_user; RETURN 1; END $$;"
            "CREATE INDEX ON homeserver.local_current_membership ((homeserver.trap()))"
        )
    yield name
    cluster.drop_database(name)


def test_superusers_are_refused(cluster: Cluster, trapped: str) -> None:
    """Whoever connects lends the tables' code a role; a SET ROLE it could undo."""
    cluster.execute("CREATE ROLE deputy LOGIN; CREATE ROLE program_runner LOGIN; CREATE ROLE reader_of_all LOGIN")
    cluster.execute("GRANT pg_read_all_data TO reader_of_all")
    cluster.execute("GRANT postgres TO deputy; ALTER ROLE deputy NOINHERIT; GRANT pg_execute_server_program TO program_runner")
    for role, options in ((SUPERUSER, ""), (SUPERUSER, f"-c role={OWNER}"), ("deputy", ""), ("program_runner", ""), ("reader_of_all", "")):
        done = Tool(cluster, trapped, role).run("verify", "--no-extension", PGOPTIONS=options)
        assert (done.returncode, done.stdout) == (1, "") and "trapped" not in done.stderr, done
        assert f'hint: Connect as "{OWNER}"' in done.stderr and "--trust-owner" in done.stderr
        done = Tool(cluster, trapped, role).run("status", "--no-extension", PGOPTIONS=options)
        assert done.returncode == 0 and "trapped" not in done.stderr, done
    done = Tool(cluster, trapped, OWNER).run("verify", "--no-extension")
    assert done.returncode in (0, 3) and f"trapped {OWNER}" in done.stderr, done
    done = Tool(cluster, trapped, SUPERUSER).run("verify", "--no-extension", "--trust-owner")
    assert done.returncode in (0, 3) and f"trapped {SUPERUSER}" in done.stderr, done
    cluster.execute("DROP ROLE deputy; DROP ROLE program_runner; DROP ROLE reader_of_all")


def test_names_of_the_databases_owner(cluster: Cluster, bare: str) -> None:
    """An owner of the database decides its search_path: it finds no operator in the place of the server's."""
    name = cluster.create_database("planted without the extension", OWNER, bare)
    with connect(cluster, name) as connection:
        connection.execute(
            "CREATE FUNCTION homeserver.same(name, name) RETURNS boolean LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE WARNING 'trapped %', current_user; RETURN true; END $$;"
            "CREATE OPERATOR homeserver.= (LEFTARG = name, RIGHTARG = name, FUNCTION = homeserver.same)"
        )
        connection.execute(f'ALTER DATABASE "{name}" SET search_path = homeserver, pg_catalog')  # type: ignore[arg-type]
    for command in ("verify", "status"):
        done = Tool(cluster, name, SUPERUSER).run(command, "--no-extension")
        assert "trapped" not in done.stderr, done
    cluster.drop_database(name)
