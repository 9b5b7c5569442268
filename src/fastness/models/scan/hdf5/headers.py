"""Superblocks and object headers of HDF5: where a file begins, and the messages that each object is made of.

Checksums are not verified: a loader that does refuses the file, and one that does not reads what is read here.

Source: The HDF Group, "HDF5 File Format Specification Version 3.0", II and IV.A.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fastness.models.scan.hdf5.image import SIZES, Image, NotHdf5, Piece

SIGNATURE = b"\x89HDF\r\n\x1a\n"
CONTINUATION = 0x10
SHARED = 2
MAX_BLOCKS = 4096


@dataclass(frozen=True, slots=True)
class Superblock:
    """Where a file begins.

    Attributes:
        end: offset behind the last byte, counted from the front of the file.
        root: address of the object header of the root group.
        extension: address of another object header, of the file itself.
        driver: whether the file says that its bytes stand in other files too.
    """

    version: int
    end: int
    root: int
    extension: int | None
    driver: bool


@dataclass(frozen=True, slots=True)
class Message:
    """One message of an object header; `shared` where its body names another place."""

    kind: int
    shared: bool
    body: Piece


def superblock(image: Image) -> Superblock:
    """The superblock; from now on the image knows its widths.

    Raises:
        NotHdf5: it is no superblock of a known version.
    """
    head = image.piece(0, 9, claim=False)
    version = head.data[8] if head.data[:8] == SIGNATURE else -1
    if version not in {0, 1, 2, 3}:
        raise NotHdf5(head.at, f"version {version} of the superblock")
    widths = image.piece(13 if version < 2 else 9, 2, claim=False).data
    if not SIZES.issuperset(widths):
        raise NotHdf5(head.at, "the widths of addresses or lengths are not known ones")
    image.offsets, image.lengths = widths
    return _old(image, version) if version < 2 else _new(image, version)


def _old(image: Image, version: int) -> Superblock:
    fixed = 24 + 4 * version
    piece = image.piece(0, fixed + 6 * image.offsets + 24)
    piece.take(fixed)
    base, _free, end, driver = piece.address(), piece.address(), piece.address(), piece.address()
    piece.address()
    root = piece.address()
    return _checked(
        image, piece, Superblock(version, end or 0, -1 if root is None else root, None, driver is not None), base
    )


def _new(image: Image, version: int) -> Superblock:
    piece = image.piece(0, 16 + 4 * image.offsets)
    piece.take(12)
    base, extension, end, root = piece.address(), piece.address(), piece.address(), piece.address()
    return _checked(image, piece, Superblock(version, end or 0, -1 if root is None else root, extension, False), base)


def _checked(image: Image, piece: Piece, block: Superblock, base: int | None) -> Superblock:
    if base not in {0, image.base}:
        raise NotHdf5(piece.at, "the base address is not where the superblock stands")
    if base == 0 and image.base:
        image.base = 0
        image.claim(piece.at, len(piece.data))
    if block.root < 0:
        raise NotHdf5(piece.at, "no root group")
    return block


def messages(image: Image, address: int) -> Iterator[Message]:
    """The messages of one object header, those of its continuations included.

    Raises:
        NotHdf5: it is no object header.
        TooLarge: the budget is spent.
    """
    head = image.piece(address, 16, claim=False)
    if head.data[:4] == b"OHDR":
        yield from _second(image, address, head)
    elif head.data[0] == 1:
        yield from _first(image, address, head)
    else:
        raise NotHdf5(head.at, "no object header")


def _first(image: Image, address: int, head: Piece) -> Iterator[Message]:
    head.take(2)
    count, _references, size = head.number(2), head.number(4), head.number(4)
    image.claim(address, 16)
    blocks, done = [(address + 16, size)], 0
    for start, length in blocks:
        block = image.piece(start, length, claim=False)
        while block.left >= 8 and done < count:
            at = block.position - image.base
            kind, size, flags, _ = block.number(2), block.number(2), block.number(1), block.take(3)
            body = block.part(size)
            done += 1
            yield from _message(image, (kind, flags), body, (at, 8), blocks)
        _bounded(block, blocks)


def _second(image: Image, address: int, head: Piece) -> Iterator[Message]:
    head.take(4)
    version, flags = head.number(1), head.number(1)
    if version != 2:
        raise NotHdf5(head.at, f"version {version} of an object header")
    prefix = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    size = image.piece(address + prefix, width).number(width)
    image.claim(address, prefix)
    image.claim(address + prefix + width + size, 4)
    extra = 2 if flags & 4 else 0
    blocks, first = [(address + prefix + width, size)], True
    for start, length in blocks:
        block = image.piece(start, length, claim=False)
        if not first:
            if length < 8 or block.take(4) != b"OCHK":
                raise NotHdf5(block.at, "no continuation of an object header")
            image.claim(start, 4)
            image.claim(start + length - 4, 4)
        end, first = 0 if first else 4, False
        while block.left - end >= 4 + extra:
            at = block.position - image.base
            kind, size, message_flags, _ = block.number(1), block.number(2), block.number(1), block.take(extra)
            body = block.part(size)
            yield from _message(image, (kind, message_flags), body, (at, 4 + extra), blocks)
        _bounded(block, blocks)


def _message(
    image: Image, what: tuple[int, int], body: Piece, where: tuple[int, int], blocks: list[tuple[int, int]]
) -> Iterator[Message]:
    kind, flags = what
    at, prefix = where
    image.budget.spend("fields")
    image.claim(at, prefix)
    if kind == 0:
        return  # unused room, which is left to the gaps
    image.claim(at + prefix, len(body.data))
    if kind == CONTINUATION and not flags & SHARED:
        start, length = body.address(), body.length()
        if start is None:
            raise NotHdf5(body.at, "a continuation without an address")
        blocks.append((start, length))
    else:
        yield Message(kind, bool(flags & SHARED), body)


def _bounded(block: Piece, blocks: list[tuple[int, int]]) -> None:
    if len(blocks) > MAX_BLOCKS or len(set(blocks)) < len(blocks):
        raise NotHdf5(block.at, "an object header that continues without end")
