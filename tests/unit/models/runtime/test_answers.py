"""What a worker says is checked against what was agreed on."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastness.core.errors import FastnessError
from fastness.core.signature import Datatype, ModelSignature, TensorSpec
from fastness.models.runtime.answers import (
    Untrue,
    check_outputs,
    plain,
    refusal,
    rows_of,
    signature_in,
    takes_batches,
)
from fastness.models.runtime.frames import Problem

X = TensorSpec("x", Datatype.FP32, (-1, 4))
SIGNATURE = ModelSignature((X,), (TensorSpec("y", Datatype.FP32, (-1, 3)), TensorSpec("label", Datatype.INT64, (-1,))))
GOOD = {"y": np.zeros((2, 3), np.float32), "label": np.zeros(2, np.int64)}


def described(**changed: object) -> bytes:
    spec = {"name": "x", "datatype": "FP32", "shape": [-1, 4]} | changed
    return json.dumps({"inputs": [spec], "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}]}).encode()


def test_a_description_becomes_a_signature() -> None:
    assert signature_in(described()).inputs == (X,)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{}", b"[]", b"null", b"\xff", b'{"inputs": 1, "outputs": 2}', b"[" * 100_000,
        described(name=""), described(name="n" * 300), described(name="a\x1b[31m"), described(name=5),
        described(datatype="OBJECT"), described(datatype=None), described(shape=[0]), described(shape=[-2]),
        described(shape=[True]), described(shape=[1.5]), described(shape="abc"), described(shape=[1] * 9),
        described(shape=[1 << 40]),
        json.dumps({"inputs": [{"name": f"x{i}", "datatype": "FP32", "shape": []} for i in range(65)],
                    "outputs": []}).encode(),
        json.dumps({"inputs": [], "outputs": []}).encode(),
    ],
)  # fmt: skip
def test_what_is_no_description_is_untrue(text: bytes) -> None:
    with pytest.raises(Untrue):
        signature_in(text)


def test_an_answer_as_agreed_on_passes() -> None:
    check_outputs(GOOD, SIGNATURE, 2)


@pytest.mark.parametrize(
    "changed",
    [
        {"y": np.zeros((3, 3), np.float32)},
        {"y": np.zeros((1, 3), np.float32)},
        {"y": np.zeros((0, 3), np.float32)},
        {"y": np.zeros((2, 4), np.float32)},
        {"y": np.zeros((2, 3), np.float64)},
        {"y": np.zeros((2, 3, 1), np.float32)},
        {"y": np.zeros((2, 3), object)},
        {"label": np.zeros(3, np.int64)},
        {"extra": np.zeros(1)},
    ],
)
def test_an_answer_of_another_shape_is_untrue(changed: dict[str, np.ndarray]) -> None:
    with pytest.raises(Untrue):
        check_outputs(GOOD | changed, SIGNATURE, 2)


def test_a_missing_output_is_untrue() -> None:
    with pytest.raises(Untrue):
        check_outputs({"y": GOOD["y"]}, SIGNATURE, 2)
    with pytest.raises(Untrue):
        check_outputs({"y": GOOD["y"], "z": GOOD["label"]}, SIGNATURE, 2)


def test_batches_need_every_first_axis_open() -> None:
    assert takes_batches(SIGNATURE)
    assert not takes_batches(ModelSignature((X,), (TensorSpec("y", Datatype.FP32, (1, 3)),)))
    assert not takes_batches(ModelSignature((TensorSpec("x", Datatype.FP32, ()),), SIGNATURE.outputs))


def test_rows_are_common_or_none() -> None:
    assert rows_of(GOOD) == 2
    assert rows_of({"a": np.zeros(2), "b": np.zeros(3)}) == 0
    assert rows_of({"a": np.zeros(())}) == 0


@pytest.mark.parametrize(
    ("problem", "status", "code"),
    [
        (Problem.UNFIT, 400, "input-unfit"),
        (Problem.FAILED, 400, "model-failed"),
        (Problem.LATE, 503, "worker-timeout"),
        (Problem.UNLOADABLE, 400, "model-not-loadable"),
        (Problem.UNLOCKED, 503, "sandbox-layer-missing"),
        (999, 400, "model-failed"),
    ],
)
def test_each_problem_is_an_error_that_says_what_to_change(problem: int, status: int, code: str) -> None:
    error = refusal(problem, b"\x1b[2Jbecause\nof \xff")
    assert isinstance(error, FastnessError)
    assert (error.status, error.code) == (status, code)
    assert error.hint
    assert error.message.isprintable()


def test_a_workers_words_are_cut_and_plain() -> None:
    assert plain(b"a\x00b\n" + b"x" * 1000) == "a b " + "x" * 196
