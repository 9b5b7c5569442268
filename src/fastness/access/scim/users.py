"""Users by SCIM: making one makes a principal without rights, `active: false` ends it and all that was issued to it.

Only who was provisioned is seen and changed here: the house's own people are none of the directory service's business. What
is sent about a person is kept beside their principal and gives no rights.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable

import msgspec

from fastness.access import records as people
from fastness.access.directory import groups, leaving, tenants
from fastness.access.members import TOPIC
from fastness.access.scim import records
from fastness.access.scim.attributes import USERS, Json, Object
from fastness.access.scim.parts import Provisioning, ignored, require_body, require_version, resource
from fastness.access.scim.patches import patched
from fastness.access.scim.records import UserRow
from fastness.core.clock import uuid7
from fastness.core.errors import Conflict, Corrupt, Invalid, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.identity import PrincipalId, PrincipalKind
from fastness.foundation.storage import Reading, Transaction

_OTHER = re.compile(r"[^a-z0-9._-]+")
_LARGEST = 16_384


def create(tx: Transaction, scim: Provisioning, body: Json) -> Object:
    """A joiner. Raises Invalid, Conflict (`scim-uniqueness`), or Forbidden where the tenant has ended."""
    tenants.require_open(tx)
    sent = require_body(USERS, body)
    kept = USERS.clean(sent)
    active = kept.pop("active", True)
    name = _user_name(kept)
    if records.find_users(tx, user_key=name.casefold()):
        raise Conflict("scim-uniqueness", "a user of this userName exists already")
    principal = _principal(tx, name)
    people.add_principal(tx, principal, PrincipalKind.USER)
    tx.emit(
        tx.events.make(
            EventKind.PRINCIPAL_CREATED, f"principal:{principal}", reason="provisioned", details={"roles": ""}
        )
    )
    row = UserRow(
        uuid7(tx.now, tx.events.entropy), principal, name.casefold(), kept.get("externalId"), _written(kept), 1, tx.now,
        tx.now,
    )  # fmt: skip
    records.add_user(tx, row)
    _note(tx, row, "created", {"ignored": ignored(sent)})
    tx.touch(TOPIC)
    if not active:
        leaving.leave(tx, principal, "provisioned-inactive")
    return shown(tx, scim, [row])[0]


def replace(tx: Transaction, scim: Provisioning, user: str, body: Json, if_match: str) -> Object:
    """A mover: what is not sent is forgotten. Raises as `create`, and NotFound."""
    row = one(tx, user)
    require_version(if_match, row.version)
    sent = require_body(USERS, body)
    return _changed(tx, scim, row, USERS.clean(sent), ignored(sent))


def patch(tx: Transaction, scim: Provisioning, user: str, body: Json, if_match: str) -> Object:
    """A mover, or with `active: false` a leaver. Raises as `create`, and NotFound."""
    row = one(tx, user)
    require_version(if_match, row.version)
    if not isinstance(body, dict):
        raise Invalid("scim-invalidSyntax", "the body is no JSON object")
    before = _kept(row) | {"active": people.find_principals(tx, row.principal)[row.principal].active}
    return _changed(tx, scim, row, patched(USERS, before, body), "")


def delete(tx: Transaction, user: str, if_match: str) -> None:
    """A leaver: the principal is ended, and what was sent about the person is forgotten. Raises NotFound, Conflict."""
    row = one(tx, user)
    require_version(if_match, row.version)
    held = people.find_principals(tx, row.principal)[row.principal]
    if held.active:
        leaving.leave(tx, row.principal, "deprovisioned")
    for group in people.find_groups(tx):
        if group.source == groups.SCIM and group.id in held.groups:
            groups.remove_member(tx, group.id, row.principal, groups.SCIM)
    records.delete_user(tx, row.id)
    _note(tx, row, "deleted", {})


def one(reading: Reading, user: str) -> UserRow:
    """The row of a user. Raises NotFound."""
    found = records.find_users(reading, id=user[:36])
    if not found:
        raise NotFound("scim-unknown", "there is no such user")
    return found[0]


def shown(reading: Reading, scim: Provisioning, rows: Iterable[UserRow]) -> list[Object]:
    """Users as they are sent."""
    found = list(rows)
    alone = found[0].principal if len(found) == 1 else None
    standing = people.find_principals(reading, alone)
    names = {group.id: group.name for group in people.find_groups(reading)}
    users = []
    for row in found:
        holder = standing[row.principal]
        kept = _kept(row) | {"active": holder.active}
        if belongs := [{"value": group, "display": names[group]} for group in sorted(holder.groups)]:
            kept["groups"] = belongs
        users.append(resource(USERS, scim, row.id, (row.created_at, row.changed_at, row.version), kept))
    return users


def _changed(tx: Transaction, scim: Provisioning, row: UserRow, kept: Object, left_out: str) -> Object:
    active = kept.pop("active", None)
    name = _user_name(kept)
    same_name = records.find_users(tx, user_key=name.casefold())
    if any(other.id != row.id for other in same_name):
        raise Conflict("scim-uniqueness", "a user of this userName exists already")
    before = _kept(row)
    named = sorted(part for part in before.keys() | kept.keys() if before.get(part) != kept.get(part))
    changed = row._replace(
        user_key=name.casefold(), external_id=kept.get("externalId"), document=_written(kept), version=row.version + 1,
        changed_at=tx.now,
    )  # fmt: skip
    if records.change_user(tx, changed) != 1:
        raise Conflict("scim-version", "the resource was changed since it was read", "Read it again.")
    _note(tx, changed, "changed", {"attributes": " ".join(named), "ignored": left_out})
    is_active = people.find_principals(tx, row.principal)[row.principal].active
    if active is False and is_active:
        leaving.leave(tx, row.principal, "deprovisioned")
    elif active is True and not is_active:
        tenants.require_open(tx)
        leaving.take_back(tx, row.principal, "provisioned")
    return shown(tx, scim, [changed])[0]


def _user_name(kept: Object) -> str:
    name = kept.get("userName")
    if not isinstance(name, str) or not name.strip():
        raise Invalid("scim-invalidValue", "userName is required")
    return name


def _principal(tx: Transaction, name: str) -> PrincipalId:
    """`user:` and a name made of the userName; with a digest behind it where that changed it, or it is taken."""
    folded = name.casefold()
    slug = _OTHER.sub("-", folded).replace("..", ".").strip("._-")[:48].rstrip("._-") or "user"
    if slug == folded and not people.find_principals(tx, PrincipalId(f"user:{slug}")):
        return PrincipalId(f"user:{slug}")
    digest = hashlib.sha256(f"{folded}\0".encode("utf-8", "replace") + tx.events.entropy(16)).hexdigest()[:10]
    return PrincipalId(f"user:{slug.replace('..', '.')}-{digest}")


def _written(kept: Object) -> str:
    text = json.dumps(kept, sort_keys=True)
    if len(text) > _LARGEST:
        raise Invalid("scim-invalidValue", "there is too much about this user")
    return text


def _kept(row: UserRow) -> Object:
    try:
        return msgspec.json.decode(row.document, type=Object)
    except msgspec.MsgspecError as error:
        raise Corrupt("access-changed", "a provisioned user is none") from error


def _note(tx: Transaction, row: UserRow, change: str, details: dict[str, Detail]) -> None:
    told = {name: value for name, value in details.items() if value} | {"user": row.id}
    tx.emit(tx.events.make(EventKind.DIRECTORY_CHANGED, f"principal:{row.principal}", reason=change, details=told))
