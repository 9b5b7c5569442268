"""OpenVINO models: the .bin beside an .xml holds numbers only, and every constant must stand within it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.facts import HEAD, Fact, found
from fastness.models.scan.readers.openvino import is_openvino, weights
from fastness.models.scan.rules import MAPS

BOUNDS = Rule(
    "openvino-bounds", "A constant that does not stand within the file of weights", Severity.HIGH,
    "Runtimes have read beyond such files.", "Fetch both files again, or convert the model again.",
    {**MAPS, "cwe": "CWE-125"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (BOUNDS,)


@dataclass(frozen=True)
class OpenvinoPair:
    """Knows pairs of .xml and .bin."""

    name: ClassVar[str] = "openvino-pair"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, bundle: Bundle) -> bool:
        """Whether there is a pair."""
        return any(True for _ in _pairs(bundle))

    def reader(self, path: str, bundle: Bundle) -> str:
        """The weights are numbers."""
        is_weights = path.endswith(".bin") and path.removesuffix(".bin") + ".xml" in bundle
        return "raw" if is_weights and _is_graph(bundle, path.removesuffix(".bin") + ".xml") else ""

    def read(self, bundle: Bundle, budget: Budget) -> Iterator[Fact | Finding]:
        """Constants that leave their file.

        Raises:
            TooLarge: the budget is spent.
        """
        for path in _pairs(bundle):
            source, size = bundle.source(path), bundle.source(path.removesuffix(".xml") + ".bin").size
            for at, offset, length in weights(source, budget):
                if offset < 0 or length < 0 or offset + length > size:
                    text = f"a constant of {length} bytes at {offset}, and there are {size}"
                    yield found(BOUNDS, source.name, at, text)


def _pairs(bundle: Bundle) -> Iterator[str]:
    for path in bundle:
        if path.endswith(".xml") and path.removesuffix(".xml") + ".bin" in bundle and _is_graph(bundle, path):
            yield path


def _is_graph(bundle: Bundle, path: str) -> bool:
    return is_openvino(bundle.source(path).read_at(0, HEAD))


LAYOUT = OpenvinoPair
