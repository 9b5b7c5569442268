"""One pass over the bytes of a source: cut into segments, hashed, sealed; never more than two segments in memory.

Each segment is hashed and then sealed while it is still in the cache. Pieces larger than a segment are sealed from
where they stand; only what is left over at their ends is copied.

Cost: one SHA-256 and one AES-256-GCM per byte, one after the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

from fastness.core.digests import Digest
from fastness.core.sources import Buffer
from fastness.foundation.crypto import floe

Progress = Callable[[int], None]


class Sealing:
    """The container of one source, made while it is read; digest and size hold once `pieces` is exhausted."""

    def __init__(self, writer: floe.FloeWriter, chunks: Iterable[Buffer], progress: Progress | None) -> None:
        self._writer = writer
        self._chunks = chunks
        self._progress = progress
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> Digest:
        """SHA-256 of the plain bytes read so far."""
        return Digest(f"sha256:{self._hash.hexdigest()}")

    def pieces(self) -> Iterator[Buffer]:
        """Header and sealed segments; each piece is valid until the next is asked for."""
        yield self._writer.header
        room = memoryview(bytearray(self._writer.segment))
        held = memoryview(bytearray(self._writer.plain_len))
        try:
            for plain, last in segments(self._chunks, held):
                self._hash.update(plain)
                count = self._writer.seal_into(plain, last, room)
                self.size += len(plain)
                if self._progress is not None:
                    self._progress(self.size)
                yield room[:count]
        finally:
            held[:] = bytes(len(held))


def segments(chunks: Iterable[Buffer], held: memoryview) -> Iterator[tuple[memoryview, bool]]:
    """The bytes of `chunks` in pieces of `len(held)`, and whether each is the last; only the last may be shorter.

    At least one piece comes, and it is empty only where there are no bytes. A piece is valid until the next is asked
    for. `held` keeps what is left over at the end of a chunk, until it is known whether more follows.
    """
    size, filled = len(held), 0
    for chunk in chunks:
        view = memoryview(chunk).cast("B")
        while view:
            if filled == size:  # more follows, so this was not the last one
                yield held, False
                filled = 0
            if not filled and len(view) > size:
                yield view[:size], False
                view = view[size:]
                continue
            count = min(size - filled, len(view))
            held[filled : filled + count] = view[:count]
            filled += count
            view = view[count:]
    yield held[:filled], True
