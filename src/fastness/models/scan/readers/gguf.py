"""GGUF, versions 1 to 3, in both byte orders: every count, length, offset and alignment is held against the file.

Tells templates with their text, credentials, the licence, and files that it names. Tensor data is stepped over. Misses:
what the numbers compute. Cost: the header; one step for each metadata value, and for each text of a list.

Source: ggml, docs/gguf.md; gguf 0.19 (`constants.py`) for the block sizes; llama.cpp's loader for what it refuses.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.credentials import SHORTEST, credential_in
from fastness.models.scan.cursor import Cursor, Part, Truncated
from fastness.models.scan.facts import Fact, FactKind, Look, Member, Told, found, span
from fastness.models.scan.free_texts import tell_free_text
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.rules import MAPS, undecided

MALFORMED = undecided(
    "gguf-malformed", "A GGUF file that is not understood",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or convert the model again.",
)  # fmt: skip
TYPE_UNKNOWN = undecided(
    "gguf-type", "An element type or a version that is not known",
    "The width of its elements is not known, so that the offsets cannot be checked.",
    "Convert the model with a published version of its tools.",
)  # fmt: skip
BOUNDS = Rule(
    "gguf-bounds", "A count, length or offset that leaves the file", Severity.HIGH,
    "Loaders have taken such numbers for the size of memory they then wrote to (CVE-2024-21802, -21825, -21836, -23496).",
    "No honest tool writes this; a file that was cut short looks the same. Fetch it again.", {**MAPS, "cwe": "CWE-1284"},
)  # fmt: skip
OFFSETS = Rule(
    "gguf-offsets", "Tensors that do not stand side by side", Severity.HIGH,
    "Tensors that overlap, are misaligned or leave holes hide data, or read what is not theirs.",
    "Convert the model again with the tools of its library.", {**MAPS, "cwe": "CWE-1284"},
)  # fmt: skip
DUPLICATE = Rule(
    "gguf-duplicate", "A name that stands twice", Severity.HIGH,
    "Readers differ in which of the two they take: one sees another model, or another template, than the next.",
    "No honest tool writes this. Convert the model again.", {**MAPS, "cwe": "CWE-694"},
)  # fmt: skip
TRAILING = Rule(
    "gguf-trailing-bytes", "Bytes behind the last tensor", Severity.HIGH,
    "No GGUF reader looks at them; another program may.", "Convert the model again, and remove what was appended.", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, TYPE_UNKNOWN, BOUNDS, OFFSETS, DUPLICATE, TRAILING)

BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 4: (16, 10), 5: (16, 12), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 40), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 31: (32, 18),
    32: (32, 18), 33: (32, 18), 34: (256, 54), 35: (256, 66), 36: (32, 18), 37: (32, 18), 38: (32, 18), 39: (32, 17),
    40: (64, 36), 41: (128, 18),
}  # fmt: skip
"""Elements in a block, and bytes of a block, by element type; the retired ones too."""
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_TEXT, _LIST = 8, 9
_MAX_DIMS = 4
_MAX_KEY = 1 << 16
_MAX_NESTING = 8
_MAX_ALIGNMENT = 1 << 16
_SEARCHED = 32
"""Shorter lists of numbers hold no program."""
_PADDING = 4096
"""So many zeros may stand behind the last tensor."""


@dataclass(frozen=True)
class GgufReader:
    """Reads .gguf files."""

    name: ClassVar[str] = "gguf"
    suffixes: ClassVar[tuple[str, ...]] = (".gguf",)

    def claims(self, look: Look) -> bool:
        """By the magic."""
        return look.head.startswith(b"GGUF")

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Templates, credentials, references, faults, and the spans.

        Raises:
            TooLarge: the budget is spent.
        """
        walk = _Walk(source, Cursor(source), budget)
        try:
            walk.header()
            end = walk.tensors()
        except _Wrong as wrong:
            yield from walk.told
            yield found(wrong.rule, source.name, wrong.at, str(wrong))
            return
        except Truncated as cut:
            yield from walk.told
            yield found(MALFORMED, source.name, cut.at, "the file ends within its header")
            return
        yield from walk.told
        for start, stop in (*walk.numbers, (walk.cursor.position, end)):
            yield from search_payloads(source, start, stop, budget)
        yield from _behind(source, end)
        yield span(source.name, 0, source.size)


def _behind(source: RandomAccess, end: int) -> Iterator[Finding | Member]:
    """What stands behind the last tensor: zeros that fill up, or what is not the model's."""
    left = source.size - end
    if left > 0 and (left > _PADDING or any(source.read_at(end, left))):
        yield found(TRAILING, source.name, end, f"{left} bytes stand behind the last tensor")
        yield Member(Part(source, f"{source.name}!behind", end, left), end)


class _Wrong(Exception):
    """The file is wrong in a way that ends the reading."""

    def __init__(self, rule: Rule, at: int, problem: str) -> None:
        super().__init__(problem)
        self.rule, self.at = rule, at


@dataclass(slots=True)
class _Walk:
    """The state of one reading."""

    source: RandomAccess
    cursor: Cursor
    budget: Budget
    told: list[Told] = field(default_factory=list)
    numbers: list[tuple[int, int]] = field(default_factory=list)
    """Where lists of numbers stand among the metadata."""
    order: str = "<"
    version: int = 3
    tensor_count: int = 0
    alignment: int = 32

    def header(self) -> None:
        """Read up to the last metadata value.

        Raises:
            _Wrong: something is wrong with it.
            Truncated: the file ends within.
            TooLarge: the budget is spent.
        """
        version = self.cursor.take(8)[4:]
        if version[:2] == b"\0\0":
            self.order = ">"
        self.version = self._unpack("I", version)
        if not 1 <= self.version <= 3:
            raise _Wrong(TYPE_UNKNOWN, 4, f"version {self.version}")
        self.tensor_count, keys = self._size(), self._size()
        self._fits(self.tensor_count, 4 * self._wide + 8, "tensors")
        self._fits(keys, self._wide + 5, "metadata values")
        seen: set[bytes] = set()
        for _ in range(keys):
            self.budget.spend("fields")
            at = self.cursor.position
            key = self._text(_MAX_KEY)
            if key in seen:
                raise _Wrong(DUPLICATE, at, f"the key {_shown(key)} stands twice")
            seen.add(key)
            self._value(key.decode("utf-8", "replace"), self._number("I"), 0)

    def tensors(self) -> int:
        """Check all tensors; where the last one ends.

        Raises:
            _Wrong: something is wrong with one.
            Truncated: the file ends within their descriptions.
            TooLarge: the budget is spent.
        """
        seen: set[bytes] = set()
        places: list[tuple[int, int, int]] = []
        for _ in range(self.tensor_count):
            self.budget.spend("fields")
            at = self.cursor.position
            name = self._text(_MAX_KEY)
            if name in seen:
                raise _Wrong(DUPLICATE, at, f"the tensor {_shown(name)} stands twice")
            seen.add(name)
            places.append((*self._tensor(at, name), at))
        start = _aligned(self.cursor.position, self.alignment)
        return self._places(sorted(places), start)

    def _places(self, places: list[tuple[int, int, int]], start: int) -> int:
        """Check that the tensors stand side by side; where the last one ends."""
        reached = start
        for offset, length, at in places:
            begin = start + offset
            if begin != _aligned(reached, self.alignment):
                what = "overlaps the one before it" if begin < reached else "leaves a hole before it"
                raise _Wrong(OFFSETS, at, f"a tensor at data byte {offset} is misaligned or {what}")
            reached = begin + length
            if reached > self.source.size:
                raise _Wrong(BOUNDS, at, f"a tensor ends {reached - self.source.size} bytes behind the file")
        return min(reached, self.source.size)

    def _tensor(self, at: int, name: bytes) -> tuple[int, int]:
        """Offset and length of a tensor's data."""
        count = self._number("I")
        if count > _MAX_DIMS:
            raise _Wrong(BOUNDS, at, f"tensor {_shown(name)} has {count} dimensions")
        dims = [self._size() for _ in range(count)]
        kind, offset = self._number("I"), self._number("Q")
        if kind not in BLOCKS:
            raise _Wrong(TYPE_UNKNOWN, at, f"tensor {_shown(name)} is of type {kind}")
        block, width = BLOCKS[kind]
        elements = 1
        for dim in dims:
            elements *= dim
        if elements > 8 * self.source.size * block or offset > self.source.size:
            raise _Wrong(BOUNDS, at, f"tensor {_shown(name)} is larger than the file, or stands outside of it")
        if (dims or [1])[0] % block:
            raise _Wrong(OFFSETS, at, f"tensor {_shown(name)} is not made of whole blocks")
        return offset, elements // block * width

    def _value(self, key: str, kind: int, depth: int) -> None:
        at = self.cursor.position
        if kind in _WIDTHS:
            self._scalar(key, kind, at)
        elif kind == _TEXT:
            self._told_text(key, self._text(self.budget.settings.header_bytes), at, alone=not depth)
        elif kind == _LIST:
            self._list(key, at, depth)
        else:
            raise _Wrong(MALFORMED, at, f"the value of {key[:80]!a} is of type {kind}")

    def _scalar(self, key: str, kind: int, at: int) -> None:
        data = self.cursor.take(_WIDTHS[kind])
        if key != "general.alignment":
            return
        self.alignment = int.from_bytes(data, "little" if self.order == "<" else "big")
        if kind != 4 or not 8 <= self.alignment <= _MAX_ALIGNMENT or self.alignment & (self.alignment - 1):
            raise _Wrong(OFFSETS, at, f"an alignment of {self.alignment}")

    def _list(self, key: str, at: int, depth: int) -> None:
        kind, count = self._number("I"), self._size()
        if depth >= _MAX_NESTING:
            raise _Wrong(MALFORMED, at, f"lists nested deeper than {_MAX_NESTING}")
        if kind in _WIDTHS:
            self._fits(count, _WIDTHS[kind], "elements")
            if count * _WIDTHS[kind] >= _SEARCHED:
                self.numbers.append((self.cursor.position, self.cursor.position + count * _WIDTHS[kind]))
            self.cursor.skip(count * _WIDTHS[kind])
            return
        self._fits(count, self._wide if kind == _TEXT else 4 + self._wide, "elements")
        self.budget.spend("fields", count)
        for _ in range(count):
            self._value(key, kind, depth + 1)

    def _told_text(self, key: str, data: bytes, at: int, *, alone: bool) -> None:
        """Tell what a text is for; those in lists are tokens and names."""
        lowered = key.lower()
        if "template" in lowered and lowered != "tokenizer.chat_templates":  # that one is a list of names
            self.budget.spend("facts")
            text = data.decode("utf-8", "replace")
            self.told.append(Fact(FactKind.TEMPLATE, self.source.name, at, key, {"text": text}))
        elif lowered.startswith("split."):
            self.told.append(Fact(FactKind.REFERENCE, self.source.name, at, data.decode("utf-8", "replace")))
        elif lowered in {"general.license", "general.license.name"}:
            self.told.append(Fact(FactKind.LICENCE, self.source.name, at, data.decode("utf-8", "replace")[:200]))
        elif alone:
            for item in tell_free_text(self.source.name, key, data.decode("utf-8", "replace"), at):
                self.budget.spend("facts")
                self.told.append(item)
            return
        if len(data) >= SHORTEST and (kind := credential_in(data.decode("utf-8", "replace"))):
            self.budget.spend("facts")
            self.told.append(Fact(FactKind.CREDENTIAL, self.source.name, at, kind))

    @property
    def _wide(self) -> int:
        """Bytes of a count."""
        return 4 if self.version == 1 else 8

    def _unpack(self, form: str, data: bytes) -> int:
        return int(struct.unpack(self.order + form, data)[0])

    def _number(self, form: str) -> int:
        return self._unpack(form, self.cursor.take(struct.calcsize(self.order + form)))

    def _size(self) -> int:
        return self._number("I" if self.version == 1 else "Q")

    def _fits(self, count: int, width: int, what: str) -> None:
        """Check that so many of at least that width can follow."""
        if count * width > self.cursor.end - self.cursor.position:
            raise _Wrong(BOUNDS, self.cursor.position, f"{count} {what} do not fit into what is left of the file")

    def _text(self, limit: int) -> bytes:
        length = self._size()
        self._fits(length, 1, "bytes of text")
        if length > limit:
            raise self.budget.exhausted("header_bytes")
        return self.cursor.take(length)


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


def _shown(name: bytes) -> str:
    return ascii(name[:80].decode("utf-8", "replace"))


READER = GgufReader
