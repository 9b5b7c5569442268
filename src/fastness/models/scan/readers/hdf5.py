"""HDF5: every object that a link reaches, its attributes, and every place where values stand.

Tells Keras' configurations, files that reading this one opens, filters that are loaded at run time, credentials, and
programs and pickles that stand anywhere in the bytes. What no structure claims is slack, freed space or a hole: it is
searched like the rest, and more of it than libraries leave is for review.

Misses: what stands behind filters other than deflate. Cost: one step for each message, record and chunk, and one pass
over the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.credentials import SHORTEST
from fastness.models.scan.cursor import Part
from fastness.models.scan.facts import Fact, FactKind, Look, Member, Told, found, span
from fastness.models.scan.free_texts import tell_free_text
from fastness.models.scan.hdf5 import SIGNATURE, Attribute, Image, NotHdf5, Objects, superblock
from fastness.models.scan.inflate import Inflated
from fastness.models.scan.keras_config import MALFORMED as BROKEN
from fastness.models.scan.keras_config import NotKeras, keras_facts, may_be_config
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.rules import MAPS, undecided

MALFORMED = undecided(
    "hdf5-malformed", "An HDF5 file that is not understood",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or save the model again with its library.",
)  # fmt: skip
UNFOLLOWED = undecided(
    "hdf5-unfollowed", "A part of HDF5 that is not followed",
    "What cannot be read cannot be vouched for.", "Save the model again as .keras or .weights.h5 with a current library.",
)  # fmt: skip
TRAILING = undecided(
    "hdf5-trailing-bytes", "Bytes behind the end of an HDF5 file",
    "No HDF5 reader looks at them; another program may.", "Save the model again, and remove what was appended.",
)  # fmt: skip
OVERLAP = Rule(
    "hdf5-overlap", "Two structures of an HDF5 file claim the same bytes", Severity.HIGH,
    "The same bytes are then a header to one reader and a weight to the next.",
    "No honest library writes this. Save the model again.", MAPS,
)  # fmt: skip
FILTER = Rule(
    "hdf5-filter", "Values behind a filter that is loaded at run time", Severity.MEDIUM,
    "Reading the values loads a library that the file names by a number, from wherever plug-ins are searched.",
    "Save the model with the filters of HDF5 itself (deflate, shuffle), or without.", {**MAPS, "cwe": "CWE-829"},
)  # fmt: skip
UNUSED = Rule(
    "hdf5-unused-space", "Much of an HDF5 file belongs to nothing", Severity.MEDIUM,
    "Deleted weights stay in the file for whoever looks, and other things can be kept there.",
    "Save the model again, or run h5repack.", {**MAPS, "cwe": "CWE-212"},
)  # fmt: skip
BLANK = Rule(
    "hdf5-blank", "An HDF5 signature with nothing but zeros behind it", Severity.LOW,
    "It holds no weights, and no library opens it.", "Save the model again.", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, UNFOLLOWED, TRAILING, OVERLAP, FILTER, UNUSED, BLANK)

BUILT_IN = frozenset({1, 2, 3, 4, 5, 6, 32000})
"""Filters of the library itself, and LZF, which h5py brings along."""
_DEFLATE, _SHUFFLE, _CHECKSUM = 1, 2, 3
_LARGEST_SLACK = 1 << 18
_SLACK_SHARE = 4
_STEP = 1 << 20
_CONFIGS = frozenset({"model_config", "training_config"})


@dataclass(frozen=True)
class Hdf5Reader:
    """Reads .h5 and .hdf5 files."""

    name: ClassVar[str] = "hdf5"
    suffixes: ClassVar[tuple[str, ...]] = (".h5", ".hdf5")

    def claims(self, look: Look) -> bool:
        """By the signature, which may stand behind a block of the user's own."""
        return any(look.head[at : at + 8] == SIGNATURE for at in (0, 512, 1024, 2048)) or look.named(".h5", ".hdf5")

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Configurations, references, faults, payloads, and the spans.

        Raises:
            TooLarge: the budget is spent.
        """
        base = _base(source)
        if base < 0:
            return
        if base and not _blank(source, 0, base):
            yield Member(Part(source, f"{source.name}!userblock", 0, base))
        if source.size > base + 8 and _blank(source, base + 8, source.size):
            yield found(BLANK, source.name, base, f"{source.size - base - 8} zeros behind the signature")
            yield span(source.name, 0, source.size)
            return
        image, visit = Image(source, base, budget), _Visit(source, budget)
        end, broken = source.size, False
        try:
            end = _walked(image, visit)
        except NotHdf5 as error:
            broken = True
            visit.told.append(found(MALFORMED, source.name, error.at, str(error)))
        yield from visit.told
        yield from search_payloads(source, base, source.size, budget)
        if broken:
            return
        yield from _beside(source, image, end)
        yield span(source.name, 0, source.size)


def _walked(image: Image, visit: _Visit) -> int:
    """Visit all objects; where the file says that it ends."""
    block = superblock(image)
    if block.end > image.source.size:
        raise NotHdf5(image.source.size, "the file is shorter than it says")
    Objects(image, visit).walk(block)
    return block.end


def _base(source: RandomAccess) -> int:
    """Where the superblock stands: at the front, or at a power of two; -1 for nowhere."""
    at = 0
    while at < source.size:
        if source.read_at(at, 8) == SIGNATURE:
            return at
        at = max(512, 2 * at)
    return -1


def _blank(source: RandomAccess, start: int, end: int) -> bool:
    return not any(source.read_at(at, min(_STEP, end - at)).strip(b"\0") for at in range(start, end, _STEP))


def _beside(source: RandomAccess, image: Image, end: int) -> Iterator[Told]:
    """What stands behind the end and between the structures."""
    if not _blank(source, end, source.size):
        left = source.size - end
        yield found(TRAILING, source.name, end, f"{left} bytes stand behind the end")
        yield Member(Part(source, f"{source.name}!behind", end, left), end)
    loose, first = 0, end
    for start, stop in image.gaps(end):
        if not _blank(source, start, stop):
            loose += stop - start
            first = min(first, start)
    for at in image.overlaps:
        yield found(OVERLAP, source.name, at, "two structures claim this place")
    if loose > max(_LARGEST_SLACK, source.size // _SLACK_SHARE):
        yield found(UNUSED, source.name, first, f"{loose} bytes that are not zero belong to nothing")


@dataclass(slots=True)
class _Visit:
    """What is told of the objects."""

    source: RandomAccess
    budget: Budget
    told: list[Told] = field(default_factory=list)
    seen: set[tuple[str, str]] = field(default_factory=set)

    def attribute(self, one: Attribute) -> None:
        if may_be_config(one.value):
            try:
                self.told += keras_facts(one.value.rstrip(b"\0"), self.source.name, one.place, self.budget)
            except NotKeras as error:
                if one.name in _CONFIGS:  # other texts need not be JSON because they begin like it
                    self.told.append(found(BROKEN, self.source.name, one.place, str(error)))
        self.text(one.value, one.place)

    def elsewhere(self, location: str, place: int) -> None:
        self._once("reference", location, Fact(FactKind.REFERENCE, self.source.name, place, location))

    def filter(self, number: int, name: str, place: int) -> None:
        if number not in BUILT_IN:
            text = f"filter {number} ({ascii(name[:80])[1:-1]})"
            self._once("filter", str(number), found(FILTER, self.source.name, place, text, filter=number))

    def odd(self, what: str, place: int) -> None:
        self._once("odd", what, found(UNFOLLOWED, self.source.name, place, what))

    def text(self, value: bytes, place: int) -> None:
        if len(value) < SHORTEST:
            return
        for item in tell_free_text(self.source.name, "", value.decode("utf-8", "replace"), place):
            self._once("text", repr(item), item)

    def packed(self, place: int, length: int, filters: tuple[int, ...]) -> None:
        """Values that can be anything, behind deflate: a program in them is as good as one in plain sight."""
        if _DEFLATE not in filters or not set(filters) <= {_DEFLATE, _SHUFFLE, _CHECKSUM}:
            return
        inner = Inflated(
            Part(self.source, f"{self.source.name}!chunk", place, length),
            f"{self.source.name}!chunk",
            "zlib",
            self.budget,
        )
        for fact in search_payloads(inner, 0, inner.size, self.budget):
            self.told.append(Fact(fact.kind, f"{self.source.name}!chunk", fact.offset, fact.name, fact.detail))

    def _once(self, kind: str, name: str, told: Told) -> None:
        if (kind, name) not in self.seen:
            self.budget.spend("facts")
            self.seen.add((kind, name))
            self.told.append(told)


READER = Hdf5Reader
