"""Small ONNX models for tests, good and bad, and a host to run them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from fastness.models.runtime import ModelHost, RunningModel, RuntimeSettings
from tests.unit.foundation.sandbox.grounds import sandbox, sealed

F, INT, S = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) / 10


def value(name: str, kind: int, shape: Sequence[int | str | None] | None) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: list[NodeProto], inputs: list, outputs: list, initializers: Sequence = (), domains: Sequence[str] = ()
) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def constant(name: str, array: np.ndarray) -> TensorProto:
    return numpy_helper.from_array(array, name)


def softmax() -> bytes:
    """x (n, 4) → probabilities (n, 3) and label (n)."""
    return model(
        [
            helper.make_node("MatMul", ["x", "w"], ["z"]),
            helper.make_node("Softmax", ["z"], ["probabilities"]),
            helper.make_node("ArgMax", ["z"], ["label"], axis=1, keepdims=0),
        ],
        [value("x", F, ["n", 4])],
        [value("label", INT, ["n"]), value("probabilities", F, ["n", 3])],
        [constant("w", WEIGHTS)],
    )


def expected(x: np.ndarray) -> np.ndarray:
    z = np.exp(x @ WEIGHTS - (x @ WEIGHTS).max(1, keepdims=True))
    return z / z.sum(1, keepdims=True)


def fixed() -> bytes:
    """x (2, 2) → y (2, 2): no batches."""
    return model([helper.make_node("Neg", ["x"], ["y"])], [value("x", F, [2, 2])], [value("y", F, [2, 2])])


def lookup() -> bytes:
    """Index (n) → entry of a table of ten (n); fails on an index beyond it, for the whole batch."""
    table = constant("table", np.arange(10, dtype=np.float32) * 10)
    return model(
        [helper.make_node("Gather", ["table", "x"], ["y"])], [value("x", INT, ["n"])], [value("y", F, ["n"])], [table]
    )


def texts() -> bytes:
    """Texts (n) → the same texts."""
    return model([helper.make_node("Identity", ["x"], ["y"])], [value("x", S, ["n"])], [value("y", S, ["n"])])


def endless() -> bytes:
    """Counts to x (1) one by one; a big number takes for ever."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Add", ["v", "one"], ["v2"])],
        "body",
        [value("i", INT, []), value("c", TensorProto.BOOL, []), value("v", INT, [1])],
        [value("c2", TensorProto.BOOL, []), value("v2", INT, [1])],
        [constant("one", np.array([1], np.int64))],
    )
    return model(
        [
            helper.make_node("Squeeze", ["x"], ["m"]),
            helper.make_node("Loop", ["m", "", "zero"], ["y"], body=body),
        ],
        [value("x", INT, [1])],
        [value("y", INT, [1])],
        [constant("zero", np.array([0], np.int64))],
    )


def memory_bomb() -> bytes:
    """Length (1) → a sum over that many ones, all of them in memory."""
    return model(
        [
            helper.make_node("ConstantOfShape", ["x"], ["ones"], value=constant("v", np.array([1.0], np.float32))),
            helper.make_node("ReduceSum", ["ones"], ["y"], keepdims=1),
        ],
        [value("x", INT, [1])],
        [value("y", F, [1])],
    )


def ones() -> bytes:
    """Length (1) → that many ones."""
    make = helper.make_node("ConstantOfShape", ["x"], ["y"], value=constant("v", np.array([1.0], np.float32)))
    return model([make], [value("x", INT, [1])], [value("y", F, ["n"])])


def load_bomb() -> bytes:
    """Sixteen gigabytes of ones, which the optimiser makes while it loads."""
    ones = helper.make_node("ConstantOfShape", ["size"], ["ones"], value=constant("v", np.array([1.0], np.float32)))
    return model(
        [ones, helper.make_node("ReduceSum", ["ones"], ["s"], keepdims=1), helper.make_node("Add", ["x", "s"], ["y"])],
        [value("x", F, [1])],
        [value("y", F, [1])],
        [constant("size", np.array([1 << 32], np.int64))],
    )


def random_output() -> bytes:
    noise = helper.make_node("RandomUniformLike", ["x"], ["y"])
    return model([noise], [value("x", F, ["n", 2])], [value("y", F, ["n", 2])])


def logarithm() -> bytes:
    return model([helper.make_node("Log", ["x"], ["y"])], [value("x", F, ["n", 2])], [value("y", F, ["n", 2])])


def batch_mean() -> bytes:
    """x less the mean over the batch: a row alone gives something else."""
    return model(
        [
            helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "m"], ["y"]),
        ],
        [value("x", F, ["n", 2])],
        [value("y", F, ["n", 2])],
    )


def external(location: str) -> bytes:
    tensor = TensorProto(name="w", data_type=F, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, text in (("location", location), ("offset", "0"), ("length", "16")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, text
    return model([helper.make_node("Add", ["x", "w"], ["y"])], [value("x", F, [4])], [value("y", F, [4])], [tensor])


def foreign_operator() -> bytes:
    node = helper.make_node("Exfiltrate", ["x"], ["y"], domain="evil.example")
    return model([node], [value("x", F, [1])], [value("y", F, [1])], domains=["evil.example"])


def zipmap() -> bytes:
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    x = np.random.default_rng(0).random((20, 2), np.float32)
    return to_onnx(LogisticRegression().fit(x, x[:, 0] > 0.5), x[:1]).SerializeToString()


@cache
def host(settings: RuntimeSettings | None = None) -> ModelHost:
    return ModelHost(sandbox(), settings or RuntimeSettings())


@contextmanager
def running(data: bytes, listen: Path | None = None, settings: RuntimeSettings | None = None) -> Iterator[RunningModel]:
    with sealed(data, "model.onnx") as file:
        started = host(settings).start(file, "onnx", listen)
    try:
        yield started
    finally:
        started.close()


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 4), np.float32)
