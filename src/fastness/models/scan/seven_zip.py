"""The header of 7z archives: where the packed streams are, how they are packed, and which files come out of them.

Source: 7-Zip 26.02, `DOC/7zFormat.txt` and `DOC/Methods.txt`.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from fastness.models.scan.inflate import CODECS, BrokenData, Codec, raw_lzma

SIGNATURE = b"7z\xbc\xaf\x27\x1c"
START = struct.Struct("<6s2BIQQI")
_END, _HEADER, _PROPERTIES, _ADDITIONAL, _STREAMS, _FILES = range(6)
_PACK, _UNPACK, _SUBSTREAMS, _SIZE, _CRC, _FOLDER, _CODER_SIZES, _COUNTS = range(6, 14)
_EMPTY, _EMPTY_FILE, _ANTI, _NAMES, _ATTRIBUTES, _ENCODED = 0x0E, 0x0F, 0x10, 0x11, 0x15, 0x17
_AES = b"\x06\xf1\x07\x01"
_BRANCHES = {
    b"\x04": lzma.FILTER_X86, b"\x05": lzma.FILTER_POWERPC, b"\x06": lzma.FILTER_IA64, b"\x07": lzma.FILTER_ARM,
    b"\x08": lzma.FILTER_ARMTHUMB, b"\x09": lzma.FILTER_SPARC, b"\x03\x03\x01\x03": lzma.FILTER_X86,
    b"\x03\x03\x02\x05": lzma.FILTER_POWERPC, b"\x03\x03\x04\x01": lzma.FILTER_IA64, b"\x03\x03\x05\x01": lzma.FILTER_ARM,
    b"\x03\x03\x07\x01": lzma.FILTER_ARMTHUMB, b"\x03\x03\x08\x05": lzma.FILTER_SPARC,
}  # fmt: skip
_ALONE = {
    b"\x00": "copy", b"\x04\x01\x08": "deflate", b"\x04\x02\x02": "bz2",
    b"\x04\xf7\x11\x01": "zstandard", b"\x04\xf7\x11\x04": "lz4",
}  # fmt: skip
_LZMA1, _LZMA2, _DELTA = b"\x03\x01\x01", b"\x21", b"\x03"
_MOST = 32


class BadHeader(ValueError):
    """What the header says cannot be."""


class Encrypted(ValueError):
    """It cannot be read without a password."""


@dataclass(frozen=True, slots=True)
class Coder:
    """One step of unpacking."""

    method: bytes
    inputs: int
    outputs: int
    properties: bytes


@dataclass(slots=True)
class Folder:
    """Packed streams that are unpacked together, and what comes out.

    Attributes:
        bonds: pairs of an input and the output that feeds it.
        packed: how many packed streams it takes.
        sizes: of what comes out of each coder.
        streams: sizes of the files in what comes out of the last.
    """

    coders: list[Coder]
    bonds: list[tuple[int, int]]
    packed: int
    sizes: list[int] = field(default_factory=list)
    streams: list[int] = field(default_factory=list)
    crc: int | None = None

    @property
    def size(self) -> int:
        """Bytes that come out of it."""
        fed = {output for _, output in self.bonds}
        return next((size for index, size in enumerate(self.sizes) if index not in fed), 0)

    def codec(self) -> Codec:
        """How it is unpacked.

        Raises:
            BrokenData: by something that cannot be opened here.
            Encrypted: it is encrypted.
        """
        if any(coder.method == _AES for coder in self.coders):
            raise Encrypted
        chain = self._chain()
        if len(chain) == 1 and chain[0].method in _ALONE:
            codec = CODECS[_ALONE[chain[0].method]]
            if not codec.installed:
                raise BrokenData(f"{codec.library} is not installed")
            return codec
        return raw_lzma([_filter(coder) for coder in chain])

    def _chain(self) -> list[Coder]:
        """The coders from the last, whose output is the folder's, to the one that takes the packed stream."""
        if any(coder.inputs != 1 or coder.outputs != 1 for coder in self.coders):
            raise BrokenData("its steps are no chain")
        feeds = dict(self.bonds)
        fed = {output for _, output in self.bonds}
        at = next((index for index in range(len(self.coders)) if index not in fed), -1)
        chain: list[Coder] = []
        while 0 <= at < len(self.coders) and len(chain) < len(self.coders):
            chain.append(self.coders[at])
            at = feeds.get(at, -1)
        if len(chain) != len(self.coders):
            raise BrokenData("its steps are no chain")
        return chain


@dataclass(slots=True)
class Streams:
    """Where the packed streams are, and what is done with them."""

    place: int = 0
    packed: list[int] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class File:
    """One entry; `stream` is false where it has no bytes."""

    name: str
    stream: bool
    attributes: int

    @property
    def mode(self) -> int:
        """The Unix mode, 0 where there is none."""
        return self.attributes >> 16 if self.attributes & 0x8000 else 0

    @property
    def folder(self) -> bool:
        """Whether it is a folder."""
        return not self.stream and (bool(self.attributes & 0x10) or self.name.endswith("/"))


def _filter(coder: Coder) -> dict[str, int]:
    data = coder.properties
    if coder.method in _BRANCHES:
        offset = {"start_offset": int.from_bytes(data[:4], "little")} if len(data) >= 4 else {}
        return {"id": _BRANCHES[coder.method], **offset}
    if coder.method == _DELTA and len(data) == 1:
        return {"id": lzma.FILTER_DELTA, "dist": data[0] + 1}
    if coder.method == _LZMA2 and len(data) == 1 and data[0] < 40:
        return {"id": lzma.FILTER_LZMA2, "dict_size": (2 | data[0] & 1) << (data[0] // 2 + 11)}
    if coder.method == _LZMA1 and len(data) == 5 and data[0] < 225:
        rest, literal = divmod(data[0], 9)
        position, low = divmod(rest, 5)
        size = max(4096, int.from_bytes(data[1:], "little"))
        return {"id": lzma.FILTER_LZMA1, "dict_size": size, "lc": literal, "lp": low, "pb": position}
    raise BrokenData(f"method {coder.method.hex()}")


class _Bytes:
    """The bytes of a header, read forward.

    Raises:
        BadHeader: they end early, or say what cannot be.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        return self._at >= len(self._data)

    def digests(self, count: int) -> list[int | None]:
        """Checksums, None where there is none."""
        known = [True] * count if self.take(1)[0] else self.bits(count)
        return [int.from_bytes(self.take(4), "little") if one else None for one in known]

    def names(self, count: int) -> list[str]:
        """Names, each with a zero behind it."""
        text = self.take(len(self._data) - self._at).decode("utf-16-le", "replace")
        names = text.split("\0")
        if len(names) < count:
            raise BadHeader("names are missing")
        return names[:count]

    def attributes(self, count: int) -> list[int]:
        """Attributes, 0 where there are none."""
        known = [True] * count if self.take(1)[0] else self.bits(count)
        if self.number():
            raise BadHeader("attributes stand elsewhere")
        return [int.from_bytes(self.take(4), "little") if one else 0 for one in known]

    def bits(self, count: int) -> list[bool]:
        """Yes or no for each of so many."""
        data = self.take(-(-count // 8))
        return [bool(data[i // 8] & 0x80 >> i % 8) for i in range(count)]

    def few(self) -> int:
        """A number of steps."""
        count = self.number()
        if not 1 <= count <= _MOST:
            raise BadHeader("too many steps")
        return count

    def count(self) -> int:
        """A number of things, each of which takes a bit at least."""
        count = self.number()
        if count > 8 * len(self._data):
            raise BadHeader("a count is larger than the header")
        return count

    def number(self) -> int:
        """A number of one to nine bytes."""
        first, value, mask = self.take(1)[0], 0, 0x80
        for index in range(8):
            if not first & mask:
                return value | (first & (mask - 1)) << 8 * index
            value |= self.take(1)[0] << 8 * index
            mask >>= 1
        return value

    def take(self, count: int) -> bytes:
        """The next bytes."""
        piece = self._data[self._at : self._at + count]
        if len(piece) < count:
            raise BadHeader("the header ends early")
        self._at += count
        return piece


class Header(_Bytes):
    """What the bytes of a header say.

    Raises:
        BadHeader: they end early, or say what cannot be.
    """

    @property
    def kind(self) -> int:
        """The first byte: 1 for a header, 0x17 for one that is packed."""
        return self._data[0] if self._data else -1

    def streams(self) -> Streams:
        """The streams of a packed header, or of a plain one."""
        self._at = 1
        if self.kind == _ENCODED:
            return self._streams()
        while (part := self.number()) != _END:
            if part == _STREAMS:
                return self._streams()
            if part == _ADDITIONAL:
                self._streams()
            elif part == _PROPERTIES:
                while self.number() != _END:
                    self.take(self.number())
            elif part == _FILES:
                self._at -= 1
                break
            else:
                raise BadHeader("a part that is not known")
        return Streams()

    def files(self) -> list[File]:
        """The entries that follow the streams of a plain header."""
        if self.ended or self.number() != _FILES:
            return []
        count = self.count()
        names, attributes, empty = [""] * count, [0] * count, [False] * count
        while (part := self.number()) != _END:
            data = _Bytes(self.take(self.number()))
            if part == _NAMES and not data.number():
                names = data.names(count)
            elif part == _EMPTY:
                empty = data.bits(count)
            elif part == _ATTRIBUTES:
                attributes = data.attributes(count)
        return [File(names[i], not empty[i], attributes[i]) for i in range(count)]

    def _streams(self) -> Streams:
        streams = Streams()
        while (part := self.number()) != _END:
            if part == _PACK:
                self._packed(streams)
            elif part == _UNPACK:
                self._folders(streams)
            elif part == _SUBSTREAMS:
                self._substreams(streams)
            else:
                raise BadHeader("a part of the streams that is not known")
        for folder in streams.folders:
            folder.streams = folder.streams or ([folder.size] if folder.size else [])
        return streams

    def _packed(self, streams: Streams) -> None:
        streams.place, count = self.number(), self.count()
        while (part := self.number()) != _END:
            if part == _SIZE:
                streams.packed = [self.number() for _ in range(count)]
            elif part == _CRC:
                self.digests(count)
            else:
                raise BadHeader("a part of the packed streams that is not known")

    def _folders(self, streams: Streams) -> None:
        if self.number() != _FOLDER:
            raise BadHeader("folders are missing")
        count = self.count()
        if self.number():
            raise BadHeader("folders stand elsewhere")
        streams.folders = [self._folder() for _ in range(count)]
        while (part := self.number()) != _END:
            if part == _CODER_SIZES:
                for folder in streams.folders:
                    folder.sizes = [self.number() for coder in folder.coders for _ in range(coder.outputs)]
            elif part == _CRC:
                for folder, crc in zip(streams.folders, self.digests(count), strict=True):
                    folder.crc = crc
            else:
                raise BadHeader("a part of the folders that is not known")

    def _folder(self) -> Folder:
        coders = [self._coder() for _ in range(self.few())]
        inputs, outputs = sum(coder.inputs for coder in coders), sum(coder.outputs for coder in coders)
        bonds = [(self.number(), self.number()) for _ in range(outputs - 1)]
        packed = inputs - len(bonds)
        if not 1 <= packed <= _MOST:
            raise BadHeader("a folder takes no packed stream")
        if packed > 1:
            for _ in range(packed):
                self.number()
        return Folder(coders, bonds, packed)

    def _coder(self) -> Coder:
        flags = self.take(1)[0]
        method = self.take(flags & 0x0F)
        inputs, outputs = (self.few(), self.few()) if flags & 0x10 else (1, 1)
        return Coder(method, inputs, outputs, self.take(self.number()) if flags & 0x20 else b"")

    def _substreams(self, streams: Streams) -> None:
        part = self.number()
        counts = [1] * len(streams.folders)
        if part == _COUNTS:
            counts = [self.count() for _ in streams.folders]
            part = self.number()
        for folder, count in zip(streams.folders, counts, strict=True):
            sizes = [self.number() for _ in range(count - 1)] if part == _SIZE else []
            if count and sum(sizes) > folder.size:
                raise BadHeader("files are longer than what they stand in")
            folder.streams = [*sizes, folder.size - sum(sizes)] if count else []
        if part == _SIZE:
            part = self.number()
        unknown = sum(n for n, folder in zip(counts, streams.folders, strict=True) if n != 1 or folder.crc is None)
        while part != _END:
            if part != _CRC:
                raise BadHeader("a part of the files that is not known")
            self.digests(unknown)
            part = self.number()


def start(data: bytes) -> tuple[int, int, int] | None:
    """Offset behind the start, length and CRC-32 of the header; None where the start is none."""
    if len(data) < START.size or not data.startswith(SIGNATURE):
        return None
    _, _, _, crc, offset, size, header_crc = START.unpack_from(data)
    return (offset, size, header_crc) if zlib.crc32(data[12 : START.size]) == crc else None


def places(sizes: list[int], first: int) -> Iterator[tuple[int, int]]:
    """Where pieces of these sizes stand, one behind the other."""
    edges = [first]
    for size in sizes:
        edges.append(edges[-1] + size)
    yield from pairwise(edges)
