"""OAuth 2: the endpoints under `/oauth`, their documents, the clients, and devices that ask to be let in.

The endpoints are described by `/.well-known/oauth-authorization-server`, not by the OpenAPI document.

Source: RFC 6749, 7009, 7517, 7662, 8414, 8628; refusals by RFC 6749, section 5.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from litestar import Controller, Request, Response, Router, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, RawBody

from fastness.access.login import factors
from fastness.access.oauth import GrantType, OAuth, Reply, Wanted, clients, read_request
from fastness.access.oauth import Request as Asked
from fastness.access.oauth import doors as endpoints
from fastness.access.tokens import TokenKeysProjection, jwks
from fastness.app import House
from fastness.core.clock import later, rfc3339
from fastness.core.errors import FastnessError, Invalid, Limited, Unavailable
from fastness.core.identity import SYSTEM_SCOPE, Action, Principal, PrincipalId, Resource, Strength
from fastness.core.limits import Limit
from fastness.foundation.storage import Reading, Transaction
from fastness.interfaces.api.doors import FRESH_S, Caller, Doors
from fastness.interfaces.api.paging import Page, find_one
from fastness.interfaces.api.peer import peer_of
from fastness.interfaces.api.routes import READ, WRITE, Pace, entry, guarded, own
from fastness.wire import oauth as wire
from fastness.wire.overview import Proof

TOKEN_PACE: Final = Pace("token", Limit(20.0, 200.0))
_FORM: Final = "application/x-www-form-urlencoded"
_SHORT: Final = {"device_code": GrantType.DEVICE, "token-exchange": GrantType.EXCHANGE}
_LONG: Final = {long.value: short for short, long in _SHORT.items()}
_Endpoint = Callable[[Transaction, OAuth, Asked], Reply]


@post("/token", status_code=200, sync_to_thread=True, opt=entry(Proof.BODY, TOKEN_PACE))
def token(request: Request[Any, Any, Any], house: NamedDependency[House], body: RawBody) -> Response[bytes]:
    """Every way to a token."""
    return _answered(request, house, body, endpoints.token)


@post("/device_authorization", status_code=200, sync_to_thread=True, opt=entry(Proof.BODY, TOKEN_PACE))
def device(request: Request[Any, Any, Any], house: NamedDependency[House], body: RawBody) -> Response[bytes]:
    """A device asks to be let in by a person elsewhere."""
    return _answered(request, house, body, endpoints.device)


@post("/revoke", status_code=200, sync_to_thread=True, opt=entry(Proof.BODY, TOKEN_PACE))
def revoke(request: Request[Any, Any, Any], house: NamedDependency[House], body: RawBody) -> Response[bytes]:
    """A token is given back."""
    return _answered(request, house, body, endpoints.revoke)


@post("/introspect", status_code=200, sync_to_thread=True, opt=entry(Proof.BODY, TOKEN_PACE))
def introspect(request: Request[Any, Any, Any], house: NamedDependency[House], body: RawBody) -> Response[bytes]:
    """What a token says, and whether it counts."""
    return _answered(request, house, body, endpoints.introspect)


@get("/jwks", sync_to_thread=True, opt=entry(Proof.STEP, READ))
def keys(house: NamedDependency[House]) -> Response[bytes]:
    """The public keys by which tokens are verified."""
    with house.records.read(SYSTEM_SCOPE) as reading:
        return Response(msgspec.json.encode(jwks(reading, house.signers)), media_type="application/jwk-set+json")


@get(
    "/.well-known/oauth-authorization-server",
    sync_to_thread=False,
    include_in_schema=False,
    opt=entry(Proof.STEP, READ),
)
def metadata(house: NamedDependency[House]) -> Response[bytes]:
    """Where what is."""
    return Response(msgspec.json.encode(endpoints.metadata(house.oauth)), media_type="application/json")


def refusal(_: Request[Any, Any, Any], error: FastnessError) -> Response[bytes]:
    """What was refused before an endpoint was reached, told as the endpoints would."""
    later = isinstance(error, Limited | Unavailable)
    known = error.status < FastnessError.status or later
    name = "temporarily_unavailable" if later else "invalid_request" if known else "server_error"
    told = {"error": name, "error_description": error.message if known else "the house made a mistake"}
    headers = {"retry-after": str(max(1, round(error.retry_after_s)))} if isinstance(error, Limited) else {}
    return Response(msgspec.json.encode(told), status_code=error.status, media_type="application/json", headers=headers)


def _answered(request: Request[Any, Any, Any], house: House, body: bytes, endpoint: _Endpoint) -> Response[bytes]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise Invalid("oauth-request", f"the parameters of a request come as {_FORM}")
    caller: Caller = request.state.caller
    network = house.desk.network(caller.client)
    asked = read_request(request.method, body, request.headers.get("authorization"), peer_of(request.scope), network)
    before = house.records.epoch(TokenKeysProjection.topic)
    with house.records.read(SYSTEM_SCOPE) as reading:
        scope = endpoints.scope_of(reading, house.oauth, asked)
    with house.records.begin(scope, house.clock.now()) as tx:
        reply = endpoint(tx, house.oauth, asked)
    if house.records.epoch(TokenKeysProjection.topic) != before:
        house.published(TokenKeysProjection.topic)  # what was revoked counts nowhere from here on
    headers = {name: text for name, text in reply.headers if name.lower() != "content-type"}
    data = msgspec.json.encode(reply.body)
    return Response(data, status_code=reply.status, media_type="application/json", headers=headers)


class ClientRoutes(Controller):
    """Programs that ask for tokens."""

    path = "/clients"
    tags = ("clients",)

    @get("/", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def clients(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        page: NamedDependency[Page],
    ) -> Response[list[wire.ClientView]]:
        """All clients of the tenant, ended ones too."""
        doors.allow(caller, Action.ACCESS_READ, Resource("access", "clients"))
        with house.records.read(caller.scope) as reading:
            found = _clients(reading)
        return page.of(found, lambda view: view.client)

    @get("/{client:str}", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def one(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        client: FromPath[str],
    ) -> wire.ClientView:
        """One client."""
        doors.allow(caller, Action.ACCESS_READ, Resource("client", client))
        with house.records.read(caller.scope) as reading:
            found = _clients(reading)
        return find_one(found, lambda view: view.client, client, "client")

    @post("/", sync_to_thread=True, opt=guarded(Action.CLIENT_CHANGE, WRITE, shown_once=True))
    def create(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        data: JSONBody[wire.ClientRequest],
    ) -> wire.ClientReply:
        """Make a client; its secret is shown this once."""
        doors.allow(caller, Action.CLIENT_CHANGE, Resource("access", "clients"))
        wanted = Wanted(
            data.name,
            data.scope,
            frozenset(map(_grant, data.grants)),
            data.redirects,
            data.confidential,
            data.jwks,
            principal=PrincipalId(data.principal) if data.principal else None,
            introspects=data.introspects,
        )
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            made = clients.create_client(tx, house.oauth, wanted)
        return wire.ClientReply(made.client.client_id, made.secret)

    @post("/{client:str}/secret", sync_to_thread=True, opt=guarded(Action.CLIENT_CHANGE, WRITE, shown_once=True))
    def renew(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        client: FromPath[str],
    ) -> wire.ClientReply:
        """Another secret for a client; the old one is void at once."""
        doors.allow(caller, Action.CLIENT_CHANGE, Resource("client", client))
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            return wire.ClientReply(client, clients.new_secret(tx, house.oauth, client))

    @put("/{client:str}/keys", status_code=204, sync_to_thread=True, opt=guarded(Action.CLIENT_CHANGE, WRITE))
    def put_keys(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        client: FromPath[str],
        data: JSONBody[wire.ClientKeys],
    ) -> None:
        """Other keys for a client; those that are left out count no more, at once."""
        doors.allow(caller, Action.CLIENT_CHANGE, Resource("client", client))
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            clients.put_keys(tx, client, data.keys)

    @post(
        "/{client:str}/deactivation", status_code=204, sync_to_thread=True, opt=guarded(Action.CLIENT_CHANGE, WRITE)
    )  # fmt: skip
    def disable(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        client: FromPath[str],
    ) -> None:
        """End a client: its secret and all its tokens count no more."""
        doors.allow(caller, Action.CLIENT_CHANGE, Resource("client", client))
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            clients.disable_client(tx, client)
        house.published(TokenKeysProjection.topic)


class DeviceRoutes(Controller):
    """Devices that ask a person to let them in. Codes come in the body, for paths stand in logs."""

    path = "/devices"
    tags = ("clients",)

    @post("/questions", status_code=200, sync_to_thread=True, opt=own(WRITE, shown_once=True))
    def ask(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        data: JSONBody[wire.DeviceCode],
    ) -> wire.DeviceView:
        """What the device whose code this is asks for. It takes a second factor."""
        who = present(house, caller)
        with doors.noting(caller), house.records.begin(caller.scope, house.clock.now()) as tx:
            asked = endpoints.ask_device(tx, house.oauth, who, data.code)
        at = rfc3339(asked.asked_at) if asked.asked_at is not None else ""
        return wire.DeviceView(
            asked.client_id, asked.client_name, tuple(asked.actions), asked.models or (), asked.network, at
        )

    @post("/answers", status_code=204, sync_to_thread=True, opt=own(WRITE))
    def answer(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        data: JSONBody[wire.DeviceAnswer],
    ) -> None:
        """Let a device in, or send it away. It takes a second factor."""
        who = present(house, caller)
        with doors.noting(caller), house.records.begin(caller.scope, house.clock.now()) as tx:
            endpoints.answer_device(tx, house.oauth, who, data.code, granted=data.granted)


def present(house: House, caller: Caller) -> Principal:
    """The person, there and then: what they grant outlives the key or token by which they ask.

    Raises:
        Forbidden: `step-up-required`: who has a second factor gives it; a login with it just now counts.
    """
    who, now = caller.principal, house.clock.now()
    if caller.session is None:
        factors.require_fresh(who, now)
        return msgspec.structs.replace(who, strength=Strength.MFA)
    came_lately = who.strength is Strength.MFA and now < later(who.authenticated_at, FRESH_S)
    with house.records.read(caller.scope) as reading:
        if not came_lately and factors.methods(reading, who.id):
            factors.require_fresh(who, now)
    return who


def _clients(reading: Reading) -> list[wire.ClientView]:
    return [
        wire.ClientView(
            row.client_id,
            row.name,
            row.scope,
            tuple(_LONG.get(word, word) for word in row.grants.split()),
            tuple(row.redirects.split("\n")) if row.redirects else (),
            row.principal or "",
            row.secret_digest is not None or bool(row.jwks),
            row.introspects,
            not row.disabled,
            clients.key_names(row),
        )
        for row in clients.find_clients(reading)
    ]


def _grant(text: str) -> GrantType:
    found = _SHORT.get(text, text)
    if found not in set(GrantType):
        raise Invalid("client-grant", f"{text[:80]!r} is no way to a token", f"Use one of {', '.join(wire.GRANTS)}.")
    return GrantType(found)


OAUTH = Router(
    "/oauth",
    route_handlers=[token, device, revoke, introspect, keys],
    include_in_schema=False,
    exception_handlers={FastnessError: refusal},
)
