"""The attributes of SCIM users and groups that this house keeps, as data: cleaning, filtering, patching and `/Schemas` go by it.

What is not named here is not kept. Roles, entitlements, passwords and certificates are left out on purpose: nobody gives
themselves rights by an attribute, and rights come from groups alone.

Source: RFC 7643, sections 3, 4.1, 4.2, 4.3 and 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from fastness.core.errors import Invalid

Json = Any
"""A JSON value, as it was sent or is kept."""

Object = dict[str, Any]
"""A JSON object."""

USER: Final = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP: Final = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE: Final = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
MOST_VALUES: Final = 16
MOST_MEMBERS: Final = 10_000
LONGEST: Final = 255


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a schema; `type` and `mutability` in the words of RFC 7643, section 7."""

    name: str
    type: str = "string"
    multi: bool = False
    sub: tuple[Attribute, ...] = ()
    mutability: str = "readWrite"
    required: bool = False
    exact: bool = False
    unique: str = "none"
    says: str = ""

    def shown(self) -> Object:
        """The attribute as `/Schemas` shows it."""
        shown: Object = {
            "name": self.name, "type": self.type, "multiValued": self.multi, "description": self.says or self.name,
            "required": self.required, "mutability": self.mutability, "returned": "default",
        }  # fmt: skip
        if self.type in {"string", "reference"}:
            shown["caseExact"] = self.exact
            shown["uniqueness"] = self.unique
        if self.type == "reference":
            shown["referenceTypes"] = ["User"] if self.name == "$ref" else ["external"]
        if self.sub:
            shown["subAttributes"] = [sub.shown() for sub in self.sub]
        return shown


def _values(name: str, says: str) -> Attribute:
    sub = (Attribute("value"), Attribute("display"), Attribute("type"), Attribute("primary", "boolean"))
    return Attribute(name, "complex", True, sub, says=says)


_MANAGER = (Attribute("value", exact=True), Attribute("displayName", mutability="readOnly"))
ENTERPRISE_USER: Final = (
    Attribute("employeeNumber"),
    Attribute("costCenter"),
    Attribute("organization"),
    Attribute("division"),
    Attribute("department"),
    Attribute("manager", "complex", sub=_MANAGER),
)
_NAME = tuple(
    Attribute(part)
    for part in ("formatted", "familyName", "givenName", "middleName", "honorificPrefix", "honorificSuffix")
)
_READ = {"mutability": "readOnly"}
USER_ATTRIBUTES: Final = (
    Attribute("userName", required=True, unique="server", says="By what the person is known to the directory service."),
    Attribute("name", "complex", sub=_NAME),
    Attribute("displayName"),
    Attribute("nickName"),
    Attribute("title"),
    Attribute("userType"),
    Attribute("preferredLanguage"),
    Attribute("locale"),
    Attribute("timezone"),
    Attribute("active", "boolean", says="Whether the person belongs; false ends sessions, tokens and keys at once."),
    _values("emails", "Addresses of the person."),
    _values("phoneNumbers", "Telephone numbers of the person."),
    Attribute(
        "groups", "complex", True,
        (Attribute("value", exact=True, mutability="readOnly"), Attribute("display", mutability="readOnly")),
        "readOnly", says="Groups that the person belongs to; changed at the groups.",
    ),
)  # fmt: skip
GROUP_ATTRIBUTES: Final = (
    Attribute("displayName", required=True, unique="server", says="The settings say which roles a group of this name gives."),
    Attribute(
        "members", "complex", True,
        (
            Attribute("value", exact=True, required=True, mutability="immutable"),
            Attribute("display", mutability="readOnly"),
            Attribute("type", mutability="immutable"),
        ),
        says="Users; groups are not members of groups here.",
    ),
)  # fmt: skip
_COMMON = (
    Attribute("id", exact=True, mutability="readOnly"),
    Attribute("externalId", exact=True),
    Attribute(
        "meta", "complex", mutability="readOnly",
        sub=(
            Attribute("created", "dateTime"), Attribute("lastModified", "dateTime"), Attribute("resourceType"),
            Attribute("location", "reference"), Attribute("version", exact=True),
        ),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of resource."""

    name: str
    schema: str
    endpoint: str
    attributes: tuple[Attribute, ...]
    extension: str = ""
    extended: tuple[Attribute, ...] = ()

    def find(self, path: str) -> tuple[str, Attribute, Attribute | None]:
        """Where an attribute path leads: the extension or "", the attribute, and the sub-attribute.

        Raises:
            Invalid: `scim-invalidPath`.
        """
        extension, known = "", (*_COMMON, *self.attributes)
        lower = path.lower()
        for urn, attributes in ((self.schema, known), (self.extension, self.extended)):
            if urn and lower.startswith(f"{urn.lower()}:"):
                path, known, extension = path[len(urn) + 1 :], attributes, "" if urn == self.schema else urn
                break
        name, _, rest = path.partition(".")
        attribute = _named(known, name)
        sub = _named(attribute.sub, rest) if attribute is not None and rest else None
        if attribute is None or (rest and sub is None):
            raise Invalid("scim-invalidPath", f"there is no attribute {path[:80]!r}")
        return extension, attribute, sub

    def clean(self, body: Object) -> Object:
        """What is kept of a resource that was sent: attributes that are known and may be written.

        Raises:
            Invalid: `scim-invalidValue`.
        """
        writable = (*_COMMON, *self.attributes)
        kept = _clean_object(writable, {n: v for n, v in body.items() if not n.lower().startswith("urn:")})
        for name, value in body.items():
            is_extension = self.extension and name.lower() == self.extension.lower() and value is not None
            if is_extension and (extended := _clean_object(self.extended, _object(value, name))):
                kept[self.extension] = extended
        return kept


USERS: Final = Kind("User", USER, "/Users", USER_ATTRIBUTES, ENTERPRISE, ENTERPRISE_USER)
GROUPS: Final = Kind("Group", GROUP, "/Groups", GROUP_ATTRIBUTES)
KINDS: Final = (USERS, GROUPS)


def _named(attributes: tuple[Attribute, ...], name: str) -> Attribute | None:
    return next((one for one in attributes if one.name.lower() == name.lower()), None)


def _clean_object(attributes: tuple[Attribute, ...], body: Object) -> Object:
    kept: Object = {}
    for name, value in body.items():
        attribute = _named(attributes, name)
        if attribute is None or attribute.mutability == "readOnly" or value is None or value == []:
            continue
        if attribute.name in kept:
            raise _wrong(name, "stands there twice")
        kept[attribute.name] = clean_value(attribute, value)
    return {name: value for name, value in kept.items() if value not in ({}, [])}


def clean_value(attribute: Attribute, value: Json) -> Json:
    """A value of an attribute, as it is kept.

    Raises:
        Invalid: `scim-invalidValue`: another type, too long, too many, or what cannot be shown.
    """
    if not attribute.multi:
        return _clean_one(attribute, value)
    values = value if isinstance(value, list) else [value]
    if len(values) > (MOST_MEMBERS if attribute.name == "members" else MOST_VALUES):
        raise _wrong(attribute.name, "has too many values")
    found = [_clean_one(attribute, one) for one in values]
    if sum(1 for one in found if isinstance(one, dict) and one.get("primary") is True) > 1:
        raise _wrong(attribute.name, "has more than one primary value")
    return list({_same(one): one for one in found if one}.values())


def _same(value: Json) -> str:
    return repr(sorted(value.items())) if isinstance(value, dict) else repr(value)


def _clean_one(attribute: Attribute, value: Json) -> Json:
    if attribute.type == "complex":
        if isinstance(value, str) and attribute.name == "manager":
            value = {"value": value}  # as one large directory service sends it
        return _clean_object(attribute.sub, _object(value, attribute.name))
    if attribute.type == "boolean":
        if isinstance(value, str) and value.lower() in {"true", "false"}:
            return value.lower() == "true"  # as one large directory service sends it
        if not isinstance(value, bool):
            raise _wrong(attribute.name, "is true or false")
        return value
    if not isinstance(value, str) or len(value) > LONGEST or not value.isprintable():
        raise _wrong(attribute.name, f"is text of at most {LONGEST} printable characters")
    return value


def _object(value: Json, name: str) -> Object:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise _wrong(name, "is an object")
    return value


def _wrong(name: str, what: str) -> Invalid:
    return Invalid("scim-invalidValue", f"{name[:80]!r} {what}")
