"""The one protocol subclass: uvicorn's httptools protocol, made strict, with deadlines and limits.

It rests on the inside of uvicorn 0.54 (pinned); `tests/attack/test_http.py` holds each hook. What it adds, with
`connection`: a deadline and a size for each block of headers, a deadline and a least rate for each body, an idle and a reply
deadline, a bound on pipelined requests and on connections; problem+json and an event where the parser refuses; replies that
leave only after the journal was flushed. What it misses: a bound on connections by address, for callers behind one proxy
share theirs.

Source: RFC 9112, sections 2.2, 3.2, 6.3 and 11.2 (request smuggling).
"""

from __future__ import annotations

from typing import Any, NoReturn

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from fastness.core.errors import Invalid
from fastness.gateway.connection import PEER_KEY, SCOPE_KEY, Connection, Exchange, Wait

MAX_PIPELINED = 16
_ASGI = {"version": "3.0", "spec_version": "2.3"}


class EdgeProtocol(Connection):
    """One connection. The application is one with an `edge`, which all its connections share."""

    _head_bytes = 0
    _head_count = 0
    _head_seen = 0

    def data_received(self, data: bytes) -> None:
        """Have `data` parsed; what is no HTTP ends the connection."""
        if self.dead:
            self.throw_away(len(data))
            return
        if self.wait is Wait.IDLE or self.wait is Wait.OPENING:
            self._head_seen = 0
            self.wait_for(Wait.HEADERS, self.settings.header_deadline_s)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.refuse()
            return
        if self.wait is Wait.HEADERS:
            # A header that has not ended yet was reported by nobody: bound what the parser holds of it.
            self._head_seen += len(data)
            if self._head_seen > self.settings.max_header_bytes:
                self.fault = self._too_large()
                self.refuse()

    def on_message_begin(self) -> None:
        """Have a scope ready for what comes, and its deadline."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        scope: Any = {
            "type": "http",
            "asgi": _ASGI,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "headers": self.headers,
        }
        self.scope = scope
        self.receiving = True
        self.headers_done = False
        self._head_bytes = self._head_count = 0
        if self.wait is not Wait.HEADERS:
            self._head_seen = 0
            self.wait_for(Wait.HEADERS, self.settings.header_deadline_s)

    def _overflow(self) -> NoReturn:
        self.fault = self._too_large()
        raise self.fault

    def _too_large(self) -> Invalid:
        text = f"the request line and headers are more than {self.settings.max_header_bytes} bytes, or too many"
        return Invalid("headers-too-large", text, "Send fewer and shorter ones.")

    def on_url(self, url: bytes) -> None:
        self._head_bytes += len(url)
        if self._head_bytes > self.most_header_bytes:
            self._overflow()
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, if there is room for it."""
        self._head_bytes += len(name) + len(value)
        self._head_count += 1
        if self._head_bytes > self.most_header_bytes or self._head_count > self.most_headers:
            self._overflow()
        if self.headers_done:
            return  # a trailer: it comes after all that was decided on the headers, and changes nothing
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Begin the exchange, or queue it behind the one on its way."""
        parser = self.parser
        if parser.should_upgrade():
            text = "no other protocol is spoken here"
            self.fault = Invalid("upgrade-unsupported", text, "Leave out Upgrade and CONNECT.")
            raise self.fault
        version = parser.get_http_version()
        if not self.url.startswith(b"/") or version not in {"1.1", "1.0"}:
            text = "the request line holds no path, or another version than HTTP/1.1"
            self.fault = Invalid("http-malformed", text, "Begin the target with a slash.")
            raise self.fault
        if len(self.pipeline) >= MAX_PIPELINED:
            text = f"more than {MAX_PIPELINED} requests wait on one connection"
            self.fault = Invalid("pipeline-too-long", text, "Wait for replies, or open more connections.")
            raise self.fault
        self.headers_done = True
        self._head_bytes = self._head_count = 0  # trailers have the same room again
        self.wait_for(Wait.BODY, self.settings.body_deadline_s)
        self.body_since, self.body_bytes = self.due - self.settings.body_deadline_s, 0
        path, _, query = self.url.partition(b"?")
        scope: Any = self.scope
        scope["http_version"] = version
        scope["method"] = parser.get_method().decode("ascii")
        scope["path"] = path.decode("latin-1")  # what is served needs no escapes, so nothing is decoded
        scope["raw_path"] = path
        scope["query_string"] = query
        if self.peer:
            scope[PEER_KEY] = self.peer
        self._begin(keep_alive=version == "1.1" and parser.should_keep_alive())

    def _begin(self, *, keep_alive: bool) -> None:
        earlier: Exchange | None = self.cycle
        scope: Any = self.scope
        self.cycle = exchange = Exchange(self, scope, keep_alive=keep_alive, expects=self.expect_100_continue)
        scope[SCOPE_KEY] = exchange
        if earlier is None or earlier.left:
            self.edge.runners.run(exchange.run_asgi)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))  # type: ignore[arg-type]  # as its cycle

    def on_body(self, body: bytes) -> None:
        exchange = self.cycle
        self.body_bytes += len(body)
        if exchange.response_complete:
            self.throw_away(len(body))
            return
        exchange.body += body
        if len(exchange.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        exchange.set()

    def on_message_complete(self) -> None:
        self.receiving = False
        self.cycle.more_body = False
        self.cycle.set()
        if self.wait is Wait.BODY:
            self.wait_for(Wait.REPLY, self.settings.reply_deadline_s)

    def on_response_complete(self) -> None:
        """Begin the exchange that waits, or wait for the next request."""
        self.server_state.total_requests += 1
        if self.wait is Wait.LINGER or self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            waiting: Any = self.pipeline.pop()[0]
            self.edge.runners.run(waiting.run_asgi)
        elif not self.receiving and not self.dead:
            self.wait_for(Wait.IDLE, self.settings.keep_alive_s)
