"""Step 2 of the request path for a request that says that it is signed: its signature counts, or it is refused."""

from __future__ import annotations

from typing import Any

from fastness.access.possession.signatures import Head, SignedRequest, open_request, refuse_replay
from fastness.core.clock import Instant
from fastness.gateway.parts import GatewayParts
from fastness.gateway.record import Request


async def verify(parts: GatewayParts, request: Request, scope: Any) -> SignedRequest:
    """Who signed the request; its body is still to be held against it.

    Raises:
        Unauthenticated: the signature does not count, or came before.
        Unavailable: the snapshot of the keys is stale, or it cannot be told whether it came before.
    """
    now = Instant(request.now)
    signed = open_request(_as_signed(scope), parts.possession.current, parts.signed, now, request.address)
    if not await parts.nonces.once(signed.nonce, now):
        refuse_replay()
    return signed


def _as_signed(scope: Any) -> Head:
    """The request as a signature sees it: nothing decoded."""
    fields = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    host = next((value for name, value in fields if name == "host"), "")
    path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    return Head(scope["method"], host, path, query, fields, scope["scheme"])
