"""Which stages stand, in which order, with which settings."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from functools import cache

from fastness.core import plugins
from fastness.core.findings import Rule
from fastness.core.settings import InvalidSetting
from fastness.guard import frame
from fastness.guard import stages as folder
from fastness.guard.frame import Guard, Side, Stage
from fastness.guard.stages.confidence import Confidence
from fastness.guard.stages.range import Range
from fastness.guard.stages.shape import Shape
from fastness.guard.stages.size import Size


@dataclass(frozen=True)
class GuardSettings:
    """Settings of the guard.

    Attributes:
        stages: names in the order in which they run; a stage of both sides runs on both. Later ones rely on earlier ones.
        max_bytes: of one message.
        max_rows: in one request.
    """

    stages: tuple[str, ...] = ("size", "schema", "datatype", "shape", "range", "confidence")
    max_bytes: int = 16 << 20
    max_rows: int = 4096

    def __post_init__(self) -> None:
        if unknown := set(self.stages) - set(stages()):
            raise InvalidSetting("guard.stages", f"no stage is called {', '.join(sorted(unknown))}")
        if len(set(self.stages)) != len(self.stages):
            raise InvalidSetting("guard.stages", "names a stage twice")
        for side in (Side.INPUT, Side.OUTPUT):
            if not any(stages()[name].side in {side, Side.BOTH} for name in self.stages):
                raise InvalidSetting("guard.stages", f"leaves the {side} without a stage")
        if self.max_bytes < 1:
            raise InvalidSetting("guard.max_bytes", "is at least 1")
        if self.max_rows < 1:
            raise InvalidSetting("guard.max_rows", "is at least 1")


@cache
def stages() -> dict[str, type[Stage]]:
    """The stages there are, by name."""
    return plugins.discover(folder, "STAGE")


def rules() -> tuple[Rule, ...]:
    """The catalogue entries of the guard and all its stages."""
    found = list(frame.RULES)
    for info in pkgutil.iter_modules(folder.__path__):
        found += importlib.import_module(f"{folder.__name__}.{info.name}").RULES
    return tuple(found)


def build_guard(settings: GuardSettings) -> Guard:
    """The guard that `settings` describe."""
    made: dict[str, Stage] = {
        Size.name: Size(settings.max_bytes),
        Shape.name: Shape(settings.max_rows),
        Range.name: Range(),
        Confidence.name: Confidence(),
    }
    return Guard([made[name] if name in made else stages()[name]() for name in settings.stages])
