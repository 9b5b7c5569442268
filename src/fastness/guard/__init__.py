"""What may go into a model and what may come out: pure, synchronous functions of tensors and texts; no HTTP."""

from fastness.guard.frame import PASSED, Checked, Fact, Guard, Message, Side, Stage
from fastness.guard.setup import GuardSettings, build_guard, rules, stages

__all__ = [
    "PASSED",
    "Checked",
    "Fact",
    "Guard",
    "GuardSettings",
    "Message",
    "Side",
    "Stage",
    "build_guard",
    "rules",
    "stages",
]
