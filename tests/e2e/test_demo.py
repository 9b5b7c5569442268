"""`fastness demo` as a user runs it: every step as told, and the house that it leaves is whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.needs import ROOT, need_host, need_tool
from tests.unit.foundation.sandbox.grounds import can_isolate

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")}
FASTNESS = (sys.executable, "-m", "fastness")
ATTACKS = {
    "no key": "401 key-missing",
    "a changed key": "401 key-malformed",
    "a key of another house": "401 key-unknown",
    "revoked key": "401 key-unknown",
    "too many requests": "429 rate-limited",
    "wrong shape": "400 tensor-shape",
    "wrong data type": "400 tensor-datatype",
    "not a number": "400 tensor-not-finite",
    "pixel out of range": "400 tensor-range",
    "oversize body": "413 body-too-large",
    "truncated JSON": "400 json-malformed",
    "unknown model": "404 model-unknown",
    "version that lacks an approval": "409 approvals-missing",
    "one byte of the stored model flipped": "503 blob-corrupt",
    "another model's blob put in its place": "503 blob-corrupt",
    "the alias rolled back in the database": "503 alias-rolled-back",
    "one byte of the ledger flipped": "65 ledger-corrupt",
}


@pytest.fixture(scope="module")
def told() -> Iterator[tuple[int, dict[str, object]]]:
    need_tool("curl")
    need_host("user namespaces and landlock", present=can_isolate())
    with tempfile.TemporaryDirectory(prefix="fst-demo-") as folder:
        line = [*FASTNESS, "demo", "--format", "json", "--in", folder]
        done = subprocess.run(
            line, capture_output=True, text=True, check=False, env=ENVIRONMENT | {"HOME": folder}, timeout=500
        )
        assert done.stdout, done.stderr
        yield done.returncode, json.loads(done.stdout)


def steps(told: tuple[int, dict[str, object]]) -> dict[str, dict[str, object]]:
    found = told[1]["steps"]
    assert isinstance(found, list)
    return {step["step"]: step for step in found}


def test_everything_goes_as_told(told: tuple[int, dict[str, object]]) -> None:
    status, story = told
    assert [step for step in steps(told).values() if not step["as_told"]] == []
    assert (status, story["as_told"]) == (0, True)
    assert len(steps(told)) >= 41


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_with_its_status_and_code(told: tuple[int, dict[str, object]], name: str) -> None:
    seen = str(steps(told)[name]["seen"])
    assert seen.startswith(f"{ATTACKS[name]}: ")
    assert len(seen) > len(ATTACKS[name]) + 10  # and says what to change


def test_predictions_are_identical(told: tuple[int, dict[str, object]]) -> None:
    (seen,) = [str(s["seen"]) for name, s in steps(told).items() if name.startswith("450 held-out digits")]
    assert seen.endswith("450 of 450 identical")


def test_the_house_that_is_left_verifies(told: tuple[int, dict[str, object]]) -> None:
    home = str(told[1]["home"])
    for line in (["audit", "verify"], ["doctor"]):
        done = subprocess.run(
            [*FASTNESS, "--home", home, *line, "--format", "json"],
            capture_output=True, text=True, check=False, env=ENVIRONMENT | {"HOME": home},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    assert not (Path(home).parent / "the-payload-ran").exists()
