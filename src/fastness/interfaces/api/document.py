"""The OpenAPI document, made truthful: what Litestar cannot know of the answers is added to what it wrote.

Each refusal is a problem (RFC 9457), whatever its status; each operation says its permission, its proof and its pace.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import msgspec
from litestar import Request
from litestar.openapi.plugins import JsonRenderPlugin

from fastness.interfaces.api.conditions import plain
from fastness.interfaces.api.routes import conditional_routes, control_routes
from fastness.wire import control, directory, federation, oauth, overview, possession, problems, rules
from fastness.wire.overview import Proof, RouteView

Document = dict[str, Any]
MODULES = (control, directory, federation, oauth, overview, possession, rules)
"""Where the messages stand; no two of them have one name."""

_PROBLEM: Document = {
    "type": "object",
    "description": "A refusal, or what else went wrong. Source: RFC 9457.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": f"{problems.TYPE_PREFIX} and a stable code"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what happened this time"},
        "hint": {"type": "string", "description": "what the caller can change"},
        "request_id": {"type": "string"},
        "subject": {"type": "string", "description": "digest of what takes the approval of others"},
        "permission": {"type": "string", "description": "for which it takes that"},
    },
}
_REFUSED: Document = {
    "description": "Refused, or failed: see `type`.",
    "headers": {
        "Retry-After": {"description": "Seconds, with 429 and some 503.", "schema": {"type": "integer"}},
        "WWW-Authenticate": {"description": "With 401.", "schema": {"type": "string"}},
    },
    "content": {problems.CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_UNCHANGED: Document = {"description": "What the caller has, by If-None-Match, is what stands."}
_ONCE: Document = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Made by the caller for this request alone: its repetition within a day is answered alike and done once.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
_ETAG: Document = {"description": "Of this answer.", "schema": {"type": "string"}}
_IF_NONE_MATCH: Document = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "Entity tags that the caller has.",
    "schema": {"type": "string", "pattern": '^"[0-9a-f]{32}"$'},
}
_IF_MATCH: Document = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "Entity tags of what is changed, as a GET of it gives them: 412 where it was changed meanwhile, 428 where the house asks for one.",
    "schema": {"type": "string", "pattern": '^"[0-9a-f]{32}"$'},
}


class DocumentPlugin(JsonRenderPlugin):
    """Serves the completed document."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: Document) -> bytes:
        """The document as JSON."""
        doors = {(view.method, plain(view.path)): view for view in control_routes(request.app)}
        replacing = {(view.method, plain(view.path)) for view in conditional_routes(request.app)}
        return self.render_json(request, completed(openapi_schema, doors, replacing))


def completed(
    document: Document, doors: dict[tuple[str, str], RouteView], replacing: Container[tuple[str, str]] = ()
) -> Document:
    """`document` with what all operations have in common, and what stands before each.

    Args:
        doors: by method and path, parameters as `{name}`.
        replacing: those that hold If-Match.
    """
    components = {**document["components"]}
    components["schemas"] = {**components["schemas"], **_messages(), "Problem": _PROBLEM}
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key or a token."},
        "signature": {
            "type": "apiKey",
            "in": "header",
            "name": "Signature",
            "description": "Of the request, by RFC 9421.",
        },
        "certificate": {"type": "mutualTLS", "description": "Of the connection, where the settings ask for one."},
    }
    paths = {
        path: {method: _completed(method, operation, doors[method.upper(), path]) for method, operation in item.items()}
        for path, item in document["paths"].items()
    }
    for path, item in paths.items():
        for method, operation in item.items():
            if (method.upper(), path) in replacing:
                operation["parameters"].append(_IF_MATCH)
    return {**document, "components": components, "paths": paths}


def _messages() -> Document:
    """The schemas of all messages, with what their fields are described by."""
    _, found = msgspec.json.schema_components(
        list({message for module in MODULES for message in vars(module).values() if _is_message(message)}),
        ref_template="#/components/schemas/{name}",
        schema_hook=_anything,
    )
    return found


def _anything(_: type) -> Document:
    """`object`, in the messages that hold JSON of others."""
    return {"description": "any JSON"}


def _is_message(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, control.Message)


def _completed(method: str, operation: Document, door: RouteView) -> Document:
    responses = {status: answer for status, answer in operation["responses"].items() if status[0] not in "45"}
    responses["default"] = _REFUSED
    parameters = list(operation.get("parameters", []))
    if method == "get":
        parameters.append(_IF_NONE_MATCH)
        if "200" in responses:
            responses["200"] = {**responses["200"], "headers": {**responses["200"].get("headers", {}), "ETag": _ETAG}}
        responses["304"] = _UNCHANGED
    elif method == "post" and door.proof is Proof.CREDENTIAL:
        parameters.append(_ONCE)
    return {
        **operation,
        "parameters": parameters,
        "responses": responses,
        "security": [{"bearer": []}, {"signature": []}, {"certificate": []}] if door.proof is Proof.CREDENTIAL else [],
        "x-permission": door.permission,
        "x-proof": door.proof.value,
        "x-limit": {"per_s": door.per_s, "burst": door.burst},
    }
