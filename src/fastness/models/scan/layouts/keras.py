"""What Keras 3 saves: a configuration, metadata, weights in HDF5 or npz, and the files of layers under `assets`.

The same lies in a `.keras` archive and in a folder. Weights are read by their own readers, whatever they look like;
the files of layers are read as what they are, or as bytes where nothing knows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.facts import Fact, FactKind, found
from fastness.models.scan.rules import MAPS

UNCONFIGURED = Rule(
    "keras-no-config", "A Keras archive without a configuration", Severity.MEDIUM,
    "Loaders differ in what they make of it: it is not what Keras saves.", "Save the model again with Keras.", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (UNCONFIGURED,)

CONFIG, METADATA, ASSETS = "config.json", "metadata.json", "assets/"
_WEIGHTS = (".weights.h5", ".weights.npz", ".weights.json")


@dataclass(frozen=True)
class Keras:
    """A `.keras` archive, or a folder of the same files."""

    name: ClassVar[str] = "keras"
    suffixes: ClassVar[tuple[str, ...]] = (".keras",)

    def claims(self, bundle: Bundle) -> bool:
        """By a configuration beside weights, or by the name of an archive that holds either."""
        return any(_home(path, bundle) is not None for path in bundle if path.endswith((CONFIG, METADATA, *_WEIGHTS)))

    def reader(self, path: str, bundle: Bundle) -> str:
        """Configurations and HDF5 by name; npz and assets by what they are."""
        if _home(path, bundle) != path.rpartition("/")[0]:
            return ""
        if path.endswith(".json"):
            return "keras-json"
        return "hdf5" if path.endswith(".h5") else ""

    def read(self, bundle: Bundle, budget: Budget) -> Iterator[Fact | Finding]:
        """The files of layers, which the layers read by themselves."""
        if _is_archive(bundle) and CONFIG not in bundle:
            yield found(UNCONFIGURED, bundle.name, 0, "there is no config.json")
        for path in bundle:
            home, before, _ = path.rpartition(ASSETS)
            if before and _home(home + CONFIG, bundle) is not None:
                budget.spend("facts")
                yield Fact(FactKind.REFERENCE, bundle.name, 0, path)


def _is_archive(bundle: Bundle) -> bool:
    return bundle.name.lower().endswith(Keras.suffixes)


def _home(path: str, bundle: Bundle) -> str | None:
    """The folder of a file, if it is one that Keras saved: a configuration beside weights."""
    home = path.rpartition("/")[0]
    before = f"{home}/" if home else ""
    if not home and _is_archive(bundle):
        return home
    weights = any(f"{before}model{ending}" in bundle for ending in _WEIGHTS)
    return home if weights and before + CONFIG in bundle else None


LAYOUT = Keras
