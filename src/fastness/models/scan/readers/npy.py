"""NumPy's array files: the headers against the size, and the pickle inside where elements are objects.

Several arrays may stand behind each other, as repeated calls of `numpy.save` write them.

Source: numpy 2.4, `numpy.lib.format`, versions 1.0, 2.0 and 3.0. Cost: the headers, and one pass
over the numbers for programs that stand in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.bounds import WINDOW, NotFollowed, Numbers
from fastness.models.scan.budget import Budget
from fastness.models.scan.credentials import search_credentials
from fastness.models.scan.cursor import Part
from fastness.models.scan.facts import Look, Member, Told, found, span
from fastness.models.scan.literals import Literal, NotALiteral, parse_literal
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.rules import MAPS, PICKLE_MAPS, undecided

MALFORMED = undecided(
    "npy-malformed", "An array file whose header is not understood",
    "What cannot be parsed cannot be vouched for.", "Save the array again with numpy.save.",
)  # fmt: skip
SIZE = undecided(
    "npy-size", "An array file whose size does not fit its header",
    "Bytes that the header does not name can be read by another program; missing ones make loading fail.",
    "Save the array again with numpy.save.",
)  # fmt: skip
HEADER_CODE = Rule(
    "npy-header-code", "An array file whose header holds code", Severity.HIGH,
    "The header is a Python text; programs that evaluate it run what stands there.",
    "Do not load it. Save the array again with numpy.save.", {**MAPS, "cwe": "CWE-95"},
)  # fmt: skip
OVERFLOW = Rule(
    "npy-overflow", "An array larger than any memory", Severity.HIGH,
    "The size in bytes does not fit into 63 bits: programs that multiply without care read and write outside of the array.",
    "No honest library writes this.", {**MAPS, "cwe": "CWE-190"},
)  # fmt: skip
OBJECTS = Rule(
    "npy-objects", "An array of Python objects", Severity.LOW,
    "Its elements are a pickle, which numpy loads only with allow_pickle=True. The pickle was scanned.",
    "Save numbers and texts in arrays of their own types.", PICKLE_MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, SIZE, HEADER_CODE, OVERFLOW, OBJECTS)

MAGIC = b"\x93NUMPY"
_DESCR = re.compile(r"[<>=|]?([?bBhHiIlLqQefdgFDGucSUVaOmM])(\d{0,9})(?:\[[^\]]{1,20}\])?")
_FIXED = {
    "?": 1,
    "b": 1,
    "B": 1,
    "h": 2,
    "H": 2,
    "e": 2,
    "f": 4,
    "i": 4,
    "q": 8,
    "Q": 8,
    "d": 8,
    "D": 16,
    "M": 8,
    "m": 8,
}
_CALL = re.compile(rb"[A-Za-z_]\w*\s*\(|\blambda\b|\bimport\b")
_SHOWN = 1 << 16
_PAID = 1024
"""Bytes of numbers that are read for a field of the budget."""
_LONG = re.compile(r"(?<=[0-9])L(?=\s*[,)])")
_KEYS = {"descr", "fortran_order", "shape"}


@dataclass(frozen=True)
class NpyReader:
    """Reads .npy files."""

    name: ClassVar[str] = "npy"
    suffixes: ClassVar[tuple[str, ...]] = (".npy",)

    def claims(self, look: Look) -> bool:
        """By the magic."""
        return look.head.startswith(MAGIC)

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The header, the payload as a span, and the pickle inside as a member.

        Raises:
            TooLarge: the header is longer than the budget allows.
        """
        at = 0
        while at < source.size and (at == 0 or source.read_at(at, len(MAGIC)) == MAGIC):
            try:
                start, header = _header(source, at, budget)
                width = _width(header["descr"])
                count = _count(header["shape"])
            except NotALiteral as error:
                yield found(HEADER_CODE if _acts(source, at) else MALFORMED, source.name, at, str(error))
                return
            budget.spend("fields")
            yield span(source.name, at, start - at)
            rest = source.size - start
            if width is None:
                yield found(OBJECTS, source.name, start, "the elements are a pickle")
                yield span(source.name, start, rest)
                yield Member(Part(source, f"{source.name}!objects", start, rest), start, "pickle")
                return
            yield span(source.name, start, min(rest, count * width))
            if count * width > rest:
                yield found(
                    SIZE if count * width < 1 << 63 else OVERFLOW,
                    source.name,
                    start,
                    f"the header names {count * width} bytes, {rest} follow",
                )
            at = start + count * width
            yield from search_payloads(source, start, min(at, source.size), budget)
            yield from search_credentials(source, start, min(at, source.size))
        if at < source.size:
            yield found(SIZE, source.name, at, f"{source.size - at} bytes follow the last array")


def numbers_of(source: RandomAccess, budget: Budget) -> Numbers:
    """The first array of a file.

    Raises:
        NotFollowed: it has none whose elements are numbers or texts.
        TooLarge: the header is longer than the budget allows.
    """
    try:
        start, header = _header(source, 0, budget)
        _count(header["shape"])
        descr, shape = header["descr"], header["shape"]
        if not isinstance(descr, str) or _scalar(descr) is None or not isinstance(shape, tuple):
            raise NotFollowed("an array is not one of numbers")
        kind = np.dtype(descr)
    except (NotALiteral, TypeError, ValueError) as error:
        raise NotFollowed("an array is not understood") from error
    lengths = tuple(one for one in shape if type(one) is int)
    size = kind.itemsize * prod(lengths)

    def pieces() -> Iterator[bytes]:
        for at in range(start, start + size, WINDOW):
            budget.spend("fields", 1 + WINDOW // _PAID)
            yield source.read_at(at, min(WINDOW, start + size - at))

    return Numbers(kind, lengths, pieces, fortran=header["fortran_order"] is True)


def _acts(source: RandomAccess, at: int) -> bool:
    """Whether the header that was not understood calls something."""
    return _CALL.search(source.read_at(at, _SHOWN)) is not None


def _header(source: RandomAccess, at: int, budget: Budget) -> tuple[int, dict[str, Literal]]:
    """Where the data of the array at `at` begins, and what its header says."""
    head = source.read_at(at, 12)
    version = tuple(head[6:8])
    if version not in {(1, 0), (2, 0), (3, 0)}:
        raise NotALiteral("a version of the format that is not known")
    width = 2 if version == (1, 0) else 4
    length = int.from_bytes(head[8 : 8 + width], "little")
    start = at + 8 + width + length
    if start > source.size:
        raise NotALiteral("the header is longer than the file")
    budget.require("header_bytes", length)
    try:
        text = source.read_at(at + 8 + width, length).decode("utf-8" if version == (3, 0) else "latin-1")
    except UnicodeDecodeError as error:
        raise NotALiteral("the header is not UTF-8") from error
    if version != (3, 0):
        text = _LONG.sub("", text)  # Python 2 wrote lengths as 10L
    header = parse_literal(text)
    if not isinstance(header, dict) or set(header) != _KEYS or not isinstance(header["fortran_order"], bool):
        raise NotALiteral("the header is not a dict of descr, fortran_order and shape")
    return start, header


def _count(shape: Literal) -> int:
    if not isinstance(shape, tuple):
        raise NotALiteral("the shape is not a tuple")
    count = 1
    for length in shape:
        if type(length) is not int or length < 0:
            raise NotALiteral("the shape is not made of whole numbers")
        count *= length
    return count


def _width(descr: Literal) -> int | None:
    """Bytes an element, or None where an object stands anywhere in it."""
    if isinstance(descr, str):
        return _scalar(descr)
    if isinstance(descr, tuple) and len(descr) == 2:
        inner = _width(descr[0])
        lengths = descr[1] if isinstance(descr[1], tuple) else (descr[1],)
        return None if inner is None else inner * _count(lengths)
    if isinstance(descr, list) and descr:
        return _record(descr)
    raise NotALiteral("the element type is not a known one")


def _record(fields: list[Literal]) -> int | None:
    total: int | None = 0
    for field in fields:
        if not isinstance(field, tuple) or len(field) not in {2, 3}:
            raise NotALiteral("a field of the element type is not a known one")
        width = _width(field[1] if len(field) == 2 else (field[1], field[2]))
        total = None if width is None or total is None else total + width
    return total


def _scalar(descr: str) -> int | None:
    match = _DESCR.fullmatch(descr)
    if match is None:
        raise NotALiteral("the element type is not a known one")
    letter, digits = match[1], match[2]
    if letter == "O":
        return None
    if letter in "SaVU":
        return int(digits or 0) * (4 if letter == "U" else 1)
    if digits and letter in "biufcmM":
        return int(digits)
    if letter not in _FIXED or digits:
        raise NotALiteral(f"the width of element type {letter} depends on the machine")
    return _FIXED[letter]


READER = NpyReader
