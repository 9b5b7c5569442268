"""Torch's archives: state dicts and modules, TorchScript, and packages of code.

The names are those that torch's reader looks up: under the archive's first folder, without regard to case. What it reads as
the numbers of tensors is numbers; every pickle is hostile.

Misses: whether each storage is as long as the pickle says, which the loader itself checks; what code of a package does.

Source: torch 2.13, `torch/serialization.py`, `caffe2/serialize/inline_container.cc`, `torch/package/package_importer.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.cursor import Cursor
from fastness.models.scan.entries import shown
from fastness.models.scan.facts import Fact, FactKind, found
from fastness.models.scan.machine import Dialect, Storage, run
from fastness.models.scan.readers.torch_pickle import names_sparse, sparse_problems
from fastness.models.scan.rules import MAPS

RECORD = Rule(
    "torch-record", "A record of a torch archive that is not as torch writes it", Severity.MEDIUM,
    "Torch's reader takes these few bytes as settings; something else stands there.",
    "Save the model again with torch.save, or as safetensors.", MAPS,
)  # fmt: skip
CASE = Rule(
    "torch-ambiguous-name", "Names that torch takes for the same", Severity.HIGH,
    "Torch's reader disregards case, so that it may load another member than the one a tool shows.",
    "No honest library writes this. Save the model again.", {**MAPS, "cwe": "CWE-178"},
)  # fmt: skip
ORDER = Rule(
    "torch-byte-order", "Numbers in the byte order of another machine", Severity.LOW,
    "A program that overlooks it reads other numbers.", "Save the model on a little-endian machine.", MAPS,
)  # fmt: skip
PACKAGE = Rule(
    "torch-package", "A torch package, which carries code", Severity.MEDIUM,
    "Loading it runs the Python modules that stand in it.",
    "Review its modules, or ask for the weights as safetensors.", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (RECORD, CASE, ORDER, PACKAGE)

_PICKLES = frozenset({"data.pkl", "constants.pkl", "attributes.pkl", "bytecode.pkl", "mobile_debug_handles.pkl"})
_PICKLE = "torch-pickle"
_OWN = frozenset({"data.pkl", "constants.pkl", ".data/extern_modules", ".data/python_version"})
_VERSIONS = frozenset({"version", ".data/version"})
_STORAGE = re.compile(r"(?:data|constants|tensors|tensor_cache)/\d{1,9}|\.data/[^/]{1,80}\.storage")
_SETTINGS = {
    "version": re.compile(rb"\d{1,4}\n?"),
    ".data/version": re.compile(rb"\d{1,4}\n?"),
    ".format_version": re.compile(rb"\d{1,4}\n?"),
    ".storage_alignment": re.compile(rb"\d{1,6}\n?"),
    "byteorder": re.compile(rb"little|big"),
    ".data/serialization_id": re.compile(rb"[0-9a-fA-F]{0,80}"),
    ".data/python_version": re.compile(rb"[0-9.+a-z]{1,40}\n?"),
    ".data/extern_modules": re.compile(rb"[\w.\n]{0,65536}"),
}
_LARGEST, _SOURCE = 1 << 16, 1 << 20


@dataclass(frozen=True)
class TorchLayout:
    """Knows what the files of a torch archive are."""

    name: ClassVar[str] = "torch"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, bundle: Bundle) -> bool:
        """By a pickle of torch's, or the settings of a package."""
        return bool(_tops(bundle))

    def reader(self, path: str, bundle: Bundle) -> str:
        """`raw` for storages and settings, torch's pickles, TorchScript; anything else is sniffed."""
        top, rest = _split(path)
        if top not in _tops(bundle):
            return ""
        if _STORAGE.fullmatch(rest):
            return "raw"
        if rest in _PICKLES or rest.endswith((".debug_pkl", ".pkl")):
            return _PICKLE
        if rest.startswith("code/") and rest.endswith(".py"):
            return "torchscript"
        setting = _SETTINGS.get(rest)
        source = bundle.source(path)
        if setting is not None and source.size <= _LARGEST and setting.fullmatch(source.read_at(0, _LARGEST)):
            return "raw"
        return ""

    def read(self, bundle: Bundle, budget: Budget) -> Iterator[Fact | Finding]:
        """Settings that are none, names that differ only in case, the code of packages, and indices that lead out.

        Raises:
            TooLarge: the budget is spent.
        """
        tops = _tops(bundle)
        seen: dict[str, str] = {}
        for path in bundle:
            top, rest = _split(path)
            if top not in tops:
                continue
            if path.lower() in seen:
                yield found(CASE, bundle.name, 0, f"{shown(path)} and {shown(seen[path.lower()])}")
            seen[path.lower()] = path
            if rest in _SETTINGS and self.reader(path, bundle) != "raw":
                yield found(RECORD, bundle.source(path).name, 0, f"{shown(path)} has {bundle.source(path).size} bytes")
            if rest == "byteorder" and bundle.source(path).read_at(0, 8) == b"big":
                yield found(ORDER, bundle.source(path).name, 0, "the numbers are big-endian")
            if rest.endswith(".py") and not rest.startswith("code/"):
                yield _code(bundle, path)
        for path in _sparse_pickles(self, bundle):
            yield from _sparse(bundle, path, budget)
        if any(_split(path)[1] in {".data/extern_modules", ".data/python_version"} for path in bundle):
            yield found(PACKAGE, bundle.name, 0, "loading it imports the modules within")


def _sparse_pickles(layout: TorchLayout, bundle: Bundle) -> list[str]:
    pickles = [path for path in bundle if layout.reader(path, bundle) == _PICKLE]
    return [path for path in pickles if names_sparse(bundle.source(path))]


def _sparse(bundle: Bundle, path: str, budget: Budget) -> Iterator[Finding]:
    """Sparse tensors of a pickle whose indices, which are in storages, lead out of them."""
    members = {other.lower(): other for other in bundle}
    folder, source = path.lower().removesuffix(".pkl"), bundle.source(path)
    top = path.partition("/")[0].lower()
    order = members.get(f"{top}/byteorder")

    def find(storage: Storage) -> tuple[RandomAccess, int, int] | None:
        member = members.get(f"{folder}/{storage.key}".lower())
        if member is None or (order is not None and bundle.source(order).read_at(0, 8) != b"little"):
            return None
        return bundle.source(member), 0, bundle.source(member).size

    for offset, args in run(Cursor(source), budget, Dialect.TORCH).sparse:
        yield from sparse_problems(source.name, offset, args, find, budget)


def _code(bundle: Bundle, path: str) -> Fact:
    """A module of a package, which its importer runs."""
    source = bundle.source(path)
    detail: dict[str, str | int] = {"language": "python", "runs": "load"}
    if source.size <= _SOURCE:
        detail["text"] = source.read_at(0, _SOURCE).decode("utf-8", "replace")
    return Fact(FactKind.CODE, source.name, 0, path, detail)


def _split(path: str) -> tuple[str, str]:
    """The first folder, and what follows it in lower case, as torch looks it up."""
    top, _, rest = path.partition("/")
    return (top, rest.lower()) if rest else ("", top.lower())


@lru_cache(maxsize=2)
def _tops(bundle: Bundle) -> frozenset[str]:
    """The folders that torch reads: those with a pickle or the settings of a package, and a version, which it asks for."""
    tops: dict[str, set[str]] = {}
    for path in bundle:
        top, rest = _split(path)
        if rest in _OWN or rest in _VERSIONS:
            tops.setdefault(top, set()).add(rest)
    return frozenset(top for top, rests in tops.items() if rests & _OWN and rests & _VERSIONS)


LAYOUT = TorchLayout
