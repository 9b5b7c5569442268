"""Torch's exported programs: graphs in JSON, weights as numbers or as files of torch's own, and compiled code.

Source: torch 2.13, `torch/export/pt2_archive/constants.py` and `_package.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from fastness.core.errors import TooLarge
from fastness.core.findings import Finding, Rule
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.configs import Pairs, Tree
from fastness.models.scan.facts import Fact
from fastness.models.scan.jsons import NotJson, parse

RULES: tuple[Rule, ...] = ()

_FORMAT = "archive_format"
_GRAPH = re.compile(r"models/[^/]+\.json|serialized_exported_program\.json")
_SETTINGS = {
    _FORMAT: re.compile(rb"pt2"),
    "archive_version": re.compile(rb"\d{1,4}"),
    "byteorder": re.compile(rb"little|big"),
    ".data/version": re.compile(rb"\d{1,4}\n?"),
    ".data/serialization_id": re.compile(rb"[0-9a-fA-F]{0,80}"),
}
_CONFIG = re.compile(r"data/(?:weights|constants)/[^/]+_config\.json")
_SHORT, _LONGEST = 128, 16 << 20


@dataclass(frozen=True)
class TorchExportLayout:
    """Knows what the files of an exported program are."""

    name: ClassVar[str] = "torch-export"
    suffixes: ClassVar[tuple[str, ...]] = (".pt2",)

    def claims(self, bundle: Bundle) -> bool:
        """By the name of the format."""
        return bool(_top(bundle))

    def reader(self, path: str, bundle: Bundle) -> str:
        """Graphs, and `raw` for settings and for weights that their list says are plain; anything else is sniffed."""
        top = _top(bundle)
        rest = path.removeprefix(top)
        if not path.startswith(top):
            return ""
        if _GRAPH.fullmatch(rest):
            return "torch-export"
        setting = _SETTINGS.get(rest)
        if setting is not None and setting.fullmatch(bundle.source(path).read_at(0, _SHORT)):
            return "raw"
        return "raw" if path in _plain(bundle) else ""

    def read(self, bundle: Bundle, budget: Budget) -> Iterator[Fact | Finding]:
        """Nothing: the files are judged by themselves."""
        del bundle, budget
        yield from ()


@lru_cache(maxsize=2)
def _top(bundle: Bundle) -> str:
    """The first folder, with its slash; empty where there is no exported program."""
    named = (path for path in bundle.named(_FORMAT) if path.count("/") == 1)
    return next((path.removesuffix(_FORMAT) for path in named if bundle.source(path).read_at(0, 4) == b"pt2"), "")


@lru_cache(maxsize=2)
def _plain(bundle: Bundle) -> frozenset[str]:
    """The files of weights that are numbers, by the lists beside them."""
    top = _top(bundle)
    plain: set[str] = set()
    pickled: set[str] = set()
    for path in bundle:
        if not _CONFIG.fullmatch(path.removeprefix(top)):
            continue
        try:
            tree = parse(bundle.text(path, _LONGEST)).tree
        except (NotJson, TooLarge):
            continue
        folder = path.rpartition("/")[0]
        for name, is_plain in _listed(tree):
            (plain if is_plain else pickled).add(f"{folder}/{name}")
    return frozenset(plain - pickled)


def _listed(tree: Tree) -> Iterator[tuple[str, bool]]:
    """The names in a list, and whether their data is no pickle."""
    config = dict(tree.members).get("config") if isinstance(tree, Pairs) else None
    for _, one in config.members if isinstance(config, Pairs) else ():
        values = dict(one.members) if isinstance(one, Pairs) else {}
        name = values.get("path_name")
        if isinstance(name, str):
            yield name, values.get("use_pickle") is False


LAYOUT = TorchExportLayout
