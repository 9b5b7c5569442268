"""Attack: an ONNX file says to its runtime something else than to a scanner, by the wire format alone. Success rate: 0."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import report_of, rules_of


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def numeric(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def nested(field: int, inner: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(inner)) + inner


def with_tensor(tensor: bytes) -> bytes:
    x = helper.make_tensor_value_info("x", 1, [None, 4])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [x])
    model: bytes = helper.make_model(graph).SerializeToString()
    return nested(7, nested(5, tensor)) + model


FLOATS = numeric(1, 4) + nested(8, b"w") + nested(9, b"AAAA")  # four of them, in four bytes


@pytest.mark.parametrize("high", [0, 1 << 32, 5 << 32, 1 << 63], ids=["plain", "33 bits", "35 bits", "64 bits"])
def test_bits_above_an_enum_do_not_hide_that_data_is_too_short(high: int) -> None:
    tensor = FLOATS + numeric(2, 1 + high)
    assert TensorProto.FromString(tensor).data_type == 1
    report = report_of(with_tensor(tensor), "model.onnx")
    assert report.outcome is Outcome.BLOCK
    assert rules_of(report) == {"onnx-tensor-size"}


@pytest.mark.parametrize("high", [0, 1 << 32], ids=["plain", "33 bits"])
def test_bits_above_an_enum_do_not_hide_that_data_stands_elsewhere(high: int) -> None:
    tensor = numeric(1, 4) + numeric(2, 1) + nested(8, b"w") + numeric(14, 1 + high)
    assert TensorProto.FromString(tensor).data_location == TensorProto.EXTERNAL
    assert "reference-outside" in rules_of(report_of(with_tensor(tensor), "model.onnx"))
