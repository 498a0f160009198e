"""The SQL and isolation tests, one test a file; then the oracle looks at every homeserver that they left."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import regression
from harness.cluster import Cluster
from harness.regression import ISOLATION, REGRESS, Driver, Run
from oracle import check
from oracle.finding import ROW


@pytest.fixture(scope="module")
def regress(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return regression.run(REGRESS, cluster, tmp_path_factory.mktemp("regress"))


@pytest.fixture(scope="module")
def isolation(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return regression.run(ISOLATION, cluster, tmp_path_factory.mktemp("isolation"))


@pytest.mark.parametrize("name", REGRESS.names())
def test_sql(regress: Run, name: str) -> None:
    assert_passed(regress, name)


@pytest.mark.parametrize("name", ISOLATION.names())
def test_isolation(isolation: Run, name: str) -> None:
    assert_passed(isolation, name)


def assert_passed(run: Run, name: str) -> None:
    if not run.passed.get(name):
        pytest.fail(run.explain(name), pytrace=False)


def homeservers(driver: Driver) -> list[str]:
    """The schemas that test files make by `\\set schema NAME` and leave behind."""
    texts = map(driver.text, driver.names())
    return [schema for text in texts for schema in re.findall(r"^\\set schema (\w+)", text, re.MULTILINE)]


@pytest.mark.parametrize("schema", homeservers(REGRESS))
@pytest.mark.usefixtures("regress")
def test_oracle_agrees(cluster: Cluster, schema: str) -> None:
    assert_right(cluster, REGRESS, [schema])


def attached(cluster: Cluster, driver: Driver) -> list[str]:
    rows = cluster.execute(
        "SELECT DISTINCT n.nspname FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid"
        " JOIN pg_trigger t ON t.tgrelid = c.oid WHERE t.tgname = 'A_sliding_sync'",
        driver.database,
    )
    return [schema for (schema,) in rows]


@pytest.mark.usefixtures("regress")
def test_oracle_agrees_with_whatever_else_is_attached(cluster: Cluster) -> None:
    others = [schema for schema in attached(cluster, REGRESS) if schema not in homeservers(REGRESS)]
    assert_right(cluster, REGRESS, others)


@pytest.mark.usefixtures("isolation")
def test_oracle_agrees_with_every_permutation(cluster: Cluster) -> None:
    schemas = attached(cluster, ISOLATION)
    assert len(schemas) == sum(ISOLATION.text(name).count("\npermutation ") for name in ISOLATION.names())
    # Rows may be absent where a failure took one away or a backfill did not get so far; no row may be wrong.
    assert_right(cluster, ISOLATION, schemas, absent_rows=True)
    with cluster.connect(ISOLATION.database) as connection:
        for schema in schemas:
            # renamed since: the record is of the old name
            connection.execute("SELECT sliding_sync.attach(%s)", [schema])
            connection.execute("CALL sliding_sync.backfill(%s)", [schema])
    assert_right(cluster, ISOLATION, schemas)


def assert_right(cluster: Cluster, driver: Driver, schemas: list[str], absent_rows: bool = False) -> None:
    with cluster.connect(driver.database) as connection:
        findings = [
            f"{schema}: {finding}"
            for schema in schemas
            for finding in check(connection, schema)
            if not (absent_rows and finding.column == ROW and finding.actual == "absent")
        ]
    assert not findings, f"{len(findings)} findings:\n" + "\n".join(findings[:30])


def test_a_failing_file_is_reported(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the drivers print is read rightly: one file that passes and one that differs."""
    for folder in ("sql", "expected"):
        (tmp_path / folder).mkdir()
    for name, statement, result in (
        ("right", "SELECT 1 / 0;\n", "ERROR:  division by zero\n"),
        ("wrong", "SELECT 1 / 1;\n", "no row\n"),
    ):
        (tmp_path / "sql" / f"{name}.sql").write_text(statement)
        (tmp_path / "expected" / f"{name}.out").write_text(statement + result)
    monkeypatch.setattr(regression, "PROJECT", tmp_path)
    outcome = regression.run(Driver(REGRESS.program, "sql", ".sql", "regress_self_test"), cluster, tmp_path)
    assert outcome.passed == {"right": True, "wrong": False}
    assert "-no row" in outcome.explain("wrong") and "?column?" in outcome.explain("wrong")
    assert "right" not in outcome.differences  # from 16 on the driver prints every difference, too
