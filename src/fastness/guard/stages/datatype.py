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

# By the text of the datatype: the hash of an enum's member is computed in Python.
_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
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
    wanted = _DTYPES.get(declared._value_)
    return dtype is wanted or (dtype.kind in _TEXT_KINDS if wanted is None else dtype == wanted)


STAGE = ElementType
