"""Groups, whose roles are held by who belongs to them, and roles on single models.

A group has principals as members and no groups: what somebody holds is then one look away, and there are no cycles. A group
that is provisioned by SCIM is changed by nobody else, and none other by SCIM. Nobody puts themselves into a group: that is
the policies' to say (`own-roles`), with the member as `owner`.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastness.access import records
from fastness.access.members import TOPIC, active_principal
from fastness.access.records import GroupRow
from fastness.access.standing import require_administrator
from fastness.core.clock import Instant, uuid7
from fastness.core.digests import parse_name
from fastness.core.errors import Conflict, Forbidden, Invalid, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.identity import Grant, PrincipalId, Role
from fastness.foundation.storage import Reading, Transaction

HOUSE, SCIM = "house", "scim"
MOST_MEMBERS = 10_000
MOST_GROUPS = 1_000


@dataclass(frozen=True, slots=True)
class Group:
    """A group and who belongs to it."""

    id: str
    name: str
    source: str
    roles: frozenset[Role]
    members: frozenset[PrincipalId]
    created_at: Instant


def create_group(tx: Transaction, name: str, roles: frozenset[Role], source: str = HOUSE) -> str:
    """A new group without members; its id.

    Raises:
        Invalid: `group-name`.
        Conflict: `group-exists`, or there are too many.
    """
    _check_name(name)
    present = records.find_groups(tx)
    if any(group.name.casefold() == name.casefold() for group in present):
        raise Conflict("group-exists", "there is a group of this name already", "Choose another name.")
    if len(present) >= MOST_GROUPS:
        raise Conflict("groups-many", f"a tenant has at most {MOST_GROUPS} groups")
    group = uuid7(tx.now, tx.events.entropy)
    records.add_group(tx, group, name, source, roles)
    _note(tx, group, "created", {"roles": " ".join(sorted(roles)), "source": source})
    return group


def change_group(
    tx: Transaction, group: str, *, name: str | None = None, roles: frozenset[Role] | None = None, source: str = HOUSE
) -> None:
    """Give a group another name or other roles, which its members hold from then on.

    Raises:
        NotFound: no such group in the tenant.
        Forbidden: `group-source`.
        Invalid: `group-name`.
        Conflict: the name is taken, or this would leave no administrator.
    """
    row = one_group(tx, group, source)
    name, roles = row.name if name is None else name, row.roles if roles is None else roles
    _check_name(name)
    if any(other.id != group and other.name.casefold() == name.casefold() for other in records.find_groups(tx)):
        raise Conflict("group-exists", "there is a group of this name already", "Choose another name.")
    if Role.ADMINISTRATOR in row.roles - roles:
        require_administrator(tx, lambda _, where: where == group)
    records.change_group(tx, group, name, roles)
    before, after = " ".join(sorted(row.roles)), " ".join(sorted(roles))
    _note(tx, group, "changed", {"before": before, "after": after, "renamed": name != row.name})


def delete_group(tx: Transaction, group: str, source: str = HOUSE) -> None:
    """Remove a group; its members lose its roles.

    Raises:
        NotFound: no such group in the tenant.
        Forbidden: `group-source`.
        Conflict: this would leave no administrator.
    """
    row = one_group(tx, group, source)
    if Role.ADMINISTRATOR in row.roles:
        require_administrator(tx, lambda _, where: where == group)
    records.drop_group(tx, group)
    _note(tx, group, "deleted", {"before": " ".join(sorted(row.roles))})


def add_member(tx: Transaction, group: str, principal: PrincipalId, source: str = HOUSE) -> None:
    """Put an active principal into a group.

    Raises:
        NotFound: no such group or principal in the tenant. A group is not one: there are no nested groups.
        Conflict: it belongs to it already, is not active, or the group is full.
        Forbidden: `group-source`.
    """
    one_group(tx, group, source)
    active_principal(tx, principal)
    present = records.find_members(tx, group)
    if any(member.principal == principal for member in present):
        raise Conflict("group-member", f"{principal} belongs to the group already")
    if len(present) >= MOST_MEMBERS:
        raise Conflict("group-full", f"a group has at most {MOST_MEMBERS} members")
    records.add_member(tx, group, principal)
    _note(tx, group, "joined", {"principal": principal})


def set_members(tx: Transaction, group: str, wanted: frozenset[PrincipalId], source: str) -> int:
    """Have exactly these principals belong to a group, active or not; how many joined or left.

    Raises:
        NotFound: no such group, or one of them is no principal of the tenant.
        Forbidden: `group-source`.
        Conflict: there are too many, or this would leave no administrator.
    """
    row = one_group(tx, group, source)
    if len(wanted) > MOST_MEMBERS:
        raise Conflict("group-full", f"a group has at most {MOST_MEMBERS} members")
    people = records.find_principals(tx)
    if unknown := wanted - people.keys():
        raise NotFound("principal-unknown", f"there is no principal {min(unknown)[:80]!r}")
    present = frozenset(member.principal for member in records.find_members(tx, group))
    joining, leaving = sorted(wanted - present), sorted(present - wanted)
    if Role.ADMINISTRATOR in row.roles and leaving and not any(people[one].active for one in wanted):
        require_administrator(tx, lambda who, where: who not in wanted and where == group)
    for principal in joining:
        records.add_member(tx, group, principal)
        _note(tx, group, "joined", {"principal": principal})
    for principal in leaving:
        records.drop_member(tx, group, principal)
        _note(tx, group, "left", {"principal": principal})
    return len(joining) + len(leaving)


def remove_member(tx: Transaction, group: str, principal: PrincipalId, source: str = HOUSE) -> None:
    """Take a principal out of a group.

    Raises:
        NotFound: no such group, or it does not belong to it.
        Forbidden: `group-source`.
        Conflict: this would leave no administrator.
    """
    row = one_group(tx, group, source)
    if Role.ADMINISTRATOR in row.roles:
        require_administrator(tx, lambda who, where: who == principal and where == group)
    if records.drop_member(tx, group, principal) != 1:
        raise NotFound("group-member", f"{principal[:80]} does not belong to the group")
    _note(tx, group, "left", {"principal": principal})


def groups(reading: Reading) -> list[Group]:
    """The groups of the tenant by name, with their members."""
    by_group: dict[str, set[PrincipalId]] = {}
    for member in records.find_members(reading):
        by_group.setdefault(member.group, set()).add(member.principal)
    return [
        Group(row.id, row.name, row.source, row.roles, frozenset(by_group.get(row.id, ())), row.created_at)
        for row in records.find_groups(reading)
    ]


def members(reading: Reading, group: str) -> list[PrincipalId]:
    """Who belongs to a group. Raises NotFound."""
    one_group(reading, group, None)
    return [member.principal for member in records.find_members(reading, group)]


def one_group(reading: Reading, group: str, source: str | None) -> GroupRow:
    """The group, if it is of this source.

    Raises:
        NotFound: no such group in the tenant.
        Forbidden: `group-source`: it belongs to the directory service, or to the house.
    """
    found = records.find_groups(reading, group)
    if not found:
        raise NotFound("group-unknown", f"there is no group {group[:36]!r}")
    if source is not None and found[0].source != source:
        owner = "the directory service that provisions it" if found[0].source == SCIM else "the house"
        raise Forbidden("group-source", f"only {owner} changes this group")
    return found[0]


def grant(tx: Transaction, principal: PrincipalId, role: Role, model: str) -> None:
    """Give an active principal a role on a single model.

    Raises:
        NotFound: no such principal in the tenant.
        Conflict: it is not active, or holds it already.
        Invalid: not the name of a model, or a role that is about no model.
    """
    if role in {Role.ADMINISTRATOR, Role.SECURITY_OFFICER, Role.AUDITOR}:
        raise Invalid("grant-role", f"{role} is held for the house, not for a model")
    held = Grant(role, parse_name(model))
    if held in active_principal(tx, principal).grants:
        raise Conflict("grant-exists", f"{principal} is {role} of {model} already")
    records.add_grant(tx, principal, held)
    _note_grant(tx, principal, held, "given")


def withdraw(tx: Transaction, principal: PrincipalId, role: Role, model: str) -> None:
    """Take a role on a single model away.

    Raises:
        NotFound: it is not held.
    """
    held = Grant(role, model)
    if records.drop_grant(tx, principal, held) != 1:
        raise NotFound("grant-unknown", f"{principal[:80]} is not {role} of {model[:64]!r}")
    _note_grant(tx, principal, held, "withdrawn")


def _check_name(name: str) -> None:
    if not 0 < len(name.strip()) <= 128 or not name.isprintable():
        raise Invalid("group-name", "a group's name is 1 to 128 printable characters")


def _note(tx: Transaction, group: str, change: str, details: dict[str, Detail]) -> None:
    tx.emit(tx.events.make(EventKind.GROUP_CHANGED, f"group:{group}", reason=change, details=details))
    tx.touch(TOPIC)


def _note_grant(tx: Transaction, principal: PrincipalId, held: Grant, change: str) -> None:
    details: dict[str, Detail] = {"role": held.role.value, "model": held.model}
    tx.emit(tx.events.make(EventKind.GRANT_CHANGED, f"principal:{principal}", reason=change, details=details))
    tx.touch(TOPIC)
