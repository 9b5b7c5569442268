"""The METADATA of a wheel, and the PKG-INFO of a source package: a package that lies beside the model, or within it.

Source: PyPA specifications, "Core metadata". Cost: linear; at most the header bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import Look, Told, found, span
from fastness.models.scan.readers.requirements import decoded
from fastness.models.scan.requirements import brought, demand, secrets
from fastness.models.scan.rules import undecided

MALFORMED = undecided(
    "package-metadata-malformed", "Metadata of a package that is not understood",
    "What the package is and asks for is not known.", "Remove the package from the model.",
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED,)

_NAME = re.compile(r"(?:METADATA|PKG-INFO)")
_FIELD = re.compile(r"^(Name|Version|Requires-Dist):[ \t]*(.*?)[ \t]*$", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class WheelReader:
    """Reads the metadata of packages; their code is read by others."""

    name: ClassVar[str] = "wheel"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, look: Look) -> bool:
        """By the name and the first field."""
        return _NAME.fullmatch(re.split(r"[/!\\]", look.name)[-1]) is not None and b"Metadata-Version:" in look.head

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The package itself, and what it asks for.

        Raises:
            TooLarge: the file is longer than the budget's bound of headers, or asks for too much.
        """
        budget.require("header_bytes", source.size)
        text = decoded(source.read_at(0, source.size))
        if text is None:
            yield found(MALFORMED, source.name, 0, "the file is no text")
            return
        fields = re.split(r"\r?\n\r?\n", text, maxsplit=1)[0]
        yield span(source.name, 0, source.size)
        yield from secrets(source.name, 0, text)
        named = {"name": "", "version": ""}
        for match in _FIELD.finditer(fields):
            field, value = match[1].lower(), match[2]
            if field in named:
                named[field] = named[field] or value
                continue
            budget.spend("facts")
            fact = demand(source.name, match.start(), value)
            yield (
                fact
                if fact is not None
                else found(MALFORMED, source.name, match.start(), "a demand that is not understood")
            )
        if not named["name"]:
            yield found(MALFORMED, source.name, 0, "the package has no name")
        else:
            yield brought(source.name, 0, named["name"], named["version"])


READER = WheelReader
