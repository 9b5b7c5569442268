"""Tables of Arrow beside a model: files, streams as data sets are stored, and Feather. Every message is walked to its end.

Columns are numbers and texts, which nothing runs, except for types that Python rebuilds from a pickle. CVE-2023-47248: PyArrow
before 14.0.1 unpickled the type of a column when it opened a file. The name by which such a type is registered is looked for
everywhere in the file. Misses: metadata that is compressed as a whole; the first version of Feather.

Source: Apache Arrow, "IPC Streaming Format", "IPC File Format". Cost: the heads of the messages, and one pass for the name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import Look, Told, found, span
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.rules import PICKLE_MAPS, undecided
from fastness.models.scan.texts import Told as Text

PYTHON_TYPE = Rule(
    "table-python-type", "A table with a column of a Python type", Severity.HIGH,
    "PyArrow before 14.0.1 unpickles the type when it opens the file, which runs what the file says (CVE-2023-47248).",
    "Do not open it with an old PyArrow. Save the table with plain types.", PICKLE_MAPS,
)  # fmt: skip
MALFORMED = undecided(
    "table-malformed", "A table whose ends are not understood",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or write it again.",
)  # fmt: skip

RULES: tuple[Rule, ...] = (PYTHON_TYPE, MALFORMED)

_ARROW, _START, _END = b"ARROW1", b"ARROW1\0\0", 10
_GOES_ON = b"\xff\xff\xff\xff"
_VERSIONS = range(3, 5)
_SCHEMA = 1
_PYTHON = (
    b"arrow.py_extension_type",
    b"YXJyb3cucHlfZXh0ZW5zaW9uX3R5cGU",
    b"Fycm93LnB5X2V4dGVuc2lvbl90eXBl",
    b"hcnJvdy5weV9leHRlbnNpb25fdHlwZ",
)
"""The name of such types, as it is and in the three ways it may stand within base64."""
_CHUNK = 1 << 20


@dataclass(frozen=True)
class TableReader:
    """Reads Arrow files and streams."""

    name: ClassVar[str] = "table"
    suffixes: ClassVar[tuple[str, ...]] = (".arrow", ".arrows", ".feather")

    def claims(self, look: Look) -> bool:
        """By the magic, or by the schema that a stream begins with."""
        return look.head.startswith(_ARROW) or (
            look.head.startswith(_GOES_ON) and _message(look.head[8:])[0] == _SCHEMA
        )

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Columns of Python types, what hides in the metadata, and the spans of the messages.

        Raises:
            TooLarge: a message's metadata is longer than the budget allows, or there are too many.
        """
        yield from python_types(source)
        if source.read_at(0, 4) == _GOES_ON:
            yield from _messages(source, 0, source.size, budget)
            return
        tail = source.read_at(max(0, source.size - _END), _END)
        length = int.from_bytes(tail[:4], "little")
        footer = source.size - _END - length
        if not tail.endswith(_ARROW) or footer < len(_START) or not length:
            yield found(MALFORMED, source.name, 0, "the file does not end as it begins, or its footer does not fit")
            return
        budget.require("header_bytes", length)
        yield span(source.name, 0, len(_START))
        yield span(source.name, footer, source.size - footer)
        yield from search_payloads(source, footer, source.size, budget)
        yield from _messages(source, len(_START), footer, budget)


def _messages(source: RandomAccess, start: int, end: int, budget: Budget) -> Iterator[Told]:
    """The spans of all messages from `start` on; what follows the last one is left for the frame to tell."""
    at = start
    while at < end:
        budget.spend("fields")
        head = source.read_at(at, 8)
        begins = at + (8 if head[:4] == _GOES_ON else 4)  # without the mark before Arrow 0.15
        length = int.from_bytes(head[begins - at - 4 : begins - at], "little")
        if not length and begins <= end:
            rest = source.read_at(begins, end - begins) if end - begins <= 8 else b"."
            yield span(source.name, at, begins - at + (0 if rest.strip(b"\0") else len(rest)))
            return
        budget.require("header_bytes", length)
        kind, body = _message(source.read_at(begins, min(length, end - begins)))
        stop = begins + length + body
        if min(kind, body, length - 1) < 0 or stop > end:
            yield found(MALFORMED, source.name, at, "a message is broken, or longer than the file")
            return
        yield from search_payloads(source, begins, begins + length, budget)
        yield from _texts(source, begins, length) if kind == _SCHEMA else ()
        yield span(source.name, at, stop - at)
        at = stop


def _texts(source: RandomAccess, start: int, length: int) -> Iterator[Told]:
    told = Text()
    told.look(source.name, source.read_at(start, length).decode("latin-1"), start, small=False)
    yield from told.facts


def _message(data: bytes) -> tuple[int, int]:
    """The kind of a message and the length of its body, by its table; a kind below zero where it is none."""
    root = int.from_bytes(data[:4], "little")
    layout = root - int.from_bytes(data[root : root + 4], "little", signed=True)
    if not 4 <= root <= len(data) - 4 or not 0 <= layout <= len(data) - 4:
        return -1, 0
    size = int.from_bytes(data[layout : layout + 2], "little")
    places = [
        int.from_bytes(data[layout + slot : layout + slot + 2], "little") if slot + 2 <= size else 0
        for slot in (4, 6, 10)
    ]
    version, kind, body = (root + place if place else 0 for place in places)
    if (
        not kind
        or kind >= len(data)
        or (version and int.from_bytes(data[version : version + 2], "little") not in _VERSIONS)
    ):
        return -1, 0
    return data[kind], int.from_bytes(data[body : body + 8], "little", signed=True) if body else 0


def python_types(source: RandomAccess) -> Iterator[Told]:
    """The finding that a type of Python is named anywhere in the file."""
    kept = b""
    for offset in range(0, source.size, _CHUNK):
        piece = kept + source.read_at(offset, _CHUNK)
        if any(name in piece for name in _PYTHON):
            yield found(PYTHON_TYPE, source.name, offset, "the type of a column is a pickle")
            return
        kept = piece[-64:]


READER = TableReader
