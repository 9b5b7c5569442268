"""Where a TensorFlow graph saves and restores: the texts that its operators put together into a path.

A SavedModel saves and restores itself at a path that the caller gives; a path that begins with a constant of the graph
is the model's own choice, and so is one that other operators than the listed ones compute.

A constant that is given to a function counts as a path if it looks like one.

Misses: paths that are given to functions in parts, or by an operator that has the name of the function.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

UNKNOWN = "?"
COMPUTED = "/../?"
"""What an operator computes that is not followed; told like a path that leaves the model, for it may be one."""
MAX_STEPS = 400
MAX_DEPTH = 100
MAX_TEXTS = 8
_ROOTED = re.compile(r"[/\\~]|[A-Za-z]:[/\\]|[A-Za-z][A-Za-z0-9+.-]*://")
_FIRST, _SECOND, _ALL, _ALL_BUT_FIRST = slice(1), slice(1, 2), slice(None), slice(1, None)
_PASSING = {
    **dict.fromkeys((
        "Identity", "Reshape", "Squeeze", "ExpandDims", "PlaceholderWithDefault", "ShardedFilename", "ShardedFilespec",
        "EnsureShape", "GuaranteeConst", "StringLower", "StringStrip", "StringUpper", "Switch", "RefSwitch", "Enter", "Exit",
        "NextIteration", "Gather", "GatherV2", "GatherNd", "StridedSlice", "Slice", "Unpack", "SplitV", "Tile", "Reverse",
        "ReverseV2", "Transpose", "BroadcastTo", "StaticRegexReplace", "RegexReplace", "Substr", "StopGradient", "Snapshot",
    ), _FIRST),
    **dict.fromkeys(("Fill", "Split"), _SECOND),
    **dict.fromkeys(("IdentityN", "Pack", "Merge", "RefMerge", "ConcatV2"), _ALL),
    **dict.fromkeys(("Concat", "Select", "SelectV2"), _ALL_BUT_FIRST),
}  # fmt: skip
"""Operators whose value is one of these inputs, or for the first ones made of it."""
_CHANGING = frozenset({"StringUpper", "StaticRegexReplace", "RegexReplace", "Substr"})
_GIVEN = frozenset({"Placeholder", "PlaceholderV2", "_Arg", "Arg"})
_TARGETS = {
    "SaveV2": (0,), "RestoreV2": (0,), "Save": (0,), "SaveSlices": (0,), "Restore": (0,), "RestoreSlice": (0,),
    "MergeV2Checkpoints": (0, 1), "InitializeTableFromTextFile": (1,), "InitializeTableFromTextFileV2": (1,),
}  # fmt: skip
_CALLS = frozenset({
    "PartitionedCall", "StatefulPartitionedCall", "If", "StatelessIf", "While", "StatelessWhile", "Case", "StatelessCase",
    "BatchFunction", "MapDataset", "ParallelMapDataset", "ParallelMapDatasetV2", "FlatMapDataset", "ReduceDataset",
    "ScanDataset", "MapDefun",
})  # fmt: skip
_PATH = re.compile(r"(?:[/\\~]|[A-Za-z]:[/\\]|[A-Za-z][A-Za-z0-9+.-]*://|\.\.[/\\])[\w.%-]+(?:[/\\][\w.%-]+)+")
KEPT_INPUTS = 1024
KEPT = frozenset({*_PASSING, *_CALLS, *_TARGETS, *_GIVEN, "Const", "StringJoin"})
"""The operators that have to be kept to follow paths."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operator of a graph or function: its inputs by the names of other nodes, and the texts of a constant."""

    op: str
    inputs: tuple[str, ...]
    texts: tuple[str, ...] = ()
    offset: int = 0


def chosen_paths(
    nodes: Mapping[str, Node], assets: frozenset[str], *, function: bool = False
) -> Iterator[tuple[str, int]]:
    """The paths that a graph chooses itself, with the offset of the operator that reads or writes there.

    Args:
        assets: names of constants whose value a loader replaces by the path of a file of the model.
        function: whether it is the body of a function, whose arguments are no nodes.
    """
    for node in nodes.values():
        inputs = [node.inputs[at] for at in _TARGETS.get(node.op, ()) if at < len(node.inputs)]
        for text in sorted({text for one in inputs for text in _Follow(nodes, assets, function=function).texts(one)}):
            if _ROOTED.match(text) or ".." in re.split(r"[/\\]", text):
                yield text, node.offset
        for one in node.inputs if node.op in _CALLS else ():
            texts = _Follow(nodes, assets, function=function).texts(one)
            if len(texts) == 1 and _PATH.fullmatch(text := min(texts)):
                yield text, node.offset


class _Follow:
    def __init__(self, nodes: Mapping[str, Node], assets: frozenset[str], *, function: bool) -> None:
        self._function = function
        self._nodes = nodes
        self._assets = assets
        self._steps = 0
        self._within: set[str] = set()

    def texts(self, reference: str) -> set[str]:
        """The texts that a value may have; `?` stands for what the caller gives."""
        name, colon, _ = reference.partition(":")
        node = self._nodes.get(name)
        self._steps += 1
        if name in self._assets:
            return {UNKNOWN}
        if self._steps > MAX_STEPS or len(self._within) > MAX_DEPTH:
            return {COMPUTED}
        if node is None:
            return {COMPUTED if colon or not self._function else UNKNOWN}  # an argument of a function has no colon
        if node.op == "Const":
            return set(node.texts[:MAX_TEXTS]) or {""}
        if node.op in _GIVEN or name in self._within:
            return {UNKNOWN} if node.op in _GIVEN else set()  # a circle adds nothing to what comes into it
        self._within.add(name)
        found = self._made(node)
        self._within.discard(name)
        return found

    def _made(self, node: Node) -> set[str]:
        """What an operator makes of its inputs."""
        inputs = [one for one in node.inputs if not one.startswith("^")]
        if node.op in _CALLS or (len(node.inputs) >= KEPT_INPUTS and node.op != "Pack"):
            return {COMPUTED}
        if node.op == "StringJoin":
            return self._joined(inputs)
        taken = inputs[_PASSING.get(node.op, _ALL)][:MAX_TEXTS]
        found = {text for one in taken for text in self.texts(one)} or {UNKNOWN}
        if node.op in _CHANGING:
            return {text if text.startswith(UNKNOWN) else COMPUTED for text in found}
        return found

    def _joined(self, inputs: list[str]) -> set[str]:
        found = {""}
        for one in inputs:
            parts = sorted(self.texts(one))[:MAX_TEXTS]
            found = {(text + part)[:4096] for text in sorted(found)[:MAX_TEXTS] for part in parts}
        return found
