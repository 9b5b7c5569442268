"""Pictures of which every byte has its place: BMP, icons and TIFF, held against their own tables.

Source: Microsoft, "Bitmap Storage" and "Icons"; TIFF revision 6.0. BigTIFF is not read. Cost: the tables.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget

_BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})
_PNG = b"\x89PNG\r\n\x1a\n"
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_PLACES = {273: 279, 324: 325, 513: 514, 288: 289}
"""Tags that say where data stand, and those that say how much."""
_CHILDREN = frozenset({330, 34665, 34853, 40965})
_LONGEST_GAP = 1 << 12
_HEADER = re.compile(rb"\0{0,15}(?:II\*\0|MM\0\*)[\0-\x20]{4}\0{0,15}")
"""What some libraries leave between pictures that they write one after the other."""
_MOST_IFDS, _MOST_VALUES = 1000, 1 << 20


class NoPicture(Exception):
    """The tables do not say where every byte belongs."""


def bmp_end(source: RandomAccess) -> int:
    """Where a bitmap ends.

    Raises:
        NoPicture: the header is none, or the pixels do not fit it.
    """
    head = source.read_at(0, min(54, source.size))
    if len(head) < 26:
        raise NoPicture("the header is cut off")
    start, kind = struct.unpack_from("<II", head, 10)
    if (
        kind not in _BMP_HEADERS
        or not 14 + kind <= start <= 14 + kind + 16 + 4 * 256
        or (kind != 12 and len(head) < 54)
    ):
        raise NoPicture("no header of a bitmap")
    if kind == 12:
        width, height, planes, bits = struct.unpack_from("<HHHH", head, 18)
        packed, told = 0, 0
    else:
        width, height, planes, bits, packed, told = struct.unpack_from("<iiHHII", head, 18)
    if planes != 1 or bits not in {1, 2, 4, 8, 16, 24, 32} or width <= 0 or not height:
        raise NoPicture("no header of a bitmap")
    plain = (width * bits + 31) // 32 * 4 * abs(height)
    return int(start + (plain if packed in {0, 3, 6} else told))


def icon_end(source: RandomAccess) -> int:
    """Where an icon ends; its pictures follow its table, and each other.

    Raises:
        NoPicture: they leave gaps, overlap, or are no pictures.
    """
    count = int.from_bytes(source.read_at(4, 2), "little") if source.size >= 6 else 0
    end = 6 + 16 * count
    if not 1 <= count <= 256 or end > source.size:
        raise NoPicture("no table of pictures")
    table = source.read_at(6, 16 * count)
    for at, size in sorted(struct.unpack_from("<II", table, 16 * one + 8)[::-1] for one in range(count)):
        head = source.read_at(at, 8) if size >= 40 and at + size <= source.size else b""
        if at != end or (head != _PNG and head[:4] != b"\x28\0\0\0"):
            raise NoPicture(f"no picture at {at}, where the one before ends at {end}")
        end = at + size
    return end


def tiff_gap(source: RandomAccess, budget: Budget) -> int:
    """Where something stands in a TIFF file that no table names; its end where there is nothing.

    Raises:
        NoPicture: a table leaves the file, or they lead back.
        TooLarge: the tables have more entries than the budget allows.
    """
    end = 8
    for start, stop in sorted(_Tiff(source, budget).parts()):
        if stop > source.size:
            raise NoPicture("a part leaves the file")
        gap = source.read_at(end, min(start - end, _LONGEST_GAP)) if start > end else b""
        if start - end > _LONGEST_GAP or (gap.strip(b"\0") and not _HEADER.fullmatch(gap)):
            return end
        end = max(end, stop)
    return end


class _Tiff:
    """The tables of one file."""

    def __init__(self, source: RandomAccess, budget: Budget) -> None:
        self.source, self.budget = source, budget
        self.order = "<" if source.read_at(0, 2) == b"II" else ">"

    def numbers(self, form: str, at: int) -> tuple[int, ...]:
        """What stands somewhere."""
        size = struct.calcsize(self.order + form)
        if at < 0 or at + size > self.source.size:
            raise NoPicture("a part leaves the file")
        return struct.unpack(self.order + form, self.source.read_at(at, size))

    def parts(self) -> Iterator[tuple[int, int]]:
        """Everything that a table names, and the tables."""
        waiting, seen = [*self.numbers("I", 4)], set[int]()
        while waiting:
            at = waiting.pop()
            if not at or at in seen:
                continue
            seen.add(at)
            if len(seen) > _MOST_IFDS:
                raise NoPicture("more tables than any picture has")
            count = self.numbers("H", at)[0]
            yield at, at + 2 + 12 * count + 4
            values: dict[int, tuple[int, ...]] = {}
            for number in range(count):
                self.budget.spend("fields")
                yield from self._entry(at + 2 + 12 * number, values)
            for where, size in _PLACES.items():
                yield from (
                    (one, one + two) for one, two in zip(values.get(where, ()), values.get(size, ()), strict=False)
                )
            waiting += [one for tag in _CHILDREN for one in values.get(tag, ())]
            waiting += self.numbers("I", at + 2 + 12 * count)

    def _entry(self, at: int, values: dict[int, tuple[int, ...]]) -> Iterator[tuple[int, int]]:
        tag, kind, count = self.numbers("HHI", at)
        width = _WIDTHS.get(kind, 1)
        place = at + 8
        if width * count > 4:
            place = self.numbers("I", at + 8)[0]
            yield place, place + width * count
        if tag in {*_PLACES, *_PLACES.values(), *_CHILDREN}:
            if count > _MOST_VALUES or kind not in {3, 4, 13}:
                raise NoPicture("a list of places that is none")
            values[tag] = self.numbers(f"{count}{'H' if kind == 3 else 'I'}", place)
