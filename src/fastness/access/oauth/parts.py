"""What the authorization server is made of, and the plain requests and replies that go in and out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl

import msgspec

from fastness.access.tokens import Issuer
from fastness.core.clock import Instant
from fastness.core.errors import Invalid
from fastness.core.identity import Action, Principal, Resource
from fastness.core.limits import Limit, LimitKey, Taken
from fastness.foundation.storage import Transaction

_LARGEST = 16_384


class Hash(Protocol):
    """A keyed hash; a key ring's `mac(Purpose.TOKENS)`."""

    def digest(self, data: bytes) -> bytes:
        """HMAC-SHA-256 of `data`."""
        ...


class Rates(Protocol):
    """Who counts attempts; `foundation.storage.Counters`."""

    def take(self, key: LimitKey, limit: Limit, cost: int, now: Instant) -> Taken:
        """Take `cost` from the rate of `key` if it is there."""
        ...


@dataclass(frozen=True)
class OAuth:
    """The authorization server of a house.

    Attributes:
        issuer: whose tokens it gives.
        hash: keys the digests under which codes, tokens and secrets are stored.
        once: `(tx, key, seconds)`, whether `key` comes for the first time; `once_in` of the storage.
        permits: whether a principal may do something now; asked before a token is given to act in its name.
        rates: bounds how often a person may try a device's code.
        pages: origin of the pages on which people decide; empty for that of the issuer.
    """

    issuer: Issuer
    hash: Hash
    once: Callable[[Transaction, str, float], bool]
    permits: Callable[[Principal, Action, Resource], bool]
    rates: Rates
    pages: str = ""

    def digest(self, use: str, text: str) -> bytes:
        """The digest under which `text` is stored, another one for each use."""
        return self.hash.digest(msgspec.json.encode([use, text.encode("utf-8", "surrogatepass")]))

    def address(self, name: str) -> str:
        """Where an endpoint is."""
        return f"{self.issuer.name}/oauth/{name}"

    def page(self, name: str) -> str:
        """Where a page is, on which a person decides."""
        return f"{self.pages or self.issuer.name}/oauth/{name}"


@dataclass(frozen=True, slots=True)
class Request:
    """What came in, each parameter once.

    Attributes:
        parameters: of the query (GET) or of the form (POST).
        authorization: the value of the Authorization header, or None.
        thumbprint: of the client certificate of the connection; empty where it has none.
        network: from where it came, as people are shown it.
    """

    method: str
    parameters: dict[str, str]
    authorization: str | None = None
    thumbprint: str = ""
    network: str = ""

    def __repr__(self) -> str:
        return f"Request({self.method}, {sorted(self.parameters)})"


def read_request(
    method: str, data: bytes, authorization: str | None = None, thumbprint: str = "", network: str = ""
) -> Request:
    """The request whose query or `application/x-www-form-urlencoded` body is `data`.

    Raises:
        Invalid: `oauth-request`: too large, not UTF-8, or a parameter stands twice (RFC 6749, sections 3.1 and 3.2).
    """
    if len(data) > _LARGEST:
        raise Invalid("oauth-request", f"the parameters of a request have at most {_LARGEST} bytes")
    try:
        pairs = parse_qsl(
            data.decode("ascii"), keep_blank_values=True, strict_parsing=bool(data), errors="strict", max_num_fields=40
        )
    except ValueError as error:
        raise Invalid("oauth-request", "the parameters of the request cannot be read") from error
    parameters = {name: value for name, value in pairs if value}  # without a value is as if left out
    if len(dict(pairs)) != len(pairs):
        raise Invalid("oauth-request", "a parameter stands twice in the request", "Send each one once.")
    return Request(method, parameters, authorization, thumbprint, network)


@dataclass(slots=True)
class Reply:
    """What goes out: a JSON body, or a redirection.

    Attributes:
        location: where the browser is sent; empty where it is not.
    """

    status: int
    body: dict[str, Any]
    headers: list[tuple[str, str]]
    location: str = ""

    def __repr__(self) -> str:
        return f"Reply({self.status}, {sorted(self.body)})"
