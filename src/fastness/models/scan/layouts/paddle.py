"""PaddlePaddle's older folders: `__model__` is the program, and every file beside it without a suffix is parameters."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.facts import Fact

RULES: tuple[Rule, ...] = ()

_MODEL = "__model__"


@dataclass(frozen=True)
class PaddleFolder:
    """Names the readers of files whose names say nothing."""

    name: ClassVar[str] = "paddle-folder"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, bundle: Bundle) -> bool:
        """Whether there is a program."""
        return bool(bundle.named(_MODEL))

    def reader(self, path: str, bundle: Bundle) -> str:
        """Programs and parameters are read by one reader."""
        folder, name = posixpath.split(path)
        beside = posixpath.join(folder, _MODEL) in bundle
        return "paddle" if beside and "." not in name.lstrip(".") else ""

    def read(self, bundle: Bundle, budget: Budget) -> Iterator[Fact | Finding]:
        """Nothing stands between the files that each does not say itself."""
        del bundle, budget
        yield from ()


LAYOUT = PaddleFolder
