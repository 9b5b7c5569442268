"""Avro's files of records: the head with the schema, and blocks, each behind the mark of the file.

Records are values, which nothing runs. A schema that names classes of Java is told: readers there make objects of them
(CVE-2024-47561). Source: Apache Avro 1.12, "Object Container Files". Cost: the heads of the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.cursor import Cursor, Truncated
from fastness.models.scan.facts import Look, Told, found, span
from fastness.models.scan.rules import MAPS, undecided
from fastness.models.scan.texts import Told as Text

MALFORMED = undecided(
    "avro-malformed", "An Avro file that is not understood",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or write it again.",
)  # fmt: skip
JAVA = Rule(
    "avro-java-class", "An Avro schema that names a class of Java", Severity.MEDIUM,
    "Readers in Java make an object of the class while they read the schema (CVE-2024-47561).",
    "Remove `java-class` from the schema.", {**MAPS, "cwe": "CWE-502"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, JAVA)

_MAGIC, _MARK = b"Obj\x01", 16


@dataclass(frozen=True)
class AvroReader:
    """Reads Avro files."""

    name: ClassVar[str] = "avro"
    suffixes: ClassVar[tuple[str, ...]] = (".avro",)

    def claims(self, look: Look) -> bool:
        """By the magic."""
        return look.head.startswith(_MAGIC)

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """What the head holds, and the spans.

        Raises:
            TooLarge: the head is longer than the budget allows, or there are too many blocks.
        """
        cursor = Cursor(source, len(_MAGIC))
        try:
            texts = list(_head(cursor, budget))
            mark = cursor.take(_MARK)
            while cursor.position < source.size:
                budget.spend("fields")
                _block(cursor, mark)
        except Truncated as cut:
            yield found(MALFORMED, source.name, cut.at, "a block does not fit")
            return
        told = Text()
        for text in texts:
            told.look(source.name, text, 0, small=True)
            if '"java-class"' in text or '"java-element-class"' in text or '"java-key-class"' in text:
                yield found(JAVA, source.name, 0, "the schema has `java-class`")
        yield from told.facts
        yield span(source.name, 0, source.size)


def _block(cursor: Cursor, mark: bytes) -> None:
    _number(cursor)
    cursor.skip(_length(cursor))
    if cursor.take(_MARK) != mark:
        raise Truncated(cursor.position)


def _head(cursor: Cursor, budget: Budget) -> Iterator[str]:
    """The texts of the map in the head."""
    while count := _number(cursor):
        if count < 0:
            _number(cursor)
        for _ in range(2 * abs(count)):
            budget.spend("fields")
            length = _length(cursor)
            budget.require("header_bytes", length)
            yield cursor.take(length).decode("utf-8", "replace")


def _length(cursor: Cursor) -> int:
    length = _number(cursor)
    if length < 0:
        raise Truncated(cursor.position)
    return length


def _number(cursor: Cursor) -> int:
    """A whole number, zigzag."""
    value = 0
    for shift in range(10):
        byte = cursor.byte()
        if byte < 0:
            break
        value |= (byte & 127) << 7 * shift
        if byte < 128:
            return (value >> 1) ^ -(value & 1)
    raise Truncated(cursor.position)


READER = AvroReader
