"""Routes of restrictions: imposed with a reason and an end, listed, lifted."""

from __future__ import annotations

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from fastness.access import keys, restrictions
from fastness.app import House
from fastness.core.clock import Instant, later, rfc3339
from fastness.core.errors import Invalid
from fastness.core.identity import Action, Resource
from fastness.core.limits import Limit
from fastness.foundation.storage import Reading
from fastness.interfaces.api.doors import Caller, Doors
from fastness.interfaces.api.paging import Page
from fastness.interfaces.api.routes import WRITE, guarded
from fastness.wire import rules

MOST_MINUTES = 43_200


class RestrictionRoutes(Controller):
    """Blocks, throttles and forced second factors."""

    path = "/restrictions"
    tags = ("restrictions",)

    @get("/", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def standing(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        page: NamedDependency[Page],
    ) -> Response[list[rules.RestrictionView]]:
        """The restrictions that count now, oldest first."""
        doors.allow(caller, Action.ACCESS_READ, Resource("access", "restrictions"))
        now = house.clock.now()
        with house.records.read(caller.scope) as reading:
            found = restrictions.standing(reading, now)
        return page.of([restriction_view(each, now) for each in found], lambda view: view.id)

    @get("/history", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def history(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        page: NamedDependency[Page],
    ) -> Response[list[rules.RestrictionView]]:
        """All restrictions there ever were, oldest first."""
        doors.allow(caller, Action.ACCESS_READ, Resource("access", "restrictions"))
        now = house.clock.now()
        with house.records.read(caller.scope) as reading:
            found = restrictions.history(reading)
        return page.of([restriction_view(each, now) for each in found], lambda view: view.id)

    @get("/{restriction:str}", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def one(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        restriction: FromPath[str],
    ) -> rules.RestrictionView:
        """One restriction, whether it still counts or not."""
        doors.allow(caller, Action.ACCESS_READ, Resource("restriction", restriction))
        with house.records.read(caller.scope) as reading:
            found = restrictions.find(reading, restriction)
        return restriction_view(found, house.clock.now())

    @post("/", sync_to_thread=True, opt=guarded(Action.RESTRICTION_CHANGE, WRITE))
    def impose(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        data: JSONBody[rules.RestrictionRequest],
    ) -> rules.RestrictionView:
        """Restrict somebody or something for a while; when this is answered, every worker keeps to it."""
        now = house.clock.now()
        order = _order(data, now)
        with house.records.read(caller.scope) as reading:
            owner = _owner(reading, order)
        what = Resource("restriction", f"{order.kind}:{order.target}")
        doors.allow(caller, Action.RESTRICTION_CHANGE, what, owner=owner)
        with house.records.begin(caller.scope, now) as tx:
            made = restrictions.impose(tx, order, caller.client.address)
        house.published(restrictions.RestrictionsProjection.topic)
        return restriction_view(made, now)

    @post(
        "/{restriction:str}/lift", status_code=200, sync_to_thread=True, opt=guarded(Action.RESTRICTION_CHANGE, WRITE)
    )
    def lift(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        restriction: FromPath[str],
        data: JSONBody[rules.LiftRequest],
    ) -> rules.RestrictionView:
        """End a restriction before its time."""
        with house.records.read(caller.scope) as reading:
            owner = next((_owner(reading, r.order) for r in restrictions.history(reading) if r.id == restriction), "")
        doors.allow(caller, Action.RESTRICTION_CHANGE, Resource("restriction", restriction), owner=owner)
        now = house.clock.now()
        with house.records.begin(caller.scope, now) as tx:
            restrictions.lift(tx, restriction, data.reason)
        house.published(restrictions.RestrictionsProjection.topic)
        with house.records.read(caller.scope) as reading:
            return restriction_view(restrictions.find(reading, restriction), now)


def restriction_view(found: restrictions.Restriction, now: Instant) -> rules.RestrictionView:
    """A restriction as it is shown."""
    order = found.order
    return rules.RestrictionView(
        id=found.id,
        measure=order.measure.value,
        kind=order.kind.value,
        target=order.target,
        reason=order.reason,
        author=found.author,
        created_at=rfc3339(found.created_at),
        expires_at=rfc3339(order.expires_at),
        standing=found.lifted_at is None and order.expires_at > now,
        per_s=order.limit.per_s if order.limit else None,
        burst=order.limit.burst if order.limit else None,
        lifted_at="" if found.lifted_at is None else rfc3339(found.lifted_at),
        lifted_by=found.lifted_by or "",
    )


def _order(data: rules.RestrictionRequest, now: Instant) -> restrictions.Order:
    if data.measure not in set(restrictions.Measure):
        known = ", ".join(restrictions.Measure)
        raise Invalid("restriction-measure", f"{data.measure[:40]!r} is no measure", f"Use one of {known}.")
    if data.kind not in set(restrictions.Kind):
        known = ", ".join(restrictions.Kind)
        raise Invalid("restriction-kind", f"{data.kind[:40]!r} is nothing to be restricted", f"Use one of {known}.")
    if not 0 < data.minutes <= MOST_MINUTES:
        raise Invalid("restriction-expiry", "a restriction ends, at the latest in 30 days", "Give `minutes` above 0.")
    if (data.per_s is None) != (data.burst is None):
        raise Invalid("restriction-limit", "a throttle has both per_s and burst", "Give both.")
    limit = None if data.per_s is None or data.burst is None else Limit(data.per_s, data.burst)
    kind, measure = restrictions.Kind(data.kind), restrictions.Measure(data.measure)
    return restrictions.Order(measure, kind, data.target, data.reason, later(now, data.minutes * 60), limit)


def _owner(reading: Reading, order: restrictions.Order) -> str:
    """Whom it is about, so that nobody judges in their own matter."""
    if order.kind is restrictions.Kind.PRINCIPAL:
        return order.target
    if order.kind is restrictions.Kind.KEY:
        return next((key.principal for key in keys(reading) if key.key_id == order.target), "")
    return ""
