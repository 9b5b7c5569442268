"""One walk over a message of TensorFlow on the wire: its operators, paths, assets, configurations and credentials.

Tensor data is stepped over. Every function of the library is walked like the graph itself.

Cost: one step a field.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.budget import Budget
from fastness.models.scan.credentials import SHORTEST, credential_in
from fastness.models.scan.cursor import Cursor
from fastness.models.scan.facts import Fact, FactKind, found
from fastness.models.scan.keras_config import MALFORMED as BROKEN
from fastness.models.scan.keras_config import NotKeras, keras_facts, may_be_config
from fastness.models.scan.protobuf import LENGTH, Field, NotProtobuf, fields
from fastness.models.scan.rules import MAPS
from fastness.models.scan.tensorflow_paths import KEPT, KEPT_INPUTS, Node, chosen_paths
from fastness.models.scan.tensorflow_schema import WIRES, schema

UNKNOWN_FIELD = Rule(
    "tensorflow-unknown-field", "A field that TensorFlow does not know", Severity.MEDIUM,
    "Bytes that no reader looks at can carry anything, or belong to a newer version of the format.",
    "Export the model again with a current version of its library.", MAPS,
)  # fmt: skip

MAX_NESTING = 100
KEPT_TEXT = 4096
KEPT_TEXTS = 1025
KEPT_PARTS = 4096
DOMAIN = "tensorflow"
_OWN_FILES = frozenset({"vocab_file", "filename", "file_pattern", "vocabulary_file", "checkpoint_path", "file_prefix",
                        "memory_region_name"})  # fmt: skip
_OPERATOR = re.compile(r"[A-Za-z0-9_.>/\-]{1,200}")
# What is kept of a message until the one around it ends: texts by field, and inner messages.
_TEXTS = {
    "NodeDef": {1, 2, 3}, "NodeDef.AttrEntry": {1}, "AttrValue": {2}, "OpDef": {1}, "AssetFileDef": {2}, "TensorInfo": {1},
    "SavedUserObject": {1, 3}, "SavedMetadataObject": {4, 5}, "TensorProto": {8}, "RegisteredSaver": {1}, "SavedObject": {16},
}  # fmt: skip
_INNER = frozenset({"NodeDef.AttrEntry", "AttrValue", "TensorProto", "TensorInfo", "OpDef"})
CONTENT = 4
_SCOPES = frozenset({"GraphDef", "FunctionDef"})
_CONFIGS = {("SavedUserObject", 3), ("SavedMetadataObject", 5)}


@dataclass(slots=True)
class Kept:
    """What is kept of one message until it ends."""

    kind: str
    start: int
    texts: dict[int, list[str]] = field(default_factory=dict)
    inner: list[Kept] = field(default_factory=list)

    def text(self, number: int) -> str:
        """The last text of a field, which is the one that counts; empty for none."""
        found = self.texts.get(number)
        return found[-1] if found else ""


@dataclass(slots=True)
class Walk:
    """The state of one reading.

    Attributes:
        unknown: message and number of each field that the schema does not have.
        operators: each with the offset of its first use.
        local: the functions that the model defines.
    """

    name: str
    cursor: Cursor
    budget: Budget
    told: list[Fact | Finding] = field(default_factory=list)
    unknown: set[tuple[str, int]] = field(default_factory=set)
    operators: dict[str, int] = field(default_factory=dict)
    local: set[str] = field(default_factory=set)
    scopes: list[tuple[str, dict[str, Node]]] = field(default_factory=list)
    open_scopes: list[dict[str, Node]] = field(default_factory=list)
    assets: set[str] = field(default_factory=set)
    seen: set[tuple[FactKind, str]] = field(default_factory=set)

    def message(self, kind: str, end: int, depth: int = 0) -> Kept:
        """Walk one message.

        Raises:
            NotProtobuf: a field is broken, or messages are nested too deep.
            TooLarge: the budget is spent.
        """
        kept = Kept(kind, self.cursor.position)
        if depth > MAX_NESTING:
            raise NotProtobuf(kept.start, f"messages nested deeper than {MAX_NESTING}")
        self.enter(kind)
        known = schema()
        numbers = known[kind]
        for one in fields(self.cursor, end, self.budget):
            what = numbers.get(one.number, "")
            if not what:
                self._unknown(kind, one)
            elif what in known:
                self._inner(what, one, kept, depth)
            elif one.wire not in WIRES[what]:
                raise NotProtobuf(one.offset, f"field {one.number} of {kind} has wire type {one.wire}")
            elif one.wire == LENGTH and what in "ts":
                self._text(what, one, kept)
        self.close(kept)
        self.leave(kind)
        return kept

    def enter(self, kind: str) -> None:
        """A message begins; the nodes of a graph or function are its own."""
        if kind in _SCOPES:
            self.open_scopes.append({})
            self.scopes.append((kind, self.open_scopes[-1]))

    def leave(self, kind: str) -> None:
        """It ends, and what stands behind it belongs to the one around it."""
        if kind in _SCOPES:
            self.open_scopes.pop()

    def finish(self) -> None:
        """Tell what can be told only when all of it was walked."""
        for name, offset in self.operators.items():
            local = int(name in self.local)
            self.told.append(Fact(FactKind.OPERATOR, self.name, offset, name, {"domain": DOMAIN, "local": local}))
        for kind, nodes in self.scopes:
            for path, offset in chosen_paths(nodes, frozenset(self.assets), function=kind == "FunctionDef"):
                self._once(FactKind.REFERENCE, path, offset)
        for kind, number in sorted(self.unknown):
            self.told.append(found(UNKNOWN_FIELD, self.name, 0, f"field {number} of {kind}"))

    def _inner(self, what: str, one: Field, kept: Kept, depth: int) -> None:
        if one.wire != LENGTH:
            raise NotProtobuf(one.offset, f"field {one.number} of {kept.kind} is no message")
        inner = self.message(what, one.end, depth + 1)
        if what in _INNER and kept.kind in {"NodeDef", "AssetFileDef", "FunctionDef", *_INNER}:
            kept.inner.append(inner)
            if len(kept.inner) > KEPT_PARTS:
                raise NotProtobuf(one.offset, f"more than {KEPT_PARTS} parts of a {kept.kind}")

    def _text(self, what: str, one: Field, kept: Kept) -> None:
        wanted = one.number in _TEXTS.get(kept.kind, ())
        config = (kept.kind, one.number) in _CONFIGS
        length = one.end - one.start
        if kept.kind == "TensorProto" and one.number == CONTENT and length <= KEPT_TEXT:
            kept.texts.setdefault(CONTENT, []).append(packed(self.cursor.take(length)))
            return
        if not wanted and (what == "s" or length < SHORTEST):
            return
        if config:
            self.budget.require("header_bytes", length)
        data = self.cursor.take(length if config else min(length, KEPT_TEXT))
        text = data.decode("utf-8", "replace")
        if wanted:
            texts = kept.texts.setdefault(one.number, [])
            if len(texts) >= KEPT_TEXTS:
                texts.pop()  # of a field that stands once the last counts
            texts.append(text)
        self.text(data, one.start, config=config)

    def text(self, data: bytes, offset: int, *, config: bool) -> None:
        """Look at a text for credentials, and for Keras' configurations where one may stand.

        Raises:
            TooLarge: the budget is spent.
        """
        if config and may_be_config(data):
            try:
                self.told += keras_facts(data, self.name, offset, self.budget)
            except NotKeras as error:
                self.told.append(found(BROKEN, self.name, offset, str(error)))
        if len(data) >= SHORTEST and (kind := credential_in(data[:KEPT_TEXT].decode("utf-8", "replace"))):
            self._once(FactKind.CREDENTIAL, kind, offset)

    def _unknown(self, kind: str, one: Field) -> None:
        if (kind, one.number) not in self.unknown:
            self.budget.spend("facts")
            self.unknown.add((kind, one.number))

    def close(self, kept: Kept) -> None:
        """Take in a message whose fields are all known.

        Raises:
            NotProtobuf: a node has no operator.
            TooLarge: the budget is spent.
        """
        if kept.kind == "NodeDef":
            self._node(kept)
        elif kept.kind == "FunctionDef":
            self.local |= {one.text(1) for one in kept.inner if one.kind == "OpDef"}
        elif kept.kind == "AssetFileDef":
            self._asset(kept)
        elif kept.kind in {"RegisteredSaver", "SavedObject"}:
            for saver in (kept.text(1), kept.text(16)):
                if saver:
                    self._once(FactKind.CLASS, saver, kept.start, vocabulary=DOMAIN)

    def _asset(self, kept: Kept) -> None:
        self.assets |= {one.text(1).split(":")[0] for one in kept.inner}
        if kept.text(2):
            self._once(FactKind.REFERENCE, f"assets/{kept.text(2)}", kept.start)

    def _node(self, kept: Kept) -> None:
        op = kept.text(2)
        if not _OPERATOR.fullmatch(op):
            raise NotProtobuf(kept.start, "a node without an operator")
        if op not in self.operators:
            self.budget.spend("facts")
            self.operators[op] = kept.start
        values = {one.text(1): one.inner[-1] for one in kept.inner if one.inner}
        for key, value in values.items():
            self._attribute(key, value, kept.start)
        if op in KEPT and self.open_scopes:
            texts = _constant(values.get("value")) if op == "Const" else ()
            self.open_scopes[-1][kept.text(1)] = Node(op, tuple(kept.texts.get(3, ())[:KEPT_INPUTS]), texts, kept.start)

    def _attribute(self, key: str, value: Kept, offset: int) -> None:
        """Attributes that are paths by themselves, of operators that compute otherwise."""
        text = value.text(2)
        stream = key in {"output_stream", "debug_urls"} and text.lower().startswith("file:")
        if text and (key in _OWN_FILES or stream):
            self._once(FactKind.REFERENCE, text, offset)

    def _once(self, kind: FactKind, name: str, offset: int, **detail: str) -> None:
        if (kind, name) not in self.seen:
            self.budget.spend("facts")
            self.seen.add((kind, name))
            self.told.append(Fact(kind, self.name, offset, name, detail))


def _constant(value: Kept | None) -> tuple[str, ...]:
    """The texts of a constant, in either of the forms that a tensor has for them."""
    tensors = [one for one in value.inner if one.kind == "TensorProto"] if value else []
    return (*tensors[-1].texts.get(8, ()), *tensors[-1].texts.get(4, ())) if tensors else ()


def packed(data: bytes) -> str:
    """The text of a tensor of one text whose content is written as bytes: its length, and the text; else nothing."""
    length, shift, at = 0, 0, 0
    while at < min(len(data), 5):
        length |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            break
    return data[at:].decode("utf-8", "replace") if length == len(data) - at else ""
