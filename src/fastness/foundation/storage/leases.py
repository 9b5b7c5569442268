"""Counters of one process, leased in small blocks to the others: no unused share is lost, and nothing is given out twice.

The control process holds the counters; a gateway worker asks it for units of a limit, spends them on its own, and gives back
what it did not need within `HOLD_S`. Questions of one loop tick travel together. The first question of a quiet key asks for what it
needs and no more; who empties its block at once gets a block twice as large, up to a part of the limit.

What it promises: a unit is counted before it can be spent, so a worker that is killed forgives nothing; what it held stays
counted (at most `_PART` of a burst or a cap). What it misses: a unit of a rate may be spent up to `HOLD_S` after it was counted, so
a burst may exceed its limit by the blocks held, for that long; the rate over time is exact. Units of a cap end with its window.

Source: ours; the idea of leased capacity is that of Doorman (Google, 2016) and of Envoy's rate limit quota service.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from fastness.core.clock import Instant
from fastness.core.errors import FastnessError, Unavailable
from fastness.core.limits import LARGEST_COST, Cap, Charge, Charged, LimitKey, Rate
from fastness.foundation.storage.counting import SECOND_US, check_cost, checked, checked_use, window_at
from fastness.foundation.storage.memory import MemoryCounters

HOLD_S: Final = 0.2
_PART: Final = 16
_MOST_PURSES: Final = 10_000


class LeaseAsk(msgspec.Struct, frozen=True, array_like=True):
    """Units that a worker needs: at best `want`, and nothing below `least`."""

    key: str
    limit: Rate | Cap
    want: int
    least: int


class LeaseBack(msgspec.Struct, frozen=True, array_like=True):
    """Units that were not needed; below 0: that were used beyond those given."""

    key: str
    limit: Rate | Cap
    units: int
    at_us: int


class LeaseRequest(msgspec.Struct, frozen=True):
    """What a worker says to the desk."""

    asks: tuple[LeaseAsk, ...] = ()
    backs: tuple[LeaseBack, ...] = ()


class LeaseReply(msgspec.Struct, frozen=True):
    """For each ask the units given, and how long the least of them has to wait otherwise (-1: for ever)."""

    given: tuple[int, ...]
    waits_us: tuple[int, ...]


Ask = Callable[[LeaseRequest], Awaitable[LeaseReply]]
"""How a worker reaches the desk; raises Unavailable where it does not."""


class Desk:
    """The side that holds the counters. What a worker says is checked, for nothing on a socket is trusted."""

    def __init__(self, counters: MemoryCounters) -> None:
        self._counters = counters

    def serve(self, request: LeaseRequest, now: Instant) -> LeaseReply:
        """Take back what comes back, then give what there is.

        Raises:
            Invalid: units, costs or limits are out of range.
        """
        for back in request.backs:
            check_cost(abs(back.units))
            charge = Charge(LimitKey(back.key), back.limit, max(0, back.units))
            self._counters.correct(Charged((charge,), None, 0.0, min(back.at_us, now // 1000)), (max(0, -back.units),))
        given, waits = [], []
        for ask in request.asks:
            units, wait = self._counters.lend(Charge(LimitKey(ask.key), ask.limit, ask.want), ask.least, now)
            given.append(units)
            waits.append(-1 if math.isinf(wait) else int(wait))
        return LeaseReply(tuple(given), tuple(waits))


class _Purse:
    """Units of one counter in this process."""

    __slots__ = ("block", "ends_us", "got_us", "limit", "spent_at", "units")

    def __init__(self, limit: Rate | Cap) -> None:
        self.limit = limit
        self.units = 0
        self.block = 0
        self.got_us = 0
        self.ends_us: float = 0
        self.spent_at = -math.inf

    def has(self, charge: Charge, now_us: int) -> bool:
        return self.units >= max(charge.cost, 1) and now_us < self.ends_us and self.limit == charge.limit

    def fill(self, units: int, now_us: int) -> None:
        if now_us >= self.ends_us:
            self.units = 0  # of a window that is over
        self.units += units
        self.got_us = now_us
        self.ends_us = window_at(self.limit.window, now_us)[1] if isinstance(self.limit, Cap) else math.inf


@dataclass
class _Waiting:
    charges: tuple[Charge, ...]
    now_us: int
    done: asyncio.Future[Charged] = field(repr=False)


class LeasedCounters:
    """`SharedCounters` of a worker, for one event loop.

    Args:
        ask: how the desk is reached.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._purses: dict[LimitKey, _Purse] = {}
        self._waiting: list[_Waiting] = []
        self._backs: dict[tuple[LimitKey, Rate | Cap, int], int] = {}
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def take_all(self, charges: tuple[Charge, ...], now: Instant) -> Charged:
        """Take all charges if each passes, else none.

        Raises:
            Invalid: they cannot be taken together, or a cost is out of range.
            Unavailable: the desk does not answer.
        """
        loop = asyncio.get_running_loop()
        now_us = now // 1000
        if not self._waiting and self._spend(checked(charges), now_us, loop.time()):
            return Charged(charges, None, 0.0, now_us)
        waiting = _Waiting(checked(charges), now_us, loop.create_future())
        self._waiting.append(waiting)
        self._begin(loop)
        return await waiting.done

    async def settle_all(self, charged: Charged, used: tuple[int, ...]) -> None:
        """Count what was used in place of what was charged; the desk hears of it with the next question.

        Raises:
            Invalid: not one use for each charge, or one that is out of range.
        """
        differences = checked_use(charged, used)
        if not charged.allowed:
            return
        for charge, difference in zip(charged.charges, differences, strict=True):
            purse = self._purses.get(charge.key)
            if difference > 0 and purse is not None and purse.limit == charge.limit:
                held = min(purse.units, difference)
                purse.units -= held
                difference -= held  # noqa: PLW2901 - the rest of it
            if difference:
                self._give_back(charge.key, charge.limit, -difference, charged.at_us)
        self._begin(asyncio.get_running_loop())

    async def close(self) -> None:
        """Give everything back, as far as the desk can be reached."""
        for key in list(self._purses):
            self._empty(key)
        loop = asyncio.get_running_loop()
        self._begin(loop)
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()

    def _spend(self, charges: tuple[Charge, ...], now_us: int, at: float) -> bool:
        purses = []
        for charge in charges:
            purse = self._purses.get(charge.key)
            if purse is None or not purse.has(charge, now_us):
                return False
            purses.append(purse)
        for purse, charge in zip(purses, charges, strict=True):
            purse.units -= charge.cost
            purse.spent_at = at
        return True

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._task is None and (self._waiting or self._backs):
            self._task = loop.create_task(self._exchange())

    async def _exchange(self) -> None:
        loop = asyncio.get_running_loop()
        lot: list[_Waiting] = []
        try:
            while self._waiting or self._backs:
                lot, self._waiting = self._waiting, []
                backs, self._backs = self._backs, {}
                if not await self._round_trip(lot, backs, loop):
                    return
        except BaseException:
            _fail([*lot, *self._waiting], Unavailable("counters-unreachable", "the counters do not answer"))
            self._waiting = []
            raise
        finally:
            self._task = None
            if self._timer is None:
                self._timer = loop.call_later(HOLD_S, self._tidy, loop)

    async def _round_trip(
        self, lot: list[_Waiting], backs: dict[tuple[LimitKey, Rate | Cap, int], int], loop: asyncio.AbstractEventLoop
    ) -> bool:
        """Tell and ask; whether the desk answered."""
        asks = self._asks(lot, loop.time())
        told = tuple(LeaseBack(key, limit, units, at) for (key, limit, at), units in backs.items())
        try:
            reply = await self._ask(LeaseRequest(tuple(asks.values()), told))
        except FastnessError as error:
            for (key, limit, at), units in backs.items():  # so that it is told later
                self._give_back(key, limit, units, at)
            _fail([*lot, *self._waiting], error)
            self._waiting = []
            return False
        self._share(lot, asks, reply, loop.time())
        return True

    def _asks(self, lot: list[_Waiting], at: float) -> dict[LimitKey, LeaseAsk]:
        """What is missing for all that waits, a counter once, and a block beyond it where it was emptied lately."""
        needs: dict[LimitKey, list[int]] = {}
        for waiting in lot:
            for charge in waiting.charges:
                purse = self._purse(charge, waiting.now_us)
                needs.setdefault(charge.key, [0, max(charge.cost, 1)])
                need = needs[charge.key]
                need[0] += max(charge.cost, 1)
                need[1] = min(need[1], max(charge.cost, 1))
                if waiting.now_us >= purse.ends_us:
                    purse.units = 0
        asks = {}
        for key, (needed, least) in needs.items():
            purse = self._purses[key]
            if (missing := needed - purse.units) > 0:
                lately = at - purse.spent_at < HOLD_S
                purse.block = min(max(1, 2 * purse.block), _most(purse.limit)) if lately else 0
                asks[key] = LeaseAsk(
                    key, purse.limit, min(missing + purse.block, LARGEST_COST), max(1, least - purse.units)
                )
        return asks

    def _purse(self, charge: Charge, now_us: int) -> _Purse:
        purse = self._purses.get(charge.key)
        if purse is not None and purse.limit != charge.limit:
            self._empty(charge.key)
            purse = None
        if purse is None:
            purse = self._purses[charge.key] = _Purse(charge.limit)
            purse.fill(0, now_us)
        return purse

    def _share(self, lot: list[_Waiting], asks: dict[LimitKey, LeaseAsk], reply: LeaseReply, at: float) -> None:
        waits = dict(zip(asks, reply.waits_us, strict=True))
        now_us = max((waiting.now_us for waiting in lot), default=0)
        for (key, ask), units in zip(asks.items(), reply.given, strict=True):
            self._purse(Charge(LimitKey(key), ask.limit, 0), now_us).fill(units, now_us)
        for waiting in lot:
            if waiting.done.done():
                continue
            if self._spend(waiting.charges, waiting.now_us, at):
                waiting.done.set_result(Charged(waiting.charges, None, 0.0, waiting.now_us))
            else:
                waiting.done.set_result(_refused(waiting, self._purses, waits))

    def _tidy(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        idle = [key for key, purse in self._purses.items() if loop.time() - purse.spent_at >= HOLD_S]
        for key in idle:
            self._empty(key)
        self._begin(loop)
        if self._purses and self._timer is None:
            self._timer = loop.call_later(HOLD_S, self._tidy, loop)

    def _empty(self, key: LimitKey) -> None:
        purse = self._purses.pop(key)
        if purse.units > 0:
            self._give_back(key, purse.limit, purse.units, purse.got_us)

    def _give_back(self, key: LimitKey, limit: Rate | Cap, units: int, at_us: int) -> None:
        place = (key, limit, at_us if isinstance(limit, Cap) else 0)
        if place in self._backs or len(self._backs) < _MOST_PURSES or units < 0:
            self._backs[place] = self._backs.get(place, 0) + units


def _most(limit: Rate | Cap) -> int:
    return (limit.burst if isinstance(limit, Rate) else limit.amount) // _PART


def _fail(lot: list[_Waiting], error: FastnessError) -> None:
    for waiting in lot:
        if not waiting.done.done():
            waiting.done.set_exception(error)


def _refused(waiting: _Waiting, purses: dict[LimitKey, _Purse], waits: dict[LimitKey, int]) -> Charged:
    """Which one refused; of several the one that frees last."""
    worst, refused = -1.0, 0
    for place, charge in enumerate(waiting.charges):
        purse = purses.get(charge.key)
        if purse is not None and purse.has(charge, waiting.now_us):
            continue
        wait = waits.get(charge.key, 0)
        seconds = math.inf if wait < 0 else max(wait / SECOND_US, 1e-3)
        if seconds > worst:
            worst, refused = seconds, place
    return Charged(waiting.charges, refused, worst, waiting.now_us)
