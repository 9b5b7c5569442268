"""How values flow through a graph of ONNX: whether an output is chosen by the input itself, past all that was learned.

That is how a backdoor is put into a graph without training: the input is compared with a trigger, and where it fits, another
value takes the place of the model's own. Honest graphs compare too (masks, clipping), but what they choose goes on into
the model.

Source: HiddenLayer, "ShadowLogic: Backdooring Neural Networks through Computational Graphs", 2024.

Misses: what happens within functions and inner graphs, and triggers that are themselves a learned layer. Cost: one pass
over the fields of the graph's own nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.cursor import Cursor
from fastness.models.scan.protobuf import LENGTH, Field, fields

MOST_NODES = 200_000
_NAME = 4096
_GRAPH, _NODE, _INPUT, _OUTPUT = 7, 1, 11, 12
_LEARNED = frozenset({
    "Attention", "Conv", "ConvInteger", "ConvTranspose", "EmbedLayerNormalization", "Gemm", "GRU", "LinearClassifier", "LinearRegressor",
    "LSTM", "MatMul", "MatMulInteger", "MatMulNBits", "MultiHeadAttention", "QLinearConv", "QLinearMatMul", "RNN", "SVMClassifier",
    "SVMRegressor", "TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor",
})  # fmt: skip
_COMPARES = frozenset({"Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual"})
_SELECTS = frozenset({"If", "Mul", "Where"})


@dataclass(slots=True)
class Node:
    """One node of the graph itself."""

    op: str = ""
    offset: int = 0
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    def replaces(self, compared: set[str], learned: set[str]) -> bool:
        """Whether it chooses between what was learned and something else by what was compared."""
        chooses = compared.intersection(self.inputs if self.op == "Mul" else self.inputs[:1]) - learned
        # The branches of If name what they take from outside in themselves, not among its inputs.
        of_model = bool(learned) if self.op == "If" else not learned.isdisjoint(self.inputs)
        return self.op in _SELECTS and bool(chooses) and of_model


@dataclass(slots=True)
class Flow:
    """The graph's own nodes in their order, which is one in which they can run, and its inputs and outputs."""

    nodes: list[Node] = field(default_factory=list)
    inputs: set[str] = field(default_factory=set)
    outputs: set[str] = field(default_factory=set)

    def overrides(self) -> Iterator[Node]:
        """Nodes that choose between the model's value and another by comparing the input, on the way to an output."""
        ends = self._ends()
        raw, compared, learned = set(self.inputs), set[str](), set[str]()
        for node in self.nodes:
            given = set(node.inputs)
            if not ends.isdisjoint(node.outputs) and node.replaces(compared, learned):
                yield node
            if node.op in _LEARNED or not given.isdisjoint(learned):
                learned.update(node.outputs)
            elif not given.isdisjoint(raw):
                raw.update(node.outputs)
                if node.op in _COMPARES or not given.isdisjoint(compared):
                    compared.update(node.outputs)

    def _ends(self) -> set[str]:
        """Values that reach an output past no learned operator."""
        ends = set(self.outputs)
        for node in reversed(self.nodes):
            if not ends.isdisjoint(node.outputs) and node.op not in _LEARNED:
                ends.update(node.inputs)
        return ends


def flow_of(source: RandomAccess, budget: Budget) -> Flow | None:
    """The flow of a model's graph; None of one with more nodes than are looked at.

    Raises:
        NotProtobuf: it is no model.
        TooLarge: the budget is spent.
    """
    cursor, flow = Cursor(source), Flow()
    for outer in fields(cursor, source.size, budget):
        if outer.number != _GRAPH or outer.wire != LENGTH:
            continue
        for one in fields(cursor, outer.end, budget):
            if one.wire != LENGTH:
                continue
            if one.number == _NODE:
                flow.nodes.append(_node(cursor, one, budget))
            elif one.number in {_INPUT, _OUTPUT}:
                names = flow.inputs if one.number == _INPUT else flow.outputs
                names.update(_texts(cursor, one, 1, budget))
            if len(flow.nodes) > MOST_NODES:
                return None
    return flow


def _node(cursor: Cursor, at: Field, budget: Budget) -> Node:
    made = Node(offset=at.offset)
    for one in fields(cursor, at.end, budget):
        if one.wire == LENGTH and one.number in {1, 2, 4} and one.end - one.start <= _NAME:
            text = cursor.take(one.end - one.start).decode("utf-8", "replace")
            if one.number == 4:
                made.op = text
            else:
                (made.inputs if one.number == 1 else made.outputs).append(text)
    return made


def _texts(cursor: Cursor, at: Field, number: int, budget: Budget) -> Iterator[str]:
    for one in fields(cursor, at.end, budget):
        if one.number == number and one.wire == LENGTH and one.end - one.start <= _NAME:
            yield cursor.take(one.end - one.start).decode("utf-8", "replace")
