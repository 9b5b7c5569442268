"""What a quota is: how much of something whoever it is for may use, in a window or evenly."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Final

import msgspec

from fastness.core.errors import FastnessError, Invalid
from fastness.core.limits import LARGEST, Cap, LimitKey, Rate, Unit, Window, key_parts, limit_key
from fastness.foundation.storage import counters

EACH: Final = "*"
LONGEST_SUBJECT: Final = 128
_LONGEST_ALERTS: Final = 8
_PERIODS_US: Final = {
    Window.SECOND: 1_000_000,
    Window.MINUTE: 60_000_000,
    Window.HOUR: 3_600_000_000,
    Window.DAY: 86_400_000_000,
}


class Kind(StrEnum):
    """Whom or what a quota is for."""

    KEY = "key"
    PRINCIPAL = "principal"
    TENANT = "tenant"
    MODEL = "model"


class Shape(StrEnum):
    """How an amount is spread over its window."""

    EVEN = "even"
    FIXED = "fixed"
    SLIDING = "sliding"


class Quota(msgspec.Struct, frozen=True):
    """A limit that was set.

    Attributes:
        subject: key id, principal, or model; `*` is each of the kind that has no own quota of this unit and window. Of
            a tenant always `*`: the tenant itself.
        shape: `even` is a rate (GCRA), the others count in windows of the calendar, in UTC.
        burst: how much at once, of `even`; 0 is the whole amount.
        stops: more is refused; a budget that does not stop only tells.
        alerts: percents of the amount at which `budget.reached` is told, once each in a window.

    Raises:
        Invalid: it makes no sense, or counts nothing.
    """

    kind: Kind
    subject: str
    unit: Unit
    window: Window
    amount: int
    shape: Shape = Shape.FIXED
    burst: int = 0
    stops: bool = True
    alerts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < len(self.subject) <= LONGEST_SUBJECT or not self.subject.isprintable():
            raise Invalid("quota-subject", f"a quota is for a name of 1 to {LONGEST_SUBJECT} characters, or for *")
        if self.kind is Kind.TENANT and self.subject != EACH:
            raise Invalid("quota-subject", "a tenant's quota is for *, the tenant itself")
        self._check_amount()
        self._check_alerts()
        _ = self.limit

    def _check_amount(self) -> None:
        if not 0 <= self.amount <= LARGEST:
            raise Invalid("quota-amount", "an amount is a whole number from 0 to 2^52")
        if not 0 <= self.burst <= LARGEST or (self.burst and self.shape is not Shape.EVEN):
            raise Invalid("quota-burst", "only an even quota has a burst, of at least 1")
        if self.shape is Shape.EVEN and (self.window not in _PERIODS_US or not self.stops or not self.amount):
            raise Invalid("quota-shape", "an even quota stops, is above 0, and is per second, minute, hour or day")

    def _check_alerts(self) -> None:
        alerts = self.alerts
        if len(alerts) > _LONGEST_ALERTS or list(alerts) != sorted({a for a in alerts if 1 <= a <= 1000}):
            raise Invalid("quota-alerts", f"alerts are at most {_LONGEST_ALERTS} percents from 1 to 1000, rising")
        if alerts and (self.shape is Shape.EVEN or self.window not in counters.DURABLE):
            raise Invalid("quota-alerts", "alerts go with windows of an hour, a day or a month")
        if not (self.stops or alerts):
            raise Invalid("quota-alerts", "a quota that neither stops nor tells does nothing")

    @property
    def limit(self) -> Rate | Cap:
        """What is counted against."""
        if self.shape is not Shape.EVEN:
            return Cap(self.amount, self.window, self.shape is Shape.SLIDING, self.stops)
        divisor = math.gcd(self.amount, _PERIODS_US[self.window])
        return Rate(self.amount // divisor, _PERIODS_US[self.window] // divisor, self.burst or self.amount)

    @property
    def place(self) -> tuple[Unit, Window]:
        """What at most one quota of a subject is for."""
        return self.unit, self.window

    def key(self, tenant: str, subject: str) -> LimitKey:
        """The counter of `subject` under this quota; the same one whatever the amount, so that a change forgives nothing."""
        even = ("even",) if self.shape is Shape.EVEN else ()
        return limit_key(self.kind.value, tenant, subject, self.unit.value, self.window.value, *even)


class Counter(msgspec.Struct, frozen=True):
    """Whose counter it is."""

    tenant: str
    kind: Kind
    subject: str
    unit: Unit
    window: Window

    @classmethod
    def of(cls, key: LimitKey) -> Counter | None:
        """The counter of `key`; None where it is none of a quota's."""
        parts = key_parts(key)
        if len(parts) != 5:
            return None
        kind, tenant, subject, unit, window = parts
        if not 0 < len(subject) <= LONGEST_SUBJECT:
            return None
        try:
            return cls(tenant, Kind(kind), subject, Unit(unit), Window(window))
        except ValueError:
            return None

    @property
    def key(self) -> LimitKey:
        """Its key; that of a cap, for rates are not kept."""
        return limit_key(self.kind.value, self.tenant, self.subject, self.unit.value, self.window.value)


def parse_quota(values: dict[str, object]) -> Quota:
    """A quota from what came in from outside.

    Raises:
        Invalid: not one.
    """
    try:
        return msgspec.convert(values, Quota)
    except (msgspec.ValidationError, FastnessError) as error:
        if isinstance(error, FastnessError):
            raise
        cause = error.__cause__
        if isinstance(cause, FastnessError):
            raise cause from None
        raise Invalid("quota-malformed", f"not a quota: {error}") from error
