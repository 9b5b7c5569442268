"""What SCIM works with: the settings, a request and a reply, versions, and the shape of resources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from fastness.access.scim.attributes import Json, Kind, Object
from fastness.core.clock import Instant, rfc3339
from fastness.core.errors import Conflict, Invalid
from fastness.core.identity import Role

RIGHTS: Final = ("roles", "entitlements", "groups", "password", "x509Certificates", "grants", "tenant", "kind")
"""Attributes by which somebody might try to give rights; not kept, and named in the record if they come."""


@dataclass(frozen=True, slots=True)
class Provisioning:
    """How a tenant is provisioned.

    Attributes:
        base: address of the service, such as `https://fastness.example/scim/v2`.
        group_roles: by the name of a group, the roles that belonging to it gives; case does not count. The one way from
            the directory service to rights, and it stands in the settings, not in what is sent.
    """

    base: str
    group_roles: Mapping[str, frozenset[Role]] = field(default_factory=lambda: MappingProxyType({}))

    def roles_of(self, name: str) -> frozenset[Role]:
        """The roles that a group of this name gives."""
        folded = name.casefold()
        return next((roles for group, roles in self.group_roles.items() if group.casefold() == folded), frozenset())


@dataclass(frozen=True, slots=True)
class ScimRequest:
    """A request, its path below the base.

    Attributes:
        body: the decoded JSON object; None where there is none.
        if_match, if_none_match: the headers; empty where they are missing.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    body: Json = None
    if_match: str = ""
    if_none_match: str = ""


@dataclass(frozen=True, slots=True)
class ScimReply:
    """What is sent back, as `application/scim+json`; a body of None is no body."""

    status: int
    body: Object | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def etag(version: int) -> str:
    """The weak entity tag of a version. RFC 7644, section 3.14."""
    return f'W/"{version}"'


def require_version(if_match: str, version: int) -> None:
    """Return if the condition of a change holds.

    Raises:
        Conflict: `scim-version`: it was changed since it was read.
    """
    if if_match and if_match.strip() != "*" and etag(version) not in [tag.strip() for tag in if_match.split(",")]:
        raise Conflict("scim-version", "the resource was changed since it was read", "Read it again.")


def resource(
    kind: Kind, scim: Provisioning, identity: str, times: tuple[Instant, Instant, int], kept: Object
) -> Object:
    """A resource as it is sent; `times` are its making, its last change and its version."""
    created, changed, version = times
    schemas = [kind.schema, *([kind.extension] if kind.extension and kind.extension in kept else [])]
    meta = {
        "resourceType": kind.name,
        "created": rfc3339(created),
        "lastModified": rfc3339(changed),
        "location": f"{scim.base}{kind.endpoint}/{identity}",
        "version": etag(version),
    }
    return {"schemas": schemas, "id": identity, **kept, "meta": meta}


def require_body(kind: Kind, body: Json) -> Object:
    """The object that was sent, if it says that it is one of this kind.

    Raises:
        Invalid: `scim-invalidSyntax`.
    """
    if not isinstance(body, dict) or not all(isinstance(name, str) for name in body):
        raise Invalid("scim-invalidSyntax", "the body is no JSON object")
    schemas = body.get("schemas")
    if not isinstance(schemas, list) or kind.schema not in schemas:
        raise Invalid("scim-invalidSyntax", f"the body lacks the schema {kind.schema}")
    return body


def ignored(body: Object) -> str:
    """The names of attributes in `body` by which somebody might try to give rights."""
    sent = {name.lower() for name in body}
    return " ".join(name for name in RIGHTS if name.lower() in sent)
