"""Snapshots from control to gateway, over a real Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from fastness.app.feed import Feed, Subscription
from fastness.core.errors import Corrupt, Unavailable
from fastness.foundation.storage import Live


class Number(msgspec.Struct, frozen=True):
    value: int


class Source:
    """A topic that tests move."""

    def __init__(self, value: int) -> None:
        self.value = value
        self.broken = False

    def epoch(self) -> int:
        return self.value

    def load(self) -> Number:
        if self.broken:
            raise Corrupt("broken", "cannot be read")
        return Number(self.value)


async def eventually(check: Callable[[], bool]) -> None:
    for _ in range(1000):
        if check():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to pass")


def stale(live: Live[Number]) -> bool:
    try:
        _ = live.current
    except Unavailable:
        return True
    return False


@contextlib.asynccontextmanager
async def running(*work: Awaitable[None]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(w) for w in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def subscribed(path: Path, live: Live[Number]) -> Subscription:
    return Subscription(path, {"number": (Number, live)}, lambda _: None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


def test_a_change_reaches_every_worker(path: Path) -> None:
    async def story() -> None:
        source, lives = Source(1), [Live[Number](), Live[Number]()]
        feed, subs = Feed({"number": source}), [subscribed(path, live) for live in lives]
        async with running(feed.serve(path), *(s.run() for s in subs)):
            await asyncio.gather(*(s.complete.wait() for s in subs))
            assert [live.current.value for live in lives] == [1, 1]
            assert feed.listeners == 2
            source.value = 2
            await eventually(lambda: [live.current.value for live in lives] == [2, 2])
            assert [live.epoch for live in lives] == [2, 2]

    asyncio.run(story())


def test_a_snapshot_that_cannot_be_loaded_makes_the_workers_refuse(path: Path) -> None:
    async def story() -> None:
        source, live = Source(1), Live[Number]()
        sub = subscribed(path, live)
        async with running(Feed({"number": source}).serve(path), sub.run()):
            await sub.complete.wait()
            source.broken, source.value = True, 2
            await eventually(lambda: stale(live))
            source.broken = False
            await eventually(lambda: not stale(live) and live.current.value == 2)

    asyncio.run(story())


def test_without_the_control_process_workers_refuse_and_then_come_back(path: Path) -> None:
    async def story() -> None:
        source, live = Source(1), Live[Number]()
        sub = subscribed(path, live)
        async with running(sub.run()):
            async with running(Feed({"number": source}).serve(path)):
                await sub.complete.wait()
            await eventually(lambda: stale(live))
            source.value = 5
            async with running(Feed({"number": source}).serve(path)):
                await eventually(lambda: not stale(live) and live.current.value == 5)

    asyncio.run(story())


def test_nothing_is_confirmed_before_every_topic_arrived(path: Path) -> None:
    async def story() -> None:
        one, two, late = Live[Number](), Live[Number](), Source(1)
        late.broken = True
        sub = Subscription(path, {"one": (Number, one), "two": (Number, two)}, lambda _: None)
        async with running(Feed({"one": Source(1), "two": late}).serve(path), sub.run()):
            await eventually(lambda: one.epoch == 1)
            await asyncio.sleep(0.4)
            assert stale(one)
            assert not sub.complete.is_set()
            late.broken = False
            await asyncio.wait_for(sub.complete.wait(), 10)
            assert (one.current.value, two.current.value) == (1, 1)

    asyncio.run(story())


def test_a_change_is_published_once_every_worker_has_it(path: Path) -> None:
    async def story() -> None:
        source, lives = Source(1), [Live[Number](), Live[Number]()]
        feed, subs = Feed({"number": source}), [subscribed(path, live) for live in lives]
        async with running(feed.serve(path), *(s.run() for s in subs)):
            await asyncio.gather(*(s.complete.wait() for s in subs))
            for value in range(2, 12):
                source.value = value
                await feed.published("number")
                assert [live.current.value for live in lives] == [value, value]

    asyncio.run(story())


def test_a_change_is_not_published_while_a_worker_does_not_read(path: Path) -> None:
    async def story() -> None:
        source, live = Source(1), Live[Number]()
        feed, sub = Feed({"number": source}), subscribed(path, live)
        async with running(feed.serve(path), sub.run()):
            await sub.complete.wait()
            _, deaf = await asyncio.open_unix_connection(path)
            await eventually(lambda: feed.listeners == 2)
            source.value = 2
            waiting = asyncio.ensure_future(feed.published("number"))
            await eventually(lambda: live.current.value == 2)
            await asyncio.sleep(0.1)
            assert not waiting.done()
            deaf.close()
            await asyncio.wait_for(waiting, 10)

    asyncio.run(story())


def test_a_worker_that_talks_nonsense_is_cut_off(path: Path) -> None:
    async def story() -> None:
        feed = Feed({"number": Source(1)})
        async with running(feed.serve(path)):
            await eventually(path.exists)
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"\xff" * 64)
            await asyncio.wait_for(reader.read(), 10)
            writer.close()
            await eventually(lambda: feed.listeners == 0)

    asyncio.run(story())
