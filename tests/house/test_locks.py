"""The locks: every requirement by its hash, one version in all of them, nothing in them that has no place there."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.needs import ROOT

NAMES = ("base", "demo", "test", "lock")
REQUIREMENT = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", re.MULTILINE)
# Needed by no command; each would add gigabytes or a second framework to every installation.
UNWANTED = {"jax", "tensorflow", "torch", "triton"}


def locked(name: str) -> dict[str, str]:
    return dict(REQUIREMENT.findall((ROOT / "requirements" / f"{name}.txt").read_text("utf-8")))


def declared(*extras: str) -> set[str]:
    """The names that pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *(w for e in extras for w in project["optional-dependencies"][e])]
    return {re.split(r"[\s<>=!~;\[]", want)[0] for want in wanted} - {"fastness"}


@pytest.mark.parametrize("name", NAMES)
def test_every_requirement_has_its_version_and_its_hashes(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines
    for line in lines:
        assert REQUIREMENT.match(line), line
        assert re.search(r" --hash=sha256:[0-9a-f]{64}( |$)", line), line
        assert "://" not in line
        assert " @ " not in line


def test_test_holds_demo_and_demo_holds_base_in_the_same_versions() -> None:
    base, demo, test = locked("base"), locked("demo"), locked("test")
    assert base.items() <= demo.items() <= test.items()
    assert len(base) < len(demo) < len(test)


@pytest.mark.parametrize(
    ("name", "extras"),
    [("base", ()), ("demo", ("server", "serve", "convert")), ("test", ("server", "serve", "convert", "test"))],
)
def test_what_is_declared_is_locked(name: str, extras: tuple[str, ...]) -> None:
    assert declared(*extras) - set(locked(name)) == set()


def test_the_base_brings_no_server() -> None:
    assert set(locked("base")) & (declared("server", "serve", "convert", "test") - declared()) == set()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_unwanted(name: str) -> None:
    found = set(locked(name))
    assert not found & UNWANTED
    assert not [package for package in found if package.startswith("nvidia-")]


def test_the_build_backend_is_locked_too() -> None:
    assert all("setuptools" in locked(name) for name in ("base", "demo", "test"))


def test_the_server_is_held_to_one_minor_version() -> None:
    assert re.search(r'"uvicorn~=\d+\.\d+\.\d+"', (ROOT / "pyproject.toml").read_text("utf-8"))
