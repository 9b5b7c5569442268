"""Refuse messages of more bytes than allowed. Catches no small message that is expensive for the model itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity, judge
from fastness.core.settings import InvalidSetting
from fastness.guard.frame import PASSED, Checked, Fact, Message, Side

RULES = (
    Rule(
        "tensor-size",
        "The message is larger than allowed",
        Severity.HIGH,
        "Large messages are a cheap way to use up memory and time.",
        "Send fewer rows at once, or have guard.max_bytes raised.",
        {"cwe": "CWE-770", "owasp-llm": "LLM10:2025"},
    ),
)


@dataclass(frozen=True)
class Size:
    """Stage of both sides; its fields are its settings.

    Attributes:
        max_bytes: at least 1.

    Raises:
        InvalidSetting: it is out of range.
    """

    name: ClassVar[str] = "size"
    side: ClassVar[Side] = Side.BOTH
    needs: ClassVar[frozenset[str]] = frozenset()
    max_bytes: int = 16 << 20

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise InvalidSetting("guard.max_bytes", "is at least 1")

    def check(self, message: Message, _known: Mapping[str, Fact], /) -> Checked:
        """Judge the size of the body."""
        if message.size_bytes <= self.max_bytes:
            return PASSED
        text = f"the message has {message.size_bytes} bytes; at most {self.max_bytes} are allowed"
        evidence = {"bytes": message.size_bytes, "max_bytes": self.max_bytes}
        return Checked(judge([Finding("tensor-size", Severity.HIGH, "message", text, evidence)]))


STAGE = Size
