"""Attacks on logins at the door itself: who listens for names, who sends a passkey's answer again, who locks others out.

What is tried here over HTTP is tried in more forms against the parts, in `test_access_login` and `test_access_header`. Whether
a refusal tells something by its time is asked of the work that is done, which is counted, and not of a clock. Success rate: 0.
"""

from __future__ import annotations

import asyncio
import hmac
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fastness.access import credentials
from fastness.access.apikeys import PUBLIC_KEYS, format_key
from fastness.app import ControlProcess, House
from fastness.core.errors import Conflict
from fastness.wire import control
from tests.unit.access.authenticator import Authenticator
from tests.unit.interfaces.api.town import Answer, Town, founded
from tests.unit.interfaces.console.browser import PASSWORD, Browser, Page
from tests.unit.interfaces.console.visit import Visitor, arrive

WRONG = "wrong horse battery staple"


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with tempfile.TemporaryDirectory(prefix="fastness-entries-") as folder, founded(Path(folder) / "home") as made:
        yield made


def log_in(browser: Browser, name: str, password: str = WRONG, tenant: str = "default") -> Page:
    return browser.api("POST", "/logins", control.LoginRequest(name, password, tenant))


def said(page: Page) -> tuple[int, Any]:
    problem = msgspec.json.decode(page.text)
    problem.pop("instance", None)
    return page.status, problem


# --- who is there, and how long an answer takes ------------------------------------------------------------------------


def test_a_login_tells_neither_by_its_answer_nor_by_its_work_who_has_an_account(town: Town) -> None:
    for name in ("present", "gone"):
        arrive(town, name)
    town.client("admin").access.deactivate("user:gone")
    passwords, told, work = town.house.desk.passwords, [], []
    tries = [("present", WRONG), ("gone", PASSWORD), ("gone", WRONG), ("absent", WRONG), ("viewer", WRONG)]
    for name, password in tries:
        before = passwords.hashed
        told.append(said(log_in(Browser(town.house), name, password)))
        work.append(passwords.hashed - before)
    for tenant in ("nowhere", "x" * 64):
        before = passwords.hashed
        told.append(said(log_in(Browser(town.house), "present", WRONG, tenant)))
        work.append(passwords.hashed - before)
    assert [one == told[0] for one in told] == [True] * len(told), told
    assert work == [1] * len(work)


class Counted:
    """`hmac` as it is, and what was asked of it."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def new(self, key: Any, **more: Any) -> hmac.HMAC:
        return hmac.new(key, **more)

    def digest(self, key: Any, message: Any, name: Any) -> bytes:
        self.steps.append("digest")
        return hmac.digest(key, message, name)

    def compare_digest(self, one: Any, other: Any) -> bool:
        self.steps.append("compare")
        return hmac.compare_digest(one, other)


def test_keys_that_open_nothing_are_refused_alike_and_by_the_same_work(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = control.KeyRequest("user:developer", "short-lived")
    made = town.client("developer").access.create_key(mine)
    assert town.ask(f"Bearer {made.api_key}", "GET", "/api/v1/models").status == 200
    town.client("developer").access.revoke_key(made.key_id)
    counted = Counted()
    monkeypatch.setattr(credentials, "hmac", counted)
    told: list[Answer] = []
    work: list[list[str]] = []
    unknown = format_key("0" * 7 + "1", b"x" * 32)
    of_another = format_key(made.key_id, b"x" * 32)
    for key in (made.api_key, unknown, of_another):
        counted.steps.clear()
        told.append(town.ask(f"Bearer {key}", "GET", "/api/v1/models"))
        work.append(list(counted.steps))
    assert told[0].status == 401
    assert [answer == told[0] for answer in told] == [True] * 3, told
    assert work[0]
    assert [steps == work[0] for steps in work] == [True] * 3, work


# --- passkeys ----------------------------------------------------------------------------------------------------------


def options(page: Page) -> dict[str, Any]:
    assert page.status == 200, page.text
    told = msgspec.json.decode(page.text)
    found: dict[str, Any] = told.get("options") or told["passkey"]
    return found


def csrf(visitor: Visitor) -> str:
    return msgspec.json.decode(visitor.browser.api("GET", "/me").text, type=control.MeView).csrf


@pytest.fixture(scope="module")
def alice(town: Town) -> tuple[Visitor, Authenticator]:
    """Somebody with a passkey, who is logged in."""
    visitor = arrive(town, "alice", "operator")
    asked = options(visitor.browser.api("POST", "/factors/passkeys/options", fastness_csrf=csrf(visitor)))
    key, response = Authenticator("https://localhost:8444").create(asked)
    made = control.PasskeyRequest("mine", response)
    first = visitor.browser.api("POST", "/factors/passkeys", made, fastness_csrf=csrf(visitor))
    assert first.status == 201, first.text
    return visitor, key


def step_up(visitor: Visitor, response: dict[str, Any]) -> Page:
    given = control.StepUpRequest("passkey", response=response)
    return visitor.browser.api("POST", "/step-ups", given, fastness_csrf=csrf(visitor))


def by_passkey(browser: Browser, response: dict[str, Any]) -> Page:
    return browser.api("POST", "/logins/passkey", control.PasskeyLoginRequest(response))


def test_the_answer_of_a_passkey_logs_in_once(town: Town, alice: tuple[Visitor, Authenticator]) -> None:
    browser = Browser(town.house)
    asked = options(browser.api("POST", "/logins/passkey/options", control.TenantRequest()))
    response = alice[1].get(asked)
    assert by_passkey(browser, response).status == 200
    assert by_passkey(browser, response).status == 401
    assert by_passkey(Browser(town.house, address=browser.address), alice[1].get(asked)).status == 401


def test_the_answer_of_a_passkey_is_for_what_it_was_asked_for(town: Town, alice: tuple[Visitor, Authenticator]) -> None:
    visitor, key = alice
    to_step_up = options(visitor.browser.api("GET", "/step-ups"))
    assert by_passkey(visitor.browser, key.get(to_step_up)).status == 401
    browser = Browser(town.house, address=visitor.browser.address)
    to_log_in = options(browser.api("POST", "/logins/passkey/options", control.TenantRequest()))
    assert step_up(visitor, key.get(to_log_in)).status == 401
    right = key.get(options(visitor.browser.api("GET", "/step-ups")))
    assert [step_up(visitor, right).status for _ in range(2)] == [201, 401]


def test_a_challenge_registers_one_passkey(town: Town, alice: tuple[Visitor, Authenticator]) -> None:
    visitor, key = alice
    assert step_up(visitor, key.get(options(visitor.browser.api("GET", "/step-ups")))).status == 201
    asked = options(visitor.browser.api("POST", "/factors/passkeys/options", fastness_csrf=csrf(visitor)))
    told = []
    for label in ("first", "second"):
        _, response = Authenticator("https://localhost:8444").create(asked)
        made = control.PasskeyRequest(label, response)
        told.append(visitor.browser.api("POST", "/factors/passkeys", made, fastness_csrf=csrf(visitor)))
    assert [page.status for page in told] == [201, 400], told[1]
    assert "passkey-refused" in told[1].text


# --- lockout -----------------------------------------------------------------------------------------------------------


def test_strangers_lock_nobody_out(town: Town) -> None:
    victim = arrive(town, "victim")
    own = Browser(town.house, address=victim.browser.address, jar=dict(victim.browser.jar))
    assert log_in(own, "victim", PASSWORD).status == 200  # a device that is known from now on
    for _ in range(town.house.desk.settings.free_account + 1):
        assert log_in(Browser(town.house), "victim").status == 401
    assert log_in(Browser(town.house), "victim", PASSWORD).status == 401  # from elsewhere one waits
    assert log_in(own, "victim", PASSWORD).status == 200
    assert victim.browser.api("GET", "/me").status == 200


def test_a_guesser_is_slowed_whatever_they_say_of_themselves(town: Town) -> None:
    arrive(town, "guessed")
    guesser = Browser(town.house)
    told = [log_in(guesser, "guessed") for _ in range(12)]
    pretends = {"x_forwarded_for": "198.51.100.7", "forwarded": "for=198.51.100.7", "x_real_ip": "198.51.100.7"}
    data = control.LoginRequest("guessed", PASSWORD)
    assert guesser.api("POST", "/logins", data, **pretends).status in {401, 429}
    assert {page.status for page in told} <= {401, 429}


# --- what everybody knows ----------------------------------------------------------------------------------------------


async def started(house: House) -> None:
    async with ControlProcess(house).running():
        pass


def test_a_house_with_a_key_of_the_documentation_does_not_start(town: Town) -> None:
    made = town.client("developer").access.create_key(control.KeyRequest("user:developer", "public"))
    (public,) = PUBLIC_KEYS
    house = town.house
    with sqlite3.connect(house.home.records) as behind:
        row = behind.execute("SELECT digest FROM api_key WHERE key_id = ?", (made.key_id,)).fetchone()
        digest = house.pepper.digest(public)
        behind.execute("UPDATE api_key SET digest = ? WHERE key_id = ?", (digest, made.key_id))
    try:
        with pytest.raises(Conflict) as caught:
            asyncio.run(started(house))
        assert caught.value.code == "credentials-default"
        assert town.ask(f"Bearer {public.decode()}", "GET", "/api/v1/models").status == 401
    finally:
        with sqlite3.connect(house.home.records) as behind:
            behind.execute("UPDATE api_key SET digest = ? WHERE key_id = ?", (*row, made.key_id))
