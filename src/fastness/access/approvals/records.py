"""The SQL of approval requests; nothing here decides anything, and all sees only the tenant of its scope."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Row, func, select

from fastness.access.approvals.tables import APPROVAL_REQUEST
from fastness.access.sealing.records import change, genuine, put
from fastness.core.clock import Instant
from fastness.core.identity import PrincipalId
from fastness.foundation.storage import Reading, Transaction


class RequestRow(NamedTuple):
    """A request as it is stored: only its document is believed, and only where approvers signed it."""

    id: str
    document: bytes
    state: str
    closed_at: Instant | None
    used_at: Instant | None


def add_request(tx: Transaction, row: RequestRow, purpose: str, author: PrincipalId, deadline: Instant) -> None:
    """Write a new request."""
    put(tx, APPROVAL_REQUEST, row._asdict() | {"purpose": purpose, "author": author, "deadline": deadline})


def find_request(reading: Reading, request: str) -> RequestRow | None:
    """The request of that id, if there is one."""
    c = APPROVAL_REQUEST.c
    query = select(APPROVAL_REQUEST).where(c.tenant == reading.scope.tenant, c.id == request)
    found = genuine(reading, APPROVAL_REQUEST, query)
    return _request(found[0]) if found else None


def find_requests(reading: Reading, state: str | None = None, before: Instant | None = None) -> list[RequestRow]:
    """The requests in a state, or all; of them those whose deadline lies before an instant. Oldest first."""
    c = APPROVAL_REQUEST.c
    query = select(APPROVAL_REQUEST).where(c.tenant == reading.scope.tenant)
    if state is not None:
        query = query.where(c.state == state)
    if before is not None:
        query = query.where(c.deadline <= before)
    return [_request(row) for row in genuine(reading, APPROVAL_REQUEST, query.order_by(c.id))]


def _request(row: Row[Any]) -> RequestRow:
    return RequestRow(*(getattr(row, name) for name in RequestRow._fields))


def find_pending(reading: Reading, author: PrincipalId, purpose: str) -> list[RequestRow]:
    """The requests of an author for a purpose that are open, or approved and not used. Oldest first."""
    c = APPROVAL_REQUEST.c
    mine = (c.tenant == reading.scope.tenant, c.author == author, c.purpose == purpose, c.used_at.is_(None))
    query = select(APPROVAL_REQUEST).where(*mine, c.state.in_(("open", "approved"))).order_by(c.id)
    return [_request(row) for row in genuine(reading, APPROVAL_REQUEST, query)]


def count_requests(reading: Reading, author: PrincipalId, state: str) -> int:
    """How many requests of an author are in a state."""
    c = APPROVAL_REQUEST.c
    here = (c.tenant == reading.scope.tenant, c.author == author, c.state == state)
    row = reading.execute(select(func.count()).select_from(APPROVAL_REQUEST).where(*here)).first()
    return 0 if row is None else int(row[0])


def close_request(tx: Transaction, request: str, before: str, after: str) -> int:
    """Move a request that is not used from one state to another; 1 if it was in the first."""
    c = APPROVAL_REQUEST.c
    here = (c.tenant == tx.scope.tenant, c.id == request, c.state == before, c.used_at.is_(None))
    return change(tx, APPROVAL_REQUEST, here, {"state": after, "closed_at": tx.now})


def use_request(tx: Transaction, request: str, state: str) -> int:
    """Use up a request in that state; 1 if it was not used before."""
    c = APPROVAL_REQUEST.c
    here = (c.tenant == tx.scope.tenant, c.id == request, c.state == state, c.used_at.is_(None))
    return change(tx, APPROVAL_REQUEST, here, {"used_at": tx.now})


def return_request(tx: Transaction, request: str) -> int:
    """Undo a use; 1 if it was used."""
    c = APPROVAL_REQUEST.c
    here = (c.tenant == tx.scope.tenant, c.id == request, c.used_at.is_not(None))
    return change(tx, APPROVAL_REQUEST, here, {"used_at": None})
