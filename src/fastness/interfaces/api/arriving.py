"""Coming in by an external provider, step by step, each in the transactions it takes; no transaction waits for a network.

What goes wrong at the provider is told alike, whatever it was; the record says what. An address that leads to a provider
names its tenant too, so that no provider of one tenant is taken for another's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from fastness.access import KeysProjection
from fastness.access.federation import Asker, Proven, admit, identities, logouts, note_failure, providers, read_place
from fastness.access.login import factors, flow
from fastness.app import House
from fastness.core.errors import Conflict, Corrupt, FastnessError, Invalid, NotFound, Unauthenticated, Unavailable
from fastness.core.identity import SYSTEM_SCOPE, PrincipalId, Scope, TenantId
from fastness.interfaces.api.cookies import FEDERATED, FEDERATED_OVER
from fastness.interfaces.api.doors import Caller, Doors

_LIFE_S: Final = 600
_THEIRS: Final = ("provider-", "address-refused", "secret-", "key-")
_MOST_PARAMETERS: Final = 20


@dataclass(frozen=True, slots=True)
class Arrived:
    """What came of a login by a provider.

    Attributes:
        step: what follows; None where an identity was linked.
    """

    return_to: str
    step: flow.Step | None = None


class Arriving:
    """The steps of one request.

    Args:
        caller: gets the cookies of what becomes of it.
    """

    def __init__(self, house: House, doors: Doors, caller: Caller) -> None:
        self._house = house
        self._doors = doors
        self._caller = caller

    def begin(self, place: str, return_to: str, *, link: bool = False) -> str:
        """Where the browser is to go; it gets a cookie by which it is known when it comes back.

        Args:
            link: whether the caller links an identity there to themselves. It takes a session, and a second factor.

        Raises:
            NotFound: there is no such provider.
            Unavailable: `provider-trouble`, or too many wait.
            Forbidden: `step-up-required`, to link one.
        """
        house, caller = self._house, self._caller
        tenant, name = read_place(place)
        scope = Scope(tenant, PrincipalId(""))
        asker = Asker(PrincipalId(""), "")
        if link:
            if caller.session is None or tenant != caller.scope.tenant:
                raise NotFound("provider-unknown", f"there is no provider {name[:64]!r}")
            factors.require_fresh(caller.principal, house.clock.now())
            scope, asker = caller.scope, Asker(caller.principal.id, caller.session.row.id)
        with house.records.read(scope) as reading:
            known = house.federation.known(reading, name)
        with self._told(scope, name):
            endpoints = house.federation.endpoints(known, house.clock.now())
        with house.records.begin(scope, house.clock.now()) as tx:
            begun = house.federation.begin(tx, known, endpoints, return_to, asker=asker)
        kept = f"{FEDERATED}={begun.browser}; Path=/; Max-Age={_LIFE_S}; Secure; HttpOnly; SameSite=Lax"
        caller.cookies.append(kept)
        return begun.location

    def come_back(self, place: str, browser: str, parameters: list[tuple[str, str]]) -> Arrived:
        """What came of a login, now that the browser is back.

        Args:
            browser: the cookie that it got when the login began.
            parameters: of the query.

        Raises:
            Unauthenticated: it was not begun in this browser, the provider says no, or nobody here is who came.
            Conflict: `identity-taken`: it cannot be linked.
            Unavailable: `provider-trouble`, or too many wait.
        """
        house, caller = self._house, self._caller
        caller.cookies[:] = [FEDERATED_OVER]
        once = dict(parameters)
        given: Mapping[str, str] = once if len(once) == len(parameters) <= _MOST_PARAMETERS else {}
        with house.records.read(SYSTEM_SCOPE) as reading:
            whose = house.federation.scope_of(reading, given)
        with house.records.begin(whose, house.clock.now()) as tx:
            resumed = house.federation.resume(tx, place, given, browser)
        if resumed is None:
            hint = "Begin again, in one window; a login by a provider has to be done within ten minutes."
            raise Unauthenticated("federation-refused", "this login is over, or the provider refused it", hint)
        name = resumed.known.provider.name
        with self._told(whose, name):
            proven = house.federation.prove(resumed, house.clock.now())
        with self._told(whose, name):
            return self._linked(whose, proven) if proven.asker.session else self._admitted(whose, proven)

    def farewell(self, return_to: str) -> str:
        """Where the caller can log out at the provider by which their session began; empty where there is no such place.

        To be asked before the session ends.
        """
        house, caller = self._house, self._caller
        if caller.session is None:
            return ""
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            row = logouts.leave(tx, logouts.session_handle(caller.session.row.id))
            flow.log_out(tx, caller.session)
        self._doors.forget(caller)
        if row is None:
            return ""
        try:
            with house.records.read(caller.scope) as reading:
                known = house.federation.known(reading, row.provider)
            return house.federation.leaving.farewell(known, row, return_to, house.clock.now())
        except (NotFound, Unavailable, Invalid, Corrupt):  # one is out here in any case
            return ""

    def ordered_out(self, place: str, token: str) -> int:
        """End the sessions that a provider ordered to end by a logout token; how many.

        Raises:
            Unauthenticated: `federation-refused`, also where there is no such provider.
            Unavailable: `provider-trouble`, or too many wait.
        """
        house = self._house
        tenant, name = read_place(place)
        scope = Scope(tenant, PrincipalId(""))
        with house.records.read(scope) as reading:
            try:
                known = house.federation.known(reading, name)
            except NotFound as error:
                raise Unauthenticated("federation-refused", "this is no logout token", "", error.code) from error
        with self._told(scope, name):
            ordered = house.federation.leaving.ordered(known, token, house.clock.now())
        with self._told(scope, name), house.records.begin(scope, house.clock.now()) as tx:
            return logouts.obey(tx, ordered)

    def _linked(self, scope: Scope, proven: Proven) -> Arrived:
        house = self._house
        with house.records.begin(Scope(scope.tenant, proven.asker.principal), house.clock.now()) as tx:
            identities.link(tx, proven)
        return Arrived(proven.return_to)

    def _admitted(self, scope: Scope, proven: Proven) -> Arrived:
        house, caller = self._house, self._caller
        before = house.records.epoch(KeysProjection.topic)
        with house.records.begin(scope, house.clock.now()) as tx:
            who = admit(tx, proven).principal
            vouched = flow.Vouched(f"provider:{proven.known.provider.name}", proven.strength, proven.authenticated_at)
            step = flow.vouched_for(tx, house.desk, who.id, vouched, caller.client)
            started = logouts.session_handle(step.session.id) if step.session else logouts.ticket_handle(step.ticket)
            house.federation.leaving.remember(tx, proven, started, step.expires_at)
        if house.records.epoch(KeysProjection.topic) != before:
            house.published(KeysProjection.topic)  # roles that the provider took away count nowhere from here on
        if step.session is not None:
            self._doors.keep(caller, step.session)
            caller.cookies.append(FEDERATED_OVER)
        return Arrived(proven.return_to, step)

    @contextlib.contextmanager
    def _told(self, scope: Scope, name: str) -> Iterator[None]:
        """Record what was refused, and tell what went wrong at the provider without telling what."""
        try:
            yield
        except FastnessError as error:
            theirs = error.code.startswith(_THEIRS)
            if not theirs and not isinstance(error, Unauthenticated | Conflict):
                raise
            with self._house.records.begin(scope, self._house.clock.now()) as tx:
                note_failure(tx, name, getattr(error, "audit_code", error.code))
            if not theirs:
                raise
            hint = f"Try again later, or log in another way. What is wrong: fastness access provider test {name}"
            message = f"{name} does not answer as is settled with it"
            raise Unavailable("provider-trouble", message, hint) from error


def offered(house: House, tenant: str) -> list[str]:
    """The providers by which people may come in to a tenant; none where there is no such tenant."""
    with house.records.read(Scope(TenantId(tenant), PrincipalId(""))) as reading:
        return providers.offered(reading)
