"""Reading forward through a file of any size with little memory, and looking at a part of one."""

from __future__ import annotations

from fastness.core.sources import RandomAccess

WINDOW = 1 << 18


class Truncated(Exception):
    """The bytes end within something; `at` is where it began. Readers turn it into a finding."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


class Cursor:
    """A position in a source, with a window of bytes behind it.

    Attributes:
        source: whose bytes they are.
        end: where it ends for this reader.
    """

    __slots__ = ("_base", "_buffer", "_index", "end", "source")

    def __init__(self, source: RandomAccess, start: int = 0, end: int | None = None) -> None:
        self.end = source.size if end is None else min(end, source.size)
        self.source = source
        self._base = start
        self._buffer = b""
        self._index = 0

    @property
    def position(self) -> int:
        """Offset of the next byte."""
        return self._base + self._index

    def byte(self) -> int:
        """The next byte, or -1 at the end."""
        if self._index >= len(self._buffer) and not self._fill(1):
            return -1
        value = self._buffer[self._index]
        self._index += 1
        return value

    def take(self, count: int) -> bytes:
        """The next `count` bytes. The caller bounds `count`.

        Raises:
            Truncated: there are fewer.
        """
        stop = self._index + count
        if stop > len(self._buffer):
            if not self._fill(count):
                raise Truncated(self.position)
            stop = self._index + count
        piece = self._buffer[self._index : stop]
        self._index = stop
        return piece

    def peek(self, count: int) -> bytes:
        """The next `count` bytes, fewer only at the end, without passing over them."""
        wanted = min(count, self.end - self.position)
        if self._index + wanted > len(self._buffer):
            self._fill(wanted)
        return self._buffer[self._index : self._index + wanted]

    def skip(self, count: int) -> None:
        """Step over `count` bytes without reading them.

        Raises:
            Truncated: there are fewer.
        """
        if self.position + count > self.end:
            raise Truncated(self.position)
        self._index += count
        if self._index > len(self._buffer):
            self._base, self._buffer, self._index = self.position, b"", 0

    def line(self, limit: int) -> bytes:
        """The bytes up to the next newline, which is passed over and left out.

        Raises:
            Truncated: no newline follows within `limit` bytes.
        """
        at = self._buffer.find(b"\n", self._index, self._index + limit)
        while at < 0:
            have = len(self._buffer) - self._index
            wanted = min(max(2 * have, 4096), limit, self.end - self.position)
            if wanted <= have or not self._fill(wanted):
                raise Truncated(self.position)
            at = self._buffer.find(b"\n", self._index, self._index + limit)
        text = self._buffer[self._index : at]
        self._index = at + 1
        return text

    def long_line(self, kept: int) -> tuple[bytes, int]:
        """The first `kept` bytes of the next line, and its length; it is passed over whole, and so is its newline.

        Raises:
            Truncated: no newline follows.
        """
        start, pieces, length = self.position, list[bytes](), 0
        while (at := self._buffer.find(b"\n", self._index)) < 0:
            pieces.append(self._buffer[self._index : self._index + max(0, kept - length)])
            length += len(self._buffer) - self._index
            self._index = len(self._buffer)
            if not self._fill(1):
                raise Truncated(start)
        pieces.append(self._buffer[self._index : min(at, self._index + max(0, kept - length))])
        length += at - self._index
        self._index = at + 1
        return b"".join(pieces), length

    def _fill(self, count: int) -> bool:
        start = self.position
        if start + count > self.end:
            return False
        self._buffer = self.source.read_at(start, min(max(count, WINDOW), self.end - start))
        self._base, self._index = start, 0
        return len(self._buffer) >= count


class Part:
    """Some of the bytes of a source, as a source of its own.

    Args:
        name: of the part; by custom the outer name, `!` and what the part is called.
    """

    def __init__(self, source: RandomAccess, name: str, offset: int, length: int) -> None:
        self.name = name
        self._source = source
        self._offset = offset
        self._length = max(0, min(length, source.size - offset))

    @property
    def outer(self) -> RandomAccess:
        """What it is a part of."""
        return self._source

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self._length

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset` of the part."""
        if offset >= self._length:
            return b""
        return self._source.read_at(self._offset + offset, min(length, self._length - offset))
