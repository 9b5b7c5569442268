"""Files that belong together: layouts say what they are, references are resolved among them, and folders are scanned whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from fastness.core.errors import TooLarge
from fastness.core.findings import Finding
from fastness.core.sources import BytesSource
from fastness.models.scan import Outcome, frame, scan_paths
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.facts import Fact, FactKind
from fastness.models.scan.rules import FORMAT_UNKNOWN
from tests.unit.models.scan.artifacts import EVIL, rules_of

NUMBERS = bytes(range(250, 256)) * 40


@dataclass(frozen=True)
class Numbers:
    """A layout for these tests: `index.txt` names files of numbers."""

    name: ClassVar[str] = "numbers"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, bundle: Bundle) -> bool:
        return bool(bundle.named("numbers.pkl"))

    def reader(self, path: str, bundle: Bundle) -> str:
        del bundle
        return "raw" if path.endswith(".dat") else ""

    def read(self, bundle: Bundle, budget: Budget) -> Iterator[Fact | Finding]:
        del budget
        yield Fact(FactKind.REFERENCE, bundle.name, 0, "data/named")
        yield Fact(FactKind.REFERENCE, bundle.name, 0, "../outside")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(frame, "all_layouts", lambda: (Numbers(),))
    (tmp_path / "numbers.pkl").write_bytes(b"\x80\x04N.")
    (tmp_path / "storage.dat").write_bytes(NUMBERS)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "named").write_bytes(NUMBERS)
    (tmp_path / "data" / "other").write_bytes(NUMBERS)
    return tmp_path


def test_a_layout_and_references_say_what_files_are_that_their_content_cannot_tell(folder: Path) -> None:
    found = {Path(r.name).relative_to(folder).as_posix(): r for r in scan_paths([folder])}
    assert {name: report.outcome for name, report in found.items()} == {
        ".": Outcome.BLOCK,
        "numbers.pkl": Outcome.PASS,
        "storage.dat": Outcome.PASS,
        "data/named": Outcome.PASS,
        "data/other": Outcome.INCOMPLETE,
    }
    assert rules_of(found["."]) == {"reference-escapes"}
    assert rules_of(found["data/other"]) == {FORMAT_UNKNOWN.id}


def test_a_file_that_something_claims_is_not_numbers_because_somebody_refers_to_it(folder: Path) -> None:
    (folder / "data" / "named").write_bytes(EVIL)
    found = {Path(r.name).name: r for r in scan_paths([folder])}
    assert found["named"].outcome is Outcome.BLOCK


def test_a_bundle_resolves_locations_from_where_they_stand_and_never_to_outside() -> None:
    bundle = Bundle("b", {"a/x": BytesSource("b!a/x", b"1"), "y": BytesSource("b!y", b"2")})
    assert bundle.resolve("a/config", "x") == "a/x"
    assert bundle.resolve("a/config", "../y") == "y"
    assert bundle.resolve("a/config", "..\\y") == "y"
    for location in ("../../y", "/y", "y", "", "a/x/", "C:\\y"):
        assert bundle.resolve("a/config", location) == ("a/x" if location == "a/x" else "")
    assert bundle.named("x", "y") == ["a/x", "y"]
    with pytest.raises(TooLarge):
        bundle.text("y", 0)
