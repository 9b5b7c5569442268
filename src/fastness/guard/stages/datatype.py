"""Refuse tensors whose element type is not the declared one. Nothing is converted: a silent cast changes values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastness.core.findings import Finding, Rule, Severity, judge
from fastness.core.signature import Datatype
from fastness.guard.frame import PASSED, Checked, Fact, Message, Side

RULES = (
    Rule(
        "tensor-datatype",
        "A tensor has another element type than declared",
        Severity.HIGH,
        "A cast that nobody asked for changes values, and an overflow changes them silently.",
        "Convert the tensor to the declared datatype before it is sent.",
        {"cwe": "CWE-704"},
    ),
)

_DTYPES = {
    Datatype.BOOL: np.dtype(np.bool_),
    Datatype.UINT8: np.dtype(np.uint8),
    Datatype.UINT16: np.dtype(np.uint16),
    Datatype.UINT32: np.dtype(np.uint32),
    Datatype.UINT64: np.dtype(np.uint64),
    Datatype.INT8: np.dtype(np.int8),
    Datatype.INT16: np.dtype(np.int16),
    Datatype.INT32: np.dtype(np.int32),
    Datatype.INT64: np.dtype(np.int64),
    Datatype.FP16: np.dtype(np.float16),
    Datatype.FP32: np.dtype(np.float32),
    Datatype.FP64: np.dtype(np.float64),
}
_TEXT_KINDS = "OSU"


@dataclass(frozen=True)
class ElementType:
    """Stage of both sides; without settings. A declared tensor that is not there is for the stage `schema`."""

    name: ClassVar[str] = "datatype"
    side: ClassVar[Side] = Side.BOTH
    needs: ClassVar[frozenset[str]] = frozenset()

    def check(self, message: Message, _known: Mapping[str, Fact], /) -> Checked:
        """Judge the element types."""
        found: list[Finding] = []
        for spec in message.specs:
            tensor = message.tensors.get(spec.name)
            if tensor is None or _is(tensor.dtype, spec.datatype):
                continue
            text = f"tensor {spec.name!r} has elements of {tensor.dtype}; {spec.datatype} is declared"
            found.append(Finding("tensor-datatype", Severity.HIGH, spec.name, text))
        return Checked(judge(found)) if found else PASSED


def _is(dtype: np.dtype, declared: Datatype) -> bool:
    if declared is Datatype.BYTES:
        return dtype.kind in _TEXT_KINDS
    return dtype == _DTYPES[declared]


STAGE = ElementType
