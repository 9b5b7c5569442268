"""Inputs that are drawn are inputs that the signature allows."""

from __future__ import annotations

import numpy as np
import pytest

from fastness.core.errors import Invalid
from fastness.core.signature import Datatype, ModelSignature, TensorSpec
from fastness.models.assess.inputs import draw
from fastness.models.runtime.frames import datatype_of

OUT = (TensorSpec("y", Datatype.FP32, (-1,)),)


def drawn(spec: TensorSpec, rows: int = 50, seed: int = 1) -> np.ndarray:
    return draw(ModelSignature((spec,), OUT), rows, np.random.default_rng(seed))[spec.name]


@pytest.mark.parametrize("datatype", list(Datatype))
@pytest.mark.parametrize("shape", [(-1,), (-1, 3), (2, 5), (-1, -1, 2), ()])
def test_each_type_and_shape(datatype: Datatype, shape: tuple[int, ...]) -> None:
    array = drawn(TensorSpec("x", datatype, shape), 6)
    assert datatype_of(array) == datatype
    assert array.ndim == len(shape)
    assert all(want in {-1, got} for got, want in zip(array.shape, shape, strict=True))
    if shape[:1] == (-1,):
        assert array.shape[0] == 6


@pytest.mark.parametrize(
    ("datatype", "low", "high"),
    [
        (Datatype.FP32, 0.0, 16.0), (Datatype.FP64, -5.0, None), (Datatype.FP32, None, -3.0), (Datatype.FP16, None, 4.0),
        (Datatype.INT64, -2.0, 7.0), (Datatype.UINT8, 250.0, 255.0), (Datatype.INT8, None, 5.0),
    ],
)  # fmt: skip
def test_ranges_are_kept_and_their_ends_are_tried(datatype: Datatype, low: float | None, high: float | None) -> None:
    array = drawn(TensorSpec("x", datatype, (-1, 3), low, high)).astype(float)
    if low is not None:
        assert array.min() == low
    if high is not None:
        assert array.max() == high
    assert len(np.unique(array)) > 2


def test_the_same_entropy_draws_the_same() -> None:
    spec = TensorSpec("x", Datatype.FP32, (-1, 3))
    assert drawn(spec, seed=1).tobytes() == drawn(spec, seed=1).tobytes() != drawn(spec, seed=2).tobytes()


def test_a_range_without_a_whole_number_is_named() -> None:
    with pytest.raises(Invalid, match="range-empty"):
        drawn(TensorSpec("x", Datatype.INT32, (-1,), 0.2, 0.8))
