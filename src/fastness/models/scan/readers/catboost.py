"""CatBoost: the binary format (.cbm): a flatbuffer behind a length, and the parts that its list of parts names.

Holds no code. Cost: one step a field; borders, splits and leaves are stepped over.

Source: catboost, `catboost/libs/model/model.cpp` and `flatbuffers/model.fbs`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.credentials import SHORTEST, credential_in
from fastness.models.scan.cursor import Part
from fastness.models.scan.facts import Fact, FactKind, Look, Member, Told, found, span
from fastness.models.scan.flatbuffers import BOUNDS, HIDDEN, UNKNOWN, Broken, Row, Walk, schema_of
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.rules import MAPS

PART = Rule(
    "catboost-part", "A part of the model that is not known", Severity.MEDIUM,
    "What no reader of the format looks at can carry anything, or belong to a newer version of it.",
    "Save the model again with a published version of its library.", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (PART,)

_MAGIC = b"CBM1"
_PARTS = frozenset({"static_provider_v1", "text_process_v1", "text_process_v2", "embed_process_v1", "embed_process_v2"})


@dataclass(frozen=True)
class CatboostReader:
    """Reads .cbm files."""

    name: ClassVar[str] = "catboost"
    suffixes: ClassVar[tuple[str, ...]] = (".cbm",)

    def claims(self, look: Look) -> bool:
        """By the magic."""
        return look.head.startswith(_MAGIC)

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Parts, credentials, faults, and the spans.

        Raises:
            TooLarge: the budget is spent.
        """
        end = 8 + int.from_bytes(source.read_at(0, 8)[4:], "little")
        yield span(source.name, 0, source.size)
        if end > source.size:
            yield found(BOUNDS, source.name, 4, f"a model of {end - 8} bytes in a file of {source.size}")
            return
        walk = Walk(source, schema_of("catboost"), budget, 8, end)
        parts: list[str] = []
        try:
            for row in walk.rows():
                if row.table == "TModelCore":
                    parts += row.vector("ModelPartIds").texts
                yield from _credentials(source.name, row, budget)
        except Broken as broken:
            yield found(broken.rule, source.name, broken.at, str(broken))
            return
        for (table, number), at in walk.unknown.items():
            yield found(UNKNOWN, source.name, at, f"field {number} of {table}")
        walk.reached.append((end, end))
        for at, length in walk.hidden():
            yield found(HIDDEN, source.name, at, f"{length} bytes that nothing leads to")
        yield from search_payloads(source, 0, source.size, budget)
        yield from _parts(source, end, parts)


def _credentials(name: str, row: Row, budget: Budget) -> Iterator[Fact]:
    for value in row.values.values():
        if isinstance(value, str) and len(value) >= SHORTEST and (kind := credential_in(value)):
            budget.spend("facts")
            yield Fact(FactKind.CREDENTIAL, name, row.at, kind)


def _parts(source: RandomAccess, end: int, parts: list[str]) -> Iterator[Told]:
    """What follows the flatbuffer: the parts that it names, or what is not the model's."""
    for part in parts:
        if part.rstrip("\0") not in _PARTS:
            yield found(PART, source.name, 8, f"a part {part[:80]!a}")
    if not parts and end < source.size:
        yield found(HIDDEN, source.name, end, f"{source.size - end} bytes follow the model")
        yield Member(Part(source, f"{source.name}!behind", end, source.size - end), end)


READER = CatboostReader
