"""Routes of access reviews: everything that gives rights is kept, revoked or given an end."""

from __future__ import annotations

import contextlib

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from fastness.access import KeysProjection
from fastness.access.reviews import Item, Review, campaigns
from fastness.app import House
from fastness.core.clock import Instant, later, rfc3339
from fastness.core.errors import Invalid, NotFound
from fastness.core.identity import Action, PrincipalId, Resource
from fastness.foundation.storage import Reading
from fastness.interfaces.api.doors import Caller, Doors
from fastness.interfaces.api.paging import Page
from fastness.interfaces.api.routes import WRITE, guarded
from fastness.wire import directory

_DAY_S = 86_400.0


class ReviewRoutes(Controller):
    """Whether what gives rights is still needed."""

    path = "/reviews"
    tags = ("reviews",)

    @get("/", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def reviews(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        page: NamedDependency[Page],
    ) -> Response[list[directory.ReviewView]]:
        """All reviews of the tenant, oldest first."""
        doors.allow(caller, Action.ACCESS_READ, Resource("access", "reviews"))
        with house.records.read(caller.scope) as reading:
            views = [_review(reading, row) for row in campaigns.reviews(reading)]
        return page.of(views, lambda view: view.review)

    @post("/", sync_to_thread=True, opt=guarded(Action.REVIEW_MANAGE, WRITE))
    def start(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        data: JSONBody[directory.ReviewRequest],
    ) -> directory.ReviewView:
        """Start a review of everything that gives rights now."""
        doors.allow(caller, Action.REVIEW_MANAGE, Resource("access", "reviews"))
        now = house.clock.now()
        reviewers = frozenset(map(PrincipalId, data.reviewers))
        with house.records.begin(caller.scope, now) as tx:
            row = campaigns.start(tx, house.book.of(caller.scope.tenant), data.name, reviewers, _end(now, data.days))
        with house.records.read(caller.scope) as reading:
            return _review(reading, row)

    @get("/{review:str}", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def one(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        review: FromPath[str],
    ) -> directory.ReviewView:
        """A review and how far it is."""
        doors.allow(caller, Action.ACCESS_READ, Resource("review", review))
        with house.records.read(caller.scope) as reading:
            return _review(reading, campaigns.one(reading, review))

    @get("/{review:str}/items", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def items(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        review: FromPath[str],
        page: NamedDependency[Page],
    ) -> Response[list[directory.ItemView]]:
        """All that is decided in a review, and how: its report."""
        doors.allow(caller, Action.ACCESS_READ, Resource("review", review))
        with house.records.read(caller.scope) as reading:
            found = campaigns.items(reading, review)
        return page.of(map(_item, found), lambda view: f"{view.number:08d}")

    @post(
        "/{review:str}/items/{number:int}/decision",
        status_code=200,
        sync_to_thread=True,
        opt=guarded(Action.REVIEW_DECIDE, WRITE),
    )
    def decide(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        review: FromPath[str],
        number: FromPath[int],
        data: JSONBody[directory.DecisionRequest],
    ) -> directory.ItemView:
        """Decide about one item; what is revoked is gone at once."""
        if data.decision not in set(campaigns.Choice):
            hint = f"Use one of {', '.join(campaigns.Choice)}."
            raise Invalid("review-choice", f"{data.decision[:40]!r} is no decision", hint)
        choice = campaigns.Choice(data.decision)
        now = house.clock.now()
        with house.records.read(caller.scope) as reading:
            owner = _owner(reading, review, number)
        doors.allow(caller, Action.REVIEW_DECIDE, Resource("review", review), owner=owner)
        ends = _end(now, data.days) if data.days else None
        with house.records.begin(caller.scope, now) as tx:
            decided = campaigns.decide(tx, review, number, choice, data.reason, ends)
        house.published(KeysProjection.topic)
        return _item(decided)


def _end(now: Instant, days: float) -> Instant:
    if not 0 < days <= 366:
        raise Invalid("review-days", "the days are more than 0 and at most 366")
    return later(now, days * _DAY_S)


def _owner(reading: Reading, review: str, number: int) -> str:
    """Whose the item is; empty where there is none, which who may not decide is not told."""
    with contextlib.suppress(NotFound):
        return next((str(item.principal) for item in campaigns.items(reading, review) if item.number == number), "")
    return ""


def _at(instant: Instant | None) -> str:
    return "" if instant is None else rfc3339(instant)


def _review(reading: Reading, row: Review) -> directory.ReviewView:
    found = campaigns.progress(reading, row.id)
    return directory.ReviewView(
        row.id, row.name, row.created_by, rfc3339(row.created_at), rfc3339(row.deadline), _at(row.closed_at),
        found.total, found.decided, found.by_choice, {str(who): count for who, count in found.waiting.items()},
    )  # fmt: skip


def _item(item: Item) -> directory.ItemView:
    return directory.ItemView(
        item.number, item.kind, item.principal, item.subject, item.shown, _at(item.last_used_at), item.decision or "",
        item.reason, item.decided_by, _at(item.decided_at), _at(item.ends_at), _at(item.applied_at),
    )  # fmt: skip
