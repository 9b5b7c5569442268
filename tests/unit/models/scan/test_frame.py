"""The boundary around plug-ins: whatever fails in one refuses the file, and is no traceback."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pytest

from fastness.core.findings import Finding
from fastness.core.sources import BytesSource, RandomAccess
from fastness.models.scan import Outcome, frame
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.catalogue import all_checks, all_readers
from fastness.models.scan.facts import Fact, FactKind, Facts, Look, Told, span
from tests.unit.models.scan.artifacts import EVIL, rules_of


@dataclass(frozen=True)
class Reader:
    """Reads everything, and fails where it is told to."""

    name: ClassVar[str] = "raw"
    suffixes: ClassVar[tuple[str, ...]] = ()
    fails: str = ""

    def claims(self, look: Look) -> bool:
        del look
        if self.fails == "claims":
            raise IndexError("a fault")
        return True

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        del budget
        yield span(source.name, 0, source.size)
        if self.fails == "read":
            raise KeyError("a fault")
        if self.fails == "layout":
            yield Bundle(source.name, {"a": BytesSource("a", b"1")})


@dataclass(frozen=True)
class Layout:
    """Claims everything, and fails."""

    name: ClassVar[str] = "failing"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, bundle: Bundle) -> bool:
        return bool(len(bundle) // 0)

    def reader(self, path: str, bundle: Bundle) -> str:
        del path, bundle
        return ""

    def read(self, bundle: Bundle, budget: Budget) -> Iterator[Fact]:
        del bundle, budget
        yield from ()


@pytest.mark.parametrize("where", ["claims", "read", "layout"])
def test_a_fault_of_a_plug_in_refuses_the_file(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setattr(frame, "all_readers", lambda: (Reader(where),))
    monkeypatch.setattr(frame, "all_layouts", lambda: (Layout(),))
    report = frame.scan(BytesSource("model", b"bytes"))
    assert report.outcome is Outcome.INCOMPLETE
    assert "reader-failed" in rules_of(report)


@dataclass(frozen=True)
class Check:
    """Wants every call, and fails."""

    name: ClassVar[str] = "a"
    wants: ClassVar[frozenset[FactKind]] = frozenset({FactKind.CALL})

    def check(self, facts: Facts) -> Iterator[Finding]:
        del facts
        yield from ()
        raise KeyError("a fault")


@pytest.mark.parametrize("where", ["claims", "read", "layout", "check"])
def test_a_fault_of_one_plug_in_hides_nothing_that_another_finds(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """The one that fails comes last where what it interrupts was read already, and first where it is asked first."""
    readers = (Reader(where), *all_readers()) if where == "claims" else (*all_readers(), Reader(where))
    if where == "check":
        readers = all_readers()
        monkeypatch.setattr(frame, "all_checks", lambda: (Check(), *all_checks()))
    monkeypatch.setattr(frame, "all_readers", lambda: readers)
    monkeypatch.setattr(frame, "all_layouts", lambda: (Layout(),))
    report = frame.scan(BytesSource("model.pkl", EVIL))
    assert report.outcome is Outcome.BLOCK
    assert {"reader-failed", "pickle-dangerous-call"} <= rules_of(report)
