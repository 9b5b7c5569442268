"""Refuse tensors of another shape than declared, batches that do not agree, and too many rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity, judge
from fastness.core.settings import InvalidSetting
from fastness.core.signature import TensorSpec
from fastness.guard.frame import PASSED, Checked, Fact, Message, Side

RULES = (
    Rule(
        "tensor-shape",
        "A tensor has another shape than declared",
        Severity.HIGH,
        "A model given other shapes fails, or reads its features in the wrong places.",
        "Send the declared shape; a length of -1 is any of at least 1, the first one being the batch.",
        {"cwe": "CWE-20"},
    ),
    Rule(
        "tensor-rows",
        "More rows than allowed at once",
        Severity.HIGH,
        "One caller's huge batch makes all others wait.",
        "Send fewer rows at once, or have guard.max_rows raised.",
        {"cwe": "CWE-770", "owasp-llm": "LLM10:2025"},
    ),
)


@dataclass(frozen=True)
class Shape:
    """Stage of both sides; its fields are its settings.

    Attributes:
        max_rows: in the batch, at least 1.

    Raises:
        InvalidSetting: it is out of range.
    """

    name: ClassVar[str] = "shape"
    side: ClassVar[Side] = Side.BOTH
    needs: ClassVar[frozenset[str]] = frozenset()
    max_rows: int = 4096

    def __post_init__(self) -> None:
        if self.max_rows < 1:
            raise InvalidSetting("guard.max_rows", "is at least 1")

    def check(self, message: Message, _known: Mapping[str, Fact], /) -> Checked:
        """Judge shapes; tensors with a declared batch must all have the same."""
        found: list[Finding] = []
        rows = 0
        for spec in message.specs:
            tensor = message.tensors.get(spec.name)
            if tensor is None:
                continue
            shape = tensor.shape
            if not _fits(shape, spec.shape):
                found.append(_finding(spec, f"has shape {list(shape)}; {list(spec.shape)} is declared"))
            elif spec.shape and spec.shape[0] == -1:
                if rows and shape[0] != rows:
                    found.append(_finding(spec, f"has {shape[0]} rows, another tensor has {rows}"))
                rows = rows or shape[0]
        if rows > self.max_rows:
            text = f"{rows} rows; at most {self.max_rows} are allowed at once"
            found.append(Finding("tensor-rows", Severity.HIGH, "message", text, {"rows": rows}))
        return Checked(judge(found)) if found else PASSED


def _fits(shape: tuple[int, ...], declared: tuple[int, ...]) -> bool:
    if shape == declared or (
        len(shape) == len(declared) and shape[1:] == declared[1:] and declared[:1] == (-1,) and shape[0] > 0
    ):
        return True
    if len(shape) != len(declared):
        return False
    for length, want in zip(shape, declared, strict=True):
        if length != want and (want != -1 or length < 1):
            return False
    return True


def _finding(spec: TensorSpec, text: str) -> Finding:
    return Finding("tensor-shape", Severity.HIGH, spec.name, f"tensor {spec.name!r} {text}")


STAGE = Shape
