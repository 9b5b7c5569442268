"""The declared interface of a model: names, shapes, types and ranges of its tensors."""

from __future__ import annotations

import math
from enum import StrEnum

import msgspec

from fastness.core.errors import Invalid


class Datatype(StrEnum):
    """Tensor element types, by their Open Inference Protocol names."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"


class TensorSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One input or output.

    Attributes:
        shape: -1 stands for any length of at least 1; the first axis of -1 is the batch.
        low, high: inclusive range of every element, where one is declared.
        nullable: true where NaN is a legitimate value.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    low: float | None = None
    high: float | None = None
    nullable: bool = False

    def __post_init__(self) -> None:
        if any(length < 1 and length != -1 for length in self.shape):
            raise Invalid("signature-shape", f"{self.name}: a length is -1 (any) or at least 1")
        bounds = [bound for bound in (self.low, self.high) if bound is not None]
        if not all(math.isfinite(bound) for bound in bounds):  # every value would pass a comparison with nan
            raise Invalid("signature-range", f"{self.name}: low and high are finite, or left out")
        if bounds != sorted(bounds):
            raise Invalid("signature-range", f"{self.name}: low is above high")


class ModelSignature(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a model takes and gives.

    Attributes:
        probabilities: name of the output that holds class probabilities (batch, classes), or empty.
        min_confidence: replies whose highest probability is below it are refused; 0 is off.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    probabilities: str = ""
    min_confidence: float = 0.0

    def __post_init__(self) -> None:
        if not self.inputs or not self.outputs:
            raise Invalid("signature-empty", "a model signature needs at least one input and one output")
        for side in (self.inputs, self.outputs):
            if len({spec.name for spec in side}) != len(side):
                raise Invalid("signature-duplicate", "two inputs or two outputs share a name")
        if self.probabilities and self.probabilities not in {spec.name for spec in self.outputs}:
            raise Invalid("signature-probabilities", f"no output is called {self.probabilities!r}")
        if not 0 <= self.min_confidence <= 1:
            raise Invalid("signature-confidence", "min_confidence lies in [0, 1]")
