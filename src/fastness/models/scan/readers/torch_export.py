"""Graphs as torch.export writes them: JSON whose nodes name the operators that they call.

Misses: what a reviewed operator does with its arguments. Cost: one pass over the text; nothing of it is kept but names.

Source: torch 2.13, `torch/_export/serde/schema.py`: `Node.target`.
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
from fastness.models.scan.entries import shown
from fastness.models.scan.facts import Look, Told, found, span
from fastness.models.scan.readers.torchscript import rule_of_operator
from fastness.models.scan.rules import MAPS, undecided

MALFORMED = undecided(
    "torch-export-malformed", "An exported graph that is not understood",
    "What cannot be parsed cannot be vouched for.", "Export the model again with torch.export.save.",
)  # fmt: skip
FUNCTION = Rule(
    "torch-export-function", "An exported graph calls a function that is not reviewed", Severity.MEDIUM,
    "The loader looks the name up and puts what it finds into the graph.",
    "Find out what the function does, or export the model again.", {**MAPS, "cwe": "CWE-470"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, FUNCTION)

_LARGEST = 32 << 20
_OPERATOR = re.compile(
    r"torch\.ops\.([A-Za-z_]\w*)\.([A-Za-z_]\w*)(?:\.\w+)?|#?([A-Za-z_]\w*)::([A-Za-z_]\w*)(?:\.\w+)?"
)
_PLAIN = re.compile(
    r"_operator\.(?:add|sub|mul|truediv|floordiv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|xor|not_|getitem|lshift|rshift|index)"
    r"|math\.(?:ceil|floor|trunc|sqrt|log2?|exp)|torch\.sym_(?:not|max|min|float|int|ite|sqrt|sum|fresh_size)"
    r"|torch\._sym_\w+|torch\.utils\._sympy\.functions\.\w+"
)


@dataclass(frozen=True)
class TorchExportReader:
    """Reads exported graphs."""

    name: ClassVar[str] = "torch-export"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, look: Look) -> bool:
        """Never by itself: only a layout says that a text is a graph."""
        del look
        return False

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The functions that the nodes call.

        Raises:
            TooLarge: it calls too many different ones.
        """
        names: dict[str, None] = {}

        def closed(items: list[tuple[str, object]]) -> None:
            names.update({value: None for key, value in items if key == "target" and isinstance(value, str)})

        if source.size > _LARGEST:
            yield found(MALFORMED, source.name, 0, f"{source.size} bytes, and {_LARGEST} are read")
            return
        try:
            json.loads(source.read_at(0, source.size), object_pairs_hook=closed)
        except (ValueError, RecursionError) as error:
            yield found(MALFORMED, source.name, 0, f"it is no JSON: {type(error).__name__}")
            return
        yield span(source.name, 0, source.size)
        for name in names:
            budget.spend("facts")
            operator = _OPERATOR.fullmatch(name)
            if operator is not None:
                rule = rule_of_operator([part for part in operator.groups() if part])
            else:
                rule = None if _PLAIN.fullmatch(name) else FUNCTION
            if rule is not None:
                yield found(rule, source.name, 0, f"it calls {shown(name)}")


READER = TorchExportReader
