"""An opened blob: any part of it can be read, and every byte that comes out was authenticated.

Only the segments that are asked for are read and decrypted. What it misses: rollback to an older container cannot
happen, for the id and the data key are new for every blob; but whoever holds the data key can forge, so compare
`core.sources.digest_of` with the signed digest where that matters. Cost: one segment of memory for the sealed bytes and
one for the last one read in part.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Self

from fastness.core.digests import BlobId
from fastness.core.errors import Corrupt, Invalid, NotFound, TooLarge
from fastness.core.sources import Buffer
from fastness.foundation.crypto import FloeReader
from fastness.foundation.storage import Blobs


class Segments:
    """The plain bytes of one blob, as `RandomAccess`; threads may share it. Close it to wipe its buffers."""

    def __init__(self, blobs: Blobs, blob: BlobId, size: int, reader: FloeReader, name: str) -> None:
        self.name = name
        self._blobs = blobs
        self._blob = blob
        self._size = size
        self._reader = reader
        self._count = max(1, -(-size // reader.plain_len))
        self._lock = threading.Lock()
        self._sealed = memoryview(bytearray(reader.segment))
        self._plain = memoryview(bytearray(reader.plain_len))
        self._held = -1
        self._open = True

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`, fewer than `length` only at the end.

        Raises:
            Corrupt: `blob-corrupt`, a segment was changed.
            NotFound: `blob-missing`, the blob is gone.
            Invalid: negative, or closed.
        """
        if offset < 0 or length < 0:
            raise Invalid("range-negative", "offset and length are 0 or more")
        out = bytearray(max(0, min(length, self._size - offset)))
        with self._lock:
            self._check_open()
            self._copy(offset, memoryview(out))
        return bytes(out)

    def read_into(self, target: memoryview) -> int:
        """Decrypt the whole blob straight into `target` and return its size.

        Raises:
            TooLarge: `target` is shorter than the blob.
            Corrupt: `blob-corrupt`, a segment was changed; `target` is wiped.
            NotFound: `blob-missing`, the blob is gone; `target` is wiped.
            Invalid: closed.
        """
        target = target.cast("B")
        if len(target) < self._size:
            raise TooLarge("buffer-short", f"the blob has {self._size} bytes, the buffer {len(target)}")
        step = self._reader.plain_len
        whole = False
        with self._lock:
            self._check_open()
            try:
                for number in range(self._count):
                    at = number * step
                    self._decrypt(number, target[at : min(at + step, self._size)])
                whole = True
            finally:
                if not whole:
                    _wipe(target[: self._size])
        return self._size

    def __iter__(self) -> Iterator[Buffer]:
        """The bytes in order, a segment a piece; each piece is valid until the next is asked for."""
        step = self._reader.plain_len
        piece = memoryview(bytearray(step))
        try:
            for number in range(self._count):
                part = piece[: min(step, self._size - number * step)]
                with self._lock:
                    self._check_open()
                    self._decrypt(number, part)
                yield part
        finally:
            _wipe(piece)

    def close(self) -> None:
        """Wipe the buffers; nothing can be read afterwards."""
        with self._lock:
            self._open = False
            self._held = -1
            _wipe(self._plain)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _copy(self, offset: int, out: memoryview) -> None:
        """Fill `out` from `offset` on: whole segments straight into it, parts through the buffer."""
        step = self._reader.plain_len
        done = 0
        while done < len(out):
            number, skip = divmod(offset + done, step)
            length = min(step, self._size - number * step)
            count = min(length - skip, len(out) - done)
            if count == length:
                self._decrypt(number, out[done : done + count])
            else:
                if self._held != number:
                    self._held = -1
                    self._decrypt(number, self._plain[:length])
                    self._held = number
                out[done : done + count] = self._plain[skip : skip + count]
            done += count

    def _decrypt(self, number: int, out: memoryview) -> None:
        last = number == self._count - 1
        sealed = self._sealed[: len(out) + self._reader.OVERHEAD]
        offset = self._reader.HEADER + number * self._reader.segment
        try:
            count = self._blobs.read_into(self._blob, offset, sealed)
        except NotFound as error:
            raise missing(self._blob) from error
        if count != len(sealed):
            raise corrupt(self._blob, "it was cut")
        try:
            self._reader.open_into(sealed, number, last, out)
        except Corrupt as error:
            raise corrupt(self._blob, f"segment {number} was changed") from error

    def _check_open(self) -> None:
        if not self._open:
            raise Invalid("blob-closed", "the blob was closed")


def corrupt(blob: BlobId, what: str) -> Corrupt:
    """The error for a container that is not as it was sealed."""
    return Corrupt("blob-corrupt", f"blob {blob} fails its authentication: {what}", "Restore it from a backup.")


def missing(blob: BlobId) -> NotFound:
    """The error for a container that is not there."""
    return NotFound("blob-missing", f"the container of blob {blob} is not there", "Restore it from a backup.")


def _wipe(view: memoryview) -> None:
    zeros = bytes(min(len(view), 1 << 20))
    for at in range(0, len(view), 1 << 20):
        part = view[at : at + (1 << 20)]
        part[:] = zeros[: len(part)]
