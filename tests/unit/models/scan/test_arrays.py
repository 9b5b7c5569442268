"""npy and safetensors: headers against sizes, and what hides beside the data."""

import io
import json
import pickle

import numpy as np
import pytest

from fastness.models.scan import Outcome
from fastness.models.scan.literals import NotALiteral, parse_literal
from tests.unit.models.scan.artifacts import EVIL, npy, report_of, rules_of, safetensors, tensor


def saved(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


ARRAYS = {
    "floats": np.arange(12.0).reshape(3, 4),
    "half": np.zeros(3, "f2"),
    "no axes": np.array(5),
    "empty": np.zeros((0, 2)),
    "texts": np.array(["é", "bcd"]),
    "dates": np.array(["2024-01-01"], "M8[ns]"),
    "records": np.zeros(2, [("a", "<i4"), ("b", "f8", (2, 3))]),
    "unicode names": np.zeros(2, [("é", "i4")]),
    "many fields": np.zeros(1, [(f"f{i}", "f8") for i in range(40)]),
    "harmless objects": np.array([{"a": 1}, "b"], dtype=object),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_what_numpy_writes_passes(array: np.ndarray) -> None:
    report = report_of(saved(array), "w.npy")
    assert report.outcome is Outcome.PASS, report.verdict.findings
    assert report.explained_bytes == report.size


NPY = {
    "a payload in objects": (npy("'|O'", "(1,)", EVIL), "block", "pickle-dangerous-call"),
    "objects in a field": (npy("[('a', '<i4'), ('b', '|O')]", "(1,)", EVIL), "block", "pickle-dangerous-call"),
    "objects in a field of a field": (npy("[('a', [('b', 'O')])]", "(1,)", EVIL), "block", "pickle-dangerous-call"),
    "objects in a subarray": (npy("[('a', 'O', (2,))]", "(1,)", EVIL), "block", "pickle-dangerous-call"),
    "a pickle without the magic": (EVIL, "block", "pickle-dangerous-call"),
    "no pickle where one must be": (npy("'O'", "(1,)", b"\xff" * 8), "incomplete", "format-unknown"),
    "bytes behind the data": (npy("'<f4'", "(4,)", b"\0" * 20), "incomplete", "npy-size"),
    "too few bytes": (npy("'<f4'", "(4,)", b"\0" * 12), "incomplete", "npy-size"),
    "a shape with a sign": (npy("'<f4'", "(-4,)", b"\0" * 16), "incomplete", "npy-malformed"),
    "code as header": (npy("__import__('os')", "(4,)", b""), "block", "npy-header-code"),
    "a key twice": (npy("'<f4', 'descr': '|O'", "(4,)", b"\0" * 16), "incomplete", "npy-malformed"),
    "a version to come": (npy("'<f4'", "(4,)", b"\0" * 16, b"\x09\x00"), "incomplete", "npy-malformed"),
    "a header longer than the file": (b"\x93NUMPY\x01\x00\xff\xff{}", "incomplete", "npy-malformed"),
    "an unknown type": (npy("'<Z9'", "(4,)", b"\0" * 16), "incomplete", "npy-malformed"),
    "only the magic": (b"\x93NUMPY", "incomplete", "npy-malformed"),
}


@pytest.mark.parametrize(("data", "outcome", "rule"), NPY.values(), ids=NPY)
def test_npy(data: bytes, outcome: str, rule: str) -> None:
    report = report_of(data, "w.npy")
    assert (report.outcome.value, rule in rules_of(report)) == (outcome, True), report.verdict.findings


LITERALS = [
    "1",
    "-5",
    "'a'",
    "()",
    "(1,)",
    "(1, 2)",
    "(3)",
    "[]",
    "[1, 'a', True]",
    "{}",
    "{'a': (1, None)}",
    "{'a': 1, }",
]


@pytest.mark.parametrize("literal", LITERALS)
def test_literals_are_read_as_python_reads_them(literal: str) -> None:
    assert parse_literal(literal) == eval(literal, {"__builtins__": {}})  # noqa: S307 - the texts stand above


@pytest.mark.parametrize(
    "literal", ["", "a", "1 2", "f()", "(1", "{1: 2}", "'a\\x41'", "[1 2]", "(" * 99, "1.5", "{'a': 1, 'a': 2}"]
)
def test_what_is_no_literal_is_refused(literal: str) -> None:
    with pytest.raises(NotALiteral):
        parse_literal(literal)


ZEROS = b"\0" * 16
KEY = "-----BEGIN " + "RSA PRIVATE KEY-----\nabc"
TWICE = b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
SAFETENSORS = {
    "plain": (safetensors({"__metadata__": {"format": "pt"}, "w": tensor()}, ZEROS), "pass", None),
    "padded header": (safetensors(json.dumps({"w": tensor()}).encode() + b"   ", ZEROS), "pass", None),
    "no tensors": (safetensors({}), "pass", None),
    "an empty tensor": (safetensors({"a": tensor(0, 0, shape=(0,)), "w": tensor()}, ZEROS), "pass", None),
    "half bytes": (safetensors({"w": tensor(0, 2, "F4")}, b"\0\0"), "pass", None),
    "a header beyond the file": (safetensors({"w": tensor()}, ZEROS, 1 << 40), "block", "safetensors-offsets"),
    "overlap": (safetensors({"a": tensor(), "b": tensor(8, 24)}, b"\0" * 24), "block", "safetensors-offsets"),
    "a hole": (safetensors({"a": tensor(), "b": tensor(20, 36)}, b"\0" * 36), "block", "safetensors-offsets"),
    "bytes behind": (safetensors({"w": tensor()}, ZEROS + b"\x7fELF"), "block", "safetensors-offsets"),
    "too few bytes": (safetensors({"w": tensor()}, ZEROS[:8]), "block", "safetensors-offsets"),
    "another size than the shape": (safetensors({"w": tensor(shape=(3,))}, ZEROS), "block", "safetensors-offsets"),
    "a name twice": (safetensors(TWICE, ZEROS), "block", "safetensors-duplicate-key"),
    "a key twice inside": (safetensors(TWICE.replace(b'"shape":[4]', b'"shape":[4],"shape":[4]', 1), ZEROS), "block", "safetensors-duplicate-key"),
    "an unknown type": (safetensors({"w": tensor(dtype="Q9")}, ZEROS), "incomplete", "safetensors-dtype"),
    "a negative offset": (safetensors({"w": tensor(-16, 0)}, ZEROS), "incomplete", "safetensors-malformed"),
    "a fraction": (safetensors({"w": {**tensor(), "shape": [4.0]}}, ZEROS), "incomplete", "safetensors-malformed"),
    "another key": (safetensors({"w": {**tensor(), "code": "x"}}, ZEROS), "incomplete", "safetensors-malformed"),
    "metadata that nests": (safetensors({"__metadata__": {"a": {}}, "w": tensor()}, ZEROS), "incomplete", "safetensors-malformed"),
    "deep nesting": (safetensors(b'{"a":' + b"[" * 100_000), "incomplete", "safetensors-malformed"),
    "not JSON": (safetensors(b"{nope"), "incomplete", "safetensors-malformed"),
    "a private key": (safetensors({"__metadata__": {"note": KEY}, "w": tensor()}, ZEROS), "review", "credential-in-model"),
    "eight bytes": (b"\0" * 8, "incomplete", "safetensors-malformed"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "outcome", "rule"), SAFETENSORS.values(), ids=SAFETENSORS)
def test_safetensors(data: bytes, outcome: str, rule: str | None) -> None:
    report = report_of(data, "model.safetensors")
    assert report.outcome.value == outcome, report.verdict.findings
    assert rule is None or rule in rules_of(report)
    assert outcome != "pass" or report.explained_bytes == report.size


def test_a_credential_is_never_repeated() -> None:
    token = "hf_" + "qRzXbVtYpLmNkJhGfDsAwErTyUiOpLkJhG"
    report = report_of(pickle.dumps({"hub_token": token}))
    assert rules_of(report) == {"credential-in-model"}
    assert token not in str(report)
