"""The records of zip archives, as they stand: ends, directories, local headers and descriptors. Nothing is reconciled here.

Source: PKWARE APPNOTE.TXT 6.3.10; Info-ZIP's extra fields.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.cursor import Cursor, Truncated
from fastness.models.scan.facts import TAIL

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
END64, LOCATOR, DESCRIPTOR = b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08"
DESCRIBED = 0x08
"""The flag that sizes stand in a descriptor behind the data."""
_UTF8 = 0x800
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ENDS = 16
_SPANS = "the archive says it spans several disks"
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_ZIP64, _UNICODE_PATH, _AES = 0x0001, 0x7075, 0x9901


@dataclass(frozen=True, slots=True)
class End:
    """Where an archive ends, by one reading of the end's records.

    Attributes:
        at: offset of the first record of the end.
        stop: offset behind the comment.
        comment: offset of it.
        start: of the directory.
        size: of the directory, as it is stated.
        count: of its entries, as it is stated.
        base: what must be added to the offsets in the directory.
        odd: what is unusual about it, or empty.
    """

    at: int
    stop: int
    comment: int
    start: int
    size: int
    count: int
    base: int
    odd: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, as a directory or a local header tells it.

    Attributes:
        at: offset of the record.
        length: of the record.
        raw: the name's bytes.
        name: decoded.
        alias: another name that some programs prefer, or empty.
        version: that programs need at least.
        packed: bytes that the data takes.
        size: bytes that it becomes.
        local: offset of the local header; of a local header, of the data.
        mode: Unix mode, 0 where there is none.
        odd: what is unusual about it, or empty.
    """

    at: int
    length: int
    raw: bytes
    name: str
    alias: str
    version: int
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    local: int
    mode: int = 0
    odd: str = ""


def ends(source: RandomAccess) -> list[End]:
    """Every plausible reading of the end, the last one in the file first.

    Programs take the last record there is, or one whose comment reaches to the end of the file; others are those of
    archives that stand within this one.
    """
    start = max(0, source.size - TAIL)
    tail = source.read_at(start, TAIL)
    readings: list[End] = []
    at = tail.rfind(END)
    while at >= 0 and len(readings) < _ENDS:
        record = tail[at : at + _END.size]
        fits = len(record) == _END.size and start + at + len(record) + _END.unpack(record)[-1] == source.size
        if fits or not readings:
            readings += _readings(source, start + at, record)
        at = tail.rfind(END, 0, at)
    return readings


def plausible(tail: bytes) -> bool:
    """Whether the last bytes of a file may hold the end of an archive."""
    at = tail.rfind(END)
    while at >= 0:
        if len(tail) - at >= _END.size:
            _, disk, first, here, count, size, _, comment = _END.unpack_from(tail, at)
            single = (disk == first and here == count) or disk == _FULL16
            listed = 0 < size <= at and tail[at - size : at - size + 4] == CENTRAL
            if (listed or (single and (count or size))) and at + _END.size + comment <= len(tail):
                return True
        at = tail.rfind(END, 0, at)
    return False


def _readings(source: RandomAccess, at: int, record: bytes) -> Iterator[End]:
    if len(record) < _END.size:
        return
    _, disk, first, here, count, size, offset, comment = _END.unpack(record)
    behind = at + _END.size
    odd = _SPANS if (disk, here) != (first, count) or disk not in {0, _FULL16} else ""
    if behind + comment > source.size:
        odd, comment = odd or "the comment is longer than the file", source.size - behind
    stop = behind + comment
    wide = _wide(source, at)
    clash = False
    if wide is not None:
        clash = _clash((count, size, offset), wide)
        odd64 = wide.odd or ("its two ends disagree" if clash else odd)
        yield from _placed(source, replace(wide, stop=stop, comment=behind, odd=odd64))
    if wide is None or clash:
        yield from _placed(source, End(at, stop, behind, offset, size, count, 0, odd))


def _clash(narrow: tuple[int, int, int], wide: End) -> bool:
    """Whether the two forms of the end lead elsewhere, by values that are not there to be replaced."""
    saturated = narrow[0] == _FULL16 or _FULL32 in narrow[1:]
    return not saturated and narrow != (wide.count, wide.size, wide.start)


def _wide(source: RandomAccess, at: int) -> End | None:
    """The record of the 64-bit form that belongs to the end at `at`."""
    locator = source.read_at(at - 20, 20) if at >= 20 else b""
    if locator[:4] != LOCATOR:
        return None
    disk, offset, disks = struct.unpack("<IQI", locator[4:])
    for place in (offset, at - 76):
        record = source.read_at(place, _END64.size) if 0 <= place < source.size else b""
        if record[:4] == END64 and len(record) == _END64.size:
            _, length, _, _, this, first, here, count, size, start = _END64.unpack(record)
            odd = _SPANS if (disk, this, first, here) != (0, 0, 0, count) or disks > 1 else ""
            if place + 12 + length != at - 20:
                odd = odd or "bytes stand between its two ends"
            return End(place, at, at, start, size, count, 0, odd)
    return None


def _placed(source: RandomAccess, end: End) -> Iterator[End]:
    """The end with its directory where it is said to be, and where it must be if bytes were put before the archive."""
    shift = end.at - end.start - end.size
    for base in dict.fromkeys((0, shift)):
        start = end.start + base
        if not 0 <= start <= end.at:
            continue
        head = source.read_at(start, 4)
        if head == CENTRAL or (not end.count and not end.size and start == end.at):
            yield End(end.at, end.stop, end.comment, start, end.size, end.count, base, end.odd)


def directory(source: RandomAccess, end: End, budget: Budget) -> Iterator[Entry]:
    """The entries of a directory, up to the first record that is none.

    Raises:
        TooLarge: there are more than the budget has members.
    """
    cursor = Cursor(source, end.start, end.at)
    count = 0
    while cursor.peek(4) == CENTRAL:
        count += 1
        budget.require("members", count)
        try:
            yield _central(cursor, end.base)
        except Truncated:
            return


def _central(cursor: Cursor, base: int) -> Entry:
    at = cursor.position
    fields = _CENTRAL.unpack(cursor.take(_CENTRAL.size))
    _, made, version, flags, method, _, _, crc, packed, size, name, extra, comment, disk, _, attributes, local = fields
    raw, rest = cursor.take(name), cursor.take(extra)
    cursor.skip(comment)
    (size, packed, local), alias, odd = _extra(rest, raw, (size, packed, local))
    if disk not in {0, _FULL16}:
        odd = odd or "it stands on another disk"
    if method == _AES or _has(rest, _AES):
        flags |= 1
    mode = attributes >> 16 if made >> 8 in {3, 19} or attributes >> 16 else 0
    decoded = _decoded(raw, flags)
    return Entry(
        at, cursor.position - at, raw, decoded, alias, version & 0xFF, flags, method, crc, packed, size, local + base, mode, odd
    )  # fmt: skip


def local_header(source: RandomAccess, at: int) -> Entry | None:
    """The local header at an offset; None where there is none."""
    head = source.read_at(at, 512) if 0 <= at < source.size else b""
    if len(head) < _LOCAL.size or head[:4] != LOCAL:
        return None
    _, version, flags, method, _, _, crc, packed, size, name, extra = _LOCAL.unpack_from(head)
    length = _LOCAL.size + name + extra
    if length > len(head):
        head = source.read_at(at, length)
    if length > len(head):
        return None
    raw, rest = head[_LOCAL.size : _LOCAL.size + name], head[_LOCAL.size + name : length]
    (size, packed), alias, odd = _extra(rest, raw, (size, packed))
    return Entry(
        at, length, raw, _decoded(raw, flags), alias, version & 0xFF, flags, method, crc, packed, size, at + length, 0, odd
    )  # fmt: skip


def descriptor(source: RandomAccess, at: int, entry: Entry) -> int:
    """The length of the descriptor behind the data of an entry; 0 where none fits."""
    data = source.read_at(at, 24)
    for form, start in (("<IQQ", 4), ("<III", 4), ("<IQQ", 0), ("<III", 0)):
        stop = start + struct.calcsize(form)
        if len(data) < stop or (start and data[:4] != DESCRIPTOR):
            continue
        crc, packed, size = struct.unpack(form, data[start:stop])
        if (packed, size) == (entry.packed, entry.size) and crc in {entry.crc, 0}:
            return stop
    return 0


def _decoded(raw: bytes, flags: int) -> str:
    if flags & _UTF8:
        return raw.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError:
        return raw.decode("cp437")


def _fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        yield kind, extra[at + 4 : at + 4 + length]
        at += 4 + length


def _has(extra: bytes, wanted: int) -> bool:
    return any(kind == wanted for kind, _ in _fields(extra))


def _extra(extra: bytes, raw: bytes, values: tuple[int, ...]) -> tuple[list[int], str, str]:
    """The values with those of 64 bits in place of the ones that are full, another name, and what is unusual."""
    alias, odd = "", ""
    wide = list(values)
    seen: set[int] = set()
    for kind, data in _fields(extra):
        if kind in seen & {_ZIP64, _UNICODE_PATH}:
            odd = "an extra field stands twice"
        elif kind == _ZIP64:
            numbers = iter(struct.unpack(f"<{len(data) // 8}Q", data[: len(data) // 8 * 8]))
            wide = [next(numbers, _FULL32) if value == _FULL32 else value for value in wide]
        elif kind == _UNICODE_PATH and data[:1] == b"\x01" and data[5:] != raw:
            alias = data[5:].decode("utf-8", "replace")
        seen.add(kind)
    return wide, alias, odd
