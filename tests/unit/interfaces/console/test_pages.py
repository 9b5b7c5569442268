"""What people do on the pages, from the one-time code to the way out."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fastness.core.events import EventKind
from fastness.interfaces.api.cookies import DEVICE, SESSION
from fastness.wire import control
from tests.unit.access.authenticator import Authenticator as Passkey
from tests.unit.interfaces.api.town import Town, founded
from tests.unit.interfaces.console.browser import ORIGIN, OTHER_PASSWORD, PASSWORD, Browser, Page
from tests.unit.interfaces.console.visit import Visitor, arrive, invite


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with tempfile.TemporaryDirectory(prefix="fastness-console-") as folder, founded(Path(folder) / "home") as made:
        yield made


def json(page: Page, kind: type[control.Message]) -> control.Message:
    return msgspec.json.decode(page.text, type=kind)


def step_up(visitor: Visitor) -> None:
    page = visitor.browser.get("/console/step-up?next=/console/security")
    assert visitor.browser.fill(page, "/console/step-up", code=visitor.code()).to == "/console/security"


def add_passkey(visitor: Visitor, label: str = "laptop") -> tuple[Passkey, Page]:
    """As the script of the page does it."""
    page = visitor.browser.get("/console/security")
    form = page.forms["/console/security/passkeys"]
    reply = visitor.browser.api("POST", "/factors/passkeys/options", fastness_csrf=form["csrf"])
    assert reply.status == 200, reply.text
    passkey, response = Passkey(ORIGIN).create(json(reply, control.PasskeyOptions).options)  # type: ignore[attr-defined]
    filled = {"label": label, "response": msgspec.json.encode(response).decode()}
    return passkey, visitor.browser.fill(page, "/console/security/passkeys", **filled)


def test_the_bare_address_leads_to_the_login(town: Town) -> None:
    browser = Browser(town.house)
    assert browser.get("/").to == "/console"
    assert browser.get("/console").to == "/console/login?next=/console"
    assert browser.get("/console/login?next=/console").status == 200


def test_another_name_of_the_house_leads_to_where_passkeys_work(town: Town) -> None:
    page = Browser(town.house).get("/console/login", host="127.0.0.1:8444")
    assert (page.status, page.to) == (303, f"{ORIGIN}/console/login")


def test_a_code_gives_a_password_a_session_and_what_to_do_next(town: Town) -> None:
    visitor = arrive(town, "newcomer", "viewer", "operator")
    home = visitor.browser.get("/console").text
    assert "user:newcomer" in home
    assert ">operator<" in home
    assert ">viewer<" in home
    assert "no second factor" in home
    assert "by password" in home


def test_a_code_works_once_and_its_refusal_keeps_it(town: Town) -> None:
    code, browser = invite(town, "once"), Browser(town.house)
    page = browser.get("/console/invitation")
    short = browser.fill(page, "/console/invitation", code=code, password="short", again="short")
    assert (short.status, short.forms["/console/invitation"]["code"]) == (400, code)
    assert "short" not in short.text.replace("shorter", "")
    differs = browser.fill(page, "/console/invitation", code=code, password=PASSWORD, again=OTHER_PASSWORD)
    assert differs.problem == "The two passwords differ."
    assert browser.fill(page, "/console/invitation", code=f" {code} ", password=PASSWORD, again=PASSWORD).status == 303
    again = Browser(town.house)
    used = again.fill(
        again.get("/console/invitation"), "/console/invitation", code=code, password=PASSWORD, again=PASSWORD
    )
    assert (used.status, used.problem) == (401, "The one-time code is not good.")
    assert not again.jar


def test_an_app_counts_from_its_first_code_and_brings_recovery_codes(town: Town) -> None:
    visitor = arrive(town, "apps")
    begun = visitor.browser.fill(visitor.browser.get("/console/security"), "/console/security/apps", label="phone")
    assert re.search(r'<svg[^>]*viewBox="0 0 \d+ \d+"', begun.text)
    wrong = visitor.browser.fill(begun, "/console/security/apps/confirmation", code="000000")
    assert (wrong.status, "<svg" in wrong.text) == (400, False)
    assert wrong.forms["/console/security/apps/confirmation"]["factor"]
    done = visitor.set_up_app()
    assert visitor.app is not None
    assert len(set(visitor.app.recovery)) == 10
    shown = visitor.browser.get("/console/security").text
    assert "10 recovery codes left" in shown
    assert not [code for code in visitor.app.recovery if code in shown]
    assert done.headers["cache-control"] == "no-store"


def test_a_login_takes_both_factors_and_remembers_where_one_wanted_to(town: Town) -> None:
    visitor = arrive(town, "both")
    visitor.set_up_app()
    browser = Browser(town.house)
    page = visitor.log_in(browser, "/console/security")
    assert (page.status, page.to) == (303, "/console/security")
    assert browser.jar.keys() == {SESSION, DEVICE}
    assert "by two factors" in browser.get("/console").text


def test_a_recovery_code_opens_once(town: Town) -> None:
    visitor = arrive(town, "recovered")
    visitor.set_up_app()
    assert visitor.app is not None
    code = visitor.app.recovery.pop()
    for expected in (303, 401):
        browser = Browser(town.house)
        page = browser.fill(browser.get("/console/login"), "/console/login", name="recovered", password=PASSWORD)
        assert browser.fill(page, "/console/login/second", code=code).status == expected
    assert "9 recovery codes left" in visitor.browser.get("/console/security").text


def test_a_passkey_is_added_and_opens_at_once(town: Town) -> None:
    visitor = arrive(town, "keyed")
    passkey, done = add_passkey(visitor)
    assert done.text.count("<li><code>") == 10
    browser = Browser(town.house)
    page = browser.get("/console/login")
    options = json(browser.api("POST", "/logins/passkey/options", {}), control.PasskeyOptions).options  # type: ignore[attr-defined]
    response = msgspec.json.encode(passkey.get(options)).decode()
    assert browser.fill(page, "/console/login/passkey", response=response).to == "/console"
    assert "by two factors" in browser.get("/console").text
    again = Browser(town.house)
    assert again.fill(page, "/console/login/passkey", response=response).status == 401


def test_a_passkey_is_a_second_factor_too(town: Town) -> None:
    visitor = arrive(town, "second-key")
    passkey, _ = add_passkey(visitor)
    browser = Browser(town.house)
    page = browser.fill(browser.get("/console/login"), "/console/login", name="second-key", password=PASSWORD)
    form = page.forms["/console/login/second"]
    reply = browser.api("POST", "/logins/second/options", {"ticket": form["ticket"]})
    response = msgspec.json.encode(passkey.get(json(reply, control.PasskeyOptions).options)).decode()  # type: ignore[attr-defined]
    assert browser.fill(page, "/console/login/second", response=response).to == "/console"
    ways = json(browser.api("GET", "/step-ups"), control.WaysView)
    response = msgspec.json.encode(passkey.get(ways.passkey)).decode()  # type: ignore[attr-defined]
    stepped = browser.fill(browser.get("/console/step-up"), "/console/step-up", response=response, code="")
    assert stepped.to == "/console"


def test_what_changes_factors_asks_for_one_and_comes_back(town: Town) -> None:
    visitor = arrive(town, "changes")
    visitor.set_up_app()
    security = visitor.browser.get("/console/security")
    for action in ("/console/security/recovery-codes", "/console/security/factors/removal"):
        assert visitor.browser.fill(security, action).to == "/console/step-up?next=/console/security"
    assert (
        visitor.browser.fill(security, "/console/security/apps", label="x").to
        == "/console/step-up?next=/console/security"
    )
    wrong = visitor.browser.fill(visitor.browser.get("/console/step-up"), "/console/step-up", code="000000")
    assert (wrong.status, wrong.problem) == (401, "The second factor is not right.")
    step_up(visitor)
    fresh = visitor.browser.fill(visitor.browser.get("/console/security"), "/console/security/recovery-codes")
    assert fresh.text.count("<li><code>") == 10
    security = visitor.browser.get("/console/security")
    assert visitor.browser.fill(security, "/console/security/factors/removal").to == "/console/security"
    assert "You have none yet" in visitor.browser.get("/console/security").text


def test_sessions_are_listed_and_ended(town: Town) -> None:
    visitor = arrive(town, "everywhere")
    elsewhere = Browser(town.house)
    visitor.log_in(elsewhere)
    page = visitor.browser.get("/console/security")
    assert page.text.count("/console/security/sessions/revocation") == 2
    ids = re.findall(r'name="session" value="([^"]+)"', page.text)
    views = msgspec.json.decode(visitor.browser.api("GET", "/sessions").text, type=list[control.SessionView])
    assert {view.session for view in views} == set(ids)
    (other,) = [view.session for view in views if not view.current]
    assert visitor.browser.fill(page, "/console/security/sessions/revocation", session=other).to == "/console/security"
    assert elsewhere.get("/console").to.startswith("/console/login")
    gone = visitor.browser.fill(page, "/console/security/sessions/revocation", session=other)
    assert gone.status == 403  # whose it was is not known any more
    (mine,) = [view.session for view in views if view.current]
    visitor.browser.fill(page, "/console/security/sessions/revocation", session=mine)
    assert SESSION not in visitor.browser.jar


def test_a_password_is_changed_and_all_other_sessions_end(town: Town) -> None:
    visitor = arrive(town, "changer")
    elsewhere = Browser(town.house)
    visitor.log_in(elsewhere)
    before, action = visitor.browser.jar[SESSION], "/console/security/password"
    page = visitor.browser.get("/console/security")
    wrong = visitor.browser.fill(page, action, old="no such word 9", password=OTHER_PASSWORD, again=OTHER_PASSWORD)
    assert (wrong.status, wrong.problem) == (401, "The old password is not right.")
    differs = visitor.browser.fill(page, action, old=PASSWORD, password=OTHER_PASSWORD, again=PASSWORD)
    assert differs.problem == "The two passwords differ."
    done = visitor.browser.fill(page, action, old=PASSWORD, password=OTHER_PASSWORD, again=OTHER_PASSWORD)
    assert done.to == "/console/security"
    assert visitor.browser.jar[SESSION] != before
    assert visitor.browser.get("/console").status == 200
    assert elsewhere.get("/console").to.startswith("/console/login")
    assert visitor.log_in(Browser(town.house)).status == 401


def test_the_way_out_ends_the_session(town: Town) -> None:
    visitor = arrive(town, "leaving")
    cookie = visitor.browser.jar[SESSION]
    out = visitor.browser.fill(visitor.browser.get("/console"), "/console/logout")
    assert (out.status, out.to) == (303, "/console/login")
    assert visitor.browser.jar.keys() == {DEVICE}
    assert Browser(town.house, jar={SESSION: cookie}).get("/console").status == 303
    assert town.events(EventKind.SESSION_ENDED)[-1].reason == "revoked"


def test_too_many_logins_of_one_address_wait(town: Town) -> None:
    browser = Browser(town.house)
    pages = [browser.post("/console/login/second", {"ticket": "", "code": ""}) for _ in range(65)]
    limited = [page for page in pages if page.status == 429]
    assert limited
    assert "requests a second" in limited[0].text
    assert int(limited[0].headers["retry-after"]) >= 1


def test_a_page_of_nobody_shows_no_more_than_its_name(town: Town) -> None:
    assert Browser(town.house).get("/console/nothing").status == 404
