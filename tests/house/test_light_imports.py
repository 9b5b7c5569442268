"""Scanning and `--help` stay light: each is tried in a process of its own, and what it loaded is looked at."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.needs import ROOT

SERVER = {"alembic", "cedarpy", "httptools", "litestar", "prometheus_client", "sqlalchemy", "uvicorn", "uvloop"}
HEAVY = {"joblib", "numpy", "onnx", "onnxruntime", "scipy", "skl2onnx", "sklearn"}
SRC = ROOT / "src" / "fastness"

HELP = """
import sys
sys.argv = ["fastness", "--help"]
from fastness.interfaces.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""


def loaded_by(program: str) -> set[str]:
    """The top-level modules that are loaded when `program` is through."""
    program += "\nimport sys; print('LOADED', *sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT / "src", capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return {name.partition(".")[0] for name in run.stdout.rpartition("LOADED")[2].split()}


def test_what_is_loaded_is_seen() -> None:
    assert "numpy" in loaded_by("import numpy.linalg")
    assert not loaded_by("import json") & (SERVER | HEAVY)


@pytest.mark.parametrize("module", ["core", "wire", "client", "guard", "models.scan"])
def test_the_base_loads_no_server_and_no_framework(module: str) -> None:
    if not (SRC / module.replace(".", "/")).exists():
        pytest.skip(f"{module} is not built yet")
    assert loaded_by(f"import fastness.{module}") & (SERVER | HEAVY - {"numpy"}) == set()


def test_help_loads_neither_numpy_nor_a_server() -> None:
    if not (SRC / "interfaces" / "cli").exists():
        pytest.skip("interfaces.cli is not built yet")
    assert loaded_by(HELP) & (SERVER | HEAVY | {"cryptography"}) == set()
