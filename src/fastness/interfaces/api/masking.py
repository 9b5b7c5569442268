"""Answers without personal values, where a rule obliges to a mask.

A route says which fields of its answer are personal: addresses, networks, names that people chose, free text. A rule that obliges
to a mask has them replaced; at a route that says nothing the obligation stays open, and the request is refused.

What it misses: the ids of principals, by which everything is named, are no personal values here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from fastness.core.errors import FastnessError

MASK: Final = "***"


def masked(body: bytes, fields: Collection[str]) -> bytes:
    """A JSON answer whose fields of these names, wherever they stand, hold nothing personal.

    Raises:
        FastnessError: it is no JSON: a fault of the program.
    """
    try:
        return msgspec.json.encode(_without(msgspec.json.decode(body), fields))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise FastnessError("mask-impossible", "this answer cannot be masked") from error


def _without(value: object, fields: Collection[str]) -> object:
    if isinstance(value, dict):
        return {name: _hidden(held) if name in fields else _without(held, fields) for name, held in value.items()}
    if isinstance(value, list):
        return [_without(held, fields) for held in value]
    return value


def _hidden(value: object) -> object:
    """Something of the same shape that tells nothing."""
    if isinstance(value, dict):
        return {name: _hidden(held) for name, held in value.items()}
    if isinstance(value, list):
        return [_hidden(held) for held in value]
    return MASK if isinstance(value, str) and value else type(value)() if isinstance(value, int | float) else value
