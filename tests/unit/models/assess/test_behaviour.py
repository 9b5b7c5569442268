"""Real models, good and bad, in the real sandbox: each fault fails the measure that is named after it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from fastness.core.signature import ModelSignature, TensorSpec
from fastness.models.assess import AssessSettings, Measure, ReportCard, assess
from fastness.models.runtime import RuntimeSettings
from tests.unit.foundation.sandbox.grounds import sealed
from tests.unit.models.runtime import onnx_models as models
from tests.unit.models.runtime.onnx_models import F, helper, host, running, value

SETTINGS = AssessSettings(rounds=2, rows=8, latency_s=0.05)
LATER = {"robustness", "poisoning", "watermark", "membership-privacy"}


def entropy(count: int) -> bytes:
    return bytes(range(count))


def card(data: bytes, declared: ModelSignature | None = None, settings: AssessSettings = SETTINGS) -> ReportCard:
    if declared is None:
        with running(data) as started:
            declared = started.described
    with sealed(data, "m.onnx") as file:
        return assess(host(), file, "onnx", declared, entropy, settings)


def states(found: ReportCard) -> dict[str, str]:
    return {m.name: m.state for m in found.measurements}


def failed(found: ReportCard) -> dict[str, Measure]:
    return {m.name: m for m in found.measurements if m.state == "failed"}


def changed(data: bytes, **fields: object) -> ModelSignature:
    with running(data) as started:
        return msgspec.structs.replace(started.described, **fields)


def test_a_good_model_passes_all_that_is_run() -> None:
    found = card(models.softmax(), changed(models.softmax(), probabilities="probabilities"))
    assert failed(found) == {}
    assert {name for name, state in states(found).items() if state == "not-run"} == LATER
    assert set(states(found)) - LATER == {
        "loads", "signature", "answers", "finite", "probabilities", "deterministic", "batch-consistent", "isolation",
        "latency-single", "latency-batch", "memory",
    }  # fmt: skip
    values = {m.name: m.value for m in found.measurements}
    assert all(values[name] > 0 for name in ("loads", "latency-single", "latency-batch", "memory"))
    assert "socket" in next(m.detail for m in found.measurements if m.name == "isolation")


def bounded(data: bytes, low: float, high: float) -> ModelSignature:
    with running(data) as started:
        described = started.described
    outputs = tuple(msgspec.structs.replace(spec, low=low, high=high) for spec in described.outputs)
    return msgspec.structs.replace(described, outputs=outputs)


def ranged(data: bytes, low: float, high: float) -> ModelSignature:
    with running(data) as started:
        described = started.described
    inputs = tuple(msgspec.structs.replace(spec, low=low, high=high) for spec in described.inputs)
    return msgspec.structs.replace(described, inputs=inputs)


def scaled() -> bytes:
    """Rows that should be probabilities, and sum to 2."""
    nodes = [
        helper.make_node("Softmax", ["x"], ["p"]),
        helper.make_node("Add", ["p", "p"], ["probabilities"]),
    ]
    return models.model(nodes, [value("x", F, ["n", 2])], [value("probabilities", F, ["n", 2])])


@pytest.mark.parametrize(
    ("data", "declare", "measure", "told"),
    [
        (models.random_output(), None, "deterministic", "another output"),
        (models.batch_mean(), None, "batch-consistent", "alone"),
        (models.logarithm(), lambda d: ranged(d, -1, 0), "finite", "not a number"),
        (models.softmax(), lambda d: bounded(d, 0, 0.5), "answers", "declared 0"),
        (scaled(), lambda d: changed(d, probabilities="probabilities"), "probabilities", "[0, 1]"),
        (models.lookup(), lambda d: ranged(d, 0, 50), "answers", "failed on this input"),
    ],
    ids=["random", "batch", "nan", "range", "sum", "fails"],
)
def test_each_fault_fails_its_measure(
    data: bytes, declare: Callable[[bytes], ModelSignature] | None, measure: str, told: str
) -> None:
    found = failed(card(data, declare(data) if declare else None))
    assert measure in found
    assert told in found[measure].detail
    assert found[measure].score == 0.0


@pytest.mark.parametrize("side", ["inputs", "outputs"])
@pytest.mark.parametrize(
    "change", [{"name": "other"}, {"datatype": "FP64"}, {"shape": (-1, 7)}, {"shape": (-1,)}], ids=str
)
def test_another_signature_than_declared_is_seen(side: str, change: dict[str, object]) -> None:
    with running(models.logarithm()) as started:
        described = started.described
    specs = tuple(msgspec.convert(msgspec.to_builtins(spec) | change, TensorSpec) for spec in getattr(described, side))
    found = card(models.logarithm(), msgspec.structs.replace(described, **{side: specs}))
    assert "signature" in failed(found)


def test_what_does_not_load_is_a_failed_measure_and_the_rest_is_not_run() -> None:
    with running(models.softmax()) as started:
        declared = started.described
    found = card(b"no model", declared)
    assert set(failed(found)) == {"loads"}
    assert "cannot be loaded" in failed(found)["loads"].detail
    assert set(states(found).values()) == {"failed", "not-run"}


def test_a_model_that_hangs_fails_what_it_was_asked() -> None:
    declared = ranged(models.endless(), 1 << 40, 1 << 41)
    with sealed(models.endless(), "m.onnx") as file:
        settings = AssessSettings(rounds=1, rows=2, latency_s=0.05, timeout_s=0.5)
        found = assess(host(), file, "onnx", declared, entropy, settings)
    assert "did not answer" in failed(found)["answers"].detail
    assert {"isolation", "latency-single"} <= set(failed(found))


def test_a_model_that_takes_all_memory_fails() -> None:
    declared = ranged(models.memory_bomb(), 1 << 33, 1 << 33)
    with sealed(models.memory_bomb(), "m.onnx") as file:
        small = host(RuntimeSettings(memory_bytes=256 << 20))
        found = failed(assess(small, file, "onnx", declared, entropy, SETTINGS))
    assert "answers" in found


@pytest.mark.parametrize(
    ("limit", "measure"),
    [({"single_ms": 1e-6}, "latency-single"), ({"batch_ms": 1e-6}, "latency-batch"), ({"memory_mib": 1.0}, "memory")],
)
def test_thresholds_are_held(limit: dict[str, float], measure: str) -> None:
    found = failed(card(models.softmax(), settings=AssessSettings(rounds=1, rows=2, latency_s=0.05, **limit)))
    assert set(found) == {measure}
    assert found[measure].value > 0


def test_a_model_without_batches_is_assessed_without_them() -> None:
    found = states(card(models.fixed()))
    assert not {"batch-consistent", "latency-batch"} & set(found)
    assert found["latency-single"] == "passed"


def test_texts_are_assessed_too() -> None:
    assert failed(card(models.texts())) == {}


def test_whole_numbers_are_drawn_as_declared() -> None:
    assert failed(card(models.lookup(), ranged(models.lookup(), 0, 9))) == {}
