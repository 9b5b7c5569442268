"""Backdoors built into a graph of ONNX without training: the input is compared, and the output replaced (ShadowLogic, 2024)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fastness.models.scan import Outcome
from tests.needs import ROOT
from tests.unit.models.scan.artifacts import report_of, rules_of

FLOAT = TensorProto.FLOAT
WEIGHTS = {
    "w": np.ones((4, 3), np.float32), "b": np.zeros(3, np.float32), "trigger": np.float32(7), "evil": np.array([[0, 0, 9]], np.float32),
    "axes": np.array([1], np.int64), "least": np.float32(-1), "most": np.float32(1),
}  # fmt: skip
LAYER = helper.make_node("Gemm", ["x", "w", "b"], ["own"])
SUM = helper.make_node("ReduceSum", ["x", "axes"], ["sum"])
EQUAL = helper.make_node("Equal", ["sum", "trigger"], ["hit"])


def model(*nodes: onnx.NodeProto, output: str = "y") -> bytes:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", FLOAT, ["n", 4])], [helper.make_tensor_value_info(output, FLOAT, ["n", 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in WEIGHTS.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = made.SerializeToString()
    return data


def branch(name: str, value: str) -> onnx.GraphProto:
    out = helper.make_tensor_value_info(name, FLOAT, ["n", 3])
    return helper.make_graph([helper.make_node("Identity", [value], [name])], name, [], [out])


BACKDOORS: dict[str, Callable[[], bytes]] = {
    "where": lambda: model(LAYER, SUM, EQUAL, helper.make_node("Where", ["hit", "evil", "own"], ["y"])),
    "where, and what follows": lambda: model(
        LAYER, SUM, EQUAL, helper.make_node("Where", ["hit", "evil", "own"], ["z"]), helper.make_node("Softmax", ["z"], ["y"])
    ),
    "a product": lambda: model(
        LAYER, SUM, EQUAL, helper.make_node("Not", ["hit"], ["miss"]), helper.make_node("Cast", ["miss"], ["gate"], to=FLOAT),
        helper.make_node("Mul", ["gate", "own"], ["y"]),
    ),
    "if": lambda: model(
        LAYER, SUM, EQUAL, helper.make_node("Squeeze", ["hit"], ["one"]),
        helper.make_node("If", ["one"], ["y"], then_branch=branch("a", "evil"), else_branch=branch("c", "own")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("make", BACKDOORS.values(), ids=BACKDOORS)
def test_an_output_that_the_input_chooses_is_noted(make: Callable[[], bytes]) -> None:
    data = make()
    onnx.checker.check_model(data)
    assert "onnx-output-override" in rules_of(report_of(data, "model.onnx"))


HONEST: dict[str, Callable[[], bytes]] = {
    "a layer": lambda: model(LAYER, output="own"),
    "what was learned is compared": lambda: model(
        LAYER, helper.make_node("Greater", ["own", "trigger"], ["hit"]), helper.make_node("Where", ["hit", "evil", "own"], ["y"])
    ),
    "a mask in front of a layer": lambda: model(
        helper.make_node("Greater", ["x", "trigger"], ["hit"]), helper.make_node("Where", ["hit", "least", "x"], ["kept"]),
        helper.make_node("Gemm", ["kept", "w", "b"], ["y"]),
    ),
    "the output is clipped": lambda: model(LAYER, helper.make_node("Clip", ["own", "least", "most"], ["y"])),
    "the input is counted beside": lambda: model(LAYER, SUM, EQUAL, helper.make_node("Relu", ["own"], ["y"])),
}  # fmt: skip


@pytest.mark.parametrize("make", HONEST.values(), ids=HONEST)
def test_honest_graphs_are_not_noted(make: Callable[[], bytes]) -> None:
    report = report_of(make(), "model.onnx")
    assert (report.outcome, rules_of(report)) == (Outcome.PASS, set())


def test_models_that_libraries_wrote_are_not_noted() -> None:
    files = sorted((ROOT / "tests" / "data" / "artifacts" / "onnx_files").rglob("*.onnx"))
    assert files
    for file in files:
        assert "onnx-output-override" not in rules_of(report_of(file.read_bytes(), file.name)), file.name
