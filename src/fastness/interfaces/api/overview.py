"""Routes that tell of the doors themselves."""

from __future__ import annotations

from collections import Counter
from typing import Any

from litestar import Controller, Request, get
from litestar.di import NamedDependency

from fastness.app import ClientCertificates, House
from fastness.core.identity import Action, Resource
from fastness.interfaces.api.doors import Caller, Doors
from fastness.interfaces.api.routes import all_routes, guarded
from fastness.wire import overview


class OverviewRoutes(Controller):
    """What stands before each route of the house."""

    tags = ("access",)

    @get("/access/routes", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def routes(
        self,
        request: Request[Any, Any, Any],
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
    ) -> overview.RoutesView:
        """Every route of the control plane and the gateway, as it is served now, and the share that is guarded."""
        doors.allow(caller, Action.ACCESS_READ, Resource("access", "routes"))
        found = all_routes(
            request.app, certificates=house.settings.server.client_certificates != ClientCertificates.OFF
        )
        proofs = Counter(view.proof.value for view in found)
        whole = sum(bool(view.permission and view.per_s > 0) for view in found)
        return overview.RoutesView(len(found), whole, dict(sorted(proofs.items())), tuple(found))
