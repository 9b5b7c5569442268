"""The ways to a token: authorization code with PKCE, refreshing, a program in its own name, a device.

Codes and refresh tokens work once. Whoever shows one a second time, or as another client, holds a stolen one or was
robbed: the whole family that came from it is revoked, also the access tokens that are still good.

Source: RFC 6749; RFC 7636 (S256 alone, always); RFC 8628; RFC 9700 (best current practices), sections 2.1 and 4.14.
"""

from __future__ import annotations

from typing import Any, Final

from authlib.oauth2.rfc6749 import (
    AccessDeniedError,
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
    UnauthorizedClientError,
)
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, ClientCredentialsGrant, RefreshTokenGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc8628 import (
    AuthorizationPendingError,
    DeviceAuthorizationEndpoint,
    DeviceCodeGrant,
    ExpiredTokenError,
    SlowDownError,
)

from fastness.access import tokens
from fastness.access.apikeys import base62
from fastness.access.oauth import records
from fastness.access.oauth.clients import Client, GrantType
from fastness.access.oauth.records import CodeRow, DeviceRow, FamilyRow, Owner, RefreshRow
from fastness.access.oauth.server import METHODS, Basis, Server, ServerRequest, rights_of
from fastness.access.tokens import Rights
from fastness.access.tokens.rights import EVERYTHING
from fastness.core.clock import Entropy, later, uuid7
from fastness.core.identity import Principal, Strength
from fastness.foundation.storage import Transaction

CODE_LIFE_S: Final = 60.0
DEVICE_LIFE_S: Final = 600
DEVICE_INTERVAL_S: Final = 5
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # RFC 8628, section 6.1: no vowels, no words
_CHALLENGE_LENGTH = 43


class Pkce(CodeChallenge):
    """PKCE with SHA-256, for every client and every code: leaving it out, or asking for `plain`, is refused."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant: AuthorizationCodeGrant, redirect_uri: str) -> None:
        """Refuse a request without a challenge.

        Raises:
            InvalidRequestError: there is none, or it is of another method.
        """
        data = grant.request.payload.data
        if data.get("code_challenge_method") != "S256" or len(data.get("code_challenge", "")) != _CHALLENGE_LENGTH:
            raise InvalidRequestError("A code_challenge with code_challenge_method=S256 is required.")
        super().validate_code_challenge(grant, redirect_uri)

    def get_authorization_code_challenge(self, authorization_code: FoundCode) -> str:
        """What the code was bound to."""
        return authorization_code.row.challenge

    def get_authorization_code_challenge_method(self, authorization_code: FoundCode) -> str:
        """There is one."""
        del authorization_code
        return "S256"


class FoundCode:
    """A code that was good until a moment ago: looking it up used it up."""

    def __init__(self, row: CodeRow) -> None:
        self.row = row

    def get_redirect_uri(self) -> str:
        """Where it was sent."""
        return self.row.redirect

    def get_scope(self) -> str:
        """What was granted."""
        return self.row.scope


class CodeGrant(AuthorizationCodeGrant):
    """RFC 6749, section 4.1."""

    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    server: Server
    request: ServerRequest

    def generate_authorization_code(self) -> str:
        """256 random bits."""
        return f"fsa_{base62(self.server.tx.events.entropy(32))}"

    def save_authorization_code(self, code: str, request: ServerRequest) -> None:
        """Keep its digest, with all that it is bound to."""
        tx, user = self.server.tx, request.user
        row = CodeRow(
            request.client.client_id,
            Owner(user.id, user.strength, user.authenticated_at),
            request.payload.redirect_uri,
            held_by(user).met(rights_of(request.scope)).scope(),
            request.payload.data["code_challenge"],
            uuid7(tx.now, tx.events.entropy),
            later(tx.now, CODE_LIFE_S),
            used=False,
        )
        records.add_code(tx, self.server.oauth.digest("code", code), row)

    def query_authorization_code(self, code: str, client: Client) -> FoundCode | None:
        """The code, used up by this."""
        tx, digest = self.server.tx, self.server.oauth.digest("code", code)
        used = records.use_code(tx, digest)
        row = records.find_code(tx, digest)
        if row is None or (used == 1 and row.client_id == client.client_id):
            return None if row is None else FoundCode(row)
        if row.used and (used == 0 or row.client_id != client.client_id):
            end_family(tx, row.family, row.owner, "code-reused" if used == 0 else "code-stolen")
        return None

    def delete_authorization_code(self, authorization_code: FoundCode) -> None:
        """It is used up already; its row stays until it expires, so that a second use is noticed."""

    def authenticate_user(self, authorization_code: FoundCode) -> Basis | None:
        """Who granted it, if still in good standing."""
        row = authorization_code.row
        return Basis(row.owner, row.family, new_family=True) if self.server.is_active(row.owner) else None


class FoundRefresh:
    """A refresh token that is good now, with its family."""

    def __init__(self, digest: bytes, row: RefreshRow, family: FamilyRow) -> None:
        self.digest = digest
        self.row = row
        self.family = family

    def check_client(self, client: Client) -> bool:
        """Whether it is that client's."""
        return self.family.client_id == client.client_id

    def get_scope(self) -> str:
        """What was granted at first; no refreshing goes beyond it."""
        return self.family.scope


class RefreshGrant(RefreshTokenGrant):
    """RFC 6749, section 6, with rotation: each refresh token works once."""

    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True
    server: Server
    request: ServerRequest

    def authenticate_refresh_token(self, refresh_token: str) -> FoundRefresh | None:
        """The token with its family, if it is good; a stolen one ends the family."""
        tx, digest = self.server.tx, self.server.oauth.digest("refresh", refresh_token)
        row = records.find_refresh(tx, digest)
        family = None if row is None else records.find_family(tx, row.family)
        if row is None or family is None or family.revoked:
            return None
        if row.used:
            end_family(tx, family.id, family.owner, "refresh-reused")
            return None
        asking: Client = self.request.client
        if family.client_id != asking.client_id or family.thumbprint not in {"", self.request.plain.thumbprint}:
            end_family(tx, family.id, family.owner, "refresh-stolen")
            return None
        if min(row.expires_at, family.expires_at) <= tx.now:
            return None
        return FoundRefresh(digest, row, family)

    def _validate_token_scope(self, token: FoundRefresh) -> None:
        """Narrower is fine; anything more is refused."""
        asked = self.request.payload.scope
        if asked and not rights_of(asked).within(rights_of(token.get_scope())):
            raise InvalidScopeError

    def authenticate_user(self, refresh_token: FoundRefresh) -> Basis | None:
        """Who granted it, if still in good standing."""
        family = refresh_token.family
        return (
            Basis(family.owner, family.id, thumbprint=family.thumbprint)
            if self.server.is_active(family.owner)
            else None
        )

    def issue_token(self, user: Basis, refresh_token: FoundRefresh) -> dict[str, Any]:
        """Use up the old one, then make the new ones.

        Raises:
            InvalidGrantError: somebody else used it in between.
        """
        if records.use_refresh(self.server.tx, refresh_token.digest) != 1:
            raise InvalidGrantError
        issued: dict[str, Any] = super().issue_token(user, refresh_token)
        return issued

    def revoke_old_credential(self, refresh_token: FoundRefresh) -> None:
        """It is used up already."""


class MachineGrant(ClientCredentialsGrant):
    """RFC 6749, section 4.4: a confidential client in its own name."""

    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    server: Server
    request: ServerRequest

    def create_token_response(self) -> tuple[int, dict[str, Any], list[tuple[str, str]]]:
        """A token without a refresh token.

        Raises:
            UnauthorizedClientError: it has no principal in good standing.
            InvalidScopeError: it asks for more than it may have.
        """
        client: Client = self.request.client
        scope = client.get_allowed_scope(self.request.payload.scope)
        if scope is None:
            raise InvalidScopeError
        user = machine(self.server, client)
        if user is None:
            raise UnauthorizedClientError
        token = self.generate_token(user=user, scope=scope, include_refresh_token=False)
        return 200, token, self.TOKEN_RESPONSE_HEADER


class DeviceGrant(DeviceCodeGrant):
    """RFC 8628, sections 3.4 and 3.5."""

    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    server: Server
    request: ServerRequest

    def query_device_credential(self, device_code: str) -> FoundDevice | None:
        """The device, whose client Authlib compares."""
        row = records.find_device(self.server.tx, digest=self.server.oauth.digest("device", device_code))
        return None if row is None else FoundDevice(row)

    def validate_device_credential(self, credential: FoundDevice) -> Basis:
        """Whose word there is.

        Raises:
            ExpiredTokenError: its time is over.
            AccessDeniedError: the person said no.
            SlowDownError: it asks too often; from now on it waits five seconds longer.
            AuthorizationPendingError: nobody said anything yet.
            InvalidGrantError: it was used already.
        """
        tx, row = self.server.tx, credential.row
        if row.expires_at <= tx.now:
            raise ExpiredTokenError
        if row.state == "waiting":
            early = tx.now < later(row.polled_at, row.interval_s) and row.polled_at != row.created_at
            records.note_poll(tx, row.digest, row.interval_s + DEVICE_INTERVAL_S if early else row.interval_s)
            raise SlowDownError if early else AuthorizationPendingError
        if row.state == "denied":
            raise AccessDeniedError
        if row.owner is None or records.use_device(tx, row.digest) != 1 or not self.server.is_active(row.owner):
            raise InvalidGrantError
        return Basis(row.owner)


class FoundDevice:
    """A device's row, as Authlib wants it."""

    def __init__(self, row: DeviceRow) -> None:
        self.row = row

    def get_client_id(self) -> str:
        """Which client asked for it."""
        return self.row.client_id

    def get_scope(self) -> str:
        """What was granted."""
        return self.row.scope


class DeviceEndpoint(DeviceAuthorizationEndpoint):
    """RFC 8628, sections 3.1 and 3.2."""

    CLIENT_AUTH_METHODS = METHODS
    EXPIRES_IN = DEVICE_LIFE_S
    INTERVAL = DEVICE_INTERVAL_S
    server: Server

    def authenticate_client(self, request: ServerRequest) -> Client:
        """A client that may use devices.

        Raises:
            UnauthorizedClientError: it may not.
        """
        client: Client = super().authenticate_client(request)
        if GrantType.DEVICE not in client.grants:
            raise UnauthorizedClientError
        rights_of(request.payload.scope or "")
        scope = client.get_allowed_scope(request.payload.scope)
        if scope is None:
            raise InvalidScopeError
        request.payload.data["scope"] = scope
        return client

    def generate_user_code(self) -> str:
        """Eight letters, 34 bits: see `device` for how often one may try."""
        return user_code(self.server.tx.events.entropy)

    def generate_device_code(self) -> str:
        """256 random bits."""
        return f"fsd_{base62(self.server.tx.events.entropy(32))}"

    def get_verification_uri(self) -> str:
        """Where the person types the code."""
        return self.server.oauth.page("device")

    def save_device_credential(self, client_id: str, scope: str, data: dict[str, Any]) -> None:
        """Keep the digests of both codes."""
        tx, oauth = self.server.tx, self.server.oauth
        row = DeviceRow(
            oauth.digest("device", data["device_code"]),
            client_id,
            scope,
            "waiting",
            DEVICE_INTERVAL_S,
            tx.now,
            tx.now,
            later(tx.now, DEVICE_LIFE_S),
            None,
            self.server.request.network if self.server.request else "",
        )
        records.add_device(tx, oauth.digest("user-code", data["user_code"].replace("-", "")), row)


def held_by(principal: Principal) -> Rights:
    """What a principal could hand on: never more than the credential in use leaves it."""
    actions = EVERYTHING.actions if principal.actions is None else principal.actions
    return Rights(actions, principal.models)


def machine(server: Server, client: Client) -> Basis | None:
    """The client in its own name, if its principal is in good standing."""
    if client.principal is None:
        return None
    strength = Strength.SIGNED if client.method == "private_key_jwt" else Strength.KEY
    owner = Owner(client.principal, strength, server.tx.now)
    return Basis(owner) if server.is_active(owner) else None


def end_family(tx: Transaction, family: str, owner: Owner, reason: str) -> None:
    """Revoke all that came from one authorization: refresh tokens, and access tokens wherever they are shown."""
    records.mark_family_revoked(tx, family)
    tokens.revoke(tx, family, owner.principal, reason)


def user_code(entropy: Entropy) -> str:
    """Eight letters in two groups, each equally likely."""
    letters = ""
    while len(letters) < 8:
        letters += "".join(_LETTERS[byte % 20] for byte in entropy(16) if byte < 240)
    return f"{letters[:4]}-{letters[4:8]}"
