"""Tar archives: the old form, ustar, pax and GNU's, with long names and sparse files.

Headers are followed one by one, as every program does. Where programs differ (a size that stands twice, links with data,
headers behind the end, names that stand twice) the difference is a finding, and what either sees is scanned.

Misses: sparse files of pax versions 0.0 and 0.1, and archives in several volumes, which make the archive incomplete.
Cost: the headers; members are stepped over.

Source: POSIX.1-2017, pax; GNU tar 1.35 manual, "Tar Internals"; CVE-2007-4559, CVE-2025-62518.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan import entries
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.cursor import Part
from fastness.models.scan.facts import Look, Member, Told, found, span
from fastness.models.scan.rules import MAPS, undecided

MALFORMED = undecided(
    "tar-malformed", "A tar archive that is not whole",
    "Some programs still read what is left of it, others do not.", "Fetch the file again, or pack it again.",
)  # fmt: skip
DISAGREES = Rule(
    "tar-disagreement", "Two records of a member disagree", Severity.HIGH,
    "One program steps over bytes in which the next finds further members.",
    "No honest program writes this. Pack the files again.", {**MAPS, "cwe": "CWE-436"},
)  # fmt: skip
HIDDEN = Rule(
    "tar-hidden-member", "Members behind the end of the archive", Severity.HIGH,
    "Most programs stop at the end, others read on. All were scanned.",
    "Pack the files again, into one archive.", {**MAPS, "cwe": "CWE-436"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, DISAGREES, HIDDEN)

BLOCK = 512
_ZERO = bytes(BLOCK)
_WITHOUT_DATA = frozenset(b"123456")
_RECORDS = frozenset(b"xXgLK")
_SPECIAL = {ord("3"): "a character device", ord("4"): "a block device", ord("6"): "a pipe"}
_LARGEST_OCTAL = 8 << 30
_LINES = 1 << 20
_SEARCHED = 64 << 20
_PAX = re.compile(rb"(\d{1,20}) ([^=\n]{1,256})=", re.DOTALL)


class _Broken(ValueError):
    """What a header says cannot be."""


@dataclass(slots=True)
class _Header:
    """One header block, and what records before it say in its place."""

    at: int
    kind: int
    path: str
    link: str
    size: int
    data: int
    holes: list[tuple[int, int]] | None = None
    length: int = 0


@dataclass(slots=True)
class _Row:
    path: str
    source: RandomAccess


@dataclass(slots=True)
class _Archive:
    """What gathers while an archive is read."""

    source: RandomAccess
    budget: Budget
    at: int = 0
    told: dict[str, str] = field(default_factory=dict)
    rows: list[_Row] = field(default_factory=list)

    def text(self, start: int, length: int) -> bytes:
        """The data of a record that belongs to the next header."""
        if length > _LINES or start + length > self.source.size:
            raise _Broken("a record of names is too long")
        return self.source.read_at(start, length)


@dataclass(frozen=True)
class TarReader:
    """Reads tar archives."""

    name: ClassVar[str] = "tar"
    suffixes: ClassVar[tuple[str, ...]] = (".tar",)

    def claims(self, look: Look) -> bool:
        """By the checksum of the first header, for the old form has no magic."""
        return _is_header(look.head[:BLOCK])

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The members as a bundle, twice where names stand twice.

        Raises:
            TooLarge: the budget is spent.
        """
        archive = _Archive(source, budget)
        try:
            yield from _walk(archive)
        except _Broken as error:
            yield found(MALFORMED, source.name, archive.at, str(error))
        if not archive.rows:
            yield found(entries.EMPTY, source.name, 0, "it has no members")
        yield from _bundles(source.name, archive.rows)


def _bundles(name: str, rows: list[_Row]) -> Iterator[Told]:
    """The members, twice where names stand twice, and those that are neither first nor last."""
    first = {row.path: row.source for row in reversed(rows)}
    last = {row.path: row.source for row in rows}
    if last:
        yield Bundle(name, last)
    if len(rows) == len(last):
        return
    yield Bundle(name, first)
    for row in rows:
        if row.source is not last[row.path]:
            yield found(entries.TWICE, name, 0, f"{entries.shown(row.path)} stands twice")
            if row.source is not first[row.path]:
                yield Member(row.source)


def _walk(archive: _Archive) -> Iterator[Told]:
    """Every header, up to the end of the file."""
    source = archive.source
    while archive.at < source.size:
        block = source.read_at(archive.at, BLOCK)
        if block == _ZERO[: len(block)]:
            start = archive.at
            archive.at = _behind_zeros(source, start)
            yield span(source.name, start, archive.at - start)
            if archive.at < source.size and _is_header(source.read_at(archive.at, BLOCK)):
                yield found(HIDDEN, source.name, archive.at, "an archive goes on behind its end")
                continue
            return
        if not _is_header(block):
            yield found(MALFORMED, source.name, archive.at, "a header is broken")
            return
        archive.budget.require("members", len(archive.rows))
        yield from _entry(archive, block)


def _behind_zeros(source: RandomAccess, start: int) -> int:
    """The first block that is not zero, or the end."""
    for at in range(start, min(source.size, start + _SEARCHED), _LINES):
        window = source.read_at(at, _LINES)
        rest = window.lstrip(b"\0")
        if rest:
            return at + (len(window) - len(rest)) // BLOCK * BLOCK
    return min(source.size, start + _SEARCHED)


def _entry(archive: _Archive, block: bytes) -> Iterator[Told]:
    """One header with its data; what it says of the next one is kept."""
    source, header = archive.source, _header(archive, block)
    padded = yield from _sized(archive, header)
    stop = header.data + header.size
    if stop > source.size:
        raise _Broken(f"{entries.shown(header.path)} is longer than the file")
    yield span(source.name, header.at, stop - header.at)
    padding = source.read_at(stop, padded - header.size)
    if not padding.strip(b"\0"):
        yield span(source.name, stop, len(padding))
    archive.at = header.data + padded
    if header.kind in _RECORDS:
        _keep(archive, header)
        return
    yield from _member(archive, header)
    archive.told = {key: value for key, value in archive.told.items() if key.startswith("global ")}


def _sized(archive: _Archive, header: _Header) -> Generator[Finding, None, int]:
    """How many bytes the data takes, padding included, by the record that programs believe."""
    name, stated, shown = archive.source.name, header.size, entries.shown(header.path)
    if header.kind not in _RECORDS and "size" in archive.told:
        header.size = _decimal(archive.told["size"])
        if header.size != stated and (header.size < _LARGEST_OCTAL or stated):
            message = f"{shown} has {stated} bytes by one record and {header.size} by another"
            yield found(DISAGREES, name, header.at, message)
    padded = -(-header.size // BLOCK) * BLOCK
    if not header.kind and header.size and header.path.endswith("/"):
        yield found(DISAGREES, name, header.at, f"{shown} is a folder by its name, but has a size")
    if header.kind in _WITHOUT_DATA and header.size:
        yield found(DISAGREES, name, header.at, f"{shown} is no file, but has a size")
        padded = padded if _is_header(archive.source.read_at(header.data + padded, BLOCK)) else 0
        header.size = min(header.size, padded)
    return padded


def _keep(archive: _Archive, header: _Header) -> None:
    """What a record says of the headers behind it."""
    data = archive.text(header.data, header.size)
    if header.kind in b"LK":
        archive.told["path" if header.kind == ord("L") else "linkpath"] = _text(data)
        return
    at = 0
    while at < len(data.rstrip(b"\0")):
        match = _PAX.match(data, at)
        length = int(match[1]) if match else 0
        if match is None or at + length > len(data) or match.end() >= at + length or data[at + length - 1] != 10:
            raise _Broken("a pax record is broken")
        key, value = match[2].decode("utf-8", "replace"), data[match.end() : at + length - 1].decode("utf-8", "replace")
        if header.kind == ord("g") and key == "size":
            raise _Broken("a size for all members")
        archive.told[f"global {key}" if header.kind == ord("g") else key] = value
        at += length


def _member(archive: _Archive, header: _Header) -> Iterator[Finding]:
    source, name = archive.source, archive.source.name
    yield from entries.judge_name(name, header.at, header.path)
    if header.kind in _SPECIAL:
        yield found(entries.DEVICE, name, header.at, f"{entries.shown(header.path)} is {_SPECIAL[header.kind]}")
    elif header.kind in b"12":
        beside = header.path if header.kind == ord("2") else ""
        yield entries.judge_link(name, header.at, beside, header.link, header.path)
    elif header.kind == ord("M"):
        yield found(entries.METHOD, name, header.at, f"{entries.shown(header.path)} began in another volume")
        return
    if header.kind in _WITHOUT_DATA | {ord("V")} and not header.size:
        return
    path = re.sub(r"^(?:\./)+", "", header.path)
    part: RandomAccess = Part(source, entries.member_name(name, path), header.data, header.size)
    if header.holes is not None:
        part = _Sparse(part, header.holes, header.length)
    elif "GNU.sparse.major" in archive.told or "GNU.sparse.map" in archive.told or "GNU.sparse.size" in archive.told:
        yield found(entries.METHOD, name, header.at, f"{entries.shown(path)} is a sparse file of pax")
    archive.rows.append(_Row(path, part))


def _header(archive: _Archive, block: bytes) -> _Header:
    """What a block says, with what records before it say in its place."""
    told = archive.told
    path, link = _text(block[:100]), _text(block[157:257])
    if block[257:263] == b"ustar\0" and block[345]:
        path = f"{_text(block[345:500])}/{path}"
    path = told.get("GNU.sparse.name", told.get("path", told.get("global path", path)))
    link = told.get("linkpath", told.get("global linkpath", link))
    header = _Header(archive.at, block[156], path, link, _number(block[124:136]), archive.at + BLOCK)
    if block[156] == ord("S"):
        _sparse_map(archive, block, header)
    return header


def _sparse_map(archive: _Archive, block: bytes, header: _Header) -> None:
    """The map of GNU's sparse files, which goes on in blocks behind the header."""
    holes = _pairs(block[386:482])
    more, header.length = block[482], _number(block[483:495])
    while more:
        extension = archive.source.read_at(header.data, BLOCK)
        archive.budget.spend("fields", 21)
        if len(extension) < BLOCK:
            raise _Broken("the map of a sparse file ends early")
        holes += _pairs(extension[:504])
        more = extension[504]
        header.data += BLOCK
    header.holes = holes


def _pairs(data: bytes) -> list[tuple[int, int]]:
    places = [at for at in range(0, len(data) - 23, 24) if data[at]]
    return [(_number(data[at : at + 12]), _number(data[at + 12 : at + 24])) for at in places]


def _number(field_: bytes) -> int:
    """A number, octal or in base 256."""
    if field_[0] & 0x80:
        number = int.from_bytes(bytes([field_[0] & 0x7F]) + field_[1:], "big")
        if field_[0] != 0x80:
            raise _Broken("a number is negative or too large")
        return number
    digits = field_.split(b"\0", 1)[0].strip()
    if digits.strip(b"01234567"):
        raise _Broken("a number is not octal")
    return int(digits or b"0", 8)


def _decimal(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text):
        raise _Broken("a size is no number")
    return int(text)


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("utf-8", "replace")


def _is_header(block: bytes) -> bool:
    """Whether the checksum of a block fits, by signed or unsigned bytes."""
    if len(block) < BLOCK or block == _ZERO:
        return False
    try:  # Python's own reader takes every form that `int` takes
        stated = int.from_bytes(block[149:156]) if block[148] == 0x80 else int(block[148:156].split(b"\0", 1)[0], 8)
    except ValueError:
        return False
    rest = block[:148] + b" " * 8 + block[156:]
    total = sum(rest)
    return stated in {total, total - 256 * sum(byte > 127 for byte in rest)}


class _Sparse:
    """A sparse file: the pieces that are stored, and zeros between them."""

    def __init__(self, part: RandomAccess, pieces: list[tuple[int, int]], size: int) -> None:
        self.name = part.name
        self._part = part
        self._size = size
        self._pieces: list[tuple[int, int, int]] = []
        stored = reached = 0
        for start, length in pieces:
            if start < reached or start + length > size or stored + length > part.size:
                raise _Broken("the map of a sparse file is broken")
            self._pieces.append((start, length, stored))
            stored, reached = stored + length, start + length

    @property
    def size(self) -> int:
        """Length in bytes, zeros included."""
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`."""
        length = max(0, min(length, self._size - offset))
        out = bytearray(length)
        for start, size, stored in self._pieces:
            begin, end = max(start, offset), min(start + size, offset + length)
            if begin < end:
                out[begin - offset : end - offset] = self._part.read_at(stored + begin - start, end - begin)
        return bytes(out)


READER = TarReader
