"""SCIM patches: operations on a copy of what is kept; what comes out is cleaned like a resource that was sent whole.

Source: RFC 7644, section 3.5.2. Operations are read without regard to case, for one large directory service writes `Add`.
"""

from __future__ import annotations

import copy
from typing import Final

from fastness.access.scim.attributes import ENTERPRISE, Attribute, Json, Kind, Object, clean_value
from fastness.access.scim.filters import Compare, Path, fits, parse_path
from fastness.core.errors import Invalid

SCHEMA: Final = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
MOST_OPERATIONS: Final = 100


def patched(kind: Kind, kept: Object, body: Object) -> Object:
    """What is kept after the operations in `body`; all of them, or none.

    Raises:
        Invalid: `scim-invalidSyntax`, `scim-invalidPath`, `scim-invalidValue`, `scim-noTarget` or `scim-mutability`.
    """
    operations = next((value for name, value in body.items() if name.lower() == "operations"), None)
    if SCHEMA not in _texts(body.get("schemas")) or not isinstance(operations, list):
        raise Invalid("scim-invalidSyntax", "a patch has the schema PatchOp and a list of Operations")
    if not 0 < len(operations) <= MOST_OPERATIONS:
        raise Invalid("scim-invalidSyntax", f"a patch has 1 to {MOST_OPERATIONS} operations")
    found = copy.deepcopy(kept)
    for operation in operations:
        if not isinstance(operation, dict):
            raise Invalid("scim-invalidSyntax", "an operation is an object")
        _apply(kind, found, operation)
    return kind.clean(found)


def _texts(value: Json) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _apply(kind: Kind, found: Object, operation: Object) -> None:
    op, path, value = operation.get("op"), operation.get("path"), operation.get("value")
    name = op.lower() if isinstance(op, str) else ""
    if name not in {"add", "replace", "remove"}:
        raise Invalid("scim-invalidSyntax", "an operation is add, replace or remove")
    if path is None or path == "":
        _whole(kind, found, name, value)
    elif isinstance(path, str):
        if kind.extension and path.lower() == kind.extension.lower():
            _extension(kind, found, name, value)
        else:
            _one(found, parse_path(path, kind), name, value)
    else:
        raise Invalid("scim-invalidPath", "a path is text")


def _whole(kind: Kind, found: Object, op: str, value: Json) -> None:
    """Without a path the value is an object of attributes; keys may be paths, as one large directory service sends them."""
    if op == "remove":
        raise Invalid("scim-noTarget", "a remove has a path")
    if not isinstance(value, dict):
        raise Invalid("scim-invalidValue", "without a path, the value is an object")
    for name, one in value.items():
        if not isinstance(name, str):
            raise Invalid("scim-invalidValue", "attributes have names")
        if name.lower() in {"schemas", "id", "meta"}:
            continue
        if kind.extension and name.lower() == kind.extension.lower():
            _extension(kind, found, op, one)
        else:
            _one(found, parse_path(name, kind), op, one)


def _extension(kind: Kind, found: Object, op: str, value: Json) -> None:
    if op == "remove":
        found.pop(ENTERPRISE, None)
        return
    if not isinstance(value, dict):
        raise Invalid("scim-invalidValue", "the value is an object")
    for name, one in value.items():
        _one(found, parse_path(f"{kind.extension}:{name}", kind), op, one)


def _one(found: Object, path: Path, op: str, value: Json) -> None:
    attribute, sub = path.attribute, path.sub
    if "readOnly" in {attribute.mutability, sub.mutability if sub is not None else ""}:
        raise Invalid("scim-mutability", f"{attribute.name} is read only")
    if sub is not None and attribute.multi and path.where is None:
        raise Invalid("scim-invalidPath", f"{attribute.name} has many values: choose with [filter]")
    holder = found.setdefault(path.extension, {}) if path.extension else found
    if value is None:
        op = "remove"
    if path.where is not None:
        _among(holder, path, op, value)
    elif sub is not None:
        _sub(holder, path, op, value)
    elif op == "remove":
        _remove(holder, path, value)
    else:
        _put(holder, attribute, op, value)


def _put(holder: Object, attribute: Attribute, op: str, value: Json) -> None:
    if op == "add" and attribute.multi:
        holder[attribute.name] = _primary([*holder.get(attribute.name, []), *clean_value(attribute, value)])
    elif op == "add" and attribute.type == "complex":
        holder[attribute.name] = {**holder.get(attribute.name, {}), **clean_value(attribute, value)}
    else:
        holder[attribute.name] = clean_value(attribute, value)


def _remove(holder: Object, path: Path, value: Json) -> None:
    """The whole attribute; or, as one large directory service sends it, of many values only those that `value` lists."""
    attribute = path.attribute
    if attribute.required:
        raise Invalid("scim-invalidValue", f"{attribute.name} is required")
    if attribute.multi and value is not None:
        gone = {one.get("value") for one in clean_value(attribute, value)}
        holder[attribute.name] = [one for one in holder.get(attribute.name, []) if one.get("value") not in gone]
    else:
        holder.pop(attribute.name, None)


def _sub(holder: Object, path: Path, op: str, value: Json) -> None:
    assert path.sub is not None
    inner = holder.setdefault(path.attribute.name, {})
    if op == "remove":
        inner.pop(path.sub.name, None)
    else:
        inner[path.sub.name] = clean_value(path.sub, value)


def _among(holder: Object, path: Path, op: str, value: Json) -> None:
    attribute, sub, where = path.attribute, path.sub, path.where
    assert where is not None
    values: list[Object] = holder.get(attribute.name, [])
    chosen = [one for one in values if fits(where, one)]
    if op == "remove" and sub is None:
        holder[attribute.name] = [one for one in values if one not in chosen]
        return
    if not chosen:
        chosen = [_named_by(path, op)]
        holder[attribute.name] = [*values, *chosen]
    for one in chosen:
        if sub is None:
            for new in clean_value(attribute, value)[:1]:
                one.update(new)
        elif op == "remove":
            one.pop(sub.name, None)
        else:
            one[sub.name] = clean_value(sub, value)


def _named_by(path: Path, op: str) -> Object:
    """A new value that the path names: `emails[type eq "work"].value` makes it where there is none yet."""
    where = path.where
    if op == "remove" or not isinstance(where, Compare) or where.op != "eq" or where.sub is None:
        raise Invalid("scim-noTarget", f"no value of {path.attribute.name} fits the path")
    return {where.sub.name: where.value}


def _primary(values: list[Object]) -> list[Object]:
    """The values, the last primary one alone being primary. RFC 7644, section 3.5.2."""
    last = max((number for number, one in enumerate(values) if one.get("primary") is True), default=-1)
    return [
        {name: part for name, part in one.items() if name != "primary" or number == last}
        for number, one in enumerate(values)
    ]
