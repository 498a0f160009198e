"""The SQL and isolation tests, one test a file; then the oracle looks at every homeserver that they left behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from psycopg import sql

from harness import regression
from harness.cluster import Cluster
from harness.regression import ISOLATION, REGRESS, Driver, Run
from oracle import check


@pytest.fixture(scope="module")
def regress(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return regression.run(REGRESS, cluster, tmp_path_factory.mktemp("regress"))


@pytest.fixture(scope="module")
def isolation(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return regression.run(ISOLATION, cluster, tmp_path_factory.mktemp("isolation"))


@pytest.mark.parametrize("name", REGRESS.names())
def test_sql(regress: Run, name: str) -> None:
    assert regress.passed.get(name), regress.explain(name)


@pytest.mark.parametrize("name", ISOLATION.names())
def test_isolation(isolation: Run, name: str) -> None:
    assert isolation.passed.get(name), isolation.explain(name)


def schemas_left(driver: Driver) -> list[str]:
    """The homeservers that the files say they make and keep."""
    found = []
    for name in driver.names():
        text = driver.text(name)
        for schema in re.findall(r"(?:\\set schema|CREATE SCHEMA) (\w+)", text):
            if not re.search(rf"DROP SCHEMA (?:IF EXISTS )?{schema}\b", text):
                found.append(schema)
    return found


@pytest.mark.parametrize("schema", schemas_left(REGRESS))
@pytest.mark.usefixtures("regress")
def test_oracle_agrees_after_sql(cluster: Cluster, schema: str) -> None:
    assert_right(cluster, REGRESS, schema)


@pytest.mark.parametrize("schema", schemas_left(ISOLATION))
@pytest.mark.usefixtures("isolation")
def test_oracle_agrees_after_isolation(cluster: Cluster, schema: str) -> None:
    assert_right(cluster, ISOLATION, schema)


def assert_right(cluster: Cluster, driver: Driver, schema: str) -> None:
    with cluster.connect(driver.database) as connection:
        findings = [str(finding) for finding in check(connection, schema)]
    assert not findings, f"{len(findings)} findings:\n" + "\n".join(findings[:30])


@pytest.mark.usefixtures("regress", "isolation")
@pytest.mark.parametrize("driver", [REGRESS, ISOLATION], ids=["sql", "isolation"])
def test_the_oracle_has_seen_every_homeserver(cluster: Cluster, driver: Driver) -> None:
    left = cluster.execute(
        sql.SQL("SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'sliding_sync_joined_rooms'"),
        driver.database,
    )
    assert sorted(schema for (schema,) in left) == sorted(schemas_left(driver))


def test_a_failing_file_is_reported(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the drivers print is read rightly: one file that passes, one that differs, one that is missing."""
    for folder in ("sql", "expected"):
        (tmp_path / folder).mkdir()
    for name, expected in (("right", "SELECT 1 / 0;\nERROR:  division by zero\n"), ("wrong", "SELECT 1 / 1;\nno row\n")):
        (tmp_path / "sql" / f"{name}.sql").write_text(expected.splitlines()[0] + "\n")
        (tmp_path / "expected" / f"{name}.out").write_text(expected)
    monkeypatch.setattr(regression, "PROJECT", tmp_path)
    outcome = regression.run(Driver(REGRESS.program, "sql", ".sql", "regress_self_test"), cluster, tmp_path)
    assert outcome.passed == {"right": True, "wrong": False}
    assert "-no row" in outcome.explain("wrong") and "?column?" in outcome.explain("wrong")
    assert "-no row" not in outcome.explain("right")
