"""How the control plane listens: uvicorn's httptools protocol, with a deadline and a bound for each block of headers.

uvicorn bounds neither, so that anybody could fill the memory of the control process, or hold its connections, before they
are known. What is beyond the bounds is refused with 400, and who is late is cut off. A request that names two hosts, or
none, is refused, too. What it misses: a body may come as slowly as it likes; routes bound its size.

Source: RFC 9112, section 3.2 (Host); it rests on the inside of uvicorn 0.54, as `gateway.protocol` does.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEADER_BYTES = 65_536
MOST_HEADERS = 100


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    header_deadline_s: ClassVar[float] = 10.0

    _timer: asyncio.TimerHandle | None = None
    _seen = 0
    _held = 0

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request, and not for ever."""
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._headers_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Have `data` parsed, unless the headers that have not ended yet are too long."""
        super().data_received(data)
        if self._timer is None:
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
        self._headers_came()
        super().on_headers_complete()

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > MOST_HEADER_BYTES:
            raise ValueError("the headers are too long")

    def _await_headers(self) -> None:
        if self._timer is None:
            self._seen = 0
            self._timer = self.loop.call_later(self.header_deadline_s, self._too_late)

    def _headers_came(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()
