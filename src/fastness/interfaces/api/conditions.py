"""Conditional requests, for every route at once: nothing is changed that the caller does not know as it stands.

What a request changes is the nearest resource above it that can be looked at alone: `/groups/{group}` for `PUT /groups/{group}` and
`DELETE /groups/{group}/members/{principal}` alike. Its entity tag is that of the answer that a GET by the same caller would get now.

Between the comparison and the change nobody else changes anything of that collection through the API: a request with a condition has
its turn alone. What the house changes by itself (a review's deadline) and a directory service are not held back.

Cost: a GET besides, and only where a condition is given.

Source: RFC 9110, sections 8.8.3 (tags), 13.1.1 and 13.1.2 (strong and weak comparison); RFC 6585, section 3 (428).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator
from typing import Final, NamedTuple
from urllib.parse import quote

from litestar import Litestar

from fastness.core.errors import Forbidden, Invalid, NotFound, Stale
from fastness.interfaces.api.headers import Asgi, header_of

PROBE: Final = "fastness.probe"
"""In the scope of a GET that the house asks of itself, in the name of a caller that it knows; no request can set it."""
_TAG = re.compile(rb'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_OK: Final = 200


def entity_tag(body: bytes) -> bytes:
    """The strong entity tag of a representation: it changes exactly when what is shown changes."""
    return b'"' + hashlib.blake2b(body, digest_size=16).hexdigest().encode() + b'"'


def meets(given: bytes, tag: bytes | None, *, weakly: bool) -> bool:
    """Whether one of the entity tags in a header is `tag`, or any where the header is `*`.

    Args:
        tag: None where there is nothing.
        weakly: as If-None-Match compares; If-Match does not take weak tags for the same.
    """
    if tag is None:
        return False
    if given.strip() == b"*":
        return True
    return any(opaque == tag and (weakly or not weak) for weak, opaque in _TAG.findall(given))


class Unconditional(Invalid):
    """A change has to name what it knows (RFC 6585, section 3)."""

    status = 428


class Place(NamedTuple):
    """What a request changes: the path of it, and the collection in which it takes turns."""

    path: str
    collection: str


class _Given(NamedTuple):
    """The conditions of one request."""

    match: bytes
    none_match: bytes
    demanded: bool

    def require(self, tag: bytes | None) -> None:
        """Return if they hold for what has this tag. Raises Stale or Unconditional."""
        if self.demanded and tag is not None and not (self.match or self.none_match):
            raise Unconditional(
                "if-match-required", "this house changes only what the caller knows", "Send If-Match with its tag."
            )
        unknown = self.match and not meets(self.match, tag, weakly=False)
        if unknown or (self.none_match and meets(self.none_match, tag, weakly=True)):
            raise Stale("precondition-failed", "this was changed since you looked at it", "Look again, then decide.")


class _Turn:
    """Many beside each other, or one alone; in the order in which they came."""

    def __init__(self) -> None:
        self._entry = asyncio.Lock()
        self._idle = asyncio.Event()
        self._idle.set()
        self._inside = 0

    @contextlib.asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        async with self._entry:
            self._inside += 1
            self._idle.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._idle.set()

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        async with self._entry:
            await self._idle.wait()
            yield


class Conditions:
    """The conditions of one application.

    Args:
        demanded: whether PUT and PATCH have to name what they know.
    """

    def __init__(self, *, demanded: bool = False) -> None:
        self._demanded = demanded
        self._shown: frozenset[str] | None = None
        self._turns: dict[str, _Turn] = {}

    @contextlib.asynccontextmanager
    async def held(self, scope: Asgi) -> AsyncIterator[None]:
        """The turn of a request that changes something, once its conditions hold.

        Raises:
            Invalid: `if-match-unheld`: it changes nothing that has a tag; or `if-match-required`.
            Stale: a condition does not hold.
            Forbidden: the caller may not look at what they name.
        """
        match, none_match = header_of(scope, b"if-match"), header_of(scope, b"if-none-match")
        place = self.place(scope["litestar_app"], scope["path_template"], scope["path"])
        if place is None:
            if match:
                hint = "Leave it out."
                raise Invalid(
                    "if-match-unheld", "nothing that has a tag is replaced here, so If-Match cannot be held", hint
                )
            yield
            return
        turn = self._turns.setdefault(place.collection, _Turn())
        given = _Given(match, none_match, demanded=self._demanded and scope["method"] in {"PUT", "PATCH"})
        if not any(given):
            async with turn.beside():
                yield
            return
        async with turn.alone():
            given.require(await _present(scope, place.path))
            yield

    def place(self, app: Litestar, template: str, path: str) -> Place | None:
        """What a request to `path` changes; None where it can not be looked at alone."""
        if self._shown is None:
            self._shown = shown_alone(app)
        parts, segments = plain(template).split("/"), path.rstrip("/").split("/")
        if len(parts) != len(segments):  # a name that holds a slash is no name
            return None
        for count in range(len(parts), 0, -1):
            if "/".join(parts[:count]) in self._shown:
                return Place("/".join(segments[:count]), "/".join(parts[:4]))
        return None


def plain(template: str) -> str:
    """A path of Litestar as OpenAPI writes it: `{version:int}` is `{version}`."""
    return re.sub(r":\w+}", "}", template)


def shown_alone(app: Litestar) -> frozenset[str]:
    """The paths of what can be looked at alone: a GET whose path ends in a name."""
    return frozenset(
        plain(route.path)
        for route in app.routes
        if route.path.endswith("}")
        and not route.path.endswith(":path}")
        and "GET" in getattr(route, "route_handler_map", ())
    )


def is_conditional(app: Litestar, template: str) -> bool:
    """Whether requests to a path can be conditional."""
    parts, shown = plain(template).split("/"), shown_alone(app)
    return any("/".join(parts[:count]) in shown for count in range(len(parts), 0, -1))


async def _present(scope: Asgi, path: str) -> bytes | None:
    """The tag of what a GET by this caller gets now; None where there is nothing.

    Raises:
        Forbidden: they may not look at it.
    """
    dropped = {b"if-match", b"if-none-match", b"idempotency-key", b"content-length", b"content-type"}
    kept = ("type", "asgi", "http_version", "scheme", "root_path", "client", "server")
    asked = {name: scope[name] for name in kept if name in scope} | {
        "method": "GET",
        "path": path,
        "raw_path": quote(path).encode(),
        "query_string": b"",
        "headers": [(name, value) for name, value in scope["headers"] if bytes(name).lower() not in dropped],
        "state": {},
        PROBE: scope["state"]["caller"],
    }
    status, body = 0, b""

    async def send(message: Asgi) -> None:
        nonlocal status, body
        status = message.get("status", status)
        body += bytes(message.get("body", b""))

    async def receive() -> Asgi:
        return {"type": "http.request", "body": b"", "more_body": False}

    await scope["litestar_app"](asked, receive, send)
    if status == Forbidden.status:
        raise Forbidden("if-match-unreadable", "a condition takes the permission to look at what it names")
    if status not in {_OK, NotFound.status}:
        raise Stale("precondition-failed", f"what is to be changed cannot be looked at (status {status})", "Try again.")
    return entity_tag(body) if status == _OK else None
