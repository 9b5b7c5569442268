from __future__ import annotations

import pytest

from fastness.core.clock import Instant, later
from fastness.core.errors import Conflict, Invalid, Unavailable
from fastness.core.limits import Limit, LimitKey, Taken
from fastness.foundation.storage import Live, MemoryCounters

NOW = Instant(1_700_000_000_000_000_000)
KEY = LimitKey("key:a")


def passes(counters: MemoryCounters, limit: Limit, now: Instant = NOW, key: LimitKey = KEY, most: int = 1000) -> int:
    return next((n for n in range(most) if not counters.take(key, limit, 1, now).allowed), most)


BURSTS = {
    "whole": (1.0, Limit(10, 5), 5),
    "one": (1.0, Limit(10, 1), 1),
    "a quarter": (0.25, Limit(10, 8), 2),
    "a share below one lets one through": (0.25, Limit(10, 2), 1),
    "slow": (1.0, Limit(0.001, 3), 3),
}


@pytest.mark.parametrize(("share", "limit", "expected"), BURSTS.values(), ids=BURSTS)
def test_a_burst_is_what_the_limit_says(share: float, limit: Limit, expected: int) -> None:
    assert passes(MemoryCounters(share), limit) == expected


@pytest.mark.parametrize("share", [1.0, 0.5, 0.25])
def test_the_rate_over_time_is_the_share_of_the_limit(share: float) -> None:
    counters, limit = MemoryCounters(share), Limit(per_s=40, burst=4)
    allowed = sum(counters.take(KEY, limit, 1, later(NOW, i / 1000)).allowed for i in range(10_000))
    assert allowed == pytest.approx(400 * share, abs=5)


def test_retry_after_is_when_it_passes() -> None:
    counters, limit = MemoryCounters(), Limit(2, 3)
    passes(counters, limit)
    refused = counters.take(KEY, limit, 2, NOW)
    assert (refused.allowed, refused.retry_after_s) == (False, pytest.approx(1.0))
    assert not counters.take(KEY, limit, 2, later(NOW, 0.99)).allowed
    assert counters.take(KEY, limit, 2, later(NOW, 1.0)).allowed


def test_a_refusal_costs_nothing() -> None:
    counters, limit = MemoryCounters(), Limit(1, 1)
    passes(counters, limit)
    for _ in range(50):
        counters.take(KEY, limit, 1, NOW)
    assert counters.take(KEY, limit, 1, later(NOW, 1)).allowed


def test_a_cost_above_the_burst_never_passes_and_zero_asks_only() -> None:
    counters, limit = MemoryCounters(), Limit(10, 5)
    assert not counters.take(KEY, limit, 6, NOW).allowed
    assert counters.take(KEY, limit, 0, NOW).allowed
    assert passes(counters, limit) == 5


def test_a_changed_limit_counts_at_once() -> None:
    counters = MemoryCounters()
    assert passes(counters, Limit(100, 100)) == 100
    assert not counters.take(KEY, Limit(1, 1), 1, later(NOW, 0.5)).allowed


def test_keys_do_not_share() -> None:
    counters, limit = MemoryCounters(), Limit(1, 2)
    assert [passes(counters, limit, key=LimitKey(k)) for k in ("key:a", "key:b", "model:a")] == [2, 2, 2]


def test_settling_gives_back_and_takes_more() -> None:
    counters, limit = MemoryCounters(), Limit(1, 10)
    counters.settle(counters.take(KEY, limit, 8, NOW), 3)
    assert passes(counters, limit) == 7
    later_on = later(NOW, 10)
    counters.settle(counters.take(KEY, limit, 1, later_on), 20)
    assert not counters.take(KEY, limit, 1, later(later_on, 10)).allowed
    assert counters.take(KEY, limit, 1, later(later_on, 11)).allowed


def test_settling_what_was_refused_or_forgotten_changes_nothing() -> None:
    counters, limit = MemoryCounters(), Limit(1, 1)
    counters.settle(Taken(KEY, allowed=False, retry_after_s=1, cost=5), 0)
    counters.settle(Taken(KEY, allowed=True, retry_after_s=0, cost=5), 0)
    assert passes(counters, limit) == 1


def test_the_clock_going_back_gives_nothing_away() -> None:
    counters, limit = MemoryCounters(), Limit(1, 2)
    assert passes(counters, limit) == 2
    assert not counters.take(KEY, limit, 1, later(NOW, -100)).allowed


def test_full_of_debtors_refuses_the_new_and_keeps_the_old() -> None:
    counters, limit = MemoryCounters(keys_max=10), Limit(0.1, 1)
    for i in range(10):
        assert passes(counters, limit, key=LimitKey(f"ip:{i}")) == 1
    assert not counters.take(LimitKey("ip:new"), limit, 1, NOW).allowed
    assert not counters.take(LimitKey("ip:0"), limit, 1, NOW).allowed  # flooding bought nobody a second burst
    assert counters.take(LimitKey("key:new"), limit, 1, NOW).allowed  # another kind has room of its own
    assert counters.take(LimitKey("ip:new"), limit, 1, later(NOW, 11)).allowed  # debts are paid


def test_memory_is_bounded() -> None:
    counters, limit = MemoryCounters(keys_max=50), Limit(1000, 1)
    for i in range(5000):
        counters.take(LimitKey(f"ip:{i}"), limit, 1, later(NOW, i / 100))
    for i in range(1000):
        counters.take(LimitKey(f"kind{i}:x"), limit, 1, NOW)
    assert sum(len(room.states) for room in counters._rooms._rooms.values()) <= 50 * 32
    assert len(counters._rooms._rooms) <= 32


@pytest.mark.parametrize("bad", [lambda: MemoryCounters(0), lambda: MemoryCounters(1.5), lambda: MemoryCounters(1, 0)])
def test_bad_shares_are_refused(bad: object) -> None:
    with pytest.raises(Invalid):
        bad()  # type: ignore[operator]


def test_negative_costs_are_refused() -> None:
    counters = MemoryCounters()
    with pytest.raises(Invalid):
        counters.take(KEY, Limit(1, 1), -1, NOW)
    with pytest.raises(Invalid):
        counters.settle(Taken(KEY, allowed=True, retry_after_s=0, cost=1), -1)


class Ticks:
    def __init__(self) -> None:
        self.ns = 5_000_000_000

    def __call__(self) -> int:
        return self.ns


def test_a_snapshot_is_current_while_it_is_confirmed() -> None:
    ticks = Ticks()
    live: Live[str] = Live(monotonic=ticks)
    with pytest.raises(Unavailable) as caught:
        _ = live.current
    assert (caught.value.code, live.epoch) == ("snapshot-missing", 0)
    live.publish("a", 3)
    with pytest.raises(Unavailable) as caught:
        _ = live.current
    assert caught.value.code == "snapshot-stale"
    live.confirm(ticks.ns)
    assert (live.current, live.epoch) == ("a", 3)
    ticks.ns += 1_000_000_000
    assert live.current == "a"
    ticks.ns += 1
    with pytest.raises(Unavailable):
        _ = live.current
    assert live.epoch == 3


def test_a_confirmation_from_the_future_or_the_past_wins_no_time() -> None:
    ticks = Ticks()
    live: Live[str] = Live(monotonic=ticks)
    live.publish("a", 1)
    live.confirm(ticks.ns + 10_000_000_000)
    live.confirm(ticks.ns - 10_000_000_000)
    assert live.current == "a"
    ticks.ns += 1_000_000_001
    with pytest.raises(Unavailable):
        _ = live.current


def test_an_older_snapshot_is_refused() -> None:
    live: Live[str] = Live()
    live.publish("new", 5)
    live.publish("same", 5)
    with pytest.raises(Conflict) as caught:
        live.publish("old", 4)
    assert (caught.value.code, live.epoch) == ("snapshot-older", 5)
