"""How a child process of the supervisor learns that it is alone."""

from __future__ import annotations

import asyncio
import os


async def lifeline() -> None:
    """Return when standard input is closed: the supervisor holds its other end for as long as it lives."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def readable() -> None:
        if not os.read(0, 1024):
            loop.remove_reader(0)
            ended.set()

    loop.add_reader(0, readable)
    await ended.wait()
