"""The objects of an HDF5 file: groups and their links, datasets and where their values stand, attributes.

Everything that a link reaches is visited once. What it finds goes to a visitor, which judges it.

Source: The HDF Group, "HDF5 File Format Specification Version 3.0", IV.A.2.
"""

from __future__ import annotations

from collections import deque

from fastness.models.scan.hdf5.headers import Message, Superblock, messages
from fastness.models.scan.hdf5.heaps import FractalHeap, claim_free_space, records
from fastness.models.scan.hdf5.image import Image, NotHdf5, Piece
from fastness.models.scan.hdf5.trees import new_tree, old_group
from fastness.models.scan.hdf5.types import dataspace, datatype
from fastness.models.scan.hdf5.values import EXTERNAL, FILTERS, LAYOUT, SPACE, TYPE, Attribute, Datasets, Visitor

LINKS, LINK, ATTRIBUTE, SHARED_TABLE = 2, 6, 0xC, 0xF
OLD_GROUP, DRIVER, ATTRIBUTES, FREE_SPACE = 0x11, 0x14, 0x15, 0x17
KNOWN = frozenset({*range(1, 0x18)} - {9})
SOFT, OTHER_FILE = 1, 64


class Objects:
    """A walk over all objects.

    Raises:
        NotHdf5: a structure is broken.
        TooLarge: the budget is spent.
    """

    def __init__(self, image: Image, visitor: Visitor) -> None:
        self._image = image
        self._visitor = visitor
        self._datasets = Datasets(image, visitor)
        self._seen: set[int] = set()
        self._waiting: deque[tuple[str, int]] = deque()

    def walk(self, block: Superblock) -> None:
        """Visit everything from the superblock on."""
        if block.driver:
            self._visitor.odd("its bytes stand in several files", self._image.base)
        self._reach("", block.root)
        if block.extension is not None:
            self._reach("(file)", block.extension)
        while self._waiting:
            path, address = self._waiting.popleft()
            self._object(path, address)

    def _reach(self, path: str, address: int) -> None:
        if address not in self._seen:
            self._image.budget.spend("fields")
            self._seen.add(address)
            self._waiting.append((path, address))

    def _object(self, path: str, address: int) -> None:
        kept: dict[int, Piece] = {}
        for message in messages(self._image, address):
            if message.shared:
                self._shared(message, kept)
            elif message.kind in {LINK, ATTRIBUTE, OLD_GROUP, LINKS, ATTRIBUTES}:
                self._named(path, message)
            elif message.kind in {SPACE, TYPE, LAYOUT, FILTERS, EXTERNAL}:
                kept[message.kind] = message.body
            else:
                self._other(message)
        if EXTERNAL in kept:
            self._datasets.external(kept[EXTERNAL])
        if LAYOUT in kept:
            self._datasets.dataset(kept)

    def _shared(self, message: Message, kept: dict[int, Piece]) -> None:
        """A message whose body says where it stands: in the header of another object, such as a named type."""
        body = message.body
        version, kind = body.number(1), body.number(1)
        if version == 3 and kind == 1:
            self._visitor.odd("messages that objects share", body.at)
            return
        body.take(6 if version == 1 else 0)
        address = body.address()
        if address is None or message.kind not in {TYPE, SPACE, FILTERS}:
            raise NotHdf5(body.at, "a shared message that leads nowhere")
        self._reach("(type)", address)
        found = [one.body for one in self._peek(address) if one.kind == message.kind and not one.shared]
        if found:
            kept[message.kind] = found[0]

    def _peek(self, address: int) -> list[Message]:
        """The messages of an object, without accounting for them: its own visit does."""
        aside = Image(self._image.source, self._image.base, self._image.budget)
        aside.offsets, aside.lengths = self._image.offsets, self._image.lengths
        return list(messages(aside, address))

    def _named(self, path: str, message: Message) -> None:
        body = message.body
        if message.kind == LINK:
            self._link(path, body)
        elif message.kind == ATTRIBUTE:
            self._attribute(path, body)
        elif message.kind == OLD_GROUP:
            for name, target, led in old_group(self._image, body.address(), body.address()):
                if not led:
                    self._reach(_join(path, name), target)
        else:
            self._dense(path, message.kind, body)

    def _dense(self, path: str, kind: int, body: Piece) -> None:
        """Links or attributes that stand in a heap, for there are many."""
        _version, flags = body.number(1), body.number(1)
        body.take((8 if kind == LINKS else 2) if flags & 1 else 0)
        heap, names = body.address(), body.address()
        order = body.address() if flags & 2 else None
        for one in records(self._image, heap, names, frozenset({5} if kind == LINKS else {8})):
            (self._link if kind == LINKS else self._attribute)(path, one)
        for _ in new_tree(self._image, order, frozenset({6} if kind == LINKS else {9})):
            pass
        if heap is not None and names is None:
            FractalHeap(self._image, heap)

    def _link(self, path: str, body: Piece) -> None:
        at = body.position
        version, flags = body.number(1), body.number(1)
        kind = body.number(1) if flags & 8 else 0
        body.take((8 if flags & 4 else 0) + (1 if flags & 0x10 else 0))
        name = body.take(body.number(1 << (flags & 3)))
        if version != 1:
            raise NotHdf5(at, f"version {version} of a link")
        if kind == 0:
            target = body.address()
            if target is not None:
                self._reach(_join(path, name), target)
            return
        value = body.take(body.number(2))
        if kind == OTHER_FILE:
            self._visitor.elsewhere(_text(value[1:].split(b"\0")[0]), at)
        elif kind != SOFT:
            self._visitor.odd(f"a link of kind {kind}", at)

    def _attribute(self, path: str, body: Piece) -> None:
        at = body.position
        version, flags = body.number(1), body.number(1)
        lengths = [body.number(2) for _ in range(3)]
        if version not in {1, 2, 3}:
            raise NotHdf5(at, f"version {version} of an attribute")
        body.take(1 if version == 3 else 0)
        pieces = []
        for length in lengths:
            pieces.append(body.part(length))
            body.take(-length % 8 if version == 1 else 0)
        if version > 1 and flags & 1:
            kept: dict[int, Piece] = {}
            self._shared(Message(TYPE, True, pieces[1]), kept)
            pieces[1] = kept.get(TYPE, pieces[1])
        if version > 1 and flags & 2:
            self._visitor.odd("an attribute whose dataspace is shared", at)
            return
        kind, count = datatype(pieces[1]), dataspace(pieces[2])
        name = _text(pieces[0].data.rstrip(b"\0"))
        data = body.take(min(count * kind.size, body.left))
        for value in self._datasets.varying(kind, data) if kind.varying else (data,):
            self._visitor.attribute(Attribute(path, name, kind, value, at))

    def _other(self, message: Message) -> None:
        if message.kind == DRIVER:
            self._visitor.odd("its bytes stand in several files", message.body.at)
        elif message.kind == FREE_SPACE:
            self._free_space(message.body)
        elif message.kind == SHARED_TABLE:
            self._visitor.odd("messages that objects share", message.body.at)
        elif message.kind not in KNOWN:
            self._visitor.odd(f"a message of kind {message.kind}", message.body.at)

    def _free_space(self, body: Piece) -> None:
        version, _strategy, persists = body.number(1), body.number(1), body.number(1)
        if version != 1 or not persists:
            return
        body.take(2 * body.lengths + 2)
        body.address()
        while body.left >= body.offsets:
            address = body.address()
            if address is not None:
                claim_free_space(self._image, address)


def _join(path: str, name: bytes) -> str:
    return f"{path}/{_text(name)}"[:512]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
