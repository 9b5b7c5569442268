"""Tenants: houses within the house. Everything stored belongs to one, and nobody reads another's.

They are made and ended by the tenant `default`, which keeps the house. Ending one ends every principal in it, each with its
event in the tenant's own record; its rows stay. It cannot be begun again.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastness.access import records as people
from fastness.access.directory import leaving, records
from fastness.access.members import TOPIC, Enrolment, create_principal
from fastness.core.clock import Instant
from fastness.core.digests import parse_name
from fastness.core.errors import Conflict, Forbidden, Invalid, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.identity import DEFAULT_TENANT, PrincipalId, PrincipalKind, Role, Scope, TenantId
from fastness.foundation.storage import Reading, Records, Transaction


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as it stands."""

    id: TenantId
    name: str
    created_by: PrincipalId
    created_at: Instant
    active: bool


def create_tenant(rows: Records, scope: Scope, tenant: str, name: str, admin: str, now: Instant) -> Enrolment:
    """A new tenant, and the code by which its first administrator `user:admin` enrols.

    Two transactions, one in each tenant's record; cut off between them, doing it again completes it.

    Args:
        scope: who asks, in the tenant `default`.

    Raises:
        Forbidden: `tenant-house`, from another tenant.
        Invalid: not a name.
        Conflict: `tenant-exists`.
    """
    _require_house(scope)
    made = TenantId(parse_name(tenant))
    parse_name(admin)
    if not 0 < len(name.strip()) <= 128 or not name.isprintable():
        raise Invalid("tenant-name", "a tenant's name is 1 to 128 printable characters")
    with rows.begin(scope, now) as tx:
        _add(tx, made, name)
    with rows.begin(Scope(made, scope.principal), now) as tx:
        if people.find_principals(tx):
            raise Conflict("tenant-exists", f"there is a tenant {made} already", "Choose another name.")
        return create_principal(tx, PrincipalKind.USER, admin, frozenset({Role.ADMINISTRATOR}))


def _add(tx: Transaction, tenant: TenantId, name: str) -> None:
    found = records.find_tenants(tx, tenant)
    if tenant == DEFAULT_TENANT or (found and found[0].deactivated_at is not None):
        raise Conflict("tenant-exists", f"there is a tenant {tenant} already", "Choose another name.")
    if not found:
        records.add_tenant(tx, tenant, name)
        tx.emit(tx.events.make(EventKind.TENANT_CREATED, f"tenant:{tenant}"))


def deactivate_tenant(rows: Records, scope: Scope, tenant: TenantId, now: Instant) -> int:
    """End a tenant and everybody in it; how many principals were active.

    Cut off in between, nobody new can come in, and doing it again ends the rest.

    Raises:
        Forbidden: `tenant-house`, from another tenant than `default`, or that one itself.
        NotFound: no such tenant.
    """
    _require_house(scope)
    if tenant == DEFAULT_TENANT:
        raise Forbidden("tenant-house", "the tenant that keeps the house is not ended")
    with rows.begin(scope, now) as tx:
        if not records.find_tenants(tx, tenant):
            raise NotFound("tenant-unknown", f"there is no tenant {tenant[:64]!r}")
        if records.end_tenant(tx, tenant):
            details: dict[str, Detail] = {"change": "deactivated"}
            tx.emit(tx.events.make(EventKind.DIRECTORY_CHANGED, f"tenant:{tenant}", details=details))
    ended = 0
    with rows.begin(Scope(tenant, scope.principal), now) as tx:
        for row in people.find_principals(tx).values():
            if not row.active:
                continue
            people.mark_active(tx, row.id, active=False)
            people.void_enrolments(tx, row.id)
            tx.emit(tx.events.make(EventKind.PRINCIPAL_DEACTIVATED, f"principal:{row.id}", reason="tenant-deactivated"))
            leaving.end_credentials(tx, row.id, "tenant-deactivated")
            ended += 1
        if ended:
            tx.touch(TOPIC)
    return ended


def tenants(reading: Reading) -> list[Tenant]:
    """The tenants that were made, for who keeps the house. Raises Forbidden in another tenant."""
    _require_house(reading.scope)
    return [
        Tenant(row.tenant, row.name, row.created_by, row.created_at, row.deactivated_at is None)
        for row in records.find_tenants(reading)
    ]


def require_open(reading: Reading) -> None:
    """Return if the tenant of the scope has not ended: asked before anybody is made in it.

    Raises:
        Forbidden: `tenant-deactivated`.
    """
    found = records.find_tenants(reading, reading.scope.tenant)
    if found and found[0].deactivated_at is not None:
        raise Forbidden("tenant-deactivated", "this tenant has ended")


def _require_house(scope: Scope) -> None:
    if scope.tenant != DEFAULT_TENANT:
        raise Forbidden("tenant-house", "tenants are made and ended by those who keep the house")
