"""Datatypes and dataspaces of HDF5, as far as they tell what bytes are: numbers, texts, references to elsewhere.

Source: The HDF Group, "HDF5 File Format Specification Version 3.0", IV.A.2.b and d.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastness.models.scan.hdf5.image import NotHdf5, Piece

MAX_DEPTH = 16
MAX_MEMBERS = 4096
INTEGER, FLOAT, TIME, STRING, BITS, OPAQUE, COMPOUND, REFERENCE, ENUM, VARYING, ARRAY, COMPLEX = range(12)
_FIXED = {INTEGER: 4, FLOAT: 12, TIME: 2, STRING: 0, BITS: 4, REFERENCE: 0}


@dataclass(frozen=True, slots=True)
class Datatype:
    """What one element is.

    Attributes:
        kind: its class.
        size: bytes of one element.
        varying: where in the element values of varying length are named.
        text: whether it is, or names, a text.
        tag: of an opaque type.
    """

    kind: int
    size: int
    varying: tuple[int, ...] = ()
    text: bool = False
    tag: bytes = b""

    @property
    def loose(self) -> bool:
        """Whether its bytes can be anything, as those of texts, opaque types and single bytes can."""
        return self.kind in {STRING, OPAQUE} or bool(self.varying) or (self.kind in {INTEGER, BITS} and self.size == 1)


def datatype(piece: Piece, depth: int = 0) -> Datatype:
    """The datatype that stands next.

    Raises:
        NotHdf5: it is none that is known.
    """
    at = piece.position
    first, bits, size = piece.number(1), piece.number(3), piece.number(4)
    kind, version = first & 15, first >> 4
    if depth > MAX_DEPTH or version not in {1, 2, 3, 4, 5} or kind > COMPLEX:
        raise NotHdf5(at, f"type {kind} of version {version}")
    if kind in _FIXED:
        piece.take(_FIXED[kind])
        return Datatype(kind, size, text=kind == STRING)
    if kind == OPAQUE:
        return Datatype(kind, size, tag=piece.take(bits & 0xFF).rstrip(b"\0"))
    if kind == VARYING:
        datatype(piece, depth + 1)
        return Datatype(kind, size, (0,), text=bits & 15 == 1)
    if kind == COMPOUND:
        return Datatype(kind, size, _members(piece, version, bits & 0xFFFF, size, depth))
    if kind == ARRAY:
        return _array(piece, version, size, depth)
    inner = datatype(piece, depth + 1)
    if kind == ENUM:
        for _ in range(bits & 0xFFFF):
            _padded_name(piece, version)
        piece.take((bits & 0xFFFF) * inner.size)
    return Datatype(kind, size)


def _members(piece: Piece, version: int, count: int, size: int, depth: int) -> tuple[int, ...]:
    varying: list[int] = []
    for _ in range(count):
        _padded_name(piece, version)
        offset = piece.number(4 if version < 3 else max(1, (size.bit_length() + 7) // 8))
        if version == 1:
            piece.take(28)
        inner = datatype(piece, depth + 1)
        varying += [offset + at for at in inner.varying]
        if len(varying) > MAX_MEMBERS:
            raise NotHdf5(piece.position, "a type of too many members")
    return tuple(varying)


def _array(piece: Piece, version: int, size: int, depth: int) -> Datatype:
    rank = piece.number(1)
    if version < 3:
        piece.take(3)
    count = math.prod(piece.number(4) for _ in range(rank))
    if version < 3:
        piece.take(4 * rank)
    inner = datatype(piece, depth + 1)
    if inner.varying and count * len(inner.varying) > MAX_MEMBERS:
        raise NotHdf5(piece.position, "a type of too many members")
    varying = tuple(n * inner.size + at for n in range(count) for at in inner.varying) if inner.varying else ()
    return Datatype(ARRAY, size, varying)


def _padded_name(piece: Piece, version: int) -> None:
    length = len(piece.name()) + 1
    if version < 3:
        piece.take(-length % 8)


def dataspace(piece: Piece) -> int:
    """How many elements there are.

    Raises:
        NotHdf5: it is no dataspace.
    """
    at = piece.position
    version, rank, flags, kind = piece.number(1), piece.number(1), piece.number(1), piece.number(1)
    if version not in {1, 2} or rank > 32:
        raise NotHdf5(at, f"version {version} of a dataspace")
    if version == 1:
        piece.take(4)
    if version == 2 and kind == 2:
        return 0
    dims = [piece.length() for _ in range(rank)]
    if flags & 1:
        piece.take(rank * piece.lengths)
    return math.prod(dims)
