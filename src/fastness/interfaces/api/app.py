"""The control plane as an ASGI application, with its OpenAPI document at `/api/v1/openapi.json`."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Litestar, MediaType, Request, Response, Router, get
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from fastness import __version__
from fastness.app import House
from fastness.core.errors import FastnessError, Invalid, Limited, NotFound
from fastness.interfaces.api.access import AccessRoutes
from fastness.interfaces.api.audit import AuditRoutes
from fastness.interfaces.api.doors import Caller, Doors
from fastness.interfaces.api.models import ModelRoutes
from fastness.wire import problems

AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]

_LARGEST_BODY = 1 << 20
_log = logging.getLogger(__name__)


@get("/healthz", media_type=MediaType.TEXT, sync_to_thread=False)
def healthz() -> str:
    """Whether the process answers."""
    return "ok\n"


def create_api(house: House) -> AsgiApp:
    """The control plane of `house`."""
    doors = Doors(house)

    def provide_house() -> House:
        return house

    def provide_doors() -> Doors:
        return doors

    def provide_caller(request: Request[Any, Any, Any]) -> Caller:
        header = request.headers.get("authorization")
        return doors.identify(header.encode("latin-1") if header is not None else None, request.url.path)

    app: AsgiApp = Litestar(
        [healthz, Router("/api/v1", route_handlers=[AccessRoutes, ModelRoutes, AuditRoutes])],
        dependencies={
            "house": Provide(provide_house, sync_to_thread=False),
            "doors": Provide(provide_doors, sync_to_thread=False),
            "caller": Provide(provide_caller, sync_to_thread=True),
        },
        exception_handlers={FastnessError: _problem, HTTPException: _http_problem, Exception: _fault},
        openapi_config=OpenAPIConfig(
            title="Fastness control plane", version=__version__, path="/api/v1", render_plugins=[JsonRenderPlugin()]
        ),
        request_max_body_size=_LARGEST_BODY,
        logging_config=None,
        signature_types=[House, Doors, Caller],
    ).__call__
    return app


def _problem(_: Request[Any, Any, Any], error: FastnessError) -> Response[bytes]:
    headers = {"retry-after": str(max(1, round(error.retry_after_s)))} if isinstance(error, Limited) else {}
    return Response(problems.encode(error), status_code=error.status, media_type=problems.CONTENT_TYPE, headers=headers)


def _http_problem(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    if error.status_code == NotFound.status:
        known: FastnessError = NotFound("route-unknown", f"there is no {request.method} {request.url.path}")
    else:
        extra = error.extra if isinstance(error.extra, list) else []
        where = "; ".join(
            f"{item.get('key', '')}: {item.get('message', '')}" for item in extra if isinstance(item, dict)
        )
        known = Invalid("request-malformed", where or error.detail, "See /api/v1/openapi.json.")
    body = problems.encode(known, status=error.status_code)
    return Response(body, status_code=error.status_code, media_type=problems.CONTENT_TYPE)


def _fault(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    _log.error("a fault in %s %s", request.method, request.url.path, exc_info=error)
    known = FastnessError("internal", "the house made a mistake; its log says more")
    return Response(problems.encode(known), status_code=known.status, media_type=problems.CONTENT_TYPE)
