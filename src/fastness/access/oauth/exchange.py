"""Acting on behalf of another: a token is exchanged for one whose rights only narrow (RFC 8693).

A person lets a service act by giving it a token that permits `token.delegate`; the service, a confidential client with
a principal of its own, exchanges it here. The new token still speaks of the person, names the service as the actor, and
- permits nothing that the old one did not, nor anything that the client may not have;
- ends no later than the old one, whatever is asked;
- is for the same audience: there is no other;
- can be exchanged again only as often as the chain of actors has room, and only while `token.delegate` is left in it;
- is refused where actors and person together hold roles that one hand must not, in a house that refuses those;
- dies with the old one, with its family, with any actor in the chain, and with any token it came from.

A token that is bound to a certificate is exchanged only over a connection with that certificate.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from authlib.oauth2.rfc6749 import (
    AccessDeniedError,
    BaseGrant,
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
    OAuth2Error,
    TokenEndpointMixin,
    UnauthorizedClientError,
)

from fastness.access import tokens
from fastness.access.duties import DELEGATION
from fastness.access.oauth.clients import Client, GrantType
from fastness.access.oauth.grants import machine
from fastness.access.oauth.server import METHODS, Server, ServerRequest, rights_of
from fastness.access.tokens import Bearer, Grantee, Rights
from fastness.access.tokens.inside import verify_in
from fastness.access.tokens.verifier import MOST_ACTORS
from fastness.core.errors import Conflict, Unauthenticated
from fastness.core.identity import Action, PrincipalId, Resource

ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name of RFC 8693
_KNOWN = frozenset(
    {
        "grant_type",
        "subject_token",
        "subject_token_type",
        "requested_token_type",
        "scope",
        "audience",
        "resource",
        "tenant",
        "client_id",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
    }
)


class ExchangeGrant(BaseGrant, TokenEndpointMixin):
    """RFC 8693, on behalf of the subject; impersonation, without an actor, is not offered."""

    GRANT_TYPE = GrantType.EXCHANGE.value
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    server: Server
    request: ServerRequest

    def validate_token_request(self) -> None:
        """The request alone, and who asks.

        Raises:
            OAuth2Error: a parameter is missing, wrong or not known here.
        """
        client: Client = self.authenticate_token_endpoint_client()
        if not client.check_grant_type(self.GRANT_TYPE):
            raise UnauthorizedClientError
        form = self.request.form
        if not form.keys() <= _KNOWN:  # an actor_token, for one: the actor is the client, and nobody else
            raise InvalidRequestError("The request holds a parameter that is not supported.")
        if form.get("subject_token_type") != ACCESS_TOKEN or not form.get("subject_token"):
            raise InvalidRequestError("subject_token must be an access token, and subject_token_type say so.")
        if form.get("requested_token_type", ACCESS_TOKEN) != ACCESS_TOKEN:
            raise InvalidRequestError("Only access tokens are given.")
        audience = self.server.oauth.issuer.audience
        if {form.get("audience", audience), form.get("resource", audience)} != {audience}:
            raise OAuth2Error(error="invalid_target", description="Tokens are for this house alone.")

    def create_token_response(self) -> tuple[int, dict[str, Any], list[tuple[str, str]]]:
        """The narrower token.

        Raises:
            OAuth2Error: the subject's token is not good, or may not be handed on like this.
        """
        client: Client = self.request.client
        actor = machine(self.server, client)
        if actor is None:
            raise UnauthorizedClientError
        subject = self._subject()
        rights = self._narrowed(subject, client)
        if len(subject.actors) >= MOST_ACTORS:
            raise InvalidGrantError("The chain of those who act one for another is too long.")
        # Who acts for whom is no matter of models; what is handed on stays confined to those of the subject's token.
        person = msgspec.structs.replace(subject.principal, models=None)
        may = self.server.oauth.permits(person, Action.TOKEN_DELEGATE, Resource("principal", actor.owner.principal))
        if Action.TOKEN_DELEGATE not in subject.rights.actions or not may:
            raise AccessDeniedError
        self._keep_apart(actor.owner.principal, subject)
        token = tokens.issue(
            self.server.tx,
            self.server.oauth.issuer,
            Grantee(
                subject.principal.id,
                rights,
                subject.principal.strength,
                subject.principal.authenticated_at,
                client.client_id,
                subject.family,
                (actor.owner.principal, *subject.actors),
                (subject.token_id, *subject.ancestors),
                self.request.plain.thumbprint,
                subject.expires_at,
            ),
        )
        reply = {
            "access_token": token.text,
            "issued_token_type": ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": token.life_s,
            "scope": rights.scope(),
        }
        return 200, reply, self.TOKEN_RESPONSE_HEADER

    def _keep_apart(self, actor: PrincipalId, subject: Bearer) -> None:
        """Return if who acts and who is acted for hold nothing that one hand must not hold."""
        people = (actor, *subject.actors, subject.principal.id)
        try:
            self.server.tx.foresee(DELEGATION, {"principals": " ".join(people)})
        except Conflict as error:
            raise AccessDeniedError(description=f"{error.code}: {error.message}") from error

    def _subject(self) -> Bearer:
        data = self.request.form["subject_token"].encode("utf-8", "replace")
        server, plain = self.server, self.request.plain
        try:
            return verify_in(server.tx, server.oauth.issuer, data, server.tx.now, plain.thumbprint)
        except Unauthenticated as error:
            server.note_failure(f"client:{self.request.client.client_id}", error.audit_code)
            raise InvalidGrantError("The subject_token is not good.") from error

    def _narrowed(self, subject: Bearer, client: Client) -> Rights:
        """What is asked for, if the subject's token holds it; else all that it holds. Either way the client's bounds count."""
        scope = self.request.payload.scope
        asked = rights_of(scope) if scope else subject.rights
        if asked.models is None:
            asked = asked.met(Rights(asked.actions, subject.rights.models))
        if not asked.within(subject.rights) or (scope and not asked.within(client.rights)):
            raise InvalidScopeError
        rights = asked.met(client.rights)
        if rights.empty():
            raise InvalidScopeError
        return rights
