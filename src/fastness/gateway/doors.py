"""Steps 2, 4 and 5 of the request path: who asks, may they, how often. On snapshots; no SQL, no waiting."""

from __future__ import annotations

import ipaddress
from hashlib import blake2b

from fastness.access import Authenticated, Credentials, authenticate, decide
from fastness.core.clock import SECOND, Instant
from fastness.core.errors import Conflict, FastnessError, Forbidden, Limited, NotFound, Unavailable
from fastness.core.events import Detail
from fastness.core.identity import Action, Obligation, Resource
from fastness.core.limits import Limit, LimitKey
from fastness.gateway.head import Target
from fastness.gateway.parts import GatewayParts
from fastness.gateway.record import Request, route_details
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
_KNOWN_NS = SECOND


class Granted:
    """A route that a key may use, and everything about it that stays the same from request to request."""

    __slots__ = ("details", "guard", "predictor", "resource", "route", "version")

    def __init__(self, route: Route, key_id: str, predictor: Predictor, guard: Guard) -> None:
        self.route = route
        self.predictor = predictor
        self.guard = guard
        self.version = str(route.version)
        self.resource = f"model:{route.model}"
        self.details: dict[str, Detail] = route_details(route, key_id)


class Doors:
    """Decides on the headers.

    Who was recognised is remembered for a second, so that an expiry counts within a second, and only while the snapshot of the
    keys stays the same object, so that a revocation counts at once. What was granted is remembered while both snapshots stay.
    """

    def __init__(self, parts: GatewayParts, settings: GatewaySettings) -> None:
        self._parts = parts
        self._near = settings.probe_networks
        self._secret = parts.entropy(32)
        self._known: dict[bytes, tuple[Authenticated, Instant]] = {}
        self._known_by: Credentials | None = None
        self._granted: dict[tuple[str, str, str], Granted] = {}
        self._granted_by: tuple[Credentials, Routes] | None = None

    def ready(self) -> None:
        """Return if requests can be decided.

        Raises:
            Unavailable: a snapshot is missing or stale.
        """
        _ = self._parts.credentials.current, self._parts.routes.current

    def probe(self, request: Request, authorization: bytes | None, peer: str) -> None:
        """Let somebody ask for health: from the networks that the settings name, or with a key; at a pace.

        Raises:
            Unauthenticated: from elsewhere, without a valid key.
            Limited: too often.
        """
        if authorization is not None or not self._is_near(peer):
            self.take(request, self.authenticate(request, authorization))
            return
        taken = self._parts.counters.take(LimitKey(f"probe:{peer}"), PROBE_LIMIT, 1, Instant(request.now))
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

    def authenticate(self, request: Request, authorization: bytes | None) -> Authenticated:
        """Step 2.

        Raises:
            Unauthenticated: no valid key.
            Unavailable: the snapshot of the keys is stale.
        """
        live = self._parts.credentials
        credentials = live.current
        request.epoch = live.epoch
        if credentials is not self._known_by:
            self._known = {}
            self._known_by = credentials
        # Not the key but a digest of it is held, under a secret of this process.
        digest = blake2b(authorization or b"", digest_size=16, key=self._secret).digest()
        known = self._known.get(digest)
        if known is not None and known[1] <= request.now < known[1] + _KNOWN_NS:
            who = known[0]
        else:
            who = authenticate(authorization, credentials, request.now)
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[digest] = (who, request.now)
        request.who = who
        request.details = {"key": who.key_id}
        return who

    def decide(self, request: Request, who: Authenticated, target: Target) -> Granted:
        """Step 4: the route of `target`, if `who` may use it as the target asks.

        Raises:
            Forbidden: the policies do not permit it.
            NotFound: there is no such model for this tenant.
            Conflict, Unavailable: there is, but it is not served.
        """
        credentials, routes = self._parts.credentials.current, self._parts.routes.current
        by = self._granted_by
        if by is None or by[0] is not credentials or by[1] is not routes or len(self._granted) >= _KEPT:
            self._granted = {}
            self._granted_by = (credentials, routes)
        request.action = action = Action.MODEL_INFER if target.name == "infer" else Action.MODEL_READ
        known = (who.key_id, target.key, target.name)
        granted = self._granted.get(known)
        if granted is None:
            route, timed = self._route(request, who, target, action, routes)
            granted = Granted(route, who.key_id, *self._behind(route))
            if not timed:
                self._granted[known] = granted
        request.resource = granted.resource
        request.details = granted.details
        return granted

    def _behind(self, route: Route) -> tuple[Predictor, Guard]:
        return self._parts.predictor_for(route), self._parts.guard_for(route.guard)

    def describe(self, request: Request, who: Authenticated, target: Target) -> bytes:
        """What the model takes and gives, and its served versions.

        Raises:
            Forbidden, NotFound, Conflict, Unavailable: as `decide`.
        """
        request.action = Action.MODEL_READ
        routes = self._parts.routes.current
        route, _ = self._route(request, who, target, Action.MODEL_READ, routes)
        request.details = route_details(route, who.key_id)
        versions = {
            r.version
            for r in routes.by_key.values()
            if r.model == route.model and r.tenant == route.tenant and not r.problem
        }
        return oip.encode_metadata(route.model, [str(version) for version in sorted(versions)], route.signature)

    def may_read_metrics(self, request: Request, who: Authenticated) -> None:
        """Return if `who` may read the metrics.

        Raises:
            Forbidden: not permitted.
        """
        request.action = Action.METRICS_READ
        self._permit(request, who, Action.METRICS_READ, Resource("system", "metrics"))

    def take(self, request: Request, who: Authenticated) -> None:
        """Step 5.

        Raises:
            Limited: the key's rate is used up.
        """
        limit = who.limit
        taken = self._parts.counters.take(LimitKey(f"key:{who.key_id}"), limit, 1, Instant(request.now))
        if not taken.allowed:
            raise Limited(
                "rate-limited",
                f"this key may ask {limit.per_s:g} times a second, {limit.burst:g} at once",
                "Wait as long as Retry-After says, or ask for a higher limit.",
                taken.retry_after_s,
            )

    def _route(
        self, request: Request, who: Authenticated, target: Target, action: Action, routes: Routes
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

    def _permit(self, request: Request, who: Authenticated, action: Action, resource: Resource) -> bool:
        context = {"tenant": who.principal.tenant}
        decision = decide(who.principal, action, resource, context, self._parts.policies, Instant(request.now))
        decision = decision.carrying(Obligation.LOG)  # each request leaves its event
        if not decision.allow:
            rules = f" (rules: {', '.join(decision.rules)})" if decision.rules else ""
            raise Forbidden(
                "access-denied",
                f"{action.value} is not permitted{rules}: {decision.message or decision.reason}",
                "Ask an administrator for a role that permits it.",
            )
        return Obligation.STEP_UP in decision.obligations


def _not_served(route: Route, target: Target) -> FastnessError:
    kind: type[FastnessError] = Conflict if route.problem in _CONFLICTS else Unavailable
    text = f"{target.key} is not served: {route.detail or route.problem}"
    return kind(route.problem, text, "Whoever operates the model has to act: `fastness models show` says on what.")
