"""Decompressed bytes as a source, in bounded memory: short ones are kept, long ones inflated again where needed.

Nothing is written to disk, for the bytes may be somebody's secret. Cost: one inflation to learn the length, and another
for each reading of a long stream that goes back.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Protocol

from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget

KEPT = 8 << 20
STEP = 1 << 18
LZMA_MEMORY = 96 << 20


class Decompressor(Protocol):
    """What zlib, bz2 and lzma have in common, after a small wrap of the first."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether more compressed bytes must be given."""
        ...

    @property
    def unused_data(self) -> bytes:
        """Bytes behind the end of the stream."""
        ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """At most that many bytes."""
        ...


class _Zlib:
    """`zlib.decompressobj` with the interface of the others."""

    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)
        self._full = False

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail and not self._full

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        out = self._inner.decompress(self._inner.unconsumed_tail + data, max(0, max_length))
        self._full = len(out) == max_length
        return out


CODECS: dict[str, Callable[[], Decompressor]] = {
    "gzip": lambda: _Zlib(31),
    "zlib": lambda: _Zlib(15),
    "bz2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=LZMA_MEMORY),
    "lzma": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=LZMA_MEMORY),
}
"""Makers of decompressors, by name."""


class _Flow:
    """One pass over the streams of a source, front to back."""

    def __init__(self, source: RandomAccess, codec: str, budget: Budget) -> None:
        self._source = source
        self._make = CODECS[codec]
        self._magic = source.read_at(0, 2)
        self._budget = budget
        self._state = self._make()
        self._read = 0
        self._pending = b""
        self.problem = ""
        self.ended = False

    @property
    def consumed(self) -> int:
        """Compressed bytes used so far."""
        return self._read - len(self._pending)

    def next(self) -> bytes:
        """Some of the following bytes; empty at the end, where `problem` tells whether it is an honest one."""
        while not self.ended:
            data = b""
            if self._state.needs_input:
                data, self._pending = self._pending or self._more(), b""
                if not data:
                    self._end("the compressed data ends early")
                    break
            try:
                out = self._state.decompress(data, STEP)
            except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
                self._end(f"the compressed data is broken: {type(error).__name__}")
                break
            if self._state.eof:
                self._next_stream()
            if out:
                self._budget.spend("inflated_bytes", len(out))
                return out
        return b""

    def _more(self) -> bytes:
        data = self._source.read_at(self._read, STEP)
        self._read += len(data)
        return data

    def _next_stream(self) -> None:
        """Loaders read streams behind each other as one."""
        self._pending = self._state.unused_data
        head = self._pending if len(self._pending) >= 2 else self._pending + self._source.read_at(self._read, 2)
        if not head:
            self.ended = True
        elif head[:2] == self._magic:
            self._state = self._make()
        else:
            self._end("")

    def _end(self, problem: str) -> None:
        self.problem = problem
        self.ended = True


class Inflated:
    """The decompressed bytes of a source.

    Args:
        codec: a key of CODECS.

    Attributes:
        problem: why the inflation stopped before an honest end, or empty; what came before it can be read.
        consumed: how many bytes of the compressed source were used.

    Raises:
        TooLarge: the budget's inflated bytes are spent, here or while reading.
    """

    def __init__(self, source: RandomAccess, name: str, codec: str, budget: Budget) -> None:
        self.name = name
        self._from = (source, codec, budget)
        flow = _Flow(*self._from)
        self._kept = bytearray()
        self._size = 0
        while piece := flow.next():
            if self._size < KEPT:
                self._kept += piece
            self._size += len(piece)
        self.problem = flow.problem
        self.consumed = flow.consumed
        if self._size > len(self._kept):
            self._kept.clear()
        self._flow: _Flow | None = None
        self._window = b""
        self._base = 0

    @property
    def size(self) -> int:
        """Length in bytes, decompressed."""
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; going back in a long stream inflates it from the beginning again."""
        if self._kept or not self._size:
            return bytes(self._kept[offset : offset + length])
        if self._flow is None or offset < self._base:
            self._flow, self._window, self._base = _Flow(*self._from), b"", 0
        parts = []
        while length > 0 and offset < self._size:
            at = offset - self._base
            if at < len(self._window):
                part = self._window[at : at + length]
                parts.append(part)
                offset, length = offset + len(part), length - len(part)
            else:
                self._base += len(self._window)
                self._window = self._flow.next()
                if not self._window:
                    break
        return b"".join(parts)
