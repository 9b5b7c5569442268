"""The edge that all connections share: who is connected, what waits to leave, and the record of what was no request.

A reply leaves in two moves. The application appends its event and hands its reply over (`post`); at the end of the loop
tick one flush of the journal serves all replies of that tick, and only then are they written. Where the journal cannot be
flushed, every one of them becomes a 503: nothing is served that is not recorded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from fastness.core.errors import FastnessError, Unavailable
from fastness.foundation.storage import Journal
from fastness.gateway.answers import Answer, refusal, status_of
from fastness.gateway.record import Recorder
from fastness.gateway.settings import GatewaySettings

_log = logging.getLogger(__name__)
_REASONS = {
    200: b"OK", 400: b"Bad Request", 401: b"Unauthorized", 403: b"Forbidden", 404: b"Not Found",
    405: b"Method Not Allowed", 408: b"Request Timeout", 409: b"Conflict", 413: b"Content Too Large",
    415: b"Unsupported Media Type", 422: b"Unprocessable Content", 429: b"Too Many Requests",
    431: b"Request Header Fields Too Large", 499: b"Client Closed Request", 500: b"Internal Server Error",
    503: b"Service Unavailable",
}  # fmt: skip
_STATUS_LINES = {status: b"HTTP/1.1 %d %b\r\n" % (status, reason) for status, reason in _REASONS.items()}
_IDLE = 256

Work = Callable[[], Awaitable[None]]


class Leaving(Protocol):
    """Somebody who has a reply to send."""

    def leave(self, data: bytes, *, close: bool = False) -> None:
        """Send `data` now."""
        ...


class Watched(Protocol):
    """A connection with a deadline."""

    def check(self, now: float) -> None:
        """Do what is due at `now`, in the loop's time."""
        ...


def render(answer: Answer, request_id: str, *, head_only: bool = False, close: bool = False) -> bytes:
    """The bytes of an answer. All headers are made by the gateway itself: none repeats what a caller sent."""
    parts = [_STATUS_LINES[answer.status]]
    for name, value in answer.headers:
        parts += (name, b": ", value, b"\r\n")
    parts.append(b"content-length: %d\r\nx-request-id: %b\r\n" % (len(answer.body), request_id.encode()))
    parts.append(b"connection: close\r\n\r\n" if close else b"\r\n")
    if not head_only:
        parts.append(answer.body)
    return b"".join(parts)


class Runners:
    """Tasks that each do one piece of work after another: to wake a task costs less than to make one."""

    def __init__(self) -> None:
        self._idle: list[asyncio.Future[Work]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, work: Work) -> None:
        """Do `work` from the next tick on."""
        while self._idle:
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(work)
                return
        task = asyncio.get_running_loop().create_task(self._serve(work))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _serve(self, work: Work) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await work()
            if len(self._idle) >= _IDLE:
                return
            idle: asyncio.Future[Work] = loop.create_future()
            self._idle.append(idle)
            work = await idle

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a request was given up", exc_info=error)


class Edge:
    """What the connections of one worker share."""

    def __init__(self, settings: GatewaySettings, journal: Journal, recorder: Recorder) -> None:
        self.settings = settings
        self.runners = Runners()
        self._journal = journal
        self._recorder = recorder
        self._connections: set[Watched] = set()
        self._leaving: list[tuple[Leaving, bytes]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._syncing: asyncio.Future[None] | None = None
        self._sync_timer: asyncio.TimerHandle | None = None
        shortest = min(settings.header_deadline_s, settings.body_deadline_s, settings.body_grace_s, settings.linger_s)
        self._sweep_every_s = min(0.5, max(0.02, shortest / 10))

    # --- connections --------------------------------------------------------------------------------------------------
    def join(self, connection: Watched) -> bool:
        """Watch the deadlines of `connection`; false where there are too many already."""
        if len(self._connections) >= self.settings.max_connections:
            return False
        self._connections.add(connection)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._sweep_every_s, self._sweep)
        return True

    def part(self, connection: Watched) -> None:
        """Watch it no longer."""
        self._connections.discard(connection)

    def _sweep(self) -> None:
        # One timer for all: arming one for each message costs more than reading a number of each connection.
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._connections):
            connection.check(now)
        self._timer = loop.call_later(self._sweep_every_s, self._sweep) if self._connections else None

    # --- replies ------------------------------------------------------------------------------------------------------
    def post(self, who: Leaving, data: bytes) -> None:
        """Let `data` leave at the end of this tick, after the journal was flushed."""
        self._leaving.append((who, data))
        if len(self._leaving) == 1:
            asyncio.get_running_loop().call_soon(self._release)

    def refuse(self, who: Leaving, error: FastnessError) -> None:
        """Record and answer what never became a request."""
        request = self._recorder.begin()
        request.name = "malformed"
        status = status_of(error)
        try:
            self._recorder.record(request, status, error)
        except FastnessError as full:
            error, status = full, status_of(full)
        self._recorder.count(request, status)
        answer = refusal(error, request.id, self.settings.retry_after_s)
        self.post(who, render(answer, request.id, close=True))

    def note(self, error: FastnessError) -> None:
        """Record what never became a request and gets no answer."""
        request = self._recorder.begin()
        request.name = "malformed"
        try:
            self._recorder.record(request, status_of(error), error)
            self.flush()
        except FastnessError as full:
            _log.error("an event is not recorded: %s", full)
        self._recorder.count(request, status_of(error))

    def flush(self) -> None:
        """Have recorded events kept.

        Raises:
            FastnessError: they cannot be.
        """
        self._journal.flush()
        if self._sync_timer is None:
            loop = asyncio.get_running_loop()
            self._sync_timer = loop.call_later(self.settings.sync_interval_s, self._sync)

    def _release(self) -> None:
        leaving, self._leaving = self._leaving, []
        try:
            self.flush()
        except FastnessError as error:
            _log.error("the journal takes no events, so nothing is served: %s", error)
            data = _unrecorded(error, self.settings.retry_after_s)
            for who, _ in leaving:
                who.leave(data, close=True)
            return
        for who, data in leaving:
            who.leave(data)

    def _sync(self) -> None:
        self._sync_timer = None
        if self._syncing is None or self._syncing.done():
            self._syncing = asyncio.ensure_future(self._durable())

    async def _durable(self) -> None:
        try:
            await self._journal.durable()
        except FastnessError as error:
            # The journal itself refuses from now on.
            _log.error("the journal is not synced: %s", error)


def _unrecorded(error: FastnessError, retry_after_s: int) -> bytes:
    problem = Unavailable(error.code, "the request cannot be recorded, so it is not served", "Try again later.")
    return render(refusal(problem, "", retry_after_s), "", close=True)
