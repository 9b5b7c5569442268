"""What all shared counters keep to: memory, leases over memory, and Redis give the same answers at the same times.

Redis counts by its own clock. Here its script reads the time from a key instead, by one exchanged line, so that the suite decides
what time it is; everything else is the script that is shipped. A real clock stands in tests/unit and tests/attack.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastness.core.clock import Instant
from fastness.core.errors import Invalid
from fastness.core.limits import Cap, Charge, Charged, LimitKey, Rate, Tally, Window, limit_key
from fastness.foundation.storage.counters import (
    Counted,
    Desk,
    LeasedCounters,
    LeaseReply,
    LeaseRequest,
    MemoryCounters,
    RedisCounters,
    RedisSettings,
    SharedCounters,
    Tallies,
)
from tests.redis_process import RedisProcess

T = TypeVar("T")
CLOCK = "local time = redis.call('TIME')"


def at(text: str) -> int:
    """Microseconds since 1970 of a time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


START = at("2026-03-15T12:00:00")
KEY = limit_key("principal", "acme", "user:alice", "requests")
OTHER = limit_key("tenant", "acme", "requests")
HUGE = 1 << 50


class Bench:
    """One kind of counters, a loop to ask them in, and the hand on their clock."""

    def __init__(self, kind: str, server: RedisProcess | None) -> None:
        self.kind = kind
        self.runner = asyncio.Runner()
        self.now_us = START
        self._server = server
        self.counters: SharedCounters
        self.tallies: Tallies
        if kind == "redis":
            assert server is not None
            server.talk(b"FLUSHALL\r\n")
            shared = self.runner.run(self._redis(server))
            self.counters, self.tallies = shared, shared
        else:
            memory = MemoryCounters()
            self.tallies, self.counters = memory, memory
            if kind == "leases":
                desk = Desk(memory)

                async def ask(request: LeaseRequest) -> LeaseReply:
                    await asyncio.sleep(0)
                    return desk.serve(request, Instant(self.now_us * 1000))

                self.counters = LeasedCounters(ask)

    @staticmethod
    async def _redis(server: RedisProcess) -> RedisCounters:
        made = RedisCounters(RedisSettings(url=server.url, timeout_s=30))
        link = made._link
        assert link.script.count(CLOCK) == 1
        link.script = link.script.replace(CLOCK, "local us = redis.call('GET', '{clock}'); local time = {0, us}")
        link.sha = hashlib.sha1(link.script.encode()).hexdigest()
        return made

    def run(self, action: Coroutine[Any, Any, T]) -> T:
        if self._server is not None:
            assert self._server.talk(b"SET {clock} %d\r\n" % self.now_us) == b"+OK\r\n"
        return self.runner.run(action)

    def take(self, *charges: Charge) -> Charged:
        return self.run(self.counters.take_all(charges, Instant(self.now_us * 1000)))

    def ok(self, limit: Rate | Cap, cost: int = 1, key: LimitKey = KEY) -> bool:
        return self.take(Charge(key, limit, cost)).allowed

    def passes(self, limit: Rate | Cap, cost: int = 1, most: int = 1000, key: LimitKey = KEY) -> int:
        return next((n for n in range(most) if not self.ok(limit, cost, key)), most)

    def settle(self, charged: Charged, *used: int) -> None:
        self.run(self.counters.settle_all(charged, used))
        self.run(asyncio.sleep(0.01) if self.kind == "leases" else asyncio.sleep(0))

    def tally(self, limit: Cap, key: LimitKey = KEY) -> Tally | None:
        found = {counted.key: counted for counted in self.run(self.tallies.drain("acme"))}.get(key)
        assert found is None or found.window is limit.window
        return None if found is None else found.tally

    def close(self) -> None:
        closing = getattr(self.counters, "close", None)
        if closing is not None:
            self.runner.run(closing())
        self.runner.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    made = RedisProcess(tmp_path_factory.mktemp("redis"))
    yield made
    made.kill()


@pytest.fixture(params=["memory", "leases", "redis"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(request.param, request.getfixturevalue("server") if request.param == "redis" else None)
    yield made
    made.close()


BURSTS: dict[str, tuple[Rate | Cap, int]] = {
    "rate": (Rate(10, 1_000_000, 5), 5),
    "rate, slow": (Rate(1, 1_000_000_000, 3), 3),
    "rate, thirds": (Rate(3, 1_000_000, 7), 7),
    "second": (Cap(4, Window.SECOND), 4),
    "month": (Cap(9, Window.MONTH), 9),
    "sliding hour": (Cap(6, Window.HOUR, sliding=True), 6),
    "nothing": (Cap(0, Window.DAY), 0),
    "only counted": (Cap(3, Window.DAY, stops=False), 50),
}


@pytest.mark.parametrize(("limit", "expected"), BURSTS.values(), ids=BURSTS)
def test_at_once_passes_what_the_limit_says(bench: Bench, limit: Rate | Cap, expected: int) -> None:
    assert bench.passes(limit, most=50) == expected


def test_a_rate_is_exact_to_the_microsecond(bench: Bench) -> None:
    rate = Rate(3, 1_000_000, 1)  # one every 333,333 1/3 microseconds
    assert bench.ok(rate)
    bench.now_us += 333_333
    assert not bench.ok(rate)
    bench.now_us += 1
    assert bench.ok(rate)
    passed = 0
    for _ in range(3000):
        bench.now_us += 1000
        passed += bench.ok(rate)
    assert passed == 8  # the ninth third is due a microsecond later: nothing was rounded


@pytest.mark.parametrize("cost", [1, 2, 5])
def test_a_refusal_says_when_it_passes_and_no_earlier(bench: Bench, cost: int) -> None:
    rate = Rate(7, 1_000_000, 5)
    bench.passes(rate)
    refused = bench.take(Charge(KEY, rate, cost))
    wait_us = round(refused.retry_after_s * 1e6)
    assert (refused.allowed, refused.refused) == (False, 0)
    bench.now_us += wait_us - 1
    assert not bench.ok(rate, cost)
    bench.now_us += 1
    assert bench.ok(rate, cost)


WINDOWS = {
    Window.SECOND: ("2026-03-15T12:00:00", "2026-03-15T12:00:01"),
    Window.MINUTE: ("2026-03-15T12:00:00", "2026-03-15T12:01:00"),
    Window.HOUR: ("2026-12-31T23:00:00", "2027-01-01T00:00:00"),
    Window.DAY: ("2028-02-29T05:00:00", "2028-03-01T00:00:00"),
    Window.MONTH: ("2026-12-15T00:00:00", "2027-01-01T00:00:00"),
}


@pytest.mark.parametrize(("window", "times"), WINDOWS.items(), ids=list(WINDOWS))
def test_a_window_ends_where_the_calendar_says(bench: Bench, window: Window, times: tuple[str, str]) -> None:
    cap = Cap(2, window)
    bench.now_us = at(times[0])
    assert bench.passes(cap) == 2
    refused = bench.take(Charge(KEY, cap, 1))
    assert refused.retry_after_s == pytest.approx((at(times[1]) - bench.now_us) / 1e6)
    bench.now_us = at(times[1]) - 1
    assert not bench.ok(cap)
    bench.now_us = at(times[1])
    assert bench.passes(cap) == 2


@pytest.mark.parametrize("year", [1999, 2000, 2023, 2024, 2100])
def test_months_are_as_long_as_they_are(bench: Bench, year: int) -> None:
    cap = Cap(1, Window.MONTH)
    for month in range(1, 13):
        bench.now_us = at(f"{year}-{month:02d}-03T00:00:00")
        assert bench.ok(cap)
        wait = bench.take(Charge(KEY, cap, 1)).retry_after_s
        after = f"{year + 1}-01-01" if month == 12 else f"{year}-{month + 1:02d}-01"
        assert wait == pytest.approx((at(f"{after}T00:00:00") - bench.now_us) / 1e6)


def test_a_sliding_window_lets_no_double_burst_pass_at_its_edge(bench: Bench) -> None:
    cap = Cap(100, Window.HOUR, sliding=True)
    bench.now_us = at("2026-03-15T12:59:59")
    assert bench.passes(cap) == 100
    bench.now_us = at("2026-03-15T13:00:00")
    assert not bench.ok(cap)
    bench.now_us = at("2026-03-15T13:30:00")
    assert bench.passes(cap) == 50
    bench.now_us = at("2026-03-15T16:00:00")
    assert bench.passes(cap) == 100


@pytest.mark.parametrize("minute", ["12:59", "13:10", "13:40"])
def test_a_sliding_window_says_when_it_frees(bench: Bench, minute: str) -> None:
    cap = Cap(60, Window.HOUR, sliding=True)
    bench.now_us = at("2026-03-15T12:30:00")
    bench.passes(cap)
    bench.now_us = at(f"2026-03-15T{minute}:00")
    bench.passes(cap)
    refused = bench.take(Charge(KEY, cap, 7))
    assert 0 < refused.retry_after_s <= 7200
    bench.now_us += math.ceil(refused.retry_after_s * 1e6) + 1
    assert bench.ok(cap, 7)


def test_all_or_nothing_and_the_one_that_frees_last_is_named(bench: Bench) -> None:
    rate, day, month = Rate(10, 1_000_000, 5), Cap(3, Window.DAY), Cap(100, Window.MONTH)
    third = limit_key("model", "acme", "digits", "requests")
    charges = (Charge(KEY, rate, 1), Charge(OTHER, day, 1), Charge(third, month, 1))
    assert [bench.take(*charges).allowed for _ in range(4)] == [True, True, True, False]
    refused = bench.take(*charges)
    assert refused.refused == 1
    assert refused.retry_after_s == pytest.approx(43_200)
    assert bench.passes(rate) == 2  # the refusals took nothing
    assert bench.passes(month, key=third) == 97
    refused = bench.take(*charges)
    assert refused.refused == 2


def test_a_cost_that_never_fits_says_so(bench: Bench) -> None:
    assert bench.take(Charge(KEY, Rate(10, 1_000_000, 5), 6)).retry_after_s == math.inf
    assert bench.take(Charge(OTHER, Cap(5, Window.DAY), 6)).retry_after_s == math.inf


def test_a_cost_of_nothing_asks_whether_anything_is_left(bench: Bench) -> None:
    rate, cap = Rate(1, 1_000_000, 1), Cap(1, Window.DAY)
    assert bench.take(Charge(KEY, rate, 0), Charge(OTHER, cap, 0)).allowed
    assert bench.take(Charge(KEY, rate, 1), Charge(OTHER, cap, 1)).allowed
    assert not bench.ok(rate, 0)
    assert not bench.ok(cap, 0, OTHER)


def test_settling_counts_what_was_used(bench: Bench) -> None:
    rate, cap = Rate(10, 1_000_000, 100), Cap(1000, Window.MONTH)
    taken = bench.take(Charge(KEY, rate, 50), Charge(OTHER, cap, 0))
    bench.settle(taken, 20, 990)
    assert bench.passes(rate) == 80
    assert bench.passes(cap, key=OTHER) == 10


def test_more_was_used_than_there_was_and_it_is_paid_off_first(bench: Bench) -> None:
    rate = Rate(10, 1_000_000, 10)
    bench.settle(bench.take(Charge(KEY, rate, 0)), 30)
    bench.now_us += 2_000_000
    assert not bench.ok(rate)
    bench.now_us += 100_000
    assert bench.ok(rate)


def test_settling_what_was_refused_changes_nothing(bench: Bench) -> None:
    cap = Cap(5, Window.DAY)
    assert bench.passes(cap) == 5
    bench.settle(bench.take(Charge(KEY, cap, 5)), 0)
    assert not bench.ok(cap)


def test_what_is_given_back_late_does_not_widen_the_next_window(bench: Bench) -> None:
    cap = Cap(10, Window.DAY)
    taken = bench.take(Charge(KEY, cap, 10))
    bench.now_us += 86_400_000_000
    assert bench.passes(cap, most=3) == 3
    bench.settle(taken, 0)
    assert bench.passes(cap) == 7


def test_a_changed_limit_counts_at_once(bench: Bench) -> None:
    assert bench.passes(Rate(100, 1_000_000, 100)) == 100
    bench.now_us += 500_000
    assert not bench.ok(Rate(1, 1_000_000, 1))
    assert bench.passes(Cap(10, Window.MONTH), key=OTHER) == 10
    assert not bench.ok(Cap(8, Window.MONTH), key=OTHER)
    assert bench.passes(Cap(15, Window.MONTH), key=OTHER) == 5


def test_a_clock_that_goes_back_gives_nothing(bench: Bench) -> None:
    rate, cap = Rate(1, 1_000_000, 2), Cap(2, Window.MINUTE)
    assert (bench.passes(rate), bench.passes(cap, key=OTHER)) == (2, 2)
    for back_s in (1, 100, 80_000):
        bench.now_us = START - back_s * 1_000_000
        assert not bench.ok(rate)
        assert not bench.ok(cap, key=OTHER)


def test_keys_and_tenants_do_not_share(bench: Bench) -> None:
    names = [limit_key("key", "acme", "a"), limit_key("key", "acme", "b"), limit_key("key", "other", "a")]
    assert [bench.passes(Cap(2, Window.DAY), key=name) for name in names] == [2, 2, 2]


def test_counts_leave_for_the_rows_and_come_back(bench: Bench) -> None:
    cap = Cap(10, Window.MONTH)
    taken = bench.take(Charge(KEY, cap, 4), Charge(OTHER, Rate(1, 1_000_000, 5), 1))
    tally = bench.tally(cap)
    assert tally is not None
    assert (tally.start_us, tally.used) == (at("2026-03-01T00:00:00"), 4)
    assert bench.tally(cap) is None  # nothing changed since
    bench.settle(taken, 3, 1)
    tally = bench.tally(cap)
    assert tally is not None
    assert tally.used == 3
    bench.run(bench.tallies.raise_to(Counted(KEY, Window.MONTH, Tally(tally.start_us, 9))))
    bench.run(bench.tallies.raise_to(Counted(KEY, Window.MONTH, Tally(tally.start_us, 2))))  # never lowered
    bench.run(bench.tallies.raise_to(Counted(KEY, Window.MONTH, Tally(at("2026-01-01T00:00:00"), 99))))  # long over
    assert bench.passes(cap) == 1


def test_counts_of_the_window_before_come_back_as_such(bench: Bench) -> None:
    cap = Cap(100, Window.HOUR, sliding=True)
    bench.now_us = at("2026-03-15T12:30:00")
    bench.run(bench.tallies.raise_to(Counted(KEY, Window.HOUR, Tally(at("2026-03-15T11:00:00"), 80))))
    assert bench.passes(cap) == 60


BAD: dict[str, tuple[Charge, ...]] = {
    "none": (),
    "too many": tuple(Charge(limit_key("key", "acme", str(n)), Cap(1, Window.DAY), 1) for n in range(41)),
    "one counter twice": (Charge(KEY, Cap(1, Window.DAY), 1),) * 2,
    "two tenants": (Charge(KEY, Cap(1, Window.DAY), 1), Charge(limit_key("key", "other", "a"), Cap(1, Window.DAY), 1)),
    "negative": (Charge(KEY, Cap(1, Window.DAY), -1),),
    "absurd": (Charge(KEY, Cap(1, Window.DAY), 1 << 63),),
    "a fraction": (Charge(KEY, Cap(1, Window.DAY), 0.5),),  # type: ignore[arg-type]
    "a truth": (Charge(KEY, Cap(1, Window.DAY), True),),
}


@pytest.mark.parametrize("charges", BAD.values(), ids=BAD)
def test_what_makes_no_sense_is_refused(bench: Bench, charges: tuple[Charge, ...]) -> None:
    with pytest.raises(Invalid):
        bench.take(*charges)
    assert bench.passes(Cap(2, Window.DAY)) == 2


def test_the_largest_numbers_stay_numbers(bench: Bench) -> None:
    cap = Cap(HUGE, Window.MONTH)
    most = 1 << 48
    assert bench.passes(cap, most) == 4
    assert not bench.ok(cap)
    rate = Rate(1 << 20, 1_000_000, 1 << 31)
    taken = bench.take(Charge(OTHER, rate, 1 << 31))
    assert taken.allowed
    for _ in range(40):
        bench.settle(taken, most)
    assert not bench.ok(rate, key=OTHER)
    wait = bench.take(Charge(OTHER, rate, 1)).retry_after_s
    assert 0 < wait < math.inf


STEPS = st.lists(
    st.tuples(
        st.integers(-5_000_000, 400_000_000),
        st.sampled_from([0, 1, 1, 2, 3, 7, 50]),
        st.integers(0, 3),
        st.sampled_from([-1, 0, 1, 4]),
    ),
    max_size=40,
)
LIMITS: tuple[Callable[[], Rate | Cap], ...] = (
    lambda: Rate(7, 3_000_000, 11),
    lambda: Rate(1, 17_000_000, 3),
    lambda: Cap(20, Window.MINUTE, sliding=True),
    lambda: Cap(60, Window.HOUR),
)


@settings(max_examples=30)
@given(steps=STEPS)
@example(steps=[(0, 0, 1, -1), (1, 7, 1, -1), (-1, 0, 1, 4), (0, 0, 1, -1)])  # a refusal, then a clock that goes back
def test_memory_and_redis_never_differ(server: RedisProcess, steps: list[tuple[int, int, int, int]]) -> None:
    """Any sequence of charges and settlements, the clock going either way: the same answers, waits included."""
    benches = [Bench("memory", None), Bench("redis", server)]
    try:
        for move_us, cost, number, used in steps:
            keys = (limit_key("key", "acme", str(number)), limit_key("model", "acme", "m"))
            charges = (Charge(keys[0], LIMITS[number](), cost), Charge(keys[1], LIMITS[3](), 1))
            answers = []
            for each in benches:
                each.now_us += move_us
                charged = each.take(*charges)
                answers.append((charged.refused, charged.retry_after_s))
                if used >= 0:
                    each.settle(charged, used, used)
            assert answers[0] == answers[1]
    finally:
        for each in benches:
            each.close()
