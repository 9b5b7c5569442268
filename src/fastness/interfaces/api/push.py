"""A push as a stream: the artifact flows in, then the steps of its admission flow out, one JSON line each."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec
from litestar.exceptions import HTTPException

from fastness.core.errors import FastnessError, TooLarge, Unavailable
from fastness.core.sources import Buffer
from fastness.wire import problems
from fastness.wire.control import AdmissionReply, PushLine, StepView

_log = logging.getLogger(__name__)

Progress = Callable[[str, str], None]
Work = Callable[["Upload", Progress], AdmissionReply]


class Upload:
    """The body of a request, as a byte source for a worker thread: each piece is fetched when it is asked for.

    Args:
        confirm: called when the body is whole, before anything comes of it; raises if its sender may not send it any more.

    Attributes:
        taken: set once nothing more is read of the body.
    """

    def __init__(self, name: str, body: AsyncIterator[bytes], confirm: Callable[[], object]) -> None:
        self.name = name
        self._confirm = confirm
        self.taken = asyncio.Event()
        self._body = body
        self._loop = asyncio.get_running_loop()

    def chunks(self) -> Iterator[Buffer]:
        """The pieces as they arrive.

        Raises:
            Unavailable: the sender went away.
            TooLarge: it sends more than the control plane takes.
            FastnessError: it may not send it any more.
        """
        try:
            while (piece := asyncio.run_coroutine_threadsafe(_next(self._body), self._loop).result()) is not None:
                if piece:
                    yield piece
            self._confirm()
        except (OSError, RuntimeError, HTTPException) as error:
            if getattr(error, "status_code", 0) == TooLarge.status:
                raise TooLarge("artifact-too-large", "the artifact is larger than the control plane takes") from error
            raise Unavailable("upload-broken", "the sender went away before the artifact was whole") from error
        finally:
            self.end()

    def end(self) -> None:
        """Read no more."""
        self._loop.call_soon_threadsafe(self.taken.set)


async def _next(body: AsyncIterator[bytes]) -> bytes | None:
    return await anext(body, None)


class Pushing:
    """Runs the work of one push on a thread; what it says comes out as JSON lines.

    The reply begins when the artifact is taken in, for the server reads nothing of a request once it answers.
    """

    def __init__(self, upload: Upload, work: Work) -> None:
        self._upload = upload
        self._work = work
        self._lines: asyncio.Queue[PushLine | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._begun: dict[str, float] = {}
        self._task = asyncio.create_task(asyncio.to_thread(self._run))

    async def lines(self) -> AsyncIterator[bytes]:
        """The steps, then the outcome or the problem."""
        encoder = msgspec.json.Encoder()
        while (line := await self._lines.get()) is not None:
            yield encoder.encode(line) + b"\n"
        await self._task

    def _say(self, line: PushLine | None) -> None:
        self._loop.call_soon_threadsafe(self._lines.put_nowait, line)

    def _progress(self, step: str, said: str) -> None:
        now = time.perf_counter()
        elapsed_ms = (now - self._begun.setdefault(step, now)) * 1e3
        state, _, detail = said.partition(": ")
        self._say(PushLine(step=StepView(step, state, detail, elapsed_ms)))

    def _run(self) -> None:
        try:
            self._say(PushLine(outcome=self._work(self._upload, self._progress)))
        except FastnessError as error:
            self._say(PushLine(problem=msgspec.json.decode(problems.encode(error), type=dict[str, str | int | float])))
        except Exception:
            _log.exception("a fault in a push")
            self._say(
                PushLine(problem={"type": "urn:fastness:problem:internal", "status": 500, "detail": "see the log"})
            )
        finally:
            self._upload.end()
            self._say(None)
