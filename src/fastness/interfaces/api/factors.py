"""Routes of second factors: one's own, and step-up by them."""

from __future__ import annotations

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from fastness.access.login import App, factors, sessions, stepup
from fastness.app import House
from fastness.core.clock import later, rfc3339
from fastness.interfaces.api.doors import FRESH_S, Caller
from fastness.interfaces.api.entering import Entering, parse_answer
from fastness.interfaces.api.routes import WRITE, own
from fastness.wire import control

FIRST_FACTOR = "authenticator app"


class FactorRoutes(Controller):
    """The caller's own second factors."""

    path = "/factors"
    tags = ("login",)

    @get("/", sync_to_thread=True, opt=own(steps=True))
    def factors(self, house: NamedDependency[House], caller: NamedDependency[Caller]) -> control.FactorsView:
        """All second factors of the caller, and how many recovery codes are left."""
        with house.records.read(caller.scope) as reading:
            found = factors.factors(reading, caller.principal.id)
            left = factors.recovery_left(reading, caller.principal.id)
        views = tuple(control.FactorView(f.id, f.method.value, f.label, rfc3339(f.created_at)) for f in found)
        return control.FactorsView(views, left)

    @post("/totp", sync_to_thread=True, opt=own(WRITE, shown_once=True, steps=True))
    def start_totp(
        self, house: NamedDependency[House], caller: NamedDependency[Caller], data: JSONBody[control.LabelRequest]
    ) -> control.AppView:
        """Begin to set up an authenticator app; its first code completes it."""
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            return shown_app(factors.start_totp(tx, house.desk, caller.principal, data.label))

    @post("/totp/{factor:str}/confirmation", sync_to_thread=True, opt=own(WRITE, shown_once=True, steps=True))
    def confirm_totp(
        self,
        house: NamedDependency[House],
        caller: NamedDependency[Caller],
        factor: FromPath[str],
        data: JSONBody[control.CodeRequest],
    ) -> control.FactorReply:
        """Complete an authenticator app by its first code."""
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            outcome = factors.confirm_totp(tx, house.desk, caller.principal, factor, data.code)
        enrolled = outcome.settled()
        return control.FactorReply(enrolled.id, enrolled.recovery)

    @post("/recovery-codes", sync_to_thread=True, opt=own(WRITE, shown_once=True))
    def recovery_codes(self, house: NamedDependency[House], caller: NamedDependency[Caller]) -> control.FactorReply:
        """Ten fresh recovery codes; all older ones are void. It takes a second factor."""
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            return control.FactorReply("recovery", factors.new_recovery(tx, house.desk, caller.principal))

    @post("/passkeys/options", status_code=200, sync_to_thread=True, opt=own(WRITE, shown_once=True, steps=True))
    def passkey_options(self, house: NamedDependency[House], caller: NamedDependency[Caller]) -> control.PasskeyOptions:
        """What a browser needs to make a passkey."""
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            return control.PasskeyOptions(factors.passkey_options(tx, house.desk, caller.principal, caller.credential))

    @post("/passkeys", sync_to_thread=True, opt=own(WRITE, shown_once=True, steps=True))
    def add_passkey(
        self, house: NamedDependency[House], caller: NamedDependency[Caller], data: JSONBody[control.PasskeyRequest]
    ) -> control.FactorReply:
        """Enrol the passkey that the browser made of the options."""
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            outcome = factors.add_passkey(
                tx, house.desk, caller.principal, caller.credential, data.label, data.response
            )
        enrolled = outcome.settled()
        return control.FactorReply(enrolled.id, enrolled.recovery)

    @delete("/{factor:str}", sync_to_thread=True, opt=own(WRITE))
    def remove(self, house: NamedDependency[House], caller: NamedDependency[Caller], factor: FromPath[str]) -> None:
        """Remove one of one's own factors. It takes a second factor."""
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            factors.remove(tx, caller.principal, factor)


class StepUpRoutes(Controller):
    """A second factor given just now, for what is hard to undo."""

    path = "/step-ups"
    tags = ("login",)

    @get("/", sync_to_thread=True, opt=own(WRITE, steps=True))
    def ways(self, house: NamedDependency[House], caller: NamedDependency[Caller]) -> control.WaysView:
        """How the caller can give a second factor."""
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            found = stepup.ways(tx, house.desk, caller.principal, caller.credential)
        return control.WaysView(tuple(method.value for method in found.methods), found.passkey)

    @post("/", sync_to_thread=True, opt=own(WRITE, shown_once=True, steps=True))
    def step_up(
        self, house: NamedDependency[House], entering: NamedDependency[Entering], data: JSONBody[control.StepUpRequest]
    ) -> control.ElevationReply:
        """Give a second factor; the elevation is good for five minutes, with this credential alone."""
        made = entering.stepped_up(parse_answer(data.method, data.code, data.response))
        if isinstance(made, sessions.NewSession):
            return control.ElevationReply("", rfc3339(later(house.clock.now(), FRESH_S)), made.csrf)
        return control.ElevationReply(made.text, rfc3339(made.expires_at))


def shown_app(app: App) -> control.AppView:
    """An authenticator app as its owner sees it, once."""
    return control.AppView(app.factor, app.uri, app.secret)
