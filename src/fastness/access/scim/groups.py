"""Groups by SCIM. Their members are provisioned users; their roles are what the settings say about their names.

Only groups that were made here are seen and changed here, so the directory service never gets at a group of the house.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastness.access import records as people
from fastness.access.directory import groups, tenants
from fastness.access.scim import records
from fastness.access.scim.attributes import GROUPS, Json, Object
from fastness.access.scim.parts import Provisioning, require_body, require_version, resource
from fastness.access.scim.patches import patched
from fastness.access.scim.records import GroupRow
from fastness.core.errors import Conflict, Invalid, NotFound
from fastness.core.events import EventKind
from fastness.core.identity import PrincipalId
from fastness.foundation.storage import Reading, Transaction


def create(tx: Transaction, scim: Provisioning, body: Json) -> Object:
    """A new group. Raises Invalid, Conflict (`scim-uniqueness`), or Forbidden where the tenant has ended."""
    tenants.require_open(tx)
    kept = GROUPS.clean(require_body(GROUPS, body))
    name = _name(kept)
    _require_free(tx, name, "")
    group = groups.create_group(tx, name, scim.roles_of(name), groups.SCIM)
    row = GroupRow(group, kept.get("externalId"), 1, tx.now, tx.now)
    records.put_group(tx, row)
    _set_members(tx, group, kept.get("members", []))
    return shown(tx, scim, [row])[0]


def replace(tx: Transaction, scim: Provisioning, group: str, body: Json, if_match: str) -> Object:
    """The group as it is sent: other members leave it. Raises as `create`, and NotFound."""
    row = one(tx, group)
    require_version(if_match, row.version)
    return _changed(tx, scim, row, GROUPS.clean(require_body(GROUPS, body)))


def patch(tx: Transaction, scim: Provisioning, group: str, body: Json, if_match: str) -> Object:
    """Members come and go, the name changes. Raises as `create`, and NotFound."""
    row = one(tx, group)
    require_version(if_match, row.version)
    if not isinstance(body, dict):
        raise Invalid("scim-invalidSyntax", "the body is no JSON object")
    (before,) = shown(tx, scim, [row])
    kept: Object = {name: before[name] for name in ("displayName", "externalId", "members") if name in before}
    kept["members"] = [{"value": member["value"]} for member in kept.get("members", [])]
    return _changed(tx, scim, row, patched(GROUPS, kept, body))


def delete(tx: Transaction, group: str, if_match: str) -> None:
    """Remove the group; its members lose its roles. Raises NotFound, or Conflict where no administrator would be left."""
    row = one(tx, group)
    require_version(if_match, row.version)
    records.drop_group(tx, group)
    groups.delete_group(tx, group, groups.SCIM)


def one(reading: Reading, group: str) -> GroupRow:
    """The row of a group. Raises NotFound."""
    found = records.find_groups(reading, group[:36])
    if not found:
        raise NotFound("scim-unknown", "there is no such group")
    return found[0]


def shown(reading: Reading, scim: Provisioning, rows: Iterable[GroupRow]) -> list[Object]:
    """Groups as they are sent."""
    found = list(rows)
    users = {user.principal: user.id for user in records.find_users(reading)}
    alone = found[0].id if len(found) == 1 else None
    names = {group.id: group.name for group in people.find_groups(reading, alone)}
    members: dict[str, list[dict[str, str]]] = {}
    for member in people.find_members(reading, alone):
        if member.principal in users:
            value = {"value": users[member.principal], "type": "User"}
            members.setdefault(member.group, []).append(value)
    sent = []
    for row in found:
        kept: Object = {"displayName": names[row.id]}
        if row.external_id is not None:
            kept["externalId"] = row.external_id
        if row.id in members:
            kept["members"] = members[row.id]
        sent.append(resource(GROUPS, scim, row.id, (row.created_at, row.changed_at, row.version), kept))
    return sent


def _changed(tx: Transaction, scim: Provisioning, row: GroupRow, kept: Object) -> Object:
    name = _name(kept)
    _set_members(tx, row.id, kept.get("members", []))
    present = people.find_groups(tx, row.id)[0]
    roles = scim.roles_of(name)
    if (present.name, present.roles) != (name, roles):
        _require_free(tx, name, row.id)
        groups.change_group(tx, row.id, name=name, roles=roles, source=groups.SCIM)
    changed = row._replace(external_id=kept.get("externalId"), version=row.version + 1, changed_at=tx.now)
    records.put_group(tx, changed)
    tx.emit(tx.events.make(EventKind.DIRECTORY_CHANGED, f"group:{row.id}", reason="changed"))
    return shown(tx, scim, [changed])[0]


def _set_members(tx: Transaction, group: str, members: list[Object]) -> None:
    by_id = {user.id: user.principal for user in records.find_users(tx)}
    wanted: set[PrincipalId] = set()
    for member in members:
        if str(member.get("type", "User")).lower() == "group":
            raise Invalid("scim-invalidValue", "groups are not members of groups here", "List their users instead.")
        principal = by_id.get(str(member.get("value", "")))
        if principal is None:
            raise Invalid("scim-invalidValue", "a member is no provisioned user of this tenant")
        wanted.add(principal)
    groups.set_members(tx, group, frozenset(wanted), groups.SCIM)


def _name(kept: Object) -> str:
    name = kept.get("displayName")
    if not isinstance(name, str) or not name.strip():
        raise Invalid("scim-invalidValue", "displayName is required")
    return name


def _require_free(reading: Reading, name: str, group: str) -> None:
    if any(other.id != group and other.name.casefold() == name.casefold() for other in people.find_groups(reading)):
        raise Conflict("scim-uniqueness", "a group of this displayName exists already")
