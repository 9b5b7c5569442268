from __future__ import annotations

import numpy as np
import pytest

from fastness.core.errors import Invalid
from fastness.core.findings import Decision, Verdict
from fastness.core.settings import InvalidSetting
from fastness.core.signature import Datatype, ModelSignature, TensorSpec
from fastness.guard import GuardSettings, Message, build_guard
from fastness.guard.stages.shape import Shape
from fastness.guard.stages.size import Size

SIGNATURE = ModelSignature(
    (
        TensorSpec("X", Datatype.FP32, (-1, 4), low=0, high=16),
        TensorSpec("n", Datatype.INT64, (-1,), low=-(2.0**53), high=2.0**53),
    ),
    (TensorSpec("label", Datatype.INT64, (-1,)), TensorSpec("p", Datatype.FP32, (-1, 3), low=0, high=1)),
    probabilities="p",
    min_confidence=0.5,
)
GUARD = build_guard(GuardSettings(max_bytes=1000, max_rows=8))


def judged(size: int = 100, **tensors: np.ndarray | None) -> Verdict:
    good = {"X": np.zeros((2, 4), np.float32), "n": np.zeros(2, np.int64)}
    given = {name: tensor for name, tensor in (good | tensors).items() if tensor is not None}
    return GUARD.check_input(Message(given, size, SIGNATURE))


def replied(p: object = ((0.8, 0.1, 0.1), (0.1, 0.6, 0.3)), **tensors: np.ndarray | None) -> Verdict:
    good = {"label": np.zeros(2, np.int64), "p": np.array(p, np.float32)}
    given = {name: tensor for name, tensor in (good | tensors).items() if tensor is not None}
    return GUARD.check_output(Message(given, 100, SIGNATURE))


def x(*values: float) -> np.ndarray:
    array = np.zeros((2, 4), np.float32)
    array.ravel()[: len(values)] = values
    return array


def test_what_fits_passes() -> None:
    assert judged().decision is Decision.ALLOW
    assert judged(X=x(16, 0)).findings == ()


INPUTS = {
    "too many bytes": ({"size": 1001}, "tensor-size", "message"),
    "a tensor is missing": ({"n": None}, "tensor-name", "n"),
    "a tensor too many": ({"extra": np.zeros(2)}, "tensor-name", "extra"),
    "another datatype": ({"X": np.zeros((2, 4))}, "tensor-datatype", "X"),
    "numbers as texts": ({"X": np.full((2, 4), b"1", object)}, "tensor-datatype", "X"),
    "another width": ({"X": np.zeros((2, 5), np.float32)}, "tensor-shape", "X"),
    "another rank": ({"X": np.zeros(8, np.float32)}, "tensor-shape", "X"),
    "no row": ({"X": np.zeros((0, 4), np.float32), "n": np.zeros(0, np.int64)}, "tensor-shape", "X"),
    "batches that differ": ({"n": np.zeros(3, np.int64)}, "tensor-shape", "n"),
    "too many rows": ({"X": np.zeros((9, 4), np.float32), "n": np.zeros(9, np.int64)}, "tensor-rows", "message"),
    "nan": ({"X": x(0, 0, 0, 0, 0, np.nan)}, "tensor-not-finite", "X[1, 1]"),
    "infinity": ({"X": x(np.inf)}, "tensor-not-finite", "X[0, 0]"),
    "minus infinity": ({"X": x(0, -np.inf)}, "tensor-not-finite", "X[0, 1]"),
    "below": ({"X": x(-0.001)}, "tensor-range", "X[0, 0]"),
    "above": ({"X": x(0, 0, 17)}, "tensor-range", "X[0, 2]"),
    "just above": ({"X": x(float(np.nextafter(np.float32(16), np.float32(17))))}, "tensor-range", "X[0, 0]"),
    "a whole number one too high for a double": ({"n": np.array([0, 2**53 + 1])}, "tensor-range", "n[1]"),
}


@pytest.mark.parametrize("case", INPUTS)
def test_what_does_not_fit_is_refused_by_its_rule(case: str) -> None:
    changes, rule, where = INPUTS[case]
    verdict = judged(**changes)
    assert verdict.decision is Decision.DENY
    assert next((f.rule, f.where) for f in verdict.findings) == (rule, where)


def test_findings_tell_place_and_range_and_no_value() -> None:
    verdict = judged(X=x(0, 4111.25))
    assert "4111" not in str(verdict)
    assert "[0, 1]" in verdict.findings[0].message
    assert "[0, 16]" in verdict.findings[0].message


def test_nan_passes_only_where_it_is_declared_and_infinity_never() -> None:
    signature = ModelSignature(
        (TensorSpec("X", Datatype.FP32, (-1,), low=0, high=1, nullable=True),), SIGNATURE.outputs
    )
    for values, decision in (
        ([np.nan, 0.5], Decision.ALLOW),
        ([np.nan, 2.0], Decision.DENY),
        ([np.nan, np.inf], Decision.DENY),
        ([np.nan], Decision.ALLOW),
    ):
        verdict = GUARD.check_input(Message({"X": np.array(values, np.float32)}, 1, signature))
        assert verdict.decision is decision, values


@pytest.mark.parametrize(
    ("datatype", "dtype", "value", "bound", "decision"),
    [
        (Datatype.FP32, np.float32, 0.1, 0.1, Decision.ALLOW),  # the nearest FP32 lies above 0.1
        (Datatype.FP16, np.float16, 0.1, 0.1, Decision.ALLOW),
        (Datatype.FP16, np.float16, 60_000, 1e9, Decision.ALLOW),  # a bound that FP16 cannot hold
        (Datatype.FP64, np.float64, 0.1000001, 0.1, Decision.DENY),
        (Datatype.UINT8, np.uint8, 255, 254.5, Decision.DENY),
        (Datatype.UINT8, np.uint8, 254, 254.5, Decision.ALLOW),
        (Datatype.UINT64, np.uint64, 2**64 - 1, 1e30, Decision.ALLOW),
    ],
)
def test_bounds_hold_in_the_precision_of_the_tensor(
    datatype: Datatype, dtype: type, value: float, bound: float, decision: Decision
) -> None:
    signature = ModelSignature((TensorSpec("X", datatype, (-1,), low=0, high=bound),), SIGNATURE.outputs)
    assert GUARD.check_input(Message({"X": np.array([value], dtype)}, 1, signature)).decision is decision


OUTPUTS = {
    "not confident": ({"p": ((0.8, 0.1, 0.1), (0.3, 0.3, 0.4))}, "confidence-low"),
    "nan": ({"p": ((0.8, 0.1, 0.1), (0.1, np.nan, 0.3))}, "tensor-not-finite"),
    "not a probability": ({"p": ((0.8, 0.1, 0.1), (0.1, 1.5, 0.3))}, "tensor-range"),
    "an output is missing": ({"label": None}, "tensor-name"),
    "another shape": ({"p": ((0.8, 0.2), (0.1, 0.9))}, "tensor-shape"),
    "another datatype": ({"label": np.zeros(2, np.int32)}, "tensor-datatype"),
    "rows of two requests": ({"label": np.zeros(3, np.int64)}, "tensor-shape"),
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_a_reply_that_is_not_what_the_model_declares_is_refused(case: str) -> None:
    changes, rule = OUTPUTS[case]
    verdict = replied(**changes)
    assert verdict.decision is Decision.DENY
    assert verdict.findings[0].rule == rule


def test_the_score_is_that_of_the_least_confident_row() -> None:
    assert replied().score == pytest.approx(0.6)
    refused = replied(((0.8, 0.1, 0.1), (0.3, 0.3, 0.4)))
    assert refused.score == pytest.approx(0.4)
    assert refused.findings[0].where == "p[1]"


def test_a_floor_without_probabilities_is_refused() -> None:
    signature = ModelSignature(SIGNATURE.inputs, SIGNATURE.outputs[:1], min_confidence=0.5)
    verdict = GUARD.check_output(Message({"label": np.zeros(2, np.int64)}, 1, signature))
    assert [f.rule for f in verdict.findings] == ["confidence-unknown"]


def test_settings_out_of_range_stop_the_start() -> None:
    for make in (
        lambda: Size(0),
        lambda: Shape(0),
        lambda: GuardSettings(max_rows=0),
        lambda: GuardSettings(max_bytes=0),
    ):
        with pytest.raises(InvalidSetting):
            make()
    for names in ((), ("size", "nope"), ("size", "size"), ("confidence",)):
        with pytest.raises(InvalidSetting) as refused:
            GuardSettings(stages=names)
        assert "guard.stages" in refused.value.message


def test_a_stage_twice_is_refused() -> None:
    from fastness.guard import Guard

    with pytest.raises(Invalid):
        Guard([Size(), Size()])
