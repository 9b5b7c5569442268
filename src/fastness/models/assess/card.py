"""The report card of a model: named measures, and the scores that follow from them.

Every measure weighs the same, 1: the score of an area is the share of its measures that passed. A weight that nobody has
measured would only look like knowledge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Literal

import msgspec

from fastness.core.errors import Invalid
from fastness.core.signature import ModelSignature

State = Literal["passed", "failed", "not-run"]
AREAS = ("security", "privacy", "performance")


class Measure(msgspec.Struct, frozen=True):
    """One thing that was looked at, or should have been.

    Attributes:
        name: stable, kebab-case; allowances name it.
        area: one of `AREAS`.
        score: in [0, 1]; 0 where it was not run.
        value: what was measured, in `unit`; None where there is no figure.
        detail: one line for people.
    """

    name: str
    area: str
    state: State
    score: float
    value: float | None = None
    unit: str = ""
    detail: str = ""

    def __post_init__(self) -> None:
        if self.area not in AREAS:
            raise Invalid("measure-area", f"{self.name}: the area is one of {', '.join(AREAS)}")
        if not 0 <= self.score <= 1 or (self.value is not None and not math.isfinite(self.value)):
            raise Invalid("measure-score", f"{self.name}: the score lies in [0, 1], and the value is a number")


class ReportCard(msgspec.Struct, frozen=True):
    """What the assessment of one model came to.

    Attributes:
        signature: what was declared, and the model was held against.
    """

    measurements: tuple[Measure, ...]
    signature: ModelSignature


def scores(card: ReportCard, allowed: AbstractSet[str]) -> dict[str, float]:
    """Area to the share of its measures that passed; 0 where nothing was measured.

    What was not run counts as failed, unless `allowed` names it: then it counts as passed by allowance, and `excused`
    lists it. What was run and failed is excused by nothing.
    """
    by_allowance = set(excused(card, allowed))
    found = {}
    for area in AREAS:
        here = [m for m in card.measurements if m.area == area]
        counted = [1.0 if m.name in by_allowance else m.score if m.state != "not-run" else 0.0 for m in here]
        found[area] = sum(counted) / len(counted) if counted else 0.0
    return found


def excused(card: ReportCard, allowed: AbstractSet[str]) -> Sequence[str]:
    """The measures that pass by allowance alone."""
    return [m.name for m in card.measurements if m.state == "not-run" and m.name in allowed]
