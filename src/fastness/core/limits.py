"""Rates and what was taken from them."""

from __future__ import annotations

import math
from enum import StrEnum
from fractions import Fraction
from typing import Final, NamedTuple, NewType
from urllib.parse import quote, unquote

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


LARGEST: Final = 1 << 52
"""No amount, debt or time in microseconds exceeds it: all are whole numbers that a double holds without loss."""

LARGEST_COST: Final = 1 << 48
LONGEST_KEY: Final = 512


class Unit(StrEnum):
    """What is counted."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    COMPUTE_MS = "compute-ms"
    BYTES = "bytes"


class Window(StrEnum):
    """A stretch of the calendar, in UTC."""

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class Rate(msgspec.Struct, frozen=True, tag=True):
    """`amount` units every `period_us` microseconds, evenly, and at most `burst` at once; exact, for nothing is rounded."""

    amount: int
    period_us: int
    burst: int

    def __post_init__(self) -> None:
        if min(self.amount, self.period_us, self.burst) < 1 or self.amount > LARGEST:
            raise Invalid("rate-range", "a rate needs whole numbers of at least 1")
        if self.burst * self.period_us > LARGEST:
            raise Invalid(
                "rate-range", "burst times period is too large", "Choose a shorter period or a smaller burst."
            )

    @classmethod
    def of(cls, limit: Limit) -> Rate:
        """The rate that `limit` speaks of; its decimals are taken as they are written, and its burst is cut to whole units.

        Raises:
            Invalid: it is too small or too large to be counted.
        """
        exact = Fraction(str(limit.per_s)) / 1_000_000
        return cls(exact.numerator, exact.denominator, int(limit.burst))


class Cap(msgspec.Struct, frozen=True, tag=True):
    """At most `amount` units in a window of the calendar.

    Attributes:
        sliding: the window before counts too, by the share of the present one that is still to come.
        stops: more is refused; otherwise it is only counted.
    """

    amount: int
    window: Window
    sliding: bool = False
    stops: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.amount <= LARGEST:
            raise Invalid("cap-range", "an amount is a whole number from 0 to 2^52")


class Charge(NamedTuple):
    """A cost, and what it is taken from; a cost that is not known yet is 0, and then asks whether anything is left."""

    key: LimitKey
    limit: Rate | Cap
    cost: int


class Charged(msgspec.Struct, frozen=True):
    """What became of several charges: all were taken, or none.

    Attributes:
        refused: place of the charge that refused; of several the one that frees last. None where all were taken.
        retry_after_s: when that one may be tried again; 0 where all were taken, infinite where the cost never fits.
        at_us: the counter's own time of it.
        local: taken by this process alone, while the shared counters did not answer.
    """

    charges: tuple[Charge, ...]
    refused: int | None
    retry_after_s: float
    at_us: int
    local: bool = False

    @property
    def allowed(self) -> bool:
        """Whether all were taken."""
        return self.refused is None


class Tally(msgspec.Struct, frozen=True):
    """What a cap's counter holds: used in the window that began at `start_us`, and in the one before."""

    start_us: int
    used: int
    before: int = 0


def limit_key(kind: str, tenant: str, *parts: str) -> LimitKey:
    """The key of what is limited: no part can be written so that it becomes another's.

    Raises:
        Invalid: the kind is no plain word, or all of it is too long.
    """
    if not (kind.isascii() and kind.isalnum()):
        raise Invalid("limit-key", "the kind of a limit is a plain word")
    key = ":".join((kind, *map(key_part, (tenant, *parts))))
    if len(key) > LONGEST_KEY:
        raise Invalid("limit-key", f"what is limited has a name of more than {LONGEST_KEY} characters")
    return LimitKey(key)


def key_part(text: str) -> str:
    """`text` as it stands in a key: without colons and braces."""
    return quote(text, safe="-._~@/", errors="surrogatepass")


def key_parts(key: LimitKey) -> tuple[str, ...]:
    """What `limit_key` was given."""
    kind, *rest = key.split(":")
    return (kind, *(unquote(part, errors="surrogatepass") for part in rest))


def tenant_of(key: LimitKey) -> str:
    """The second part of a key, as it stands there: whose it is. Limits of one operation share it."""
    return key.split(":", 2)[1] if ":" in key else key
