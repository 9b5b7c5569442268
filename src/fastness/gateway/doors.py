"""Steps 1 to 5 of the request path that are decided on the headers: whence, who, may they, how much. On snapshots; no SQL."""

from __future__ import annotations

import contextlib
import ipaddress

from fastness.access import Policies, decide
from fastness.access.restrictions import Asking, Fence, Restrictions
from fastness.core.clock import Instant
from fastness.core.errors import Conflict, FastnessError, Forbidden, Limited, NotFound, Unavailable
from fastness.core.events import Detail
from fastness.core.identity import Action, Obligation, Resource
from fastness.core.limits import Limit, LimitKey
from fastness.gateway.callers import Caller, Callers
from fastness.gateway.head import Target
from fastness.gateway.meters import Meters
from fastness.gateway.parts import GatewayParts
from fastness.gateway.record import Recorder, Request, route_details
from fastness.gateway.settings import GatewaySettings
from fastness.guard import Guard
from fastness.models.release import Route, Routes
from fastness.models.runtime import Predictor
from fastness.wire import oip

# Reasons why a version is not served that time will not cure: somebody has to decide something.
_CONFLICTS = frozenset(
    {"allowance-expired", "approvals-missing", "policy-denied", "version-quarantined", "version-retired"}
)
PROBE_LIMIT = Limit(per_s=20.0, burst=100.0)
_KEPT = 4096


class Granted:
    """A route that a caller may use, and everything about it that stays the same from request to request."""

    __slots__ = ("details", "guard", "predictor", "resource", "route", "rules", "version", "who")

    def __init__(self, route: Route, who: Caller, rules: Policies, predictor: Predictor, guard: Guard) -> None:
        self.route = route
        self.who = who
        self.rules = rules
        self.predictor = predictor
        self.guard = guard
        self.version = str(route.version)
        self.resource = f"model:{route.model}"
        self.details: dict[str, Detail] = route_details(route, who.details)


class Doors:
    """Decides on the headers.

    What was granted is remembered while the routes, the rules of the tenant and the caller stay the same objects; a caller does
    while the snapshot by which it was recognised stays, and for a second at most.
    """

    def __init__(self, parts: GatewayParts, settings: GatewaySettings, recorder: Recorder) -> None:
        self._parts = parts
        self._near = settings.probe_networks
        self._callers = Callers(parts)
        self._meters = Meters(parts, recorder)
        self._fence: Fence | None = None
        self._fenced_by: Restrictions | None = None
        self._granted: dict[tuple[str, str, str], Granted] = {}
        self._granted_by: Routes | None = None
        self.settle = self._meters.settle

    def ready(self) -> None:
        """Return if requests can be decided.

        Raises:
            Unavailable: a snapshot is missing or stale.
        """
        parts = self._parts
        _ = parts.credentials.current, parts.tokens.current, parts.routes.current
        _ = parts.restrictions.current, parts.quotas.current, parts.possession.current

    def at_edge(self, request: Request) -> None:
        """Step 1, before anything else is looked at. Where the snapshot is stale the last one counts, for what lies behind
        it refuses then.

        Raises:
            Forbidden: the address is blocked.
        """
        with contextlib.suppress(Unavailable):
            self._look_at_restrictions()
        if self._fence is not None:
            request.details = {"from": request.address}
            self._fence.at_edge(request.address, Instant(request.now))

    async def probe(self, request: Request, authorization: bytes | None) -> None:
        """Let somebody ask for health: from the networks that the settings name, or with a credential; at a pace.

        Raises:
            Unauthenticated: from elsewhere, without a valid credential.
            Limited: too often.
        """
        if authorization is not None or not self._is_near(request.address):
            await self.take(request, self.authenticate(request, authorization), "", None)
            return
        key = LimitKey(f"probe:{request.address}")
        taken = self._parts.counters.take(key, PROBE_LIMIT, 1, Instant(request.now))
        if not taken.allowed:
            raise Limited("rate-limited", "health is asked too often", "Wait.", taken.retry_after_s)

    def _is_near(self, peer: str) -> bool:
        """Whether an address lies in a network of probes; what is no address comes over a Unix socket."""
        try:
            address = ipaddress.ip_address(peer.partition("%")[0])
        except ValueError:
            return not peer
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._near)

    def authenticate(self, request: Request, authorization: bytes | None) -> Caller:
        """Step 2.

        Raises:
            Unauthenticated: no valid credential.
            Unavailable: a snapshot is stale.
        """
        if request.peer or request.signed is not None or self._callers.demanding:
            who = self._callers.prove(request, authorization)
        else:
            who = self._callers.find(request, authorization)
        request.principal = who.principal
        request.details = who.details
        return who

    def restrict(self, request: Request, who: Caller, action: Action, model: str) -> None:
        """Step 3: what a security officer has set against this caller, address, action or model.

        Raises:
            Forbidden: blocked, or a second factor is asked for.
            Limited: slowed down.
            Unavailable: the snapshot of the restrictions is stale.
        """
        self._look_at_restrictions()
        if self._fence is not None:
            request.action, request.resource = action, f"model:{model}" if model else ""
            asking = Asking(who.principal, action, who.credential, request.address, model)
            self._fence.enforce(asking, self._parts.counters, Instant(request.now))

    def decide(self, request: Request, who: Caller, target: Target) -> Granted:
        """Step 4: the route of `target`, if `who` may use it as the target asks.

        Raises:
            Forbidden: the policies do not permit it.
            NotFound: there is no such model for this tenant.
            Conflict, Unavailable: there is, but it is not served; or the rules cannot be verified.
        """
        routes = self._parts.routes.current
        rules = self._parts.policies.of(who.principal.tenant)
        if self._granted_by is not routes or len(self._granted) >= _KEPT:
            self._granted = {}
            self._granted_by = routes
        request.action = action = action_of(target)
        known = (who.credential, target.key, target.name)
        granted = self._granted.get(known)
        if granted is None or granted.who is not who or granted.rules is not rules:
            route, timed = self._route(request, who, target, action, routes)
            granted = Granted(route, who, rules, self._parts.predictor_for(route), self._parts.guard_for(route.guard))
            if not timed:
                self._granted[known] = granted
        request.resource = granted.resource
        request.details = granted.details
        return granted

    def describe(self, request: Request, who: Caller, target: Target) -> bytes:
        """What the model takes and gives, and its served versions.

        Raises:
            Forbidden, NotFound, Conflict, Unavailable: as `decide`.
        """
        request.action = Action.MODEL_READ
        routes = self._parts.routes.current
        route, _ = self._route(request, who, target, Action.MODEL_READ, routes)
        request.details = route_details(route, who.details)
        versions = {
            r.version
            for r in routes.by_key.values()
            if r.model == route.model and r.tenant == route.tenant and not r.problem
        }
        return oip.encode_metadata(route.model, [str(version) for version in sorted(versions)], route.signature)

    def may_read_metrics(self, request: Request, who: Caller) -> None:
        """Return if `who` may read the metrics.

        Raises:
            Forbidden: not permitted.
        """
        request.action = Action.METRICS_READ
        self._permit(request, who, Action.METRICS_READ, Resource("system", "metrics"))

    async def take(self, request: Request, who: Caller, model: str, size: int | None) -> None:
        """Step 5: all limits that a request with a body of `size` meets, at once.

        Raises:
            Limited: a rate or a quota is used up.
            Unavailable: the counters do not answer.
        """
        await self._meters.take(request, who, model, size)

    def _look_at_restrictions(self) -> None:
        restrictions = self._parts.restrictions.current
        if restrictions is not self._fenced_by:
            self._fence = Fence(restrictions) if restrictions.standing else None
            self._fenced_by = restrictions

    def _route(
        self, request: Request, who: Caller, target: Target, action: Action, routes: Routes
    ) -> tuple[Route, bool]:
        """The route, and whether the permission for it may end by itself."""
        resource = Resource("model", target.model)
        request.resource = str(resource)
        route = routes.by_key.get(target.key)
        tenant = who.principal.tenant
        # Asked before it is known whether the model exists, so that the answer does not tell.
        timed = self._permit(request, who, action, resource)
        if route is None or route.tenant != tenant:
            raise NotFound(
                "model-unknown",
                f"no model {target.key} is served here",
                "Check name and version; `fastness models list` shows what is deployed.",
            )
        if route.problem:
            raise _not_served(route, target)
        return route, timed

    def _permit(self, request: Request, who: Caller, action: Action, resource: Resource) -> bool:
        context = {"tenant": who.principal.tenant}
        rules = self._parts.policies.of(who.principal.tenant)
        decision = decide(who.principal, action, resource, context, rules, Instant(request.now))
        decision = decision.carrying(Obligation.LOG)  # each request leaves its event
        if not decision.allow:
            named = f" (rules: {', '.join(decision.rules)})" if decision.rules else ""
            raise Forbidden(
                "access-denied",
                f"{action.value} is not permitted{named}: {decision.message or decision.reason}",
                "Ask an administrator for a role that permits it.",
            )
        return Obligation.STEP_UP in decision.obligations


def action_of(target: Target) -> Action:
    """What a target asks for."""
    if target.name == "infer":
        return Action.MODEL_INFER
    return Action.METRICS_READ if target.name == "metrics" else Action.MODEL_READ


def _not_served(route: Route, target: Target) -> FastnessError:
    kind: type[FastnessError] = Conflict if route.problem in _CONFLICTS else Unavailable
    text = f"{target.key} is not served: {route.detail or route.problem}"
    return kind(route.problem, text, "Whoever operates the model has to act: `fastness models show` says on what.")
