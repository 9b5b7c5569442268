"""Whom of a provider's people we take for whom, and which roles their groups give.

A person is known by issuer and subject alone, from the first login on: names and addresses change hands, subjects do
not. Only at that first login is the claim looked at that is settled with the provider, never an address of mail. Nobody
takes over a principal that is linked to somebody else, or that is merely called the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastness.access import records as members
from fastness.access.directory import groups as house_groups
from fastness.access.federation import identities, records
from fastness.access.federation.parts import Proven, refuse, refuse_identity
from fastness.access.federation.providers import Provider
from fastness.access.records import PrincipalRow
from fastness.access.standing import set_roles
from fastness.core.digests import parse_name
from fastness.core.errors import Conflict, Forbidden, Invalid, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.identity import Principal, PrincipalId, PrincipalKind
from fastness.foundation.storage import Transaction

_MOST_GROUPS = 1000


@dataclass(frozen=True, slots=True)
class Admitted:
    """Who logged in, for a session to begin.

    Attributes:
        return_to: the path to go to.
    """

    principal: Principal
    return_to: str


def admit(tx: Transaction, proven: Proven) -> Admitted:
    """Step 5: who that is here, with the roles and groups that their groups give.

    Raises:
        Unauthenticated: `identity-refused`: they are nobody here (`identity-unknown`), no longer active
            (`principal-inactive`), lack a required claim (`claims-other`), or the principal is somebody else's
            (`identity-taken`); `federation-refused`: their groups cannot be read (`groups-malformed`). Nothing was
            written then.
    """
    provider = proven.known.provider
    if not all(_has(proven.claims.get(name), value) for name, value in provider.required.items()):
        refuse_identity("claims-other")
    groups = _groups(provider, proven.claims)  # before anything is written
    principal = records.find_identity(tx, provider.issuer, proven.subject)
    if principal is None:
        principal = _linked(tx, proven)
    row = members.find_principals(tx, principal).get(principal)
    if row is None or not row.active or row.kind is not PrincipalKind.USER:
        refuse_identity("principal-inactive")
    if provider.groups_claim:
        wanted = {one for group in groups for one in provider.memberships.get(group, ())}
        _leave_groups(tx, provider, row, wanted)  # first: what somebody gives up stands in the way of nothing
        _give_roles(tx, provider, row, groups)
        _join_groups(tx, provider, row, wanted)
    row = members.find_principals(tx, principal)[principal]
    details: dict[str, Detail] = {"provider": provider.name, "strength": int(proven.strength)}
    tx.emit(tx.events.make(EventKind.AUTHENTICATION_SUCCEEDED, f"principal:{principal}", details=details))
    found = Principal(row.kind, principal, tx.scope.tenant, row.roles, proven.strength, proven.authenticated_at)
    return Admitted(found, proven.return_to)


def _linked(tx: Transaction, proven: Proven) -> PrincipalId:
    """The principal for somebody who comes for the first time, linked from now on."""
    provider = proven.known.provider
    value = proven.claims.get(provider.claim)
    principal = provider.people.get(value) if isinstance(value, str) else None
    if principal is None:
        if not provider.provision:
            refuse_identity("identity-unknown")
        principal = _provisioned(tx, provider, proven.claims)
    else:
        row = members.find_principals(tx, principal).get(principal)
        if row is None or not row.active or row.kind is not PrincipalKind.USER:
            refuse_identity("identity-unknown")
    identities.link_first(tx, proven, principal)
    return principal


def _give_roles(tx: Transaction, provider: Provider, row: PrincipalRow, held: frozenset[str]) -> None:
    """The settled roles that are held directly, as the person's groups say; those of groups of the house stay theirs."""
    settled = frozenset(role for given in provider.groups.values() for role in given)
    roles = (row.direct - settled) | {role for group in held for role in provider.groups.get(group, ())}
    if roles == row.direct:
        return
    if provider.settled_by == row.id and roles - row.direct:  # nobody changes their own roles
        _note_kept(tx, row.id, provider)
        return
    try:
        set_roles(tx, row.id, frozenset(roles))
    except Conflict:  # the last administrator stays one, and comes in to make another
        _note_kept(tx, row.id, provider)
        return
    try:
        tx.check()
    except Conflict:  # they do not go together: what is gone is gone, and nothing new is given
        set_roles(tx, row.id, frozenset(roles & row.direct))
        _note_kept(tx, row.id, provider)


def _leave_groups(tx: Transaction, provider: Provider, row: PrincipalRow, wanted: set[str]) -> None:
    """Out of the settled groups of the house that their groups no longer give; those that are gone are passed over."""
    settled = {one for given in provider.memberships.values() for one in given}
    for group in sorted((settled - wanted) & row.groups):
        try:
            house_groups.remove_member(tx, group, row.id)
        except (NotFound, Forbidden, Conflict):
            _note_kept(tx, row.id, provider)


def _join_groups(tx: Transaction, provider: Provider, row: PrincipalRow, wanted: set[str]) -> None:
    """Into the groups of the house that their groups give; those that are gone are passed over."""
    for group in sorted(wanted - row.groups):
        try:
            _join(tx, group, row.id, provider)
        except (NotFound, Forbidden, Conflict):
            _note_kept(tx, row.id, provider)


def _join(tx: Transaction, group: str, principal: PrincipalId, provider: Provider) -> None:
    """Put the person into a group.

    Raises:
        NotFound: as `add_member`.
        Forbidden: they settled that themselves.
        Conflict: as `add_member`, or its roles do not go with theirs (`roles-conflict`).
    """
    if provider.settled_by == principal:
        raise Forbidden("own-roles", "nobody changes their own roles or groups")
    house_groups.add_member(tx, group, principal)
    try:
        tx.check()
    except Conflict:
        house_groups.remove_member(tx, group, principal)
        raise


def _note_kept(tx: Transaction, principal: PrincipalId, provider: Provider) -> None:
    details: dict[str, Detail] = {"provider": provider.name}
    event = tx.events.make(EventKind.DIRECTORY_CHANGED, f"principal:{principal}", reason="rights-kept", details=details)
    tx.emit(event)


def _provisioned(tx: Transaction, provider: Provider, claims: Mapping[str, Any]) -> PrincipalId:
    name = claims.get(provider.name_claim)
    try:
        principal = PrincipalId(f"user:{parse_name(name if isinstance(name, str) else '')}")
    except Invalid:
        refuse_identity("identity-unknown")
    if members.find_principals(tx, principal):
        refuse_identity("identity-taken")
    members.add_principal(tx, principal, PrincipalKind.USER)
    details: dict[str, Detail] = {"provider": provider.name, "roles": ""}
    tx.emit(
        tx.events.make(EventKind.PRINCIPAL_CREATED, f"principal:{principal}", reason="provisioned", details=details)
    )
    return principal


def _has(held: object, value: str) -> bool:
    return held == value or (isinstance(held, list) and value in held)


def _groups(provider: Provider, claims: Mapping[str, Any]) -> frozenset[str]:
    """A person's groups. Where the claim is missing there are none: what is not confirmed is gone."""
    if not provider.groups_claim:
        return frozenset()
    held = claims.get(provider.groups_claim, [])
    if not isinstance(held, list) or len(held) > _MOST_GROUPS or not all(isinstance(group, str) for group in held):
        refuse("groups-malformed")
    return frozenset(held)
