"""A fault in one topic's load must not end the feed to all gateways."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from fastness.app.feed import Feed


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
