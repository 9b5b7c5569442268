"""Carries requests to the control plane inside this process, where no house is running."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from fastness.client import Body
    from fastness.interfaces.api import AsgiApp

_END = object()


class InProcessReply:
    """A reply whose body arrives from the event loop's thread."""

    def __init__(self, status: int, headers: Mapping[str, str], pieces: queue.SimpleQueue[Any]) -> None:
        self.status = status
        self.headers = headers
        self._pieces = pieces

    def _parts(self) -> Iterator[bytes]:
        while (piece := self._pieces.get()) is not _END:
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    def read(self) -> bytes:
        """The whole body."""
        return b"".join(self._parts())

    def lines(self) -> Iterator[bytes]:
        """The body by line, as the lines arrive."""
        rest = b""
        for part in self._parts():
            *whole, rest = (rest + part).split(b"\n")
            yield from whole
        if rest:
            yield rest


class InProcessTransport:
    """Calls an ASGI application on an event loop in a thread of its own."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="control-plane", daemon=True)
        self._thread.start()

    def send(self, method: str, path: str, headers: Mapping[str, str], body: Body | None = None) -> InProcessReply:
        """Send one request and wait for the head of its reply."""
        url = urlsplit(path)
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": unquote(url.path), "raw_path": url.path.encode(), "query_string": url.query.encode(), "root_path": "",
            "headers": [(b"host", b"localhost"), *((k.lower().encode(), v.encode()) for k, v in headers.items())],
            "client": None, "server": None, "state": {},
        }  # fmt: skip
        pieces: queue.SimpleQueue[Any] = queue.SimpleQueue()
        source = iter((body,) if isinstance(body, bytes) else body or ())
        asyncio.run_coroutine_threadsafe(_exchange(self._app, scope, source, pieces), self._loop)
        head = pieces.get()
        if isinstance(head, BaseException):
            raise head
        return InProcessReply(head["status"], {k.decode().lower(): v.decode() for k, v in head["headers"]}, pieces)

    def close(self) -> None:
        """Stop the event loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def _exchange(app: AsgiApp, scope: dict[str, Any], body: Iterable[bytes], pieces: queue.SimpleQueue[Any]) -> None:
    source: Iterator[bytes] | None = iter(body)
    answered = asyncio.Event()

    async def receive() -> dict[str, Any]:
        nonlocal source
        if source is None:  # after its body the caller only waits, and leaves when it has the whole answer
            await answered.wait()
            return {"type": "http.disconnect"}
        chunk = await asyncio.to_thread(next, source, None)
        source = source if chunk is not None else None
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            pieces.put(message)
            return
        if message.get("body"):
            pieces.put(bytes(message["body"]))
        if not message.get("more_body", False):
            answered.set()

    try:
        await app(scope, receive, send)
    except BaseException as error:
        pieces.put(error)
    pieces.put(_END)
