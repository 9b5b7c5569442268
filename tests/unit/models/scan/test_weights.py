"""Odd weights are noted, programs in their low bits block, and weights as libraries make them pass without a word."""

from collections.abc import Callable

import numpy as np
import pytest

from fastness.models.scan import Outcome, Report
from tests.unit.models.scan.artifacts import report_of, rules_of, safetensors, tensor
from tests.unit.models.scan.programs import ELF

Rng = np.random.Generator
COUNT = 1 << 16
TEXT = b"This is a message that somebody wrote into the weights, and reads out again. " * 40


def file_of(values: bytes, dtype: str, count: int) -> Report:
    return report_of(safetensors({"w": tensor(0, len(values), dtype, (count,))}, values), "model.safetensors")


def bf16(values: np.ndarray) -> bytes:
    return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()


HONEST: dict[str, tuple[str, Callable[[Rng], bytes]]] = {
    "normal": ("F32", lambda r: r.normal(0, 0.02, COUNT).astype("<f4").tobytes()),
    "uniform, as generators make it": ("F32", lambda r: r.random(COUNT, dtype=np.float32).tobytes()),
    "from half precision": ("F32", lambda r: r.normal(0, 0.02, COUNT).astype("<f2").astype("<f4").tobytes()),
    "ones and zeros": ("F32", lambda _: np.tile(np.array([0, 1], "<f4"), COUNT // 2).tobytes()),
    "constant": ("F32", lambda _: np.full(COUNT, 0.1, "<f4").tobytes()),
    "whole numbers": ("F32", lambda r: r.integers(0, 1000, COUNT).astype("<f4").tobytes()),
    "a ramp": ("F32", lambda _: np.linspace(0, 1, COUNT, dtype="<f4").tobytes()),
    "positions": ("F32", lambda _: np.sin(np.arange(COUNT, dtype="<f4") / 100).astype("<f4").tobytes()),
    "pruned": ("F32", lambda r: (r.normal(0, 1, COUNT) * (r.random(COUNT) > 0.5)).astype("<f4").tobytes()),
    "eight levels": ("F32", lambda r: r.choice(np.linspace(-1, 1, 8), COUNT).astype("<f4").tobytes()),
    "half": ("F16", lambda r: r.normal(0, 0.02, COUNT).astype("<f2").tobytes()),
    "bfloat": ("BF16", lambda r: bf16(r.normal(0, 0.02, COUNT))),
    "double": ("F64", lambda r: r.normal(0, 0.02, COUNT).astype("<f8").tobytes()),
}


@pytest.mark.parametrize(("dtype", "make"), HONEST.values(), ids=HONEST)
def test_honest_weights_pass_without_a_word(dtype: str, make: Callable[[Rng], bytes]) -> None:
    report = file_of(make(np.random.default_rng(3)), dtype, COUNT)
    assert report.outcome is Outcome.PASS
    assert rules_of(report) == set()


def hide(payload: bytes, bits: int, dtype: str = "<f4", *, high_first: bool = True) -> bytes:
    """Normal weights whose low bits hold the payload."""
    weights = np.random.default_rng(5).normal(0, 0.02, COUNT).astype(dtype)
    words = weights.view(f"<u{weights.itemsize}").copy()
    stream = np.unpackbits(np.frombuffer(payload, np.uint8), bitorder="big" if high_first else "little")
    stream = stream[: stream.size // bits * bits].reshape(-1, bits).astype(words.dtype)
    places = np.arange(bits - 1, -1, -1) if high_first else np.arange(bits)
    values = (stream << places.astype(words.dtype)).sum(axis=1).astype(words.dtype)
    count = min(values.size, words.size)
    words[:count] = (words[:count] & ~words.dtype.type((1 << bits) - 1)) | values[:count]
    return words.tobytes()


@pytest.mark.parametrize(
    ("bits", "high_first"), [(1, True), (1, False), (2, True), (2, False), (4, True), (4, False), (8, True)]
)
def test_text_in_low_bits_is_noted(bits: int, high_first: bool) -> None:
    report = file_of(hide(TEXT * 4, bits, high_first=high_first), "F32", COUNT)
    assert report.outcome is Outcome.PASS
    assert "weights-low-bits" in rules_of(report)


@pytest.mark.parametrize(
    ("dtype", "kind", "bits"),
    [
        ("F32", "<f4", 1),
        ("F32", "<f4", 4),
        ("F32", "<f4", 8),
        ("F32", "<f4", 16),
        ("F16", "<f2", 2),
        ("F64", "<f8", 16),
    ],
)
def test_a_program_in_low_bits_blocks(dtype: str, kind: str, bits: int) -> None:
    report = file_of(hide(ELF + bytes(400), bits, kind), dtype, COUNT)
    assert report.outcome is Outcome.BLOCK
    assert "executable-hidden" in rules_of(report)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("dtype", "kind"), [("F32", "<f4"), ("F16", "<f2"), ("F64", "<f8")])
@pytest.mark.parametrize("at", [0, COUNT // 2 + 7])
def test_what_is_no_number_is_noted(value: float, dtype: str, kind: str, at: int) -> None:
    weights = np.random.default_rng(5).normal(0, 0.02, COUNT).astype(kind)
    weights[at] = value
    report = file_of(weights.tobytes(), dtype, COUNT)
    assert report.outcome is Outcome.PASS
    assert rules_of(report) == {"weights-not-numbers"}


def test_large_weights_of_double_precision_are_noted() -> None:
    report = file_of(np.random.default_rng(5).normal(0, 1, 1 << 17).astype("<f8").tobytes(), "F64", 1 << 17)
    assert rules_of(report) == {"weights-wide"}
