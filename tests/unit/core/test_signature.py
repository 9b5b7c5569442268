"""A model's signature: whatever would switch a later check off is refused here."""

from __future__ import annotations

import math

import msgspec
import pytest

from fastness.core.errors import Invalid
from fastness.core.signature import Datatype, ModelSignature, TensorSpec

PIXELS = TensorSpec("pixels", Datatype.FP32, (-1, 64), low=0.0, high=16.0)
LABEL = TensorSpec("label", Datatype.INT64, (-1,))
CHANCES = TensorSpec("chances", Datatype.FP32, (-1, 10))
GOOD = ModelSignature((PIXELS,), (LABEL, CHANCES), probabilities="chances", min_confidence=0.5)


def test_it_comes_back_from_json_the_same() -> None:
    assert msgspec.json.decode(msgspec.json.encode(GOOD), type=ModelSignature) == GOOD


def test_a_scalar_has_the_empty_shape() -> None:
    assert TensorSpec("scalar", Datatype.FP64, ()).shape == ()


@pytest.mark.parametrize("shape", [(0,), (-2,), (-1, 0), (3, -7)])
def test_a_length_is_any_or_at_least_one(shape: tuple[int, ...]) -> None:
    with pytest.raises(Invalid) as caught:
        TensorSpec("x", Datatype.FP32, shape)
    assert caught.value.code == "signature-shape"


@pytest.mark.parametrize(
    ("low", "high"),
    [(1.0, 0.0), (math.nan, None), (None, math.nan), (0.0, math.nan), (-math.inf, 0.0), (None, math.inf)],
)
def test_a_range_that_cannot_refuse_anything_is_refused(low: float | None, high: float | None) -> None:
    with pytest.raises(Invalid, match="x: low") as caught:
        TensorSpec("x", Datatype.FP32, (-1,), low=low, high=high)
    assert caught.value.code == "signature-range"


@pytest.mark.parametrize(("low", "high"), [(None, None), (0.0, None), (None, 0.0), (1.0, 1.0), (-1.0, 1.0)])
def test_a_range_may_be_open_or_a_point(low: float | None, high: float | None) -> None:
    assert TensorSpec("x", Datatype.FP32, (-1,), low=low, high=high).low == low


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"inputs": ()}, "signature-empty", id="no input"),
        pytest.param({"outputs": ()}, "signature-empty", id="no output"),
        pytest.param({"inputs": (PIXELS, PIXELS)}, "signature-duplicate", id="inputs share a name"),
        pytest.param({"outputs": (CHANCES, CHANCES)}, "signature-duplicate", id="outputs share a name"),
        pytest.param({"probabilities": "pixels"}, "signature-probabilities", id="probabilities are no output"),
        pytest.param({"min_confidence": 1.1}, "signature-confidence", id="confidence above 1"),
        pytest.param({"min_confidence": -0.1}, "signature-confidence", id="confidence below 0"),
        pytest.param({"min_confidence": math.nan}, "signature-confidence", id="confidence of nan"),
    ],
)
def test_a_signature_that_makes_no_sense(change: dict[str, object], code: str) -> None:
    fields = {name: getattr(GOOD, name) for name in GOOD.__struct_fields__} | change
    with pytest.raises(Invalid) as caught:
        ModelSignature(**fields)
    assert caught.value.code == code


def test_decoding_a_bad_one_fails_too() -> None:
    data = msgspec.json.encode(GOOD).replace(b'"high":16.0', b'"high":-1.0')
    with pytest.raises((Invalid, msgspec.ValidationError)):
        msgspec.json.decode(data, type=ModelSignature)
