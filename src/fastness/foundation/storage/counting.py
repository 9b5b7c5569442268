"""The arithmetic of limits, in whole numbers: what a charge would leave behind, and when it will pass.

Rates are kept as a debt: the time, in units of 1/amount microseconds, until all that was taken is paid off. That is the
generic cell rate algorithm with nothing rounded. Caps count in windows of the calendar (UTC). A clock that goes back
stands still here: each state keeps the latest time that it has seen. `redis_counters` holds the same in Lua, and one suite
of contract tests holds both to the same answers.

Source: GCRA, ITU-T Recommendation I.371, annex A (virtual scheduling algorithm). Sliding windows: Julien Desgats, "How we built
rate limiting capable of scaling to millions of domains", Cloudflare, 2017 (the window before counts by its share). Months:
Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms". Settling, and asking with a cost of 0, are ours.
"""

from __future__ import annotations

import math
from typing import Final

from fastness.core.errors import Invalid
from fastness.core.limits import LARGEST, LARGEST_COST, Cap, Charge, Charged, Rate, Tally, Window, tenant_of

SECOND_US: Final = 1_000_000
_LENGTHS: Final = {
    Window.SECOND: SECOND_US,
    Window.MINUTE: 60 * SECOND_US,
    Window.HOUR: 3_600 * SECOND_US,
    Window.DAY: 86_400 * SECOND_US,
}
_DAY_US: Final = _LENGTHS[Window.DAY]
MOST_CHARGES: Final = 40
DURABLE: Final = frozenset({Window.HOUR, Window.DAY, Window.MONTH})
"""Windows whose counts outlive a restart."""


def checked(charges: tuple[Charge, ...]) -> tuple[Charge, ...]:
    """`charges`, if they can be taken together.

    Raises:
        Invalid: none, too many, one counter twice, several tenants', or a cost that is negative or absurd.
    """
    if not 0 < len(charges) <= MOST_CHARGES:
        raise Invalid("charges-count", f"1 to {MOST_CHARGES} charges are taken together")
    if len(charges) > 1:
        if len({charge.key for charge in charges}) < len(charges):
            raise Invalid("charges-twice", "one counter is charged twice in one operation")
        if len({tenant_of(charge.key) for charge in charges}) > 1:
            raise Invalid("charges-tenants", "charges of one operation belong to one tenant")
    for charge in charges:
        check_cost(charge.cost)
    return charges


def check_cost(cost: int) -> int:
    """`cost`, if it can be counted.

    Raises:
        Invalid: it is negative, no whole number or absurd.
    """
    if type(cost) is not int or not 0 <= cost <= LARGEST_COST:
        raise Invalid("cost-range", "a cost is a whole number from 0 to 2^48")
    return cost


def checked_use(charged: Charged, used: tuple[int, ...]) -> list[int]:
    """How much each charge differs from what was used.

    Raises:
        Invalid: not one use for each charge, or one that is out of range.
    """
    if len(used) != len(charged.charges):
        raise Invalid("settle-count", "settling needs one use for each charge")
    return [check_cost(use) - charge.cost for use, charge in zip(used, charged.charges, strict=True)]


def window_at(window: Window, at_us: int) -> tuple[int, int]:
    """Begin and end, in microseconds since 1970, of the window that holds `at_us`."""
    length = _LENGTHS.get(window)
    if length is not None:
        start = at_us - at_us % length
        return start, start + length
    year, month = _month_of(at_us // _DAY_US)
    after = (year + 1, 1) if month == 12 else (year, month + 1)
    return _days_to(year, month) * _DAY_US, _days_to(*after) * _DAY_US


def _month_of(days: int) -> tuple[int, int]:
    """Year and month of a day counted from 1970-01-01."""
    days += 719_468
    era, of_era = divmod(days, 146_097)
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return year + era * 400 + (month <= 2), month


def _days_to(year: int, month: int) -> int:
    """Days from 1970-01-01 to the first of a month."""
    year -= month <= 2
    era, of_era = divmod(year, 400)
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


class Flow:
    """The state of a rate: what is owed, in 1/amount microseconds, as of `at_us`."""

    __slots__ = ("amount", "at_us", "debt", "unit")

    def __init__(self, at_us: int, debt: int, amount: int) -> None:
        self.at_us = at_us
        self.debt = debt
        self.amount = amount
        self.unit = 0  # what one unit cost when it was last charged

    def kept(self) -> tuple[int, int, int]:
        """What `drain` may change; see `put_back`."""
        return self.at_us, self.debt, self.amount

    def put_back(self, kept: tuple[int, ...]) -> None:
        """Be as before: what is refused leaves no trace, so that a clock that goes back finds nothing that is later."""
        self.at_us, self.debt, self.amount = kept

    def drain(self, now_us: int, rate: Rate) -> None:
        """Bring it to `now_us`, or to the latest time seen; a changed rate keeps the time that is owed."""
        if now_us > self.at_us:
            self.debt = max(0, self.debt - (now_us - self.at_us) * self.amount)
            self.at_us = now_us
        if self.amount != rate.amount:
            self.debt = min(LARGEST, math.ceil(self.debt / self.amount * rate.amount))
            self.amount = rate.amount

    def wait_us(self, rate: Rate, cost: int, now_us: int) -> float:
        """How long until `cost` passes; 0 if it does now, infinite if it never will. Call `drain` before."""
        need = max(cost, 1)
        if need > rate.burst:
            return math.inf
        excess = self.debt + (need - rate.burst) * rate.period_us
        if excess <= 0:
            return 0
        return -(-excess // self.amount) + max(0, self.at_us - now_us)

    def add(self, rate: Rate, cost: int) -> None:
        """Owe `cost` more, or less where it is negative."""
        self.unit = rate.period_us
        self.debt = min(LARGEST, max(0, self.debt + cost * self.unit))

    def left(self, rate: Rate) -> int:
        """How much passes at once. Call `drain` before."""
        return max(0, rate.burst - -(-self.debt // rate.period_us))

    def idle(self, now_us: int) -> bool:
        """Whether nothing is owed."""
        return self.debt <= (now_us - self.at_us) * self.amount


class Count:
    """The state of a cap: what was used in the window from `start_us` to `end_us`, and in the one before."""

    __slots__ = ("before", "end_us", "start_us", "used", "window")

    def __init__(self, window: Window, start_us: int, used: int = 0, before: int = 0) -> None:
        self.window = window
        self.start_us, self.end_us = window_at(window, start_us)
        self.used = used
        self.before = before

    def kept(self) -> tuple[int, int, int, int]:
        """What `turn` may change; see `put_back`."""
        return self.start_us, self.end_us, self.used, self.before

    def put_back(self, kept: tuple[int, ...]) -> None:
        """Be as before: what is refused leaves no trace."""
        self.start_us, self.end_us, self.used, self.before = kept

    def turn(self, now_us: int) -> None:
        """Bring it to the window of `now_us`; never back."""
        if now_us >= self.end_us:
            start, end = window_at(self.window, now_us)
            self.before = self.used if start == self.end_us else 0
            self.used = 0
            self.start_us, self.end_us = start, end

    def wait_us(self, cap: Cap, cost: int, now_us: int) -> float:
        """How long until `cost` passes; 0 if it does now, infinite if it never will. Call `turn` before."""
        need = max(cost, 1)
        if not cap.stops:
            return 0
        now = max(now_us, self.start_us)
        if self.used + self._weighed(cap, now) + need <= cap.amount:
            return 0
        return self._frees_at(cap, need) - now_us if need <= cap.amount else math.inf

    def left(self, cap: Cap, now_us: int) -> int | None:
        """How much passes; None where nothing stops it. Call `turn` before."""
        now = max(now_us, self.start_us)
        return max(0, cap.amount - self.used - self._weighed(cap, now)) if cap.stops else None

    def _weighed(self, cap: Cap, now_us: int) -> int:
        if not cap.sliding or not self.before:
            return 0
        return math.ceil(self.before * ((self.end_us - now_us) / (self.end_us - self.start_us)))

    def _frees_at(self, cap: Cap, need: int) -> int:
        """The time at which `need` passes if nothing else is taken; at most a microsecond late."""
        length = self.end_us - self.start_us
        room = cap.amount - need
        if not cap.sliding:
            return self.end_us
        if self.used <= room:
            return self.end_us - int(length * ((room - self.used) / self.before)) + 1
        after = window_at(self.window, self.end_us)[1] - self.end_us
        return self.end_us + after - int(after * (room / self.used)) + 1

    def add(self, difference: int, at_us: int) -> None:
        """Count more, or less where it is negative: back only into the window that it was taken in at `at_us`."""
        if difference >= 0 or at_us >= self.start_us:
            self.used = min(LARGEST, max(0, self.used + difference))
        elif window_at(self.window, at_us)[1] == self.start_us:
            self.before = max(0, self.before + difference)

    def raise_to(self, tally: Tally) -> None:
        """Hold at least what `tally` holds, where it is of this window, of the one before or of a later one."""
        if tally.start_us > self.start_us:
            self.turn(tally.start_us)
        if tally.start_us == self.start_us:
            self.used, self.before = max(self.used, tally.used), max(self.before, tally.before)
        elif window_at(self.window, tally.start_us)[1] == self.start_us:
            self.before = max(self.before, tally.used)

    def idle(self, now_us: int) -> bool:
        """Whether nothing of it counts any more, in a sliding window neither."""
        return now_us >= window_at(self.window, self.end_us)[1] or not (self.used or self.before)

    @property
    def tally(self) -> Tally:
        """What it holds, as a value."""
        return Tally(self.start_us, self.used, self.before)


def life_ms(ttl_s: float) -> int:
    """`ttl_s` in milliseconds, rounded up.

    Raises:
        Invalid: not above 0, or longer than a year.
    """
    if not 0 < ttl_s <= 366 * 86_400:
        raise Invalid("seen-ttl", "a key is remembered for more than 0 seconds and at most a year")
    return max(1, -int(-ttl_s * 1000 // 1))
