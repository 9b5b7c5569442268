"""Letting programs and devices in on the pages: what people see, and what comes of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastness.client import ControlClient
from fastness.client.oauth import TokenCalls, Tokens
from fastness.core.events import EventKind
from fastness.core.identity import Action
from fastness.interfaces.console.words import WORDS
from tests.unit.interfaces.api.town import Town, founded
from tests.unit.interfaces.console.browser import Browser
from tests.unit.interfaces.console.consent import CALLBACK, onward, query, register, sign_tokens
from tests.unit.interfaces.console.visit import Visitor, arrive


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with tempfile.TemporaryDirectory(prefix="fastness-consent-") as folder, founded(Path(folder) / "home") as made:
        sign_tokens(made)
        yield made


@pytest.fixture(scope="module")
def alice(town: Town) -> Visitor:
    return arrive(town, "alice", "viewer")


def test_every_action_has_plain_words() -> None:
    assert set(WORDS) == set(Action)
    assert len(set(WORDS.values())) == len(WORDS)


def test_a_program_is_let_in_from_the_login_to_the_first_call(town: Town) -> None:
    program, visitor = register(town), arrive(town, "bob")
    visitor.set_up_app()
    browser = Browser(town.house)
    to_login = browser.get(program.ask())
    assert to_login.status == 303
    second = browser.get(to_login.to)
    back = visitor.log_in(browser, to_login.to.partition("next=")[2])
    assert second.status == 200
    assert back.to == program.ask()  # the login was with both factors, just now: none is asked for again
    page = browser.get(back.to)
    for shown in ("Let notebook act for you?", program.client_id, "a program on this machine", "user:bob of default"):
        assert shown in page.text
    assert "see models, their versions and what was found in them" in page.text
    assert "up to 30 days" in page.text
    gone = onward(browser.fill(page, "/oauth/authorize", answer="yes"))
    assert gone.startswith(f"{CALLBACK}?")
    assert query(gone)["state"] == "xyz"
    status, body = program.redeem(query(gone)["code"])
    assert (status, body["scope"]) == (200, "model.read")
    me = ControlClient(town.carrier, str(body["access_token"])).login.me()
    assert (me.principal, me.strength) == ("user:bob", "mfa")
    granted = [e for e in town.events(EventKind.AUTHENTICATION_SUCCEEDED) if e.action == "authorize"][-1]
    assert (granted.details["client"], granted.details["granted"]) == (program.client_id, True)


def test_a_program_that_asks_for_everything_is_told_so(town: Town, alice: Visitor) -> None:
    everything = " ".join(sorted(Action))
    program = register(town, "whole", scope=everything)
    assert "everything that you may do here" in alice.browser.get(program.ask(scope=everything)).text
    some = alice.browser.get(program.ask(scope="model.infer model:digits")).text
    assert "call models" in some
    assert "digits" in some
    assert "everything" not in some


def test_a_program_of_the_web_is_shown_by_its_host(town: Town, alice: Visitor) -> None:
    program = register(town, "web", "https://app.example/cb", grants=("authorization_code",))
    page = alice.browser.get(program.ask())
    assert "app.example" in page.text
    assert "ten minutes" in page.text
    gone = alice.browser.fill(page, "/oauth/authorize", answer="no")
    assert query(onward(gone)) == {"error": "access_denied", "state": "xyz", "iss": town.house.issuer.name} | {
        name: text for name, text in query(onward(gone)).items() if name == "error_description"
    }
    assert "To app.example" in gone.text


def test_a_device_is_let_in_by_the_code_that_it_shows(town: Town, alice: Visitor) -> None:
    calls = TokenCalls(town.carrier)
    waiting = calls.begin("model.read")
    assert waiting.verification_uri == f"{town.house.desk.settings.origin}/oauth/device"
    typed = waiting.user_code.replace("-", " ").lower()
    page = alice.browser.fill(alice.browser.get("/oauth/device"), "/oauth/device", code=typed)
    assert "Fastness command line" in page.text
    done = alice.browser.fill(page, "/oauth/device", answer="yes")
    assert "Let in" in done.text
    assert isinstance(calls.poll(waiting), Tokens)
    assert alice.browser.fill(page, "/oauth/device", answer="yes").status == 404


def test_an_address_that_is_no_request_leads_home(town: Town) -> None:
    browser = Browser(town.house)
    for path in ("/oauth/authorize", "/oauth/authorize?a", "/oauth/authorize?a=%ff", "/oauth/device?a=1&a=2"):
        assert browser.get(path).to == "/console/login?next=/console"
    assert browser.get("/oauth/device").to == "/console/login?next=/oauth/device"


def test_another_name_of_the_house_keeps_where_one_wanted_to_go(town: Town) -> None:
    page = Browser(town.house).get("/console/login?next=/oauth/device%3Fuser_code%3DBCDF-GHJK", host="127.0.0.1:8444")
    assert page.to.endswith("/console/login?next=/oauth/device%3Fuser_code%3DBCDF-GHJK")


def test_a_token_counts_at_once_for_who_never_had_a_key(town: Town) -> None:
    """The snapshot of those who may hold tokens did not move when a person was created."""
    program, visitor = register(town, "early"), arrive(town, "newcomer")
    token = str(program.tokens(visitor.browser)["access_token"])
    assert ControlClient(town.carrier, token).login.me().principal == "user:newcomer"
