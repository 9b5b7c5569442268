"""The floors stand in one order, each has one door, and a library is let in only where the table says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.house.architecture import LIBRARIES, MOST_NAMES, ORDER, House
from tests.needs import ROOT

HOUSE = House(ROOT / "src" / "fastness")


def none_of(broken: Sequence[object]) -> None:
    assert not broken, "\n".join(map(str, broken))


def test_there_is_a_house_to_look_at() -> None:
    assert len(HOUSE.files) > 10
    assert len(HOUSE.inner) > 10


def test_every_module_stands_on_a_floor() -> None:
    none_of(HOUSE.unplaced())


def test_a_package_imports_only_those_above_it_in_the_table() -> None:
    none_of(HOUSE.floor_breaches())


def test_a_package_is_entered_by_its_door() -> None:
    none_of(HOUSE.door_breaches())


def test_a_door_is_narrow() -> None:
    none_of(HOUSE.wide_doors())


def test_no_module_imports_itself_in_a_circle() -> None:
    none_of(HOUSE.module_cycles())


def test_a_library_is_imported_only_where_the_table_says() -> None:
    none_of(HOUSE.library_breaches())


# --- the tests above can fail: small houses with one fault each ----------------------------------------------------


def built(tmp_path: Path, files: dict[str, str]) -> House:
    root = tmp_path / "fastness"
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return House(root)


DOORS = {
    "__init__.py": "__version__ = '1'\n",
    "core/__init__.py": "",
    "core/clock.py": "from fastness.core import errors\n",
    "core/errors.py": "",
    "client/__init__.py": "__all__ = ['Client']\nfrom fastness.core.clock import now\n",
    "foundation/__init__.py": '"""Only a docstring."""\n',
    "foundation/storage/__init__.py": "__all__ = ['Records']\nfrom fastness.foundation.storage.sqlite import Records\n",
    "foundation/storage/sqlite.py": "import sqlalchemy\nfrom fastness import __version__\n",
    "access/__init__.py": "__all__ = ('decide',)\n",
    "access/policies.py": "import cedarpy\nfrom fastness.foundation.storage import Records\n",
    "interfaces/cli/__init__.py": "import typer\nfrom fastness.client import Client\nfrom fastness.access import decide\n",
    "__main__.py": "from fastness.interfaces.cli import main\n",
}


def complaints(house: House) -> list[str]:
    return [
        *house.unplaced(),
        *house.floor_breaches(),
        *house.door_breaches(),
        *house.wide_doors(),
        *(f"cycle {'/'.join(cycle)}" for cycle in house.module_cycles()),
        *house.library_breaches(),
    ]


def test_the_house_of_these_cases_is_sound(tmp_path: Path) -> None:
    assert complaints(built(tmp_path, DOORS)) == []


UPWARD = "from fastness.access import decide"
NAMES = [f"name{i}" for i in range(MOST_NAMES + 1)]


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("core/clock.py", UPWARD, "core imports access, which stands above it"),
        ("core/clock.py", f"def f():\n    {UPWARD}", "core imports access, which stands above it"),
        ("core/clock.py", f"if TYPE_CHECKING:\n    {UPWARD}", "core imports access, which stands above it"),
        ("core/clock.py", "import_module('fastness.access')", "core imports access, which stands above it"),
        ("core/clock.py", "importlib.import_module('fastness.access')", "core imports access, which stands above it"),
        ("core/clock.py", "from ..access import decide", "core imports access, which stands above it"),
        ("core/clock.py", "from fastness import access", "core imports access, which stands above it"),
        ("core/clock.py", "import fastness.access as a", "core imports access, which stands above it"),
        ("foundation/sandbox/__init__.py", UPWARD, "foundation.sandbox imports access, which stands above it"),
        ("foundation/crypto/__init__.py", "from fastness.foundation.storage import Records", "which stands above it"),
        ("foundation/storage/x.py", "from fastness.client import Client", "only operations.* and interfaces import"),
        ("core/clock.py", "import fastness", "imports fastness of the root"),
        ("foundation/__init__.py", "from fastness.core import clock", "stands in no floor"),
        ("foundation/__init__.py", "x = 1", "stands in no floor"),
        ("helpers/__init__.py", "x = 1", "stands in no floor"),
        ("access/x.py", "from fastness.helpers import x", "stands in no floor"),
        ("access/x.py", "from fastness.foundation.storage.sqlite import Records", "write `from fastness.foundation"),
        ("access/x.py", "import fastness.foundation.storage", "write `from fastness.foundation"),
        ("access/x.py", "from fastness.foundation import storage", "write `from fastness.foundation"),
        ("access/x.py", "from fastness.foundation.storage import sqlite", "does not list sqlite"),
        ("access/x.py", "from fastness.foundation.storage import Hidden", "does not list Hidden"),
        ("access/x.py", "from fastness.core.clock import _now", "is private"),
        ("access/x.py", "from fastness.core.clock import *", "is private or everything"),
        ("foundation/storage/__init__.py", "x = 1", "lists nothing in __all__"),
        ("access/__init__.py", f"__all__ = {NAMES}", f"exports {MOST_NAMES + 1} names"),
        ("core/errors.py", "from fastness.core import clock", "cycle fastness.core.clock/fastness.core.errors"),
        ("core/errors.py", "def f():\n    from fastness.core.clock import x", "cycle fastness.core.clock"),
        ("core/errors.py", "if TYPE_CHECKING:\n    import fastness.core.clock", "cycle fastness.core.clock"),
        ("access/x.py", "import sqlalchemy as sa", "sqlalchemy is for foundation.storage*"),
        ("gateway/x.py", "def f():\n    from sqlalchemy.orm import Session", "sqlalchemy is for"),
        ("core/clock.py", "import numpy.linalg", "numpy is for"),
        ("access/x.py", "import requests", "requests stands in no table of libraries"),
        ("models/runtime/host.py", "import onnxruntime", "onnxruntime is for models.runtime.worker*"),
        ("client/x.py", "from cryptography.hazmat import primitives", "cryptography is for"),
        ("interfaces/cli/push.py", "import sklearn", "sklearn is for interfaces.cli.demo*"),
    ],
)
def test_each_fault_is_seen(tmp_path: Path, file: str, text: str, complaint: str) -> None:
    seen = complaints(built(tmp_path, DOORS | {file: text}))
    assert any(complaint in line for line in seen), seen


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("access/tables.py", "import sqlalchemy"),
        ("models/registry/records.py", "from sqlalchemy import select"),
        ("models/runtime/worker.py", "import onnxruntime"),
        ("models/runtime/worker_onnx.py", "import onnxruntime, numpy"),
        ("access/x.py", "from fastness.core import clock, errors\nimport fastness.core.errors"),
        ("app/migrations/versions/x.py", "import alembic, sqlalchemy"),
        ("interfaces/cli/demo.py", "def f():\n    import sklearn, joblib"),
        ("core/x.py", "import os, json, tomllib\nfrom . import errors"),
    ],
)
def test_what_is_right_is_let_through(tmp_path: Path, file: str, text: str) -> None:
    assert complaints(built(tmp_path, DOORS | {file: text})) == []


def test_the_table_names_packages_of_the_table() -> None:
    tops = {name.partition(".")[0] for name in ORDER}
    patterns = [pattern for where in LIBRARIES.values() for pattern in where if not pattern.startswith("*")]
    assert [p for p in patterns if p.partition(".")[0].rstrip("*") not in tops] == []
