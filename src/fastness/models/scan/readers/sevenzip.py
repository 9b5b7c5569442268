"""7z archives, whole or behind a program that unpacks them.

Files are parts of folders, each of which is unpacked as one stream. Misses: PPMd, Deflate64, BCJ2, ARM64 filters and
encryption, which make the archive incomplete. Cost: the header; each folder is unpacked once, and again where large files
are read more than once.

Source: see `seven_zip`; the attack called nullifAI (ReversingLabs 2025) hid pickles in 7z.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from fastness.core.findings import Finding, Rule
from fastness.core.sources import RandomAccess
from fastness.models.scan import entries
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.cursor import Part
from fastness.models.scan.facts import Look, Member, Told, found, span
from fastness.models.scan.inflate import BrokenData, Inflated, allowance
from fastness.models.scan.readers.compressed import is_bomb
from fastness.models.scan.rules import undecided
from fastness.models.scan.seven_zip import (
    SIGNATURE,
    START,
    BadHeader,
    Encrypted,
    File,
    Folder,
    Header,
    Streams,
    places,
    start,
)  # fmt: skip

MALFORMED = undecided(
    "7z-malformed", "A 7z archive that is not understood",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or unpack it and scan what it holds.",
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED,)

_PROGRAMS = (b"MZ", b"\x7fELF", b"#!")
_SEARCHED = 4 << 20
_NESTED = 4
_LINK = 4096
_ENCODED = 0x17


@dataclass(slots=True)
class _Archive:
    """What gathers while an archive is read."""

    source: RandomAccess
    budget: Budget
    base: int = 0
    spans: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class SevenZipReader:
    """Reads 7z archives."""

    name: ClassVar[str] = "7z"
    suffixes: ClassVar[tuple[str, ...]] = (".7z",)

    def claims(self, look: Look) -> bool:
        """By the signature, which may stand behind a program."""
        return look.head.startswith((SIGNATURE, *_PROGRAMS))

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The files as a bundle; nothing where there is no archive behind a program.

        Raises:
            TooLarge: the budget is spent.
        """
        archive = _Archive(source, budget, _place(source))
        if archive.base < 0:
            return
        yield from entries.program(source.name, source.read_at(0, 8))
        yield span(source.name, archive.base, min(START.size, source.size - archive.base))
        try:
            header = _header(archive)
            streams = header.streams()
            files = header.files()
        except (BadHeader, IndexError) as error:
            yield found(MALFORMED, source.name, archive.base, str(error) or "the header is broken")
        except Encrypted:
            yield found(entries.ENCRYPTED, source.name, archive.base, "the list of its files is encrypted")
        except BrokenData as error:
            yield found(entries.METHOD, source.name, archive.base, f"the list of its files: {error}")
        else:
            budget.require("members", len(files))
            yield from _files(archive, streams, files)
        for begin, end in archive.spans:
            if 0 <= begin < end <= source.size:
                yield span(source.name, begin, end - begin)


def _place(source: RandomAccess) -> int:
    """Where the archive begins, -1 where there is none."""
    if source.read_at(0, len(SIGNATURE)) == SIGNATURE:
        return 0
    window = source.read_at(0, _SEARCHED)
    at = window.find(SIGNATURE)
    while at >= 0 and start(window[at : at + START.size]) is None:
        at = window.find(SIGNATURE, at + 1)
    return at


def _header(archive: _Archive) -> Header:
    """The plain header, unpacked as often as it was packed.

    Raises:
        BadHeader, BrokenData, Encrypted: there is none to be had.
    """
    source, budget = archive.source, archive.budget
    told = start(source.read_at(archive.base, START.size))
    if told is None:
        raise BadHeader("its beginning is broken")
    offset, size, crc = told
    at = archive.base + START.size + offset
    if not size:
        return Header(b"\x01\x00")
    budget.require("header_bytes", size)
    data = source.read_at(at, size)
    if len(data) < size or zlib.crc32(data) != crc:
        raise BadHeader("the list of its files is not whole")
    archive.spans.append((at, at + size))
    header = Header(data)
    for _ in range(_NESTED):
        if header.kind != _ENCODED:
            return header
        streams = header.streams()
        unpacked = [inner for _, inner in _unpacked(archive, streams)]
        if len(unpacked) != 1:
            raise BadHeader("the list of its files is not one stream")
        budget.require("header_bytes", unpacked[0].size)
        header = Header(unpacked[0].read_at(0, unpacked[0].size))
    raise BadHeader("the list of its files is packed too often")


def _unpacked(archive: _Archive, streams: Streams) -> Iterator[tuple[Folder, Inflated]]:
    """What comes out of each folder.

    Raises:
        BadHeader, BrokenData, Encrypted: it cannot be had.
    """
    edges = list(places(streams.packed, archive.base + START.size + streams.place))
    taken = 0
    for folder in streams.folders:
        if taken + folder.packed > len(edges):
            raise BadHeader("a packed stream is missing")
        (begin, end), taken = edges[taken], taken + folder.packed
        if end > archive.source.size:
            raise BadHeader("a packed stream is longer than the file")
        archive.spans.append((begin, end))
        part = Part(archive.source, f"{archive.source.name}!folder", begin, end - begin)
        free = allowance(archive.source, end - begin)
        yield folder, Inflated(part, part.name, folder.codec(), archive.budget, folder.size, free)


def _files(archive: _Archive, streams: Streams, files: list[File]) -> Iterator[Told]:
    """The files, in the order of the folders that hold them."""
    name = archive.source.name
    waiting = [file for file in files if file.stream]
    for file in files:
        yield from entries.judge_name(name, 0, file.name)
        yield from entries.judge_kind(name, 0, file.name, file.mode)
    rows: list[tuple[str, RandomAccess]] = []
    for folder, inner in _each(archive, streams):
        held, waiting = waiting[: len(folder.streams)], waiting[len(folder.streams) :]
        if isinstance(inner, Finding):
            yield inner
            continue
        yield from _judged(archive, folder, inner)
        for (begin, end), file in zip(places(folder.streams, 0), held, strict=False):
            part = Part(inner, entries.member_name(name, file.name), begin, end - begin)
            rows.append((file.name, part))
            yield from _link(archive, file, part)
    if waiting:
        yield found(MALFORMED, name, 0, f"{len(waiting)} files have no bytes")
    if not files:
        yield found(entries.EMPTY, name, 0, "it has no files")
    rows += [(file.name, entries.nothing(name)) for file in files if not file.stream and not file.folder]
    yield from _bundles(name, rows)


def _bundles(name: str, rows: list[tuple[str, RandomAccess]]) -> Iterator[Told]:
    """The files, twice where names stand twice, and those that are neither first nor last."""
    first, last = dict(reversed(rows)), dict(rows)
    if last:
        yield Bundle(name, last)
    if len(rows) > len(last):
        yield Bundle(name, first)
        for path, source in rows:
            if source is not first[path] and source is not last[path]:
                yield Member(source)
        yield found(entries.TWICE, name, 0, f"{len(rows) - len(last)} names stand twice")


def _each(archive: _Archive, streams: Streams) -> Iterator[tuple[Folder, Inflated | Finding]]:
    """What comes out of each folder, or why nothing does."""
    name = archive.source.name
    taken = 0
    for folder in streams.folders:
        packed = Streams(streams.place, streams.packed, [folder])
        packed.place += sum(streams.packed[:taken])
        packed.packed = streams.packed[taken : taken + folder.packed]
        taken += folder.packed
        try:
            yield from _unpacked(archive, packed)
        except Encrypted:
            yield folder, found(entries.ENCRYPTED, name, 0, f"{len(folder.streams)} files are encrypted")
        except BrokenData as error:
            yield folder, found(entries.METHOD, name, 0, f"{len(folder.streams)} files: {error}")
        except BadHeader as error:
            yield folder, found(MALFORMED, name, 0, str(error))


def _judged(archive: _Archive, folder: Folder, inner: Inflated) -> Iterator[Finding]:
    name = archive.source.name
    if inner.size < folder.size:
        yield found(
            entries.BROKEN, name, 0, f"{inner.size} of {folder.size} bytes come out: {inner.problem or 'it ends'}"
        )
    if folder.crc is not None and inner.size == folder.size and inner.crc != folder.crc:
        yield found(entries.BROKEN, name, 0, "the checksum of what comes out is wrong")
    if is_bomb(archive.source.size, inner.size):
        yield found(entries.BOMB, name, 0, f"{archive.source.size} bytes become {inner.size}")


def _link(archive: _Archive, file: File, part: RandomAccess) -> Iterator[Finding]:
    if entries.kind_of(file.mode) == entries.LINKED:
        target = part.read_at(0, _LINK).decode("utf-8", "replace")
        yield entries.judge_link(archive.source.name, 0, file.name, target)


READER = SevenZipReader
