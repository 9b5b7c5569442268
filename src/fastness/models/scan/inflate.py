"""Decompressed bytes as a source, in bounded memory: short ones are kept while there is room, long ones inflated again.

Nothing is written to disk, for the bytes may be somebody's secret. Going back in a long stream starts again at the last
snapshot, which only zlib's decompressors can make, and otherwise at the beginning. Cost: one inflation to learn length and
CRC-32, and more for readings that go back; all of it is spent from the budget, but for an allowance that the reader gives
in proportion to the compressed size, so that a large honest model does not meet the bound.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Protocol

from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.cursor import Part

KEPT, KEPT_SLOW = 8 << 20, 24 << 20
"""The longest streams that are kept whole: of codecs that can go on from the middle, and of others."""
STEP = 1 << 18
TAIL = (1 << 16) + 64
LZMA_MEMORY = 72 << 20
ZSTD_WINDOW = 1 << 26
RATIO = 16
"""How many times its compressed size a stream may inflate to before it is paid for from the budget."""
PASSES = 4
"""How often a stream may be inflated within that allowance."""
_SNAPSHOT = 8 << 20
_SNAPSHOTS = 48
_STATE = 64 << 10
_PIECES, _PIECES_SLOW = 8, 64
_BLOCK = 1 << 16


class Decompressor(Protocol):
    """What zlib, bz2, lzma, lz4 and zstandard have in common, after small wraps."""

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


class BrokenData(ValueError):
    """Compressed bytes that their codec refuses."""


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

    def copy(self) -> _Zlib:
        """The same state once more."""
        other = _Zlib(15)
        other._inner, other._full = self._inner.copy(), self._full
        return other


class _Copied:
    """Bytes that are stored as they are."""

    eof = False
    needs_input = True
    unused_data = b""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """All of them; what is given is never more than a step."""
        del max_length
        return data


class _Skipped:
    """A skippable frame of zstandard or lz4: nothing comes out of it."""

    def __init__(self) -> None:
        self.eof = False
        self.needs_input = True
        self.unused_data = b""
        self._head = b""
        self._left = -1

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Nothing."""
        del max_length
        if self._left < 0:
            self._head += data
            if len(self._head) < 8:
                return b""
            self._left, data = int.from_bytes(self._head[4:8], "little"), self._head[8:]
        passed = min(self._left, len(data))
        self._left -= passed
        if not self._left:
            self.eof, self.needs_input, self.unused_data = True, False, data[passed:]
        return b""


class _Zstandard:
    """One frame, given to the library a block at a time, for a block makes 128 KiB at most.

    Source: RFC 8878, section 3.1.1.
    """

    def __init__(self) -> None:
        import zstandard  # an optional dependency

        self.eof = False
        self.unused_data = b""
        self._inner = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj()
        self._error: type[Exception] = zstandard.ZstdError
        self._have = b""
        self._checksum = 0
        self._next = self._header
        self.needs_input = True

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """What the next block holds."""
        del max_length
        self._have += data
        out = b""
        while not out and not self.eof:
            length = self._next()
            self.needs_input = length < 0 or len(self._have) < length
            if self.needs_input:
                break
            piece, self._have = self._have[:length], self._have[length:]
            try:
                out = self._inner.decompress(piece)
            except self._error as error:
                raise BrokenData(str(error)) from error
            self._step(piece)
        if self.eof:
            self.unused_data, self._have = self._have, b""
        return out

    def _step(self, piece: bytes) -> None:
        if self._next == self._header:
            self._next = self._block
        elif self._next == self._trailer or piece[0] & 1:
            self.eof = self._next == self._trailer or not self._checksum
            self._next = self._trailer
        self.needs_input = not self.eof and not self._have

    def _header(self) -> int:
        if len(self._have) < 5:
            return -1
        flags = self._have[4]
        single = flags >> 5 & 1
        size = (single, 2, 4, 8)[flags >> 6]
        self._checksum = 4 if flags & 4 else 0
        return 5 + (not single) + (0, 1, 2, 4)[flags & 3] + size

    def _block(self) -> int:
        if len(self._have) < 3:
            return -1
        header = int.from_bytes(self._have[:3], "little")
        return 3 + (1 if header >> 1 & 3 == 1 else header >> 3)

    def _trailer(self) -> int:
        return self._checksum


class _Lz4:
    """One lz4 frame."""

    def __init__(self) -> None:
        import lz4.frame  # an optional dependency

        self._inner = lz4.frame.LZ4FrameDecompressor()

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def needs_input(self) -> bool:
        return bool(self._inner.needs_input)

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data or b""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """At most that many bytes."""
        try:
            return bytes(self._inner.decompress(data, max_length))
        except RuntimeError as error:
            raise BrokenData(str(error)) from error


Maker = Callable[[bytes], Decompressor]
"""Makes the decompressor of a stream that begins with these bytes."""


@dataclass(frozen=True)
class Codec:
    """How bytes are decompressed.

    Attributes:
        make: one decompressor a stream.
        follow: how streams begin that loaders read as going on where one ended; none where only one is read.
        padded: zero bytes may stand behind a stream.
        library: what must be installed for it, or empty.
        weight: about how much memory a decompressor takes.
        rewinds: it can go on from the middle, where a snapshot was made.
    """

    make: Maker
    follow: tuple[bytes, ...] = ()
    padded: bool = False
    library: str = ""
    weight: int = _STATE
    rewinds: bool = False

    @property
    def installed(self) -> bool:
        """Whether it can be used here."""
        return not self.library or find_spec(self.library) is not None


def _xz(form: int) -> Maker:
    return lambda _: lzma.LZMADecompressor(form, memlimit=LZMA_MEMORY)


_SKIPPABLE = tuple(bytes([low]) + b"\x2a\x4d\x18" for low in range(0x50, 0x60))
_ZSTD_MAGIC, _LZ4_MAGIC = b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"
CODECS: Mapping[str, Codec] = {
    "gzip": Codec(lambda _: _Zlib(31), (b"\x1f\x8b",), padded=True, rewinds=True),
    "zlib": Codec(lambda _: _Zlib(15), (b"\x78",), rewinds=True),
    "deflate": Codec(lambda _: _Zlib(-15), rewinds=True),
    "bz2": Codec(lambda _: bz2.BZ2Decompressor(), (b"BZh",), weight=8 << 20),
    "xz": Codec(_xz(lzma.FORMAT_XZ), (b"\xfd7zXZ\x00",), padded=True, weight=8 << 20),
    "lzma": Codec(_xz(lzma.FORMAT_ALONE), weight=8 << 20),
    "copy": Codec(lambda _: _Copied()),
    "zstandard": Codec(
        lambda head: _Skipped() if head in _SKIPPABLE else _Zstandard(),
        (_ZSTD_MAGIC, *_SKIPPABLE), library="zstandard", weight=8 << 20,
    ),
    "lz4": Codec(
        lambda head: _Skipped() if head in _SKIPPABLE else _Lz4(),
        (_LZ4_MAGIC, *_SKIPPABLE), library="lz4", weight=4 << 20,
    ),
}  # fmt: skip
"""Codecs by name. `copy` has no end of its own."""


def raw_lzma(filters: list[dict[str, int]]) -> Codec:
    """A chain of the filters of `lzma`, without a header.

    Raises:
        BrokenData: the chain is none, or asks for too much memory.
    """
    if any(one.get("dict_size", 0) > LZMA_MEMORY for one in filters):
        raise BrokenData("the dictionary is larger than the scanner's memory")
    try:
        lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
    except (lzma.LZMAError, ValueError, OverflowError) as error:
        raise BrokenData("a chain of filters that cannot be") from error
    return Codec(lambda _: lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters), weight=8 << 20)


class Flow:
    """One pass over the streams of a source, front to back.

    Args:
        allowance: bytes that are not taken from the budget.

    Attributes:
        problem: why it ended before an honest end, or empty.
    """

    def __init__(self, source: RandomAccess, codec: Codec, budget: Budget, allowance: int = 0) -> None:
        self._source = source
        self._codec = codec
        self._budget = budget
        self._allowance = allowance
        self._state = codec.make(source.read_at(0, 4))
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
                self._pay(len(out))
                return out
        return b""

    def copy(self) -> Flow | None:
        """The same state once more; None where the decompressor cannot be copied."""
        if self.ended or not isinstance(self._state, _Zlib):
            return None
        other = Flow.__new__(Flow)
        other.__dict__.update(self.__dict__)
        other._state = self._state.copy()  # noqa: SLF001 - the same class
        return other

    def _pay(self, amount: int) -> None:
        free = min(self._allowance, amount)
        self._allowance -= free
        if amount > free:
            self._budget.spend("inflated_bytes", amount - free)

    def _more(self) -> bytes:
        data = self._source.read_at(self._read, STEP)
        self._read += len(data)
        return data

    def _next_stream(self) -> None:
        """Loaders read streams behind each other as one."""
        self._pending = self._state.unused_data
        if len(self._pending) < 8:
            self._pending += self._more()
        if self._codec.padded:
            self._skip_padding()
        head = self._pending[:8]
        if not head and not self._codec.follow:
            self.ended = True
        elif any(head.startswith(magic) for magic in self._codec.follow):
            self._state = self._codec.make(head[:4])
        else:
            self._end("")

    def _skip_padding(self) -> None:
        while self._pending[:1] == b"\0":
            rest = self._pending.lstrip(b"\0")
            if not rest and (more := self._more()):
                rest = more
            if not rest or any(rest.startswith(magic) for magic in self._codec.follow) or rest[:1] == b"\0":
                self._pending = rest
            else:
                return

    def _end(self, problem: str) -> None:
        self.problem = problem
        self.ended = True


@dataclass(slots=True)
class _Place:
    """Where a flow stands: the last pieces that came out of it, for readers go back a little, and the offset of the first."""

    flow: Flow
    base: int = 0
    pieces: deque[bytes] = field(default_factory=deque)
    end: int = -1
    most: int = _PIECES

    def __post_init__(self) -> None:
        self.end = self.base

    def advance(self) -> bool:
        """Let the next piece come out; false at the end."""
        piece = self.flow.next()
        self.pieces.append(piece)
        self.end += len(piece)
        if len(self.pieces) > self.most:
            self.base += len(self.pieces.popleft())
        return bool(piece)

    def taken(self, offset: int, length: int) -> bytes:
        """Those of the bytes that are still here."""
        at, parts = self.base, []
        for piece in self.pieces:
            if at + len(piece) > offset and at < offset + length:
                parts.append(piece[max(0, offset - at) : offset + length - at])
            at += len(piece)
        return b"".join(parts)


@dataclass(slots=True)
class _First:
    """What is learned by the first pass."""

    size: int = 0
    crc: int = 0
    tail: bytes = b""
    places: list[_Place] = field(default_factory=list)


class Inflated:
    """The decompressed bytes of a source.

    Args:
        codec: how, by a name of CODECS or as it is.
        length: where the format says how many bytes come out, no more are made.
        allowance: bytes a pass that are not taken from the budget, for at most `PASSES` passes.

    Attributes:
        problem: why the inflation stopped before an honest end, or empty; what came before it can be read.
        consumed: how many bytes of the compressed source were used.
        crc: CRC-32 of all of it.

    Raises:
        TooLarge: the budget's inflated bytes are spent, here or while reading.
    """

    def __init__(
        self,
        source: RandomAccess,
        name: str,
        codec: Codec | str,
        budget: Budget,
        length: int | None = None,
        allowance: int = 0,
    ) -> None:
        self.name = name
        self._source = source
        self._codec = CODECS[codec] if isinstance(codec, str) else codec
        self._budget = budget
        self._length = length
        self._allowance = allowance
        self._passes = 0
        self._most = KEPT if self._codec.rewinds else KEPT_SLOW
        self._ticket = budget.kept.ticket()
        self.problem = ""
        self.consumed = 0
        first = self._first_pass()
        self._size = first.size
        self.crc = first.crc

    @property
    def size(self) -> int:
        """Length in bytes, decompressed."""
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; going back in a long stream inflates a part of it again."""
        length = min(length, self._size - offset)
        if length <= 0:
            return b""
        if self._size <= self._most:
            return bytes(self._whole()[offset : offset + length])
        tail = self._budget.kept.get((self._ticket, "tail"), bytes)
        if tail is not None and offset >= self._size - len(tail):
            start = offset - (self._size - len(tail))
            return tail[start : start + length]
        return self._blocks(offset, length) if length <= _BLOCK else self._forward(offset, length)

    def _begin(self) -> Flow:
        self._passes += 1
        return Flow(self._source, self._codec, self._budget, self._allowance if self._passes <= PASSES else 0)

    def _first_pass(self) -> _First:
        flow, first, whole = self._begin(), _First(), bytearray()
        every = max(_SNAPSHOT, self._source.size // _SNAPSHOTS)
        while (self._length is None or first.size < self._length) and (piece := flow.next()):
            if self._length is not None:
                piece = piece[: self._length - first.size]
            first.crc = zlib.crc32(piece, first.crc)
            first.size += len(piece)
            if first.size > self._most:
                whole.clear()
            else:
                whole += piece
                self._budget.kept.make_room(len(whole))
            first.tail = (first.tail + piece)[-TAIL:]
            if first.size >= every * (len(first.places) + 1) and len(first.places) < _SNAPSHOTS:
                self._snapshot(flow, first)
        self.problem, self.consumed = flow.problem, flow.consumed
        if first.size <= self._most:
            self._budget.kept.put((self._ticket, "whole"), whole, first.size)
        else:
            self._budget.kept.put((self._ticket, "tail"), first.tail, len(first.tail))
            self._budget.kept.put((self._ticket, "places"), first.places, _STATE * len(first.places))
        return first

    def _snapshot(self, flow: Flow, first: _First) -> None:
        copy = flow.copy()
        if copy is not None:
            first.places.append(_Place(copy, first.size))

    def _whole(self) -> bytearray:
        whole = self._budget.kept.get((self._ticket, "whole"), bytearray)
        if whole is None:
            flow, whole = self._begin(), bytearray()
            self._budget.kept.make_room(self._size)
            while len(whole) < self._size and (piece := flow.next()):
                whole += piece
            del whole[self._size :]
            self._budget.kept.put((self._ticket, "whole"), whole, len(whole))
        return whole

    def _blocks(self, offset: int, length: int) -> bytes:
        """A few bytes, as headers and ends of members are, which readers come back to."""
        first = offset // _BLOCK
        parts = [self._block(index) for index in range(first, (offset + length - 1) // _BLOCK + 1)]
        return b"".join(parts)[offset - first * _BLOCK :][:length]

    def _block(self, index: int) -> bytes:
        key = self._ticket, f"block {index}"
        block = self._budget.kept.get(key, bytes)
        if block is None:
            block = self._forward(index * _BLOCK, min(_BLOCK, self._size - index * _BLOCK))
            self._budget.kept.put(key, block, len(block))
        return block

    def _forward(self, offset: int, length: int) -> bytes:
        place = self._budget.kept.get((self._ticket, "place"), _Place)
        if place is None or offset < place.base or offset - place.end > 2 * _SNAPSHOT:
            place = self._nearest(offset, place)
            self._budget.kept.put((self._ticket, "place"), place, self._codec.weight + place.most * STEP)
        parts = []
        while length > 0:
            part = place.taken(offset, length)
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
            if length > 0 and not place.advance():
                break
        return b"".join(parts)

    def _nearest(self, offset: int, current: _Place | None) -> _Place:
        """The last place at or before `offset` from which the inflation can go on."""
        places: list[_Place] = self._budget.kept.get((self._ticket, "places"), list) or []
        before = [place for place in places if place.base <= offset]
        if before and (current is None or not before[-1].base <= current.end <= offset):
            flow = before[-1].flow.copy()
            if flow is not None:
                return _Place(flow, before[-1].base)
        if current is not None and current.base <= offset:
            return current
        return _Place(self._begin(), most=_PIECES if self._codec.rewinds else _PIECES_SLOW)


def allowance(source: RandomAccess, compressed: int) -> int:
    """How many bytes so many compressed ones of `source` may become without being paid for.

    None of them where the source is itself the outcome of a decompression, for then it says nothing about the file's size.
    """
    while isinstance(source, Part):
        source = source.outer
    return 0 if isinstance(source, Inflated) else RATIO * compressed
