"""Asks a model worker, from one event loop: a connection of its own, batches of what is queued, one answer a question.

Opportunistic batching: what waits is taken together, nobody waits for more; at low load a request goes alone, under
load batches form by themselves. Requests run together only if every first axis of the signature is of any length and
their types and further axes agree. One request that the model fails on fails alone: the members are sent again, singly,
once.

The worker is not trusted: its frames are bounded, its answers must carry the id, names, types and rows that were asked
for, and at the first untruth the connection is closed and all that wait on it are refused. What is refused is refused
for good here: an answer that comes later finds nobody.

Cost: about 25 us a request besides the worker's own (see benchmarks/worker_socket.py).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from fastness.core.errors import FastnessError, Invalid, TooLarge, Unavailable
from fastness.core.signature import ModelSignature
from fastness.foundation.sandbox import HEAD_BYTES, ChannelError, read_head
from fastness.models.runtime.answers import Untrue, check_outputs, refusal, rows_of, takes_batches
from fastness.models.runtime.frames import FrameError, Kind, Problem, Tensors, decode, encode
from fastness.models.runtime.settings import RuntimeSettings
from fastness.models.runtime.sockets import connect_to

_IN_FLIGHT = 2  # the worker finds the next batch when it has answered one
_LOOK_S = 0.01
_BACK_OFF_S, _LONGEST_BACK_OFF_S = 0.02, 0.5
_PROBLEMS = {Problem.UNFIT, Problem.FAILED, Problem.LATE}
_RETRY = "Try again; the worker is being replaced."


class Predictor(Protocol):
    """Answers for a model."""

    async def predict(self, tensors: Tensors, timeout_s: float) -> Tensors:
        """The outputs for `tensors`.

        Raises:
            Invalid: the model does not take this input, or failed on it.
            Unavailable: there is no answer now.
        """
        ...


@dataclass(slots=True)
class _Member:
    """One request."""

    tensors: Tensors
    rows: int
    key: object
    deadline: float
    answer: asyncio.Future[Tensors]
    alone: bool = False


@dataclass(slots=True)
class _Batch:
    """Requests that went out together."""

    members: list[_Member]
    rows: int
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self.deadline = max(member.deadline for member in self.members)


class WorkerPredictor:
    """The connection of one event loop to one worker. Connects at the first request, and again after a loss.

    Args:
        path: the worker's socket.
        signature: what the answers must look like.
    """

    def __init__(self, path: Path, signature: ModelSignature, settings: RuntimeSettings) -> None:
        self._path = path
        self._signature = signature
        self._settings = settings
        self._batches = takes_batches(signature)
        self._queue: deque[_Member] = deque()
        self._sent: dict[int, _Batch] = {}
        self._next_id = 1
        self._link: _Link | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._not_before = 0.0
        self._back_off_s = _BACK_OFF_S
        self._closed = False
        self._due = False

    async def predict(self, tensors: Tensors, timeout_s: float) -> Tensors:
        """The outputs for `tensors`; see `Predictor`.

        Raises:
            Invalid: the model does not take this input (`input-unfit`) or failed on it (`model-failed`).
            TooLarge: the input is longer than a frame may be.
            Unavailable: `worker-overloaded`, `worker-timeout` or `worker-lost`.
        """
        if len(self._queue) >= self._settings.max_queue:
            raise Unavailable("worker-overloaded", "too many requests wait for this model", "Try again later.")
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        if self._link is None and (self._closed or now < self._not_before):
            raise _lost("it is not there")
        rows = rows_of(tensors) if self._batches else 0
        key = tuple((name, a.dtype, a.shape[1:]) for name, a in sorted(tensors.items())) if rows else None
        member = _Member(tensors, rows, key, now + timeout_s, loop.create_future())
        self._queue.append(member)
        if self._watch is None:
            self._watch = loop.call_later(_LOOK_S, self._look)
        if not self._due:
            self._due = True
            loop.call_soon(self._send_queued)  # once a loop tick: what arrived in it goes out together
        return await member.answer

    def _send_queued(self) -> None:
        self._due = False
        self._pump(time.monotonic())

    def close(self) -> None:
        """Refuse what waits, and do not connect again."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._abandon("the connection was closed")
        self._refuse_queue("the connection was closed")

    def _pump(self, now: float) -> None:
        """Send what may be sent."""
        if self._link is None:
            if self._queue and self._connecting is None and not self._closed:
                self._connecting = asyncio.get_running_loop().create_task(self._connect())
            return
        while len(self._sent) < _IN_FLIGHT and (batch := self._take(now)) is not None:
            self._send(self._link, batch)

    def _take(self, now: float) -> _Batch | None:
        """The next requests that may run together, in order; those that nobody waits for any more are dropped."""
        members: list[_Member] = []
        rows = 0
        while self._queue:
            member = self._queue[0]
            if member.answer.done():
                self._queue.popleft()
                continue
            if member.deadline <= now:
                self._queue.popleft()
                member.answer.set_exception(_late())
                continue
            if members and (
                member.alone or member.key is None or member.key != members[0].key
                or rows + member.rows > self._settings.max_batch
            ):  # fmt: skip
                break
            members.append(self._queue.popleft())
            rows += member.rows
            if member.alone or member.key is None:
                break
        return _Batch(members, rows) if members else None

    def _send(self, link: _Link, batch: _Batch) -> None:
        first = batch.members[0].tensors
        if len(batch.members) > 1:
            first = {name: np.concatenate([m.tensors[name] for m in batch.members]) for name in first}
        request = self._next_id
        self._next_id += 1
        try:
            frame = encode(Kind.RUN, request, int(batch.deadline * 1e9), first)
        except FrameError as error:
            self._settle_each(batch, Invalid("input-unfit", str(error), "Compare it with the model's signature."))
            return
        if len(frame) - HEAD_BYTES > self._settings.frame_bytes:
            most = self._settings.frame_bytes
            self._settle_each(
                batch, TooLarge("input-too-large", f"at most {most} bytes go to a model", "Send fewer rows.")
            )
            return
        self._sent[request] = batch
        link.write(frame)

    def _settle_each(self, batch: _Batch, error: FastnessError) -> None:
        """Refuse a batch that cannot be run as it is; of several members each is tried alone, once."""
        waiting = [member for member in batch.members if not member.answer.done()]
        if len(batch.members) == 1:
            for member in waiting:
                member.answer.set_exception(error)
            return
        for member in reversed(waiting):
            member.alone = True
            self._queue.appendleft(member)

    def _received(self, payload: memoryview) -> None:
        """Give an answer to those who wait for it.

        Raises:
            Untrue: it is not what was asked for.
            FrameError: it is malformed.
        """
        message = decode(payload)
        batch = self._sent.get(message.id)
        if batch is None:
            raise Untrue("it answered what was not asked")
        if message.kind == Kind.ANSWER:
            check_outputs(message.tensors, self._signature, batch.rows)
            del self._sent[message.id]
            _deliver(batch, message.tensors)
        elif message.kind == Kind.ERROR and message.problem in _PROBLEMS:
            del self._sent[message.id]
            self._settle_each(batch, refusal(message.problem, message.text))
        else:
            raise Untrue("it sent what is no answer")
        self._pump(time.monotonic())

    def _look(self) -> None:
        """Refuse those whose time is up. A worker that let a whole batch pass its time is given up."""
        self._watch = None
        now = time.monotonic()
        for member in (*self._queue, *(m for batch in self._sent.values() for m in batch.members)):
            if member.deadline <= now and not member.answer.done():
                member.answer.set_exception(_late())
        if any(batch.deadline <= now for batch in self._sent.values()):
            self._abandon("it did not answer in time")
        while self._queue and self._queue[0].answer.done():
            self._queue.popleft()
        self._pump(now)
        if self._queue or self._sent:
            self._watch = asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    async def _connect(self) -> None:
        try:
            stream = connect_to(self._path)
            loop = asyncio.get_running_loop()
            _, link = await loop.create_unix_connection(lambda: _Link(self, self._settings.frame_bytes), sock=stream)
        except OSError:
            self._not_before = time.monotonic() + self._back_off_s
            self._back_off_s = min(2 * self._back_off_s, _LONGEST_BACK_OFF_S)
            self._refuse_queue("nobody answers at its socket")
            return
        finally:
            self._connecting = None
        self._back_off_s = _BACK_OFF_S
        if not link.lost:
            self._link = link
        self._pump(time.monotonic())

    def _dropped(self, link: _Link, why: str) -> None:
        """The other side closed, or what it sent could not be believed."""
        if link is self._link:
            self._abandon(why)
            self._pump(time.monotonic())

    def _abandon(self, why: str) -> None:
        """Close the connection, and refuse what is on its way: no answer to it would be believed."""
        link, self._link = self._link, None
        if link is not None:
            link.abort()
        sent, self._sent = self._sent, {}
        for batch in sent.values():
            for member in batch.members:
                if not member.answer.done():
                    member.answer.set_exception(_lost(why))

    def _refuse_queue(self, why: str) -> None:
        while self._queue:
            member = self._queue.popleft()
            if not member.answer.done():
                member.answer.set_exception(_lost(why))


class _Link(asyncio.Protocol):
    """Cuts the stream into frames."""

    def __init__(self, owner: WorkerPredictor, frame_bytes: int) -> None:
        self.lost = False
        self._owner = owner
        self._frame_bytes = frame_bytes
        self._transport: asyncio.WriteTransport | None = None
        self._rest = bytearray()
        self._wanted = HEAD_BYTES

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is none by descent

    def write(self, frame: bytes) -> None:
        """Send a frame."""
        if self._transport is not None:
            self._transport.write(frame)

    def abort(self) -> None:
        """Close at once."""
        self.lost = True
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        how = error.__class__.__name__ if error is not None else "it closed the connection"
        self._owner._dropped(self, how)  # noqa: SLF001 - the two are one thing

    def data_received(self, data: bytes) -> None:
        if self.lost:
            return
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return
            data = bytes(self._rest)
            self._rest.clear()
        try:
            left = self._frames(memoryview(data))
        except (ChannelError, FrameError, Untrue) as error:
            self._owner._dropped(self, str(error))  # noqa: SLF001 - the two are one thing
            return
        self._rest += left

    def _frames(self, data: memoryview) -> memoryview:
        """Hand on each whole frame; what is left of the last."""
        while not self.lost:
            self._wanted = HEAD_BYTES
            if len(data) < HEAD_BYTES:
                return data
            length = read_head(data, self._frame_bytes)
            self._wanted = HEAD_BYTES + length
            if len(data) < self._wanted:
                return data
            self._owner._received(data[HEAD_BYTES : self._wanted])  # noqa: SLF001 - the two are one thing
            data = data[self._wanted :]
        return data[:0]


def _deliver(batch: _Batch, tensors: Tensors) -> None:
    at = 0
    for member in batch.members:
        if not member.answer.done():
            whole = len(batch.members) == 1
            part = tensors if whole else {name: array[at : at + member.rows] for name, array in tensors.items()}
            member.answer.set_result(part)
        at += member.rows


def _late() -> Unavailable:
    return Unavailable("worker-timeout", "the model did not answer in time", "Try again, or allow it more time.")


def _lost(why: str) -> Unavailable:
    return Unavailable("worker-lost", f"the model's worker was lost: {why}", _RETRY)
