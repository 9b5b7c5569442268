"""Where the values of HDF5 datasets stand: in the header, in one place, in chunks, or in other files.

Source: The HDF Group, "HDF5 File Format Specification Version 3.0", IV.A.2.i (layouts) and VII (indexes of chunks); the
shape of extensible arrays as in `H5EApkg.h`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from fastness.models.scan.hdf5.image import Image, NotHdf5, Piece
from fastness.models.scan.hdf5.trees import new_tree, old_tree

COMPACT, CONTIGUOUS, CHUNKED, VIRTUAL = range(4)
_SINGLE, _IMPLICIT, _FIXED, _EXTENSIBLE, _TREE = range(1, 6)


@dataclass(frozen=True, slots=True)
class Extent:
    """Some bytes of a dataset: their address and length."""

    address: int
    length: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a dataset's bytes are.

    Attributes:
        kind: its class.
        inline: the values themselves, where they stand in the header.
        address: of the values, or of the index of chunks; None where nothing is written yet.
        size: of the values, or of one chunk before it is compressed.
        index: how chunks are found: 0 for the old tree.
        rank: dimensions.
        place: offset of the message.
    """

    kind: int
    inline: Piece | None = None
    address: int | None = None
    size: int = 0
    index: int = 0
    rank: int = 0
    filtered: bool = False
    place: int = 0


def layout(piece: Piece) -> Layout:
    """The layout that a message describes; a size of -1 stands for all of the values.

    Raises:
        NotHdf5: it is not known.
    """
    at = piece.position
    version = piece.number(1)
    if version in {1, 2}:
        return _old_layout(piece, at)
    kind = piece.number(1)
    if version not in {3, 4, 5} or kind > VIRTUAL:
        raise NotHdf5(at, f"layout {kind} of version {version}")
    if kind == COMPACT:
        return Layout(kind, piece.part(piece.number(2)), place=at)
    if kind == CONTIGUOUS:
        return Layout(kind, None, piece.address(), piece.length(), place=at)
    if kind == VIRTUAL:
        return Layout(kind, None, piece.address(), piece.number(4), place=at)
    if version == 3:
        rank = piece.number(1)
        address = piece.address()
        return Layout(kind, None, address, math.prod(piece.number(4) for _ in range(rank)), 0, rank, place=at)
    return _new_chunks(piece, at)


def _old_layout(piece: Piece, at: int) -> Layout:
    rank, kind, _ = piece.number(1), piece.number(1), piece.take(5)
    address = piece.address() if kind in {CONTIGUOUS, CHUNKED} else None
    size = math.prod(piece.number(4) for _ in range(rank))
    if kind == COMPACT:
        return Layout(kind, piece.part(piece.number(4)), place=at)
    if kind not in {CONTIGUOUS, CHUNKED}:
        raise NotHdf5(at, f"layout {kind}")
    return Layout(kind, None, address, -1 if kind == CONTIGUOUS else size, 0, rank, place=at)


def _new_chunks(piece: Piece, at: int) -> Layout:
    flags, rank, width = piece.number(1), piece.number(1), piece.number(1)
    size = math.prod(piece.number(width) for _ in range(rank))
    index, filtered = piece.number(1), False
    if index == _SINGLE and flags & 2:
        size, filtered = piece.length(), True
        piece.take(4)
    elif index not in {_SINGLE, _IMPLICIT, _FIXED, _EXTENSIBLE, _TREE}:
        raise NotHdf5(at, f"an index of chunks of kind {index}")
    else:
        piece.take({_SINGLE: 0, _IMPLICIT: 0, _FIXED: 1, _EXTENSIBLE: 5, _TREE: 6}[index])
    return Layout(CHUNKED, None, piece.address(), size, index, rank, filtered, at)


def extents(image: Image, shape: Layout, total: int) -> Iterator[Extent]:
    """Where the values are, each place once; `total` is the length of all of them.

    Raises:
        NotHdf5: an index is broken.
        TooLarge: the budget is spent.
    """
    if shape.address is None or shape.kind in {COMPACT, VIRTUAL}:
        return
    if shape.kind == CONTIGUOUS:
        yield Extent(shape.address, total if shape.size < 0 else shape.size)
    elif shape.index == _SINGLE:
        yield Extent(shape.address, shape.size)
    elif shape.index == _IMPLICIT:
        yield Extent(shape.address, -(-total // max(1, shape.size)) * shape.size)
    elif shape.index == 0:
        for key, address in old_tree(image, shape.address, 1, 8 + 8 * shape.rank):
            yield Extent(address, int.from_bytes(key[:4], "little"))
    else:
        yield from _indexed(image, shape, shape.address)


def _indexed(image: Image, shape: Layout, address: int) -> Iterator[Extent]:
    beside = 8 * (shape.rank - 1) if shape.index == _TREE else 0
    if shape.index == _TREE:
        records = new_tree(image, address, frozenset({10, 11}))
    else:
        records = (_fixed_array if shape.index == _FIXED else _extensible_array)(image, address)
    for record in records:
        yield from _chunk(record, shape, len(record.data) - image.offsets - beside)


def _chunk(record: Piece, shape: Layout, extra: int) -> Iterator[Extent]:
    """The place of one chunk; `extra` bytes tell its compressed length and which filters were left out."""
    address = record.address()
    if address:  # zero, where the superblock stands, is what pages hold that were never written
        yield Extent(address, record.number(extra - 4) if extra > 4 else shape.size)


def _elements(image: Image, address: int, count: int, width: int) -> Iterator[Piece]:
    body = image.piece(address, count * width)
    image.budget.spend("fields", count)
    for _ in range(count):
        yield body.part(width)


def _fixed_array(image: Image, address: int) -> Iterator[Piece]:
    head = image.piece(address, 12 + image.lengths + image.offsets)
    if head.take(5) != b"FAHD\0":
        raise NotHdf5(head.at, "no array of chunks")
    _client, width, bits, count, block = head.number(1), head.number(1), head.number(1), head.length(), head.address()
    if block is None:
        return
    if bits > 32 or not width:
        raise NotHdf5(head.at, "an array of chunks of no shape")
    page = 1 << bits
    pages = -(-count // page) if count > page else 0
    start = block + 6 + image.offsets + -(-pages // 8)
    if image.piece(block, start - block).data[:5] != b"FADB\0":
        raise NotHdf5(image.base + block, "no block of an array of chunks")
    yield from _paged(image, start, count, width, page)


def _paged(image: Image, start: int, count: int, width: int, page: int) -> Iterator[Piece]:
    """The elements of a block, in pages with a checksum behind each where they are more than one page holds."""
    if count > page:
        image.claim(start, 4)
        start += 4
    for first in range(0, count, page):
        length = min(page, count - first)
        yield from _elements(image, start, length, width)
        start += length * width
        image.claim(start, 4)
        start += 4


@dataclass(frozen=True, slots=True)
class _Extensible:
    """The shape of an extensible array."""

    width: int
    bits: int
    direct: int
    smallest: int
    pointers: int
    page: int

    def count(self, block: int) -> tuple[int, int]:
        """How many data blocks a super block has, and how many elements each of them."""
        return 1 << block // 2, (1 << (block + 1) // 2) * self.smallest


def _extensible_array(image: Image, address: int) -> Iterator[Piece]:
    head = image.piece(address, 16 + 6 * image.lengths + image.offsets)
    if head.take(5) != b"EAHD\0":
        raise NotHdf5(head.at, "no growing array of chunks")
    head.take(1)
    width, bits, direct, smallest, pointers, page = head.take(6)
    head.take(6 * image.lengths)
    block = head.address()
    powers = all(number and not number & (number - 1) for number in (smallest, pointers))
    if not width or bits > 64 or page > 32 or not powers or pointers < 2:
        raise NotHdf5(head.at, "a growing array of chunks of no shape")
    if block is not None:
        yield from _index_block(image, _Extensible(width, bits, direct, smallest, pointers, 1 << page), block)


def _index_block(image: Image, shape: _Extensible, address: int) -> Iterator[Piece]:
    first = 2 * (shape.pointers.bit_length() - 1)
    supers = max(0, 1 + shape.bits - (shape.smallest.bit_length() - 1) - first)
    own = 2 * (shape.pointers - 1)
    body = image.piece(address, 10 + image.offsets + shape.direct * shape.width + (own + supers) * image.offsets)
    if body.take(5) != b"EAIB\0":
        raise NotHdf5(body.at, "no index of a growing array of chunks")
    body.take(1 + image.offsets)
    for _ in range(shape.direct):
        yield body.part(shape.width)
    sizes = [shape.count(number)[1] for number in range(first) for _ in range(shape.count(number)[0])]
    for count in sizes[:own]:
        yield from _data_block(image, shape, body.address(), count)
    for number in range(first, first + supers):
        yield from _super_block(image, shape, body.address(), number)


def _super_block(image: Image, shape: _Extensible, address: int | None, number: int) -> Iterator[Piece]:
    if address is None:
        return
    blocks, count = shape.count(number)
    pages = -(-count // shape.page) if count > shape.page else 0
    prefix = 6 + image.offsets + (shape.bits + 7) // 8 + blocks * -(-pages // 8)
    body = image.piece(address, prefix + blocks * image.offsets + 4)
    if body.take(prefix)[:5] != b"EASB\0":
        raise NotHdf5(body.at, "no block of blocks of a growing array")
    for _ in range(blocks):
        yield from _data_block(image, shape, body.address(), count)


def _data_block(image: Image, shape: _Extensible, address: int | None, count: int) -> Iterator[Piece]:
    if address is None:
        return
    prefix = 6 + image.offsets + (shape.bits + 7) // 8
    if image.piece(address, prefix).data[:5] != b"EADB\0":
        raise NotHdf5(image.base + address, "no block of a growing array")
    yield from _paged(image, address + prefix, count, shape.width, shape.page)
