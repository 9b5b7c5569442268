"""Snapshots from the control process to the gateway workers, over a private Unix socket.

The control side looks at the epochs ten times a second, loads what moved, pushes it, and confirms what did not move.
A projection that cannot be loaded is not confirmed: the workers then refuse within a second, which is the safe side.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from fastness.core.errors import FastnessError
from fastness.foundation.storage import Live
from fastness.wire import frames

_LOOK_S = 0.1
_CONFIRM_S = 0.2
_RETRY_S = 0.1
_HURRY_S = 0.005
_LONGEST_ECHO = 4096
_MAX_BACKLOG_BYTES = 64 << 20

_log = logging.getLogger(__name__)


Topics = Mapping[str, tuple[type[msgspec.Struct], "Live[Any]"]]
"""For each topic the type of its snapshot, and the value that readers hold."""


class Source(Protocol):
    """One topic: cheap to ask whether it moved, dearer to load. Both are called on a worker thread."""

    def epoch(self) -> int:
        """Changes whenever the topic does."""
        ...

    def load(self) -> msgspec.Struct:
        """The snapshot as it stands."""
        ...


class Feed:
    """The control side: one for a house.

    Args:
        sources: topics by name.
    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources
        self._sent: dict[str, frames.Snapshot] = {}
        self._sent_in: dict[str, int] = {}
        self._round = 0
        self._echoed: dict[asyncio.StreamWriter, int] = {}
        self._hurry = asyncio.Event()

    @property
    def listeners(self) -> int:
        """How many gateway workers listen."""
        return len(self._echoed)

    async def published(self, topic: str) -> None:
        """Return when every gateway worker that listens has what the topic holds now."""
        epoch = await asyncio.to_thread(self._sources[topic].epoch)
        while not self._has(topic, epoch):
            self._hurry.set()
            await asyncio.sleep(_HURRY_S)

    def _has(self, topic: str, epoch: int) -> bool:
        sent = self._sent.get(topic)
        if sent is None or sent.epoch < epoch:
            return False
        return all(echoed > self._sent_in[topic] for echoed in self._echoed.values())

    async def serve(self, path: Path) -> None:
        """Push until cancelled; `path` is the socket, which only the owner of its folder can reach."""
        await asyncio.to_thread(path.unlink, missing_ok=True)
        server = await asyncio.start_unix_server(self._greet, path)
        try:
            async with server:
                await self._push_forever()
        finally:
            for writer in self._echoed:
                writer.transport.abort()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for snapshot in self._sent.values():
            writer.write(frames.encode(snapshot))
        self._echoed[writer] = self._round
        cutter = frames.FrameReader(_LONGEST_ECHO)
        try:
            while data := await reader.read(65536):
                # Each confirmation is echoed: what was sent before it has arrived.
                self._echoed[writer] += sum(isinstance(frame, frames.Confirm) for frame in cutter.feed(data))
        except (OSError, FastnessError):
            _log.warning("a gateway worker is cut off from the snapshots")
        finally:
            del self._echoed[writer]
            writer.close()

    async def _push_forever(self) -> None:
        confirmed = 0.0
        while True:
            current = True
            for topic, source in self._sources.items():
                current &= await self._refresh(topic, source)
            if current and (self._hurry.is_set() or time.monotonic() - confirmed >= _CONFIRM_S):
                confirmed = time.monotonic()
                self._hurry.clear()
                self._round += 1
                self._send(frames.Confirm())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), _LOOK_S)

    async def _refresh(self, topic: str, source: Source) -> bool:
        try:
            epoch = await asyncio.to_thread(source.epoch)
            sent = self._sent.get(topic)
            if sent is None or sent.epoch != epoch:
                value = await asyncio.to_thread(source.load)
                self._sent[topic] = frames.Snapshot(topic, epoch, msgspec.msgpack.encode(value))
                self._sent_in[topic] = self._round
                self._send(self._sent[topic])
        except Exception:  # the loop outlives a fault in one topic, which is then not confirmed
            _log.exception("the snapshot %s cannot be loaded; the gateways will refuse", topic)
            return False
        return True

    def _send(self, frame: frames.AnyFrame) -> None:
        data = frames.encode(frame)
        for writer in list(self._echoed):
            if writer.transport.get_write_buffer_size() > _MAX_BACKLOG_BYTES:
                writer.transport.abort()  # it does not read: it will be stale, refuse, and connect again
            else:
                writer.write(data)


class Subscription:
    """The gateway side: keeps `Live` values current.

    Args:
        path: the control side's socket.
        topics: for each topic the type of its snapshot and the value that readers hold.
        changed: called with each new snapshot.
    """

    def __init__(
        self,
        path: Path,
        topics: Topics,
        changed: Callable[[msgspec.Struct], None],
    ) -> None:
        self._path = path
        self._topics = topics
        self._changed = changed
        self.complete = asyncio.Event()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path)
                try:
                    await self._receive(reader, writer)
                finally:
                    writer.close()
            except OSError:
                pass  # the control process is not there: what is held grows stale, and the gateway refuses
            except Exception:  # a snapshot that cannot be taken is not confirmed either
                _log.exception("the snapshots cannot be taken")
            await asyncio.sleep(_RETRY_S)

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cutter = frames.FrameReader()
        fresh: set[str] = set()
        while data := await reader.read(1 << 16):
            for frame in cutter.feed(data):
                self._take(frame, fresh, writer)

    def _take(self, frame: frames.AnyFrame, fresh: set[str], writer: asyncio.StreamWriter) -> None:
        if isinstance(frame, frames.Snapshot) and frame.topic in self._topics:
            kind, live = self._topics[frame.topic]
            value = msgspec.msgpack.decode(frame.body, type=kind)
            live.publish(value, frame.epoch)
            fresh.add(frame.topic)
            self._changed(value)
        elif isinstance(frame, frames.Confirm):
            writer.write(frames.encode(frame))
            if fresh == self._topics.keys():
                self._confirm()

    def _confirm(self) -> None:
        now = time.monotonic_ns()
        for _, live in self._topics.values():
            live.confirm(now)
        self.complete.set()
