"""What the routes call: each function takes a transaction and a plain request, and gives a plain reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from authlib.oauth2 import OAuth2Error

from fastness.access.oauth import records
from fastness.access.oauth.clients import CLI, GrantType, client_of, tenant_of
from fastness.access.oauth.exchange import ExchangeGrant
from fastness.access.oauth.grants import (
    CodeGrant,
    DeviceEndpoint,
    DeviceGrant,
    MachineGrant,
    Pkce,
    RefreshGrant,
    held_by,
)
from fastness.access.oauth.parts import OAuth, Reply, Request
from fastness.access.oauth.records import DeviceRow, Owner
from fastness.access.oauth.server import Server, asserted_client, basic_client, rights_of, translated
from fastness.access.oauth.standing import Introspection, Revocation
from fastness.access.tokens.jose import OURS
from fastness.core.clock import Instant, later
from fastness.core.digests import parse_name
from fastness.core.errors import Forbidden, Invalid, Limited, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.identity import (
    DEFAULT_TENANT,
    Action,
    Principal,
    PrincipalId,
    PrincipalKind,
    Scope,
    Strength,
    TenantId,
)
from fastness.core.limits import Limit, LimitKey
from fastness.foundation.storage import Reading, Transaction

_NOBODY = PrincipalId("")
_WAITING = frozenset({"authorization_pending", "slow_down"})
_TRIES = Limit(per_s=0.05, burst=5)  # of one person; 34 bits last longer than any code lives
_TRIES_OF_TENANT = Limit(per_s=1, burst=60)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person is asked to grant, for the page that asks.

    Attributes:
        client_name: as it was registered; to be shown as text.
        actions: what it would be permitted, sorted.
        models: the models it is confined to; None for all.
        redirect: where the browser goes afterwards; its host is worth showing. Empty for a device.
        network, asked_at: from where and when a device asked.
        lasting: whether it may go on without asking again, for up to 30 days.
    """

    client_id: str
    client_name: str
    actions: tuple[Action, ...]
    models: tuple[str, ...] | None
    redirect: str = ""
    network: str = ""
    asked_at: Instant | None = None
    lasting: bool = False


def scope_of(reading: Reading, oauth: OAuth, request: Request) -> Scope:
    """In whose name a request of an unknown caller is handled: the tenant of the client, token or code that it brings.

    The caller's word counts only for the command line's client, which is in every tenant (parameter `tenant`); codes and
    tokens are then looked up in that tenant alone.
    """
    form = request.parameters
    named = basic_client(request) or form.get("client_id", "") or asserted_client(form.get("client_assertion", ""))
    tenant = tenant_of(reading, named) if named and named != CLI else None
    if tenant is None and (refresh := form.get("refresh_token") or form.get("token")):
        tenant = records.tenant_of(reading, refresh=oauth.digest("refresh", refresh))
    if tenant is None and (waiting := form.get("device_code")):
        tenant = records.tenant_of(reading, device=oauth.digest("device", waiting))
    return Scope(tenant or _named_tenant(form), _NOBODY)


def ask(tx: Transaction, oauth: OAuth, request: Request, principal: Principal) -> Asked | Reply:
    """Whether an authorization request is one that `principal` can be asked about.

    Returns:
        What to ask; or the reply. One without `location` is shown to the person, and never sends the browser on: the
        client, or its address, is not known.

    Raises:
        Forbidden: the principal is none who can grant (`consent-refused`).
    """
    _can_grant(tx, principal)
    server = _server(tx, oauth)
    try:
        _refuse_variants(request)
        grant = server.get_consent_grant(request, principal)
    except OAuth2Error as error:
        return _error(server, request, error)
    rights = rights_of(grant.request.scope).met(held_by(principal))
    if rights.empty():
        return _error(server, request, OAuth2Error(error="invalid_scope", redirect_uri=grant.redirect_uri))
    client = grant.request.client
    models = None if rights.models is None else tuple(sorted(rights.models))
    actions, lasting = tuple(sorted(rights.actions)), GrantType.REFRESH in client.grants
    return Asked(client.client_id, client.name, actions, models, grant.redirect_uri, lasting=lasting)


def answer(tx: Transaction, oauth: OAuth, request: Request, principal: Principal, *, granted: bool) -> Reply:
    """Send the browser back to the client, with a code or with a no.

    The request is judged anew; the page that asked protects its own form against forgery (CSRF).

    Raises:
        Forbidden: the principal is none who can grant (`consent-refused`).
    """
    asked = ask(tx, oauth, request, principal)
    if isinstance(asked, Reply):
        return asked
    server = _server(tx, oauth)
    grant = server.get_consent_grant(request, principal)
    reply: Reply = server.create_authorization_response(grant.request, principal if granted else None, grant=grant)
    details: dict[str, Detail] = {"client": asked.client_id, "granted": granted}
    tx.emit(
        tx.events.make(
            EventKind.AUTHENTICATION_SUCCEEDED, f"client:{asked.client_id}", action="authorize", details=details
        )
    )
    return reply


def token(tx: Transaction, oauth: OAuth, request: Request) -> Reply:
    """The token endpoint: every way to a token (RFC 6749, 8628, 8693). A refusal is a reply, and is committed."""
    server = _server(tx, oauth)
    try:
        _only_post(request)
        reply: Reply = server.create_token_response(request)
    except OAuth2Error as error:
        reply = _error(server, request, error)
    except Invalid as error:
        reply = translated(server, error)
    name = reply.body.get("error")
    if reply.status >= 400 and name not in _WAITING and not server.noted:
        server.note_failure("client", f"oauth-{name}")
    return reply


def device(tx: Transaction, oauth: OAuth, request: Request) -> Reply:
    """The device authorization endpoint (RFC 8628, section 3.1): how `fastness login` begins."""
    server = _server(tx, oauth)
    try:
        reply: Reply = server.create_endpoint_response(DeviceEndpoint.ENDPOINT_NAME, request)
    except OAuth2Error as error:
        reply = _error(server, request, error)
    if reply.status == 200:
        tx.emit(tx.events.make(EventKind.AUTHENTICATION_SUCCEEDED, "device", action="device-asked"))
    elif not server.noted:
        server.note_failure("client", f"oauth-{reply.body.get('error')}")
    return reply


def ask_device(tx: Transaction, oauth: OAuth, principal: Principal, code: str) -> Asked:
    """What the device whose code a person typed asks for.

    Raises:
        Forbidden: the principal is none who can grant (`consent-refused`).
        NotFound: no such code waits in the tenant (`device-unknown`).
        Limited: too many codes were tried.
    """
    row = _waiting(tx, oauth, principal, code)
    rights = rights_of(row.scope).met(held_by(principal))
    client = client_of(tx, row.client_id)
    if client is None or rights.empty():
        raise _no_device()
    models = None if rights.models is None else tuple(sorted(rights.models))
    actions = tuple(sorted(rights.actions))
    return Asked(
        client.client_id,
        client.name,
        actions,
        models,
        network=row.network,
        asked_at=row.created_at,
        lasting=GrantType.REFRESH in client.grants,
    )


def answer_device(tx: Transaction, oauth: OAuth, principal: Principal, code: str, *, granted: bool) -> None:
    """Let the device in, or send it away.

    Raises:
        Forbidden, NotFound, Limited: as `ask_device`.
    """
    row = _waiting(tx, oauth, principal, code)
    rights = rights_of(row.scope).met(held_by(principal))
    owner = Owner(principal.id, principal.strength, principal.authenticated_at)
    state = "approved" if granted and not rights.empty() else "denied"
    if records.answer_device(tx, row.digest, state, rights.scope(), owner) != 1:
        raise _no_device()
    details: dict[str, Detail] = {"granted": granted}
    tx.emit(
        tx.events.make(
            EventKind.AUTHENTICATION_SUCCEEDED, f"client:{row.client_id}", action="device-answered", details=details
        )
    )


def revoke(tx: Transaction, oauth: OAuth, request: Request) -> Reply:
    """The revocation endpoint, RFC 7009."""
    return _endpoint(tx, oauth, request, Revocation.ENDPOINT_NAME)


def introspect(tx: Transaction, oauth: OAuth, request: Request) -> Reply:
    """The introspection endpoint, RFC 7662."""
    return _endpoint(tx, oauth, request, Introspection.ENDPOINT_NAME)


def metadata(oauth: OAuth) -> dict[str, Any]:
    """The document at `/.well-known/oauth-authorization-server`, RFC 8414."""
    methods = ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"]
    algorithms = list(OURS)
    return {
        "issuer": oauth.issuer.name,
        "authorization_endpoint": oauth.page("authorize"),
        "token_endpoint": oauth.address("token"),
        "device_authorization_endpoint": oauth.address("device_authorization"),
        "revocation_endpoint": oauth.address("revoke"),
        "introspection_endpoint": oauth.address("introspect"),
        "jwks_uri": oauth.address("jwks"),
        "scopes_supported": sorted(Action),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": sorted(GrantType),
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint_auth_methods_supported": methods[1:],
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "tls_client_certificate_bound_access_tokens": True,
    }


def sweep(tx: Transaction) -> int:
    """Remove codes and tokens that expired a day ago or more; how many. A job calls this once an hour."""
    return records.sweep(tx, Instant(later(tx.now, -86_400.0)))


def _server(tx: Transaction, oauth: OAuth) -> Server:
    server = Server(tx, oauth)
    server.register_grant(CodeGrant, [Pkce(required=True)])
    for grant in (RefreshGrant, MachineGrant, DeviceGrant, ExchangeGrant):
        server.register_grant(grant)
    for endpoint in (DeviceEndpoint, Revocation, Introspection):
        server.register_endpoint(endpoint)
    return server


def _endpoint(tx: Transaction, oauth: OAuth, request: Request, name: str) -> Reply:
    server = _server(tx, oauth)
    try:
        _only_post(request)
        reply: Reply = server.create_endpoint_response(name, request)
    except OAuth2Error as error:
        reply = _error(server, request, error)
    return reply


def _error(server: Server, request: Request, error: OAuth2Error) -> Reply:
    error.state = request.parameters.get("state") if error.redirect_uri else None
    reply: Reply = server.handle_error_response(request, error)
    return reply


def _only_post(request: Request) -> None:
    """What stands in a query stands in logs too."""
    if request.method != "POST":
        raise OAuth2Error(error="invalid_request", description="This is asked by POST.")


def _refuse_variants(request: Request) -> None:
    """Requests by reference and replies in other places: not offered, so not ignored either."""
    for name in ("request", "request_uri"):
        if name in request.parameters:
            raise OAuth2Error(error=f"{name}_not_supported")
    if request.parameters.get("response_mode", "query") != "query":
        raise OAuth2Error(error="invalid_request", description="Only response_mode=query is supported.")


def _can_grant(tx: Transaction, principal: Principal) -> None:
    """Only a person, there and then, and not by a key or in another's name: a grant outlives the credential it came by."""
    absent = principal.actor or principal.strength < Strength.PASSWORD or principal.tenant != tx.scope.tenant
    if principal.kind is not PrincipalKind.USER or absent:
        raise Forbidden("consent-refused", "only a person who is logged in can grant this", "Log in to the console.")


def _waiting(tx: Transaction, oauth: OAuth, principal: Principal, code: str) -> DeviceRow:
    _can_grant(tx, principal)
    for key, limit in (
        (f"device-code:{principal.tenant}/{principal.id}", _TRIES),
        (f"device-code-tenant:{principal.tenant}", _TRIES_OF_TENANT),
    ):
        taken = oauth.rates.take(LimitKey(key), limit, 1, tx.now)
        if not taken.allowed:
            raise Limited(
                "device-tries", "too many codes were tried", "Wait a moment.", retry_after_s=taken.retry_after_s
            )
    typed = code[:32].upper().replace("-", "").replace(" ", "")
    row = records.find_device(tx, user_digest=oauth.digest("user-code", typed))
    if row is None or row.state != "waiting" or row.expires_at <= tx.now:
        raise _no_device()
    return row


def _no_device() -> NotFound:
    return NotFound("device-unknown", "no device waits with this code", "Codes work once and for ten minutes.")


def _named_tenant(form: dict[str, str]) -> TenantId:
    try:
        return TenantId(parse_name(form["tenant"])) if "tenant" in form else DEFAULT_TENANT
    except Invalid:
        return DEFAULT_TENANT
