"""TensorRT: plans (.engine, .plan, .trt), which are compiled for one device and published by nobody.

A plan can at best be reviewed: what its kernels do cannot be seen. Told are programs for processors that stand in it (its
kernels are programs for GPUs), names of libraries, and the header that some exporters put before it. Cost: the file is read
twice, in pieces.

Source: what TensorRT 8 to 10 write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import Look, Told, found, span
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.rules import MAPS

OPAQUE = Rule(
    "tensorrt-opaque", "A compiled plan", Severity.MEDIUM,
    "It is code for a GPU in a format that is not published: what it does cannot be seen here.",
    "Ask for the model it was built from (ONNX), scan that, and build the plan yourself.", MAPS,
)  # fmt: skip
LIBRARY = Rule(
    "tensorrt-library", "A plan that names a library", Severity.HIGH,
    "Plugins are libraries that the runtime loads, and that run with its rights; a plan can bring them along.",
    "Do not load it. Build the plan yourself from a model that was scanned.", {**MAPS, "cwe": "CWE-829"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (OPAQUE, LIBRARY)

SUFFIXES = (".engine", ".plan", ".trt")
_MAGICS = (b"ftrt", b"ptrt", b"strt")
_STEP, _OVERLAP = 1 << 20, 512
_PATH = re.compile(rb"[\x20-\x7e]{0,200}[A-Za-z0-9_-]\.(?:so(?:\.[0-9]+)*|dll|dylib)(?=[^\x21-\x7e]|\Z)")
_PREFIX = 1 << 16


@dataclass(frozen=True)
class TensorrtReader:
    """Reads compiled plans."""

    name: ClassVar[str] = "tensorrt"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def claims(self, look: Look) -> bool:
        """By the magic, also behind the exporter's header; nothing else that is named so is one."""
        return look.head.startswith(_MAGICS) or _behind_header(look.head) > 0

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Programs, libraries, and the span.

        Raises:
            TooLarge: the budget is spent.
        """
        start = _behind_header(source.read_at(0, _PREFIX))
        yield found(OPAQUE, source.name, start, "compiled for one device")
        seen: set[str] = set()
        for at in range(0, source.size, _STEP):
            piece = source.read_at(at, _STEP + _OVERLAP)
            for match in _PATH.finditer(piece):
                name = match[0].decode("ascii").strip()
                if name not in seen:
                    seen.add(name)
                    budget.spend("facts")
                    yield found(LIBRARY, source.name, at + match.start(), f"it names {name[-120:]!a}")
        yield from search_payloads(source, 0, source.size, budget)
        yield span(source.name, 0, source.size)


def _behind_header(head: bytes) -> int:
    """Where the plan begins behind a length and JSON; 0 where there is no such header."""
    length = int.from_bytes(head[:4], "little")
    if not 2 <= length <= _PREFIX or head[4:5] != b"{":
        return 0
    at = 4 + length
    if len(head) >= at + 4:
        try:
            json.loads(head[4:at])
        except (ValueError, RecursionError):
            return 0
        return at if head[at : at + 4] in _MAGICS else 0
    return 0


READER = TensorrtReader
