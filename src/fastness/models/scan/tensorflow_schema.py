"""The messages of TensorFlow's files, by field number: whatever stands in none of these is for review."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

DATA = Path(__file__).with_name("tensorflow_messages.json")
WIRES = {"i": (0, 2), "f": (5, 2), "d": (1, 2), "s": (2,), "t": (2,)}
"""The wire types that a kind of field may have; numbers may be packed."""

Schema = Mapping[str, Mapping[int, str]]


@cache
def schema() -> Schema:
    """Message to field number to kind, or the name of another message."""
    tree = json.loads(DATA.read_bytes())["messages"]
    return {name: {int(number): kind for number, kind in fields.items()} for name, fields in tree.items()}
