"""Tables beside a model: Parquet and Arrow files. Numbers and texts, except for types that Python rebuilds from a pickle.

CVE-2023-47248: PyArrow before 14.0.1 unpickled the type of a column when it opened a file. The name by which such a type is
registered is looked for everywhere in the file. Misses: metadata that is compressed as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import Look, Told, found, span
from fastness.models.scan.rules import PICKLE_MAPS, undecided

PYTHON_TYPE = Rule(
    "table-python-type", "A table with a column of a Python type", Severity.HIGH,
    "PyArrow before 14.0.1 unpickles the type when it opens the file, which runs what the file says (CVE-2023-47248).",
    "Do not open it with an old PyArrow. Save the table with plain types.", PICKLE_MAPS,
)  # fmt: skip
MALFORMED = undecided(
    "table-malformed", "A table whose ends are not understood",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or write it again.",
)  # fmt: skip

RULES: tuple[Rule, ...] = (PYTHON_TYPE, MALFORMED)

_PARQUET, _ARROW = b"PAR1", b"ARROW1"
_PYTHON = (
    b"arrow.py_extension_type",
    b"YXJyb3cucHlfZXh0ZW5zaW9uX3R5cGU",
    b"Fycm93LnB5X2V4dGVuc2lvbl90eXBl",
    b"hcnJvdy5weV9leHRlbnNpb25fdHlwZ",
)
"""The name of such types, as it is and in the three ways it may stand within base64."""
_CHUNK = 1 << 20


@dataclass(frozen=True)
class TableReader:
    """Reads Parquet and Arrow files."""

    name: ClassVar[str] = "table"
    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".arrow", ".feather")

    def claims(self, look: Look) -> bool:
        """By the magic."""
        return look.head.startswith((_PARQUET, _ARROW))

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Columns of Python types; the ends must fit.

        Raises:
            TooLarge: the footer is longer than the budget allows.
        """
        magic = _PARQUET if source.read_at(0, 4) == _PARQUET else _ARROW
        tail = source.read_at(max(0, source.size - 10), 10)
        footer = int.from_bytes(tail[-len(magic) - 4 : -len(magic)], "little")
        least = 2 * len(magic) + 4 + footer
        if not tail.endswith(magic) or source.size < least or not footer:
            yield found(MALFORMED, source.name, 0, "the file does not end as it begins, or its footer does not fit")
            return
        budget.require("header_bytes", footer)
        kept = b""
        for offset in range(0, source.size, _CHUNK):
            piece = kept + source.read_at(offset, _CHUNK)
            if any(name in piece for name in _PYTHON):
                yield found(PYTHON_TYPE, source.name, offset, "the type of a column is a pickle")
                break
            kept = piece[-64:]
        yield span(source.name, 0, source.size)


READER = TableReader
