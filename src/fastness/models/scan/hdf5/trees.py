"""Trees and heaps of HDF5: old groups, global heaps, and B-trees of both versions.

Source: The HDF Group, "HDF5 File Format Specification Version 3.0", III.A to III.E.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastness.models.scan.hdf5.image import Image, NotHdf5, Piece

MAX_LEVELS = 64
_REMEMBERED = 64


def old_tree(image: Image, address: int | None, kind: int, key: int) -> Iterator[tuple[bytes, int]]:
    """The key and the child of each leaf entry of a B-tree of version 1; `key` is the width of keys.

    Raises:
        NotHdf5: a node is none, or stands within itself.
        TooLarge: the budget is spent.
    """
    waiting, seen = [address] if address is not None else [], set()
    while waiting:
        at = waiting.pop()
        head = image.piece(at, 8 + 2 * image.offsets)
        level, used = head.data[5], int.from_bytes(head.data[6:8], "little")
        if head.data[:4] != b"TREE" or head.data[4] != kind or at in seen:
            raise NotHdf5(head.at, "no node of a tree")
        seen.add(at)
        body = image.piece(at + len(head.data), used * (key + image.offsets) + (key if used else 0))
        for _ in range(used):
            value, child = body.take(key), body.address()
            if child is None:
                raise NotHdf5(body.at, "an entry of a tree without an address")
            if level:
                waiting.append(child)
            else:
                yield value, child


def old_group(image: Image, tree: int | None, heap: int | None) -> Iterator[tuple[bytes, int, bytes]]:
    """The links of an old group: name, object header, and for soft links the path that they lead to.

    Raises:
        NotHdf5: a structure is broken.
        TooLarge: the budget is spent.
    """
    if tree is None or heap is None:
        return
    names = _LocalHeap(image, heap)
    for _, address in old_tree(image, tree, 0, image.lengths):
        head = image.piece(address, 8)
        if head.data[:4] != b"SNOD":
            raise NotHdf5(head.at, "no node of symbols")
        width = 2 * image.offsets + 24
        body = image.piece(address + 8, int.from_bytes(head.data[6:8], "little") * width)
        while body.left:
            entry = body.part(width)
            name, target = names.name(entry.number(image.offsets)), entry.address()
            cached, _ = entry.number(4), entry.take(4)
            led = names.name(entry.number(4)) if cached == 2 else b""
            yield name, -1 if target is None else target, led


class _LocalHeap:
    def __init__(self, image: Image, address: int) -> None:
        head = image.piece(address, 8 + 2 * image.lengths + image.offsets)
        if head.take(8)[:4] != b"HEAP":
            raise NotHdf5(head.at, "no heap of names")
        self._size, _free, start = head.length(), head.length(), head.address()
        if start is None:
            raise NotHdf5(head.at, "a heap of names without names")
        self._image = image
        self._start = start
        self._claimed: set[int] = set()
        self._data = image.piece(start, self._size, claim=False).data

    def name(self, offset: int) -> bytes:
        end = self._data.find(b"\0", offset)
        if offset >= self._size or end < 0:
            raise NotHdf5(self._image.base + self._start, "a name outside of its heap")
        if offset not in self._claimed:
            self._claimed.add(offset)
            self._image.claim(
                self._start + offset, min(-(end + 1 - offset) % 8 + end + 1 - offset, self._size - offset)
            )
        return self._data[offset:end]


class GlobalHeaps:
    """The collections that values of varying length stand in; the last ones used are remembered."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._recent: dict[int, dict[int, tuple[int, int]]] = {}
        self._given: dict[int, int] = {}

    def value(self, address: int, index: int, limit: int) -> bytes | None:
        """The beginning of a value, which is claimed whole; None if it was given before.

        Raises:
            NotHdf5: there is no such value.
            TooLarge: the budget is spent.
        """
        given = self._given.get(address, 0)
        if given >> index & 1:
            return None
        collection = self._recent.get(address)
        if collection is None:
            collection = dict(self._read(address, claim=not given))
            if len(self._recent) >= _REMEMBERED:
                self._recent.pop(next(iter(self._recent)))
            self._recent[address] = collection
        if index not in collection:
            raise NotHdf5(self._image.base + address, f"no value {index} in a collection")
        start, size = collection[index]
        self._image.budget.spend("fields")
        self._given[address] = given | 1 << index
        self._image.claim(start, size + -size % 8)
        return self._image.piece(start, min(size, limit), claim=False).data

    def _read(self, address: int, *, claim: bool) -> Iterator[tuple[int, tuple[int, int]]]:
        image = self._image
        width = 8 + image.lengths
        head = image.piece(address, width, claim=claim)
        if head.take(8)[:5] != b"GCOL\x01":
            raise NotHdf5(head.at, "no collection of values")
        end = address + head.length()
        at = address + width
        while at + width <= end:
            entry = image.piece(at, width, claim=False)
            index, _references, _, size = entry.number(2), entry.number(2), entry.take(4), entry.length()
            if claim:
                image.claim(at, width)
            if not index:
                break
            yield index, (at + width, size)
            at += width + size + -size % 8


def new_tree(image: Image, address: int | None, kinds: frozenset[int]) -> Iterator[Piece]:
    """The records of a B-tree of version 2, each as a piece.

    Raises:
        NotHdf5: a node is none.
        TooLarge: the budget is spent.
    """
    if address is None:
        return
    head = image.piece(address, 22 + image.offsets + image.lengths)
    if head.take(5) != b"BTHD\0" or (kind := head.number(1)) not in kinds:
        raise NotHdf5(head.at, "no tree of the expected kind")
    size, width, depth, _ = head.number(4), head.number(2), head.number(2), head.take(2)
    root, count = head.address(), head.number(2)
    if root is None:
        return
    if not width or size < 16 or depth > MAX_LEVELS:
        raise NotHdf5(head.at, "a tree whose nodes hold nothing")
    tree = _NewTree(image, kind, size, width, depth)
    yield from tree.node(root, count, depth)


class _NewTree:
    def __init__(self, image: Image, kind: int, size: int, width: int, depth: int) -> None:
        self._image = image
        self._kind = kind
        self._width = width
        self._seen: set[int] = set()
        most = (size - 10) // width
        self._count = _encoded(most)
        self._totals = [0]
        total = most
        for _ in range(depth):
            pointer = image.offsets + self._count + self._totals[-1]
            most = (size - 10 - pointer) // (width + pointer)
            total = (most + 1) * total + most
            self._totals.append(_encoded(total))

    def node(self, address: int, count: int, depth: int) -> Iterator[Piece]:
        image = self._image
        if address in self._seen:
            raise NotHdf5(image.base + address, "a tree that stands within itself")
        self._seen.add(address)
        total = self._totals[depth - 1] if depth > 1 else 0
        pointer = image.offsets + self._count + total if depth else 0
        body = image.piece(address, 6 + count * self._width + (count + 1 if depth else 0) * pointer + 4)
        if body.take(6) != (b"BTIN" if depth else b"BTLF") + bytes((0, self._kind)):
            raise NotHdf5(body.at, "no node of a tree")
        for _ in range(count):
            image.budget.spend("fields")
            yield body.part(self._width)
        for _ in range(count + 1 if depth else 0):
            child, inner, _ = body.address(), body.number(self._count), body.take(total)
            if child is None:
                raise NotHdf5(body.at, "an entry of a tree without an address")
            yield from self.node(child, inner, depth - 1)


def _encoded(most: int) -> int:
    """Bytes that the library takes for a number up to `most`."""
    return max(0, most.bit_length() - 1) // 8 + 1
