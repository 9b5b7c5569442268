"""Pages of who is logged in: home, step-up, and the way out."""

from __future__ import annotations

from typing import Any, NamedTuple

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from fastness.access.login import factors
from fastness.app import House
from fastness.core.errors import FastnessError, Unauthenticated
from fastness.interfaces.api.arriving import Arriving
from fastness.interfaces.api.doors import Caller
from fastness.interfaces.api.entering import Entering, fresh_until
from fastness.interfaces.api.logins import open_sessions
from fastness.interfaces.api.routes import WRITE, in_form, own
from fastness.interfaces.console.entrance import given_factor
from fastness.interfaces.console.pages import HOME, LOGIN, SECURITY, go, parse_page, render

_FEW_CODES = 3


class Need(NamedTuple):
    """Something that waits for the person."""

    text: str
    path: str
    act: str


class OwnPages(Controller):
    """What everybody has."""

    @get("/", sync_to_thread=True, opt=own())
    def home(self, house: NamedDependency[House], caller: NamedDependency[Caller]) -> Response[str]:
        """Who one is here, and what needs one."""
        return render(
            "home",
            caller,
            here="home",
            needs=_needs(house, caller),
            roles=sorted(caller.principal.roles),
            grants=sorted(caller.principal.grants),
            session=next(view for view in open_sessions(house, caller) if view.current),
            fresh_until=fresh_until(caller, house),
        )

    @get("/step-up", sync_to_thread=True, opt=own(steps=True))
    def ask(
        self, request: Request[Any, Any, Any], house: NamedDependency[House], caller: NamedDependency[Caller]
    ) -> Response[str]:
        """Where a second factor is given."""
        return _step_up(house, caller, parse_page(request.query_params.get("next", HOME)))

    @post("/step-up", status_code=200, sync_to_thread=True, opt=in_form(own(WRITE, steps=True)))
    def step_up(
        self, house: NamedDependency[House], entering: NamedDependency[Entering], caller: NamedDependency[Caller]
    ) -> Response[str] | Redirect:
        """Give a second factor, and go back to where it was asked for."""
        path = parse_page(caller.form.get("next", ""))
        try:
            entering.stepped_up(given_factor(caller.form))
        except Unauthenticated as error:
            if error.code != "factor-refused":
                raise
            return _step_up(house, caller, path, error)
        return go(path)

    @post("/logout", status_code=200, sync_to_thread=True, opt=in_form(own(WRITE, steps=True)))
    def log_out(self, house: NamedDependency[House], arriving: NamedDependency[Arriving]) -> Response[str] | Redirect:
        """End this session; who came by a provider may log out there too."""
        farewell = arriving.farewell(f"{house.desk.settings.origin}{LOGIN}")
        if not farewell:
            return go(LOGIN)
        return render(
            "leaving",
            heading="You are logged out here",
            text="At the provider by which you came in you are logged in still.",
            location=farewell,
            act="Log out there too",
            back=LOGIN,
            otherwise="Log in again",
        )


def _step_up(house: House, caller: Caller, path: str, error: FastnessError | None = None) -> Response[str]:
    with house.records.read(caller.scope) as reading:
        methods = factors.methods(reading, caller.principal.id)
    status = error.status if error else 200
    shown = [method.value for method in methods]
    return render("step-up", caller, status, problem=error, passkeys=True, next=path, methods=shown)


def _needs(house: House, caller: Caller) -> list[Need]:
    with house.records.read(caller.scope) as reading:
        found = factors.factors(reading, caller.principal.id)
        left = factors.recovery_left(reading, caller.principal.id)
    if not found:
        return [Need("You have no second factor: who learns your password is you.", SECURITY, "Add one")]
    if left < _FEW_CODES:
        return [Need(f"Recovery codes left: {left}.", SECURITY, "Make new ones")]
    return []
