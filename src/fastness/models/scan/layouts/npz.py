"""NumPy's archives: a zip of array files.

A member that promises to be an array is read as one; numpy tries those that are none as pickles where it may, and so does
the scanner, by their content.

Source: numpy 2.4, `numpy.lib._npyio_impl.NpzFile`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.facts import Fact

RULES: tuple[Rule, ...] = ()


@dataclass(frozen=True)
class NpzLayout:
    """Knows that the members are arrays."""

    name: ClassVar[str] = "npz"
    suffixes: ClassVar[tuple[str, ...]] = (".npz",)

    def claims(self, bundle: Bundle) -> bool:
        """Where an archive holds nothing but arrays, by their names."""
        return len(bundle) > 0 and all(path.endswith(".npy") for path in bundle)

    def reader(self, path: str, bundle: Bundle) -> str:
        """The reader of arrays."""
        del path, bundle
        return "npy"

    def read(self, bundle: Bundle, budget: Budget) -> Iterator[Fact | Finding]:
        """Nothing: the arrays do not know of each other."""
        del bundle, budget
        yield from ()


LAYOUT = NpzLayout
