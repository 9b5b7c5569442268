"""The Merkle tree of the log: hashing, growing it, and proofs as pure functions.

Source: RFC 6962 section 2.1 (hashes, trees, proofs) and RFC 9162 sections 2.1.3.2 and 2.1.4.2 (verifying them); tiles
of height 8 after C2SP tlog-tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Final, Protocol

from fastness.core.errors import Corrupt, Invalid

HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT
"""Hashes in a full tile, and entries in a full bundle."""

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256().digest()


class NodeReader(Protocol):
    """Gives the hash of a complete subtree: node `index` of `level`, over leaves [index << level, (index + 1) << level)."""

    def __call__(self, level: int, index: int) -> bytes: ...


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one entry."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


def complete_root(hashes: Sequence[bytes]) -> bytes:
    """The root over a power of two of equally high subtrees."""
    row = list(hashes)
    while len(row) > 1:
        row = [sha256(b"\x01" + left + right).digest() for left, right in zip(row[::2], row[1::2], strict=True)]
    return row[0]


class Tree:
    """The right edge of a growing tree: for each tile level the hashes of its unfinished tile.

    Args:
        edge: unfinished tiles by level, lowest first, as `edge` gave them; empty for a new tree.
        size: leaves so far.
        full: called with level, tile number and hashes whenever a tile is full.
    """

    def __init__(
        self,
        size: int = 0,
        edge: Iterable[list[bytes]] = (),
        full: Callable[[int, int, list[bytes]], None] | None = None,
    ) -> None:
        self.size = size
        self._edge = [list(hashes) for hashes in edge] or [[]]
        self._full = full or _ignore

    @property
    def edge(self) -> list[list[bytes]]:
        """The unfinished tiles by level, lowest first; some may be empty."""
        return self._edge

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Append leaf hashes. Cost: about 1 us each, all levels included."""
        done = 0
        while done < len(leaves):
            tile = self._edge[0]
            part = leaves[done : done + WIDTH - len(tile)]
            tile.extend(part)
            done += len(part)
            self.size += len(part)
            if len(tile) == WIDTH:
                self._finish(0)

    def root(self) -> bytes:
        """The root over all leaves so far."""
        right: bytes | None = None
        for hashes in self._edge:
            place = len(hashes)
            while place:
                block = place & -place  # the smallest complete subtree is the rightmost
                left = complete_root(hashes[place - block : place])
                right = left if right is None else node_hash(left, right)
                place -= block
        return EMPTY_ROOT if right is None else right

    def _finish(self, level: int) -> None:
        tile = self._edge[level]
        self._full(level, (self.size >> HEIGHT * (level + 1)) - 1, tile)
        self._edge[level] = []
        if level + 1 == len(self._edge):
            self._edge.append([])
        self._edge[level + 1].append(complete_root(tile))
        if len(self._edge[level + 1]) == WIDTH:
            self._finish(level + 1)


def _ignore(level: int, number: int, hashes: list[bytes]) -> None:
    pass


def range_hash(node: NodeReader, low: int, high: int) -> bytes:
    """The root over the leaves [low, high), which must be a subtree of a tree that begins at 0."""
    count = high - low
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return node(level, low >> level)
    half = 1 << ((count - 1).bit_length() - 1)
    return node_hash(range_hash(node, low, low + half), range_hash(node, low + half, high))


def prove_inclusion(node: NodeReader, index: int, size: int) -> list[bytes]:
    """The audit path of leaf `index` in the tree of `size` leaves, lowest first.

    Raises:
        Invalid: no such leaf.
    """
    if not 0 <= index < size:
        raise Invalid("proof-range", f"a log of {size} entries has no entry {index}")
    path: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        half = 1 << ((high - low - 1).bit_length() - 1)
        if index < low + half:
            path.append(range_hash(node, low + half, high))
            high = low + half
        else:
            path.append(range_hash(node, low, low + half))
            low += half
    return path[::-1]


def prove_consistency(node: NodeReader, old: int, new: int) -> list[bytes]:
    """The proof that the tree of `new` leaves begins with the one of `old` leaves.

    Raises:
        Invalid: `old` is not between 0 and `new`.
    """
    if not 0 <= old <= new:
        raise Invalid("proof-range", f"a log of {new} entries cannot follow one of {old}")
    if old in {0, new}:
        return []
    path: list[bytes] = []
    low, high = 0, new
    # Go down to the subtree that ends where the old tree ends, and take the siblings on the way.
    while old != high:
        half = 1 << ((high - low - 1).bit_length() - 1)
        if old <= low + half:
            path.append(range_hash(node, low + half, high))
            high = low + half
        else:
            path.append(range_hash(node, low, low + half))
            low += half
    if low > 0:  # else this subtree is the old tree, and the verifier knows its root
        path.append(range_hash(node, low, high))
    return path[::-1]


def verify_inclusion(entry: bytes, index: int, size: int, root: bytes, proof: Sequence[bytes]) -> bytes:
    """`entry`, once the proof shows that it is entry `index` of the tree with this size and root.

    Raises:
        Corrupt: it does not (`proof-wrong`).

    Source: RFC 9162 section 2.1.3.2.
    """
    if not 0 <= index < size:
        raise _wrong("inclusion")
    place, last, found = index, size - 1, leaf_hash(entry)
    for sibling in proof:
        if last == 0 or len(sibling) != HASH_BYTES:
            raise _wrong("inclusion")
        if place & 1 or place == last:
            found = node_hash(sibling, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    if last != 0 or found != root:
        raise _wrong("inclusion")
    return entry


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> int:
    """`new`, once the proof shows that the tree of `new` leaves begins with the one of `old` leaves.

    Raises:
        Corrupt: it does not (`proof-wrong`).

    Source: RFC 9162 section 2.1.4.2; the empty tree, which the RFC leaves out, is a beginning of every tree.
    """
    if not 0 <= old <= new or any(len(step) != HASH_BYTES for step in proof):
        raise _wrong("consistency")
    if old in {0, new}:
        known = EMPTY_ROOT if old == 0 else new_root
        if proof or old_root != known:
            raise _wrong("consistency")
        return new
    # A power of two is a whole subtree: its root begins the path and is not sent.
    steps = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not steps or _both_roots(steps, old - 1, new - 1) != (old_root, new_root):
        raise _wrong("consistency")
    return new


def _both_roots(steps: Sequence[bytes], place: int, last: int) -> tuple[bytes, bytes] | None:
    """The roots of the old and the new tree that a consistency path gives, or None if it has the wrong length."""
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = steps[0]
    for step in steps[1:]:
        if last == 0:
            return None
        if place & 1 or place == last:
            old, new = node_hash(step, old), node_hash(step, new)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            new = node_hash(new, step)
        place, last = place >> 1, last >> 1
    return (old, new) if last == 0 else None


def _wrong(kind: str) -> Corrupt:
    return Corrupt("proof-wrong", f"the {kind} proof does not hold", "Ask the log for a proof of these very sizes.")
