"""Snapshots from the control process to the gateway workers, over a private Unix socket.

The control side looks at the epochs ten times a second, loads what moved, pushes it, and confirms what did not move.
A projection that cannot be loaded is not confirmed: the workers then refuse within a second, which is the safe side.

By the same socket a worker asks for units of limits, which the control side counts (`foundation.storage.leases`), and whether
a signed request comes for the first time (`access.possession.nonces`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from fastness.access.possession import Nonce, Nonces
from fastness.core.clock import Clock, Instant, SystemClock
from fastness.core.errors import FastnessError, Unavailable
from fastness.foundation.storage import Live, counters
from fastness.wire import frames

_LOOK_S = 0.1
_CONFIRM_S = 0.2
_RETRY_S = 0.1
_HURRY_S = 0.005
_LONGEST_QUESTION = 4 << 20
_ANSWER_S = 1.0
_MAX_BACKLOG_BYTES = 64 << 20
_NONCE = "nonce"

_log = logging.getLogger(__name__)

T = TypeVar("T")
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
        desk: gives units of limits to the workers that ask; without one, none are given.
        clock: by which it counts.
        nonces: which signed requests came before; without it, the workers ask elsewhere.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        desk: counters.Desk | None = None,
        clock: Clock | None = None,
        nonces: Nonces | None = None,
    ) -> None:
        self._sources = sources
        self._desk = desk
        self._nonces = nonces
        self._clock = clock or SystemClock()
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
        cutter = frames.FrameReader(_LONGEST_QUESTION)
        try:
            while data := await reader.read(65536):
                for frame in cutter.feed(data):
                    self._hear(frame, writer)
        except (OSError, FastnessError):
            _log.warning("a gateway worker is cut off from the snapshots")
        finally:
            del self._echoed[writer]
            writer.close()

    def _hear(self, frame: frames.AnyFrame, writer: asyncio.StreamWriter) -> None:
        if isinstance(frame, frames.Confirm):  # each one is echoed: what was sent before it has arrived
            self._echoed[writer] += 1
        elif isinstance(frame, frames.Question):
            writer.write(frames.encode(self._answer(frame)))

    def _answer(self, question: frames.Question) -> frames.Reply:
        given: object
        try:
            given = self._is_new(question.body) if question.about == _NONCE else self._leased(question.body)
        except FastnessError as error:
            return frames.Reply(question.number, b"", error.code)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return frames.Reply(question.number, b"", "lease-malformed")
        return frames.Reply(question.number, msgspec.msgpack.encode(given))

    def _leased(self, body: bytes) -> counters.LeaseReply:
        if self._desk is None:
            raise Unavailable("counters-elsewhere", "the limits are counted elsewhere")
        return self._desk.serve(msgspec.msgpack.decode(body, type=counters.LeaseRequest), self._clock.now())

    def _is_new(self, body: bytes) -> bool:
        if self._nonces is None:
            raise Unavailable("nonces-elsewhere", "nonces are remembered elsewhere")
        return self._nonces.once(msgspec.msgpack.decode(body, type=Nonce), self._clock.now())

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
        self._writer: asyncio.StreamWriter | None = None
        self._asked: dict[int, asyncio.Future[frames.Reply]] = {}
        self._number = 0
        self.complete = asyncio.Event()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path)
                self._writer = writer
                try:
                    await self._receive(reader, writer)
                finally:
                    self._writer = None
                    writer.close()
                    self._give_up()
            except OSError:
                pass  # the control process is not there: what is held grows stale, and the gateway refuses
            except Exception:  # a snapshot that cannot be taken is not confirmed either
                _log.exception("the snapshots cannot be taken")
            await asyncio.sleep(_RETRY_S)

    async def ask(self, request: counters.LeaseRequest) -> counters.LeaseReply:
        """Units of limits, from the desk at the other end.

        Raises:
            Unavailable: it does not answer, or refuses.
        """
        return await self._ask("limits", request, counters.LeaseReply)

    async def once(self, nonce: Nonce, now: Instant) -> bool:
        """Whether a signed request comes for the first time, by the clock of the control process.

        Raises:
            Unavailable: it does not answer, or cannot tell.
        """
        del now
        return await self._ask(_NONCE, nonce, bool)

    async def _ask(self, about: str, request: msgspec.Struct, answer: type[T]) -> T:
        writer = self._writer
        if writer is None:
            raise _unanswered(about, "the control process is not there")
        self._number += 1
        number = self._number
        answered = self._asked[number] = asyncio.get_running_loop().create_future()
        writer.write(frames.encode(frames.Question(number, msgspec.msgpack.encode(request), about)))
        try:
            async with asyncio.timeout(_ANSWER_S):
                reply = await answered
            if reply.problem:
                raise _unanswered(about, reply.problem)
            return msgspec.msgpack.decode(reply.body, type=answer)
        except (TimeoutError, msgspec.MsgspecError) as error:
            raise _unanswered(about, "the control process does not answer") from error
        finally:
            self._asked.pop(number, None)

    def _give_up(self) -> None:
        for answered in self._asked.values():
            if not answered.done():
                answered.set_exception(_unanswered("limits", "the control process went away"))

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
        elif isinstance(frame, frames.Reply):
            answered = self._asked.get(frame.number)
            if answered is not None and not answered.done():
                answered.set_result(frame)

    def _confirm(self) -> None:
        now = time.monotonic_ns()
        for _, live in self._topics.values():
            live.confirm(now)
        self.complete.set()


def _unanswered(about: str, why: str) -> Unavailable:
    if about == _NONCE:
        text = f"it cannot be told whether this request came before: {why}"
        return Unavailable("nonces-unreachable", text, "Sign it again in some seconds.")
    return Unavailable("counters-unreachable", f"the limits cannot be counted: {why}", "Try again in a moment.")
