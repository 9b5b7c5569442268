"""Messages of the control plane about OAuth 2 clients and devices that ask to be let in."""

from __future__ import annotations

from typing import Annotated, Any

from fastness.wire.control import Message
from fastness.wire.shapes import Name, described

GRANTS = ("authorization_code", "refresh_token", "client_credentials", "device_code", "token-exchange")
GrantName = Annotated[str, described(enum=list(GRANTS))]
ScopeText = Annotated[str, described(description="actions, and models as model:NAME, with one space between")]
Jwk = dict[str, Any]


class ClientRequest(Message, frozen=True):
    """Makes a client.

    Attributes:
        scope: what its tokens may hold at most.
        principal: the service or agent as whom it acts in its own name; empty where it only acts for people.
        confidential: it gets a secret.
        introspects: it may look at tokens that are not its own.
        jwks: public keys as JWKs with `kid` and `alg`, by which it proves itself instead of by a secret.
    """

    name: Name
    scope: ScopeText
    grants: tuple[GrantName, ...]
    redirects: tuple[str, ...] = ()
    principal: str = ""
    confidential: bool = False
    introspects: bool = False
    jwks: tuple[Jwk, ...] = ()


class ClientReply(Message, frozen=True):
    """A client just made, or its new secret, which is shown this once; empty where it has none."""

    client: str
    secret: str


class ClientKeys(Message, frozen=True):
    """Public keys of a client, as JWKs with `kid` and `alg`, instead of those that it has."""

    keys: tuple[Jwk, ...]


class ClientView(Message, frozen=True):
    """A client without its secret; `keys` names its public keys."""

    client: str
    name: str
    scope: str
    grants: tuple[str, ...]
    redirects: tuple[str, ...]
    principal: str
    confidential: bool
    introspects: bool
    active: bool
    keys: tuple[str, ...] = ()


class DeviceCode(Message, frozen=True):
    """The code that a device shows."""

    code: str


class DeviceView(Message, frozen=True):
    """What a device asks for; no models are all.

    Attributes:
        network: from where it asked; `local` is the machine of the house.
        asked_at: when.
    """

    client: str
    name: str
    actions: tuple[str, ...]
    models: tuple[str, ...] = ()
    network: str = ""
    asked_at: str = ""


class DeviceAnswer(Message, frozen=True):
    """Whether a device is let in."""

    code: str
    granted: bool
