"""One principal's calls over one transport: second factors, pages, problems."""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from fastness.client.transport import Body, Reply, Transport
from fastness.core.errors import Forbidden, Unauthenticated, Unavailable
from fastness.wire import control, problems, rules

T = TypeVar("T")
API = "/api/v1"
_FAILED = 400
_ELEVATING = frozenset({"step-up-required", "elevation-refused"})


def decoded(data: bytes, answer: type[T] | None) -> T:
    """The answer in `data`.

    Raises:
        Unavailable: it is another than this client knows.
    """
    try:
        return msgspec.json.decode(data, type=answer)
    except msgspec.MsgspecError as error:
        raise Unavailable(
            "reply-malformed", f"the house gave an answer that this client does not know: {error}"
        ) from error


def next_page(link: str) -> str:
    """The path behind `/api/v1` of the next page that a Link header names; empty where it names none."""
    match = re.fullmatch(r"<(?:https?://[^/>]+)?" + re.escape(API) + r'(/[^>]*)>; rel="next"', link)
    return match[1] if match else ""


class SecondFactor(Protocol):
    """What answers when the house asks for a second factor: a person at a terminal, or a program that asks one.

    Attributes:
        elevation: of the last answer, to be sent along; empty without one. It is set when an answer was right.
    """

    elevation: str

    def answer(self, ways: control.WaysView) -> control.StepUpRequest:
        """A second factor, by one of the `ways`.

        Raises:
            FastnessError: nobody is there to give one.
        """
        ...


class Calls:
    """One principal's calls over one transport.

    Args:
        reason: why others are to approve what takes their word; empty where nobody is to be asked.
    """

    def __init__(
        self, transport: Transport, key: str | Callable[[], str], second: SecondFactor | None, reason: str = ""
    ) -> None:
        self._transport = transport
        self._key = key
        self._second = second
        self._reason = reason

    def send(self, method: str, path: str, body: Body | None, kind: str = "application/json") -> Reply:
        """One request; where it takes the word of others, they are asked for it if there is a reason.

        Raises:
            FastnessError: it was refused; `approval-asked` where others were asked.
        """
        try:
            return self._elevated(method, path, body, kind)
        except Forbidden as error:
            if error.code != "approval-required" or not self._reason or not (body is None or isinstance(body, bytes)):
                raise
            subject, permission = error.subject, error.permission
        reason, self._reason = self._reason, ""
        route, _, query = (API + path).partition("?")
        operation = rules.Operation.of(method, route, query, body or b"")
        wish = rules.ApprovalWish(permission, subject, reason, operation)
        made = self.call("POST", "/approvals", rules.ApprovalRequestView, wish)
        raise Forbidden(
            "approval-asked",
            f"{made.asked.terms.needed} others were asked to approve this: request {made.asked.id}",
            f"They run: fastness access approvals answer {made.asked.id} --as NAME. Then repeat this without --ask.",
            subject,
            permission,
        )

    def _elevated(self, method: str, path: str, body: Body | None, kind: str) -> Reply:
        """One request; where it takes a second factor, that is asked for and the request sent again, once."""
        try:
            return self._send(method, path, body, kind)
        except (Forbidden, Unauthenticated) as error:
            repeatable = body is None or isinstance(body, bytes)
            if self._second is None or error.code not in _ELEVATING or not repeatable:
                raise
        self._second.elevation = ""
        ways = self.call("GET", "/step-ups", control.WaysView)
        given = self._second.answer(ways)
        self._second.elevation = self.call("POST", "/step-ups", control.ElevationReply, given).elevation
        return self._send(method, path, body, kind)

    def _send(self, method: str, path: str, body: Body | None, kind: str) -> Reply:
        key = self._key if isinstance(self._key, str) else self._key()
        headers = {"authorization": f"Bearer {key}"} if key else {}
        if self._second is not None and self._second.elevation:
            headers["fastness-elevation"] = self._second.elevation
        if body is not None:
            headers["content-type"] = kind
        reply = self._transport.send(method, API + path, headers, body)
        if reply.status >= _FAILED:
            raise problems.decode(reply.status, reply.read(), reply.headers)
        return reply

    def call(self, method: str, path: str, answer: type[T] | None, message: msgspec.Struct | None = None) -> T:
        """One request and its decoded answer."""
        data = self.send(method, path, msgspec.json.encode(message) if message is not None else None).read()
        return decoded(data or b"null", answer)

    def all(self, path: str, answer: type[T]) -> builtins.list[T]:
        """Every entry of a list, page by page."""
        found: builtins.list[T] = []
        while path:
            reply = self.send("GET", path, None)
            found += decoded(reply.read(), builtins.list[answer])  # type: ignore[valid-type]
            path = next_page(reply.headers.get("link", ""))
        return found
