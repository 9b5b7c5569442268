"""The page where people look after their factors, sessions and password."""

from __future__ import annotations

from collections.abc import Callable

import segno
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect
from markupsafe import Markup

from fastness.access.federation import identities
from fastness.access.login import factors
from fastness.app import House
from fastness.core.clock import rfc3339
from fastness.core.errors import FastnessError
from fastness.core.identity import Action
from fastness.interfaces.api.doors import STEP_UP, Caller, Doors
from fastness.interfaces.api.entering import Entering
from fastness.interfaces.api.logins import open_sessions, revoke_session
from fastness.interfaces.api.routes import WRITE, guarded, in_form, own
from fastness.interfaces.console.entrance import new_password, read_response, shown_providers
from fastness.interfaces.console.pages import SECURITY, go, render

_CHANGE = in_form(own(WRITE, shown_once=True))
_ENROL = in_form(own(WRITE, shown_once=True, steps=True))
Answered = Response[str] | Redirect


class SecurityPages(Controller):
    """One's own factors, sessions and password."""

    path = "/security"

    @get("/", sync_to_thread=True, opt=own(steps=True))
    def overview(self, house: NamedDependency[House], caller: NamedDependency[Caller]) -> Response[str]:
        """All of it on one page."""
        return security_page(house, caller)

    @post("/apps", status_code=200, sync_to_thread=True, opt=_ENROL)
    def start_app(self, house: NamedDependency[House], caller: NamedDependency[Caller]) -> Answered:
        """Begin to set up an authenticator app: shows what to scan, once."""

        def start() -> Answered:
            with house.records.begin(caller.scope, house.clock.now()) as tx:
                app = factors.start_totp(tx, house.desk, caller.principal, caller.form.get("label", ""))
            drawn = segno.make(app.uri, error="m").svg_inline(
                scale=4, border=4, dark="#000", light="#fff", omitsize=True
            )
            # Made by the library of squares alone; the text is in it as squares, not as text.
            picture = Markup(drawn)  # noqa: S704
            return render("app", caller, factor=app.factor, secret=app.secret, picture=picture)

        return _tried(house, caller, start)

    @post("/apps/confirmation", status_code=200, sync_to_thread=True, opt=_ENROL)
    def confirm_app(self, house: NamedDependency[House], caller: NamedDependency[Caller]) -> Answered:
        """Complete an app by its first code."""
        factor, code = caller.form.get("factor", ""), caller.form.get("code", "")

        def confirm() -> Answered:
            with house.records.begin(caller.scope, house.clock.now()) as tx:
                outcome = factors.confirm_totp(tx, house.desk, caller.principal, factor, code)
            if outcome.refusal is not None:
                shown = {"factor": factor, "secret": "", "picture": ""}
                return render("app", caller, outcome.refusal.status, problem=outcome.refusal, **shown)
            return _enrolled(caller, outcome.settled())

        return _tried(house, caller, confirm)

    @post("/passkeys", status_code=200, sync_to_thread=True, opt=_ENROL)
    def add_passkey(self, house: NamedDependency[House], caller: NamedDependency[Caller]) -> Answered:
        """Enrol the passkey that the browser made."""

        def add() -> Answered:
            label, response = caller.form.get("label", ""), read_response(caller.form)
            with house.records.begin(caller.scope, house.clock.now()) as tx:
                outcome = factors.add_passkey(tx, house.desk, caller.principal, caller.credential, label, response)
            return _enrolled(caller, outcome.settled())

        return _tried(house, caller, add)

    @post("/factors/removal", status_code=200, sync_to_thread=True, opt=_CHANGE)
    def remove(self, house: NamedDependency[House], caller: NamedDependency[Caller]) -> Answered:
        """Remove a factor; it takes a second factor."""

        def remove() -> Answered:
            with house.records.begin(caller.scope, house.clock.now()) as tx:
                factors.remove(tx, caller.principal, caller.form.get("factor", ""))
            return go(SECURITY)

        return _tried(house, caller, remove)

    @post("/recovery-codes", status_code=200, sync_to_thread=True, opt=_CHANGE)
    def recovery_codes(self, house: NamedDependency[House], caller: NamedDependency[Caller]) -> Answered:
        """Ten fresh recovery codes, shown once; it takes a second factor."""

        def renew() -> Answered:
            with house.records.begin(caller.scope, house.clock.now()) as tx:
                codes = factors.new_recovery(tx, house.desk, caller.principal)
            return render("recovery", caller, codes=codes)

        return _tried(house, caller, renew)

    @post(
        "/sessions/revocation",
        status_code=200,
        sync_to_thread=True,
        opt=in_form(guarded(Action.SESSION_REVOKE, WRITE)),
    )
    def end_session(
        self, house: NamedDependency[House], doors: NamedDependency[Doors], caller: NamedDependency[Caller]
    ) -> Answered:
        """End a session; with one's own, one is out."""

        def end() -> Answered:
            revoke_session(house, doors, caller, caller.form.get("session", ""))
            return go(SECURITY)

        return _tried(house, caller, end)

    @post("/password", status_code=200, sync_to_thread=True, opt=_CHANGE)
    def password(
        self, house: NamedDependency[House], entering: NamedDependency[Entering], caller: NamedDependency[Caller]
    ) -> Answered:
        """Change the password; all other sessions end."""

        def change() -> Answered:
            entering.with_password(new_password(caller.form), caller.form.get("old", ""))
            return go(SECURITY)

        return _tried(house, caller, change)


def _tried(house: House, caller: Caller, act: Callable[[], Answered]) -> Answered:
    """What `act` answers; what it refuses stands on the page, but for what a second factor would open."""
    try:
        return act()
    except FastnessError as error:
        if error.code in {STEP_UP, "session-refused"} or error.status >= FastnessError.status:
            raise
        return security_page(house, caller, error)


def _enrolled(caller: Caller, made: factors.Enrolled) -> Answered:
    return render("recovery", caller, codes=made.recovery) if made.recovery else go(SECURITY)


def security_page(house: House, caller: Caller, error: FastnessError | None = None) -> Response[str]:
    """All of it, and what went wrong."""
    with house.records.read(caller.scope) as reading:
        found = factors.factors(reading, caller.principal.id)
        left = factors.recovery_left(reading, caller.principal.id)
        linked = identities.identities(reading, caller.principal.id)
    shown = [{"id": f.id, "method": f.method.value, "label": f.label, "since": rfc3339(f.created_at)} for f in found]
    return render(
        "security",
        caller,
        error.status if error else 200,
        here="security",
        problem=error,
        passkeys=True,
        factors=shown,
        left=left,
        sessions=open_sessions(house, caller),
        identities=[
            {"provider": one.provider, "issuer": one.issuer, "subject": one.subject, "since": rfc3339(one.linked_at)}
            for one in linked
        ],
        providers=[
            one
            for one in shown_providers(house, caller.scope.tenant)
            if one["name"] not in {identity.provider for identity in linked}
        ],
    )
