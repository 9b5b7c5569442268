"""Every statement on the table of allowances."""

from __future__ import annotations

from sqlalchemy import insert, select

from fastness.foundation.storage import METADATA, Reading, Transaction
from fastness.models.release.tables import ALLOWANCE


def add_allowance(tx: Transaction, identifier: str, environment: str, envelope: bytes) -> None:
    """Keep a signed allowance."""
    values = {"tenant": tx.scope.tenant, "id": identifier, "environment": environment, "created_at": tx.now}
    tx.execute(insert(ALLOWANCE).values(**values, envelope=envelope))


def allowance_envelopes(reading: Reading, environment: str) -> list[bytes]:
    """The signed allowances of an environment, oldest first, whatever became of them."""
    c = ALLOWANCE.c
    here = (c.tenant == reading.scope.tenant, c.environment == environment)
    return [bytes(row[0]) for row in reading.execute(select(c.envelope).where(*here).order_by(c.created_at, c.id))]


def waiting_events(reading: Reading, kind: str, resource: str) -> list[bytes]:
    """The JSON of the events of this kind about `resource` that have no number yet."""
    c = METADATA.tables["events"].c
    query = select(c.data).where(c.idx.is_(None), c.kind == kind, c.resource == resource)
    return [bytes(row[0]) for row in reading.execute(query)]
