"""ONNX: operators, files from outside, sizes and unknown fields, wherever in the file they stand."""

from pathlib import Path

import pytest

from fastness.models.scan import Outcome, scan_paths
from fastness.models.scan.checks.operators import known_operators
from fastness.models.scan.onnx_schema import SCHEMA
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
from tests.unit.models.scan.written import fixtures


def test_the_schema_is_that_of_the_library() -> None:
    onnx = pytest.importorskip("onnx")
    scalars = {1: "d", 2: "f", 3: "i", 4: "i", 5: "i", 8: "i", 9: "s", 12: "s", 13: "i", 14: "i"}
    waiting, seen = [onnx.ModelProto.DESCRIPTOR], {}
    while waiting:
        message = waiting.pop()
        name = message.full_name.removeprefix("onnx.")
        if name in seen:
            continue
        inner = {f.number: f.message_type.full_name.removeprefix("onnx.") for f in message.fields if f.message_type}
        seen[name] = {f.number: inner.get(f.number, scalars.get(f.type)) for f in message.fields}
        waiting += [f.message_type for f in message.fields if f.message_type]
    kinds = {name: {n: "s" if k.startswith("t:") else k for n, k in of.items()} for name, of in SCHEMA.items()}
    assert kinds == seen


def test_the_listed_operators_hold_all_standard_ones() -> None:
    defs = pytest.importorskip("onnx.defs")
    listed = known_operators()
    standard = {(s.domain, s.name) for s in defs.get_all_schemas() if s.domain in {"", "ai.onnx.ml"}}
    assert not [name for domain, name in standard if name not in listed[domain]]
    assert not {"PythonOp", "EPContext", "Snpe"} & listed["com.microsoft"]


OUTSIDE = onnx_tensor("weights.bin")
TRAVERSAL = onnx_tensor("../../etc/passwd")


def attribute(field: int, value: bytes) -> bytes:
    return proto(5, proto(1, "a") + proto(field, value))


PLACES = {
    "initializer": onnx_model(onnx_graph(extra=proto(5, TRAVERSAL))),
    "values of a sparse initializer": onnx_model(onnx_graph(extra=proto(15, proto(1, TRAVERSAL)))),
    "indices of a sparse initializer": onnx_model(onnx_graph(extra=proto(15, proto(2, TRAVERSAL)))),
    "attribute": onnx_model(onnx_graph(onnx_node("Constant", attributes=attribute(5, TRAVERSAL)))),
    "list attribute": onnx_model(onnx_graph(onnx_node("Constant", attributes=attribute(10, TRAVERSAL)))),
    "sparse attribute": onnx_model(onnx_graph(onnx_node("Constant", attributes=attribute(22, proto(1, TRAVERSAL))))),
    "graph in a node": onnx_model(onnx_graph(onnx_node("If", attributes=attribute(6, onnx_graph(extra=proto(5, TRAVERSAL)))))),
    "function": onnx_model(extra=proto(25, proto(1, "f") + proto(7, onnx_node("Constant", attributes=attribute(5, TRAVERSAL))))),
    "default of a function": onnx_model(extra=proto(25, proto(1, "f") + proto(11, proto(1, "a") + proto(5, TRAVERSAL)))),
    "training": onnx_model(extra=proto(20, proto(1, onnx_graph(extra=proto(5, TRAVERSAL))))),
}  # fmt: skip


@pytest.mark.parametrize("data", PLACES.values(), ids=PLACES)
def test_external_data_is_seen_wherever_a_tensor_may_stand(data: bytes) -> None:
    report = report_of(data, "model.onnx")
    assert report.outcome is Outcome.BLOCK
    assert "reference-escapes" in rules_of(report)


LOCATIONS = {
    "beside": ("weights.bin", "reference-outside"),
    "below": ("data/weights.bin", "reference-outside"),
    "two dots in a name": ("weights..bin", "reference-outside"),
    "above": ("data/../../x", "reference-escapes"),
    "rooted": ("/etc/passwd", "reference-escapes"),
    "backslashes": ("..\\..\\x", "reference-escapes"),
    "drive": ("C:x", "reference-escapes"),
    "share": ("\\\\host\\x", "reference-escapes"),
    "address": ("file:///etc/passwd", "reference-escapes"),
    "home": ("~/.ssh/id", "reference-escapes"),
    "zero": ("a\0b", "reference-escapes"),
    "nothing": ("", "reference-outside"),
}


@pytest.mark.parametrize(("location", "rule"), LOCATIONS.values(), ids=LOCATIONS)
def test_location(location: str, rule: str) -> None:
    report = report_of(onnx_model(onnx_graph(extra=proto(5, onnx_tensor(location)))), "model.onnx")
    assert (report.outcome, rule in rules_of(report)) == (Outcome.BLOCK, True)


def nested(depth: int) -> bytes:
    graph = onnx_graph()
    for _ in range(depth):
        graph = onnx_graph(onnx_node("If", attributes=attribute(6, graph)))
    return onnx_model(graph)


FUNCTION = proto(25, proto(1, "Mine") + proto(10, "my.own") + proto(7, onnx_node()))
CASES = {
    "inline": (onnx_model(onnx_graph(extra=proto(5, onnx_tensor()))), "pass", None),
    "three levels": (nested(3), "pass", None),
    "a function of its own": (onnx_model(onnx_graph(onnx_node("Mine", "my.own")), FUNCTION), "pass", None),
    "the standard domain by name": (onnx_model(onnx_graph(onnx_node("Add", "ai.onnx"))), "pass", None),
    "a contributed operator": (onnx_model(onnx_graph(onnx_node("FusedMatMul", "com.microsoft"))), "pass", None),
    "an unknown contributed operator": (onnx_model(onnx_graph(onnx_node("New", "com.microsoft"))), "review", "operator-unknown"),
    "an unknown domain": (onnx_model(onnx_graph(onnx_node("Add", "com.evil"))), "review", "operator-unknown"),
    "an unknown operator in a function": (onnx_model(extra=proto(25, proto(1, "f") + proto(7, onnx_node("X", "y")))), "review", "operator-unknown"),
    "Python": (onnx_model(onnx_graph(onnx_node("PyOp", "ai.onnx.contrib"))), "block", "operator-runs-code"),
    "a compiled part": (onnx_model(onnx_graph(onnx_node("EPContext", "com.microsoft"))), "block", "operator-runs-code"),
    "an unknown field": (onnx_model(extra=proto(99, b"hidden")), "review", "onnx-unknown-field"),
    "an unknown field in a node": (onnx_model(onnx_graph(onnx_node(attributes=proto(77, b"x")))), "review", "onnx-unknown-field"),
    "data longer than the shape": (onnx_model(onnx_graph(extra=proto(5, onnx_tensor(raw=b"\0" * 20)))), "block", "onnx-tensor-size"),
    "data shorter than the shape": (onnx_model(onnx_graph(extra=proto(5, onnx_tensor(dims=1 << 60)))), "block", "onnx-tensor-size"),
    "a credential": (onnx_model(extra=proto(14, entry("key", "AKIA" + "Q7ZT3MNPLK2WXY5R"))), "review", "credential-in-model"),
    "bytes behind": (onnx_model() + b"\0\0\0", "incomplete", "onnx-malformed"),
    "no graph": (proto(1, 8) + proto(2, "x"), "incomplete", "onnx-malformed"),
    "a field beyond the file": (onnx_model() + b"\x3a\xff\x7f", "incomplete", "onnx-malformed"),
    "a number too long": (onnx_model() + b"\x08" + b"\xff" * 11, "incomplete", "onnx-malformed"),
    "a group": (onnx_model() + varint(1 << 3 | 3), "incomplete", "onnx-malformed"),
    "a graph that is a number": (proto(1, 8) + proto(7, 5), "incomplete", "onnx-malformed"),
    "nested without end": (nested(40), "incomplete", "onnx-malformed"),
    "an empty name": (b"", "incomplete", "file-empty"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "outcome", "rule"), CASES.values(), ids=CASES)
def test_case(data: bytes, outcome: str, rule: str | None) -> None:
    report = report_of(data, "model.onnx")
    assert report.outcome.value == outcome, report.verdict.findings
    assert rule is None or rule in rules_of(report)
    assert outcome != "pass" or report.explained_bytes == report.size


def test_a_model_is_known_by_its_content() -> None:
    assert report_of(onnx_model(), "weights").formats == ("onnx",)


def test_fields_are_bounded() -> None:
    assert rules_of(report_of(onnx_model(onnx_graph(onnx_node() * 100)), "m.onnx", fields=50)) == {"budget-spent"}


@pytest.mark.parametrize(("name", "files"), fixtures("onnx_files"))
def test_honest_files_pass(tmp_path: Path, name: str, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        (tmp_path / path).write_bytes(data)
    for report in scan_paths([tmp_path]):
        assert report.outcome is Outcome.PASS, report.verdict.findings
