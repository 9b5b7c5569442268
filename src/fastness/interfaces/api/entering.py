"""The steps by which people come in and change how they do, each in the transactions it takes: for the API and the console.

Passwords are hashed outside of transactions. A step that fails is settled after the commit that counted it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from fastness.access.federation import logouts
from fastness.access.login import Answer, Method, accounts, flow, sessions, stepup
from fastness.app import House
from fastness.core.clock import later, rfc3339
from fastness.core.errors import Conflict, Invalid
from fastness.core.identity import SYSTEM_SCOPE
from fastness.interfaces.api.doors import FRESH_S, Caller, Doors

Json = Mapping[str, Any]


class Entering:
    """The steps of one request.

    Args:
        caller: gets the cookies of what becomes of it.
    """

    def __init__(self, house: House, doors: Doors, caller: Caller) -> None:
        self._house = house
        self._doors = doors
        self._caller = caller

    def by_password(self, tenant: str, name: str, password: str) -> flow.Step:
        """The first step of a login.

        Raises:
            Unauthenticated: `login-refused`.
            Limited: `login-limited` or `login-busy`.
        """
        house, desk, client = self._house, self._house.desk, self._caller.client
        with self._recorded():
            with house.records.read(SYSTEM_SCOPE) as reading:
                account = accounts.look_up(reading, desk, tenant, name, client, house.clock.now())
            proof = desk.passwords.check(account, password)
        with house.records.begin(account.scope, house.clock.now()) as tx:
            outcome = flow.give_password(tx, desk, account, proof, client)
        return self._come_so_far(outcome.settled())

    def second_options(self, ticket: str) -> dict[str, Any]:
        """What the browser needs for the second step by passkey. Raises Unauthenticated, `ticket-refused`."""
        house, desk = self._house, self._house.desk
        with self._recorded():
            with house.records.read(SYSTEM_SCOPE) as reading:
                scope = flow.ticket_scope(reading, desk, ticket)
            with house.records.begin(scope, house.clock.now()) as tx:
                return flow.second_options(tx, desk, ticket, self._caller.client)

    def by_second(self, ticket: str, given: Answer) -> flow.Step:
        """The second step of a login.

        Raises:
            Unauthenticated: `ticket-refused` or `factor-refused`.
        """
        house, desk = self._house, self._house.desk
        with self._recorded():
            with house.records.read(SYSTEM_SCOPE) as reading:
                scope = flow.ticket_scope(reading, desk, ticket)
            with house.records.begin(scope, house.clock.now()) as tx:
                outcome = flow.give_second(tx, desk, ticket, given, self._caller.client)
                if outcome.value is not None and outcome.value.session is not None:
                    made = outcome.value.session
                    logouts.follow(tx, ticket, made.id, made.expires_at)
        return self._come_so_far(outcome.settled())

    def passkey_options(self, tenant: str) -> dict[str, Any]:
        """What the browser needs for a login by passkey alone. Raises Unauthenticated, Limited."""
        house, desk = self._house, self._house.desk
        with self._recorded():
            with house.records.read(SYSTEM_SCOPE) as reading:
                scope = accounts.passkey_scope(reading, tenant)
            with house.records.begin(scope, house.clock.now()) as tx:
                return flow.passkey_options(tx, desk, self._caller.client)

    def by_passkey(self, tenant: str, response: Json) -> flow.Step:
        """A login by passkey alone. Raises Unauthenticated, `login-refused`."""
        house, desk = self._house, self._house.desk
        with self._recorded(), house.records.read(SYSTEM_SCOPE) as reading:
            scope = accounts.passkey_scope(reading, tenant)
        with house.records.begin(scope, house.clock.now()) as tx:
            outcome = flow.give_passkey(tx, desk, response, self._caller.client)
        return self._come_so_far(outcome.settled())

    def by_code(self, code: str, password: str) -> sessions.NewSession:
        """Set a password by a one-time code, and come in.

        Raises:
            Unauthenticated: `code-refused`.
            Invalid: the password is not taken; the code is good still.
            Limited: `login-busy`.
        """
        house, desk = self._house, self._house.desk
        with self._recorded():
            with house.records.read(SYSTEM_SCOPE) as reading:
                scope = accounts.invited(reading, desk, code)
            hashed = desk.passwords.new(password, scope.tenant, scope.principal)
            with house.records.begin(scope, house.clock.now()) as tx:
                made = accounts.redeem(tx, desk, code, hashed, self._caller.client)
        return self._kept(made)

    def with_password(self, new: str, old: str) -> sessions.NewSession | None:
        """Change the password in a session; with a key, set the first one, which takes a second factor.

        Raises:
            Unauthenticated: `login-refused`, the old one is not right.
            Invalid: the new one is not taken.
            Forbidden: `step-up-required`, with a key.
            Conflict: `password-exists`, with a key.
        """
        house, desk, caller = self._house, self._house.desk, self._caller
        session = caller.session
        if session is None:
            hashed = desk.passwords.new(new, caller.scope.tenant, caller.principal.id)
            with house.records.begin(caller.scope, house.clock.now()) as tx:
                accounts.set_first_password(tx, caller.principal, hashed)
            return None
        with house.records.read(SYSTEM_SCOPE) as reading:
            account = accounts.own_account(reading, session)
        proof = desk.passwords.check(account, old)
        hashed = desk.passwords.new(new, caller.scope.tenant, caller.principal.id)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            outcome = accounts.change_password(tx, desk, session, proof, hashed, caller.client)
        return self._kept(outcome.settled())

    def stepped_up(self, given: Answer) -> stepup.Elevation | sessions.NewSession:
        """A second factor given now: the session under a new cookie, or with a key an elevation.

        Raises:
            Unauthenticated: `factor-refused`.
            Conflict: `second-factor-missing`.
        """
        house, desk, caller = self._house, self._house.desk, self._caller
        if caller.session is None:
            with house.records.begin(caller.scope, house.clock.now()) as tx:
                elevated = stepup.elevate(tx, desk, caller.principal, caller.credential, given, caller.client)
            return elevated.settled()
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            outcome = stepup.elevate_session(tx, desk, caller.session, given, caller.client)
        return self._kept(outcome.settled())

    def out(self) -> None:
        """End the caller's session. Raises Conflict: `session-missing`, there is none."""
        if self._caller.session is None:
            raise Conflict("session-missing", "a key has no session to end", "Revoke the key instead.")
        with self._house.records.begin(self._caller.scope, self._house.clock.now()) as tx:
            flow.log_out(tx, self._caller.session)
        self._doors.forget(self._caller)

    def _come_so_far(self, step: flow.Step) -> flow.Step:
        if step.session is not None:
            self._kept(step.session)
        return step

    def _kept(self, made: sessions.NewSession) -> sessions.NewSession:
        self._doors.keep(self._caller, made)
        return made

    def _recorded(self) -> contextlib.AbstractContextManager[None]:
        """Record a refusal that no transaction has counted."""
        return self._doors.noting(self._caller)


def parse_answer(method: str, code: str, response: Json | None) -> Answer:
    """What was given. Raises Invalid, `method-unknown`."""
    if method not in set(Method):
        raise Invalid("method-unknown", f"{method[:40]!r} is no second factor", f"Use {', '.join(Method)}.")
    return Answer(Method(method), code, response)


def fresh_until(caller: Caller, house: House) -> str:
    """Until when the caller's second factor counts, as text; empty if it does not."""
    given, now = caller.principal.stepped_up_at, house.clock.now()
    if given is None or later(given, FRESH_S) <= now:
        return ""
    return rfc3339(later(given, FRESH_S))
