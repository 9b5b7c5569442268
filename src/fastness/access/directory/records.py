"""The SQL of tenants and last use; nothing here decides anything. Last uses follow from the log: they have no event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import delete, insert, select, update

from fastness.access.directory.tables import LAST_USE, TENANT, USE_TAKEN
from fastness.access.sealing.records import change, genuine, put
from fastness.core.clock import Instant
from fastness.core.identity import PrincipalId, TenantId
from fastness.foundation.storage import Reading, Transaction


class TenantRow(NamedTuple):
    """A tenant that was made."""

    tenant: TenantId
    name: str
    created_by: PrincipalId
    created_at: Instant
    deactivated_at: Instant | None


def add_tenant(tx: Transaction, tenant: TenantId, name: str) -> None:
    """Write a tenant. Raises Conflict where there is one."""
    values = {"name": name, "created_by": tx.scope.principal, "created_at": tx.now, "deactivated_at": None}
    put(tx, TENANT, {"tenant": tenant} | values)


def find_tenants(reading: Reading, tenant: TenantId | None = None) -> list[TenantRow]:
    """All tenants of the house, or the one."""
    query = select(TENANT).order_by(TENANT.c.tenant)
    if tenant is not None:
        query = query.where(TENANT.c.tenant == tenant)
    found = genuine(reading, TENANT, query)
    return [TenantRow(*(getattr(row, name) for name in TenantRow._fields)) for row in found]


def end_tenant(tx: Transaction, tenant: TenantId) -> int:
    """Note that a tenant has ended; the number of rows changed."""
    here = (TENANT.c.tenant == tenant, TENANT.c.deactivated_at.is_(None))
    return change(tx, TENANT, here, {"deactivated_at": tx.now})


def find_uses(reading: Reading, principal: PrincipalId | None = None) -> dict[tuple[PrincipalId, str], Instant]:
    """When who of the tenant last used what."""
    c = LAST_USE.c
    query = select(c.principal, c.what, c.at).where(c.tenant == reading.scope.tenant)
    if principal is not None:
        query = query.where(c.principal == principal)
    return {(PrincipalId(row.principal), row.what): Instant(row.at) for row in reading.execute(query)}


def put_uses(tx: Transaction, uses: Mapping[tuple[str, str, str], int]) -> None:
    """Note uses by tenant, principal and thing; an earlier one changes nothing."""
    c = LAST_USE.c
    for (tenant, principal, what), at in uses.items():
        here = (c.tenant == tenant, c.principal == principal, c.what == what)
        row = tx.execute(select(c.at).where(*here)).first()
        if row is None:
            tx.execute_unrecorded(insert(LAST_USE).values(tenant=tenant, principal=principal, what=what, at=at))
        elif row.at < at:
            tx.execute_unrecorded(update(LAST_USE).where(*here).values(at=at))


def taken(reading: Reading) -> int:
    """How far the log was read."""
    c = USE_TAKEN.c
    row = reading.execute(select(c.place).where(c.tenant == reading.scope.tenant)).first()
    return 0 if row is None else int(row.place)


def put_taken(tx: Transaction, place: int) -> None:
    """Note how far the log was read."""
    here = USE_TAKEN.c.tenant == tx.scope.tenant
    tx.execute_unrecorded(delete(USE_TAKEN).where(here))
    tx.execute_unrecorded(insert(USE_TAKEN).values(tenant=tx.scope.tenant, place=place))
