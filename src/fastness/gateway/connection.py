"""One connection's life: what it waits for and until when, and how it ends.

A refusal is no use to a caller who cannot read it: a socket closed with unread data in it resets the connection, and the
answer is lost with it. So where the caller may still be sending, the connection is read for a while after the answer, and
what comes is thrown away.

Source: RFC 9112, section 9.6.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from enum import Enum
from typing import Any, Protocol

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from fastness.core.errors import FastnessError, Invalid, Unavailable
from fastness.foundation.crypto.certificates import thumbprint
from fastness.gateway.answers import Answer
from fastness.gateway.edge import Edge, render

MAX_LINGER_BYTES = 64 << 20
SCOPE_KEY = "fastness.exchange"
PEER_KEY = "fastness.peer"
"""Where a scope has the thumbprint of the client's certificate. No header comes near it."""


class Wait(Enum):
    """What a connection waits for."""

    OPENING = "the first byte"
    HEADERS = "headers"
    BODY = "a body"
    REPLY = "a reply of ours"
    IDLE = "the next request"
    LINGER = "the caller to stop sending"


class HasEdge(Protocol):
    """An application that `EdgeProtocol` can serve."""

    edge: Edge


class Exchange:
    """One request and its reply; the application finds it in the scope as `fastness.exchange`.

    It stands where uvicorn keeps its own cycle, and holds what uvicorn's protocol reads of that.

    Attributes:
        more_body: not all of the body has arrived.
        slow: the body came too slowly, or not at all.
        broken: what was sent as a body is none.
        disconnected: the caller went away.
        response_complete: a reply was handed over.
        left: it is on its way.
    """

    __slots__ = (
        "body",
        "broken",
        "connection",
        "disconnected",
        "expects",
        "keep_alive",
        "left",
        "message_event",
        "more_body",
        "response_complete",
        "scope",
        "slow",
        "waiter",
    )

    def __init__(self, connection: Connection, scope: dict[str, Any], *, keep_alive: bool, expects: bool) -> None:
        self.connection = connection
        self.scope = scope
        self.keep_alive = keep_alive
        self.expects = expects
        self.body = bytearray()
        self.more_body = True
        self.slow = self.broken = self.disconnected = self.response_complete = self.left = False
        self.waiter: asyncio.Future[None] | None = None
        self.message_event = self  # uvicorn's protocol sets its cycle's event when the connection is lost

    def set(self) -> None:
        """Wake the application, if it waits for more of the body."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def run_asgi(self) -> None:
        """Have the application answer. Where it breaks down nothing was recorded, so nothing is said."""
        application: Any = self.connection.app
        try:
            await application(self.scope, self.receive, self.send)
        finally:
            if not self.response_complete and not self.disconnected:
                self.connection.transport.abort()

    def whole(self) -> bytes | None:
        """The body, if all of it is here already."""
        return bytes(self.body) if not self.more_body and not self.disconnected else None

    def check(self) -> None:
        """Return if the rest of the body is still to be waited for.

        Raises:
            Invalid: it comes too slowly, or is none.
        """
        if self.slow:
            raise Invalid("body-too-slow", "the body did not arrive in time", "Send it faster, or less of it at once.")
        if self.broken:
            raise Invalid("http-malformed", "the body is not well-formed HTTP/1.1", "Use an HTTP library.")

    async def receive(self) -> dict[str, Any]:
        """The next part of the body, as ASGI has it."""
        connection = self.connection
        if self.expects and not connection.transport.is_closing():
            connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.expects = False
        if not self.body and self.more_body and not (self.disconnected or self.slow or self.broken):
            connection.flow.resume_reading()
            self.waiter = connection.loop.create_future()
            await self.waiter
        if self.disconnected:
            return {"type": "http.disconnect"}
        chunk, self.body = bytes(self.body), bytearray()
        return {"type": "http.request", "body": chunk, "more_body": self.more_body}

    async def send(self, _message: object) -> None:
        """Not used: what is sent message by message could leave before its event is kept."""
        raise NotImplementedError("reply() lets an answer leave after its event is kept")

    async def reply(self, answer: Answer, request_id: str) -> None:
        """Hand `answer` over to leave once its event is kept; with a body still to come it is the connection's last."""
        flow = self.connection.flow
        if flow.write_paused and not self.disconnected:
            await flow.drain()
        if self.disconnected:
            return
        self.keep_alive = self.keep_alive and not self.more_body
        self.response_complete = True
        head_only = self.scope["method"] == "HEAD"
        data = render(answer, request_id, head_only=head_only, close=not self.keep_alive)
        self.connection.edge.post(self, data)

    def leave(self, data: bytes, *, close: bool = False) -> None:
        """Write the reply now."""
        self.left = True
        connection = self.connection
        if connection.transport.is_closing():  # the caller went away; the event says what was decided
            return
        connection.transport.write(data)
        if close or not self.keep_alive:
            connection.finish()
        connection.on_response_complete()


class Connection(HttpToolsProtocol):
    """A connection with deadlines, refusals that are recorded, and an end that loses no answer.

    Attributes:
        peer: thumbprint of the client's certificate, which TLS has verified; empty without one.
        receiving: a request has begun and not ended.
        headers_done: of the request that is received.
        dead: nothing that comes is read any more.
        fault: why the parser was stopped.
    """

    cycle: Exchange  # type: ignore[assignment]  # what uvicorn's protocol reads of its cycle, and no more

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        application: HasEdge = config.loaded_app  # it is served with this protocol only
        self.edge = application.edge
        self.settings = self.edge.settings
        self.most_header_bytes = self.settings.max_header_bytes
        self.most_headers = self.settings.max_headers
        self.parser = httptools.HttpRequestParser(self)  # the inherited one accepts data after "connection: close"
        self.peer = ""
        self.wait = Wait.OPENING
        self.due = math.inf
        self.receiving = False
        self.headers_done = False
        self.body_since = 0.0
        self.body_bytes = 0
        self.dead = False
        self.fault: FastnessError | None = None
        self._linger_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Read the peer's certificate, once, and join the others."""
        super().connection_made(transport)
        secured: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if secured is not None and (der := secured.getpeercert(binary_form=True)):
            self.peer = thumbprint(der)
        if self.edge.join(self):
            self.wait_for(Wait.OPENING, self.settings.header_deadline_s)
            return
        self.dead = True
        text = f"more than {self.settings.max_connections} connections are open"
        self.edge.refuse(self, Unavailable("connections-exceeded", text, "Close idle connections, or try again later."))

    def connection_lost(self, exc: Exception | None) -> None:
        self.due = math.inf
        self.edge.part(self)
        self.pipeline.clear()
        super().connection_lost(exc)

    def wait_for(self, what: Wait, seconds: float) -> None:
        """From now on, `what` is due in `seconds`."""
        self.wait = what
        self.due = self.loop.time() + seconds

    def check(self, now: float) -> None:
        """Do what is due: refuse slow headers and bodies, close what is idle, drop what does not end."""
        if now < self.due and not (self.wait is Wait.BODY and self._crawls(now)):
            return
        if self.wait is Wait.HEADERS:
            text = f"the headers did not end within {self.settings.header_deadline_s:g} s"
            self.fault = Invalid("header-too-slow", text, "Send a request at once.")
            self.refuse()
        elif self.wait is Wait.BODY:
            self.cycle.slow = True
            self.cycle.set()
            self.wait_for(Wait.REPLY, self.settings.reply_deadline_s)
        elif self.wait in {Wait.OPENING, Wait.IDLE}:
            self.transport.close()
            self.wait_for(Wait.LINGER, self.settings.linger_s)
        else:
            self.transport.abort()

    def _crawls(self, now: float) -> bool:
        elapsed = now - self.body_since - self.settings.body_grace_s
        return elapsed > 0 and self.body_bytes < self.settings.min_body_rate * elapsed and not self.flow.read_paused

    def refuse(self) -> None:
        """Refuse what is no request, for its `fault`. Nothing more is read of this connection."""
        error = self.fault or Invalid(
            "http-malformed", "this is not well-formed HTTP/1.1", "Use an HTTP library; headers come once and unfolded."
        )
        self.dead = True
        exchange: Exchange | None = self.cycle
        self.wait_for(Wait.REPLY, self.settings.reply_deadline_s)
        if exchange is None or exchange.left:
            self.edge.refuse(self, error)
        elif self.receiving and self.headers_done and exchange.more_body:
            exchange.broken = True  # the body of a request on its way: the application answers
            exchange.set()
        else:
            exchange.keep_alive = False  # behind a good request: that one is still answered
            self.edge.note(error)

    def leave(self, data: bytes, *, close: bool = True) -> None:  # noqa: ARG002 - what is no request always ends it
        """Send the answer to what was no request."""
        if self.transport.is_closing():
            return
        self.transport.write(data)
        self.receiving = True
        self.finish()

    def finish(self) -> None:
        """Close; where the caller may still be sending, only after it had the time to read the answer."""
        self.dead = True
        self.pipeline.clear()
        if not self.receiving or self.transport.is_closing():
            self.transport.close()
            return
        self.wait_for(Wait.LINGER, self.settings.linger_s)
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def throw_away(self, size: int) -> None:
        """Count what is read only to be thrown away."""
        self._linger_bytes += size
        if self._linger_bytes > MAX_LINGER_BYTES:
            self.transport.abort()

    def shutdown(self) -> None:
        """Close, or have the reply on its way be the last."""
        exchange: Exchange | None = self.cycle
        if exchange is None or exchange.left:
            self.transport.close()
        else:
            exchange.keep_alive = False
