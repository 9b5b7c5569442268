"""What somebody might try against limits: names that become others', costs that give, clocks, poison, floods."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.access.quotas import Asker, Kind, Plan, Planner, Quota, QuotaBook, QuotaSettings
from fastness.access.quotas.words import Counter
from fastness.core.clock import SECOND, Instant, SystemClock
from fastness.core.errors import Corrupt, Invalid, Limited, Unavailable
from fastness.core.limits import LARGEST, Cap, Charge, Rate, Tally, Unit, Window, key_parts, limit_key, tenant_of
from fastness.foundation.storage import MemoryCounters
from fastness.foundation.storage.counters import Counted, RedisCounters, RedisSettings
from fastness.foundation.storage.redis_counters import key_of
from tests.redis_process import RedisProcess

NOW = Instant(1_700_000_000 * SECOND)
DAY = Cap(5, Window.DAY)
NAMES = st.text(st.characters(codec=None), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    made = RedisProcess(tmp_path_factory.mktemp("redis"))
    yield made
    made.kill()


# ---------------------------------------------------------------- names
@given(one=st.lists(NAMES, min_size=2, max_size=4), other=st.lists(NAMES, min_size=2, max_size=4))
def test_no_name_becomes_another_s_counter(one: list[str], other: list[str]) -> None:
    first, second = limit_key("key", *one), limit_key("key", *other)
    assert (first == second) == (one == other)
    assert (key_of("fst", first) == key_of("fst", second)) == (one == other)
    assert key_parts(first) == ("key", *one)


@given(tenant=NAMES, name=NAMES)
def test_the_hash_tag_is_the_tenant_and_nothing_that_a_caller_wrote(tenant: str, name: str) -> None:
    key = key_of("fst", limit_key("model", tenant, name))
    assert key.partition("{")[2].partition("}")[0] == tenant_of(limit_key("model", tenant))
    assert key.count("{") == key.count("}") == 1
    assert key.isascii()
    assert key.isprintable()


ESCAPES = [
    Asker("acme", "user:alice:tokens:month"), Asker("acme:user", "alice"), Asker("acme", "user:alice", model="m:requests:day"),
    Asker("acme}", "user:alice"), Asker("{other}", "user:alice"), Asker("acme", "user:alice\r\nFLUSHALL"), Asker("acme", "*"),
    Asker("acme", "user:alice", key_id="a:even"), Asker("%61cme", "user:alice"), Asker("acme", "user%3Aalice"),
]  # fmt: skip


def book() -> QuotaBook:
    quotas = {
        f"{kind.value}:*": (
            Quota(kind, "*", Unit.REQUESTS, Window.DAY, 5),
            Quota(kind, "*", Unit.TOKENS, Window.MONTH, 50),
        )
        for kind in Kind
    }
    return QuotaBook({each.tenant: quotas for each in (*ESCAPES, Asker("acme", ""))}, QuotaSettings().defaults)


def keys(plan: Plan) -> set[str]:
    return {charge.key for charge in plan.charges()}


def test_no_caller_meets_the_counters_of_another() -> None:
    planner, here = Planner(), book()
    victim = keys(planner.plan(here, Asker("acme", "user:alice", "aaaa1111", "m")))
    shared = {key for key in victim if key.startswith("tenant:acme:")}
    for asker in ESCAPES:
        met = keys(planner.plan(here, asker)) & victim
        assert met <= (shared if asker.tenant == "acme" else set()) | {
            key for key in victim if asker == asker._replace(principal="user:alice") and asker.tenant == "acme"
        }


def test_a_name_too_long_is_refused_and_not_cut() -> None:
    with pytest.raises(Invalid):
        limit_key("model", "acme", "x" * 600)
    with pytest.raises(Invalid):
        limit_key("mo:del", "acme")


@pytest.mark.parametrize(
    "key",
    [
        "principal:acme",
        "x:acme:a:tokens:month",
        "principal:acme:a:gold:month",
        "principal:acme:a:tokens:week",
        "",
        ":::::",
    ],
)
def test_a_key_that_is_none_of_ours_is_written_nowhere(key: str) -> None:
    assert Counter.of(key) is None  # type: ignore[arg-type]


# ---------------------------------------------------------------- costs
@pytest.mark.parametrize("cost", [-1, -(1 << 62), 1 << 49, 1 << 200, 1.5, float("nan"), "5", None, True])
def test_no_cost_gives_or_overflows(cost: object) -> None:
    counters = MemoryCounters()
    with pytest.raises(Invalid):
        counters.charge((Charge(limit_key("key", "a", "b"), DAY, cost),), NOW)  # type: ignore[arg-type]
    taken = counters.charge((Charge(limit_key("key", "a", "b"), DAY, 5),), NOW)
    with pytest.raises(Invalid):
        counters.correct(taken, (cost,))  # type: ignore[arg-type]
    assert not counters.charge((Charge(limit_key("key", "a", "b"), DAY, 1),), NOW).allowed


@pytest.mark.parametrize("costs", [{Unit.TOKENS: -5}, {Unit.REQUESTS: -1}, {Unit.BYTES: 1 << 60}])
def test_a_plan_passes_no_such_cost_on(costs: dict[Unit, int]) -> None:
    quotas = (Quota(Kind.KEY, "*", Unit.TOKENS, Window.DAY, 5), Quota(Kind.KEY, "*", Unit.BYTES, Window.DAY, 5))
    plan = Planner().plan(
        QuotaBook({"acme": {"key:*": quotas}}, QuotaSettings().defaults), Asker("acme", "user:a", "k")
    )
    with pytest.raises(Invalid):
        MemoryCounters().charge(plan.charges(costs), NOW)


def test_settling_twice_by_the_same_receipt_gives_no_more_than_all_of_it() -> None:
    counters, key = MemoryCounters(), limit_key("key", "a", "b")
    taken = counters.charge((Charge(key, Cap(10, Window.DAY), 5),), NOW)
    for _ in range(9):
        counters.correct(taken, (0,))
    assert counters.charge((Charge(key, Cap(10, Window.DAY), 10),), NOW).allowed
    assert not counters.charge((Charge(key, Cap(10, Window.DAY), 1),), NOW).allowed


@pytest.mark.parametrize("bad", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-1, 1, 1), (1, LARGEST, 2), (LARGEST + 1, 1, 1)])
def test_a_rate_that_would_overflow_is_none(bad: tuple[int, int, int]) -> None:
    with pytest.raises(Invalid):
        Rate(*bad)


# ---------------------------------------------------------------- clocks
def test_a_clock_that_jumps_about_never_adds_up_to_more() -> None:
    counters, rate = MemoryCounters(), Rate(10, 1_000_000, 10)
    key = limit_key("key", "a", "b")
    jumps = [0, 5, -5, 3, -100, 2, 0, 5, -1]
    passed = sum(counters.charge((Charge(key, rate, 1),), Instant(NOW + jump * SECOND)).allowed for jump in jumps * 200)
    assert passed <= 10 + 5 * 10


# ---------------------------------------------------------------- poison
POISON = {
    "words": b"full", "negative": b"c:5:-1:-5:0", "a fraction": b"c:5:0.5:1:0", "not a number": b"c:5:nan:nan:nan",
    "too large": b"c:5:1:99999999999999999999:0", "another window": b"c:2:1700000000000000:0:0", "a start of no window": b"c:5:7:0:0",
    "a rate": b"r:1:0:1", "far to come": b"c:5:4500000000000000:0:0", "a program": b"return redis.call('FLUSHALL')", "empty": b"''",
    "octal": b"c:5:0x10:1:0", "many": b"c:5:1:1:1:1:1",
}  # fmt: skip


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
@pytest.mark.parametrize("limit", [Cap(5, Window.MONTH), Cap(5, Window.MONTH, sliding=True)], ids=["fixed", "sliding"])
def test_a_poisoned_counter_refuses_and_harms_no_other(server: RedisProcess, limit: Cap, poison: bytes) -> None:
    key, good = limit_key("key", "acme", "a", "requests", "month"), limit_key("key", "acme", "b", "requests", "month")

    async def act() -> None:
        counters = RedisCounters(RedisSettings(url=server.url, timeout_s=30))
        server.talk(b"FLUSHALL\r\n")
        server.talk(b'SET %b "%b"\r\n' % (key_of("fst", key).encode(), poison))
        server.talk(
            b"SADD fst:{acme} %b fst:{acme}:nonsense junk fst:{other}:key:x:requests:month\r\n"
            % key_of("fst", key).encode()
        )
        answers = await asyncio.gather(
            *(counters.take_all((Charge(each, limit, 1),), SystemClock().now()) for each in (key, good)),
            return_exceptions=True,
        )
        assert isinstance(answers[0], Corrupt)
        assert getattr(answers[1], "allowed", False)
        assert (
            server.talk(b"GET %b\r\n" % key_of("fst", key).encode()).endswith(poison.replace(b"''", b"") + b"\r\n")
            or poison == b"''"
        )
        assert [counted.key for counted in await counters.drain("acme")].count(good) == 1
        with pytest.raises(Corrupt):
            await counters.raise_to(Counted(key, Window.MONTH, Tally(0, 5)))
        await counters.close()

    asyncio.run(act())


def test_a_poisoned_rate_refuses(server: RedisProcess) -> None:
    key = limit_key("key", "acme", "rated")

    async def act() -> None:
        counters = RedisCounters(RedisSettings(url=server.url, timeout_s=30))
        for poison in (b"r:1:5:0", b"r:4500000000000000:0:1", b"r:-1:0:1", b"c:5:1:1:1", b"r:1:9999999999999999:1"):
            server.talk(b"SET %b %b\r\n" % (key_of("fst", key).encode(), poison))
            with pytest.raises(Corrupt):
                await counters.take_all((Charge(key, Rate(1, 1_000_000, 5), 1),), SystemClock().now())
        await counters.close()

    asyncio.run(act())


@pytest.mark.parametrize(
    "answer", [b"$5\r\nhello\r\n", b"*0\r\n", b":1\r\n", b"$-1\r\n", b"+OK\r\n", b"-ERR boo\r\n", b"\x00\xff\r\n"]
)
def test_a_server_that_answers_nonsense_refuses(tmp_path: Path, answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(answer if b"EVAL" in data else b"+OK\r\n" * max(1, data.count(b"*")))
        writer.close()

    async def act() -> None:
        path = tmp_path / "fake.sock"
        fake = await asyncio.start_unix_server(serve, path)
        counters = RedisCounters(RedisSettings(url=f"unix://{path}", timeout_s=1))
        async with fake:
            with pytest.raises(Unavailable):
                await counters.take_all((Charge(limit_key("key", "a", "b"), DAY, 1),), NOW)
            await counters.close()

    asyncio.run(act())


# ---------------------------------------------------------------- floods
def test_a_flood_of_keys_buys_nobody_a_second_burst_and_takes_nobody_s_room() -> None:
    counters, rate = MemoryCounters(keys_max=400), Rate(1, 1_000_000_000, 1)
    victim = limit_key("key", "victim", "v")
    used_up = limit_key("key", "flood", "used-up")
    assert counters.charge((Charge(used_up, rate, 1),), NOW).allowed
    passed = sum(
        counters.charge((Charge(limit_key("key", "flood", str(n)), rate, 1),), Instant(NOW + n)).allowed
        for n in range(2000)
    )
    assert passed == 99  # a quarter of the room is all that one tenant gets
    assert not counters.charge((Charge(used_up, rate, 1),), Instant(NOW + 900 * SECOND)).allowed
    assert counters.charge((Charge(victim, rate, 1),), NOW).allowed


def test_refusals_take_no_memory() -> None:
    counters = MemoryCounters()
    for n in range(1000):
        counters.charge((Charge(limit_key("key", "flood", str(n)), Cap(5, Window.DAY), 6),), NOW)
    assert not any(room.states for room in counters._rooms._rooms.values())


def test_a_tenant_s_people_and_keys_multiply_nothing() -> None:
    counters, planner, here = MemoryCounters(), Planner(), QuotaBook({}, QuotaSettings().defaults)

    def passes(asker: Asker) -> bool:
        plan = planner.plan(here, asker)
        try:
            plan.check(counters.charge(plan.charges(), NOW))
        except Limited:
            return False
        return True

    keys_of_one = sum(passes(Asker("acme", "user:alice", f"k{n % 500}")) for n in range(3000))
    people = sum(passes(Asker("acme", f"user:p{n % 40}", f"k{n % 500}")) for n in range(20_000))
    assert keys_of_one == 1000
    assert keys_of_one + people == 10_000
