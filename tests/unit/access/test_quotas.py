"""Quotas from their rows to a refusal, and from what was used back to rows and alerts."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import msgspec
import pytest

from fastness.access.quotas import (
    Accountant,
    Asker,
    Kind,
    Plan,
    Planner,
    Quota,
    QuotaBook,
    QuotaSettings,
    QuotasProjection,
    Shape,
    parse_quota,
    quotas,
    remove_quota,
    set_quota,
    uses,
)
from fastness.access.quotas.tables import QUOTA_USE
from fastness.access.quotas.words import EACH
from fastness.core.clock import Instant
from fastness.core.errors import Conflict, Invalid, Limited, NotFound, Unavailable
from fastness.core.events import EventKind
from fastness.core.identity import PrincipalId, Scope, TenantId
from fastness.core.limits import Charged, Limit, Rate, Unit, Window
from fastness.core.settings import InvalidSetting
from fastness.foundation.storage import MemoryCounters
from tests.unit.access.house import ADMIN, House

ALICE = Asker("default", "user:alice", "aaaa1111", "digits")
MONTH = Quota(Kind.PRINCIPAL, EACH, Unit.TOKENS, Window.MONTH, 1000, alerts=(50, 80, 100))
OTHERS = Scope(TenantId("others"), PrincipalId("user:root"))


def put(house: House, *made: Quota, scope: Scope = ADMIN) -> QuotaBook:
    with house.begin(scope) as tx:
        for quota in made:
            set_quota(tx, quota)
    return load(house)


def load(house: House, settings: QuotaSettings | None = None) -> QuotaBook:
    with house.records.read(ADMIN) as reading:
        book = QuotasProjection(settings or QuotaSettings()).load(reading)
    return msgspec.msgpack.decode(msgspec.msgpack.encode(book), type=QuotaBook)  # as it reaches a gateway


class Gateway:
    """What a gateway does with the door, and nothing else."""

    def __init__(self, house: House, counters: MemoryCounters) -> None:
        self.house = house
        self.counters = counters
        self.planner = Planner()

    def ask(self, book: QuotaBook, asker: Asker = ALICE, used: dict[Unit, int] | None = None) -> Charged:
        plan = self.planner.plan(book, asker)
        charged = self.counters.charge(plan.charges(), self.house.clock.now())
        plan.check(charged)
        self.counters.correct(charged, plan.used(used or {}))
        return charged

    def passes(self, book: QuotaBook, asker: Asker = ALICE, most: int = 20_000) -> int:
        for count in range(most):
            try:
                self.ask(book, asker)
            except Limited:
                return count
        return most


@pytest.fixture
def gateway(house: House) -> Gateway:
    return Gateway(house, MemoryCounters())


def test_a_quota_is_kept_shown_changed_and_removed(house: House) -> None:
    put(house, MONTH)
    put(house, msgspec.structs.replace(MONTH, amount=50))
    with house.records.read(ADMIN) as reading:
        assert [q.amount for q in quotas(reading)] == [50]
    with house.begin() as tx:
        remove_quota(tx, MONTH.kind, MONTH.subject, MONTH.unit, MONTH.window)
    with house.records.read(ADMIN) as reading:
        assert quotas(reading) == []
    with pytest.raises(NotFound), house.begin() as tx:
        remove_quota(tx, MONTH.kind, MONTH.subject, MONTH.unit, MONTH.window)
    told = [e.details for e in house.events() if e.kind is EventKind.QUOTA_CHANGED]
    assert [(d["amount"], d.get("before"), d.get("removed")) for d in told] == [
        (1000, None, None),
        (50, 1000, None),
        (50, None, True),
    ]
    assert house.records.epoch("quotas") == 3


def test_a_tenant_sees_and_changes_its_own_alone(house: House) -> None:
    book = put(house, MONTH)
    with house.records.read(OTHERS) as reading:
        assert quotas(reading) == []
    with pytest.raises(NotFound), house.begin(OTHERS) as tx:
        remove_quota(tx, MONTH.kind, MONTH.subject, MONTH.unit, MONTH.window)
    assert book.of("default", Kind.PRINCIPAL, "user:alice") != book.of("others", Kind.PRINCIPAL, "user:alice")


def test_a_subject_has_few_quotas(house: House) -> None:
    with pytest.raises(Conflict), house.begin() as tx:
        for window in Window:
            set_quota(tx, Quota(Kind.KEY, "aaaa1111", Unit.BYTES, window, 1))


BAD: dict[str, Callable[[], Quota]] = {
    "no subject": lambda: Quota(Kind.KEY, "", Unit.BYTES, Window.DAY, 1),
    "a subject of control characters": lambda: Quota(Kind.KEY, "a\nb", Unit.BYTES, Window.DAY, 1),
    "a long subject": lambda: Quota(Kind.KEY, "a" * 129, Unit.BYTES, Window.DAY, 1),
    "another tenant": lambda: Quota(Kind.TENANT, "others", Unit.BYTES, Window.DAY, 1),
    "negative": lambda: Quota(Kind.KEY, EACH, Unit.BYTES, Window.DAY, -1),
    "too large": lambda: Quota(Kind.KEY, EACH, Unit.BYTES, Window.DAY, 1 << 53),
    "an even month": lambda: Quota(Kind.KEY, EACH, Unit.BYTES, Window.MONTH, 1, Shape.EVEN),
    "an even nothing": lambda: Quota(Kind.KEY, EACH, Unit.BYTES, Window.DAY, 0, Shape.EVEN),
    "a burst of a window": lambda: Quota(Kind.KEY, EACH, Unit.BYTES, Window.DAY, 1, burst=2),
    "a burst that overflows": lambda: Quota(Kind.KEY, EACH, Unit.BYTES, Window.DAY, 7, Shape.EVEN, 1 << 50),
    "does nothing": lambda: Quota(Kind.KEY, EACH, Unit.BYTES, Window.DAY, 1, stops=False),
    "falling alerts": lambda: Quota(Kind.KEY, EACH, Unit.BYTES, Window.DAY, 1, alerts=(80, 50)),
    "alerts of a second": lambda: Quota(Kind.KEY, EACH, Unit.BYTES, Window.SECOND, 1, alerts=(50,)),
    "an alert of nothing": lambda: Quota(Kind.KEY, EACH, Unit.BYTES, Window.DAY, 1, alerts=(0, 50)),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_a_quota_that_makes_no_sense_is_refused(make: Callable[[], Quota]) -> None:
    with pytest.raises(Invalid):
        make()


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"kind": "key", "subject": "*", "unit": "requests", "window": "week", "amount": 1},
        {"kind": "key", "subject": "*", "unit": "requests", "window": "day", "amount": "1"},
        {"kind": "key", "subject": "*", "unit": "requests", "window": "day", "amount": 1.5},
        {"kind": "key", "subject": "*", "unit": "requests", "window": "day", "amount": -5},
    ],
)
def test_what_comes_from_outside_is_read_strictly(values: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        parse_quota(values)


def test_each_own_and_the_settings_quotas_are_joined(house: House) -> None:
    book = put(
        house,
        MONTH,
        msgspec.structs.replace(MONTH, subject="user:alice", amount=7),
        Quota(Kind.PRINCIPAL, EACH, Unit.REQUESTS, Window.DAY, 9),
    )
    own = {(q.unit, q.window): q.amount for q in book.of("default", Kind.PRINCIPAL, "user:alice")}
    assert own == {
        (Unit.REQUESTS, Window.SECOND): 500,
        (Unit.TOKENS, Window.MONTH): 7,
        (Unit.REQUESTS, Window.DAY): 9,
    }
    assert {q.amount for q in book.of("default", Kind.PRINCIPAL, "user:bob")} == {500, 1000, 9}
    assert [q.amount for q in book.of("default", Kind.MODEL, "digits")] == []


def test_many_keys_make_nobody_faster(house: House, gateway: Gateway) -> None:
    book = load(house)
    passed = sum(gateway.passes(book, ALICE._replace(key_id=f"key{n:05d}")) for n in range(20))
    assert passed == 1000
    assert gateway.passes(book, Asker("default", "user:bob", "bbbb2222", "digits")) == 1000


def test_a_tenant_with_many_people_is_held_too(house: House, gateway: Gateway) -> None:
    book = load(house, QuotaSettings(tenant_per_s=1, tenant_burst=1500))
    assert [gateway.passes(book, ALICE._replace(principal=f"user:p{n}")) for n in range(3)] == [1000, 500, 0]
    assert gateway.passes(book, Asker("others", "user:alice", "cccc3333", "digits")) == 1000


def test_a_model_is_shared_by_all_and_names_itself(house: House, gateway: Gateway) -> None:
    book = put(house, Quota(Kind.MODEL, "digits", Unit.REQUESTS, Window.DAY, 5))
    assert gateway.passes(book) == 5
    with pytest.raises(Limited) as caught:
        gateway.ask(book, ALICE._replace(principal="user:bob"))
    assert caught.value.code == "quota-exceeded"
    assert "requests of this model per day" in caught.value.message
    assert 0 < caught.value.retry_after_s <= 86_400
    gateway.ask(book, ALICE._replace(model="letters"))


def test_the_rate_of_a_key_counts_beside(house: House, gateway: Gateway) -> None:
    plan = gateway.planner.plan(load(house), ALICE, Limit(0.001, 3))
    passed = [gateway.counters.charge(plan.charges(), house.clock.now()).allowed for _ in range(5)]
    assert passed == [True, True, True, False, False]
    with pytest.raises(Limited) as caught:
        plan.check(gateway.counters.charge(plan.charges(), house.clock.now()))
    assert (caught.value.code, caught.value.retry_after_s) == ("rate-limited", pytest.approx(1000))


def test_tokens_are_settled_after_the_fact_and_then_stop(house: House, gateway: Gateway) -> None:
    book = put(house, MONTH)
    for _ in range(3):
        gateway.ask(book, used={Unit.TOKENS: 400})
    with pytest.raises(Limited):
        gateway.ask(book, used={Unit.TOKENS: 1})


def test_an_estimate_beyond_the_quota_is_told_from_one_that_must_wait(house: House, gateway: Gateway) -> None:
    book = put(house, MONTH)
    plan: Plan = gateway.planner.plan(book, ALICE)
    charged = gateway.counters.charge(plan.charges({Unit.TOKENS: 1001}), house.clock.now())
    assert math.isinf(charged.retry_after_s)
    with pytest.raises(Limited) as caught:
        plan.check(charged)
    assert caught.value.code == "quota-never"
    assert math.isfinite(caught.value.retry_after_s)


def test_plans_change_with_the_snapshot(house: House, gateway: Gateway) -> None:
    book = put(house, Quota(Kind.KEY, EACH, Unit.REQUESTS, Window.DAY, 2))
    assert gateway.passes(book) == 2
    book = put(house, Quota(Kind.KEY, EACH, Unit.REQUESTS, Window.DAY, 5))
    assert gateway.passes(book) == 3  # what was used counts under the new amount


def told(house: House) -> list[tuple[str, object]]:
    return [(e.resource, e.details["percent"]) for e in house.events() if e.kind is EventKind.BUDGET_REACHED]


def flush(house: House, accountant: Accountant, book: QuotaBook) -> int:
    return asyncio.run(accountant.flush(book, house.clock.now()))


def test_a_budget_tells_once_at_each_threshold_and_window(house: House, gateway: Gateway) -> None:
    book = put(house, MONTH)
    accountant = Accountant(house.records, gateway.counters)
    for tokens in (490, 20, 20, 300, 10, 170):
        gateway.ask(book, used={Unit.TOKENS: tokens})
        flush(house, accountant, book)
    assert told(house) == [("principal:user:alice", percent) for percent in (50, 80, 100)]
    house.clock.advance(31 * 86_400)
    gateway.ask(book, used={Unit.TOKENS: 5000})
    flush(house, accountant, book)
    assert len(told(house)) == 6
    assert flush(house, accountant, book) == 0


def test_a_budget_that_does_not_stop_only_tells(house: House, gateway: Gateway) -> None:
    book = put(house, Quota(Kind.TENANT, EACH, Unit.COMPUTE_MS, Window.DAY, 100, stops=False, alerts=(100, 200)))
    for _ in range(5):
        gateway.ask(book, used={Unit.COMPUTE_MS: 100})
    flush(house, Accountant(house.records, gateway.counters), book)
    assert told(house) == [("tenant:default", 100), ("tenant:default", 200)]


def test_a_restart_resets_no_month(house: House, gateway: Gateway) -> None:
    book = put(house, MONTH)
    gateway.ask(book, used={Unit.TOKENS: 990})
    flush(house, Accountant(house.records, gateway.counters), book)
    again = Gateway(house, MemoryCounters())
    accountant = Accountant(house.records, again.counters)
    flush(house, accountant, book)
    again.ask(book, used={Unit.TOKENS: 10})
    with pytest.raises(Limited):
        again.ask(book)
    flush(house, accountant, book)
    assert told(house) == [("principal:user:alice", percent) for percent in (50, 80, 100)]  # none twice
    house.clock.advance(31 * 86_400)
    again.ask(book)


def test_a_kill_forgives_what_was_not_flushed_and_nothing_older(house: House, gateway: Gateway) -> None:
    book = put(house, MONTH)
    gateway.ask(book, used={Unit.TOKENS: 600})
    flush(house, Accountant(house.records, gateway.counters), book)
    gateway.ask(book, used={Unit.TOKENS: 300})  # killed before the next flush
    again = Gateway(house, MemoryCounters())
    flush(house, Accountant(house.records, again.counters), book)
    with house.records.read(ADMIN) as reading:
        assert [use.used for use in uses(reading, house.clock.now())] == [600]


def test_sliding_windows_come_back_with_the_one_before(house: House, gateway: Gateway) -> None:
    book = put(house, Quota(Kind.MODEL, EACH, Unit.REQUESTS, Window.DAY, 100, Shape.SLIDING))
    assert gateway.passes(book) == 100
    flush(house, Accountant(house.records, gateway.counters), book)
    house.clock.advance(86_400)
    again = Gateway(house, MemoryCounters())
    flush(house, Accountant(house.records, again.counters), book)
    assert 0 < again.passes(book) < 100


class Broken(MemoryCounters):
    def __init__(self) -> None:
        super().__init__()
        self.word = "one"

    async def generation(self) -> str:
        if not self.word:
            raise Unavailable("counters-unreachable", "gone")
        return self.word


def test_counters_that_were_lost_get_back_what_was_written(house: House) -> None:
    counters = Broken()
    gateway = Gateway(house, counters)
    book = put(house, MONTH)
    accountant = Accountant(house.records, counters)
    gateway.ask(book, used={Unit.TOKENS: 1000})
    flush(house, accountant, book)
    counters.word = ""
    with pytest.raises(Unavailable):
        flush(house, accountant, book)
    counters._rooms._rooms.clear()
    counters.word = "two"
    flush(house, accountant, book)
    with pytest.raises(Limited):
        gateway.ask(book)


def test_what_could_not_be_written_is_written_later(
    house: House, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = put(house, MONTH)
    accountant = Accountant(house.records, gateway.counters)
    gateway.ask(book, used={Unit.TOKENS: 600})

    def full(*_: object) -> object:
        raise Unavailable("storage-full", "the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(house.records, "begin_unrecorded", full)
        with pytest.raises(Unavailable):
            flush(house, accountant, book)
    assert flush(house, accountant, book) == 1
    assert told(house) == [("principal:user:alice", 50)]


def test_use_is_shown_with_its_quota(house: House, gateway: Gateway) -> None:
    book = put(house, MONTH, Quota(Kind.MODEL, "digits", Unit.REQUESTS, Window.DAY, 0))
    with pytest.raises(Limited):
        gateway.ask(book)
    book = put(house, Quota(Kind.MODEL, "digits", Unit.REQUESTS, Window.DAY, 4))
    gateway.ask(book, used={Unit.TOKENS: 123})
    flush(house, Accountant(house.records, gateway.counters), book)
    with house.records.read(ADMIN) as reading:
        shown = {use.quota.kind: (use.subject, use.used, use.percent) for use in uses(reading, house.clock.now())}
        assert [use.subject for use in uses(reading, house.clock.now(), Kind.MODEL, "digits")] == ["digits"]
    assert shown == {Kind.PRINCIPAL: ("user:alice", 123, 12), Kind.MODEL: ("digits", 1, 25)}
    with house.records.read(OTHERS) as reading:
        assert uses(reading, house.clock.now()) == []


def test_old_use_is_swept(house: House, gateway: Gateway) -> None:
    book = put(house, MONTH)
    accountant = Accountant(house.records, gateway.counters)
    gateway.ask(book, used={Unit.TOKENS: 1})
    flush(house, accountant, book)
    assert accountant.sweep(house.clock.now()) == 0
    assert accountant.sweep(Instant(house.clock.now() + 2100 * 86_400 * 10**9)) == 1
    with house.records.read(ADMIN) as reading:
        assert len(reading.execute(QUOTA_USE.select())) == 0


@pytest.mark.parametrize("bad", [{"principal_per_s": 0}, {"tenant_burst": -1}, {"flush_s": 0.0}, {"flush_s": 61.0}])
def test_settings_have_ranges(bad: dict[str, float]) -> None:
    with pytest.raises(InvalidSetting):
        QuotaSettings(**bad)  # type: ignore[arg-type]


def test_an_even_quota_is_a_rate() -> None:
    assert Quota(Kind.KEY, EACH, Unit.TOKENS, Window.MINUTE, 90, Shape.EVEN).limit == Rate(3, 2_000_000, 90)
