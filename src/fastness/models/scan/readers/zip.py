"""Zip archives, read from the end and from the start, and the two readings reconciled.

Programs differ in which record they believe: the directory at the end (zipfile, most tools), absolute or relative to the
end, or the local headers before each member (streaming readers); in whether names, flags, checksums and sizes must agree
(torch's reader ignores most of that); and in which of two members of one name they take. Every reading that differs is
scanned, and the difference itself is a finding.

Misses: members compressed by methods other than deflate, bzip2, lzma, xz and zstandard, and encrypted ones, which make the
archive incomplete. Checksums of stored members are compared up to 1 MiB a member (32 KiB in an archive that is itself
packed) and 16 MiB in all, for no reader gets other bytes than those that were scanned. Cost: the directory and the local
headers; stored members are stepped over, packed ones inflated once to learn that their sizes are true.

Source: APPNOTE.TXT 6.3.10; CVE-2025-1944, -1945, -10156; Fifield, "A better zip bomb", WOOT 2019.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan import entries
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.credentials import credential_in
from fastness.models.scan.cursor import Part
from fastness.models.scan.facts import Fact, FactKind, Look, Member, Told, found, span
from fastness.models.scan.inflate import CODECS, BrokenData, Codec, Inflated, allowance, raw_lzma
from fastness.models.scan.readers.compressed import is_bomb
from fastness.models.scan.readers.npy import NpyReader
from fastness.models.scan.readers.pickles import PickleReader
from fastness.models.scan.readers.tar import TarReader
from fastness.models.scan.readers.torch_distributed import SUFFIX
from fastness.models.scan.readers.torch_legacy import TorchLegacyReader
from fastness.models.scan.rules import MAPS, undecided
from fastness.models.scan.zip_records import (
    CENTRAL,
    DESCRIBED,
    DESCRIPTOR,
    END,
    LOCAL,
    End,
    Entry,
    descriptor,
    directory,
    ends,
    local_header,
    plausible,
)  # fmt: skip

MALFORMED = undecided(
    "zip-malformed", "A zip archive that is not whole",
    "Some programs still read what is left of it, others do not.", "Fetch the file again, or save the model again.",
)  # fmt: skip
DISAGREES = Rule(
    "zip-disagreement", "Two records of the archive disagree", Severity.HIGH,
    "One program sees other members than the next, so that what a tool vouched for is not what is loaded.",
    "No honest library writes this. Save the model again with the library that made it.", {**MAPS, "cwe": "CWE-436"},
)  # fmt: skip
HIDDEN = Rule(
    "zip-hidden-member", "A member that the directory does not list", Severity.HIGH,
    "Programs that read from the start find it, those that read the directory do not.",
    "Save the model again with the library that made it.", {**MAPS, "cwe": "CWE-436"},
)  # fmt: skip
OVERLAP = Rule(
    "zip-overlap", "Members that share their bytes", Severity.HIGH,
    "A small file becomes a very large one, or one member's data hides another.",
    "Do not unpack it.", {**MAPS, "cwe": "CWE-409", "atlas": "AML.T0029"},
)  # fmt: skip
MARKS = Rule(
    "zip-false-marks", "A member is marked as what it is not", Severity.HIGH,
    "Scanners refuse a member that is marked as encrypted, patched or too new; loaders ignore the mark and load it.",
    "No honest library writes this. Save the model again with the library that made it.", {**MAPS, "cwe": "CWE-436"},
)  # fmt: skip
CRC = Rule(
    "zip-checksum", "A checksum that does not fit the data", Severity.MEDIUM,
    "The data was changed after the archive was written; strict programs refuse it, others load it.",
    "Fetch the file again, or ask who changed it.", {**MAPS, "cwe": "CWE-354"},
)  # fmt: skip
NO_CRC = Rule(
    "zip-no-checksums", "Members without checksums", Severity.LOW,
    "Damage is not noticed. Torch writes such archives when it is told to.",
    "Save with checksums: torch.serialization.set_crc32_options(True).", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, DISAGREES, HIDDEN, OVERLAP, MARKS, CRC, NO_CRC, *entries.RULES)

_LZMA = 14
_METHODS = {8: "deflate", 12: "bz2", _LZMA: "lzma", 93: "zstandard", 95: "xz"}
_SPANNED = (b"PK00" + LOCAL, DESCRIPTOR + LOCAL)
_FALSE = 0x1 | 0x20 | 0x40 | 0x2000
_NEWEST = 63
_CHECKED, _CHECKED_PACKED, _CHECKED_IN_ALL = 1 << 20, 1 << 15, 16 << 20
_SEARCHED = 64 << 20
_WINDOW = 1 << 20
_LINK = 4096
_LZMA_HEAD = 9
_OTHERS = (TarReader(), NpyReader(), TorchLegacyReader(), PickleReader())


@dataclass(slots=True)
class _Row:
    """One member, by one record of it.

    Attributes:
        names: under which programs find it, that of the directory first.
        local: its local header.
        opened: its bytes, None where they cannot be read.
    """

    entry: Entry
    local: Entry
    names: tuple[str, ...]
    opened: RandomAccess | None = None

    @property
    def stop(self) -> int:
        """Offset behind its data."""
        return self.local.local + self.entry.packed


@dataclass(slots=True)
class _Archive:
    """What gathers while an archive is read."""

    source: RandomAccess
    budget: Budget
    spans: list[tuple[int, int]] = field(default_factory=list)
    opened: dict[tuple[int, int, int], RandomAccess | None] = field(default_factory=dict)
    overlapping: bool = False
    checked: int = _CHECKED
    unchecked: int = _CHECKED_IN_ALL
    no_crc: int = 0

    def cover(self, start: int, stop: int) -> None:
        """Account for bytes."""
        if stop > start:
            self.spans.append((start, min(stop, self.source.size)))

    def gaps(self) -> list[tuple[int, int]]:
        """What nothing accounts for yet."""
        free, reached = [], 0
        for start, stop in sorted(self.spans):
            if start > reached:
                free.append((reached, start))
            reached = max(reached, stop)
        return [*free, (reached, self.source.size)] if reached < self.source.size else free


@dataclass(frozen=True)
class ZipReader:
    """Reads zip archives of every kind: torch, Keras, npz, jar, and those that unpack themselves."""

    name: ClassVar[str] = "zip"
    suffixes: ClassVar[tuple[str, ...]] = (".zip",)

    def claims(self, look: Look) -> bool:
        """By a header at the start, or an end in the tail, for bytes may stand before and behind."""
        if look.head.startswith(LOCAL) and look.named(SUFFIX):  # several archives, which are read one by one
            return False
        return look.head.startswith((LOCAL, END, *_SPANNED)) or plausible(look.tail)

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The members as bundles, one for each reading that differs; nothing where there is no archive after all.

        Raises:
            TooLarge: the budget is spent.
        """
        archive = _Archive(source, budget)
        if not allowance(source, 1):
            archive.checked = _CHECKED_PACKED
        head = source.read_at(0, 512)
        readings = ends(source)
        if not readings and not head.startswith((LOCAL, END, *_SPANNED)):
            return
        shared = head[4:8] == b"TFL3" or _is_another(Look(source))
        if head.startswith(_SPANNED):
            archive.cover(0, 4)
        yield from entries.program(source.name, head)
        lists: list[list[_Row]] = []
        for end in readings:
            rows: list[_Row] = []
            lists.append(rows)
            yield from _listed(archive, end, rows)
        yield from _ends_agree(source.name, readings)
        hidden: list[_Row] = []
        if not shared:
            yield from _hidden(archive, hidden, listed=bool(readings))
        lists.append(hidden)
        yield from _overlaps(archive, [row for rows in lists for row in rows])
        for row in (row for rows in lists for row in rows):
            yield from _open(archive, row)
        yield from _bundles(source.name, lists)
        yield from _sums(archive, lists)
        if shared:
            archive.cover(0, source.size)
        for start, stop in archive.spans:
            yield span(source.name, start, stop - start)


def _is_another(look: Look) -> bool:
    """Whether another reader, which never withdraws from such a file, accounts for what stands around the archive."""
    weak = look.head.startswith((LOCAL, END, *_SPANNED)) or (look.head[:1] != b"\x80" and PickleReader().claims(look))
    return not weak and any(reader.claims(look) for reader in _OTHERS)


def _ends_agree(name: str, readings: list[End]) -> Iterator[Finding]:
    for end in readings:
        if end.odd:
            yield found(DISAGREES, name, end.at, end.odd)
    if len({(end.start, end.base) for end in readings}) > 1:
        yield found(DISAGREES, name, readings[-1].at, "readings of its end lead to different directories")
    if not readings:
        yield found(MALFORMED, name, 0, "it has no directory")


def _listed(archive: _Archive, end: End, rows: list[_Row]) -> Iterator[Fact | Finding]:
    """The members that a directory lists."""
    name, source = archive.source.name, archive.source
    comment = source.read_at(end.comment, end.stop - end.comment)
    if kind := credential_in(comment.decode("utf-8", "replace")):
        yield Fact(FactKind.CREDENTIAL, name, end.comment, kind)
    archive.cover(end.at, end.stop if entries.is_text(comment) else end.comment)
    stop = end.start
    count = 0
    for entry in directory(source, end, archive.budget):
        count += 1
        stop = entry.at + entry.length
        archive.cover(entry.at, stop)
        if entry.odd:
            yield found(DISAGREES, name, entry.at, f"{entries.shown(entry.name)}: {entry.odd}")
        local = local_header(source, entry.local)
        if local is None:
            yield found(MALFORMED, name, entry.at, f"{entries.shown(entry.name)} has no local header")
            continue
        row = _Row(
            entry, local, tuple(dict.fromkeys((entry.name, local.name, entry.alias or local.alias or entry.name)))
        )
        rows.append(row)
        _cover(archive, row)
        yield from _agree(name, row)
    if count != end.count and (count & 0xFFFF) != end.count:
        yield found(DISAGREES, name, end.at, f"the end names {end.count} members, the directory has {count}")
    if stop - end.start != end.size:
        yield found(DISAGREES, name, end.at, f"the end names {end.size} bytes of directory, it has {stop - end.start}")


def _cover(archive: _Archive, row: _Row) -> None:
    archive.cover(row.local.at, row.stop)
    if (row.local.flags | row.entry.flags) & DESCRIBED:
        archive.cover(row.stop, row.stop + descriptor(archive.source, row.stop, row.entry))


def _agree(name: str, row: _Row) -> Iterator[Finding]:
    """What the directory and the local header say of a member."""
    entry = row.entry
    differ = ", ".join(_differences(entry, row.local))
    if differ:
        yield found(DISAGREES, name, entry.at, f"{entries.shown(entry.name)}: two records differ in {differ}")
    if entry.alias and entry.raw.isascii():
        message = f"{entries.shown(entry.name)} is also called {entries.shown(entry.alias)}"
        yield found(entries.NAME, name, entry.at, message)
    for one in row.names:
        yield from entries.judge_name(name, entry.at, one)
    yield from entries.judge_kind(name, entry.at, entry.name, entry.mode)


def _differences(entry: Entry, local: Entry) -> Iterator[str]:
    late = (0, 0xFFFFFFFF) if local.flags & DESCRIBED else ()
    if entry.raw != local.raw:
        yield f"names ({entries.shown(local.name, 60)} before the data)"
    if entry.method != local.method:
        yield "methods"
    if (entry.flags ^ local.flags) & _FALSE:
        yield "flags"
    if local.packed not in {entry.packed, *late}:
        yield "packed sizes"
    if local.size not in {entry.size, *late}:
        yield "sizes"
    if local.crc not in {entry.crc, 0}:
        yield "checksums"
    if local.odd:
        yield local.odd


def _hidden(archive: _Archive, rows: list[_Row], *, listed: bool) -> Iterator[Finding]:
    """Members that no directory lists, in what nothing accounts for."""
    left = _SEARCHED
    for start, stop in archive.gaps():
        at = start
        while at < stop and left > 0:
            window = archive.source.read_at(at, min(_WINDOW, stop - at))
            left -= len(window)
            place = window.find(LOCAL)
            local = local_header(archive.source, at + place) if place >= 0 else None
            if local is None or not local.raw:
                at += place + 4 if place >= 0 else max(len(window) - 3, 1)
                continue
            row = _from_start(archive, local)
            rows.append(row)
            archive.budget.require("members", len(rows))
            _cover(archive, row)
            if listed:
                yield found(
                    HIDDEN, archive.source.name, local.at, f"{entries.shown(local.name)} is not in the directory"
                )
            yield from entries.judge_name(archive.source.name, local.at, local.name)
            at = max(row.stop, local.local)


def _from_start(archive: _Archive, local: Entry) -> _Row:
    """The row of a local header alone, whose sizes may stand behind the data."""
    entry, source = local, archive.source
    rest = source.size - local.local
    if local.flags & DESCRIBED and not local.packed and local.method in _METHODS:
        part = Part(source, "", local.local, rest)
        inflated = Inflated(part, "", _METHODS[local.method], archive.budget) if local.method != _LZMA else None
        if inflated is not None and not inflated.problem:
            entry = replace(local, packed=inflated.consumed, size=inflated.size, crc=inflated.crc)
    elif local.flags & DESCRIBED and not local.packed:
        packed = _until_record(source, local.local)
        entry = replace(local, packed=packed, size=packed)
    return _Row(replace(entry, packed=min(entry.packed, rest)), local, (local.name,))


def _until_record(source: RandomAccess, start: int) -> int:
    """How far it is to the next record."""
    for at in range(start, min(source.size, start + _SEARCHED), _WINDOW):
        window = source.read_at(at, _WINDOW + 3)
        places = [place for magic in (DESCRIPTOR, LOCAL, CENTRAL) if (place := window.find(magic)) >= 0]
        if places:
            return at + min(places) - start
    return source.size - start


def _overlaps(archive: _Archive, rows: list[_Row]) -> Iterator[Finding]:
    """Members whose bytes are also another's; two rows that say the same of the same bytes are one."""
    pieces = sorted({(row.local.at, row.stop, row.entry.at) for row in rows})
    reached = -1
    for start, stop, at in pieces:
        if start < reached:
            archive.overlapping = True
            yield found(OVERLAP, archive.source.name, at, f"members share bytes at {start}")
            archive.budget.spend("inflated_bytes", stop - start)
        reached = max(reached, stop)


def _open(archive: _Archive, row: _Row) -> Iterator[Finding]:
    """The bytes of a member, and what is wrong with them."""
    entry, name = row.entry, archive.source.name
    marks = (entry.flags | row.local.flags) & _FALSE
    if row.stop > archive.source.size:
        yield found(MALFORMED, name, entry.at, f"{entries.shown(entry.name)} is longer than the file")
    key = (row.local.local, entry.packed, entry.method)
    if key in archive.opened:
        row.opened = archive.opened[key]
        return
    findings: list[Finding] = []
    part = Part(archive.source, entries.member_name(name, entry.name), row.local.local, entry.packed)
    opened = _opened(archive, entry, part, findings)
    if marks and not _is_plain(entry, opened):
        yield found(entries.ENCRYPTED, name, entry.at, f"{entries.shown(entry.name)} is encrypted")
        archive.opened[key] = None
        return
    archive.opened[key] = row.opened = opened
    yield from findings
    if marks or entry.version > _NEWEST:
        yield found(MARKS, name, entry.at, f"{entries.shown(entry.name)}: flags {marks:#x}, version {entry.version}")
    if opened is not None and entries.kind_of(entry.mode) == entries.LINKED:
        target = opened.read_at(0, _LINK).decode("utf-8", "replace")
        yield entries.judge_link(name, entry.at, entry.name, target)


def _is_plain(entry: Entry, opened: RandomAccess | None) -> bool:
    """Whether a member that is marked as encrypted is not; encryption puts twelve bytes or more before the data."""
    if opened is None:
        return False
    if isinstance(opened, Inflated):
        return not opened.problem and opened.size == entry.size
    return entry.packed == entry.size


def _opened(archive: _Archive, entry: Entry, part: Part, findings: list[Finding]) -> RandomAccess | None:
    name, shown = archive.source.name, entries.shown(entry.name)
    if entry.method == 0:
        if entry.packed != entry.size:
            findings.append(found(DISAGREES, name, entry.at, f"{shown} is stored, but its two sizes differ"))
        _check_stored(archive, entry, part, findings)
        return part
    try:
        codec, start = _codec(entry, part)
    except BrokenData as error:
        findings.append(found(entries.METHOD, name, entry.at, f"{shown}: {error}"))
        return None
    free = 0 if archive.overlapping else allowance(archive.source, entry.packed)
    packed = Part(part, part.name, start, entry.packed - start) if start else part
    limit = entry.size if entry.method == _LZMA else None
    inner = Inflated(packed, part.name, codec, archive.budget, limit, free)
    whole = entry.method == _LZMA or inner.consumed == entry.packed
    if inner.problem:
        findings.append(found(entries.BROKEN, name, entry.at, f"{shown}: {inner.problem}"))
    elif inner.size != entry.size or not whole:
        findings.append(found(DISAGREES, name, entry.at, f"{shown}: its data has {inner.size} bytes, not {entry.size}"))
    elif inner.crc != entry.crc:
        _tell_crc(archive, entry, findings)
    return inner


def _codec(entry: Entry, part: Part) -> tuple[Codec, int]:
    """How a member is packed, and where its stream begins.

    Raises:
        BrokenData: it cannot be opened here.
    """
    if entry.method == _LZMA:
        head = part.read_at(0, _LZMA_HEAD)
        if len(head) < _LZMA_HEAD or head[2:4] != b"\x05\0" or head[4] >= 225:
            raise BrokenData("the header of its compression is not understood")
        number, position = divmod(head[4], 9)
        fifths, literal = divmod(number, 5)
        (size,) = struct.unpack("<I", head[5:9])
        return raw_lzma(
            [{"id": lzma.FILTER_LZMA1, "dict_size": max(size, 4096), "lc": position, "lp": literal, "pb": fifths}]
        ), 9
    codec = CODECS.get(_METHODS.get(entry.method, ""))
    if codec is None or not codec.installed:
        raise BrokenData(f"method {entry.method}")
    return (replace(codec, follow=(), padded=False), 0)


def _check_stored(archive: _Archive, entry: Entry, part: Part, findings: list[Finding]) -> None:
    if not entry.crc and part.size:
        archive.no_crc += 1
    elif part.size <= archive.checked and archive.unchecked >= part.size:
        archive.unchecked -= part.size
        if zlib.crc32(part.read_at(0, part.size)) != entry.crc:
            _tell_crc(archive, entry, findings)


def _tell_crc(archive: _Archive, entry: Entry, findings: list[Finding]) -> None:
    if not entry.crc:
        archive.no_crc += 1
    else:
        message = f"{entries.shown(entry.name)}: its checksum is not that of its data"
        findings.append(found(CRC, archive.source.name, entry.at, message))


def _sums(archive: _Archive, lists: list[list[_Row]]) -> Iterator[Finding]:
    """What is wrong with the archive as a whole."""
    name, source = archive.source.name, archive.source
    if archive.no_crc:
        yield found(NO_CRC, name, 0, f"{archive.no_crc} members have no checksum")
    sizes = [(key[1], one.size) for key, one in archive.opened.items() if one is not None]
    sizes.append((source.size, sum(size for _, size in sizes)))
    bombs = [pair for pair in sizes if is_bomb(*pair)]
    if bombs:
        packed, size = max(bombs, key=lambda pair: pair[1])
        yield found(entries.BOMB, name, 0, f"{packed} bytes become {size}")
    if not any(lists):
        yield found(entries.EMPTY, name, 0, "it has no members")


def _bundles(name: str, lists: list[list[_Row]]) -> Iterator[Bundle | Member | Finding]:
    """The members, once for each way to choose among those of one name, and among the names of one."""
    hidden = lists[-1]
    seen: set[frozenset[tuple[str, int]]] = set()
    shown: set[int] = set()
    for rows in lists[:-1] or [hidden]:
        for files in _choices(rows, hidden):
            key = frozenset((path, id(source)) for path, source in files.items())
            if files and key not in seen:
                seen.add(key)
                shown.update(id(source) for source in files.values())
                yield Bundle(name, files)
        yield from _twice(name, rows)
    for row in (row for rows in lists for row in rows):
        if row.opened is not None and id(row.opened) not in shown and not _is_folder(row):
            shown.add(id(row.opened))
            yield Member(row.opened, row.local.local)


def _choices(rows: list[_Row], hidden: list[_Row]) -> Iterator[dict[str, RandomAccess]]:
    for which in range(3):
        yield _chosen(rows, which, last=False)
        yield _chosen([*rows, *hidden], which, last=True)


def _chosen(rows: list[_Row], which: int, *, last: bool) -> dict[str, RandomAccess]:
    files: dict[str, RandomAccess] = {}
    for row in rows:
        path = row.names[min(which, len(row.names) - 1)]
        if row.opened is not None and not _is_folder(row) and (last or path not in files):
            files[path] = row.opened
    return files


def _is_folder(row: _Row) -> bool:
    return row.entry.name.endswith("/") and not row.entry.packed


def _twice(name: str, rows: list[_Row]) -> Iterator[Finding]:
    seen: set[str] = set()
    for row in rows:
        if row.entry.name in seen and not _is_folder(row):
            yield found(entries.TWICE, name, row.entry.at, f"{entries.shown(row.entry.name)} stands twice")
        seen.add(row.entry.name)


READER = ZipReader
