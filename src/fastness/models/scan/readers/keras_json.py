"""Keras' configurations as JSON files: `config.json` of .keras archives, and what `model.to_json()` gives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import Look, Told, span
from fastness.models.scan.keras_config import RULES as CONFIG_RULES
from fastness.models.scan.keras_config import keras_facts

RULES: tuple[Rule, ...] = CONFIG_RULES

_BEGINS = re.compile(rb"(?:\xef\xbb\xbf)?\s*[\[{]")


@dataclass(frozen=True)
class KerasJsonReader:
    """Reads configurations that name classes by `class_name`."""

    name: ClassVar[str] = "keras-json"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, look: Look) -> bool:
        """By the key that every object of Keras has, near the front."""
        return _BEGINS.match(look.head) is not None and b'"class_name"' in look.head

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """What the configuration names and holds.

        Raises:
            TooLarge: the budget is spent.
        """
        budget.require("header_bytes", source.size)
        text = source.read_at(0, source.size)
        yield from keras_facts(text.removeprefix(b"\xef\xbb\xbf"), source.name, 0, budget)
        yield span(source.name, 0, source.size)


READER = KerasJsonReader
