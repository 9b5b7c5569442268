"""The request path: a raw ASGI application, all of whose security stands in `Gateway._infer`, readable on one screen.

It knows nothing of the server that carries it. Where that is `EdgeProtocol`, replies leave after a flush shared by all
replies of a loop tick; under any other ASGI server the journal is flushed for each reply.

Steps 1 to 5 are decided on the headers, before a byte of the body is read. Every request leaves an event before its reply
leaves, except successful probes, which decide nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any

from fastness.core.errors import FastnessError, Invalid, Unavailable
from fastness.core.identity import Action
from fastness.gateway.answers import BINARY_HEADERS, JSON_HEADERS, TEXT_HEADERS, Answer, refusal, status_of
from fastness.gateway.connection import PEER_KEY, SCOPE_KEY, Exchange
from fastness.gateway.doors import Doors, Granted, action_of
from fastness.gateway.edge import Edge
from fastness.gateway.head import PROBES, Head, Paths, Target, read_head, too_large
from fastness.gateway.parts import GatewayParts
from fastness.gateway.record import Recorder, Request
from fastness.gateway.settings import GatewaySettings
from fastness.gateway.signed import verify
from fastness.gateway.verdicts import Verdicts
from fastness.guard import Message
from fastness.wire import oip

_log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_LIVE = Answer(200, JSON_HEADERS, b'{"live":true}')
_READY = Answer(200, JSON_HEADERS, b'{"ready":true}')
_SERVER = Answer(200, JSON_HEADERS, b'{"name":"fastness","version":"2","extensions":["binary_tensor_data"]}')


class Gateway:
    """The ASGI application.

    Attributes:
        edge: what all connections share; `EdgeProtocol` finds it here.
    """

    def __init__(self, parts: GatewayParts, settings: GatewaySettings) -> None:
        self._parts = parts
        self._settings = settings
        self._recorder = Recorder(
            parts.journal, parts.metrics, parts.clock, parts.entropy, access_log=settings.access_log
        )
        self.edge = Edge(settings, parts.journal, self._recorder)
        self._paths = Paths()
        self._doors = Doors(parts, settings, self._recorder)
        self._verdicts = Verdicts(allow_review=settings.allow_review)
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise NotImplementedError(f"no {scope['type']} here")
        request = self._recorder.begin()
        exchange: Exchange | None = scope.get(SCOPE_KEY)
        error: FastnessError | None = None
        try:
            answer = await self._answer(request, scope, receive, exchange)
            error = _gone() if exchange is not None and exchange.disconnected else None
        except FastnessError as refused:
            error = refused
            answer = refusal(error, request.id, self._settings.retry_after_s)
        except Exception:  # the face: whatever went wrong inside, nothing of it leaves
            _log.exception("request %s failed", request.id)
            error = FastnessError("internal", "the gateway failed", "Report it with the request id; the log has more.")
            answer = refusal(error, request.id, self._settings.retry_after_s)
        except asyncio.CancelledError:
            self._recorder.record(request, 503, Unavailable("cancelled", "the gateway stopped"))
            raise
        finally:
            self._held_bytes -= request.held
        await self._leave(request, answer, error, exchange, send)
        await self._doors.settle(request)

    async def _answer(self, request: Request, scope: Scope, receive: Receive, exchange: Exchange | None) -> Answer:
        client = scope.get("client")
        request.address = client[0] if client else ""
        request.peer = scope.get(PEER_KEY, "")
        self._doors.at_edge(request)
        target = self._paths.find(scope["raw_path"])
        request.name = target.name
        head = read_head(scope, target, self._settings)
        request.read = target.method == "GET" or head.content_length == 0
        if head.signed:
            request.signed = signed = await verify(self._parts, request, scope)
            if target.method == "GET":
                signed.check(b"")
        if target.name == "infer":
            return await self._infer(request, target, head, receive, exchange)
        return await self._look(request, target, head)

    async def _infer(
        self, request: Request, target: Target, head: Head, receive: Receive, exchange: Exchange | None
    ) -> Answer:
        """The request path of DESIGN section 3."""
        doors, ended = self._doors, request.marks.append
        # 1 edge: deadlines, sizes and strictness stand in `protocol`; blocked addresses, path, method and headers in `_answer`
        # 2 authenticate: by API key, access token or certificate; a signature was verified in `_answer`, but for the body
        who = doors.authenticate(request, head.authorization)
        # 3 restrictions: blocks, throttles, and second factors where they are asked for at the moment
        doors.restrict(request, who, Action.MODEL_INFER, target.model)
        # 4 decide
        granted = doors.decide(request, who, target)
        # 5 rate and quota: all limits at once; what was used instead is settled after the answer
        await doors.take(request, who, target.model, head.content_length)
        ended(perf_counter())
        body = await self._read(request, head, receive, exchange)
        if request.signed is not None:
            request.signed.check(body)
        ended(perf_counter())
        # 6 input stages
        asked = oip.decode_request(body, head.json_length)
        message = Message(asked.inputs, len(body), granted.route.signature)
        self._verdicts.pass_input(request, granted.guard.check_input(message))
        request.rows = _rows(message)
        ended(perf_counter())
        # 7 prepare: features and normalisation, as the signature declares them, come here
        # 8 infer
        outputs = await granted.predictor.predict(dict(message.tensors), self._settings.predict_timeout_s)
        ended(perf_counter())
        # 9 output stages
        reply = Message(outputs, 0, granted.route.signature)
        self._verdicts.pass_output(request, granted.guard.check_output(reply))
        answer = _told(granted, reply, asked)
        ended(perf_counter())
        # 10 record: by the caller, for what was refused above as for what is answered here
        return answer

    async def _read(self, request: Request, head: Head, receive: Receive, exchange: Exchange | None) -> bytes:
        """The body, at most as long as allowed; its bytes count among all that are held until the reply."""
        self._hold(request, head.content_length or 0)
        if exchange is not None and (body := exchange.whole()) is not None and len(body) == head.content_length:
            return body
        limit = self._settings.max_json_bytes if head.json_length is None else self._settings.max_body_bytes
        chunks: list[bytes] = []
        size = 0
        more = True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                raise _gone()
            chunks.append(event.get("body", b""))
            size += len(chunks[-1])
            if size > limit:
                raise too_large(limit)
            self._hold(request, max(0, size - request.held))
            more = event.get("more_body", False)
            if more and exchange is not None:
                exchange.check()
        request.read = True
        return b"".join(chunks)

    def _hold(self, request: Request, size: int) -> None:
        if self._held_bytes + size > self._settings.max_inflight_bytes:
            raise Unavailable("memory-busy", "too many bytes of bodies are held at the moment", "Try again later.")
        self._held_bytes += size
        request.held += size

    async def _look(self, request: Request, target: Target, head: Head) -> Answer:
        """Answers that need no body: probes, and what describes models and the gateway itself."""
        doors = self._doors
        if target.name in PROBES:
            await doors.probe(request, head.authorization)
        if target.name == "live":
            return _LIVE
        if target.name == "server":
            return _SERVER
        if target.name == "ready":
            doors.ready()
            self.edge.flush()
            return _READY
        who = doors.authenticate(request, head.authorization)
        doors.restrict(request, who, action_of(target), target.model)
        if target.name == "metrics":
            doors.may_read_metrics(request, who)
            await doors.take(request, who, "", None)
            self._recorder.settle()
            return Answer(200, TEXT_HEADERS, self._parts.metrics.render())
        if target.name == "model":
            described = doors.describe(request, who, target)
            await doors.take(request, who, target.model, None)
            return Answer(200, JSON_HEADERS, described)
        granted = doors.decide(request, who, target)
        await doors.take(request, who, target.model, None)
        return Answer(200, JSON_HEADERS, b'{"name":"%b","ready":true}' % granted.route.model.encode())

    async def _leave(
        self, request: Request, answer: Answer, error: FastnessError | None, exchange: Exchange | None, send: Send
    ) -> None:
        """Step 10: append the event, then let the answer leave; without the one there is not the other."""
        if error is not None or request.name not in PROBES:
            try:
                status = answer.status if error is None else status_of(error)
                self._recorder.record(request, status, error)
                if exchange is None:
                    self.edge.flush()
            except FastnessError as full:
                _log.error("request %s is not recorded, so not served: %s", request.id, full)
                problem = Unavailable(
                    full.code, "the request cannot be recorded, so it is not served", "Try again later."
                )
                answer = refusal(problem, request.id, self._settings.retry_after_s)
        request.marks.append(perf_counter())
        self._recorder.count(request, answer.status)
        if exchange is not None:
            await exchange.reply(answer, request.id)
        elif error is None or error.code != "client-disconnected":
            await _send(send, answer, request)


def _told(granted: Granted, reply: Message, asked: oip.InferRequest) -> Answer:
    route = granted.route
    response = oip.InferResponse(route.model, granted.version, dict(reply.tensors), asked.id)
    body, length = oip.encode_response(response, asked)
    if length is None:
        return Answer(200, JSON_HEADERS, body)
    return Answer(200, [*BINARY_HEADERS, (oip.LENGTH_HEADER.encode(), str(length).encode())], body)


def _rows(message: Message) -> int:
    for tensor in message.tensors.values():
        return int(tensor.shape[0]) if tensor.ndim else 1
    return 0


def _gone() -> Invalid:
    return Invalid("client-disconnected", "the caller went away before the answer")


async def _send(send: Send, answer: Answer, request: Request) -> None:
    headers = [
        *answer.headers,
        (b"content-length", str(len(answer.body)).encode()),
        (b"x-request-id", request.id.encode()),
    ]
    if not request.read:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def create_app(parts: GatewayParts, settings: GatewaySettings) -> Gateway:
    """The data plane, to be served by uvicorn with `http=EdgeProtocol`, `ws="none"` and `lifespan="off"`."""
    return Gateway(parts, settings)
