"""What stands before every route of the control plane, in one ASGI layer that each route goes through.

In this order: who asks, how often they may, has this request been answered before; then the handler; then whether the
handler asked for the permission that its route declares. Nothing good leaves a handler that did not.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from fastness.access.possession.signatures import SignedRequest
from fastness.core.errors import FastnessError, Invalid, TooLarge
from fastness.foundation.storage import replies
from fastness.interfaces.api.approving import Approvable
from fastness.interfaces.api.conditions import PROBE, Conditions, entity_tag, meets
from fastness.interfaces.api.doors import Caller, Doors
from fastness.interfaces.api.headers import CHANGING, AsgiApp, header_of
from fastness.interfaces.api.masking import masked
from fastness.interfaces.api.routes import Door, door_of
from fastness.wire import problems
from fastness.wire.overview import Proof
from fastness.wire.rules import Operation

LARGEST_BODY = 1 << 20
_LARGEST_KEPT = 1 << 18
_LONGEST_KEY = 255
_GOOD = 400
_MOST_FIELDS = 20
_FAULT = problems.encode(FastnessError("internal", "the house made a mistake; its log says more"))
_PROBLEM = (b"content-type", problems.CONTENT_TYPE.encode())
_log = logging.getLogger(__name__)


class Gate:
    """The layer around one handler.

    Args:
        app: what comes behind it.
    """

    def __init__(self, app: AsgiApp, doors: Doors, kept: replies.Replies, conditions: Conditions) -> None:
        self._app = app
        self._doors = doors
        self._replies = kept
        self._conditions = conditions

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Let one request through, or raise what is to be answered."""
        door = door_of(scope["route_handler"])
        if PROBE in scope:
            await self._probe(scope, receive, send)
            return
        form: dict[str, str] = {}
        if door.form and scope["method"] == "POST":
            body = await _whole(receive)
            form, receive = _fields(scope, body), _replayed(body)
        caller = await asyncio.to_thread(self._doors.come_in, scope, door, form)
        if caller.signed is not None:
            receive = await _as_signed(caller.signed, receive, streams=door.streams)
        if door.streams:
            await self._app(scope, receive, _Checked(send, door, caller))
            return
        if door.permission is not None and not door.form:
            body = await _whole(receive)
            caller.approvable, receive = Approvable(caller.scope, _operation(scope, body)), _replayed(body)
        answer = _Held()
        try:
            async with self._conditions.held(scope) if _is_conditional(scope, door) else contextlib.nullcontext():
                await self._answer(scope, receive, answer)
        except FastnessError as error:
            await self._settle(caller, error.status)
            raise
        await self._settle(caller, answer.status)
        if _is_undecided(answer.status, door, caller):
            answer.fault()
        await answer.leave(scope, send)

    async def _probe(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer what the house asks itself in the name of a caller that it knows: what stands now."""
        known: Caller = scope[PROBE]
        door = door_of(scope["route_handler"])
        caller = replace(
            known, route=f"GET {scope['path']}", decided=set(), approvable=None, cookies=[], personal=door.personal,
            masked=False,
        )  # fmt: skip
        scope.setdefault("state", {})["caller"] = caller
        answer = _Held()
        await self._app(scope, receive, answer)
        answer.mask(caller)
        if _is_undecided(answer.status, door, caller):
            answer.fault()
        await answer.leave(scope, send)

    async def _answer(self, scope: Any, receive: Any, answer: _Held) -> None:
        """Have the handler answer, or what was kept of its answer."""
        door = door_of(scope["route_handler"])
        key = header_of(scope, b"idempotency-key")
        if key and scope["method"] == "POST" and door.proof is Proof.CREDENTIAL:
            await self._once(scope, receive, answer, key.decode("latin-1"))
        else:
            await self._app(scope, receive, answer)
            answer.mask(scope["state"]["caller"])

    async def _settle(self, caller: Caller, status: int) -> None:
        """Take back what was put down for what was then refused. After a fault nobody knows what came of it: it stays."""
        if not _GOOD <= status < FastnessError.status:
            return
        asked = caller.approvable
        if asked is not None and asked.taken:
            await asyncio.to_thread(self._doors.approvals.give_back, asked)
        if caller.noted:
            await asyncio.to_thread(self._doors.separation.forget, caller.scope, caller.credential, caller.noted)

    async def _once(self, scope: Any, receive: Any, answer: _Held, key: str) -> None:
        """Have a request with an idempotency key done once, and answer its repetition as it was answered first."""
        if len(key) > _LONGEST_KEY or not key.isprintable():
            raise Invalid("idempotency-key", f"an idempotency key is up to {_LONGEST_KEY} printable characters")
        door, caller = door_of(scope["route_handler"]), scope["state"]["caller"]
        body = await _whole(receive)
        line = b"\0".join((scope["method"].encode(), scope["raw_path"], scope["query_string"], body))
        fingerprint = hashlib.sha256(line).digest()
        clock = self._doors.clock
        kept = await asyncio.to_thread(self._replies.claim, caller.scope, key, fingerprint, clock.now())
        if kept is not None:
            # What was permitted then is not asked again: the answer tells its owner nothing new.
            caller.decided.update({door.permission} if door.permission else ())
            answer.take(kept)
            return
        try:
            await self._app(scope, _replayed(body), answer)
        except Exception:
            await asyncio.to_thread(self._replies.forget, caller.scope, key, clock.now())
            raise
        answer.mask(caller)
        if answer.status >= _GOOD:
            await asyncio.to_thread(self._replies.forget, caller.scope, key, clock.now())
        elif (
            not door.shown_once and not _is_undecided(answer.status, door, caller) and len(answer.body) <= _LARGEST_KEPT
        ):
            reply = replies.KeptReply(answer.status, answer.media_type, answer.body)
            await asyncio.to_thread(self._replies.keep, caller.scope, key, reply, clock.now())


class _Held:
    """A `send` that holds the answer until it is known to be good."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self._headers: list[tuple[bytes, bytes]] = []

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._headers = [(bytes(name).lower(), bytes(value)) for name, value in message["headers"]]
        elif message["type"] == "http.response.body":
            self.body += bytes(message.get("body", b""))

    @property
    def media_type(self) -> str:
        """The content type, or empty."""
        return next((value.decode("latin-1") for name, value in self._headers if name == b"content-type"), "")

    def mask(self, caller: Caller) -> None:
        """Hide what is personal, where a rule obliges to it."""
        if caller.masked and self.status < _GOOD and self.body:
            self.body = masked(self.body, caller.personal)

    def take(self, kept: replies.KeptReply) -> None:
        """Answer as before."""
        self.status, self.body = kept.status, kept.body
        self._headers = [(b"content-type", kept.media_type.encode("latin-1")), (b"idempotency-replayed", b"true")]

    def fault(self) -> None:
        """Answer that the house made a mistake, and nothing else."""
        self.status, self.body = FastnessError.status, _FAULT
        self._headers = [_PROBLEM]

    async def leave(self, scope: Any, send: Any) -> None:
        """Send it: what may be compared gets an entity tag, and what the caller has already is not sent again."""
        headers = [pair for pair in self._headers if pair[0] not in {b"content-length", b"cache-control"}]
        body, status = self.body, self.status
        if scope["method"] == "GET" and status == 200 and not any(name == b"etag" for name, _ in headers):
            tag = entity_tag(body)
            headers.append((b"etag", tag))
            if meets(header_of(scope, b"if-none-match"), tag, weakly=True):
                status, body = 304, b""
        headers += [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
        if status not in {204, 304}:
            headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


class _Checked:
    """A `send` for answers that flow: the check is made before the first byte leaves."""

    def __init__(self, send: Any, door: Door, caller: Caller) -> None:
        self._send = send
        self._closed = False
        self._door = door
        self._caller = caller

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start" and _is_undecided(message["status"], self._door, self._caller):
            self._closed = True
            start = {"type": "http.response.start", "status": FastnessError.status, "headers": [_PROBLEM]}
            await self._send(start)
            await self._send({"type": "http.response.body", "body": _FAULT, "more_body": False})
        if not self._closed:
            await self._send(message)


def _is_conditional(scope: Any, door: Door) -> bool:
    """Whether conditions are looked after here."""
    return scope["method"] in CHANGING and door.proof is Proof.CREDENTIAL and not (door.replaces or door.form)


def _is_undecided(status: int, door: Door, caller: Caller) -> bool:
    """Whether a good answer comes without the permission that its route declares; a fault of the program."""
    if status >= _GOOD or door.permission is None or door.permission in caller.decided:
        return False
    _log.error("%s answered without asking for %s", caller.route, door.permission)
    return True


async def _whole(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Invalid("client-disconnected", "the caller went away before the answer")
        body += message.get("body", b"")
        if len(body) > LARGEST_BODY:
            raise TooLarge("body-too-large", f"the body is larger than {LARGEST_BODY} bytes", "Send less at once.")
        more = message.get("more_body", False)
    return body


def _operation(scope: Any, body: bytes) -> Operation:
    path, query = scope["raw_path"].partition(b"?")[0], scope["query_string"]
    return Operation.of(scope["method"], path.decode("latin-1"), query.decode("latin-1"), body)


def _fields(scope: Any, body: bytes) -> dict[str, str]:
    """The fields of a form. Raises Invalid where it is none, or a field comes twice."""
    kind = header_of(scope, b"content-type").partition(b";")[0].strip().lower()
    malformed = Invalid("form-malformed", "this is no form of the console", "Load the page again.")
    if kind != b"application/x-www-form-urlencoded":
        raise malformed
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except (ValueError, UnicodeDecodeError) as error:
        raise malformed from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise malformed
    return fields


async def _as_signed(signed: SignedRequest, receive: Any, *, streams: bool) -> Callable[[], Awaitable[Any]]:
    """`receive`, which gives what was signed and nothing else: held against it before the handler runs, unless it flows.

    Raises:
        Unauthenticated: the body is another.
    """
    if streams:
        return _held_against(signed, receive)
    body = await _whole(receive)
    signed.check(body)
    return _replayed(body)


def _held_against(signed: SignedRequest, receive: Any) -> Callable[[], Awaitable[Any]]:
    """`receive`, which raises Unauthenticated instead of giving the last of a body that is not the one that was signed."""

    async def checked() -> Any:
        message = await receive()
        if message["type"] == "http.request":
            signed.body.update(message.get("body", b""))
            if not message.get("more_body", False):
                signed.body.finish()
        return message

    return checked


def _replayed(body: bytes) -> Callable[[], Awaitable[dict[str, Any]]]:
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
