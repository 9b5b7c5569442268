"""ONNX models with data in files beside them: each part must stand within its file, and be what the checksum says.

Cost: the models are walked a second time; a file is hashed only where the model tells a checksum.

Source: onnx 1.23.2, `docs/ExternalData.md`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.facts import Fact, FactKind, found
from fastness.models.scan.readers.onnx import OnnxReader
from fastness.models.scan.rules import MAPS

BOUNDS = Rule(
    "onnx-external-bounds", "Outside data that does not reach as far as the model says", Severity.HIGH,
    "Runtimes have read beyond such files, or take another tensor's bytes for these.",
    "Fetch all files of the model again, or save it again with its own library.", {**MAPS, "cwe": "CWE-125"},
)  # fmt: skip
CHECKSUM = Rule(
    "onnx-external-checksum", "Outside data that is not what the model was saved with", Severity.HIGH,
    "The model tells a checksum of the file, and the file has another: one of them was replaced.",
    "Fetch all files of the model again from where they were published.", {**MAPS, "cwe": "CWE-354"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (BOUNDS, CHECKSUM)

_STEP = 1 << 20


@dataclass(frozen=True)
class OnnxData:
    """Holds the models of a folder or archive against the files they name."""

    name: ClassVar[str] = "onnx-data"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, bundle: Bundle) -> bool:
        """Whether there is a model, and anything else."""
        return len(bundle) > 1 and any(path.endswith(".onnx") for path in bundle)

    def reader(self, path: str, bundle: Bundle) -> str:
        """Exporters leave an empty data file where all tensors are small."""
        model = path.removesuffix(".data").removesuffix("_data")
        is_empty = model != path and model in bundle and not bundle.source(path).size
        return "raw" if is_empty else ""

    def read(self, bundle: Bundle, budget: Budget) -> Iterator[Fact | Finding]:
        """Data that ends early, or is not what was saved.

        Raises:
            TooLarge: the budget is spent.
        """
        sums: dict[str, str] = {}
        for path in bundle:
            if not path.endswith(".onnx"):
                continue
            for told in OnnxReader().read(bundle.source(path), budget):
                if isinstance(told, Fact) and told.kind is FactKind.REFERENCE:
                    yield from _held(bundle, path, told, sums)


def _held(bundle: Bundle, path: str, fact: Fact, sums: dict[str, str]) -> Iterator[Finding]:
    led = bundle.resolve(path, fact.name)
    if not led:
        return
    source = bundle.source(led)
    offset, wanted = _number(fact, "offset", 0), int(fact.detail["wanted"])
    length = _number(fact, "length", wanted)
    if offset + max(length, wanted) > source.size:
        text = f"{led[:80]!a} has {source.size} bytes, and a tensor ends behind them"
        yield found(BOUNDS, fact.source, fact.offset, text)
    elif 0 <= wanted != length >= 0:
        yield found(BOUNDS, fact.source, fact.offset, f"a tensor of {wanted} bytes is given {length} of {led[:80]!a}")
    claimed = str(fact.detail.get("checksum", "")).lower()
    if claimed:
        if led not in sums:
            sums[led] = _sha1(source)
        if claimed != sums[led]:
            yield found(CHECKSUM, fact.source, fact.offset, f"{led[:80]!a} has another checksum")


def _number(fact: Fact, key: str, default: int) -> int:
    text = str(fact.detail.get(key, ""))
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else default


def _sha1(source: RandomAccess) -> str:
    digest = hashlib.sha1(usedforsecurity=False)  # what the format says; it only finds what the writer did not mean
    for at in range(0, source.size, _STEP):
        digest.update(source.read_at(at, _STEP))
    return digest.hexdigest()


LAYOUT = OnnxData
