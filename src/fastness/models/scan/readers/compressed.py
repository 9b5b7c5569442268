"""Files that are compressed as a whole, as joblib and pandas write them: what is inside is scanned as a member.

Misses: lz4 and zstandard, which the standard library cannot inflate; they are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import Look, Member, Told, found, span
from fastness.models.scan.inflate import CODECS, Inflated
from fastness.models.scan.rules import MAPS, undecided

CODEC_UNKNOWN = undecided(
    "compressed-codec", "A compression that cannot be opened here",
    "What stands inside was not seen.",
    "Save the model with zlib, gzip, bz2 or xz (joblib: compress=3), or decompress it first and scan that.",
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
    (b"]\x00\x00", "lzma"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x28\xb5\x2f\xfd", "zstandard"),
)
_BOMB_BYTES = 64 << 20
_BOMB_RATIO = 200


@dataclass(frozen=True)
class CompressedReader:
    """Opens gzip, zlib, bz2, xz and lzma."""

    name: ClassVar[str] = "compressed"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, look: Look) -> bool:
        """By the magic."""
        return bool(_codec(look.head))

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The member within.

        Raises:
            TooLarge: the budget is spent.
        """
        codec = _codec(source.read_at(0, 16))
        if codec not in CODECS:
            yield found(CODEC_UNKNOWN, source.name, 0, f"compressed with {codec or 'nothing that is known'}")
            return
        inner = Inflated(source, f"{source.name}!{codec}", codec, budget)
        if inner.problem:
            yield found(BROKEN, source.name, inner.consumed, inner.problem)
        elif inner.consumed < source.size:
            left = source.size - inner.consumed
            yield found(TRAILING, source.name, inner.consumed, f"{left} bytes follow the compressed data")
        if inner.size > max(_BOMB_BYTES, _BOMB_RATIO * source.size):
            yield found(BOMB, source.name, 0, f"{source.size} bytes become {inner.size}")
        yield span(source.name, 0, inner.consumed)
        if inner.size or not inner.problem:
            yield Member(inner)


def _codec(head: bytes) -> str:
    for magic, codec in _MAGICS:
        if head.startswith(magic):
            return codec
    is_zlib = len(head) > 2 and head[0] & 0x0F == 8 and head[0] <= 0x78 and (head[0] << 8 | head[1]) % 31 == 0
    return "zlib" if is_zlib and not head[1] & 0x20 else ""


READER = CompressedReader
