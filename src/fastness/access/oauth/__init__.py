"""The authorization server: how people, programs and devices get access tokens, and how those are taken back.

A route is three lines: it reads the request (`read_request`), opens a transaction in the scope that `scope_of` gives,
and sends the `Reply` that a function here returns.
"""

from fastness.access.oauth.clients import (
    CLI,
    Client,
    GrantType,
    NewClient,
    Wanted,
    clients,
    create_client,
    new_secret,
)
from fastness.access.oauth.doors import (
    Asked,
    answer,
    answer_device,
    ask,
    ask_device,
    device,
    disable_client,
    introspect,
    metadata,
    revoke,
    scope_of,
    sweep,
    token,
)
from fastness.access.oauth.parts import OAuth, Reply, Request, read_request
from fastness.access.oauth.standing import revoke_all

__all__ = [
    "CLI",
    "Asked",
    "Client",
    "GrantType",
    "NewClient",
    "OAuth",
    "Reply",
    "Request",
    "Wanted",
    "answer",
    "answer_device",
    "ask",
    "ask_device",
    "clients",
    "create_client",
    "device",
    "disable_client",
    "introspect",
    "metadata",
    "new_secret",
    "read_request",
    "revoke",
    "revoke_all",
    "scope_of",
    "sweep",
    "token",
]
