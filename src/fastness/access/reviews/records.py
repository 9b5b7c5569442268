"""The SQL of reviews: every statement on their tables, all in the tenant of the scope."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Row, select

from fastness.access.reviews.tables import REVIEW, REVIEW_ITEM, REVIEWER
from fastness.access.sealing.records import change, genuine, put
from fastness.core.clock import Instant
from fastness.core.identity import PrincipalId
from fastness.foundation.storage import Reading, Transaction


class ReviewRow(NamedTuple):
    """A campaign."""

    id: str
    name: str
    created_by: PrincipalId
    created_at: Instant
    deadline: Instant
    closed_at: Instant | None


class ItemRow(NamedTuple):
    """Something that gives rights, and what was decided about it."""

    number: int
    kind: str
    principal: PrincipalId
    subject: str
    shown: str
    last_used_at: Instant | None
    decision: str | None = None
    reason: str = ""
    decided_by: PrincipalId = PrincipalId("")
    decided_at: Instant | None = None
    ends_at: Instant | None = None
    applied_at: Instant | None = None


RowT = TypeVar("RowT", ReviewRow, ItemRow)


def add_review(tx: Transaction, row: ReviewRow, reviewers: Iterable[PrincipalId], items: list[ItemRow]) -> None:
    """Write a campaign with all that is to be decided."""
    put(tx, REVIEW, row._asdict())
    put(tx, REVIEWER, *({"review": row.id, "principal": reviewer} for reviewer in sorted(reviewers)))
    put(tx, REVIEW_ITEM, *({"review": row.id, **item._asdict()} for item in items))


def find_reviews(reading: Reading, review: str | None = None) -> list[ReviewRow]:
    """The campaigns of the tenant, oldest first, or the one."""
    c = REVIEW.c
    query = select(REVIEW).where(c.tenant == reading.scope.tenant)
    if review is not None:
        query = query.where(c.id == review)
    return [_plain(ReviewRow, row) for row in genuine(reading, REVIEW, query.order_by(c.created_at, c.id))]


def find_reviewers(reading: Reading, review: str) -> frozenset[PrincipalId]:
    """Who decides in a campaign."""
    c = REVIEWER.c
    query = select(REVIEWER).where(c.tenant == reading.scope.tenant, c.review == review)
    return frozenset(PrincipalId(row.principal) for row in genuine(reading, REVIEWER, query))


def find_items(
    reading: Reading, review: str, number: int | None = None, *, undecided: bool = False, limit: int | None = None
) -> list[ItemRow]:
    """What is decided in a campaign, by number: all, the one, or what is still open."""
    c = REVIEW_ITEM.c
    query = select(REVIEW_ITEM).where(c.tenant == reading.scope.tenant, c.review == review)
    if number is not None:
        query = query.where(c.number == number)
    if undecided:
        query = query.where(c.decision.is_(None))
    return [_plain(ItemRow, row) for row in genuine(reading, REVIEW_ITEM, query.order_by(c.number).limit(limit))]


def put_item(tx: Transaction, review: str, row: ItemRow) -> None:
    """Write what was decided."""
    c = REVIEW_ITEM.c
    here = (c.tenant == tx.scope.tenant, c.review == review, c.number == row.number)
    change(tx, REVIEW_ITEM, here, row._asdict())


def mark_closed(tx: Transaction, review: str) -> int:
    """Close a campaign that is open; the number of rows changed."""
    c = REVIEW.c
    here = (c.tenant == tx.scope.tenant, c.id == review, c.closed_at.is_(None))
    return change(tx, REVIEW, here, {"closed_at": tx.now})


def _plain(shape: type[RowT], row: Row[Any]) -> RowT:
    return shape(*(getattr(row, name) for name in shape._fields))
