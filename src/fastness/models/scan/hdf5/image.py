"""The bytes of an HDF5 file by address, and which of them are accounted for.

Only what is read or belongs to data is claimed; slack within structures, freed space and holes are what is left.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np

from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget

COMPACT_AT = 100_000
MOST_OVERLAPS = 16
SIZES = frozenset({2, 4, 8})


class NotHdf5(Exception):
    """The bytes at `at` are not what the format asks for."""

    def __init__(self, at: int, problem: str) -> None:
        super().__init__(problem)
        self.at = at


class Piece:
    """Numbers and names in order, out of a few bytes at a known place.

    Args:
        at: offset of `data` in the file.
        offsets, lengths: widths of addresses and of lengths.
    """

    __slots__ = ("_index", "at", "data", "lengths", "offsets")

    def __init__(self, data: bytes, at: int, offsets: int, lengths: int) -> None:
        self.data = data
        self.at = at
        self.offsets = offsets
        self.lengths = lengths
        self._index = 0

    @property
    def left(self) -> int:
        """How many bytes follow."""
        return len(self.data) - self._index

    @property
    def position(self) -> int:
        """Offset of the next byte in the file."""
        return self.at + self._index

    def take(self, count: int) -> bytes:
        """The next bytes.

        Raises:
            NotHdf5: there are fewer.
        """
        if count > self.left:
            raise NotHdf5(self.position, "a structure ends early")
        piece = self.data[self._index : self._index + count]
        self._index += count
        return piece

    def number(self, width: int) -> int:
        """The next little-endian number."""
        return int.from_bytes(self.take(width), "little")

    def address(self) -> int | None:
        """The next address; None where it is the one that stands for nothing."""
        raw = self.take(self.offsets)
        return None if raw.count(0xFF) == len(raw) else int.from_bytes(raw, "little")

    def length(self) -> int:
        """The next length."""
        return self.number(self.lengths)

    def part(self, count: int) -> Piece:
        """The next bytes as a piece of their own."""
        at = self.position
        return Piece(self.take(count), at, self.offsets, self.lengths)

    def name(self) -> bytes:
        """The bytes up to the next zero, which is passed over."""
        end = self.data.find(b"\0", self._index)
        if end < 0:
            raise NotHdf5(self.position, "a name without an end")
        return self.take(end + 1 - self._index)[:-1]


class Image:
    """One file.

    Args:
        base: where the superblock stands; addresses count from there.

    Attributes:
        offsets, lengths: widths of addresses and of lengths.
        overlaps: places that two structures claim.
    """

    def __init__(self, source: RandomAccess, base: int, budget: Budget) -> None:
        self.source = source
        self.base = base
        self.budget = budget
        self.offsets = 8
        self.lengths = 8
        self.overlaps: list[int] = []
        self._starts = array("Q")
        self._stops = array("Q")
        self._room = COMPACT_AT

    def piece(self, address: int, length: int, *, claim: bool = True) -> Piece:
        """Some bytes, claimed unless told otherwise.

        Raises:
            NotHdf5: they reach beyond the file.
            TooLarge: they are more than a header may have.
        """
        at = self.base + address
        if address < 0 or at + length > self.source.size:
            raise NotHdf5(min(at, self.source.size), f"{min(length, 1 << 64)} bytes reach beyond the file")
        self.budget.spend("fields")
        self.budget.require("header_bytes", length)
        if claim:
            self.claim(address, length)
        return Piece(self.source.read_at(at, length), at, self.offsets, self.lengths)

    def claim(self, address: int, length: int) -> None:
        """Account for bytes.

        Raises:
            NotHdf5: they reach beyond the file.
        """
        start = self.base + address
        if address < 0 or start + length > self.source.size:
            raise NotHdf5(min(start, self.source.size), f"{min(length, 1 << 64)} bytes of data reach beyond the file")
        if not length:
            return
        if self._stops and self._stops[-1] == start:
            self._stops[-1] = start + length
        else:
            self._starts.append(start)
            self._stops.append(start + length)
        if len(self._starts) > self._room:
            self._compact()
            self._room = max(COMPACT_AT, 2 * len(self._starts))
            self.budget.require("fields", 4 * self._room)  # memory: sixteen bytes for each

    def gaps(self, end: int) -> Iterator[tuple[int, int]]:
        """Start and end of each stretch from the superblock to `end` that nothing claims."""
        self._compact()
        reached = self.base
        for start, stop in zip(self._starts, self._stops, strict=True):
            if start > reached:
                yield reached, min(start, end)
            reached = max(reached, stop)
        if reached < end:
            yield reached, end

    def _compact(self) -> None:
        """Sort what is claimed and join what stands side by side."""
        if not self._starts:
            return
        starts, stops = np.array(self._starts, np.uint64), np.array(self._stops, np.uint64)
        order = np.argsort(starts, kind="stable")
        starts, reached = starts[order], np.maximum.accumulate(stops[order])
        over = np.flatnonzero(starts[1:] < reached[:-1]) + 1
        self.overlaps += starts[over[: MOST_OVERLAPS - len(self.overlaps)]].tolist()
        first = np.concatenate([[0], np.flatnonzero(starts[1:] > reached[:-1]) + 1])
        last = np.concatenate([first[1:] - 1, [len(starts) - 1]])
        self._starts, self._stops = array("Q", starts[first].tobytes()), array("Q", reached[last].tobytes())
