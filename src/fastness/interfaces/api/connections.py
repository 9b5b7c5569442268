"""How the control plane listens: uvicorn's httptools protocol, with a deadline and a bound for each block of headers.

uvicorn bounds neither, so that anybody could fill the memory of the control process, or hold its connections, before they
are known. What is beyond the bounds is refused with 400, and who is late is cut off. A request that names two hosts, or
none, is refused, too. Of a body each `BODY_STEP` has to come within a deadline of its own, so that a large model may take
its time and a byte now and then may not; while the house itself does not read, nobody is late.

Source: RFC 9112, section 3.2 (Host); it rests on the inside of uvicorn 0.54, as `gateway.protocol` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEADER_BYTES = 65_536
MOST_HEADERS = 100
BODY_STEP = 16_384
"""How many bytes of a body have to come within its deadline, or what is left of it."""


class Deadline:
    """What has to come within some seconds; else `late` is called.

    Attributes:
        waits: whether it is still to come.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, late: Callable[[], None]) -> None:
        self.waits = False
        self._loop = loop
        self._seconds = seconds
        self._late = late
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Wait from now on."""
        self.stop()
        self.waits = True
        self._timer = self._loop.call_later(self._seconds, self._over)

    def stop(self) -> None:
        """Wait no more."""
        self.waits = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _over(self) -> None:
        self.stop()
        self._late()


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    header_deadline_s: ClassVar[float] = 10.0
    body_deadline_s: ClassVar[float] = 30.0

    _headers_due: Deadline
    _body_due: Deadline
    _seen = 0
    _held = 0
    _body_came = 0
    _unread = False

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request, and not for ever."""
        super().connection_made(transport)
        self._headers_due = Deadline(self.loop, self.header_deadline_s, self._cut_off)
        self._body_due = Deadline(self.loop, self.body_deadline_s, self._body_late)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._headers_due.stop()
        self._body_due.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Have `data` parsed, unless the headers that have not ended yet are too long."""
        super().data_received(data)
        if not self._headers_due.waits:
            return
        self._seen += len(data)
        if self._seen > MOST_HEADER_BYTES and not self.transport.is_closing():
            self.send_400_response("The headers are too long.")

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._held = 0
        self._await_headers()

    def on_url(self, url: bytes) -> None:
        """Keep the target, if there is room for it."""
        self._hold(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, if there is room for it. Raises ValueError, which the parser makes a refusal."""
        self._hold(len(name) + len(value))
        if len(self.headers) >= MOST_HEADERS:
            raise ValueError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer. Raises ValueError where it is not clear which host is asked."""
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() != "1.0"):
            raise ValueError("a request names one host")
        self._headers_due.stop()
        super().on_headers_complete()
        self._await_body()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, and wait anew where that was enough of it."""
        super().on_body(body)
        self._unread |= self.flow.read_paused
        self._body_came += len(body)
        if self._body_came >= BODY_STEP:
            self._await_body()

    def on_message_complete(self) -> None:
        """Wait for no more of the body."""
        self._body_due.stop()
        super().on_message_complete()

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > MOST_HEADER_BYTES:
            raise ValueError("the headers are too long")

    def _await_headers(self) -> None:
        if not self._headers_due.waits:
            self._seen = 0
            self._headers_due.start()

    def _await_body(self) -> None:
        self._body_came, self._unread = 0, self.flow.read_paused
        self._body_due.start()

    def _body_late(self) -> None:
        if self._unread:  # it was this house that did not read: what is waiting counts from now on
            self._await_body()
        else:
            self._cut_off()

    def _cut_off(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
