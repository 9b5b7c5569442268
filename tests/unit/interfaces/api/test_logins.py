"""Logins, sessions and passwords over the API: what the console does, and programs of people may do too."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from fastness.access.login import LoginSettings
from fastness.app.settings import ServerSettings
from fastness.core.events import EventKind
from fastness.core.settings import InvalidSetting
from fastness.interfaces.api.cookies import SESSION
from fastness.wire import control
from tests.unit.interfaces.api.town import Town, founded, refused
from tests.unit.interfaces.console.browser import OTHER_PASSWORD, PASSWORD, Browser
from tests.unit.interfaces.console.visit import arrive, invite


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with tempfile.TemporaryDirectory(prefix="fastness-logins-") as folder, founded(Path(folder) / "home") as made:
        yield made


def login(browser: Browser, name: str, password: str = PASSWORD) -> control.LoginReply:
    reply = browser.api("POST", "/logins", control.LoginRequest(name, password))
    assert reply.status == 200, reply.text
    return msgspec.json.decode(reply.text, type=control.LoginReply)


def test_a_person_walks_all_steps(town: Town) -> None:
    browser = Browser(town.house)
    reply = browser.api("POST", "/invitations/redeem", control.RedeemRequest(invite(town, "walker"), PASSWORD))
    done = msgspec.json.decode(reply.text, type=control.LoginReply)
    assert (done.stage, done.principal, done.ticket) == ("done", "user:walker", "")
    me = msgspec.json.decode(browser.api("GET", "/me").text, type=control.MeView)
    assert (me.principal, me.strength, me.csrf, me.stepped_up_until) == ("user:walker", "password", done.csrf, "")
    assert me.credential.startswith("session:")
    out = browser.api("DELETE", "/logins", fastness_csrf=done.csrf)
    assert out.status == 204
    assert SESSION not in browser.jar
    assert browser.api("GET", "/me").status == 401


def test_the_second_step_and_the_step_up(town: Town) -> None:
    visitor = arrive(town, "stepper")
    visitor.set_up_app()
    browser = Browser(town.house)
    first = login(browser, "stepper")
    assert (first.stage, first.methods, first.csrf) == ("second-factor", ("totp", "recovery"), "")
    assert SESSION not in browser.jar
    assert visitor.app is not None
    given = control.SecondRequest(first.ticket, "recovery", visitor.app.recovery.pop())
    done = msgspec.json.decode(browser.api("POST", "/logins/second", given).text, type=control.LoginReply)
    assert done.stage == "done"
    cookie = browser.jar[SESSION]
    again = control.StepUpRequest("recovery", visitor.app.recovery.pop())
    reply = browser.api("POST", "/step-ups", again, fastness_csrf=done.csrf)
    made = msgspec.json.decode(reply.text, type=control.ElevationReply)
    assert (made.elevation, made.csrf != done.csrf, browser.jar[SESSION] != cookie) == ("", True, True)
    me = msgspec.json.decode(browser.api("GET", "/me").text, type=control.MeView)
    assert (me.csrf, me.strength, bool(me.stepped_up_until)) == (made.csrf, "mfa", True)


def test_a_session_may_what_its_owner_may_and_no_more(town: Town) -> None:
    visitor = arrive(town, "looker", "viewer")
    assert visitor.browser.api("GET", "/models").status == 200
    refusal = visitor.browser.api("GET", "/principals")
    assert refusal.status == 403
    event = town.events(EventKind.ACCESS_DENIED)[-1]
    assert (event.principal, str(event.details["credential"]).partition(":")[0]) == ("user:looker", "session")


def test_what_is_hard_to_undo_takes_a_second_factor_in_a_session_too(town: Town) -> None:
    visitor = arrive(town, "chief", "administrator")
    visitor.set_up_app()
    arrive(town, "lost-all")
    me = msgspec.json.decode(visitor.browser.api("GET", "/me").text, type=control.MeView)
    path = "/principals/user:lost-all/credential-reset"
    refusal = visitor.browser.api("POST", path, fastness_csrf=me.csrf)
    assert (refusal.status, "step-up-required" in refusal.text) == (401, True)
    reply = visitor.browser.api(
        "POST", "/step-ups", control.StepUpRequest("totp", visitor.code()), fastness_csrf=me.csrf
    )
    csrf = msgspec.json.decode(reply.text, type=control.ElevationReply).csrf
    done = visitor.browser.api("POST", path, fastness_csrf=csrf)
    code = msgspec.json.decode(done.text, type=control.InvitationReply).code
    assert code.startswith("fsi_")
    redeemed = Browser(town.house).api("POST", "/invitations/redeem", control.RedeemRequest(code, OTHER_PASSWORD))
    assert redeemed.status == 200


def test_who_enrolled_with_a_key_sets_a_password_by_a_second_factor(town: Town) -> None:
    town.enrol("keyed", ("viewer",))
    town.client("keyed").login.set_password(PASSWORD)
    assert refused(lambda: town.client("keyed").login.set_password(OTHER_PASSWORD)).code == "password-exists"
    assert login(Browser(town.house), "keyed").stage == "second-factor"
    assert refused(lambda: town.client("keyed").login.set_password("short")).status == 400


def test_a_password_is_changed_in_the_session(town: Town) -> None:
    visitor = arrive(town, "changer")
    me = msgspec.json.decode(visitor.browser.api("GET", "/me").text, type=control.MeView)
    wrong = control.PasswordRequest(OTHER_PASSWORD, "not the old one")
    assert visitor.browser.api("PUT", "/password", wrong, fastness_csrf=me.csrf).status == 401
    right = control.PasswordRequest(OTHER_PASSWORD, PASSWORD)
    reply = visitor.browser.api("PUT", "/password", right, fastness_csrf=me.csrf)
    assert msgspec.json.decode(reply.text, type=control.PasswordReply).csrf != me.csrf
    assert login(Browser(town.house), "changer", OTHER_PASSWORD).stage == "done"


def test_a_key_has_no_session_to_end(town: Town) -> None:
    answer = town.ask("viewer", "DELETE", "/api/v1/logins")
    assert (answer.status, answer.code) == (409, "session-missing")


@pytest.mark.parametrize("tenant", ["nowhere", "", "x" * 64])
def test_nobody_is_in_a_tenant_that_is_none(town: Town, tenant: str) -> None:
    browser = Browser(town.house)
    arrive(town, f"tenant{len(tenant)}")
    reply = browser.api("POST", "/logins", control.LoginRequest(f"tenant{len(tenant)}", PASSWORD, tenant))
    assert (reply.status, "login-refused" in reply.text) == (401, True)
    assert browser.api("POST", "/logins/passkey/options", control.TenantRequest(tenant)).status == 401


def test_a_session_used_for_long_stays_and_one_left_ends(town: Town) -> None:
    """The last use is written at most every half minute, and without an event."""
    visitor = arrive(town, "idler")
    count = len(town.events())
    for _ in range(3):
        assert visitor.browser.api("GET", "/me").status == 200
    assert len(town.events()) == count


@pytest.mark.parametrize(
    ("host", "port", "origin"),
    [
        ("127.0.0.1", 8444, "https://localhost:8444"), ("0.0.0.0", 9000, "https://localhost:9000"),
        ("::", 9000, "https://localhost:9000"), ("::1", 9000, "https://localhost:9000"),
        ("house.example", 443, "https://house.example"), ("192.0.2.7", 8444, "https://192.0.2.7:8444"),
    ],
)  # fmt: skip
def test_the_console_is_where_the_control_plane_listens(host: str, port: int, origin: str) -> None:
    at = ServerSettings(admin_host=host).listening(port).console_origin
    settings = LoginSettings().at(at)
    assert (settings.origin, settings.rp_id) == (origin, urlsplit(origin).hostname)


def test_a_named_origin_stands() -> None:
    settings = LoginSettings(origin="https://console.house.example").at("https://localhost:8444")
    assert (settings.origin, settings.rp_id) == ("https://console.house.example", "console.house.example")
    with pytest.raises(InvalidSetting, match=r"login\.rp_id"):
        LoginSettings(rp_id="house.example")
