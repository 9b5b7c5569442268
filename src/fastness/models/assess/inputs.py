"""Random inputs that a signature allows: within the declared ranges, and at their ends."""

from __future__ import annotations

import math

import numpy as np

from fastness.core.errors import Invalid
from fastness.core.signature import Datatype, ModelSignature, TensorSpec
from fastness.models.runtime import Tensors

_FLOATS = {Datatype.FP16: np.float16, Datatype.FP32: np.float32, Datatype.FP64: np.float64}
_INTEGERS = {
    Datatype.UINT8: np.uint8,
    Datatype.UINT16: np.uint16,
    Datatype.UINT32: np.uint32,
    Datatype.UINT64: np.uint64,
    Datatype.INT8: np.int8,
    Datatype.INT16: np.int16,
    Datatype.INT32: np.int32,
    Datatype.INT64: np.int64,
}
_ANY_LENGTH = 4
_WORDS = (b"", b"a", b"blue", b"The quick brown fox.", "gr\u00fc\u00df dich".encode(), b"0.5", b"x" * 200)


def draw(signature: ModelSignature, rows: int, random: np.random.Generator) -> Tensors:
    """Valid inputs of `rows` rows; where the first axis is fixed, of that length.

    Numbers without a declared range are drawn from [0, 1), whole ones from 0 to 9. The first two rows hold the ends of
    the range.

    Raises:
        Invalid: no number of the type lies in the declared range.
    """
    return {spec.name: _tensor(spec, rows, random) for spec in signature.inputs}


def _tensor(spec: TensorSpec, rows: int, random: np.random.Generator) -> np.ndarray:
    shape = tuple(
        length if length != -1 else (rows if axis == 0 else _ANY_LENGTH) for axis, length in enumerate(spec.shape)
    )
    if spec.datatype == Datatype.BOOL:
        return random.integers(0, 2, shape).astype(np.bool_)
    if spec.datatype == Datatype.BYTES:
        texts = np.empty(math.prod(shape), object)
        texts[:] = [_WORDS[i] for i in random.integers(0, len(_WORDS), math.prod(shape))]
        return texts.reshape(shape)
    low, high = _range(spec)
    if spec.datatype in _FLOATS:
        array = random.uniform(low, high, shape).astype(_FLOATS[spec.datatype])
    else:
        first, last = math.ceil(low), math.floor(high)
        if first > last:
            raise Invalid("range-empty", f"{spec.name}: no whole number lies in its range", "Declare a wider range.")
        array = random.integers(first, last, shape, dtype=np.int64, endpoint=True).astype(_INTEGERS[spec.datatype])
        low, high = first, last
    if shape and shape[0] > 1:
        array[0], array[1] = low, high
    return array


def _range(spec: TensorSpec) -> tuple[float, float]:
    width = 1.0 if spec.datatype in _FLOATS else 9.0
    if spec.low is not None:
        return spec.low, spec.high if spec.high is not None else spec.low + width
    if spec.high is not None:
        return (0.0 if spec.high > 0 else spec.high - width), spec.high
    return 0.0, width
