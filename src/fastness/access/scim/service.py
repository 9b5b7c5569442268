"""The SCIM service: one function that answers every request, with the resources that describe the service itself.

Everything is a transaction in the tenant of the scope; an id of another tenant is an id that does not exist. Lists are read
by filter, and by page: 100 at a time, at most 200. Look-ups by userName, externalId and id ask the database by bound value.

Not offered, and said so in `/ServiceProviderConfig`: bulk, sorting, changing passwords.

Source: RFC 7644, sections 3 and 4; errors by section 3.12.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fastness.access.scim import groups, records, users
from fastness.access.scim.attributes import GROUPS, KINDS, USERS, Attribute, Json, Kind, Object
from fastness.access.scim.filters import Compare, Filter, matches, parse_filter
from fastness.access.scim.parts import Provisioning, ScimReply, ScimRequest
from fastness.core.clock import Instant
from fastness.core.errors import Corrupt, FastnessError, Invalid, NotFound, Unavailable
from fastness.core.identity import Scope
from fastness.foundation.storage import Reading, Records, Transaction

MEDIA_TYPE: Final = "application/scim+json"
PAGE: Final = 100
LARGEST_PAGE: Final = 200
_LIST: Final = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
_ERROR: Final = "urn:ietf:params:scim:api:messages:2.0:Error"
_CORE: Final = "urn:ietf:params:scim:schemas:core:2.0"
_ALWAYS: Final = frozenset({"schemas", "id", "meta"})
_INDEXED: Final = {"userName": "user_key", "externalId": "external_id", "id": "id"}


def serve(rows: Records, scope: Scope, now: Instant, scim: Provisioning, request: ScimRequest) -> ScimReply:
    """The reply to a request, its effects durable; a refusal is a reply too.

    Args:
        scope: of the directory service, whose permission `directory.provision` was decided.

    Raises:
        Unavailable, Corrupt: nothing could be decided: the records do not answer, or were changed.
    """
    try:
        if request.method == "GET":
            with rows.read(scope) as reading:
                return _read(reading, scim, request)
        with rows.begin(scope, now) as tx:
            return _write(tx, scim, request)
    except (Unavailable, Corrupt):
        raise
    except FastnessError as error:
        return refused(error)


def refused(error: FastnessError) -> ScimReply:
    """The reply that tells of an error. RFC 7644, section 3.12."""
    kind = error.code.removeprefix("scim-")
    status = 412 if kind == "version" else error.status
    body: Object = {"schemas": [_ERROR], "status": str(status), "detail": error.message}
    if error.code.startswith("scim-") and kind in {
        "invalidFilter", "invalidPath", "invalidSyntax", "invalidValue", "mutability", "noTarget", "uniqueness",
    }:  # fmt: skip
        body["scimType"] = kind
    return ScimReply(status, body)


def _split(path: str) -> tuple[str, str]:
    collection, _, rest = path.strip("/").partition("/")
    return f"/{collection}", rest


def _read(reading: Reading, scim: Provisioning, request: ScimRequest) -> ScimReply:
    collection, identity = _split(request.path)
    if collection in _ABOUT:
        return _about(scim, collection, identity)
    kind = next((kind for kind in KINDS if kind.endpoint == collection), None)
    if kind is None or "/" in identity:
        raise NotFound("scim-unknown", "there is nothing at this path")
    if not identity:
        return _page(reading, scim, kind, request.query)
    shown = (
        users.shown(reading, scim, [users.one(reading, identity)])
        if kind is USERS
        else groups.shown(reading, scim, [groups.one(reading, identity)])
    )[0]
    tag = shown["meta"]["version"]
    if request.if_none_match and tag in [one.strip() for one in request.if_none_match.split(",")]:
        return ScimReply(304, None, {"ETag": tag})
    return ScimReply(200, _projected(shown, request.query), {"ETag": tag})


_Change = Callable[[Transaction, Provisioning, str, Json, str], Object]
_CHANGES: Final[dict[tuple[str, str], _Change]] = {
    ("/Users", "PUT"): users.replace, ("/Users", "PATCH"): users.patch,
    ("/Groups", "PUT"): groups.replace, ("/Groups", "PATCH"): groups.patch,
}  # fmt: skip


def _write(tx: Transaction, scim: Provisioning, request: ScimRequest) -> ScimReply:
    collection, identity = _split(request.path)
    if request.method == "POST" and not identity and collection in {"/Users", "/Groups"}:
        made = users.create(tx, scim, request.body) if collection == "/Users" else groups.create(tx, scim, request.body)
        return ScimReply(201, made, {"ETag": made["meta"]["version"], "Location": made["meta"]["location"]})
    if request.method == "DELETE" and identity and collection in {"/Users", "/Groups"}:
        (users.delete if collection == "/Users" else groups.delete)(tx, identity, request.if_match)
        return ScimReply(204)
    change = _CHANGES.get((collection, request.method))
    if change is None or not identity:
        raise NotFound("scim-unknown", "there is nothing to be done at this path")
    made = change(tx, scim, identity, request.body, request.if_match)
    return ScimReply(200, made, {"ETag": made["meta"]["version"]})


def _page(reading: Reading, scim: Provisioning, kind: Kind, query: Mapping[str, str]) -> ScimReply:
    start = max(1, _number(query, "startIndex", 1))
    count = min(LARGEST_PAGE, max(0, _number(query, "count", PAGE)))
    text = query.get("filter", "")
    wanted = parse_filter(text, kind) if text else None
    found = _found(reading, scim, kind, wanted)
    if wanted is not None:
        found = [one for one in found if matches(wanted, one)]
    page = [_projected(one, query) for one in found[start - 1 : start - 1 + count]]
    return ScimReply(
        200,
        {
            "schemas": [_LIST],
            "totalResults": len(found),
            "startIndex": start,
            "itemsPerPage": len(page),
            "Resources": page,
        },
    )


def _found(reading: Reading, scim: Provisioning, kind: Kind, wanted: Filter | None) -> list[Object]:
    if kind is GROUPS:
        return groups.shown(reading, scim, records.find_groups(reading))
    equal: dict[str, str] = {}
    if isinstance(wanted, Compare) and wanted.op == "eq" and not wanted.extension and isinstance(wanted.value, str):
        column = _INDEXED.get(wanted.attribute.name)
        if column is not None:
            equal = {column: wanted.value.casefold() if column == "user_key" else wanted.value}
    return users.shown(reading, scim, records.find_users(reading, **equal))


def _number(query: Mapping[str, str], name: str, otherwise: int) -> int:
    text = query.get(name, "")
    if not text:
        return otherwise
    if len(text) > 9 or not text.removeprefix("-").isascii() or not text.removeprefix("-").isdigit():
        raise Invalid("scim-invalidValue", f"{name} is a whole number")
    return int(text)


def _projected(shown: Object, query: Mapping[str, str]) -> Object:
    """The attributes that were asked for, whole ones; RFC 7644, section 3.9."""
    only = {part.strip().partition(".")[0].lower() for part in query.get("attributes", "").split(",") if part.strip()}
    but = {part.strip().lower() for part in query.get("excludedAttributes", "").split(",") if part.strip()}
    if not only and not but:
        return shown
    return {
        name: value
        for name, value in shown.items()
        if name in _ALWAYS or ((not only or name.lower() in only) and name.lower() not in but)
    }


def _about(scim: Provisioning, collection: str, identity: str) -> ScimReply:
    found = _ABOUT[collection](scim)
    if isinstance(found, dict):
        if identity:
            raise NotFound("scim-unknown", "there is nothing at this path")
        return ScimReply(200, found)
    if identity:
        one = next((one for one in found if one["id"] == identity), None)
        if one is None:
            raise NotFound("scim-unknown", "there is nothing at this path")
        return ScimReply(200, one)
    body = {
        "schemas": [_LIST],
        "totalResults": len(found),
        "startIndex": 1,
        "itemsPerPage": len(found),
        "Resources": found,
    }
    return ScimReply(200, body)


def _config(scim: Provisioning) -> Object:
    scheme = {
        "type": "oauthbearertoken",
        "name": "OAuth Bearer Token",
        "description": "An API key or access token that may provision.",
        "specUri": "https://www.rfc-editor.org/info/rfc6750",
        "primary": True,
    }
    return {
        "schemas": [f"{_CORE}:ServiceProviderConfig"],
        "patch": {"supported": True},
        "bulk": {"supported": False, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": True, "maxResults": LARGEST_PAGE},
        "changePassword": {"supported": False},
        "sort": {"supported": False},
        "etag": {"supported": True},
        "authenticationSchemes": [scheme],
        "meta": {"resourceType": "ServiceProviderConfig", "location": f"{scim.base}/ServiceProviderConfig"},
    }


def _types(scim: Provisioning) -> list[Object]:
    return [
        {
            "schemas": [f"{_CORE}:ResourceType"],
            "id": kind.name,
            "name": kind.name,
            "endpoint": kind.endpoint,
            "description": f"{kind.name} account" if kind is USERS else kind.name,
            "schema": kind.schema,
            **({"schemaExtensions": [{"schema": kind.extension, "required": False}]} if kind.extension else {}),
            "meta": {"resourceType": "ResourceType", "location": f"{scim.base}/ResourceTypes/{kind.name}"},
        }
        for kind in KINDS
    ]


def _schemas(scim: Provisioning) -> list[Object]:
    named: list[tuple[str, str, tuple[Attribute, ...]]] = []
    for kind in KINDS:
        named.append((kind.schema, kind.name, kind.attributes))
        if kind.extension:
            named.append((kind.extension, f"Enterprise{kind.name}", kind.extended))
    return [
        {
            "schemas": [f"{_CORE}:Schema"],
            "id": urn,
            "name": name,
            "description": name,
            "attributes": [attribute.shown() for attribute in attributes],
            "meta": {"resourceType": "Schema", "location": f"{scim.base}/Schemas/{urn}"},
        }
        for urn, name, attributes in named
    ]


_ABOUT: Final[dict[str, Callable[[Provisioning], Object | list[Object]]]] = {
    "/ServiceProviderConfig": _config,
    "/ResourceTypes": _types,
    "/Schemas": _schemas,
}
