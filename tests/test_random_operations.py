"""Random operations: after each transaction both tables are what the oracle says they must be.

Failures print the seed and the transaction. More of it: SLIDING_SYNC_SEEDS=100-200 SLIDING_SYNC_TRANSACTIONS=1000.
"""

from __future__ import annotations

import os
import random
from typing import Any

import psycopg
import pytest

from oracle import Watcher
from property.random_homeserver import RandomHomeserver, Statement, describe
from property.random_script import RandomScript
from synthetic.database import SCHEMA

LEVELS = ["READ COMMITTED", "REPEATABLE READ", "REPEATABLE READ", "SERIALIZABLE"]

_FIRST, _LAST = (int(part) for part in os.environ.get("SLIDING_SYNC_SEEDS", "1-16").split("-"))
_TRANSACTIONS = int(os.environ.get("SLIDING_SYNC_TRANSACTIONS", "130"))

# What a homeserver's or a script's own statements run into, with and without us.
_OWN_FAULTS = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.ForeignKeyViolation,
    psycopg.errors.InvalidTextRepresentation,
    psycopg.errors.UntranslatableCharacter,
)


@pytest.fixture
def connection(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    connection.execute("SET sliding_sync.on_failure = error")  # a failure of ours must not hide
    return connection


def run(connection: psycopg.Connection[Any], level: str, statements: list[Statement]) -> None:
    """One transaction. Only the homeserver's own faults may end it, and none of them at COMMIT."""
    connection.execute(f"BEGIN ISOLATION LEVEL {level}")
    try:
        for statement in statements:
            connection.execute(statement.sql, statement.arguments or None)
    except _OWN_FAULTS as fault:
        assert "sliding_sync" not in str(fault)
        connection.execute("ROLLBACK")
        return
    try:
        connection.execute("COMMIT")
    except psycopg.errors.ForeignKeyViolation as fault:
        assert "event_forward_extremities" in str(fault)  # the homeserver's own deferred constraint


def run_in_savepoints(connection: psycopg.Connection[Any], level: str, statements: list[Statement]) -> None:
    """One transaction that goes on after every refusal of a constraint."""
    connection.execute(f"BEGIN ISOLATION LEVEL {level}")
    for statement in statements:
        connection.execute("SAVEPOINT statement")
        try:
            connection.execute(statement.sql, statement.arguments or None)
            connection.execute("RELEASE SAVEPOINT statement")
        except (psycopg.errors.IntegrityError, psycopg.errors.RaiseException) as fault:
            assert "sliding_sync" not in str(fault)
            connection.execute("ROLLBACK TO SAVEPOINT statement")
    connection.execute("COMMIT")


def assert_right(watcher: Watcher, seed: int, number: int, level: str, statements: list[Statement]) -> None:
    findings = watcher.check_step()
    assert not findings, "\n".join(
        [f"seed {seed}, transaction {number}, {level}:"]
        + [f"    {describe(statement)}" for statement in statements]
        + [str(finding) for finding in findings]
    )


@pytest.mark.parametrize("seed", range(_FIRST, _LAST + 1))
def test_any_order_of_statements(connection: psycopg.Connection[Any], seed: int) -> None:
    script = RandomScript(random.Random(seed))
    watcher = Watcher(connection, SCHEMA)
    for number in range(_TRANSACTIONS):
        statements = script.transaction()
        level = script.random.choice(LEVELS)
        run_in_savepoints(connection, level, statements)
        assert_right(watcher, seed, number, level, statements)


@pytest.mark.parametrize("seed", range(_FIRST, _LAST + 1))
def test_any_operation_of_a_homeserver(connection: psycopg.Connection[Any], seed: int) -> None:
    homeserver = RandomHomeserver(random.Random(seed), both_writers=0.4 if seed % 2 else 0.0)
    watcher = Watcher(connection, SCHEMA)
    for number in range(_TRANSACTIONS):
        statements = homeserver.transaction()
        level = homeserver.random.choice(LEVELS)
        run(connection, level, statements)
        assert_right(watcher, seed, number, level, statements)
    rows = connection.execute(f"SELECT count(*) FROM {SCHEMA}.sliding_sync_membership_snapshots").fetchone()
    assert rows and rows[0] > 0, "a run that writes nothing proves nothing"


@pytest.mark.parametrize("seed", [1068])
def test_a_script_that_once_failed(connection: psycopg.Connection[Any], seed: int) -> None:
    """1068: the last leave in the transaction that deletes a state event of the room."""
    test_any_order_of_statements(connection, seed)


@pytest.mark.parametrize("seed", [1098])
def test_a_homeserver_that_once_failed(connection: psycopg.Connection[Any], seed: int) -> None:
    """1098: the same, deleted by hand."""
    test_any_operation_of_a_homeserver(connection, seed)
