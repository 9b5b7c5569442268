"""Whom of a provider's people we take for whom, and which roles their groups give.

A person is known by issuer and subject alone, from the first login on: names and addresses change hands, subjects do
not. Only at that first login is the claim looked at that is settled with the provider; an address of mail counts only
where the provider has verified it. Nobody takes over a principal that is linked to somebody else, or that is merely
called the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastness.access import records as members
from fastness.access.federation import records
from fastness.access.federation.parts import Proven, refuse
from fastness.access.federation.providers import EMAIL, Provider
from fastness.access.standing import set_roles
from fastness.core.digests import parse_name
from fastness.core.errors import Conflict, Invalid
from fastness.core.events import Detail, EventKind
from fastness.core.identity import Principal, PrincipalId, PrincipalKind, Role
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
    """Step 5: who that is here, with the roles that their groups give.

    Raises:
        Unauthenticated: `federation-refused`: they are nobody here (`identity-unknown`), no longer active
            (`principal-inactive`), their address is not verified (`email-unverified`), the principal is somebody else's
            (`identity-taken`), or their groups cannot be read (`groups-malformed`). Nothing was written then.
    """
    provider = proven.known.provider
    groups = _groups(provider, proven.claims)  # before anything is written
    principal = records.find_identity(tx, provider.issuer, proven.subject)
    if principal is None:
        principal = _linked(tx, proven)
    row = members.find_principals(tx, principal).get(principal)
    if row is None or not row.active:
        refuse("principal-inactive")
    roles = row.roles
    if provider.groups_claim:
        settled = frozenset(role for given in provider.groups.values() for role in given)
        roles = (row.roles - settled) | groups
        if roles != row.roles:
            set_roles(tx, principal, roles)
    details: dict[str, Detail] = {"provider": provider.name, "strength": int(proven.strength)}
    tx.emit(tx.events.make(EventKind.AUTHENTICATION_SUCCEEDED, f"principal:{principal}", details=details))
    found = Principal(row.kind, principal, tx.scope.tenant, roles, proven.strength, proven.authenticated_at)
    return Admitted(found, proven.return_to)


def _linked(tx: Transaction, proven: Proven) -> PrincipalId:
    """The principal for somebody who comes for the first time, linked from now on."""
    provider = proven.known.provider
    principal = provider.people.get(_value(provider, proven.claims)) if provider.people else None
    if principal is None:
        if not provider.provision:
            refuse("identity-unknown")
        principal = _provisioned(tx, provider, proven.claims)
    else:
        row = members.find_principals(tx, principal).get(principal)
        if row is None or not row.active or row.kind is not PrincipalKind.USER:
            refuse("identity-unknown")
    try:
        records.add_identity(tx, provider.issuer, proven.subject, principal)
    except Conflict:
        refuse("identity-taken")
    details: dict[str, Detail] = {"provider": provider.name}
    tx.emit(
        tx.events.make(EventKind.DIRECTORY_CHANGED, f"principal:{principal}", reason="identity-linked", details=details)
    )
    return principal


def _provisioned(tx: Transaction, provider: Provider, claims: Mapping[str, Any]) -> PrincipalId:
    name = claims.get(provider.name_claim)
    try:
        principal = PrincipalId(f"user:{parse_name(name if isinstance(name, str) else '')}")
    except Invalid:
        refuse("identity-unknown")
    if members.find_principals(tx, principal):
        refuse("identity-taken")
    members.add_principal(tx, principal, PrincipalKind.USER)
    details: dict[str, Detail] = {"provider": provider.name, "roles": ""}
    tx.emit(
        tx.events.make(EventKind.PRINCIPAL_CREATED, f"principal:{principal}", reason="provisioned", details=details)
    )
    return principal


def _value(provider: Provider, claims: Mapping[str, Any]) -> str:
    """What tells people apart at their first login."""
    value = claims.get(provider.claim)
    if provider.claim == EMAIL and claims.get("email_verified") is not True:
        refuse("email-unverified")
    return value if isinstance(value, str) else ""


def _groups(provider: Provider, claims: Mapping[str, Any]) -> frozenset[Role]:
    """The roles that a person's groups give. Where the claim is missing there are none: a role not confirmed is gone."""
    if not provider.groups_claim:
        return frozenset()
    groups = claims.get(provider.groups_claim, [])
    if (
        not isinstance(groups, list)
        or len(groups) > _MOST_GROUPS
        or not all(isinstance(group, str) for group in groups)
    ):
        refuse("groups-malformed")
    return frozenset(role for group in groups for role in provider.groups.get(group, ()))
