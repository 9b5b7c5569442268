"""The values of HDF5 objects: what they pass through, the texts among them, and the files that hold them instead.

Source: The HDF Group, "HDF5 File Format Specification Version 3.0", IV.A.2.h, i and l.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from fastness.models.scan.hdf5.data import COMPACT, VIRTUAL, Extent, Layout, extents, layout
from fastness.models.scan.hdf5.image import Image, NotHdf5, Piece
from fastness.models.scan.hdf5.trees import GlobalHeaps
from fastness.models.scan.hdf5.types import Datatype, dataspace, datatype

SPACE, TYPE, EXTERNAL, LAYOUT, FILTERS = 1, 3, 7, 8, 0xB
"""The messages that make an object a dataset."""
VALUE_LIMIT = 16 << 20
WINDOW = 1 << 20
_LONGEST_NAME = 4096


@dataclass(frozen=True, slots=True)
class Attribute:
    """A named value of an object.

    Attributes:
        value: its bytes; of a type of varying length those of one element.
    """

    path: str
    name: str
    type: Datatype
    value: bytes
    place: int


class Visitor(Protocol):
    """What is told while the objects are walked; `place` is an offset in the file."""

    def attribute(self, one: Attribute) -> None:
        """A named value, or one element of it."""
        ...

    def elsewhere(self, location: str, place: int) -> None:
        """Another file that reading this one opens."""
        ...

    def filter(self, number: int, name: str, place: int) -> None:
        """A filter that values pass through."""
        ...

    def odd(self, what: str, place: int) -> None:
        """Something that the format allows to others, and this reader does not follow."""
        ...

    def text(self, value: bytes, place: int) -> None:
        """A value of varying length."""
        ...

    def packed(self, place: int, length: int, filters: tuple[int, ...]) -> None:
        """A chunk of values that can be anything, behind filters."""
        ...


class Datasets:
    """Reads the values of one file."""

    def __init__(self, image: Image, visitor: Visitor) -> None:
        self._image = image
        self._visitor = visitor
        self._heaps = GlobalHeaps(image)

    def varying(self, kind: Datatype, data: bytes) -> Iterator[bytes]:
        """The values that the elements of `data` name, each once: many elements may share one.

        Raises:
            NotHdf5: there is no such value.
            TooLarge: the budget is spent.
        """
        places = (start + inner for start in range(0, len(data), max(1, kind.size)) for inner in kind.varying)
        for place in places:
            entry = Piece(data[place : place + 8 + self._image.offsets], 0, self._image.offsets, self._image.offsets)
            if entry.left < 8 + self._image.offsets:
                return
            count, address, index = entry.number(4), entry.address(), entry.number(4)
            value = self._heaps.value(address, index, VALUE_LIMIT) if count and address else None
            if value is not None:
                yield value

    def _filters(self, body: Piece) -> tuple[int, ...]:
        version, count = body.number(1), body.number(1)
        body.take(6 if version == 1 else 0)
        numbers = []
        for _ in range(count):
            at = body.position
            number = body.number(2)
            length = body.number(2) if version == 1 or number >= 256 else 0
            _flags, values = body.number(2), body.number(2)
            name = body.take(length + (-length % 8 if version == 1 else 0))
            body.take(4 * values + (4 if version == 1 and values % 2 else 0))
            self._visitor.filter(number, _text(name.split(b"\0")[0]), at)
            numbers.append(number)
        return tuple(numbers)

    def external(self, body: Piece) -> None:
        """Values that stand in other files.

        Raises:
            NotHdf5: the list of files is broken.
        """
        body.take(6)
        used, heap = body.number(2), body.address()
        if heap is None:
            raise NotHdf5(body.at, "values in files that are not named")
        head = self._image.piece(heap, 8 + 2 * body.lengths + body.offsets)
        head.take(8)
        size, _, start = head.length(), head.length(), head.address()
        names = self._image.piece(-1 if start is None else start, size).data
        for _ in range(used):
            at = body.position
            self._image.budget.spend("fields")
            offset, _, _ = body.length(), body.length(), body.length()
            self._visitor.elsewhere(_text(names[offset : offset + _LONGEST_NAME].split(b"\0")[0]), at)

    def dataset(self, kept: Mapping[int, Piece]) -> None:
        """The values of a dataset, by the messages of its object.

        Raises:
            NotHdf5: a structure is broken.
            TooLarge: the budget is spent.
        """
        shape = layout(kept[LAYOUT])
        if TYPE not in kept or SPACE not in kept:
            raise NotHdf5(shape.place, "a dataset without a type or a shape")
        kind, count = datatype(kept[TYPE]), dataspace(kept[SPACE])
        filters = self._filters(kept[FILTERS]) if FILTERS in kept else ()
        if shape.kind == VIRTUAL:
            self._virtual(shape)
        elif shape.kind == COMPACT and shape.inline is not None:
            self._texts(kind, shape.inline)
        elif EXTERNAL not in kept:
            for extent in extents(self._image, shape, count * kind.size):
                self._image.budget.spend("fields")
                self._image.claim(extent.address, extent.length)
                self._values(kind, extent, filters)

    def _values(self, kind: Datatype, extent: Extent, filters: tuple[int, ...]) -> None:
        place = self._image.base + extent.address
        if filters and kind.varying:
            self._visitor.odd("values of varying length behind a filter", place)
        elif filters and kind.loose:
            self._visitor.packed(place, extent.length, filters)
        elif kind.varying:
            step = max(1, WINDOW // max(1, kind.size)) * kind.size or extent.length or 1
            for start in range(0, extent.length, step):
                length = min(step, extent.length - start)
                self._texts(kind, self._image.piece(extent.address + start, length, claim=False))

    def _texts(self, kind: Datatype, data: Piece) -> None:
        for value in self.varying(kind, data.data) if kind.varying else ():
            self._visitor.text(value, data.at)

    def _virtual(self, shape: Layout) -> None:
        """The values stand in datasets of other files, the first of which is told."""
        if shape.address is None:
            return
        value = self._heaps.value(shape.address, shape.size, VALUE_LIMIT) or b""
        name = value[1 + self._image.lengths :].split(b"\0")[0]
        self._visitor.elsewhere(_text(name) or ".", shape.place)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
