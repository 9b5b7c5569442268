"""XGBoost: models as JSON, as UBJSON, and in the binary format of versions before 3.1.

Holds no code. Each tree is held against itself: as many of everything as there are nodes, and children that are nodes.
Attributes are free texts, and are looked at as such. Pickled boosters are read as the pickles they are. Cost: one step
for each key; long lists are summed up.

Source: XGBoost 3.2, `doc/model.schema`, `src/common/json.cc`; 1.7, `src/learner.cc`, `src/gbm/gbtree_model.h`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.credentials import SHORTEST, credential_in
from fastness.models.scan.cursor import Cursor, Truncated
from fastness.models.scan.events import MOST_NUMBERS, Broken, Event, Kind, json_events, ubjson_events
from fastness.models.scan.facts import Fact, FactKind, Look, Told, found, span
from fastness.models.scan.onnx_parts import code_in
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.rules import MAPS, undecided

MALFORMED = undecided(
    "xgboost-malformed", "An XGBoost model that is not understood",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or save the model again.",
)  # fmt: skip
BOUNDS = Rule(
    "xgboost-tree-bounds", "A tree that leads out of itself", Severity.HIGH,
    "Libraries follow children and features by number without asking, and read, or write, what is not theirs.",
    "No honest library writes this. Save the model again.", {**MAPS, "cwe": "CWE-125"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, BOUNDS)

_JSON = re.compile(rb'\s*\{[^{]{0,200}"learner"\s*:\s*\{')
_BINARY = b"binf"
_OBJECTIVE = re.compile(rb"[a-z]+:[a-z_0-9]+\Z")
_BOOSTERS = {b"gbtree", b"dart", b"gblinear"}
_CHILDREN = ("left_children", "right_children")
_FOLLOWED = frozenset({*_CHILDREN, "split_indices"})
_NODES = ("left_children", "right_children", "parents", "split_indices", "split_conditions", "default_left")


@dataclass(frozen=True)
class XgboostReader:
    """Reads models of XGBoost."""

    name: ClassVar[str] = "xgboost"
    suffixes: ClassVar[tuple[str, ...]] = (".ubj", ".xgb")

    def claims(self, look: Look) -> bool:
        """By the first keys, or by the names of objective and booster at their place."""
        return bool(_JSON.match(look.head)) or _is_ubjson(look.head) or bool(_binary_start(look.head))

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Faults of trees, what attributes hold, and the span.

        Raises:
            TooLarge: the budget is spent.
        """
        head = source.read_at(0, 4096)
        if start := _binary_start(head):
            yield from _binary(source, budget, start)
            return
        walk = _Walk(source.name, budget)
        events = json_events if head.lstrip()[:1] == b"{" and not _is_ubjson(head) else ubjson_events
        try:
            for event in events(source, budget):
                walk.take(event)
        except Broken as broken:
            yield from walk.told
            yield found(MALFORMED, source.name, broken.at, str(broken))
            return
        yield from walk.told
        if events is ubjson_events:
            yield from search_payloads(source, 0, source.size, budget)
        yield span(source.name, 0, source.size)


def _is_ubjson(head: bytes) -> bool:
    return re.match(rb"\{(?:[iU].|[Iu]..|[lm].{4}|[LM].{8}|[#$])", head[:16], re.DOTALL) is not None and (
        b"learner" in head[:64] or b"Config" in head[:64] or b"Model" in head[:64]
    )


def _lean(event: Event) -> Event:
    """The event, with its numbers only where they are followed."""
    return event if event.key in _FOLLOWED else replace(event, numbers=())


def leads_back(left: Sequence[int], right: Sequence[int]) -> bool:
    """Whether a node is led to twice, or the first at all. Nodes that were pruned lend their numbers to later ones."""
    inner = [(one, two) for one, two in zip(left, right, strict=False) if one != -1]
    led = {child for pair in inner for child in pair}
    return len(led) != 2 * len(inner) or 0 in led


@dataclass(slots=True)
class _Walk:
    """The state of one reading."""

    name: str
    budget: Budget
    told: list[Fact | Finding] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    tree: dict[str, Event] = field(default_factory=dict)
    largest_split: tuple[int, int] = (-1, 0)
    features: int = 0

    def take(self, event: Event) -> None:
        """Take in one event."""
        if event.kind in {Kind.OBJECT, Kind.LIST}:
            self._open(event)
        elif event.kind is Kind.END:
            if self._in_tree() and self.tree:
                self._tree()
            self.path.pop()
            if not self.path and self.features and self.largest_split[0] >= self.features:
                self._wrong(self.largest_split[1], f"a split by feature {self.largest_split[0]} of {self.features}")
        elif event.kind is Kind.TEXT:
            self._text(event)
        elif event.kind is Kind.NUMBERS and self._in_tree():
            if event.key in self.tree:
                self._tell(found(MALFORMED, self.name, event.at, f"{event.key} stands twice in a tree"))
            self.tree[event.key] = _lean(event)

    def _open(self, event: Event) -> None:
        if event.key in _FOLLOWED and self._in_tree():
            self._tell(found(MALFORMED, self.name, event.at, f"{event.key} of a tree is no list of numbers"))
        self.path.append(event.key)
        if self._in_tree():
            self.tree.clear()

    def _in_tree(self) -> bool:
        return len(self.path) > 1 and self.path[-2:] == ["trees", ""]

    def _text(self, event: Event) -> None:
        if event.key in {"num_nodes", "size_leaf_vector"} and "tree_param" in self.path[-1:]:
            self.tree[event.key] = event
        elif event.key == "num_feature" and "learner_model_param" in self.path and event.text.isdigit():
            self.features = int(event.text[:12])
        if len(event.text) >= SHORTEST and (kind := credential_in(event.text)):
            self._tell(Fact(FactKind.CREDENTIAL, self.name, event.at, kind))
        if "attributes" in self.path and code_in(event.text):
            detail: dict[str, str | int] = {"language": "text", "runs": "use"}
            self._tell(Fact(FactKind.CODE, self.name, event.at, "an attribute that holds a program", detail))

    def _tree(self) -> None:
        told = self.tree.get("num_nodes")
        nodes = int(told.text) if told is not None and told.text.isdigit() and len(told.text) < 12 else -1
        for key in _NODES:
            event = self.tree.get(key)
            if event is not None and nodes >= 0 and event.count not in {nodes, 0}:
                self._wrong(event.at, f"{event.count} {key} for {nodes} nodes")
        self._leads()

    def _leads(self) -> None:
        """Where the nodes of the tree lead: no node is led to twice, and none back to the first, for predicting would never end."""
        left, right = (self._children(key) for key in _CHILDREN)
        if left is None or right is None or not left.count:
            return
        if max(left.count, right.count) > MOST_NUMBERS:
            self._tell(
                found(MALFORMED, self.name, left.at, f"a tree of {left.count} nodes is too large to be followed")
            )
        elif left.count != right.count or len(left.numbers) != left.count or leads_back(left.numbers, right.numbers):
            self._wrong(left.at, "a node of a tree leads back, or is led to twice")
        if (splits := self.tree.get("split_indices")) is not None:
            self._splits(splits, left.numbers)

    def _children(self, key: str) -> Event | None:
        event = self.tree.get(key)
        if event is not None and event.count and not -1 <= event.low <= event.high < event.count:
            self._wrong(event.at, f"{key} from {event.low} to {event.high}, of {event.count} nodes")
        return event

    def _splits(self, splits: Event, left: Sequence[int]) -> None:
        """The features by which nodes split; leaves, and nodes that were pruned, split by none."""
        used = [split for split, child in zip(splits.numbers, left, strict=False) if child != -1]
        self.largest_split = max(self.largest_split, (max(used, default=-1), splits.at))
        if min(used, default=0) < 0:
            self._wrong(splits.at, "a split by a negative feature")

    def _wrong(self, at: int, problem: str) -> None:
        self._tell(found(BOUNDS, self.name, at, problem))

    def _tell(self, told: Fact | Finding) -> None:
        self.budget.spend("facts")
        self.told.append(told)


# ---------------------------------------------------------------- the binary format
_LEARNER, _TREES, _TREE, _LINEAR = 136, 160, 148, 136
_NODE, _STATS = 20, 16
_MAX_TEXT = 1 << 20


def _binary_start(head: bytes) -> int:
    """Where the learner begins in a file of the binary format; 0 where it is none. Offset 0 is told as -1."""
    for start in (4,) if head.startswith(_BINARY) else (0,):
        at = start + _LEARNER
        if len(head) < at + 8:
            return 0
        length = int.from_bytes(head[at : at + 8], "little")
        name = head[at + 8 : at + 8 + length] if length < 64 else b""
        if _OBJECTIVE.match(name):
            return start or -1
    return 0


def _binary(source: RandomAccess, budget: Budget, start: int) -> Iterator[Told]:
    cursor = Cursor(source, max(0, start))
    try:
        learner = struct.unpack("<34i", cursor.take(_LEARNER))
        _, booster = _word(cursor), _word(cursor)
        if booster not in _BOOSTERS:
            yield found(MALFORMED, source.name, cursor.position, f"a booster {booster[:40]!a}")
            return
        yield from _linear(cursor) if booster == b"gblinear" else _trees(source.name, cursor, budget, booster)
        if learner[3]:  # attributes follow
            yield from _attributes(source.name, cursor, budget)
        if learner[4]:  # the names of metrics follow
            for _ in range(_count(cursor, 8)):
                _word(cursor)
    except Truncated as cut:
        yield found(BOUNDS, source.name, cut.at, "a count or a length leaves the file")
        yield span(source.name, 0, source.size)
        return
    yield from search_payloads(source, 0, cursor.position, budget)
    yield span(source.name, 0, cursor.position)


def _count(cursor: Cursor, width: int) -> int:
    """A count of things that have at least so many bytes."""
    count = int.from_bytes(cursor.take(8), "little")
    if count * width > cursor.end - cursor.position:
        raise Truncated(cursor.position)
    return count


def _word(cursor: Cursor) -> bytes:
    length = _count(cursor, 1)
    if length > _MAX_TEXT:
        raise Truncated(cursor.position)
    return cursor.take(length)


def _linear(cursor: Cursor) -> Iterator[Told]:
    cursor.skip(_LINEAR)
    cursor.skip(4 * _count(cursor, 4))
    yield from ()


def _trees(name: str, cursor: Cursor, budget: Budget, booster: bytes) -> Iterator[Told]:
    trees = struct.unpack("<i", cursor.take(_TREES)[:4])[0]
    if trees < 0 or trees * _TREE > cursor.end - cursor.position:
        raise Truncated(cursor.position)
    for _ in range(trees):
        at = cursor.position
        nodes, _, _, features, leaves = struct.unpack_from("<5i", cursor.take(_TREE), 4)
        if nodes < 1 or nodes * (_NODE + _STATS) > cursor.end - cursor.position:
            raise Truncated(at)
        if problem := _nodes(cursor, budget, nodes, features):
            yield found(BOUNDS, name, at, problem)
        cursor.skip(nodes * _STATS)
        if leaves > 1:
            cursor.skip(4 * _count(cursor, 4))
    cursor.skip(4 * trees)
    if booster == b"dart" and trees:
        cursor.skip(4 * _count(cursor, 4))


def _nodes(cursor: Cursor, budget: Budget, nodes: int, features: int) -> str:
    """What is wrong with a tree's nodes, all of which are read, or an empty text."""
    problem = ""
    led = bytearray(nodes)
    for number in range(nodes):
        budget.spend("fields")
        _, left, right, split, _ = struct.unpack("<iiiIi", cursor.take(_NODE))
        if left == -1 or problem:
            continue
        inside = 0 <= left < nodes and 0 <= right < nodes and (split & 0x7FFFFFFF) < max(features, 1)
        if not inside:
            problem = f"node {number} of {nodes} leads to {left} and {right}"
        elif not left or not right or left == right or led[left] or led[right]:
            problem = f"node {number} of {nodes} leads back, or where another leads"
        else:
            led[left] = led[right] = 1
    return problem


def _attributes(name: str, cursor: Cursor, budget: Budget) -> Iterator[Told]:
    for _ in range(_count(cursor, 16)):
        budget.spend("facts")
        at = cursor.position
        for text in (_word(cursor).decode("utf-8", "replace"), _word(cursor).decode("utf-8", "replace")):
            if kind := credential_in(text):
                yield Fact(FactKind.CREDENTIAL, name, at, kind)
            if code_in(text):
                detail: dict[str, str | int] = {"language": "text", "runs": "use"}
                yield Fact(FactKind.CODE, name, at, "an attribute that holds a program", detail)


READER = XgboostReader
