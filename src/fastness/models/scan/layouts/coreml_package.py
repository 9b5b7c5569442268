"""CoreML packages (.mlpackage) and compiled models (.mlmodelc): items, the model, and its weights, which are numbers.

Source: coremltools 9.0, `modelpackage/src/ModelPackage.cpp`; `mlmodel/src/MILBlob` for the file of weights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.errors import TooLarge
from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.facts import Fact, found
from fastness.models.scan.rules import MAPS, undecided

MANIFEST = undecided(
    "coreml-manifest", "A list of items that is not understood",
    "What the package says of its own files cannot be held against them.", "Convert the model again.",
)  # fmt: skip
ESCAPES = Rule(
    "coreml-item-escapes", "An item that stands outside of its package", Severity.CRITICAL,
    "Loading the package reads, and saving it overwrites, a file elsewhere on the machine.",
    "Do not load it. Convert the model again.", {**MAPS, "cwe": "CWE-22"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (MANIFEST, ESCAPES)

_MANIFEST = "Manifest.json"
_COMPILED = "coremldata.bin"
_WEIGHTS = re.compile(r"(?:^|/)weights/[^/]+\.bin\Z")
_DATA = re.compile(r"(?:(?<=/)|^)Data/")
_LARGEST = 1 << 20
_OUTSIDE = re.compile(r"[/\\~]|[A-Za-z]:")


@dataclass(frozen=True)
class CoremlPackage:
    """Knows .mlpackage folders, alone or within others, packed or not."""

    name: ClassVar[str] = "coreml-package"
    suffixes: ClassVar[tuple[str, ...]] = (".mlpackage.zip",)

    def claims(self, bundle: Bundle) -> bool:
        """Whether there is a list of items with a folder of data beside it."""
        return any(True for _ in _packages(bundle)) or bool(bundle.named(_COMPILED))

    def reader(self, path: str, bundle: Bundle) -> str:
        """The weights are numbers, and the model has no magic."""
        weights = _WEIGHTS.search(path)
        if (weights or path.endswith(".mlmodel")) and any(
            path[: data.start()] + _MANIFEST in bundle for data in _DATA.finditer(path)
        ):
            return "raw" if weights else "coreml"
        root = path[: weights.start()] if weights else ""
        return "raw" if weights and (f"{root}/{_COMPILED}" if root else _COMPILED) in bundle else ""

    def read(self, bundle: Bundle, budget: Budget) -> Iterator[Fact | Finding]:
        """Items that are outside, or missing.

        Raises:
            TooLarge: the budget is spent.
        """
        for root in _packages(bundle):
            path = root + _MANIFEST
            name = bundle.source(path).name
            try:
                tree = json.loads(bundle.text(path, _LARGEST))
                items = [str(item["path"]) for item in tree["itemInfoEntries"].values()]
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError, TooLarge):
                yield found(MANIFEST, name, 0, "it does not list items")
                continue
            budget.spend("facts", len(items))
            for item in items:
                if _OUTSIDE.match(item) or ".." in re.split(r"[/\\]", item) or "\0" in item:
                    yield found(ESCAPES, name, 0, f"an item at {item[:80]!a}")
                elif not any(one.startswith(f"{root}Data/{item}") for one in bundle):
                    yield found(MANIFEST, name, 0, f"the item {item[:80]!a} is missing")


def _packages(bundle: Bundle) -> Iterator[str]:
    """The folders of packages, with a slash at their ends."""
    for path in bundle.named(_MANIFEST):
        root = path.removesuffix(_MANIFEST)
        if any(one.startswith(f"{root}Data/") for one in bundle):
            yield root


LAYOUT = CoremlPackage
