"""The SQL of what sessions did; nothing here decides anything, and all sees only the tenant of its scope."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select

from fastness.access.duties.tables import SESSION_ACT
from fastness.access.sealing.records import genuine, put, remove
from fastness.core.clock import Instant
from fastness.foundation.storage import Reading, Transaction


class ActRow(NamedTuple):
    """Something that was done in a session."""

    action: str
    principal: str
    at: int


def add_act(tx: Transaction, session: str, action: str, subject: str) -> None:
    """Write what was done; once is enough."""
    key = {"tenant": tx.scope.tenant, "session": session, "action": action, "subject": subject}
    c = SESSION_ACT.c
    remove(tx, SESSION_ACT, [c[name] == value for name, value in key.items()])
    put(tx, SESSION_ACT, key | {"principal": tx.scope.principal, "at": tx.now})


def drop_act(tx: Transaction, session: str, action: str, subject: str, at: Instant) -> None:
    """Forget what was written at an instant; that it did not come about is recorded by who refused it."""
    c = SESSION_ACT.c
    here = (c.tenant == tx.scope.tenant, c.session == session, c.action == action, c.subject == subject, c.at == at)
    remove(tx, SESSION_ACT, here, recorded=False)


def find_acts(reading: Reading, session: str, subject: str) -> list[ActRow]:
    """What was done to a subject in a session, oldest first."""
    c = SESSION_ACT.c
    here = (c.tenant == reading.scope.tenant, c.session == session, c.subject == subject)
    query = select(SESSION_ACT).where(*here).order_by(c.at, c.action)
    return [ActRow(row.action, row.principal, row.at) for row in genuine(reading, SESSION_ACT, query)]


def drop_acts(tx: Transaction, before: Instant) -> None:
    """Forget what lies before an instant."""
    c = SESSION_ACT.c
    remove(tx, SESSION_ACT, (c.tenant == tx.scope.tenant, c.at < before))
