"""An opened blob: any part of it can be read, and every byte that comes out was authenticated.

Only the segments that are asked for are read and decrypted. What it misses: whoever holds the data key can forge, so
compare `core.sources.digest_of` with the signed digest where that matters.

Sealed bytes are copied into a private buffer first. Decrypting from a mapping of the file would save that copy, but who
can write the file could change it between the authentication and the decryption of a segment; and a file cut while it
is mapped kills the process. Cost: at most 1 MiB for sealed bytes, so that they stay in the cache between reading and
decrypting, and one segment of plain bytes for reads of less than that.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Self

from fastness.core.digests import BlobId
from fastness.core.errors import Corrupt, Invalid, NotFound, TooLarge
from fastness.core.sources import Buffer
from fastness.foundation.crypto import floe
from fastness.foundation.storage import Blobs

_AT_ONCE = 1 << 20


class Segments:
    """The plain bytes of one blob, as `RandomAccess`; threads may share it. Close it to wipe its buffers."""

    def __init__(self, blobs: Blobs, blob: BlobId, size: int, reader: floe.FloeReader, name: str) -> None:
        self.name = name
        self._blobs = blobs
        self._blob = blob
        self._size = size
        self._reader = reader
        self._count = max(1, -(-size // reader.plain_len))
        self._lock = threading.Lock()
        self._span = min(self._count, max(1, _AT_ONCE // reader.segment))
        self._sealed = memoryview(bytearray(self._span * reader.segment))
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
        whole = False
        with self._lock:
            self._check_open()
            try:
                self._decrypt(0, self._count, target[: self._size])
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
                    self._decrypt(number, 1, part)
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
            left = len(out) - done
            to_the_end = offset + len(out) == self._size
            whole = 0 if skip else self._count - number if to_the_end else left // step
            if whole:
                self._decrypt(number, whole, out[done:])
                done += min(whole * step, left)
                continue
            part = self._hold(number)[skip : skip + left]
            out[done : done + len(part)] = part
            done += len(part)

    def _hold(self, number: int) -> memoryview:
        """One segment's plain bytes, in the buffer."""
        step = self._reader.plain_len
        plain = self._plain[: min(step, self._size - number * step)]
        if self._held != number:
            self._held = -1
            self._decrypt(number, 1, plain)
            self._held = number
        return plain

    def _decrypt(self, first: int, count: int, out: memoryview) -> None:
        """Read and open `count` segments into `out`."""
        step, room = self._reader.plain_len, self._reader.segment
        for start in range(first, first + count, self._span):
            stop = min(start + self._span, first + count)
            sealed = self._read(start, stop)
            for number in range(start, stop):
                at = (number - first) * step
                try:
                    segment = sealed[(number - start) * room : (number - start + 1) * room]
                    self._reader.open_into(segment, number, number == self._count - 1, out[at : at + step])
                except Corrupt as error:
                    raise corrupt(self._blob, f"segment {number} was changed") from error

    def _read(self, start: int, stop: int) -> memoryview:
        """The sealed segments from `start` to before `stop`, in the buffer."""
        plain = min(stop * self._reader.plain_len, self._size) - start * self._reader.plain_len
        sealed = self._sealed[: plain + (stop - start) * self._reader.OVERHEAD]
        try:
            count = self._blobs.read_into(self._blob, self._reader.HEADER + start * self._reader.segment, sealed)
        except NotFound as error:
            raise missing(self._blob) from error
        if count != len(sealed):
            raise corrupt(self._blob, "it was cut")
        return sealed

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
