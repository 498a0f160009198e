"""The runner of all tests itself: nothing that went wrong may end as a pass."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Callable

import pytest

from harness.environment import PROJECT


def load_runner() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("check_runner", str(PROJECT / "scripts/check"))
    spec = importlib.util.spec_from_loader("check_runner", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_runner"] = module  # dataclasses look their module up
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


runner = load_runner()
Count: Any = runner.Count

PASSED = '<testcase classname="a" name="one"/>'
FAILED = '<testcase classname="a" name="two"><failure message="no"/></testcase>'
ERROR_IN_TEARDOWN = '<testcase classname="a" name="one"><error message="no"/></testcase>'
SKIPPED = '<testcase classname="a" name="three"><skipped/></testcase>'


@pytest.mark.parametrize(
    ("cases", "succeeded", "count"),
    [
        ([PASSED], True, Count(1, 0)),
        ([PASSED, FAILED], False, Count(1, 1)),
        ([PASSED, FAILED], True, Count(1, 1)),
        ([PASSED, ERROR_IN_TEARDOWN], False, Count(0, 1)),
        ([PASSED, SKIPPED], True, Count(1, 0, 1)),
        # it crashed after its tests, it ran none, it skipped all
        ([PASSED], False, Count(1, 1)),
        ([], True, Count(0, 1)),
        ([SKIPPED], True, Count(0, 1, 1)),
    ],
)
def test_reports_are_counted(tmp_path: Path, cases: list[str], succeeded: bool, count: Any) -> None:
    report = tmp_path / "report.xml"
    report.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    assert runner.reported(report, succeeded) == count


def test_a_missing_or_torn_report_is_a_failure(tmp_path: Path) -> None:
    assert runner.reported(tmp_path / "none.xml", True) == Count(0, 1)
    (tmp_path / "torn.xml").write_text("<testsuites><testsuite>" + PASSED)
    assert runner.reported(tmp_path / "torn.xml", True) == Count(0, 1)


def test_the_output_of_a_command_is_shown_when_it_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.run(["sh", "-c", "echo fine"])
    assert capsys.readouterr().out == ""
    assert not runner.run(["sh", "-c", "echo broken; exit 3"])
    assert capsys.readouterr().out.startswith("broken\n")


def test_a_command_that_takes_too_long_is_ended(capsys: pytest.CaptureFixture[str]) -> None:
    assert not runner.run(["sh", "-c", "sleep 60 & wait"], minutes=0.005)
    assert "took more than" in capsys.readouterr().out


def crash() -> Any:
    raise RuntimeError("crashed")


@pytest.mark.parametrize(
    ("suite", "ready", "status", "last_line"),
    [
        (lambda: Count(3, 0), True, 0, "3 passed, 0 failed"),
        (lambda: Count(3, 0, 1), True, 0, "3 passed, 0 failed"),
        (lambda: Count(3, 2), True, 1, "3 passed, 2 failed"),
        (crash, True, 1, "0 passed, 1 failed"),
        (lambda: Count(3, 0), False, 1, "0 passed, 1 failed"),
    ],
)
def test_the_last_line_tells_the_exit_status(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    suite: Callable[[], Any],
    ready: bool,
    status: int,
    last_line: str,
) -> None:
    monkeypatch.setattr(runner, "SUITES", {"some": ("some suite", suite)})
    monkeypatch.setattr(runner, "run", lambda *_, **__: ready)  # of install-packages
    monkeypatch.setattr(sys, "argv", ["check"])
    assert runner.main() == status
    assert capsys.readouterr().out.splitlines()[-1] == last_line
