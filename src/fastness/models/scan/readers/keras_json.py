"""Keras' configurations as JSON files: `config.json` of .keras archives, and what `model.to_json()` gives.

Every JSON file is searched for objects of Keras; where there is none, the claim is withdrawn and others read it. Misses:
nothing that Keras would look up. Cost: one search, and one step a value of configurations.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import HEAD, Look, Told, span
from fastness.models.scan.keras_config import RULES as CONFIG_RULES
from fastness.models.scan.keras_config import NotKeras, keras_facts, may_be_config

RULES: tuple[Rule, ...] = CONFIG_RULES

_MARK = b"\xef\xbb\xbf"
_BEGINS = re.compile(rb"(?:\xef\xbb\xbf)?\s*[\[{]")
# A key that names a class, if it is not one word of a vocabulary; its letters may be escaped.
_LETTERS = b"".join(rb"(?:%c|\\u00%02x)" % (letter, letter) for letter in b"class_name")
_KEY = re.compile(rb'"(?i:' + _LETTERS + rb')"(?!\s*+(?::\s*+-?[0-9]|[,\]}]))')
# JSON in two or four bytes a character, which Python's parser takes as well.
_WIDE = re.compile(rb"(?:\xff\xfe|\xfe\xff|\0\0\xfe\xff)?\0*[\[{\s]\0")
_WINDOW = 1 << 20
_OVERLAP = 256


@dataclass(frozen=True)
class KerasJsonReader:
    """Reads configurations that name classes by `class_name`."""

    name: ClassVar[str] = "keras-json"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, look: Look) -> bool:
        """By the beginning of JSON, in any of its encodings."""
        return _BEGINS.match(look.head) is not None or _WIDE.match(look.head) is not None

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """What the configuration names and holds.

        Raises:
            TooLarge: the budget is spent.
        """
        wide = not json.detect_encoding(source.read_at(0, 4)).startswith("utf-8")
        if not wide and (_BEGINS.match(source.read_at(0, HEAD)) is None or not _names_classes(source)):
            return
        budget.require("header_bytes", source.size)
        text = _narrow(source.read_at(0, source.size)).removeprefix(_MARK)
        if not may_be_config(text):
            return
        try:
            yield from keras_facts(text, source.name, 0, budget)
        except NotKeras:
            return  # whoever reads JSON says what is wrong with it
        yield span(source.name, 0, source.size)


def _narrow(data: bytes) -> bytes:
    """The text in UTF-8."""
    encoding = json.detect_encoding(data)
    return data if encoding.startswith("utf-8") else data.decode(encoding, "replace").encode("utf-8", "replace")


def _names_classes(source: RandomAccess) -> bool:
    windows = (source.read_at(at, _WINDOW + _OVERLAP) for at in range(0, source.size, _WINDOW))
    return any(_KEY.search(window) is not None for window in windows)


READER = KerasJsonReader
