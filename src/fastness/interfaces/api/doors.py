"""Who is it, and may they? Asked at each route; a refusal is recorded before it is answered."""

from __future__ import annotations

from dataclasses import dataclass

from fastness.access import AccessDecision, authenticate, decide
from fastness.app import House
from fastness.core.errors import FastnessError, Forbidden, Unauthenticated
from fastness.core.events import Event, EventFactory, EventKind
from fastness.core.findings import Decision
from fastness.core.identity import SYSTEM_SCOPE, Action, Principal, Resource, Scope

ANONYMOUS = "anonymous"
"""Marks a route that asks nobody's name; all others are closed to who has no key."""
_LONGEST_RESOURCE = 200  # in an event: a path may be longer than what fits into the log


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated principal at the control plane."""

    principal: Principal
    scope: Scope


class Doors:
    """The doors of one house."""

    def __init__(self, house: House) -> None:
        self._house = house

    def identify(self, authorization: bytes | None, route: str) -> Caller:
        """Who sent this `Authorization` header.

        Raises:
            Unauthenticated: nobody known; recorded.
        """
        now = self._house.clock.now()
        try:
            found = authenticate(authorization, self._house.credentials(), now)
        except Unauthenticated as error:
            reason = getattr(error, "audit_code", error.code)
            self._refused(SYSTEM_SCOPE, f"route:{route}", "", reason)
            raise
        return Caller(found.principal, Scope(found.principal.tenant, found.principal.id))

    def allow(self, caller: Caller, action: Action, resource: Resource, **context: str | int | bool) -> AccessDecision:
        """Check that `caller` may do `action`.

        Args:
            context: what the policies ask about; the resource's tenant is the caller's, since rows are read by tenant.

        Raises:
            Forbidden: not allowed; recorded.
        """
        asked = {"tenant": str(caller.principal.tenant), **context}
        decision = decide(caller.principal, action, resource, asked, self._house.policies)
        if not decision.allow:
            self._refused(caller.scope, str(resource), action, ",".join(decision.rules) or decision.reason)
            raise Forbidden(
                ",".join(decision.rules) or decision.reason,
                f"{caller.principal.id} may not {action} {str(resource)[:_LONGEST_RESOURCE]}",
                decision.message,
            )
        return decision

    def refuse_enrolment(self, error: FastnessError) -> None:
        """Record that somebody could not enrol; nobody is known at that door."""
        self._refused(SYSTEM_SCOPE, "route:/api/v1/enrolments", "", getattr(error, "audit_code", error.code))

    def _refused(self, scope: Scope, resource: str, action: str, reason: str) -> None:
        def make(events: EventFactory) -> Event:
            shown = resource[:_LONGEST_RESOURCE]
            return events.make(EventKind.ACCESS_DENIED, shown, action=action, decision=Decision.DENY, reason=reason)

        self._house.record(scope, make)
