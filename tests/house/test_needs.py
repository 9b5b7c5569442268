"""A missing tool skips here and fails in CI, however the test says that it is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.needs import ROOT, need_tool

CASES = """
import pytest
from tests.needs import need_data, need_host, need_tool

def test_tool(): need_tool("no-such-program")
def test_data(): need_data("no/such/data")
def test_plain(): pytest.skip("no such thing here")
@pytest.mark.skipif(True, reason="never")
def test_mark(): pass
def test_host(): need_host("a feature of the kernel", present=False)
@pytest.mark.xfail(strict=True)
def test_known(): assert False
def test_present(): need_tool("sh"); need_host("a feature of the kernel", present=True)
"""
MODULE = "import pytest\npytest.importorskip('no_such_module')\n"


def outcomes(tmp_path: Path, **environment: str) -> dict[str, str]:
    """Run the cases as a suite of their own; test name to outcome."""
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n", encoding="utf-8")
    (tmp_path / "test_cases.py").write_text(CASES, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "-q", "-c", os.devnull]
    run = subprocess.run(
        [*command, "--rootdir", tmp_path, tmp_path],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    (tmp_path / "output").write_text(run.stdout + run.stderr, encoding="utf-8")
    words = [line.split() for line in run.stdout.splitlines()]
    named = {w[1].rpartition("::")[2]: w[0] for w in words if len(w) > 1 and "::" in w[1]}
    return named | {"skipped": str(sum(int(w[1][1:-1]) for w in words if w[:1] == ["SKIPPED"]))}


def test_here_what_is_missing_skips(tmp_path: Path) -> None:
    assert outcomes(tmp_path) == {"test_known": "XFAIL", "test_present": "PASSED", "skipped": "5"}


def test_in_ci_it_fails_except_for_what_no_installation_gives(tmp_path: Path) -> None:
    assert outcomes(tmp_path, REQUIRE_ALL="1") == {
        "test_tool": "FAILED",
        "test_data": "FAILED",
        "test_plain": "FAILED",
        "test_mark": "ERROR",
        "test_known": "XFAIL",
        "test_present": "PASSED",
        "skipped": "1",
    }
    assert "no-such-program" in (tmp_path / "output").read_text("utf-8")


@pytest.mark.parametrize(("required", "word"), [("0", "1 skipped"), ("1", "1 error")])
def test_a_module_that_skips_itself(tmp_path: Path, required: str, word: str) -> None:
    (tmp_path / "test_module.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-c", os.devnull]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "REQUIRE_ALL": required}
    run = subprocess.run([*command, tmp_path], env=environment, capture_output=True, text=True, check=False)
    assert word in run.stdout


def test_a_program_that_is_there_is_found() -> None:
    assert Path(need_tool("sh")).is_file()
