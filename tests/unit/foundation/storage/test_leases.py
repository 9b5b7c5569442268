"""Counters leased to workers: no share is lost, nothing is given out twice, a killed worker forgives nothing."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest

from fastness.core.clock import SECOND, Instant
from fastness.core.errors import FastnessError, Invalid, Unavailable
from fastness.core.limits import LARGEST_COST, Cap, Charge, Charged, LimitKey, Rate, Window, limit_key
from fastness.foundation.storage import leases
from fastness.foundation.storage.counters import Desk, LeasedCounters, LeaseReply, LeaseRequest, MemoryCounters
from fastness.foundation.storage.leases import LeaseAsk, LeaseBack

NOW = Instant(1_700_000_000 * SECOND)
KEY = limit_key("principal", "acme", "user:alice")
DAY = Cap(1000, Window.DAY)


class House:
    """A desk and its workers, in one loop; each question goes through bytes, as over a socket."""

    def __init__(self, workers: int) -> None:
        self.memory = MemoryCounters()
        self.desk = Desk(self.memory)
        self.now = NOW
        self.asked = 0
        self.away: FastnessError | None = None
        self.workers = [LeasedCounters(self.ask) for _ in range(workers)]

    async def ask(self, request: LeaseRequest) -> LeaseReply:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away is not None:
            raise self.away
        told = msgspec.msgpack.decode(msgspec.msgpack.encode(request), type=LeaseRequest)
        return msgspec.msgpack.decode(msgspec.msgpack.encode(self.desk.serve(told, self.now)), type=LeaseReply)

    async def take(self, worker: int, limit: Rate | Cap = DAY, cost: int = 1, key: LimitKey = KEY) -> Charged:
        return await self.workers[worker].take_all((Charge(key, limit, cost),), self.now)

    async def passes(self, worker: int, limit: Rate | Cap = DAY, most: int = 5000) -> int:
        for count in range(most):
            if not (await self.take(worker, limit)).allowed:
                return count
        return most

    def left(self, limit: Rate | Cap = DAY) -> int:
        given, _ = self.memory.lend(Charge(KEY, limit, LARGEST_COST), 1, self.now)
        return given

    async def close(self) -> None:
        for worker in self.workers:
            await worker.close()


def run(action: Coroutine[Any, Any, None]) -> None:
    asyncio.run(action)


def test_one_busy_worker_gets_the_whole_limit() -> None:
    async def act() -> None:
        house = House(4)
        assert await house.passes(0, Rate(100, 1_000_000, 200)) == 200
        house.now = Instant(NOW + SECOND)
        assert await house.passes(3, Rate(100, 1_000_000, 200)) == 100
        await house.close()

    run(act())


def test_all_workers_together_get_no_more_than_there_is() -> None:
    async def act() -> None:
        house = House(5)
        taken = await asyncio.gather(*(house.take(n % 5) for n in range(3000)))
        assert sum(each.allowed for each in taken) == 1000
        await house.close()

    run(act())


def test_who_is_busy_asks_seldom() -> None:
    async def act() -> None:
        house = House(1)
        await house.passes(0, DAY, most=900)
        assert house.asked < 60
        await house.close()

    run(act())


def test_what_lies_idle_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HOLD_S", 0.01)

    async def act() -> None:
        house = House(2)
        for _ in range(40):
            await house.take(0)
        held = sum(purse.units for purse in house.workers[0]._purses.values())
        while house.workers[0]._purses or house.workers[0]._backs or house.workers[0]._task:  # noqa: ASYNC110 - nobody tells it
            await asyncio.sleep(0.005)
        assert held > 0
        assert house.left() == 960
        await house.close()

    run(act())


def test_a_killed_worker_forgives_nothing() -> None:
    async def act() -> None:
        house = House(2)
        for _ in range(40):
            await house.take(0)
        held = sum(purse.units for purse in house.workers[0]._purses.values())
        assert 0 < held <= 1000 // 16
        assert await house.passes(1) == 1000 - 40 - held  # the first one is gone, and what it held with it
        await house.workers[1].close()

    run(act())


def test_closing_gives_back() -> None:
    async def act() -> None:
        house = House(1)
        for _ in range(40):
            await house.take(0)
        await house.close()
        assert house.left() == 960

    run(act())


def test_units_of_a_window_end_with_it() -> None:
    async def act() -> None:
        house = House(1)
        for _ in range(40):
            await house.take(0)
        house.now = Instant(NOW + 86_400 * SECOND)
        assert await house.passes(0) == 1000
        await house.close()

    run(act())


def test_more_was_used_than_known_and_the_others_feel_it() -> None:
    async def act() -> None:
        house = House(2)
        charged = await house.take(0, cost=0)
        await house.workers[0].settle_all(charged, (990,))
        await asyncio.sleep(0.01)
        assert await house.passes(1) == 10
        await house.close()

    run(act())


def test_a_desk_that_is_away_refuses_and_what_is_to_be_told_waits() -> None:
    async def act() -> None:
        house = House(2)
        charged = await house.take(0, cost=0)
        house.away = Unavailable("counters-unreachable", "away")
        await house.workers[0].settle_all(charged, (500,))
        with pytest.raises(Unavailable):
            await house.take(0, cost=100)
        house.away = None
        assert (await house.take(0)).allowed
        await house.close()
        assert house.left() == 499

    run(act())


def test_a_fault_of_the_asking_fails_nobody_for_ever() -> None:
    async def broken(request: LeaseRequest) -> LeaseReply:
        raise RuntimeError("a fault")

    async def act() -> None:
        worker = LeasedCounters(broken)
        with pytest.raises(Unavailable):
            await worker.take_all((Charge(KEY, DAY, 1),), NOW)
        await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    loop.run_until_complete(act())
    loop.close()


def test_a_changed_limit_gives_the_old_units_back() -> None:
    async def act() -> None:
        house = House(1)
        for _ in range(40):
            await house.take(0)
        assert not (await house.take(0, Cap(30, Window.DAY))).allowed
        await asyncio.sleep(0.01)
        assert house.left(Cap(50, Window.DAY)) == 10
        await house.close()

    run(act())


@pytest.mark.parametrize(
    "request_",
    [
        LeaseRequest(asks=(LeaseAsk("key:a:b", DAY, -1, 1),)),
        LeaseRequest(asks=(LeaseAsk("key:a:b", DAY, 1 << 60, 1),)),
        LeaseRequest(asks=(LeaseAsk("key:a:b", DAY, 5, -5),)),
        LeaseRequest(backs=(LeaseBack("key:a:b", DAY, -(1 << 60), 0),)),
        LeaseRequest(backs=(LeaseBack("key:a:b", DAY, 1 << 60, 0),)),
    ],
)
def test_the_desk_takes_no_nonsense(request_: LeaseRequest) -> None:
    with pytest.raises(Invalid):
        Desk(MemoryCounters()).serve(request_, NOW)


def test_a_worker_cannot_forgive_a_debt_by_a_time_to_come() -> None:
    memory, rate = MemoryCounters(), Rate(1, 1_000_000, 10)
    desk = Desk(memory)
    assert desk.serve(LeaseRequest(asks=(LeaseAsk(KEY, rate, 10, 1),)), NOW).given == (10,)
    desk.serve(LeaseRequest(backs=(LeaseBack(KEY, rate, 1, NOW // 1000 + 10**12),)), NOW)
    assert desk.serve(LeaseRequest(asks=(LeaseAsk(KEY, rate, 10, 1),)), NOW).given == (1,)


def test_a_cost_that_never_fits_says_so() -> None:
    async def act() -> None:
        house = House(1)
        assert (await house.take(0, cost=1001)).retry_after_s == math.inf
        await house.close()

    run(act())
