"""Fractal heaps of HDF5, which hold the links and attributes of objects that have many.

Source: The HDF Group, "HDF5 File Format Specification Version 3.0", III.G; the widths of lengths as in `H5HFhdr.c`.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastness.models.scan.hdf5.image import Image, NotHdf5, Piece
from fastness.models.scan.hdf5.trees import new_tree

_MANAGED, _HUGE, _TINY = 0, 1, 2
_HUGE_INDIRECT, _HUGE_FILTERED, _HUGE_DIRECT = 1, 2, 3
MAX_ROWS = 64


class FractalHeap:
    """One heap.

    Raises:
        NotHdf5: it is none, or holds its objects compressed.
        TooLarge: the budget is spent.
    """

    def __init__(self, image: Image, address: int) -> None:
        self._image = image
        o, n = image.offsets, image.lengths
        head = image.piece(address, 26 + 3 * o + 12 * n)
        if head.take(5) != b"FRHP\0":
            raise NotHdf5(head.at, "no heap")
        self.id_length, filters, self._flags, largest = head.number(2), head.number(2), head.number(1), head.number(4)
        if filters:
            raise NotHdf5(head.at, "a heap that is compressed")
        head.length()
        self._huge = head.address()
        head.length()
        space = head.address()
        head.take(8 * n)
        self._width, self._start, self._most = head.number(2), head.length(), head.length()
        bits, _rows, root, rows = head.number(2), head.number(2), head.address(), head.number(2)
        if (
            not self._width
            or not _power(self._start)
            or not _power(self._most)
            or self._most < self._start
            or bits > 64
        ):
            raise NotHdf5(head.at, "a heap of a shape that no library makes")
        self._offset_width = (bits + 7) // 8
        log = self._most.bit_length() - 1
        self._length_width = min((log + 7) // 8, (max(1, largest).bit_length() + 6) // 8)
        self._direct_rows = log - (self._start.bit_length() - 1) + 2
        self._blocks: list[tuple[int, int, int]] = []
        self._large: dict[int, tuple[int, int]] | None = None
        if space is not None:
            claim_free_space(image, space)
        if root is not None and rows:
            self._indirect(root, rows, 0, 0)
        elif root is not None:
            self._direct(root, self._start, 0)

    def value(self, identity: bytes) -> Piece:
        """The object of that id.

        Raises:
            NotHdf5: there is none.
        """
        kind = identity[0] >> 4 & 3
        if kind == _TINY:
            return Piece(identity[1 : 2 + (identity[0] & 15)], 0, self._image.offsets, self._image.lengths)
        if kind == _HUGE:
            return self._image.piece(*self._place(identity))
        if kind != _MANAGED or len(identity) < 1 + self._offset_width + self._length_width:
            raise NotHdf5(self._image.base, "an object of an unknown kind in a heap")
        offset = int.from_bytes(identity[1 : 1 + self._offset_width], "little")
        length = int.from_bytes(identity[1 + self._offset_width :][: self._length_width], "little")
        for start, size, address in self._blocks:
            if start <= offset and offset + length <= start + size:
                return self._image.piece(address + offset - start, length)
        raise NotHdf5(self._image.base, "an object outside of its heap")

    def _place(self, identity: bytes) -> tuple[int, int]:
        o, n = self._image.offsets, self._image.lengths
        if len(identity) >= 1 + o + n:
            return int.from_bytes(identity[1 : 1 + o], "little"), int.from_bytes(identity[1 + o : 1 + o + n], "little")
        if self._large is None:
            self._large = {}
            for record in new_tree(self._image, self._huge, frozenset({_HUGE_INDIRECT})):
                address, length, key = record.address(), record.length(), record.length()
                self._large[key] = (-1 if address is None else address, length)
        key = int.from_bytes(identity[1 : 1 + n], "little")
        if key not in self._large:
            raise NotHdf5(self._image.base, "a large object that its heap does not know")
        return self._large[key]

    def _indirect(self, address: int, rows: int, offset: int, depth: int) -> None:
        image = self._image
        if depth > 16 or rows > MAX_ROWS:
            raise NotHdf5(image.base + address, "a heap that is nested too deep")
        body = image.piece(address, 9 + image.offsets + self._offset_width + rows * self._width * image.offsets)
        if body.take(5) != b"FHIB\0":
            raise NotHdf5(body.at, "no block of blocks of a heap")
        body.take(image.offsets + self._offset_width)
        for row in range(rows):
            size = self._start << max(0, row - 1)
            for _ in range(self._width):
                child = body.address()
                if child is not None and row < self._direct_rows:
                    self._direct(child, size, offset)
                elif child is not None:
                    inner = (size.bit_length() - 1) - (self._start * self._width).bit_length() + 2
                    self._indirect(child, inner, offset, depth + 1)
                offset += size

    def _direct(self, address: int, size: int, offset: int) -> None:
        image = self._image
        prefix = 5 + image.offsets + self._offset_width + (4 if self._flags & 2 else 0)
        if image.piece(address, prefix).data[:5] != b"FHDB\0":
            raise NotHdf5(image.base + address, "no block of a heap")
        image.piece(address + size - 1, 1, claim=False)
        self._blocks.append((offset, size, address))


def claim_free_space(image: Image, address: int) -> None:
    """Account for a list of free places; the places themselves are gaps.

    Raises:
        NotHdf5: it is none.
    """
    head = image.piece(address, 18 + image.offsets + 7 * image.lengths)
    if head.take(5) != b"FSHD\0":
        raise NotHdf5(head.at, "no list of free places")
    head.take(1 + 4 * image.lengths + 8 + image.lengths)
    sections, used = head.address(), head.length()
    if sections is not None and used:
        image.claim(sections, used)


def records(image: Image, heap: int | None, tree: int | None, kinds: frozenset[int]) -> Iterator[Piece]:
    """The objects of a heap that the records of a tree name; the id stands behind a hash or first.

    Raises:
        NotHdf5: a structure is broken.
        TooLarge: the budget is spent.
    """
    if heap is None or tree is None:
        return
    place = FractalHeap(image, heap)
    for record in new_tree(image, tree, kinds):
        if 5 in kinds:
            record.take(4)
        yield place.value(record.take(place.id_length))


def _power(number: int) -> bool:
    return number > 0 and not number & (number - 1)
