"""Attack: ONNX models that read other files, define what others define, grow without end or carry programs. Success rate: 0.

CVE-2024-27318, CVE-2022-25882 (traversal), CVE-2026-34445 (keys of outside data), CVE-2026-34446 and -34447 (links), and
the address markers of ONNX Runtime.
"""

import hashlib
import os
import struct
from pathlib import Path

import pytest

from fastness.models.scan import Outcome, Report, scan_paths
from tests.unit.models.scan.artifacts import (
    entry,
    onnx_graph,
    onnx_model,
    onnx_node,
    onnx_tensor,
    proto,
    report_of,
    rules_of,
    varint,
)

PARTS = (("location", "weights.bin"),)


def outside(*entries: tuple[str, str], dims: int = 4) -> bytes:
    tensor = proto(1, dims) + proto(2, 1) + proto(8, "w") + b"".join(proto(13, entry(*one)) for one in entries)
    return onnx_model(onnx_graph(extra=proto(5, tensor + proto(14, 1))))


def reports(folder: Path, files: dict[str, bytes]) -> dict[str, Report]:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return {os.path.relpath(report.name, folder): report for report in scan_paths([folder])}


ENTRIES = {
    "a name of Python's": ("__class__", "x"),
    "an attribute of the loader's": ("save_external_data", "x"),
    "the location again": ("location", "other.bin"),
    "a negative offset": ("offset", "-1"),
    "an offset that is none": ("offset", "0x10"),
    "a length beyond all": ("length", "9" * 30),
    "an address in memory": ("location", "*/_ORT_MEM_ADDR_/*"),
}


@pytest.mark.parametrize("odd", ENTRIES.values(), ids=ENTRIES)
def test_what_is_said_of_outside_data_is_what_the_format_knows(odd: tuple[str, str]) -> None:
    entries = (odd,) if "MEM_ADDR" in odd[1] else (*PARTS, odd)
    report = report_of(outside(*entries), "model.onnx")
    assert report.outcome is Outcome.BLOCK
    assert "onnx-external-entry" in rules_of(report)


def function(name: str, *nodes: bytes, domain: str = "my.own") -> bytes:
    return proto(25, proto(1, name) + proto(10, domain) + b"".join(proto(7, one) for one in nodes))


def call(name: str) -> bytes:
    return onnx_node(name, "my.own")


def branch(inner: bytes) -> bytes:
    return onnx_node("If", attributes=proto(5, proto(1, "then_branch") + proto(6, onnx_graph(inner))))


CALLED = onnx_graph(call("F0"))
BOMB = b"".join(function(f"F{n}", *[call(f"F{n + 1}")] * 10) for n in range(9)) + function("F9", onnx_node())
FUNCTIONS = {
    "calls itself": (onnx_model(CALLED, function("F0", call("F0"))), "onnx-function-endless"),
    "in a circle": (onnx_model(CALLED, function("F0", call("F1")) + function("F1", call("F0"))), "onnx-function-endless"),
    "in a graph within": (onnx_model(CALLED, function("F0", branch(call("F0")))), "onnx-function-endless"),
    "ten of ten of ten": (onnx_model(CALLED, BOMB), "onnx-function-endless"),
    "a standard name": (onnx_model(extra=function("Add", onnx_node("Sub"), domain="")), "onnx-function-shadows"),
    "a standard name by its long domain": (onnx_model(extra=function("Add", onnx_node("Sub"), domain="ai.onnx")), "onnx-function-shadows"),
    "an unlisted operator within": (onnx_model(CALLED, function("F0", onnx_node("Run", "com.evil"))), "operator-unknown"),
    "Python within": (onnx_model(CALLED, function("F0", onnx_node("PyOp", "ai.onnx.contrib"))), "operator-runs-code"),
    "a name that another domain's function has": (onnx_model(onnx_graph(onnx_node("F0", "com.evil")), function("F0", onnx_node())), "operator-unknown"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "rule"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_of_the_model(data: bytes, rule: str) -> None:
    report = report_of(data, "model.onnx")
    assert report.outcome in {Outcome.BLOCK, Outcome.REVIEW}
    assert rule in rules_of(report)


def test_many_functions_that_call_few_others_pass() -> None:
    chain = b"".join(function(f"F{n}", call(f"F{n + 1}"), onnx_node()) for n in range(300)) + function(
        "F300", onnx_node()
    )
    assert report_of(onnx_model(CALLED, chain), "model.onnx").outcome is Outcome.PASS


TYPED = {
    "floats": (1, proto(4, bytes(12)), proto(4, bytes(16))),
    "whole numbers": (6, proto(5, bytes([0, 0, 0x80, 1])), proto(5, bytes([0, 0, 0x80, 1, 7]))),
    "long numbers": (7, proto(7, b"\1" * 5), proto(7, b"\1" * 4)),
    "texts": (8, proto(6, "a") * 3, proto(6, "a") * 4),
    "doubles": (11, proto(10, bytes(24)), proto(10, bytes(32))),
    "halves of bytes": (22, proto(5, b"\1"), proto(5, b"\1\1")),
    "complex": (14, proto(4, bytes(16)), proto(4, bytes(32))),
    "in a field of another type": (1, proto(5, b"\1" * 4), proto(4, bytes(16))),
}


@pytest.mark.parametrize(("kind", "wrong", "right"), TYPED.values(), ids=TYPED)
def test_typed_data_fits_its_shape(kind: int, wrong: bytes, right: bytes) -> None:
    for data, rules in ((wrong, {"onnx-tensor-size"}), (right, set())):
        tensor = proto(1, 4) + proto(2, kind) + proto(8, "w") + data
        assert rules_of(report_of(onnx_model(onnx_graph(extra=proto(5, tensor))), "model.onnx")) == rules


def test_a_shape_of_a_negative_number_does_not_fit() -> None:
    report = report_of(onnx_model(onnx_graph(extra=proto(5, onnx_tensor(dims=(1 << 64) - 4)))), "model.onnx")
    assert rules_of(report) == {"onnx-tensor-size"}


PROGRAMS = [
    "__import__('os').system('true')",
    "exec(open('x').read())",
    "x = eval('1')",
    "<script>alert(1)</script>",
    "a\n#!/bin/sh",
]


@pytest.mark.parametrize("value", PROGRAMS)
def test_a_program_in_the_properties_is_seen(value: str) -> None:
    report = report_of(onnx_model(extra=proto(14, entry("post", value))), "model.onnx")
    assert report.outcome is not Outcome.PASS


def test_outside_data_within_bounds_passes_and_beyond_blocks(tmp_path: Path) -> None:
    good = outside(*PARTS, ("offset", "16"), ("length", "16"))
    found = reports(tmp_path, {"model.onnx": good, "weights.bin": bytes(32)})
    assert {report.outcome for report in found.values()} == {Outcome.PASS}
    found = reports(tmp_path, {"model.onnx": good, "weights.bin": bytes(31)})
    assert "onnx-external-bounds" in {rule for report in found.values() for rule in rules_of(report)}
    short = outside(*PARTS, ("offset", "0"), ("length", "8"))
    found = reports(tmp_path, {"model.onnx": short, "weights.bin": bytes(32)})
    assert "onnx-external-bounds" in {rule for report in found.values() for rule in rules_of(report)}


def test_outside_data_is_what_was_saved(tmp_path: Path) -> None:
    digest = hashlib.sha1(bytes(16), usedforsecurity=False).hexdigest()
    model = outside(*PARTS, ("checksum", digest))
    found = reports(tmp_path, {"model.onnx": model, "weights.bin": bytes(16)})
    assert {report.outcome for report in found.values()} == {Outcome.PASS}
    found = reports(tmp_path, {"model.onnx": model, "weights.bin": b"x" * 16})
    assert "onnx-external-checksum" in {rule for report in found.values() for rule in rules_of(report)}


@pytest.mark.parametrize("location", ["weights.bin", "sub/weights.bin"], ids=["the file", "its folder"])
def test_outside_data_behind_a_link_is_refused(tmp_path: Path, location: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "weights.bin").write_bytes(bytes(16))
    model = tmp_path / "model"
    model.mkdir()
    (model / location.split("/", 1)[0]).symlink_to(elsewhere if "/" in location else elsewhere / "weights.bin")
    found = reports(model, {"model.onnx": outside(("location", location))})
    assert found["model.onnx"].outcome is Outcome.BLOCK
    assert Outcome.PASS not in {report.outcome for report in found.values()}


def whole(*values: int, name: str = "s", packed: bool = False) -> bytes:
    data = b"".join(varint(v % (1 << 64)) for v in values) if packed else struct.pack(f"<{len(values)}q", *values)
    return proto(1, len(values)) + proto(2, 7) + proto(8, name) + proto(7 if packed else 9, data)


def shaped(op: str, *inputs: str) -> bytes:
    return b"".join(proto(1, one) for one in inputs) + proto(2, "y") + proto(4, op)


CONSTANT = proto(2, "s") + proto(4, "Constant") + proto(5, proto(1, "value") + proto(5, whole(1 << 30, 1 << 30)))
BOMBS = {
    "a constant of a shape": onnx_graph(shaped("ConstantOfShape", "s"), proto(5, whole(1 << 20, 1 << 20))),
    "a constant of a packed shape": onnx_graph(shaped("ConstantOfShape", "s"), proto(5, whole(1 << 40, packed=True))),
    "expanded": onnx_graph(shaped("Expand", "x", "s"), proto(5, whole(1 << 20, 1 << 20, 1 << 20))),
    "by a constant node": onnx_graph(CONSTANT, proto(1, shaped("Tile", "x", "s"))),
    "a tensor without data": onnx_graph(extra=proto(5, proto(1, 1 << 50) + proto(2, 1) + proto(8, "w"))),
    "an input": onnx_graph(extra=proto(11, proto(1, "x") + proto(2, proto(1, proto(1, 1) + proto(2, proto(1, proto(1, 1 << 50))))))),
}  # fmt: skip


@pytest.mark.parametrize("graph", BOMBS.values(), ids=BOMBS)
def test_sizes_that_no_machine_holds(graph: bytes) -> None:
    report = report_of(onnx_model(graph), "model.onnx")
    assert report.outcome is Outcome.BLOCK
    assert rules_of(report) == {"onnx-shape-bomb"}


@pytest.mark.parametrize("values", [(2, 3), (-1, 1 << 40), (0, 1 << 62), (1 << 35,)])
def test_sizes_that_may_be(values: tuple[int, ...]) -> None:
    graph = onnx_graph(shaped("ConstantOfShape", "s"), proto(5, whole(*values)))
    assert report_of(onnx_model(graph), "model.onnx").outcome is Outcome.PASS
