"""TensorFlow's SavedModel: a graph, the variables it restores, and the files that its tables read.

Checkpoints without a graph are the same: an index, and files of numbers that belong to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.facts import Fact, FactKind, found
from fastness.models.scan.rules import MAPS

TWO_GRAPHS = Rule(
    "savedmodel-two-graphs", "A SavedModel in binary and in text", Severity.MEDIUM,
    "Loaders take the binary one; people read the other.", "Export the model again.", {**MAPS, "cwe": "CWE-694"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (TWO_GRAPHS,)

_GRAPHS = frozenset({"saved_model.pb", "keras_metadata.pb", "fingerprint.pb", "tfhub_module.pb"})
_SHARD = re.compile(r"(.*)\.data-[0-9]{5}-of-[0-9]{5}")


@dataclass(frozen=True)
class SavedModel:
    """A folder or archive with saved_model.pb, or with the index of a checkpoint."""

    name: ClassVar[str] = "savedmodel"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, bundle: Bundle) -> bool:
        """By the graph, or by a checkpoint's index beside its numbers."""
        return bool(bundle.named("saved_model.pb", "saved_model.pbtxt")) or any(
            self.reader(path, bundle) == "raw" for path in bundle
        )

    def reader(self, path: str, bundle: Bundle) -> str:
        """Graphs and indexes by name; the files of an index are numbers."""
        folder, _, name = path.rpartition("/")
        if name in _GRAPHS and _is_home(folder, bundle):
            return "tensorflow-graph"
        if name == "saved_model_debug_info.pb" and _is_home(folder.removesuffix("debug").rstrip("/"), bundle):
            return "tensorflow-graph"
        if name == "variables.index" and _is_home(folder.removesuffix("variables").rstrip("/"), bundle):
            return "tensorflow-bundle"
        shard = _SHARD.fullmatch(path)
        return "raw" if shard and f"{shard[1]}.index" in bundle else ""

    def read(self, bundle: Bundle, budget: Budget) -> Iterator[Fact | Finding]:
        """The files that tables read, which are bytes where nothing knows them."""
        for path in bundle:
            home, within, _ = path.rpartition("assets/") if "assets/" in path else path.rpartition("assets.extra/")
            if within and _is_home(home.rstrip("/"), bundle):
                budget.spend("facts")
                yield Fact(FactKind.REFERENCE, bundle.name, 0, path)
        for path in bundle.named("saved_model.pbtxt"):
            if path.removesuffix("txt") in bundle:
                yield found(TWO_GRAPHS, bundle.name, 0, f"{path[:120]!a} and the same in binary")


def _is_home(folder: str, bundle: Bundle) -> bool:
    before = f"{folder}/" if folder else ""
    return f"{before}saved_model.pb" in bundle or f"{before}saved_model.pbtxt" in bundle


LAYOUT = SavedModel
