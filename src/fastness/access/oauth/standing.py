"""Tokens looked at and taken back: introspection (RFC 7662) and revocation (RFC 7009).

A client takes back, and looks at, what it was issued itself; one that was made for it looks at any token of its tenant.
Whatever is not good is `active: false` and nothing more. Taking back a refresh token ends its whole family.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from authlib.oauth2.rfc6749 import InvalidClientError
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint

from fastness.access import tokens
from fastness.access.oauth import records
from fastness.access.oauth.clients import Client
from fastness.access.oauth.grants import end_family
from fastness.access.oauth.records import FamilyRow, RefreshRow
from fastness.access.oauth.server import METHODS, Server, ServerRequest
from fastness.access.tokens import Bearer
from fastness.access.tokens.inside import verify_in
from fastness.core.clock import SECOND
from fastness.core.errors import Unauthenticated
from fastness.core.identity import PrincipalId
from fastness.foundation.storage import Transaction


@dataclass(frozen=True, slots=True)
class Found:
    """A token that is good: an access token, or a refresh token with its family."""

    client_id: str
    bearer: Bearer | None = None
    refresh: RefreshRow | None = None
    family: FamilyRow | None = None

    def check_client(self, client: Client) -> bool:
        """Whether it is that client's."""
        return self.client_id == client.client_id

    def is_expired(self) -> bool:
        """It would not have been found."""
        return False

    def is_revoked(self) -> bool:
        """It would not have been found."""
        return False


class Revocation(RevocationEndpoint):
    """RFC 7009."""

    CLIENT_AUTH_METHODS = METHODS
    server: Server

    def authenticate_token(self, request: ServerRequest, client: Client) -> Found | None:
        """The client's own token; that of another is as if it were none, so nobody learns that it is good."""
        self.check_params(request, client)
        found = find(self.server, request.form["token"])
        return found if found is not None and found.check_client(client) else None

    def revoke_token(self, token: Found, request: ServerRequest) -> None:
        """Take it back."""
        del request
        if token.family is not None:
            end_family(self.server.tx, token.family.id, token.family.owner, "revoked-by-client")
        elif token.bearer is not None:
            tokens.revoke(self.server.tx, token.bearer.token_id, token.bearer.principal.id, "revoked-by-client")


class Introspection(IntrospectionEndpoint):
    """RFC 7662."""

    CLIENT_AUTH_METHODS = METHODS
    server: Server

    def authenticate_endpoint_client(self, request: ServerRequest) -> Client:
        """A confidential client: anybody else could try tokens.

        Raises:
            InvalidClientError: it is not.
        """
        client: Client = super().authenticate_endpoint_client(request)
        if client.method == "none":
            raise InvalidClientError(status_code=401, description="Only confidential clients look at tokens.")
        return client

    def query_token(self, token_string: str, token_type_hint: str | None) -> Found | None:
        """The token, if it is good."""
        del token_type_hint
        return find(self.server, token_string)

    def check_permission(self, token: Found, client: Client, request: ServerRequest) -> bool:
        """Its own, or any where it was made for that."""
        del request
        return token.check_client(client) or client.introspects

    def introspect_token(self, token: Found) -> dict[str, Any]:
        """What there is to know of it."""
        issuer = self.server.oauth.issuer
        told: dict[str, Any] = {"active": True, "client_id": token.client_id, "iss": issuer.name}
        if token.family is not None and token.refresh is not None:
            return told | {
                "sub": token.family.owner.principal,
                "scope": token.family.scope,
                "exp": min(token.refresh.expires_at, token.family.expires_at) // SECOND,
                "token_type": "refresh_token",
            }
        assert token.bearer is not None
        bearer = token.bearer
        told |= {
            "sub": bearer.principal.id,
            "aud": issuer.audience,
            "scope": bearer.rights.scope(),
            "jti": bearer.token_id,
            "iat": bearer.issued_at // SECOND,
            "exp": bearer.expires_at // SECOND,
            "token_type": "Bearer",
            "tenant": bearer.principal.tenant,
        }
        if bearer.thumbprint:
            told["cnf"] = {"x5t#S256": bearer.thumbprint}
        if bearer.actors:
            told["act"] = {"sub": bearer.actors[0]}
        return told


def find(server: Server, text: str) -> Found | None:
    """The token in `text`, if it is good now, whoever it was issued to."""
    tx = server.tx
    if text.startswith("fsr_"):
        row = records.find_refresh(tx, server.oauth.digest("refresh", text))
        family = None if row is None else records.find_family(tx, row.family)
        if row is None or family is None or row.used or family.revoked:
            return None
        if min(row.expires_at, family.expires_at) <= tx.now:
            return None
        return Found(family.client_id, refresh=row, family=family)
    try:
        data = text.encode("utf-8", "replace")
        bearer = verify_in(tx, server.oauth.issuer, data, tx.now, None)
    except Unauthenticated:
        return None
    return Found(bearer.client, bearer=bearer) if bearer.principal.tenant == tx.scope.tenant else None


def revoke_all(tx: Transaction, principal: PrincipalId, reason: str) -> int:
    """Take back every token of a principal, refresh tokens too: what "sign out everywhere" is. How many families ended."""
    families = records.families_of(tx, principal)
    for family in families:
        records.mark_family_revoked(tx, family.id)
    tokens.revoke_all(tx, principal, reason)
    return len(families)
