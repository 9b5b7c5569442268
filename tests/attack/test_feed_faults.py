"""A fault in one topic's load must not end the feed to all gateways, nor a malformed snapshot the gateway's side of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from fastness.app.feed import Feed, Subscription
from fastness.foundation.storage import Live
from fastness.wire import frames


class Keys(msgspec.Struct, frozen=True):
    """A snapshot."""

    name: str = "keys"


class Faulty:
    """Loads wrongly the first time, as an unforeseen row makes a projection do."""

    loads = 0

    def epoch(self) -> int:
        return 1

    def load(self) -> msgspec.Struct:
        self.loads += 1
        if self.loads == 1:
            raise ValueError("a fault")
        return Keys()


def test_a_fault_in_a_projection_does_not_end_the_feed(tmp_path: Path) -> None:
    async def run() -> Faulty:
        source = Faulty()
        serving = asyncio.create_task(Feed({"keys": source}).serve(tmp_path / "state.sock"))
        while source.loads < 2 and not serving.done():  # noqa: ASYNC110 - it loads on a thread
            await asyncio.sleep(0.01)
        ended = serving.done()
        serving.cancel()
        assert not ended
        return source

    assert asyncio.run(run()).loads == 2


GOOD = frames.encode(frames.Snapshot("keys", 7, msgspec.msgpack.encode(Keys("good"))))
MALFORMED = {
    "a snapshot of other fields": frames.encode(frames.Snapshot("keys", 6, msgspec.msgpack.encode({"name": 1}))),
    "a snapshot that is no MessagePack": frames.encode(frames.Snapshot("keys", 6, b"\xc1")),
    "a snapshot that nobody can use": frames.encode(frames.Snapshot("keys", 6, msgspec.msgpack.encode(Keys("bad")))),
    "no frame": b"\xff" * 64,
}


@pytest.mark.parametrize("first", MALFORMED.values(), ids=MALFORMED)
def test_a_gateway_outlives_a_malformed_snapshot_and_takes_the_next(tmp_path: Path, first: bytes) -> None:
    """It confirms nothing of the connection that brought it, connects again, and is current."""
    echoed: list[bytes] = []

    def changed(value: msgspec.Struct) -> None:
        assert value != Keys("bad")

    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((GOOD if echoed else first) + frames.encode(frames.Confirm()))
        echoed.append(await reader.read(1 << 16))
        writer.close()

    async def run() -> tuple[str, int]:
        live: Live[Keys] = Live()
        server = await asyncio.start_unix_server(control, tmp_path / "state.sock")
        subscription = Subscription(tmp_path / "state.sock", {"keys": (Keys, live)}, changed)
        task = asyncio.create_task(subscription.run())
        async with server:
            await asyncio.wait_for(subscription.complete.wait(), 20)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.sleep(0.1)  # its end of the connection is closed as well
        return live.current.name, live.epoch

    assert asyncio.run(run()) == ("good", 7)
    assert echoed[0] == b""
