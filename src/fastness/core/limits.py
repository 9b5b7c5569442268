"""Rates and what was taken from them."""

from __future__ import annotations

import math
from typing import NewType

import msgspec

from fastness.core.errors import Invalid

LimitKey = NewType("LimitKey", str)
"""What is limited, such as `key:ab12cd34`."""


class Limit(msgspec.Struct, frozen=True):
    """`per_s` units a second on average, at most `burst` at once."""

    per_s: float
    burst: float

    def __post_init__(self) -> None:
        if not (0 < self.per_s < math.inf and 1 <= self.burst < math.inf):
            raise Invalid("limit-range", "a limit needs a finite per_s above 0 and a finite burst of at least 1")


class Taken(msgspec.Struct, frozen=True):
    """The answer of a counter.

    Attributes:
        allowed: whether the cost was taken.
        retry_after_s: when it may be tried again; 0 if allowed.
    """

    key: LimitKey
    allowed: bool
    retry_after_s: float
    cost: int
