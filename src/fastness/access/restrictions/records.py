"""The SQL of restrictions; nothing here decides anything. All but `all_standing` see only the tenant of their scope."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Row, func, select

from fastness.access.restrictions.tables import RESTRICTION
from fastness.access.sealing.records import Seen, change, genuine, put
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


def _restriction(row: Row[Any]) -> RestrictionRow:
    return RestrictionRow(*(getattr(row, name) for name in RestrictionRow._fields))


def add(tx: Transaction, row: RestrictionRow) -> None:
    """Write a new restriction."""
    put(tx, RESTRICTION, row._asdict())


def find(reading: Reading, restriction: str | None = None) -> list[RestrictionRow]:
    """The restrictions of the tenant, or the one, oldest first."""
    c = RESTRICTION.c
    query = select(RESTRICTION).where(c.tenant == reading.scope.tenant)
    if restriction is not None:
        query = query.where(c.id == restriction)
    return [_restriction(row) for row in genuine(reading, RESTRICTION, query.order_by(c.id))]


def find_standing(reading: Reading, now: Instant) -> list[RestrictionRow]:
    """Those of the tenant that are neither lifted nor expired, oldest first."""
    c = RESTRICTION.c
    here = (c.tenant == reading.scope.tenant, c.lifted_at.is_(None), c.expires_at > now)
    query = select(RESTRICTION).where(*here).order_by(c.id)
    return [_restriction(row) for row in genuine(reading, RESTRICTION, query)]


def find_expired(reading: Reading, now: Instant) -> list[RestrictionRow]:
    """Those of the tenant that have expired and were not lifted, oldest first."""
    c = RESTRICTION.c
    here = (c.tenant == reading.scope.tenant, c.lifted_at.is_(None), c.expires_at <= now)
    query = select(RESTRICTION).where(*here).order_by(c.id)
    return [_restriction(row) for row in genuine(reading, RESTRICTION, query)]


def all_standing(reading: Reading, seen: Seen) -> list[RestrictionRow]:
    """Those of every tenant that were not lifted; they expire by themselves. `seen` is told of all that there ever were."""
    c = RESTRICTION.c
    found = genuine(reading, RESTRICTION, select(RESTRICTION).order_by(c.tenant, c.id), seen)
    return [_restriction(row) for row in found if row.lifted_at is None]


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
    return change(tx, RESTRICTION, here, {"lifted_at": tx.now, "lifted_by": by})
