"""Routes of quotas: how much may be used in a window, and what was used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from litestar import Controller, Response, delete, get, put
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody, PathParameter

from fastness.access import keys, quotas
from fastness.app import House
from fastness.core.clock import Instant, rfc3339
from fastness.core.errors import Invalid, NotFound
from fastness.core.identity import Action, Resource
from fastness.core.limits import Unit, Window
from fastness.foundation.storage import Reading
from fastness.interfaces.api.doors import Caller, Doors
from fastness.interfaces.api.paging import Page
from fastness.interfaces.api.routes import WRITE, guarded
from fastness.wire import rules

TOPIC = quotas.QuotasProjection.topic
_PATH = "/{kind:str}/{subject:str}/{unit:str}/{window:str}"


@dataclass(frozen=True, slots=True)
class Place:
    """Which quota: at most one is in a place."""

    kind: quotas.Kind
    subject: str
    unit: Unit
    window: Window

    @property
    def resource(self) -> Resource:
        """What is asked for."""
        return Resource("quota", f"{self.kind.value}:{self.subject}")


def provide_place(
    kind: Annotated[str, PathParameter(schema_extra={"enum": list(quotas.Kind)})],
    subject: FromPath[str],
    unit: Annotated[str, PathParameter(schema_extra={"enum": list(Unit)})],
    window: Annotated[str, PathParameter(schema_extra={"enum": list(Window)})],
) -> Place:
    """The place that the path names."""
    for text, words, name in ((kind, quotas.Kind, "kind"), (unit, Unit, "unit"), (window, Window, "window")):
        if text not in set(words):
            raise Invalid(f"quota-{name}", f"{text[:40]!r} is no {name} of a quota", f"Use one of {', '.join(words)}.")
    return Place(quotas.Kind(kind), subject, Unit(unit), Window(window))


_PLACED = {"place": Provide(provide_place, sync_to_thread=False)}


class QuotaRoutes(Controller):
    """Who may use how much."""

    path = "/quotas"
    tags = ("quotas",)
    dependencies = _PLACED
    signature_types = (Place,)

    @get("/", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def all(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        page: NamedDependency[Page],
    ) -> Response[list[rules.QuotaView]]:
        """All quotas of the tenant; where none is stored, the rates of the settings hold."""
        doors.allow(caller, Action.ACCESS_READ, Resource("access", "quotas"))
        with house.records.read(caller.scope) as reading:
            found = quotas.quotas(reading)
        return page.of(map(_view, found), _name)

    @get("/uses", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def uses(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        page: NamedDependency[Page],
    ) -> Response[list[rules.QuotaUseView]]:
        """What was used of each quota in the present windows, a moment old at most."""
        doors.allow(caller, Action.ACCESS_READ, Resource("access", "quotas"))
        with house.records.read(caller.scope) as reading:
            found = quotas.uses(reading, house.clock.now())
        views = [
            rules.QuotaUseView(_view(use.quota), use.subject, _at(use.start_us), _at(use.end_us), use.used, use.percent)
            for use in found
        ]
        return page.of(views, lambda view: f"{_name(view.quota)}/{view.subject}")

    @get(_PATH, sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def one(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        place: NamedDependency[Place],
    ) -> rules.QuotaView:
        """One quota; its entity tag goes into If-Match of who changes it."""
        doors.allow(caller, Action.ACCESS_READ, place.resource)
        with house.records.read(caller.scope) as reading:
            found = _find(reading, place)
        if found is None:
            raise NotFound("quota-unknown", "there is no such quota", "See: fastness access quota list.")
        return found

    @put(_PATH, sync_to_thread=True, opt=guarded(Action.QUOTA_CHANGE, WRITE))
    def set_quota(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        place: NamedDependency[Place],
        data: JSONBody[rules.QuotaRequest],
    ) -> rules.QuotaView:
        """Set a quota, in place of the one there is; what was used in this window already counts under it."""
        quota = quotas.parse_quota(
            {
                "kind": place.kind.value, "subject": place.subject, "unit": place.unit.value,
                "window": place.window.value, "amount": data.amount, "shape": data.shape, "burst": data.burst,
                "stops": data.stops, "alerts": data.alerts,
            }
        )  # fmt: skip
        self._allow(house, doors, caller, place)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            quotas.set_quota(tx, quota)
        house.published(TOPIC)
        return _view(quota)

    @delete(_PATH, sync_to_thread=True, opt=guarded(Action.QUOTA_CHANGE, WRITE))
    def remove(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        place: NamedDependency[Place],
    ) -> None:
        """Have a quota no more."""
        self._allow(house, doors, caller, place)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            quotas.remove_quota(tx, place.kind, place.subject, place.unit, place.window)
        house.published(TOPIC)

    @staticmethod
    def _allow(house: House, doors: Doors, caller: Caller, place: Place) -> None:
        owner = place.subject if place.kind is quotas.Kind.PRINCIPAL else ""
        if place.kind is quotas.Kind.KEY:
            with house.records.read(caller.scope) as reading:
                owner = next((key.principal for key in keys(reading) if key.key_id == place.subject), "")
        doors.allow(caller, Action.QUOTA_CHANGE, place.resource, owner=owner)


def _find(reading: Reading, place: Place) -> rules.QuotaView | None:
    for quota in quotas.quotas(reading):
        if (quota.kind, quota.subject, *quota.place) == (place.kind, place.subject, place.unit, place.window):
            return _view(quota)
    return None


def _view(quota: quotas.Quota) -> rules.QuotaView:
    return rules.QuotaView(
        quota.kind.value,
        quota.subject,
        quota.unit.value,
        quota.window.value,
        quota.amount,
        quota.shape.value,
        quota.burst,
        quota.stops,
        quota.alerts,
    )


def _name(view: rules.QuotaView) -> str:
    return f"{view.kind}/{view.subject}/{view.unit}/{view.window}"


def _at(time_us: int) -> str:
    return rfc3339(Instant(time_us * 1000))
