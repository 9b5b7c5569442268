"""What a connection of the control plane shows of its caller, and what a request signs: read once, off no header.

Only the TLS layer puts a thumbprint into a scope; whatever a header says of certificates is not looked at.
"""

from __future__ import annotations

import ssl
from typing import Any

from fastness.access.possession.signatures import Head
from fastness.foundation.crypto.certificates import thumbprint
from fastness.gateway import PEER_KEY
from fastness.interfaces.api.connections import BoundedProtocol

_SIGNING = frozenset({b"signature", b"signature-input"})


class PeerProtocol(BoundedProtocol):
    """One connection, which also tells the application the thumbprint of the client's certificate."""

    _peer = ""

    def connection_made(self, transport: Any) -> None:
        """Read the certificate, once; TLS has verified it."""
        super().connection_made(transport)
        secured: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if secured is not None and (der := secured.getpeercert(binary_form=True)):
            self._peer = thumbprint(der)

    def on_message_begin(self) -> None:
        """Have a scope ready for what comes."""
        super().on_message_begin()
        if self._peer:
            scope: Any = self.scope
            scope[PEER_KEY] = self._peer


def peer_of(scope: Any) -> str:
    """The thumbprint of the client's certificate; empty without one."""
    peer: str = scope.get(PEER_KEY, "")
    return peer


def signed_head(scope: Any) -> Head | None:
    """The request as a signature sees it; None where it does not say that it is signed."""
    if not any(bytes(name).lower() in _SIGNING for name, _ in scope["headers"]):
        return None
    fields = tuple((bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in scope["headers"])
    host = next((value for name, value in fields if name.lower() == "host"), "")
    path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    return Head(scope["method"], host, path, query, fields, scope["scheme"])
