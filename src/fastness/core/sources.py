"""Where bytes come from: once in order, or at any place."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, Self

from fastness.core.digests import Digest
from fastness.core.errors import Invalid

Buffer = bytes | bytearray | memoryview


class ByteSource(Protocol):
    """Bytes that are read once, in order, such as an upload."""

    name: str

    def chunks(self) -> Iterator[Buffer]:
        """The bytes in pieces of any size; each piece is valid until the next is asked for."""
        ...


class RandomAccess(Protocol):
    """Bytes that can be read at any place, such as a file or an opened container."""

    name: str

    @property
    def size(self) -> int:
        """Length in bytes."""
        ...

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`, fewer than `length` only at the end."""
        ...


class BytesSource:
    """Bytes in memory, as both kinds of source."""

    def __init__(self, name: str, data: Buffer) -> None:
        self.name = name
        self._view = memoryview(data).cast("B")

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self._view)

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`."""
        return bytes(self._view[offset : offset + length])

    def chunks(self) -> Iterator[Buffer]:
        """All of it, in one piece."""
        yield self._view


class FileSource:
    """A regular file, opened without following a link in its last part, as both kinds of source.

    Raises:
        OSError: it cannot be opened, or is a symbolic link.
        Invalid: it is a folder, a pipe, a device or a socket.
    """

    def __init__(self, path: Path, name: str | None = None, chunk: int = 1 << 20) -> None:
        self.name = name if name is not None else path.name
        # Not blocking: opening a pipe would wait for a writer that may never come.
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(self._fd)
            raise Invalid(
                "file-irregular", f"{self.name} is not a regular file", "Name a file, not a folder or a device."
            )
        self._size = status.st_size
        self._chunk = chunk

    @property
    def size(self) -> int:
        """Length in bytes when it was opened."""
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`."""
        data = os.pread(self._fd, length, offset)
        while 0 < len(data) < length and (more := os.pread(self._fd, length - len(data), offset + len(data))):
            data += more  # one call reads at most 2 GiB
        return data

    def fileno(self) -> int:
        """The descriptor; stays this object's own."""
        return self._fd

    def chunks(self) -> Iterator[Buffer]:
        """The file in pieces, from its beginning."""
        buffer = bytearray(self._chunk)
        view = memoryview(buffer)
        offset = 0
        while count := os.preadv(self._fd, [buffer], offset):
            yield view[:count]
            offset += count

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def digest_of(source: RandomAccess, chunk: int = 1 << 20) -> Digest:
    """SHA-256 of all bytes of `source`."""
    state = hashlib.sha256()
    for offset in range(0, source.size, chunk):
        state.update(source.read_at(offset, chunk))
    return Digest(f"sha256:{state.hexdigest()}")
