"""safetensors: the header is held against the data, byte by byte; whatever is cut or changed gets a verdict."""

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import save

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import report_of, rules_of, safetensors, tensor

WEIGHTS = np.random.default_rng(1)
REAL = {
    "floats": save(
        {"a": WEIGHTS.normal(size=(3, 5)).astype("<f4"), "b": WEIGHTS.normal(size=7).astype("<f2")}, {"format": "np"}
    ),
    "whole numbers": save({"ids": np.arange(10), "mask": np.ones(4, bool), "bytes": np.arange(9, dtype="u1")}),
    "an empty tensor": save({"none": np.zeros((0, 3), "<f4"), "one": np.ones(1, "<f8")}),
    "a single value": save({"x": np.array(1.0, "<f4")}),
    "nothing": save({}),
}


@pytest.mark.parametrize("data", REAL.values(), ids=REAL)
def test_what_the_library_writes_passes(data: bytes) -> None:
    report = report_of(data, "model.safetensors")
    assert report.outcome is Outcome.PASS
    assert report.explained_bytes == len(data)


WRONG = {
    "a name that stands twice": (safetensors(b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)), "safetensors-duplicate-key"),
    "a key within a tensor that stands twice": (safetensors(b'{"w":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}}', bytes(4)), "safetensors-duplicate-key"),
    "tensors that overlap": (safetensors({"a": tensor(0, 16), "b": tensor(8, 24)}, bytes(24)), "safetensors-offsets"),
    "a hole": (safetensors({"a": tensor(0, 16), "b": tensor(20, 36)}, bytes(36)), "safetensors-offsets"),
    "bytes behind": (safetensors({"a": tensor()}, bytes(17)), "safetensors-offsets"),
    "bytes that are missing": (safetensors({"a": tensor()}, bytes(15)), "safetensors-offsets"),
    "a shape that asks for more": (safetensors({"a": tensor(0, 16, "F32", (5,))}, bytes(16)), "safetensors-offsets"),
    "a shape whose product overflows": (safetensors({"a": tensor(0, 16, "F32", (1 << 32, 1 << 32))}, bytes(16)), "safetensors-offsets"),
    "offsets that run backwards": (safetensors({"a": tensor(16, 0)}, bytes(16)), "safetensors-offsets"),
    "an offset of 2^63": (safetensors({"a": tensor(0, 1 << 63)}, bytes(16)), "safetensors-malformed"),
    "a negative offset": (safetensors({"a": tensor(-4, 12)}, bytes(16)), "safetensors-malformed"),
    "an offset with a fraction": (safetensors({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0.0, 16.0]}}, bytes(16)), "safetensors-malformed"),
    "an offset that is true": (safetensors({"a": {"dtype": "U8", "shape": [1], "data_offsets": [False, True]}}, bytes(1)), "safetensors-malformed"),
    "a key too many": (safetensors({"a": {**tensor(), "code": "x"}}, bytes(16)), "safetensors-malformed"),
    "metadata that is no text": (safetensors({"__metadata__": {"a": {"b": 1}}, "a": tensor()}, bytes(16)), "safetensors-malformed"),
    "an unknown type": (safetensors({"a": tensor(0, 16, "PICKLE")}, bytes(16)), "safetensors-dtype"),
    "a header longer than the file": (safetensors({"a": tensor()}, bytes(16), 1 << 40), "safetensors-offsets"),
    "a header of 2^64 - 1": (safetensors({"a": tensor()}, bytes(16), (1 << 64) - 1), "safetensors-offsets"),
    "a header that is a list": (safetensors(b"[]", b""), "safetensors-malformed"),
    "a header nested deep": (safetensors(b'{"a":' + b"[" * 100_000, b""), "safetensors-malformed"),
    "no UTF-8": (safetensors(b'{"\xff":1}', b""), "safetensors-malformed"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "rule"), WRONG.values(), ids=WRONG)
def test_a_header_that_does_not_fit_never_passes(data: bytes, rule: str) -> None:
    report = report_of(data, "model.safetensors")
    assert report.outcome in {Outcome.BLOCK, Outcome.INCOMPLETE}
    assert rule in rules_of(report)


@pytest.mark.parametrize("data", REAL.values(), ids=REAL)
def test_a_file_cut_or_damaged_anywhere_gets_a_verdict(data: bytes) -> None:
    for length in range(len(data)):
        assert report_of(data[:length], "model.safetensors").outcome in {Outcome.BLOCK, Outcome.INCOMPLETE}
    for at in range(min(len(data), 120)):
        changed = data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :]
        assert report_of(changed, "model.safetensors").outcome in set(Outcome)


def test_metadata_stands_for_itself_and_runs_nothing() -> None:
    header = {"__metadata__": {"format": "pt", "config": json.dumps({"a": 1})}, "w": tensor()}
    assert report_of(safetensors(header, bytes(16)), "m.safetensors").outcome is Outcome.PASS
    assert struct.unpack("<Q", safetensors(header)[:8])[0] > 0
