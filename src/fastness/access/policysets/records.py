"""The SQL of policy sets; nothing here decides anything. All but `all_active` see only the tenant of their scope."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import func, insert, select, update

from fastness.access.policysets.tables import POLICY_SET
from fastness.core.clock import Instant
from fastness.core.events import EventKind
from fastness.foundation.storage import METADATA, Reading, Transaction


class SetRow(NamedTuple):
    """A policy set as it is stored: nothing of it is believed that a signature does not say."""

    tenant: str
    number: int
    digest: str
    author: str
    envelope: bytes
    created_at: Instant
    seal: bytes | None
    activated_at: Instant | None


_COLUMNS = tuple(POLICY_SET.c[name] for name in SetRow._fields)


def add(tx: Transaction, row: SetRow) -> None:
    """Write a new set."""
    tx.execute(insert(POLICY_SET).values(row._asdict()))


def find(reading: Reading) -> list[SetRow]:
    """The sets of the tenant, oldest first."""
    c = POLICY_SET.c
    query = select(*_COLUMNS).where(c.tenant == reading.scope.tenant).order_by(c.number)
    return [SetRow(*row) for row in reading.execute(query)]


def all_active(reading: Reading) -> list[SetRow]:
    """The newest activated set of every tenant that has one."""
    c = POLICY_SET.c
    newest = (
        select(c.tenant, func.max(c.number).label("number")).where(c.activated_at.is_not(None)).group_by(c.tenant)
    ).subquery()
    query = (
        select(*_COLUMNS).join(newest, (newest.c.tenant == c.tenant) & (newest.c.number == c.number)).order_by(c.tenant)
    )
    return [SetRow(*row) for row in reading.execute(query)]


def mark_active(tx: Transaction, number: int, seal: bytes) -> int:
    """Note that a set was activated; 1 if it was not before."""
    c = POLICY_SET.c
    here = (c.tenant == tx.scope.tenant, c.number == number, c.activated_at.is_(None))
    return tx.execute(update(POLICY_SET).where(*here).values(seal=seal, activated_at=tx.now)).count


def change_events(reading: Reading) -> list[bytes]:
    """The JSON of every event that tells of a policy set, of all tenants, in no order."""
    c = METADATA.tables["events"].c
    query = select(c.data).where(c.kind == EventKind.POLICY_CHANGED.value)
    # Two queries, so that each finds its partial index.
    return [
        bytes(row[0])
        for numbered in (c.idx.is_not(None), c.idx.is_(None))
        for row in reading.execute(query.where(numbered))
    ]
