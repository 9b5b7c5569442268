"""The SQL of restrictions; nothing here decides anything. All but `all_standing` see only the tenant of their scope."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import func, insert, select, update

from fastness.access.restrictions.tables import RESTRICTION
from fastness.core.clock import Instant
from fastness.core.identity import PrincipalId
from fastness.foundation.storage import Reading, Transaction


class RestrictionRow(NamedTuple):
    """A restriction as it is stored."""

    tenant: str
    id: str
    measure: str
    kind: str
    target: str
    per_s: float | None
    burst: float | None
    reason: str
    author: str
    created_at: int
    expires_at: int
    lifted_at: int | None = None
    lifted_by: str | None = None


_COLUMNS = tuple(RESTRICTION.c[name] for name in RestrictionRow._fields)


def add(tx: Transaction, row: RestrictionRow) -> None:
    """Write a new restriction."""
    tx.execute(insert(RESTRICTION).values(row._asdict()))


def find(reading: Reading, restriction: str | None = None) -> list[RestrictionRow]:
    """The restrictions of the tenant, or the one, oldest first."""
    c = RESTRICTION.c
    query = select(*_COLUMNS).where(c.tenant == reading.scope.tenant)
    if restriction is not None:
        query = query.where(c.id == restriction)
    return [RestrictionRow(*row) for row in reading.execute(query.order_by(c.id))]


def find_standing(reading: Reading, now: Instant) -> list[RestrictionRow]:
    """Those of the tenant that are neither lifted nor expired, oldest first."""
    c = RESTRICTION.c
    here = (c.tenant == reading.scope.tenant, c.lifted_at.is_(None), c.expires_at > now)
    return [RestrictionRow(*row) for row in reading.execute(select(*_COLUMNS).where(*here).order_by(c.id))]


def find_expired(reading: Reading, now: Instant) -> list[RestrictionRow]:
    """Those of the tenant that have expired and were not lifted, oldest first."""
    c = RESTRICTION.c
    here = (c.tenant == reading.scope.tenant, c.lifted_at.is_(None), c.expires_at <= now)
    return [RestrictionRow(*row) for row in reading.execute(select(*_COLUMNS).where(*here).order_by(c.id))]


def all_standing(reading: Reading) -> list[RestrictionRow]:
    """Those of every tenant that were not lifted; they expire by themselves."""
    c = RESTRICTION.c
    query = select(*_COLUMNS).where(c.lifted_at.is_(None)).order_by(c.tenant, c.id)
    return [RestrictionRow(*row) for row in reading.execute(query)]


def count_since(reading: Reading, author: PrincipalId, measure: str, since: Instant) -> int:
    """How many restrictions of a measure an author has set since an instant."""
    c = RESTRICTION.c
    here = (c.tenant == reading.scope.tenant, c.author == author, c.measure == measure, c.created_at > since)
    row = reading.execute(select(func.count()).select_from(RESTRICTION).where(*here)).first()
    return 0 if row is None else int(row[0])


def mark_lifted(tx: Transaction, restriction: str, by: PrincipalId) -> int:
    """Lift one that is not lifted; the number of rows changed."""
    c = RESTRICTION.c
    here = (c.tenant == tx.scope.tenant, c.id == restriction, c.lifted_at.is_(None))
    return tx.execute(update(RESTRICTION).where(*here).values(lifted_at=tx.now, lifted_by=by)).count
