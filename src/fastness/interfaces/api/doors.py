"""Who is it, and may they? Asked at each route; both answers are recorded before the request is answered."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fastness.access import AccessDecision, decide
from fastness.access.login import Client, sessions, stepup
from fastness.access.possession.signatures import SignedRequest
from fastness.access.restrictions import Asking, Measure
from fastness.app import House
from fastness.core.clock import Clock, Instant
from fastness.core.errors import FastnessError, Forbidden, Limited, Unauthenticated
from fastness.core.events import Detail, Event, EventFactory, EventKind
from fastness.core.findings import Decision
from fastness.core.identity import (
    SYSTEM,
    SYSTEM_SCOPE,
    Action,
    Obligation,
    Principal,
    PrincipalKind,
    Resource,
    Scope,
    Strength,
)
from fastness.core.limits import LimitKey
from fastness.foundation.storage import MemoryCounters
from fastness.interfaces.api import identifying
from fastness.interfaces.api.approving import REQUIRED, Approvable, Approvals, refusal
from fastness.interfaces.api.cookies import DEVICE, FORGOTTEN, SESSION, read_cookie, session_cookies
from fastness.interfaces.api.headers import CHANGING, header_of, require_own_page
from fastness.interfaces.api.peer import signed_head
from fastness.interfaces.api.routes import Door, Pace
from fastness.interfaces.api.separating import Noted, Separation
from fastness.wire.overview import Proof

HERE: Final = "local"
"""What the record says of the address of who comes over the Unix socket, which only the owner of the home can reach."""
_LOOPBACK: Final = ("127.", "::1")
FRESH_S: Final = 300
STEP_UP: Final = "step-up-required"
_STEP_UP_HINT: Final = "Give a code: `fastness` asks for it, or POST /api/v1/step-ups and send Fastness-Elevation."
CSRF: Final = "fastness-csrf"
_LONGEST_RESOURCE: Final = 200  # in an event: a path may be longer than what fits into the log


@dataclass(slots=True)
class Caller:
    """Who asks, and what was decided about it so far.

    Attributes:
        credential: names the credential in lists and in the record; empty at routes that ask nobody's name.
        client: where the request came from, and by which program.
        route: method and path as asked.
        decided: the permissions that were asked for and given.
        session: None with a key.
        form: the fields that a page of the console sent.
        personal: the fields of the answer that a mask hides.
        masked: whether a rule obliges to hide them.
        approvable: what is asked, where others can approve it.
        cookies: what its browser is to keep from now on, whatever the answer is.
        signed: the signature of the request; the gate holds the body against it.
        noted: what its session is said to have done, for the first time, with this request.
    """

    principal: Principal
    scope: Scope
    credential: str
    client: Client
    route: str
    decided: set[Action] = field(default_factory=set)
    session: sessions.Session | None = None
    form: dict[str, str] = field(default_factory=dict, repr=False)
    cookies: list[str] = field(default_factory=list, repr=False)
    personal: frozenset[str] = frozenset()
    masked: bool = False
    approvable: Approvable | None = field(default=None, repr=False)
    signed: SignedRequest | None = None
    noted: list[Noted] = field(default_factory=list, repr=False)


class Doors:
    """The doors of one house."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._counters = MemoryCounters()
        self.approvals = Approvals(house)
        self.separation = Separation(house)

    @property
    def clock(self) -> Clock:
        """The clock of the house."""
        return self._house.clock

    def come_in(self, scope: Any, door: Door, form: dict[str, str] | None = None) -> Caller:
        """Who sent this request, at a pace that is not too fast.

        Args:
            form: the fields of a page of the console.

        Raises:
            Unauthenticated: nobody known; recorded.
            Forbidden: the address or the caller is blocked, or a page of somebody else had a browser send this, or it does not show that
                none did; recorded.
            Limited: too many requests; recorded.
        """
        caller = _stranger(scope, self.clock.now())
        caller.personal = door.personal
        caller.form = form or {}
        scope.setdefault("state", {})["caller"] = caller
        address = caller.client.address
        near = not address or address.startswith(_LOOPBACK)
        try:
            self._house.snapshots.fence().at_edge(address, self.clock.now())
            caller.client = replace(caller.client, device=read_cookie(scope, DEVICE))
            if door.proof in {Proof.BODY, Proof.STEP} or (door.proof is Proof.PEER and near):
                self._keep_pace(caller, door.pace, f"address:{address}")
                require_own_page(scope, self._house.desk.settings.origin, page=door.form)
                return caller
            self._identify(caller, scope, door)
        except (Unauthenticated, Forbidden) as error:
            self._refused(caller, getattr(error, "audit_code", error.code))
            raise
        self._keep_pace(caller, door.pace, f"principal:{caller.scope.tenant}/{caller.principal.id}")
        if door.permission is None:  # where one is declared, `allow` asks
            what = Resource("route", caller.route.partition(" ")[2])
            measures = frozenset(Measure) - ({Measure.STEP_UP} if door.steps else set())
            self._keep_restrictions(caller, None, what, measures)
        return caller

    def keep(self, caller: Caller, made: sessions.NewSession) -> None:
        """Have the caller's browser keep this session from now on."""
        caller.cookies[:] = session_cookies(made, self._house.desk.settings.device_days)

    def forget(self, caller: Caller) -> None:
        """Have the caller's browser keep no session."""
        caller.cookies[:] = [FORGOTTEN]

    def allow(
        self,
        caller: Caller,
        action: Action,
        resource: Resource,
        carries: tuple[Obligation, ...] = (),
        **context: str | int | bool,
    ) -> AccessDecision:
        """Check that `caller` may do `action`; a yes is recorded as a no is.

        Args:
            carries: obligations that the handler itself sees to, such as the approval of others.
            context: what the policies ask about; the resource's tenant is the caller's, since rows are read by tenant.

        Raises:
            Forbidden: not allowed, or blocked at the moment; `approval-required` where only the word of others is missing.
            Limited: slowed down at the moment.
            Unavailable: the rules of the tenant cannot be verified.
            Unauthenticated: `step-up-required`: it takes a second factor, given lately.
        """
        self._keep_restrictions(caller, action, resource)
        asked = {"tenant": str(caller.principal.tenant), **context}
        rules = self._house.book.of(caller.principal.tenant)
        decision = decide(caller.principal, action, resource, asked, rules, self.clock.now())
        decision = decision.carrying(Obligation.LOG, *carries)  # both answers are recorded
        if Obligation.MASK in decision.open and caller.personal:
            caller.masked, decision = True, decision.carrying(Obligation.MASK)
        if Obligation.TWO_PERSONS not in carries:
            decision = self.approvals.settle(caller.approvable, action, decision)
        reason = ",".join(decision.rules) or decision.reason
        if not decision.allow:
            if decision.open:
                reason = decision.reason
            self._record(caller, EventKind.ACCESS_DENIED, str(resource), reason, action)
            if decision.reason == REQUIRED:
                raise refusal(caller.approvable, action, decision)
            if decision.reason == STEP_UP:
                raise Unauthenticated(STEP_UP, f"{action} takes a second factor, given lately", _STEP_UP_HINT)
            raise Forbidden(
                reason,
                f"{caller.principal.id} may not {action} {str(resource)[:_LONGEST_RESOURCE]}",
                decision.message,
            )
        with self.noting(caller):
            self.separation.require(caller.scope, caller.credential, action, resource)
        self._record(caller, EventKind.ACCESS_ALLOWED, str(resource), reason, action, resource)
        caller.decided.add(action)
        return decision

    @contextlib.contextmanager
    def noting(self, caller: Caller) -> Iterator[None]:
        """Record a refusal within, which no transaction has recorded; it goes on."""
        try:
            yield
        except FastnessError as error:
            self._refused(caller, getattr(error, "audit_code", error.code))
            raise

    def _identify(self, caller: Caller, scope: Any, door: Door) -> None:
        """Find out who the caller is, and whether they have stepped up."""
        # Two headers are no key: which one counts would be a matter of taste.
        authorization, cookie = header_of(scope, b"authorization") or None, read_cookie(scope, SESSION)
        if (authorization or signed_head(scope)) and cookie:
            hint = "Send the header or the cookie, not both."
            raise Unauthenticated("credentials-mixed", "a request has one credential", hint)
        if cookie:
            self._by_session(caller, scope, door, cookie)
            caller.principal = identifying.proved(self._house, caller.principal, scope, None)
            return
        caller.signed = signed = identifying.signed(self._house, scope, self.clock.now())
        who, credential = identifying.by_header(self._house, scope, authorization, signed, self.clock.now())
        if given := header_of(scope, b"fastness-elevation"):
            who = self._stepped_up(who, credential, given.decode("latin-1"))
        caller.principal, caller.scope, caller.credential = who, Scope(who.tenant, who.id), credential
        caller.principal = identifying.proved(self._house, who, scope, signed)

    def _by_session(self, caller: Caller, scope: Any, door: Door, cookie: str) -> None:
        """Whose session it is; one whose owner has other roles now gets a new cookie."""
        house, desk, now = self._house, self._house.desk, self.clock.now()
        with house.records.read(SYSTEM_SCOPE) as reading:
            session = sessions.validate(reading, desk, cookie, caller.client, now)
        if scope["method"] in CHANGING:
            require_own_page(scope, self._house.desk.settings.origin, page=door.form)
            header = header_of(scope, CSRF.encode()).decode("latin-1")
            sessions.check_csrf(session, caller.form.get("csrf", "") if door.form else header)
        if session.due:
            with house.records.begin(session.scope, now) as tx:
                made = sessions.rotate(tx, desk, session)
            self.keep(caller, made)
            with house.records.read(SYSTEM_SCOPE) as reading:
                session = sessions.validate(reading, desk, made.cookie, caller.client, now)
        elif session.stale:
            with house.records.begin(session.scope, now) as tx:
                sessions.see(tx, session)
        caller.principal, caller.scope, caller.credential = session.principal, session.scope, session.credential
        caller.session = session

    def _keep_restrictions(
        self,
        caller: Caller,
        action: Action | None,
        resource: Resource,
        measures: frozenset[Measure] = frozenset(Measure),
    ) -> None:
        """Return if nothing that a security officer set stands against it."""
        model = resource.id.partition("/")[0] if resource.kind == "model" else ""
        credential = caller.credential.removeprefix("key:")
        asking = Asking(caller.principal, action, credential, caller.client.address, model)
        try:
            self._house.snapshots.fence().enforce(asking, self._counters, self.clock.now(), measures)
        except (Forbidden, Limited) as error:
            self._record(caller, EventKind.ACCESS_DENIED, str(resource), error.code, action or "")
            if error.code == STEP_UP:
                raise Unauthenticated(STEP_UP, error.message, _STEP_UP_HINT) from error
            raise

    def _stepped_up(self, who: Principal, credential: str, text: str) -> Principal:
        with self._house.records.read(Scope(who.tenant, who.id)) as reading:
            return stepup.elevated(reading, self._house.desk, who, credential, text, self.clock.now())

    def _keep_pace(self, caller: Caller, pace: Pace, who: str) -> None:
        taken = self._counters.take(LimitKey(f"{pace.name}:{who}"), pace.limit, 1, self.clock.now())
        if not taken.allowed:
            self._refused(caller, "rate-limited")
            raise Limited(
                "rate-limited",
                f"{pace.limit.per_s:g} requests a second are answered here, {pace.limit.burst:g} at once",
                "Wait as long as Retry-After says.",
                taken.retry_after_s,
            )

    def _refused(self, caller: Caller, reason: str) -> None:
        self._record(caller, EventKind.ACCESS_DENIED, f"route:{caller.route.partition(' ')[2]}", reason)

    def _record(
        self,
        caller: Caller,
        kind: EventKind,
        resource: str,
        reason: str,
        action: Action | str = "",
        act: Resource | None = None,
    ) -> None:
        allowed = kind is EventKind.ACCESS_ALLOWED
        details: dict[str, Detail] = {"from": caller.client.address or HERE, "route": caller.route[:_LONGEST_RESOURCE]}
        if caller.credential:
            details["credential"] = caller.credential
        if caller.principal.actor:
            details["actor"] = caller.principal.actor

        def make(events: EventFactory) -> Event:
            return events.make(
                kind,
                resource[:_LONGEST_RESOURCE],
                action=action,
                decision=Decision.ALLOW if allowed else Decision.DENY,
                reason=reason,
                details=details,
            )

        if isinstance(action, Action) and act is not None:
            caller.noted += self.separation.record(caller.scope, caller.credential, (action, act), make)
        else:
            self._house.record(caller.scope, make)


def _stranger(scope: Any, now: Instant) -> Caller:
    """Who sent this request, as far as it can be seen without a credential."""
    address = scope["client"][0] if scope.get("client") else ""
    client = Client(address, header_of(scope, b"user-agent").decode("latin-1"))
    nobody = Principal(PrincipalKind.SYSTEM, SYSTEM, SYSTEM_SCOPE.tenant, frozenset(), Strength.NONE, now)
    return Caller(nobody, SYSTEM_SCOPE, "", client, f"{scope['method']} {scope['path']}")
