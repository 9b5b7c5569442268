"""What a test needs and a machine may lack: programs, data, a property of the host.

Locally a test that lacks something skips and says what. Where REQUIRE_ALL=1 (as in `.ci/run`) the same test fails,
for there everything is installed: a skip would hide that nothing was tested. `conftest.py` holds that for every skip,
also one made without these functions. The one exception is `need_host`: no installation gives a kernel a feature.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
HOST = "host: "


def required() -> bool:
    """Whether what is missing fails the test instead of skipping it."""
    return os.environ.get("REQUIRE_ALL") == "1"


def need_tool(name: str) -> str:
    """The path of the program `name`; looks in the system folders too, where nginx lives."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return shutil.which(name, path=places) or _missing(f"the program {name} is not installed (.ci/system-packages)")


def need_data(relative: str) -> Path:
    """The path of development data, such as `vectors/floe`, in ../shared/data beside the checkout."""
    path = DATA / relative
    return path if path.exists() else _missing(f"../shared/data/{relative} is absent")


def need_file(path: Path, reason: str) -> Path:
    """`path`, which an installation puts there."""
    return path if path.exists() else _missing(reason)


def need_host(feature: str, *, present: bool) -> None:
    """Skip, even in CI, where the host cannot do `feature`, such as "landlock" or "root"."""
    if not present:
        pytest.skip(f"{HOST}{feature} is not there", allow_module_level=True)


def _missing(reason: str) -> NoReturn:
    if required():
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)
