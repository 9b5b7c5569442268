"""Discovery: one file, one marker, one name; nothing from outside unless it is named."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

from fastness.core.errors import Conflict, Invalid
from fastness.core.plugins import discover

PLUGIN = """
from typing import ClassVar

class Plugin:
    name: ClassVar[str] = {name!r}

STAGE = Plugin
"""
MakePackage = Callable[..., ModuleType]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakePackage]:
    """Makes a real package of the given files; gone from sys.modules afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def make(**files: str) -> ModuleType:
        folder = tmp_path / "plugs"
        folder.mkdir()
        (folder / "__init__.py").touch()
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text, encoding="utf-8")
        return importlib.import_module("plugs")

    yield make
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_plugins_are_found_by_name_and_sorted(package: MakePackage) -> None:
    found = discover(package(zebra=PLUGIN.format(name="a-first"), aardvark=PLUGIN.format(name="z-last")), "STAGE")
    assert list(found) == ["a-first", "z-last"]
    assert found["a-first"].__module__ == "plugs.zebra"


def test_an_empty_folder_holds_none(package: MakePackage) -> None:
    assert discover(package(), "STAGE") == {}


def test_a_module_without_the_marker_stops_the_start(package: MakePackage) -> None:
    with pytest.raises(Invalid, match=r"plugs\.forgotten has no STAGE") as caught:
        discover(package(good=PLUGIN.format(name="good"), forgotten="x = 1"), "STAGE")
    assert caught.value.code == "plugin-marker"


def test_a_name_given_twice_stops_the_start(package: MakePackage) -> None:
    with pytest.raises(Conflict, match="'same'") as caught:
        discover(package(one=PLUGIN.format(name="same"), two=PLUGIN.format(name="same")), "STAGE")
    assert caught.value.code == "plugin-duplicate"


def test_a_module_that_cannot_be_imported_is_not_passed_over(package: MakePackage) -> None:
    with pytest.raises(ModuleNotFoundError):
        discover(package(broken="import no_such_module_anywhere"), "STAGE")


@pytest.fixture
def installed(tmp_path: Path, package: MakePackage) -> ModuleType:
    """A package, and beside it a really installed distribution that offers plug-ins to it."""
    found = package(own=PLUGIN.format(name="own"))
    (tmp_path / "stranger.py").write_text(PLUGIN.format(name="stranger"), encoding="utf-8")
    (tmp_path / "clash.py").write_text(PLUGIN.format(name="own"), encoding="utf-8")
    (tmp_path / "trap.py").write_text("raise SystemExit('imported without being named')", encoding="utf-8")
    metadata = tmp_path / "stranger-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n", encoding="utf-8")
    points = "[plugs]\nstranger = stranger:STAGE\nclash = clash:STAGE\ntrap = trap:STAGE\n"
    (metadata / "entry_points.txt").write_text(points, encoding="utf-8")
    importlib.invalidate_caches()
    return found


def test_an_installed_plugin_is_not_a_trusted_one(installed: ModuleType) -> None:
    assert list(discover(installed, "STAGE")) == ["own"]
    assert "stranger" not in sys.modules


def test_a_named_plugin_is_loaded_and_no_other(installed: ModuleType) -> None:
    assert list(discover(installed, "STAGE", outside={"stranger"})) == ["own", "stranger"]
    assert "trap" not in sys.modules


def test_a_stranger_cannot_replace_our_own(installed: ModuleType) -> None:
    with pytest.raises(Conflict):
        discover(installed, "STAGE", outside={"clash"})


def test_the_trap_of_this_test_is_set(installed: ModuleType) -> None:
    with pytest.raises(SystemExit):
        EntryPoint("trap", "trap:STAGE", installed.__name__).load()
