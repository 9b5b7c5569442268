"""The control plane as an ASGI application, with its OpenAPI document at `/api/v1/openapi.json`."""

from __future__ import annotations

import logging
from typing import Any

from litestar import Litestar, MediaType, Request, Response, Router, get
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.middleware import DefineMiddleware
from litestar.openapi import OpenAPIConfig

from fastness import __version__
from fastness.app import House
from fastness.core.errors import Corrupt, FastnessError, Invalid, Limited, NotFound, TooLarge, Unauthenticated
from fastness.core.identity import SYSTEM_SCOPE
from fastness.foundation.storage import replies
from fastness.interfaces.api.access import AccessRoutes
from fastness.interfaces.api.approvals import ApprovalRoutes
from fastness.interfaces.api.arriving import Arriving
from fastness.interfaces.api.audit import AuditRoutes
from fastness.interfaces.api.conditions import Conditions
from fastness.interfaces.api.directory import DIRECTORY
from fastness.interfaces.api.document import DocumentPlugin
from fastness.interfaces.api.doors import FRESH_S, STEP_UP, Caller, Doors
from fastness.interfaces.api.entering import Entering
from fastness.interfaces.api.explanations import ExplanationRoutes
from fastness.interfaces.api.factors import FactorRoutes, StepUpRoutes
from fastness.interfaces.api.federation import FEDERATION
from fastness.interfaces.api.gate import LARGEST_BODY, Gate
from fastness.interfaces.api.headers import AsgiApp, with_headers
from fastness.interfaces.api.keyring import KeyRingRoutes
from fastness.interfaces.api.logins import CredentialRoutes, LoginRoutes, OwnRoutes, SessionRoutes
from fastness.interfaces.api.members import KeyRoutes, MemberRoutes
from fastness.interfaces.api.models import ModelRoutes
from fastness.interfaces.api.oauth import OAUTH, ClientRoutes, DeviceRoutes, metadata
from fastness.interfaces.api.overview import OverviewRoutes
from fastness.interfaces.api.paging import Page, provide_page
from fastness.interfaces.api.policies import PolicyRoutes
from fastness.interfaces.api.possession import CertificateRoutes, SigningKeyRoutes
from fastness.interfaces.api.quotas import QuotaRoutes
from fastness.interfaces.api.restrictions import RestrictionRoutes
from fastness.interfaces.api.reviews import ReviewRoutes
from fastness.interfaces.api.routes import PROBE, control_routes, entry, own
from fastness.interfaces.api.scim import SCIM
from fastness.wire import problems
from fastness.wire.overview import Proof

METHOD_NOT_ALLOWED = 405
ROUTES = (
    AccessRoutes,
    MemberRoutes,
    CredentialRoutes,
    KeyRoutes,
    OverviewRoutes,
    ModelRoutes,
    AuditRoutes,
    LoginRoutes,
    OwnRoutes,
    SessionRoutes,
    FactorRoutes,
    StepUpRoutes,
    PolicyRoutes,
    ExplanationRoutes,
    ApprovalRoutes,
    RestrictionRoutes,
    QuotaRoutes,
    KeyRingRoutes,
    *DIRECTORY,
    *FEDERATION,
    ClientRoutes,
    DeviceRoutes,
    ReviewRoutes,
    CertificateRoutes,
    SigningKeyRoutes,
)
"""What stands under `/api/v1`."""
_HINT = "See /api/v1/openapi.json."
_log = logging.getLogger(__name__)


class _JsonRequest(Request[Any, Any, Any]):
    """What Litestar's decoder lets through as faults of the server is the sender's doing."""

    async def json(self) -> Any:
        try:
            return await super().json()
        except (UnicodeDecodeError, RecursionError) as error:
            raise Invalid("request-malformed", "the body is not JSON in UTF-8, or nested too deep", _HINT) from error


@get("/healthz", media_type=MediaType.TEXT, sync_to_thread=False, opt=entry(Proof.PEER, PROBE))
def healthz() -> str:
    """Whether the process answers."""
    return "ok\n"


def create_api(house: House) -> AsgiApp:
    """The control plane of `house`.

    Raises:
        FastnessError: a route declares neither permission nor limit.
    """
    app = control_plane(house)
    list(control_routes(app))
    return with_headers(_without_options(app), house.desk.settings.origin)


def control_plane(house: House) -> Litestar:
    """The application behind `create_api`, with its table of routes."""
    from fastness.interfaces.console.router import CONSENT, CONSOLE, front  # which is built of parts of this package

    doors, conditions = Doors(house), Conditions(demanded=house.settings.server.require_if_match)

    def damaged(request: Request[Any, Any, Any], error: Corrupt) -> Response[bytes]:
        """What is found changed or cut off is recorded, whichever route came upon it."""
        caller: Caller | None = getattr(request.state, "caller", None)
        try:
            house.record_damage(caller.scope if caller else SYSTEM_SCOPE, f"route:{request.url.path}", error)
        except FastnessError:
            _log.exception("damage could not be recorded: %s", error)
        return _problem(request, error)

    return Litestar(
        [
            healthz,
            front,
            CONSOLE,
            CONSENT,
            SCIM,
            OAUTH,
            metadata,
            Router(
                "/api/v1",
                route_handlers=ROUTES,
            ),
        ],
        middleware=[DefineMiddleware(Gate, doors=doors, kept=replies.Replies(house.records), conditions=conditions)],
        dependencies=_provided(house, doors),
        exception_handlers={Corrupt: damaged, FastnessError: _problem, HTTPException: _http_problem, Exception: _fault},
        openapi_config=OpenAPIConfig(
            title="Fastness control plane",
            version=__version__,
            render_plugins=[DocumentPlugin()],
            openapi_router=Router(
                "/api/v1", route_handlers=[], include_in_schema=False, after_request=_document_or_problem, opt=own()
            ),
        ),
        request_class=_JsonRequest,
        request_max_body_size=LARGEST_BODY,
        logging_config=None,
        signature_types=[House, Doors, Caller, Entering, Arriving, Page],
    )


def _provided(house: House, doors: Doors) -> dict[str, Provide]:
    """What handlers may ask for by name."""

    def provide_house() -> House:
        return house

    def provide_doors() -> Doors:
        return doors

    def provide_caller(request: Request[Any, Any, Any]) -> Caller:
        found: Caller = request.state.caller
        return found

    def provide_entering(request: Request[Any, Any, Any]) -> Entering:
        return Entering(house, doors, request.state.caller)

    def provide_arriving(request: Request[Any, Any, Any]) -> Arriving:
        return Arriving(house, doors, request.state.caller)

    return {
        "house": Provide(provide_house, sync_to_thread=False),
        "doors": Provide(provide_doors, sync_to_thread=False),
        "entering": Provide(provide_entering, sync_to_thread=False),
        "arriving": Provide(provide_arriving, sync_to_thread=False),
        "caller": Provide(provide_caller, sync_to_thread=False),
        "page": Provide(provide_page, sync_to_thread=False),
    }


def _without_options(app: AsgiApp) -> AsgiApp:
    """Litestar answers OPTIONS by itself, past every door; no browser of another origin is to ask here."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            refusal = _problem_of(Invalid("method-not-allowed", "OPTIONS is not known here", _HINT), METHOD_NOT_ALLOWED)
            await refusal.to_asgi_response(None, Request(scope))(scope, receive, send)
            return
        await app(scope, receive, send)

    return answer


def _document_or_problem(response: Response[Any]) -> Response[Any]:
    """Beside its document Litestar serves a page of its own for every path that it does not know."""
    if response.status_code == NotFound.status:
        raise NotFound("route-unknown", "there is no such path", _HINT)
    return response


def _problem(_: Request[Any, Any, Any], error: FastnessError) -> Response[bytes]:
    headers = {"retry-after": str(max(1, round(error.retry_after_s)))} if isinstance(error, Limited) else {}
    if error.status == Unauthenticated.status:  # RFC 6750, section 3; RFC 9470, section 3
        step_up = f', error="insufficient_user_authentication", max_age="{FRESH_S}"' if error.code == STEP_UP else ""
        headers["www-authenticate"] = f'Bearer realm="fastness"{step_up}'
    return Response(problems.encode(error), status_code=error.status, media_type=problems.CONTENT_TYPE, headers=headers)


def _http_problem(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    if error.status_code == NotFound.status:
        known: FastnessError = NotFound("route-unknown", f"there is no {request.method} {request.url.path}", _HINT)
    elif error.status_code == TooLarge.status:
        known = TooLarge("body-too-large", f"the body is larger than {LARGEST_BODY} bytes", "Send less at once.")
    elif error.status_code == METHOD_NOT_ALLOWED:
        known = Invalid("method-not-allowed", f"{request.method} is not known here", _HINT)
    elif error.status_code >= FastnessError.status:  # not the caller's doing, and its words are not meant for callers
        return _fault(request, error)
    else:
        known = Invalid("request-malformed", _malformed(error), _HINT)
    return _problem_of(known, error.status_code)


def _problem_of(error: FastnessError, status: int) -> Response[bytes]:
    return Response(problems.encode(error, status=status), status_code=status, media_type=problems.CONTENT_TYPE)


def _malformed(error: HTTPException) -> str:
    extra = error.extra if isinstance(error.extra, list) else []
    where = [f"{item.get('key', '')}: {item.get('message', '')}" for item in extra if isinstance(item, dict)]
    if where == ["data: 'data'"]:  # how Litestar says that nothing was sent
        return "the body is missing"
    return "; ".join(where) or error.detail


def _fault(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    _log.error("a fault in %s %s", request.method, request.url.path, exc_info=error)
    known = FastnessError("internal", "the house made a mistake; its log says more")
    return Response(problems.encode(known), status_code=known.status, media_type=problems.CONTENT_TYPE)
