"""LightGBM: models as text. Each tree is held against the size that the header tells, and against itself.

Holds no code. Cost: one step a line.

Source: LightGBM 4.7, `src/boosting/gbdt_model_text.cpp`, `src/io/tree.cpp` (versions v2 to v4).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.credentials import SHORTEST, credential_in
from fastness.models.scan.cursor import Cursor, Truncated
from fastness.models.scan.facts import Fact, FactKind, Look, Told, found, span
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.rules import MAPS, undecided

MALFORMED = undecided(
    "lightgbm-malformed", "A LightGBM model that is not understood",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or save the model again.",
)  # fmt: skip
BOUNDS = Rule(
    "lightgbm-tree-bounds", "A tree that leads out of itself", Severity.HIGH,
    "The library follows children and features by number without asking, and reads what is not theirs.",
    "No honest library writes this. Save the model again.", {**MAPS, "cwe": "CWE-125"},
)  # fmt: skip
UNKNOWN = Rule(
    "lightgbm-unknown-line", "A line that the format does not know", Severity.MEDIUM,
    "What no reader looks at can carry anything, or belong to a newer version of the format.",
    "Save the model again with a published version of its library.", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, BOUNDS, UNKNOWN)

_BEGINS = re.compile(rb"tree\r?\nversion=v[0-9]\r?\n")
_KEYED = re.compile(rb"[a-z_]+(?:=|\Z)")
_IMPORTANCE = re.compile(rb"[^\n]+=[-+0-9.eE]+\Z")
_PARAMETER = re.compile(rb"\[[a-z_0-9]+: .*\]\Z|\[[a-z_0-9]+:\]\Z")
_SECTIONS = (b"end of trees", b"feature_importances:", b"feature importances:", b"parameters:", b"end of parameters")
_PANDAS = b"pandas_categorical:"
_INTS = frozenset({b"split_feature", b"left_child", b"right_child"})


@dataclass(frozen=True)
class LightgbmReader:
    """Reads models that LightGBM saved as text."""

    name: ClassVar[str] = "lightgbm"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, look: Look) -> bool:
        """By the first two lines."""
        return _BEGINS.match(look.head) is not None

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Faults of trees, credentials, and the span.

        Raises:
            TooLarge: the budget is spent.
        """
        walk = _Walk(source, Cursor(source), budget)
        try:
            walk.header()
            walk.trees()
            walk.rest()
        except _Wrong as wrong:
            yield from walk.told
            yield found(wrong.rule, source.name, wrong.at, str(wrong))
            if not wrong.rule.incomplete:
                yield span(source.name, 0, source.size)
            return
        except (Truncated, ValueError):
            yield from walk.told
            yield found(MALFORMED, source.name, walk.cursor.position, "the text ends early, or a number is none")
            return
        yield from walk.told
        yield from search_payloads(source, 0, source.size, budget)
        yield span(source.name, 0, source.size)


class _Wrong(Exception):
    """The text is wrong in a way that ends the reading."""

    def __init__(self, rule: Rule, at: int, problem: str) -> None:
        super().__init__(problem)
        self.rule, self.at = rule, at


@dataclass(slots=True)
class _Walk:
    """The state of one reading."""

    source: RandomAccess
    cursor: Cursor
    budget: Budget
    told: list[Fact | Finding] = field(default_factory=list)
    keys: dict[bytes, bytes] = field(default_factory=dict)

    def line(self) -> bytes:
        """The next line, without its end."""
        self.budget.spend("fields")
        if self.cursor.position >= self.source.size:
            raise Truncated(self.cursor.position)
        left = self.source.size - self.cursor.position
        limit = min(left, self.budget.settings.header_bytes)
        try:
            line = self.cursor.line(limit)
        except Truncated:
            if left > limit:
                raise self.budget.exhausted("header_bytes") from None
            line = self.cursor.take(left)
        return line.rstrip(b"\r")

    def header(self) -> None:
        """Read up to the first empty line."""
        self.line()
        while line := self.line():
            at = self.cursor.position
            if not _KEYED.match(line):
                raise _Wrong(MALFORMED, at, f"a line {line[:40]!a} in the header")
            key, _, value = line.partition(b"=")
            if key in self.keys:
                raise _Wrong(MALFORMED, at, f"the key {key[:40]!a} stands twice")
            self.keys[key] = value
            self._credential(line, at)

    def trees(self) -> None:
        """Check each tree: it is as long as the header tells, and leads nowhere else."""
        features = int(self.keys.get(b"max_feature_idx", b"-1"))
        for number, size in enumerate(self.keys.get(b"tree_sizes", b"").split()):
            start = self.cursor.position
            if int(size) < 0 or start + int(size) > self.source.size:
                raise _Wrong(BOUNDS, start, f"tree {number} of {size.decode()} bytes is longer than the text")
            if self.line() != b"Tree=%d" % number:
                raise _Wrong(BOUNDS, start, f"tree {number} does not begin where the header tells")
            self._tree(number, features)
            while self.cursor.peek(1) in {b"\n", b"\r"}:
                self.line()
            if self.cursor.position != start + int(size):
                raise _Wrong(
                    BOUNDS, start, f"tree {number} has {self.cursor.position - start} bytes, not {size.decode()}"
                )

    def _tree(self, number: int, features: int) -> None:
        at, leaves, lists = self.cursor.position, -1, dict[bytes, list[int]]()
        while line := self.line():
            key, mark, value = line.partition(b"=")
            if not mark or not _KEYED.match(line):
                raise _Wrong(UNKNOWN, at, f"a line {line[:40]!a} in tree {number}")
            if key == b"num_leaves":
                leaves = int(value)
            elif key in _INTS:
                lists[key] = [int(one) for one in value.split()]
        for key, numbers in lists.items():
            low, high = (0, features) if key == b"split_feature" else (-leaves, leaves - 2)
            if leaves > 1 and (len(numbers) != leaves - 1 or min(numbers) < low or max(numbers) > high):
                shown = key.decode()
                raise _Wrong(
                    BOUNDS, at, f"{shown} of tree {number} does not fit {leaves} leaves and {features + 1} features"
                )
        self._onward(at, lists.get(b"left_child", []), number)
        self._onward(at, lists.get(b"right_child", []), number)

    def _onward(self, at: int, children: list[int], number: int) -> None:
        """Check that no node leads back: the library makes a node after the one that leads to it."""
        if any(0 <= child <= parent for parent, child in enumerate(children)):
            raise _Wrong(BOUNDS, at, f"a node of tree {number} leads back to where it came from")

    def rest(self) -> None:
        """Read what follows the trees: importances, parameters and categories."""
        section = b""
        while self.cursor.position < self.source.size:
            at, line = self.cursor.position, self.line()
            self._credential(line, at)
            if line in _SECTIONS:
                section = line
            elif line.startswith(_PANDAS) or not line:
                continue
            elif not self._known(section, line):
                raise _Wrong(UNKNOWN, at, f"a line {line[:40]!a}")

    def _known(self, section: bytes, line: bytes) -> bool:
        if section.startswith(b"feature"):
            return _IMPORTANCE.match(line) is not None
        return section == b"parameters:" and _PARAMETER.match(line) is not None

    def _credential(self, line: bytes, at: int) -> None:
        if len(line) >= SHORTEST and (kind := credential_in(line[: 1 << 16].decode("utf-8", "replace"))):
            self.budget.spend("facts")
            self.told.append(Fact(FactKind.CREDENTIAL, self.source.name, at, kind))


READER = LightgbmReader
