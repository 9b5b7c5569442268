"""Torch's oldest files: a tar of pickles and of storages.

Source: torch 2.13, `torch/serialization.py`, `legacy_load` within `_legacy_load`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.facts import Fact, found
from fastness.models.scan.readers.torch_pickle import names_sparse
from fastness.models.scan.rules import UNFOLLOWED

RULES: tuple[Rule, ...] = ()

_READERS = {"pickle": "torch-pickle", "sys_info": "torch-pickle", "storages": "torch-legacy", "tensors": "torch-legacy"}


@dataclass(frozen=True)
class TorchTarLayout:
    """Knows what the members are."""

    name: ClassVar[str] = "torch-tar"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, bundle: Bundle) -> bool:
        """By the two members without which torch reads nothing."""
        return "pickle" in bundle and "storages" in bundle

    def reader(self, path: str, bundle: Bundle) -> str:
        """Pickles, and records of pickles and numbers."""
        del bundle
        return _READERS.get(path, "")

    def read(self, bundle: Bundle, budget: Budget) -> Iterator[Fact | Finding]:
        """The members are judged by themselves; sparse tensors of tars are not followed."""
        del budget
        if names_sparse(bundle.source("pickle")):
            yield found(UNFOLLOWED, bundle.source("pickle").name, 0, "it makes sparse tensors")


LAYOUT = TorchTarLayout
