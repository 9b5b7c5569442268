"""TensorFlow's graphs: SavedModel, MetaGraphDef and frozen GraphDef, and what Keras and TensorFlow lay beside them.

The formats have no magic, and the wire of one may fit another: each kind that fits the front of the file is walked
whole, and what any of them tells counts.

Misses: what the graph computes; what a function of somebody else's library does. Cost: one step a field.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule
from fastness.core.sources import BytesSource, RandomAccess
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.cursor import Cursor
from fastness.models.scan.facts import HEAD, Look, Told, found, span
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.protobuf import LENGTH, NotProtobuf, fields
from fastness.models.scan.rules import undecided
from fastness.models.scan.tensorflow_schema import WIRES, schema
from fastness.models.scan.tensorflow_walk import MAX_NESTING, UNKNOWN_FIELD, Walk

MALFORMED = undecided(
    "tensorflow-malformed", "A TensorFlow file that is not understood",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or export the model again.",
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, UNKNOWN_FIELD)

_NAMED = {
    "saved_model.pb": "SavedModel", "keras_metadata.pb": "SavedMetadata", "fingerprint.pb": "FingerprintDef",
    "saved_model_debug_info.pb": "GraphDebugInfo", "tfhub_module.pb": "ModuleDef",
}  # fmt: skip
_BY_CONTENT = ("SavedModel", "MetaGraphDef", "GraphDef")
_GRAPHS = frozenset(_BY_CONTENT)
# The fields of which one must stand in the front of a file to take it for one of these without its name.
_CUT = 16
_MUST = {"SavedModel": {2}, "MetaGraphDef": {1}, "GraphDef": {1}}


@dataclass(frozen=True)
class TensorflowGraphReader:
    """Reads saved_model.pb, frozen .pb and .meta files."""

    name: ClassVar[str] = "tensorflow-graph"
    suffixes: ClassVar[tuple[str, ...]] = ("saved_model.pb",)

    def claims(self, look: Look) -> bool:
        """By the names of SavedModel, or by fields of a graph down to a node's operator."""
        return _base(look.name) in _NAMED or any(_starts(look.head, kind) for kind in _BY_CONTENT)

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Operators, references, classes, credentials and faults.

        Raises:
            TooLarge: the budget is spent.
        """
        head = source.read_at(0, HEAD)
        named = _NAMED.get(_base(source.name))
        kinds = [named] if named else [kind for kind in _BY_CONTENT if _starts(head, kind)]
        if not kinds:
            return
        whole = False
        for kind in kinds:
            walk = Walk(source.name, Cursor(source), budget)
            try:
                walk.message(kind, source.size)
            except NotProtobuf as error:
                if len(kinds) == 1:
                    walk.told.append(found(MALFORMED, source.name, error.at, f"{kind}: {error}"))
                walk.unknown.clear()
            else:
                whole = True
            walk.finish()
            yield from walk.told
            if kind in _GRAPHS and not walk.operators and whole:
                yield found(MALFORMED, source.name, 0, f"{kind} without an operator")
        yield from search_payloads(source, 0, source.size, budget)
        if whole:
            yield span(source.name, 0, source.size)


def _base(name: str) -> str:
    return name.replace("!", "/").rpartition("/")[2]


def _starts(head: bytes, kind: str) -> bool:
    """Whether `head` begins with fields of that kind, texts in UTF-8, as far as it shows them."""
    cursor, seen = Cursor(BytesSource("", head)), set[int]()
    try:
        fits = _fits(cursor, head, kind, (len(head), 1 << 40, 0), seen)
    except NotProtobuf as error:
        fits = len(head) == HEAD and error.at > HEAD - _CUT  # the front ends within a tag
    return fits and not seen.isdisjoint(_MUST[kind])


def _fits(cursor: Cursor, head: bytes, kind: str, ends: tuple[int, int, int], seen: set[int]) -> bool:
    """Whether the fields up to the second of `ends` fit, as far as the first shows them, within so many messages."""
    shown, end, depth = ends
    known = schema()
    if depth > MAX_NESTING:
        return True
    for one in fields(cursor, end, Budget(ScanSettings(fields=2000))):
        what = known[kind].get(one.number, "")
        seen.add(one.number)
        if not what or one.wire not in WIRES.get(what, (LENGTH,)):
            return False
        if one.end <= shown and what == "t" and not _is_text(head[one.start : one.end]):
            return False
        if what in known and not _fits(cursor, head, what, (shown, min(one.end, end), depth + 1), set()):
            return False
        if one.end >= shown:
            return True
    return True


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


READER = TensorflowGraphReader
