"""Files that are compressed as a whole, as joblib and pandas write them: what is inside is scanned as a member.

Streams that follow each other are read as one, as all loaders do. Misses: what only a dictionary can open. Lz4 and
zstandard need a library; without it they are refused by name.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.cursor import Part
from fastness.models.scan.facts import Look, Member, Told, found, span
from fastness.models.scan.inflate import CODECS, Inflated, allowance
from fastness.models.scan.rules import MAPS, undecided

CODEC_UNKNOWN = undecided(
    "compressed-codec", "A compression that cannot be opened here",
    "What stands inside was not seen.",
    "Install fastness[formats], which opens lz4 and zstandard; or save the model with zlib, gzip, bz2 or xz.",
)  # fmt: skip
BROKEN = undecided(
    "compressed-broken", "Compressed data that is broken",
    "A loader may have run what stands inside before it meets the fault.",
    "Fetch the file again; do not load it as it is.",
)  # fmt: skip
TRAILING = undecided(
    "compressed-trailing-bytes", "Bytes behind the compressed data",
    "Another program may read what this one did not.", "Save the model again, and remove what was appended.",
)  # fmt: skip
BOMB = Rule(
    "compressed-bomb", "A small file that becomes very large", Severity.MEDIUM,
    "Loading it fills the memory of the machine; that is an attack, or an array of one value.",
    "Find out what it holds before loading it.", {**MAPS, "cwe": "CWE-409", "atlas": "AML.T0029"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (CODEC_UNKNOWN, BROKEN, TRAILING, BOMB)

_MAGICS = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x02\x21\x4c\x18", "lz4 of the old form"),
    (b"\x28\xb5\x2f\xfd", "zstandard"),
    (b"\x1f\x9d", "compress"),
    (b"\x1f\xa0", "compress"),
    (b"LZIP", "lzip"),
    (b"\x89LZO\x00\r\n\x1a\n", "lzop"),
)
_WEAK = frozenset({"zlib", "lzma"})
_HEAD = 16
_OLD, _OLD_HEAD = b"ZF0x", 21
_SKIPPED = 64
BOMB_BYTES = 64 << 20
BOMB_RATIO = 200
_TEXTS = frozenset({".txt", ".csv", ".tsv", ".md", ".log", ".vocab"})


@dataclass(frozen=True)
class CompressedReader:
    """Opens gzip, zlib, bz2, xz, lzma, lz4 and zstandard."""

    name: ClassVar[str] = "compressed"
    suffixes: ClassVar[tuple[str, ...]] = (".gz", ".bz2", ".xz", ".lz4", ".zst")

    def claims(self, look: Look) -> bool:
        """By the magic."""
        return bool(_codec(look.head))

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The member within; nothing where a weak magic turns out to be none.

        Raises:
            TooLarge: the budget is spent.
        """
        codec = _codec(_behind_skipped(source))
        if codec not in CODECS or not CODECS[codec].installed:
            yield found(CODEC_UNKNOWN, source.name, 0, f"compressed with {codec or 'nothing that is known'}")
            return
        free, before = allowance(source, source.size), _before(source, codec)
        packed = Part(source, source.name, before, source.size - before) if before else source
        inner = Inflated(packed, f"{source.name}!{codec}{_inner_suffix(source.name)}", codec, budget, allowance=free)
        partly = bool(inner.problem) or before + inner.consumed < source.size
        if codec in _WEAK and partly and not inner.size:
            return
        yield from _told(source, inner, before + inner.consumed)
        yield span(source.name, 0, min(before + inner.consumed, source.size))
        if inner.size or not inner.problem:
            yield Member(inner)


def _inner_suffix(name: str) -> str:
    """Of plain text, whose name is all that tells it from other bytes: `.txt` for `words.txt.gz`."""
    stem, suffix = posixpath.splitext(name)
    inner = posixpath.splitext(stem)[1].lower()
    return inner if suffix.lower() in READER.suffixes and inner in _TEXTS else ""


def _told(source: RandomAccess, inner: Inflated, stop: int) -> Iterator[Finding]:
    if inner.problem:
        yield found(BROKEN, source.name, stop, inner.problem)
    elif stop < source.size:
        yield found(TRAILING, source.name, stop, f"{source.size - stop} bytes follow the compressed data")
    if is_bomb(source.size, inner.size):
        yield found(BOMB, source.name, 0, f"{source.size} bytes become {inner.size}")


def is_bomb(compressed: int, inflated: int) -> bool:
    """Whether so few bytes become so many that memory may be what is attacked."""
    return inflated > max(BOMB_BYTES, BOMB_RATIO * compressed)


def _codec(head: bytes) -> str:
    for magic, codec in _MAGICS:
        if head.startswith(magic):
            return codec
    if _is_skipped(head):
        return "zstandard"
    if head.startswith(_OLD):
        return "zlib"
    if _is_lzma(head):
        return "lzma"
    is_zlib = len(head) > 2 and head[0] & 0x0F == 8 and head[0] <= 0x78 and (head[0] << 8 | head[1]) % 31 == 0
    return "zlib" if is_zlib and not head[1] & 0x20 else ""


def _before(source: RandomAccess, codec: str) -> int:
    """The length of the header that joblib wrote before version 0.10: a mark, a length in text, and perhaps a space.

    Source: joblib 1.6, `numpy_pickle_compat.read_zfile`, which `joblib.load` still takes.
    """
    head = source.read_at(0, _OLD_HEAD + 1)
    if codec != "zlib" or not head.startswith(_OLD):
        return 0
    return _OLD_HEAD + (head[_OLD_HEAD:] == b" ")


def _is_skipped(head: bytes) -> bool:
    """Whether a frame begins that lz4 and zstandard step over."""
    return len(head) >= 8 and 0x50 <= head[0] < 0x60 and head[1:4] == b"\x2a\x4d\x18"


def _behind_skipped(source: RandomAccess) -> bytes:
    """The first bytes behind the frames that are stepped over, which tell whose they are; of the last one if all are."""
    at, head = 0, source.read_at(0, _HEAD)
    for _ in range(_SKIPPED):
        if not _is_skipped(head):
            break
        at += 8 + int.from_bytes(head[4:8], "little")
        behind = source.read_at(at, _HEAD) if at < source.size else b""
        if not behind:
            break
        head = behind
    return head


def _is_lzma(head: bytes) -> bool:
    """The header of the old form: properties, the size of the dictionary, and that of what comes out, or none.

    Source: liblzma 5.8, `alone_decoder.c`, which takes only the sizes that encoders write.
    """
    if len(head) < _HEAD or head[0] >= 225 or head[13]:
        return False
    dictionary, size = int.from_bytes(head[1:5], "little"), int.from_bytes(head[5:13], "little")
    lowest = dictionary & -dictionary
    usual = dictionary == 0xFFFFFFFF or (dictionary >= 4096 and dictionary in {lowest, 3 * lowest})
    return usual and (size == (1 << 64) - 1 or 0 < size < 1 << 38)


READER = CompressedReader
