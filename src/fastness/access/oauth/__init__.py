"""The authorization server: how people, programs and devices get access tokens, and how those are taken back.

A route is three lines: it reads the request (`read_request`), opens a transaction in the scope that `doors.scope_of`
gives, and sends the `Reply` that a function of `doors` returns. `clients` makes, lists and ends clients.
"""

from fastness.access.oauth import clients, doors
from fastness.access.oauth.clients import Client, GrantType, NewClient, Wanted
from fastness.access.oauth.doors import Asked
from fastness.access.oauth.parts import OAuth, Reply, Request, read_request
from fastness.access.oauth.standing import revoke_all

__all__ = [
    "Asked",
    "Client",
    "GrantType",
    "NewClient",
    "OAuth",
    "Reply",
    "Request",
    "Wanted",
    "clients",
    "doors",
    "read_request",
    "revoke_all",
]
