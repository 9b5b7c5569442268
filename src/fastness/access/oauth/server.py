"""Authlib's authorization server over this house's records: who the client is, and what a token is made of.

Authlib walks the grants; what it leaves open or takes too lightly is closed here:
- a client authenticates in exactly one way, the one it was made with, and two ways in one request are refused; an
  unknown client, a wrong secret and a wrong method look alike;
- parameters that could break its error texts are refused before it sees them;
- every redirection carries `iss` (RFC 9207).

One server lives as long as one request: it holds the transaction.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any, Final, NoReturn, cast
from urllib.parse import unquote_plus

from authlib.common.urls import add_params_to_uri
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import (
    AuthorizationServer,
    InvalidClientError,
    InvalidScopeError,
    OAuth2Payload,
    OAuth2Request,
)

from fastness.access import records as principals
from fastness.access import tokens
from fastness.access.apikeys import base62
from fastness.access.oauth import records
from fastness.access.oauth.clients import Client, GrantType, client_of, secret_is_right
from fastness.access.oauth.parts import OAuth, Reply, Request
from fastness.access.oauth.records import FamilyRow, Owner
from fastness.access.restrictions import barred
from fastness.access.tokens import Grantee, Rights, parse_scope
from fastness.access.tokens.jose import open_jws, seconds, strict_object, text, unbase64
from fastness.core.clock import SECOND, later, uuid7
from fastness.core.errors import FastnessError, Invalid, Unauthenticated
from fastness.core.events import Detail, EventKind
from fastness.foundation.storage import Transaction

FAMILY_LIFE_S: Final = 30 * 86_400.0
"""Seconds after which a person logs in again, however often the tokens were refreshed."""
REFRESH_LIFE_S: Final = 7 * 86_400.0
"""Seconds after which a refresh token that nobody used is void."""
METHODS: Final = ("none", "client_secret", "private_key_jwt")

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_LIFE_S = 300
# What Authlib repeats in texts that RFC 6749, section 5.2, confines to %x20-21 / %x23-5B / %x5D-7E.
_TAME = re.compile(r"[ !#-\[\]-~]{0,2048}", re.ASCII)
_REPEATED = ("client_id", "redirect_uri", "response_type", "grant_type", "scope", "code_challenge_method")


class _Payload(OAuth2Payload):
    """The parameters, each once."""

    def __init__(self, parameters: dict[str, str]) -> None:
        self._parameters = parameters

    @property
    def data(self) -> dict[str, str]:
        return self._parameters

    @property
    def datalist(self) -> dict[str, list[str]]:
        return {name: [value] for name, value in self._parameters.items()}


class ServerRequest(OAuth2Request):
    """A request as Authlib wants it. That it came over TLS is the business of whoever serves it."""

    def __init__(self, request: Request) -> None:
        super().__init__(request.method, "https://fastness.invalid/")
        self.plain = request
        self.payload = _Payload(request.parameters)

    @property
    def args(self) -> dict[str, str]:
        """Parameters of a query."""
        return self.plain.parameters if self.method == "GET" else {}

    @property
    def form(self) -> dict[str, str]:
        """Parameters of a form."""
        return self.plain.parameters if self.method == "POST" else {}


@dataclass(frozen=True, slots=True)
class Basis:
    """On what a token is given.

    Attributes:
        owner: in whose name it acts.
        family: of refresh tokens that it belongs to, and that it is revoked with.
        new_family: whether this is the first of that family.
        thumbprint: what the family is bound to.
    """

    owner: Owner
    family: str = ""
    new_family: bool = False
    thumbprint: str = ""


class Server(AuthorizationServer):
    """The server of one request."""

    def __init__(self, tx: Transaction, oauth: OAuth) -> None:
        super().__init__()
        self.tx = tx
        self.oauth = oauth
        self.request: Request | None = None
        self.noted = False

    def query_client(self, client_id: str) -> Client | None:
        """The client in good standing in the tenant of the transaction."""
        return client_of(self.tx, client_id)

    def create_oauth2_request(self, request: object) -> ServerRequest:
        """The request as Authlib wants it.

        Raises:
            OAuth2Error: a parameter holds what no such parameter holds.
        """
        if isinstance(request, ServerRequest):
            return request
        plain = cast("Request", request)
        self.request = plain
        if any(not _TAME.fullmatch(plain.parameters.get(name, "")) for name in _REPEATED):
            raise OAuth2Error(error="invalid_request", description="A parameter holds characters that it cannot hold.")
        return ServerRequest(plain)

    def handle_response(self, status: int, body: object, headers: list[tuple[str, str]]) -> Reply:
        """The plain reply; redirections say who sends them (RFC 9207)."""
        location = next((value for name, value in headers if name == "Location"), "")
        kept = [(name, value) for name, value in headers if name != "Location"]
        if location:
            location = add_params_to_uri(location, [("iss", self.oauth.issuer.name)])
            kept += [("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer")]
        return Reply(303 if location else status, body if isinstance(body, dict) else {}, kept, location)

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Nobody listens."""

    def save_token(self, token: object, request: object) -> None:
        """Tokens are recorded where they are made."""

    def validate_requested_scope(self, scope: str | None) -> None:
        """Refuse a scope that names what there is not.

        Raises:
            InvalidScopeError: it does.
        """
        rights_of(scope or "")

    def authenticate_client(self, request: ServerRequest, methods: object, endpoint: str = "token") -> Client:
        """The client that asks, by the one method that it was made with.

        Raises:
            InvalidClientError: it is not; the record says why.
        """
        del methods, endpoint  # each client has one method, for all endpoints
        plain = request.plain
        presented = _presented(plain)
        if presented is None:
            self._refuse_client("", "client-credentials-twice")
        method, client_id, secret = presented
        client = self.query_client(client_id) if client_id else None
        if method == "private_key_jwt":
            good = client is not None and self._asserted(client, secret)
        else:
            good = method == "none" or secret_is_right(self.oauth, client, secret)
        if client is None or client.method != method or not good:
            self._refuse_client(client_id if client else "", "client-unknown" if client is None else "client-refused")
        request.auth_method = method
        request.client = client
        return client

    def generate_token(
        self, grant_type: str, client: Client, user: Basis | None = None, scope: str | None = None, **more: Any
    ) -> dict[str, Any]:
        """An access token, with a refresh token where asked for and the client may have one.

        Raises:
            InvalidScopeError: nothing would be left to permit.
        """
        assert user is not None
        del grant_type  # all ways lead to the same kind of token
        rights = rights_of(scope or "").met(client.rights)
        if rights.empty():
            raise InvalidScopeError
        refreshing = bool(more.get("include_refresh_token")) and GrantType.REFRESH in client.grants
        family = user.family or (uuid7(self.tx.now, self.tx.events.entropy) if refreshing else "")
        thumbprint = user.thumbprint or (self.request.thumbprint if self.request else "")
        owner = user.owner
        token = tokens.issue(
            self.tx,
            self.oauth.issuer,
            Grantee(
                owner.principal,
                rights,
                owner.strength,
                owner.authenticated_at,
                client.client_id,
                family,
                thumbprint=thumbprint,
            ),
        )
        reply: dict[str, Any] = {
            "token_type": "Bearer",
            "access_token": token.text,
            "expires_in": token.life_s,
            "scope": rights.scope(),
        }
        if refreshing:
            if user.new_family or not user.family:
                ends = later(self.tx.now, FAMILY_LIFE_S)
                row = FamilyRow(family, client.client_id, owner, rights.scope(), thumbprint, ends, revoked=False)
                records.add_family(self.tx, row)
            reply["refresh_token"] = self.new_refresh(family)
        return reply

    def new_refresh(self, family: str) -> str:
        """A fresh refresh token of the family."""
        refresh = f"fsr_{base62(self.tx.events.entropy(32))}"
        records.add_refresh(self.tx, self.oauth.digest("refresh", refresh), family, later(self.tx.now, REFRESH_LIFE_S))
        return refresh

    def is_active(self, owner: Owner) -> bool:
        """Whether a principal is still in good standing."""
        found = principals.find_principals(self.tx, owner.principal).get(owner.principal)
        return found is not None and found.active and not barred(self.tx, owner.principal, "", self.tx.now)

    def note_failure(self, resource: str, reason: str) -> None:
        """Record that something was refused."""
        self.noted = True
        details: dict[str, Detail] = {"method": "oauth2"}
        self.tx.emit(self.tx.events.make(EventKind.AUTHENTICATION_FAILED, resource, reason=reason, details=details))

    def _refuse_client(self, client_id: str, reason: str) -> NoReturn:
        self.note_failure(f"client:{client_id}" if client_id else "client", reason)
        raise InvalidClientError(status_code=401, description="The client is not known, or did not prove who it is.")

    def _asserted(self, client: Client, assertion: str) -> bool:
        """Whether the client's own key signed the assertion, for this server, once. RFC 7523, section 3."""
        now_s = self.tx.now // SECOND
        try:
            claims = open_jws(
                assertion.encode("utf-8", "replace"), (None, "JWT", "client-authentication+jwt"), client.keys
            )
            token_id, expires = text(claims, "jti", 128), seconds(claims, "exp")
            issued = seconds(claims, "iat") if "iat" in claims else now_s
        except Unauthenticated:
            return False
        to_us = (
            claims.get("aud") in {self.oauth.issuer.name, self.oauth.address("token")}
            if isinstance(claims.get("aud"), str)
            else False
        )
        named = claims.get("iss") == claims.get("sub") == client.client_id
        timely = now_s < expires <= now_s + _ASSERTION_LIFE_S and issued <= now_s + 5
        return (
            to_us
            and named
            and timely
            and self.oauth.once(self.tx, f"client-assertion:{client.client_id}:{token_id}", expires - now_s + 1)
        )


def rights_of(scope: str) -> Rights:
    """The rights in a scope.

    Raises:
        InvalidScopeError: it names what there is not.
    """
    try:
        return parse_scope(scope)
    except Invalid as error:
        raise InvalidScopeError from error


def _presented(request: Request) -> tuple[str, str, str] | None:
    """Method, client and secret of a request; None where it brings two of them. RFC 6749, section 2.3."""
    form = request.parameters
    by_header = request.authorization is not None
    by_secret, by_key = "client_secret" in form, "client_assertion" in form or "client_assertion_type" in form
    if by_header + by_secret + by_key > 1:
        return None
    client_id = form.get("client_id", "")
    if by_header:
        named, secret = _basic(request.authorization or "")
        return None if client_id not in {"", named} else ("client_secret", named, secret)
    if by_secret:
        return "client_secret", client_id, form["client_secret"]
    if by_key:
        right = form.get("client_assertion_type") == _ASSERTION_TYPE
        assertion = form.get("client_assertion", "") if right else ""
        named = client_id or asserted_client(assertion)
        return "private_key_jwt", named, assertion
    return "none", client_id, ""


def asserted_client(assertion: str) -> str:
    """Which client an assertion speaks of; nothing is verified."""
    parts = assertion.split(".")
    try:
        claims = strict_object(unbase64(parts[1].encode("ascii"))) if len(parts) == 3 else {}
    except ValueError:
        return ""
    found = claims.get("sub")
    return found if isinstance(found, str) and len(found) <= 64 else ""


def basic_client(request: Request) -> str:
    """Which client a Basic header speaks of; empty where there is none."""
    return _basic(request.authorization)[0][:64] if request.authorization else ""


def _basic(authorization: str) -> tuple[str, str]:
    """Client and secret of a Basic header; empty where it is none. RFC 6749, section 2.3.1."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic" or len(value) > 512:
        return "", ""
    try:
        client_id, _, secret = base64.b64decode(value, validate=True).decode("ascii").partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return unquote_plus(client_id), unquote_plus(secret)


def translated(server: Server, error: FastnessError) -> Reply:
    """The reply to what the house itself refuses."""
    name = "invalid_scope" if error.code == "scope-invalid" else "invalid_request"
    return server.handle_response(*OAuth2Error(error=name)())
