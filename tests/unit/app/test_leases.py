"""Units of limits over the state socket, and what a worker tells of itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from fastness.access.policysets import PolicySnapshot
from fastness.app.feed import Feed, Subscription
from fastness.app.held import Held, Told
from fastness.app.home import Home
from fastness.app.settings import Settings, load_settings
from fastness.app.snapshots import Rules
from fastness.core.clock import SystemClock
from fastness.core.errors import Unavailable
from fastness.core.events import Event, EventKind, decode_event
from fastness.core.limits import Cap, Charge, Window, limit_key
from fastness.core.settings import InvalidSetting
from fastness.foundation.storage import FileJournal, MemoryCounters, counters
from fastness.foundation.storage.journal import read_journal
from fastness.foundation.telemetry import Metrics
from fastness.wire import frames

KEY = limit_key("key", "default", "ab12cd34", "requests", "day")


def charges(amount: int = 10) -> tuple[Charge, ...]:
    return (Charge(KEY, Cap(amount, Window.DAY), 1),)


def nothing(_: msgspec.Struct) -> None:
    """No topic is asked for."""


async def connected(subscription: Subscription) -> None:
    while subscription._writer is None:  # noqa: ASYNC110 - it has no other sign where no topic is asked for
        await asyncio.sleep(0.01)


def test_two_workers_share_what_one_desk_counts(tmp_path: Path) -> None:
    async def story() -> int:
        path = tmp_path / "s"
        feed = Feed({}, counters.Desk(MemoryCounters()))
        tasks = [asyncio.create_task(feed.serve(path))]
        subscriptions = [Subscription(path, {}, nothing) for _ in range(2)]
        tasks += [asyncio.create_task(each.run()) for each in subscriptions]
        for each in subscriptions:
            await asyncio.wait_for(connected(each), 10)
        workers = [counters.LeasedCounters(each.ask) for each in subscriptions]
        taken = [await workers[n % 2].take_all(charges(), SystemClock().now()) for n in range(30)]
        for worker in workers:
            await worker.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return sum(each.allowed for each in taken)

    assert asyncio.run(story()) in range(9, 11)  # a worker may hold the last unit a moment


def test_a_question_that_is_none_is_answered_by_a_problem(tmp_path: Path) -> None:
    async def story() -> list[str]:
        path = tmp_path / "s"
        problems = []
        for desk, body in (
            (counters.Desk(MemoryCounters()), b"\xc1"),
            (None, b""),
            (counters.Desk(MemoryCounters()), LATE),
        ):
            serving = asyncio.create_task(Feed({}, desk).serve(path))
            while not path.exists():  # noqa: ASYNC110 - a socket has no event
                await asyncio.sleep(0.01)
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(frames.encode(frames.Question(7, body)))
            cutter, found = frames.FrameReader(), None
            while found is None:
                found = next((f for f in cutter.feed(await reader.read(4096)) if isinstance(f, frames.Reply)), None)
            assert found.number == 7
            problems.append(found.problem)
            writer.close()
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            path.unlink(missing_ok=True)
        return problems

    assert asyncio.run(story()) == ["lease-malformed", "counters-elsewhere", "cost-range"]


LATE = msgspec.msgpack.encode({"asks": [[KEY, {"type": "Cap", "amount": 5, "window": "day"}, -3, 1]], "backs": []})


def test_without_a_control_process_nothing_is_counted(tmp_path: Path) -> None:
    async def story() -> str:
        worker = counters.LeasedCounters(Subscription(tmp_path / "s", {}, nothing).ask)
        with pytest.raises(Unavailable) as caught:
            await worker.take_all(charges(), SystemClock().now())
        return caught.value.code

    assert asyncio.run(story()) == "counters-unreachable"


def told(tmp_path: Path) -> tuple[Told, Metrics]:
    metrics = Metrics()
    return Told(FileJournal(tmp_path, "gateway-3"), metrics, "gateway-3"), metrics


def events(tmp_path: Path) -> list[Event]:
    return [decode_event(record.data) for record in read_journal(tmp_path, {})]


def test_counters_that_cease_to_answer_are_seen_in_metrics_and_events(tmp_path: Path) -> None:
    teller, metrics = told(tmp_path)
    teller.counters("timeout")
    teller.counters("")
    assert [(e.kind, e.reason, e.details["worker"]) for e in events(tmp_path)] == [
        (EventKind.COUNTERS_CHANGED, "degraded", "gateway-3"),
        (EventKind.COUNTERS_CHANGED, "restored", "gateway-3"),
    ]
    assert b'fastness_gateway_counters_changes_total{now="degraded"} 1.0' in metrics.render()


def test_rules_that_were_tampered_with_are_told_once_and_refuse(tmp_path: Path) -> None:
    teller, _ = told(tmp_path)
    held = Held(teller)
    with pytest.raises(Unavailable):
        _ = held.policies
    damaged = Rules(PolicySnapshot({}, {"acme": "policy set 3 bears no seal"}), {})  # type: ignore[dict-item]
    held.take(damaged)
    held.take(damaged)
    with pytest.raises(Unavailable) as caught:
        held.policies.of("acme")  # type: ignore[arg-type]
    assert caught.value.code == "policies-unavailable"
    assert held.policies.of("default") is held.policies.shipped  # type: ignore[arg-type]
    assert [(e.kind, e.tenant, e.resource) for e in events(tmp_path)] == [
        (EventKind.INTEGRITY_FAILED, "acme", "policies:acme")
    ]


def test_settings_name_the_counters_and_where_their_password_is_kept(tmp_path: Path) -> None:
    home = Home(tmp_path)
    settings = load_settings(home, {"redis.url": "rediss://counters:6380", "redis.password": "secret://env/REDIS"})
    assert (settings.redis.password and settings.redis.password.path) == "REDIS"
    assert Settings().redis.url == ""
    with pytest.raises(InvalidSetting, match=r"redis\.password") as caught:
        load_settings(home, {"redis.password": "hunter2hunter2"})
    assert "hunter2" not in str(caught.value)
    with pytest.raises(InvalidSetting, match=r"tokens\.life_s"):
        load_settings(home, {"tokens.life_s": "601"})
