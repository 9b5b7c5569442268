"""Attack on the control plane by somebody who is blocked, or has to give a second factor: by every door that asks no permission.

Success rate: 0. Every route of the document without a permission is tried by a key and by a session, every way to come in by
password, code, passkey, invitation and token.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fastness.client import ControlClient
from fastness.core.clock import system_entropy
from fastness.core.events import EventKind
from fastness.foundation.crypto import SoftwareSigner
from fastness.wire import control, oauth, rules
from tests.unit.interfaces.api.test_routes import OWN
from tests.unit.interfaces.api.town import Town, founded, refused
from tests.unit.interfaces.console.browser import PASSWORD, Browser
from tests.unit.interfaces.console.visit import arrive, invite

OFFICER = "security-officer"
STEPS = {
    "DELETE /logins", "GET /me", "GET /factors", "POST /factors/totp", "POST /factors/totp/{factor}/confirmation",
    "POST /factors/passkeys", "POST /factors/passkeys/options", "GET /step-ups", "POST /step-ups",
}  # fmt: skip
"""What stays open to who has to give a second factor: the way to it, and the way out."""


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with tempfile.TemporaryDirectory(prefix="fastness-restricted-") as folder, founded(Path(folder) / "home") as made:
        made.enrol("blocked", ("viewer",))
        made.enrol("forced", ("viewer",))
        restrict(made, "blocked")
        restrict(made, "forced", "step-up")
        yield made


def restrict(town: Town, name: str, measure: str = "block", kind: str = "principal") -> str:
    wanted = rules.RestrictionRequest(measure, kind, f"user:{name}" if kind == "principal" else name, "a drill", 60)
    return town.client(OFFICER).restrictions.impose(wanted).id


def ask(town: Town, who: str, name: str) -> tuple[int, str]:
    method, _, path = name.partition(" ")
    answer = town.ask(
        who, method, f"/api/v1{path}".replace("{factor}", "none").replace("{request_id}", "none"), OWN[name]
    )
    return answer.status, answer.code if answer.status >= 400 else ""


@pytest.mark.parametrize("name", sorted(OWN))
def test_who_is_blocked_looks_after_nothing(town: Town, name: str) -> None:
    before = len(town.events(EventKind.ACCESS_DENIED))
    assert ask(town, "blocked", name) == (403, "restricted")
    (event,) = town.events(EventKind.ACCESS_DENIED)[before:]
    assert (event.principal, event.reason) == ("user:blocked", "restricted")


@pytest.mark.parametrize("name", sorted(OWN))
def test_who_has_to_step_up_reaches_the_way_to_it_alone(town: Town, name: str) -> None:
    town.seconds["forced"].elevation = ""
    status, code = ask(town, "forced", name)
    if name in STEPS:
        assert code != "restricted"
        assert (status, code) != (401, "step-up-required") or name.startswith(("POST /factors",))
    else:
        assert (status, code) == (401, "step-up-required")


def test_after_the_second_factor_the_forced_are_free(town: Town) -> None:
    client = town.client("forced")
    town.seconds["forced"].elevation = ""
    assert client.models.list() == []  # the client gives the factor, and asks again
    assert client.approvals.waiting() == []


def test_a_session_is_stopped_as_a_key_is(town: Town) -> None:
    visitor = arrive(town, "sitting", "viewer")
    assert visitor.browser.api("GET", "/me").status == 200
    restriction = restrict(town, "sitting")
    assert visitor.browser.api("GET", "/me").status == 403
    assert visitor.browser.get("/console").status == 403
    town.client(OFFICER).restrictions.lift(restriction, "over")
    assert visitor.browser.api("GET", "/me").status == 200


def test_who_is_blocked_does_not_log_in_and_is_told_nothing(town: Town) -> None:
    visitor = arrive(town, "outside", "viewer")
    visitor.set_up_app()
    waiting = Browser(town.house)
    first = waiting.api("POST", "/logins", control.LoginRequest("outside", PASSWORD))
    ticket = msgspec.json.decode(first.text, type=control.LoginReply).ticket
    restriction = restrict(town, "outside")
    refusals = [
        Browser(town.house).api("POST", "/logins", control.LoginRequest("outside", PASSWORD)),
        Browser(town.house).api("POST", "/logins", control.LoginRequest("nobody", PASSWORD)),
    ]
    assert {reply.status for reply in refusals} == {401}
    assert len({reply.text for reply in refusals}) == 1
    assert visitor.app is not None
    begun = waiting.api("POST", "/logins/second", control.SecondRequest(ticket, "recovery", visitor.app.recovery.pop()))
    assert begun.status == 401
    reasons = [event.reason for event in town.events(EventKind.AUTHENTICATION_FAILED)]
    assert reasons[-3:] == ["principal-restricted", "principal-unknown", "principal-restricted"]
    town.client(OFFICER).restrictions.lift(restriction, "over")
    assert Browser(town.house).api("POST", "/logins", control.LoginRequest("outside", PASSWORD)).status == 200


def test_no_code_leads_around_a_block(town: Town) -> None:
    code = invite(town, "invited", "viewer")
    restrict(town, "invited")
    reply = Browser(town.house).api("POST", "/invitations/redeem", control.RedeemRequest(code, PASSWORD))
    assert (reply.status, "code-refused" in reply.text) == (401, True)
    made = town.client("admin").access.create_principal(control.PrincipalRequest("newcomer", ("viewer",)))
    restrict(town, "newcomer")
    pem = SoftwareSigner.create(system_entropy).public_pem.decode()
    assert refused(lambda: ControlClient(town.carrier).access.enrol(made.code, pem)).code == "code-refused"


def test_who_is_blocked_gets_no_token(town: Town) -> None:
    town.enrol("machine", ("viewer",), "service")
    wanted = oauth.ClientRequest(
        "machine", "model.read", ("client_credentials",), principal="service:machine", confidential=True
    )
    made = town.client("admin").clients.create(wanted)
    form = f"grant_type=client_credentials&client_id={made.client}&client_secret={made.secret}".encode()
    headers = {"content-type": "application/x-www-form-urlencoded"}

    def over_http() -> int:
        return town.carrier.send("POST", "/oauth/token", headers, form).status

    assert over_http() == 200
    wanted_block = rules.RestrictionRequest("block", "principal", "service:machine", "a drill", 60)
    restriction = town.client(OFFICER).restrictions.impose(wanted_block).id
    assert over_http() == 400
    town.client(OFFICER).restrictions.lift(restriction, "over")
    assert over_http() == 200
