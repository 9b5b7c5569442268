"""skops files: a tree of nodes in `schema.json`, each naming a class and the kind of node that builds it, and arrays beside.

Loading builds what the nodes name, with the values in the file. Which classes may be named is a reviewed list; which kinds
of node there are is fixed. A node whose name and kind do not fit is an attack on the checks of the loader itself.

Misses: what a reviewed class does with hostile values, such as indices of a tree beyond its arrays. Cost: linear in the
schema, which is read once; its nodes are judged while it is parsed, and not kept.

Source: skops 0.16, `skops/io/_audit.py`, `_general.py`, `_numpy.py`; CVE-2025-54412, -54413, -54886.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.entries import shown
from fastness.models.scan.facts import Fact, FactKind, found
from fastness.models.scan.rules import MAPS, SAFE_FORMAT, undecided

MALFORMED = undecided(
    "skops-malformed", "A skops file whose schema is not understood",
    "What cannot be parsed cannot be vouched for.", "Save the model again with skops.io.dump.",
)  # fmt: skip
KIND = Rule(
    "skops-node-kind", "A kind of node that is not known", Severity.MEDIUM,
    "What the loader builds from it was not reviewed; it may come from a newer version.",
    "Save the model with a version of skops that is known here.", MAPS,
)  # fmt: skip
DISGUISED = Rule(
    "skops-disguised-node", "A node that names another thing than it loads", Severity.HIGH,
    "The check of the loader looks at the name, the loader at something else: code of the attacker's choice runs.",
    f"No honest program writes this. {SAFE_FORMAT}", {**MAPS, "cwe": "CWE-351", "atlas": "AML.T0011.000"},
)  # fmt: skip
METHOD = Rule(
    "skops-method", "A method that is taken from an object", Severity.MEDIUM,
    "What is called later is a method of the file's choice.", f"Find out what it is for. {SAFE_FORMAT}", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, KIND, DISGUISED, METHOD)

_SCHEMA = "schema.json"
_LARGEST = 32 << 20
_MARK = b'"__loader__"'
_KINDS = frozenset({
    "CachedNode", "DictNode", "DefaultDictNode", "ListNode", "SetNode", "TupleNode", "BytesNode", "BytearrayNode", "SliceNode",
    "FunctionNode", "MethodNode", "PartialNode", "TypeNode", "ConstructorFromReduceNode", "ObjectNode", "JsonNode",
    "OperatorFuncNode", "NdArrayNode", "MaskedArrayNode", "DTypeNode", "RandomStateNode", "RandomGeneratorNode",
    "SparseMatrixNode", "LossNode", "TreeNode", "_DictWithDeprecatedKeysNode", "QuantileForestNode",
})  # fmt: skip
_MODULES = {
    "OperatorFuncNode": frozenset({"operator"}),
    "PartialNode": frozenset({"functools"}),
    "BytesNode": frozenset({"builtins"}),
    "BytearrayNode": frozenset({"builtins"}),
    "SliceNode": frozenset({"builtins"}),
    "JsonNode": frozenset({"builtins"}),
    "ListNode": frozenset({"builtins"}),
    "SetNode": frozenset({"builtins"}),
}
"""Kinds that build things of one module, whatever the node says."""
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TEXT = 200


@dataclass(frozen=True, slots=True)
class _Node:
    """What is kept of a node that was judged, for the one around it."""

    name: str
    text: str = ""


@dataclass(slots=True)
class _Walk:
    """What gathers while the schema is parsed."""

    source: str
    names: dict[tuple[str, str], None] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    files: dict[str, None] = field(default_factory=dict)

    def closed(self, items: list[tuple[str, object]]) -> object:
        """Judge an object of the schema; what is returned stands for it."""
        node = dict(items)
        if len(node) != len(items) and "__loader__" in node:
            self.findings.append(found(DISGUISED, self.source, 0, "a node says the same thing twice"))
        if "__loader__" not in node:
            return node if len(node) <= 8 else None
        kind, module, name = (str(node.get(key, "")) for key in ("__loader__", "__module__", "__class__"))
        path = f"{module}.{name}"
        self.names[kind, path] = None
        if kind not in _KINDS:
            self.findings.append(found(KIND, self.source, 0, f"{shown(path)} is built by {shown(kind)}"))
        if not _PLAIN.fullmatch(name) and kind != "ConstructorFromReduceNode":
            self.findings.append(found(DISGUISED, self.source, 0, f"{shown(name)} is no name of a class"))
        if module not in _MODULES.get(kind, {module}):
            self.findings.append(found(DISGUISED, self.source, 0, f"{kind} claims to be {shown(path)}"))
        content = node.get("content")
        if isinstance(content, dict):
            self._content(kind, path, content)
        if isinstance(node.get("file"), str):
            self.files[str(node["file"])] = None
        text = str(content)[:_TEXT] if kind == "JsonNode" else ""
        return _Node(path, text)

    def _content(self, kind: str, path: str, content: dict[str, object]) -> None:
        if kind == "MethodNode":
            name, owner = str(content.get("func", "")), content.get("obj")
            if not isinstance(owner, _Node) or owner.name != path or not _PLAIN.fullmatch(name) or name.startswith("_"):
                self.findings.append(found(DISGUISED, self.source, 0, f"{shown(name)} is taken from {shown(path)}"))
            else:
                self.findings.append(found(METHOD, self.source, 0, f"{shown(path)}.{shown(name)}"))
        generator = content.get("bit_generator")
        if isinstance(generator, _Node) and generator.text:
            self.names["RandomGeneratorNode", f"numpy.random.{generator.text.strip(chr(34))}"] = None


@dataclass(frozen=True)
class SkopsLayout:
    """Knows skops files."""

    name: ClassVar[str] = "skops"
    suffixes: ClassVar[tuple[str, ...]] = (".skops",)

    def claims(self, bundle: Bundle) -> bool:
        """By a schema of nodes."""
        return _SCHEMA in bundle and _MARK in bundle.source(_SCHEMA).read_at(0, 1 << 16)

    def reader(self, path: str, bundle: Bundle) -> str:
        """Arrays by their names; the schema is read here."""
        del bundle
        if path == _SCHEMA:
            return "json"
        return "npy" if path.endswith(".npy") else ""

    def read(self, bundle: Bundle, budget: Budget) -> Iterator[Fact | Finding]:
        """The names of all nodes, the files that they read, and nodes that are not what they say.

        Raises:
            TooLarge: the schema is longer than is read.
        """
        source = bundle.source(_SCHEMA)
        walk = _Walk(source.name)
        try:
            json.loads(bundle.text(_SCHEMA, _LARGEST), object_pairs_hook=walk.closed)
        except (ValueError, RecursionError) as error:
            yield found(MALFORMED, source.name, 0, f"the schema is no tree of nodes: {type(error).__name__}")
        for kind, path in walk.names:
            budget.spend("facts")
            detail = {"vocabulary": "skops", "kind": kind}
            yield Fact(FactKind.CLASS, source.name, 0, path, detail)
        yield from walk.findings
        for name in walk.files:
            yield Fact(FactKind.REFERENCE, source.name, 0, name)


LAYOUT = SkopsLayout
