"""SCIM 2.0 at `/scim/v2`: a directory service tells who joins, moves and leaves.

The service is described by itself (`/ServiceProviderConfig`, `/ResourceTypes`, `/Schemas`), not by the OpenAPI document.

Source: RFC 7644; refusals by section 3.12, whatever refuses.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import HttpMethod, Request, Response, Router, get, route
from litestar.di import NamedDependency
from litestar.params import RawBody

from fastness.access import KeysProjection
from fastness.access.scim import MEDIA_TYPE, Provisioning, ScimReply, ScimRequest, refused, serve
from fastness.app import House
from fastness.core.errors import FastnessError, Invalid, Limited, Unauthenticated
from fastness.core.identity import Action, Resource
from fastness.interfaces.api.doors import Caller, Doors
from fastness.interfaces.api.routes import WRITE, guarded, personal

BASE: Final = "/scim/v2"
PERSONAL: Final = ("userName", "displayName", "name", "emails", "phoneNumbers", "addresses", "externalId")
_RESOURCE = Resource("directory", "scim")


@get("/{path:path}", sync_to_thread=True, opt=personal(guarded(Action.DIRECTORY_PROVISION), *PERSONAL))
def read(
    request: Request[Any, Any, Any],
    house: NamedDependency[House],
    doors: NamedDependency[Doors],
    caller: NamedDependency[Caller],
) -> Response[bytes]:
    """Users, groups, and what describes the service."""
    return _answered(request, house, doors, caller)


@route(
    "/{path:path}",
    http_method=[HttpMethod.POST, HttpMethod.PUT, HttpMethod.PATCH, HttpMethod.DELETE],
    sync_to_thread=True,
    status_code=200,
    opt=personal(guarded(Action.DIRECTORY_PROVISION, WRITE, replaces=True), *PERSONAL),
)
def write(
    request: Request[Any, Any, Any],
    house: NamedDependency[House],
    doors: NamedDependency[Doors],
    caller: NamedDependency[Caller],
    body: RawBody,
) -> Response[bytes]:
    """Joiners, movers, leavers, and groups."""
    reply = _answered(request, house, doors, caller, body)
    house.published(KeysProjection.topic)
    return reply


def _answered(
    request: Request[Any, Any, Any], house: House, doors: Doors, caller: Caller, body: bytes = b""
) -> Response[bytes]:
    doors.allow(caller, Action.DIRECTORY_PROVISION, _RESOURCE)
    settings = house.settings
    base = settings.scim.base or f"{settings.server.admin_url}{BASE}"
    asked = ScimRequest(
        request.method,
        request.url.path.removeprefix(BASE),
        dict(request.query_params),
        _decoded(body),
        request.headers.get("if-match", ""),
        request.headers.get("if-none-match", ""),
    )
    scim = Provisioning(base, settings.scim.roles())
    return _sent(serve(house.records, caller.scope, house.clock.now(), scim, asked))


def _decoded(body: bytes) -> Any:
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid("scim-invalidSyntax", "the body is not JSON in UTF-8, or nested too deep") from error


def _sent(reply: ScimReply) -> Response[bytes]:
    body = b"" if reply.body is None else msgspec.json.encode(reply.body)
    return Response(body, status_code=reply.status, media_type=MEDIA_TYPE, headers=dict(reply.headers))


def refusal(_: Request[Any, Any, Any], error: FastnessError) -> Response[bytes]:
    """What was refused before or besides the service itself, told as the service would."""
    sent = _sent(refused(error))
    if isinstance(error, Limited):
        sent.headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    if error.status == Unauthenticated.status:
        sent.headers["www-authenticate"] = 'Bearer realm="fastness"'
    return sent


SCIM = Router(BASE, route_handlers=[read, write], include_in_schema=False, exception_handlers={FastnessError: refusal})
