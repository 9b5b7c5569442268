"""Where a TensorFlow graph saves and restores: the texts that its operators put together into a path.

A SavedModel saves and restores itself at a path that the caller gives; a path that begins with a constant of the graph
is the model's own choice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

UNKNOWN = "?"
MAX_STEPS = 400
MAX_TEXTS = 8
_ROOTED = re.compile(r"[/\\~]|[A-Za-z]:[/\\]|[A-Za-z][A-Za-z0-9+.-]*://")
_PASSING = {
    "Identity": 0, "IdentityN": 0, "Reshape": 0, "Squeeze": 0, "ExpandDims": 0, "Pack": 0, "PlaceholderWithDefault": 0,
    "ShardedFilename": 0, "ShardedFilespec": 0, "StringLower": 0, "StringStrip": 0, "EnsureShape": 0, "GuaranteeConst": 0,
}  # fmt: skip
_TARGETS = {
    "SaveV2": (0,), "RestoreV2": (0,), "Save": (0,), "SaveSlices": (0,), "Restore": (0,), "RestoreSlice": (0,),
    "MergeV2Checkpoints": (0, 1), "InitializeTableFromTextFile": (1,), "InitializeTableFromTextFileV2": (1,),
}  # fmt: skip
KEPT = frozenset({*_PASSING, *_TARGETS, "Const", "StringJoin", "Select", "SelectV2"})
"""The operators that have to be kept to follow paths."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operator of a graph or function: its inputs by the names of other nodes, and the text of a constant."""

    op: str
    inputs: tuple[str, ...]
    text: str = ""
    offset: int = 0


def chosen_paths(nodes: Mapping[str, Node], assets: frozenset[str]) -> Iterator[tuple[str, int]]:
    """The paths that a graph chooses itself, with the offset of the operator that reads or writes there.

    Args:
        assets: names of constants whose value a loader replaces by the path of a file of the model.
    """
    for node in nodes.values():
        inputs = [node.inputs[at] for at in _TARGETS.get(node.op, ()) if at < len(node.inputs)]
        for text in sorted({text for one in inputs for text in _Follow(nodes, assets).texts(one)}):
            if _ROOTED.match(text) or ".." in re.split(r"[/\\]", text):
                yield text, node.offset


class _Follow:
    def __init__(self, nodes: Mapping[str, Node], assets: frozenset[str]) -> None:
        self._nodes = nodes
        self._assets = assets
        self._steps = 0

    def texts(self, reference: str) -> set[str]:
        """The texts that a value may have; `?` stands for what the caller gives."""
        name = reference.partition(":")[0]
        node = self._nodes.get(name)
        self._steps += 1
        if node is None or name in self._assets or self._steps > MAX_STEPS:
            return {UNKNOWN}
        if node.op == "Const":
            return {node.text}
        inputs = [one for one in node.inputs if not one.startswith("^")]
        if node.op == "StringJoin":
            return self._joined(inputs)
        if node.op in {"Select", "SelectV2"}:
            return {text for one in inputs[1:3] for text in self.texts(one)}
        return self.texts(inputs[0]) if node.op in _PASSING and inputs else {UNKNOWN}

    def _joined(self, inputs: list[str]) -> set[str]:
        found = {""}
        for one in inputs:
            parts = sorted(self.texts(one))[:MAX_TEXTS]
            found = {(text + part)[:4096] for text in sorted(found)[:MAX_TEXTS] for part in parts}
        return found
