"""What every answer of the control plane carries, also a refusal: what browsers may do with it, and cookies to keep.

And what a request of a browser has to carry: that a page of this house had it sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

from fastness.core.errors import Forbidden

Asgi = Any
"""A scope or a message of ASGI."""
AsgiApp = Callable[[Asgi, Asgi, Asgi], Awaitable[None]]
CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_STRICT: Final = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),  # with `no-referrer` a form's Origin would be `null`
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)

_TLS_ALONE: Final = (b"strict-transport-security", b"max-age=31536000")


def with_headers(app: AsgiApp, origin: str) -> AsgiApp:
    """`app`, each of whose answers carries them; what it says itself stands.

    At `localhost` browsers are not told to stay with TLS: that holds for all ports of a name, whoever answers there.

    Args:
        origin: of the console.
    """
    always = _STRICT if urlsplit(origin).hostname == "localhost" else (*_STRICT, _TLS_ALONE)

    async def answer(scope: Asgi, receive: Asgi, send: Asgi) -> None:
        async def sent(message: Asgi) -> None:
            if message["type"] == "http.response.start":
                headers = [(bytes(name).lower(), bytes(value)) for name, value in message["headers"]]
                said = {name for name, _ in headers}
                headers += [pair for pair in always if pair[0] not in said]
                caller = scope.get("state", {}).get("caller")
                headers += [(b"set-cookie", cookie.encode("latin-1")) for cookie in caller.cookies] if caller else []
                message = {**message, "headers": headers}
            await send(message)

        await app(scope, receive, sent)

    return answer


def header_of(scope: Asgi, wanted: bytes) -> bytes:
    """The value of a header, several joined by commas; empty without one."""
    return b", ".join(bytes(value) for name, value in scope["headers"] if bytes(name).lower() == wanted)


def require_own_page(scope: Asgi, origin: str, *, page: bool) -> None:
    """Return if no page of another origin had a browser send what changes something.

    Args:
        origin: of the console.
        page: whether a page of the console must have sent it: browsers name the origin of every POST.

    Raises:
        Forbidden: `origin-foreign`.

    Source: Fetch Standard, section 3.2; W3C Fetch Metadata, section 2.3.
    """
    if scope["method"] not in CHANGING:
        return
    given, site = header_of(scope, b"origin").decode("latin-1"), header_of(scope, b"sec-fetch-site")
    if (given != origin and (given or page)) or site not in {b"", b"same-origin"}:
        raise Forbidden("origin-foreign", "this was sent by a page of another site", f"Open {origin}/console.")
