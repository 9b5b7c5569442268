"""Parquet files: the footer in full, where every column and index stands, and what the metadata says.

Column data are values of a table, which nothing runs; they are accounted for by where the footer says they stand, and zeros
between them are padding. Texts of the metadata (pandas, Arrow's schema, data sets of Hugging Face) are judged like those of any
configuration. A column of another file is a reference. Misses: what the values of the columns say.

CVE-2023-47248: PyArrow before 14.0.1 unpickled the type of a column when it opened a file. The name by which such a type is
registered is looked for everywhere in the file.

Source: Apache Parquet 2.12, `parquet.thrift`, "File format", "Encryption". Cost: the footer, and one pass for the name.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar

from fastness.core.findings import Rule
from fastness.core.sources import BytesSource, RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.configs import tell_config, tell_value
from fastness.models.scan.facts import Fact, FactKind, Look, Member, Told, found, span
from fastness.models.scan.jsons import NotJson, parse
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.readers.tables import python_types
from fastness.models.scan.rules import undecided
from fastness.models.scan.texts import Told as Text
from fastness.models.scan.thrift import Compact, NotThrift

MALFORMED = undecided(
    "parquet-malformed", "A Parquet file that is not understood",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or write it again.",
)  # fmt: skip
ENCRYPTED = undecided(
    "parquet-encrypted", "A Parquet file that is encrypted",
    "What stands inside was not seen.", "Decrypt it, and scan what it holds.",
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, ENCRYPTED)

_MAGIC, _LOCKED = b"PAR1", b"PARE"
_ENDS = 4
_SIGNATURE = 28
_LONGEST_COPY = 1 << 16
_WALKS = re.compile(r"[/\\~]|[A-Za-z]:|.*://|(?:.*[/\\])?\.\.(?:[/\\]|$)")
_PADDING = 100
"""Old writers left the head of a dictionary out of a column's length (PARQUET-816)."""
_OLD = (b"parquet-mr version 1.0", b"parquet-mr version 1.1", b"parquet-mr version 1.2", b"impala")


@dataclass(slots=True)
class _Footer:
    """What is taken from a footer: parts of the file by start and length, files of columns, texts."""

    parts: list[tuple[int, int]] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    texts: list[tuple[str, bytes]] = field(default_factory=list)
    writer: bytes = b""
    signed: bool = False
    locked: bool = False


@dataclass(frozen=True)
class ParquetReader:
    """Reads Parquet files."""

    name: ClassVar[str] = "parquet"
    suffixes: ClassVar[tuple[str, ...]] = (".parquet",)

    def claims(self, look: Look) -> bool:
        """By the magic."""
        return look.head.startswith((_MAGIC, _LOCKED))

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The parts of the file, references, what its texts hold, and Python types.

        Raises:
            TooLarge: the footer is longer than the budget allows, or has too many fields.
        """
        tail = source.read_at(max(0, source.size - 2 * _ENDS), 2 * _ENDS)
        length = int.from_bytes(tail[:_ENDS], "little")
        start = source.size - 2 * _ENDS - length
        if tail.endswith(_LOCKED) or source.read_at(0, _ENDS) == _LOCKED:
            yield found(ENCRYPTED, source.name, 0, "its footer is encrypted")
            return
        if not tail.endswith(_MAGIC) or start < _ENDS or not length:
            yield found(MALFORMED, source.name, 0, "the file does not end as it begins, or its footer does not fit")
            return
        budget.require("header_bytes", length)
        yield from python_types(source)
        compact, footer = Compact(source.read_at(start, length), budget), _Footer()
        try:
            _metadata(compact, footer)
        except NotThrift as problem:
            yield found(MALFORMED, source.name, start + problem.at, "the footer is broken")
            return
        used = min(length, compact.at + (_SIGNATURE if footer.signed else 0))
        yield from search_payloads(source, start, start + used, budget)
        yield span(source.name, 0, _ENDS)
        yield span(source.name, start, used)
        yield span(source.name, source.size - 2 * _ENDS, 2 * _ENDS)
        yield from _told(source, start, footer, budget)


def _told(source: RandomAccess, end: int, footer: _Footer, budget: Budget) -> Iterator[Told]:
    if footer.locked:
        yield found(ENCRYPTED, source.name, 0, "columns are encrypted")
    whole = not source.name.endswith("_metadata")  # whose whole purpose is to tell of other files
    for location in sorted(footer.files):
        if whole or _WALKS.match(location):
            yield Fact(FactKind.REFERENCE, source.name, end, location)
    yield from _parts(source, end, footer, budget)
    for key, value in footer.texts:
        yield from _text(source.name, end, key, value, budget)


def _parts(source: RandomAccess, end: int, footer: _Footer, budget: Budget) -> Iterator[Told]:
    slack = _PADDING if footer.writer.lower().startswith(_OLD) else 0
    reached = _ENDS
    for start, length in sorted(footer.parts):
        if start < _ENDS or length < 0 or start + length > end:
            yield found(
                MALFORMED, source.name, end, f"a part from {start} has {length} bytes, and the columns end at {end}"
            )
            return
        yield from _between(source, reached, start, footer, budget)
        yield span(source.name, start, min(length + slack, end - start))
        reached = max(reached, start + length)
    yield from _between(source, reached, end, footer, budget)


def _between(source: RandomAccess, start: int, end: int, footer: _Footer, budget: Budget) -> Iterator[Told]:
    """Zeros, or a column's metadata a second time, as older writers put it behind the column; else the frame tells."""
    if start < end <= start + _LONGEST_COPY and _is_copy(source.read_at(start, end - start), footer, budget):
        yield from search_payloads(source, start, end, budget)
        yield span(source.name, start, end - start)
        return
    for at in range(start, end, 1 << 20):
        length = min(1 << 20, end - at)
        if source.read_at(at, length).count(0) == length:
            yield span(source.name, at, length)


def _is_copy(data: bytes, footer: _Footer, budget: Budget) -> bool:
    """Whether bytes are the metadata of one of the columns, or the whole entry of one, and nothing else."""
    for read in (_column, _chunk):
        copied, again = Compact(data, budget), _Footer()
        with suppress(NotThrift):
            again.parts += read(copied, again) or ()
            if copied.at == len(data) and set(again.parts) & set(footer.parts):
                return True
    return False


def _text(name: str, at: int, key: str, value: bytes, budget: Budget) -> Iterator[Told]:
    """A value of the metadata: any text, often JSON, or the schema of Arrow in base64."""
    budget.spend("facts")
    if key == "ARROW:schema":
        try:
            schema = base64.b64decode(value, validate=True)
        except binascii.Error:
            yield found(MALFORMED, name, at, "Arrow's schema is no base64")
            return
        yield Member(BytesSource(f"{name}!{key}", schema), at, "raw")
        value = schema
    text, told = value.decode("utf-8", "replace"), Text()
    told.look(name, text, at, small=key != "ARROW:schema")
    yield from told.facts
    try:
        items = (
            tell_config(f"{name}!{ascii(key)[1:-1][:80]}", parse(text).tree)
            if text[:1] in "{["
            else tell_value(name, text)
        )
    except NotJson:
        items = tell_value(name, text)
    for item in items:
        budget.spend("facts")
        yield item


# ---------------------------------------------------------------- the footer, by parquet.thrift
def _metadata(compact: Compact, footer: _Footer) -> None:
    for number, kind in compact.fields():
        if number == 4:
            for _ in compact.items(kind):
                _row_group(compact, footer)
        elif number == 5:
            for _ in compact.items(kind):
                _pair(compact, footer)
        elif number == 6:
            footer.writer = compact.binary(kind)
            footer.texts.append(("created_by", footer.writer))
        else:
            footer.signed = footer.signed or number == 8
            compact.skip(kind)


def _row_group(compact: Compact, footer: _Footer) -> None:
    for number, kind in compact.fields():
        if number == 1:
            for _ in compact.items(kind):
                _chunk(compact, footer)
        else:
            compact.skip(kind)


def _chunk(compact: Compact, footer: _Footer) -> None:
    """A column of a row group: its data, and two indexes, each with its length."""
    numbers: dict[int, int] = {}
    parts: list[tuple[int, int]] = []
    elsewhere = ""
    for number, kind in compact.fields():
        if number == 1:
            elsewhere = compact.binary(kind).decode("utf-8", "replace")
        elif number == 3:
            parts = _column(compact, footer)
        elif number in {4, 5, 6, 7}:
            numbers[number] = compact.integer(kind)
        else:
            footer.locked = footer.locked or number in {8, 9}
            compact.skip(kind)
    if elsewhere:
        footer.files.add(elsewhere)
        return
    footer.parts += parts
    footer.parts += [(numbers[at], numbers.get(at + 1, 0)) for at in (4, 6) if numbers.get(at)]


def _column(compact: Compact, footer: _Footer) -> list[tuple[int, int]]:
    numbers: dict[int, int] = {}
    for number, kind in compact.fields():
        if number in {7, 9, 10, 11, 14, 15}:
            numbers[number] = compact.integer(kind)
        elif number == 8:
            for _ in compact.items(kind):
                _pair(compact, footer)
        else:
            compact.skip(kind)
    starts = [numbers[at] for at in (9, 10, 11) if numbers.get(at)]
    parts = [(min(starts), numbers.get(7, 0))] if starts else []
    return parts + ([(numbers[14], numbers.get(15, 0))] if numbers.get(14) else [])


def _pair(compact: Compact, footer: _Footer) -> None:
    key = value = b""
    for number, kind in compact.fields():
        if number == 1:
            key = compact.binary(kind)
        elif number == 2:
            value = compact.binary(kind)
        else:
            compact.skip(kind)
    footer.texts.append((key.decode("utf-8", "replace"), value))


READER = ParquetReader
