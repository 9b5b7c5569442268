"""OAuth over HTTP under attack: the pages on which people consent, and the endpoints behind them.

Success rate of the attacks below: 0. Sources: RFC 9700 (security best current practice), sections 2 and 4; RFC 7636,
section 7.2; RFC 8628, section 5; RFC 9207, section 1 (mix-up).
"""

from __future__ import annotations

import html
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from fastness.client.oauth import TokenCalls, Waiting
from fastness.core.events import EventKind
from fastness.interfaces.api.cookies import SESSION
from tests.unit.interfaces.api.town import Town, founded
from tests.unit.interfaces.console.browser import ORIGIN, PASSWORD, Browser
from tests.unit.interfaces.console.consent import (
    CALLBACK,
    CHALLENGE,
    VERIFIER,
    Program,
    onward,
    post,
    query,
    register,
    sign_tokens,
)
from tests.unit.interfaces.console.visit import Visitor, arrive

EVIL = "https://evil.example"


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with tempfile.TemporaryDirectory(prefix="fastness-consent-") as folder, founded(Path(folder) / "home") as made:
        sign_tokens(made)
        yield made


@pytest.fixture(scope="module")
def alice(town: Town) -> Visitor:
    """Logged in by password; she has no second factor yet."""
    return arrive(town, "alice", "developer")


@pytest.fixture(scope="module")
def program(town: Town) -> Program:
    return register(town)


@pytest.fixture(scope="module")
def other(town: Town) -> Program:
    return register(town, "other")


def refused_token(town: Town, token: object) -> bool:
    town.keys["tried"] = str(token)
    return town.ask("tried", "GET", "/api/v1/models").status == 401


# --- PKCE ---


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge": None},
        {"code_challenge": ""},
        {"code_challenge_method": "plain", "code_challenge": VERIFIER[:43]},
        {"code_challenge_method": None},
        {"code_challenge_method": "s256"},
        {"code_challenge_method": "S512"},
        {"code_challenge": CHALLENGE[:-1]},
        {"code_challenge": CHALLENGE + "="},
    ],
)
def test_without_s256_nobody_is_even_asked(alice: Visitor, program: Program, changes: dict[str, str | None]) -> None:
    page = alice.browser.get(program.ask(**changes))
    assert query(onward(page))["error"] == "invalid_request"
    assert page.forms.keys() == {"/console/logout"}


@pytest.mark.parametrize("verifier", ["", "w" * 64, CHALLENGE, "v" * 63])
def test_a_stolen_code_is_worth_nothing_without_its_verifier(alice: Visitor, program: Program, verifier: str) -> None:
    status, body = program.redeem(program.code(alice.browser), code_verifier=verifier)
    assert (status, "access_token" in body) == (400, False)


# --- codes ---


def test_a_code_used_twice_ends_what_the_first_use_gave(town: Town, alice: Visitor, program: Program) -> None:
    code = program.code(alice.browser)
    _, first = program.redeem(code)
    assert not refused_token(town, first["access_token"])
    assert program.redeem(code) == (400, {"error": "invalid_grant", "error_description": "Invalid 'code' in request."})
    assert refused_token(town, first["access_token"])
    assert program.refresh(first["refresh_token"])[1]["error"] == "invalid_grant"


def test_a_code_put_into_another_client_is_used_up_and_gives_nothing(
    alice: Visitor, program: Program, other: Program
) -> None:
    code = program.code(alice.browser)
    assert other.redeem(code)[1]["error"] == "invalid_grant"
    assert program.redeem(code)[1]["error"] == "invalid_grant"


def test_a_code_is_for_the_address_that_it_was_sent_to(alice: Visitor, program: Program) -> None:
    for redirect in ("http://127.0.0.1:9/callback", "http://127.0.0.1/callback", f"{CALLBACK}/", ""):
        assert program.redeem(program.code(alice.browser), redirect_uri=redirect)[0] == 400


# --- where the browser is sent ---

ADDRESS = "https://app.example/callback"
STRANGE = {
    "another host": f"{EVIL}/callback",
    "slash": f"{ADDRESS}/",
    "no path": "https://app.example",
    "user": "https://app.example@evil.example/callback",
    "user of the right host": "https://x@app.example/callback",
    "upper-case host": "https://APP.example/callback",
    "upper-case scheme": "HTTPS://app.example/callback",
    "upper-case path": "https://app.example/Callback",
    "encoded letter": "https://app.example/%63allback",
    "encoded slash": "https://app.example%2Fcallback",
    "port of the scheme": "https://app.example:443/callback",
    "another port": "https://app.example:8443/callback",
    "plain": "http://app.example/callback",
    "query": f"{ADDRESS}?x=1",
    "fragment": f"{ADDRESS}#x",
    "above": "https://app.example/x/../callback",
    "backslash": "https://app.example\\@evil.example/callback",
    "longer host": "https://app.example.evil.example/callback",
    "dot": "https://app.example./callback",
    "line break": f"{ADDRESS}\r\nSet-Cookie: a=b",
    "script": "javascript:alert(1)//https://app.example/callback",
    "none": "",
}


@pytest.fixture(scope="module")
def web(town: Town) -> Program:
    return register(town, "web", ADDRESS)


@pytest.mark.parametrize("address", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize("changes", [{}, {"response_type": "token"}, {"scope": "fly"}, {"code_challenge": ""}])
def test_nobody_is_sent_to_an_address_that_is_not_registered(
    alice: Visitor, web: Program, address: str, changes: dict[str, str]
) -> None:
    """Not with a code, not with an error, and not after an answer: it is said on a page of the house."""
    page = alice.browser.get(web.ask(redirect_uri=address, **changes))
    assert (page.status, page.to, onward(page)) == (400, "", "")
    assert "evil" not in page.text
    form = {"csrf": page.forms["/console/logout"]["csrf"], "answer": "yes"}
    forced = alice.browser.post("/oauth/authorize", form | {"request": web.ask(redirect_uri=address).partition("?")[2]})
    assert (forced.status, forced.to, onward(forced)) == (400, "", "")


def test_an_unknown_client_sends_nobody_anywhere(alice: Visitor, program: Program) -> None:
    for client in ("nobody", "", "x" * 600, "a\r\nb"):
        page = alice.browser.get(program.ask(client_id=client))
        assert (page.status, page.to, onward(page)) == (400, "", "")


def test_errors_go_back_with_state_and_who_says_so(town: Town, alice: Visitor, web: Program) -> None:
    wrong: list[dict[str, str | None]] = [
        {"scope": "fly"},
        {"scope": "audit.read"},
        {"response_type": "token"},
        {"request": "eyJ"},
        {"request_uri": EVIL},
        {"response_mode": "fragment"},
    ]
    for changes in wrong:
        back = onward(alice.browser.get(web.ask(**changes)))
        if back:  # else it is said on a page of the house
            assert back.startswith(f"{ADDRESS}?")
            assert query(back)["iss"] == town.house.issuer.name
            assert query(back)["state"] == "xyz"
            assert "code" not in query(back)
    assert query(web.sent_back(alice.browser, "no"))["error"] == "access_denied"


def test_a_code_says_whose_it_is(town: Town, alice: Visitor, web: Program) -> None:
    """Mix-up: a client that knows several servers sees by `iss` that it is not to take this code to another."""
    back = web.sent_back(alice.browser)
    assert query(back)["iss"] == town.house.issuer.name
    metadata = town.ask("", "GET", "/.well-known/oauth-authorization-server").problem
    assert metadata["issuer"] == town.house.issuer.name
    assert metadata["authorization_response_iss_parameter_supported"] is True
    assert metadata["authorization_endpoint"] == f"{ORIGIN}/oauth/authorize"


def test_state_comes_back_as_text(alice: Visitor, web: Program) -> None:
    state = "\"><script>alert(1)</script>&code=evil#'"
    page = alice.browser.get(web.ask(state=state))
    assert "<script" not in page.text
    back = onward(alice.browser.fill(page, "/oauth/authorize", answer="yes"))
    assert back.startswith(f"{ADDRESS}?")
    assert query(back)["state"] == state
    assert query(back)["code"] != "evil"


# --- the consent page ---


def test_without_the_token_of_the_session_there_is_no_consent(town: Town, alice: Visitor, web: Program) -> None:
    page = alice.browser.get(web.ask())
    form = page.forms["/oauth/authorize"] | {"answer": "yes"}
    before = len(town.events(EventKind.AUTHENTICATION_SUCCEEDED))
    for changes in ({"csrf": ""}, {"csrf": "0" * 64}):
        assert alice.browser.post("/oauth/authorize", form | changes).status == 403
    assert alice.browser.post("/oauth/authorize", form, origin=EVIL, sec_fetch_site="cross-site").status == 403
    assert alice.browser.post("/oauth/authorize", form, origin="", sec_fetch_site="").status == 403
    assert alice.browser.post("/oauth/device", form, origin="null", sec_fetch_site="cross-site").status == 403
    assert len(town.events(EventKind.AUTHENTICATION_SUCCEEDED)) == before
    assert onward(alice.browser.post("/oauth/authorize", form)).startswith(ADDRESS)


@pytest.mark.parametrize("answer", ["", "maybe", "yes no", "YES"])
def test_what_is_neither_yes_nor_no_is_no_consent(alice: Visitor, web: Program, answer: str) -> None:
    page = alice.browser.fill(alice.browser.get(web.ask()), "/oauth/authorize", answer=answer)
    assert (page.status, onward(page)) == (400, "")


def test_the_token_of_before_the_login_is_void_after_it(town: Town, program: Program) -> None:
    """Session fixation across login and consent: nothing that a browser had before the login counts afterwards."""
    visitor = arrive(town, "fixed")
    old_page, old_id = visitor.browser.get(program.ask()), visitor.browser.jar[SESSION]
    victim = Browser(town.house, jar={SESSION: old_id})
    planted = Browser(town.house, jar={SESSION: "fsn_planted"})
    asked = planted.get(program.ask())
    assert asked.to.startswith("/console/login?next=/oauth/authorize%3F")
    login = planted.get(asked.to)
    visitor_in = planted.fill(login, "/console/login", name="fixed", password=PASSWORD)
    assert visitor_in.to == program.ask()
    assert planted.jar[SESSION] not in {"fsn_planted", old_id}
    form = old_page.forms["/oauth/authorize"] | {"answer": "yes"}
    assert planted.post("/oauth/authorize", form).status == 403
    assert victim.get(program.ask()).status in {200, 303}  # the id of another browser is not this login's
    assert onward(planted.fill(planted.get(visitor_in.to), "/oauth/authorize", answer="yes")).startswith(CALLBACK)


def test_a_key_or_a_token_consents_to_nothing(town: Town, alice: Visitor, program: Program) -> None:
    path = program.ask()
    assert town.ask("developer", "GET", path).status == 303  # to the second factor
    token = str(program.tokens(alice.browser)["access_token"])
    town.keys["token"] = token
    assert town.ask("token", "GET", path).status in {303, 403}
    reply = town.carrier.send(
        "POST",
        "/oauth/authorize",
        {"content-type": "application/x-www-form-urlencoded", "origin": ORIGIN, "authorization": f"Bearer {token}"},
        urlencode({"request": path.partition("?")[2], "answer": "yes"}).encode(),
    )
    assert reply.status in {303, 403}
    assert "code=" not in reply.headers.get("location", "")


def test_who_has_a_second_factor_gives_it_before_a_program_is_let_in(town: Town, program: Program) -> None:
    """A session that somebody left open is not enough for thirty days of access."""
    visitor = arrive(town, "careful")
    visitor.set_up_app()
    for path in (program.ask(), "/oauth/device?user_code=BCDF-GHJK"):
        page = visitor.browser.get(path)
        assert (page.status, page.to) == (303, f"/console/step-up?next={quote(path)}")
    home = visitor.browser.get("/console").forms["/console/logout"]
    form = {"csrf": home["csrf"], "answer": "yes", "request": program.ask().partition("?")[2]}
    assert visitor.browser.post("/oauth/authorize", form).to == f"/console/step-up?next={quote(program.ask())}"
    asked = visitor.browser.get(f"/console/step-up?next={quote(program.ask())}")
    back = visitor.browser.fill(asked, "/console/step-up", code=visitor.code())
    assert back.to == program.ask()
    assert visitor.browser.get(back.to).status == 200


def test_pages_of_consent_are_not_framed_and_load_nothing(alice: Visitor, program: Program) -> None:
    """Clickjacking; and the code is not in what a page sends on."""
    page = alice.browser.get(program.ask())
    gone = alice.browser.fill(page, "/oauth/authorize", answer="yes")
    for shown in (page, gone, alice.browser.get("/oauth/device"), alice.browser.get(program.ask(client_id="nobody"))):
        policy = shown.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self'" in policy
        assert "script-src 'none'" in policy
        assert "http" not in policy
        assert shown.headers["x-frame-options"] == "DENY"
        assert shown.headers["referrer-policy"] == "same-origin"
        assert shown.headers["cache-control"] == "no-store"


def test_a_link_of_another_site_leads_on_within_the_house(town: Town, program: Program) -> None:
    """Without the cookie, which stays with our own pages; the second request comes from a page of ours."""
    page = Browser(town.house).get(program.ask(), sec_fetch_site="cross-site")
    assert (page.status, onward(page)) == (200, program.ask())
    assert Browser(town.house).get("/console", sec_fetch_site="cross-site").status == 303
    twisted = Browser(town.house).get('/oauth/authorize?state="><script>&x=//evil', sec_fetch_site="cross-site")
    assert "<script" not in twisted.text
    assert not onward(twisted).startswith(("http", "//"))


def test_parameters_that_stand_twice_are_refused(alice: Visitor, program: Program) -> None:
    page = alice.browser.get(f"{program.ask()}&redirect_uri={quote(EVIL, safe='')}")
    assert (page.status, onward(page)) == (400, "")


def test_a_name_of_a_client_is_text(town: Town, alice: Visitor) -> None:
    made = register(town, "mark-up", scope="model.read")
    page = alice.browser.get(made.ask(scope="model.read"))
    assert "mark-up" in page.text
    assert html.escape(made.client_id) in page.text


# --- scopes and refresh tokens ---


def test_no_page_asks_for_more_than_the_client_may_have(alice: Visitor, program: Program) -> None:
    for scope in ("model.deploy", "model.read audit.read", "model.read model.read", "openid", "model.read*"):
        assert "code" not in query(onward(alice.browser.get(program.ask(scope=scope))))


def test_a_refresh_never_widens(alice: Visitor, program: Program) -> None:
    refresh = program.tokens(alice.browser)["refresh_token"]
    for scope in ("model.read model.infer", "model.deploy", "model.infer"):
        assert program.refresh(refresh, scope=scope)[1]["error"] == "invalid_scope"
    status, body = program.refresh(refresh)
    assert (status, body["scope"]) == (200, "model.read")


def test_a_refresh_token_used_twice_ends_the_family(town: Town, alice: Visitor, program: Program) -> None:
    first = program.tokens(alice.browser)
    _, second = program.refresh(first["refresh_token"])
    assert not refused_token(town, second["access_token"])
    assert program.refresh(first["refresh_token"])[1]["error"] == "invalid_grant"
    assert refused_token(town, second["access_token"])
    assert program.refresh(second["refresh_token"])[1]["error"] == "invalid_grant"


def test_a_refresh_token_of_another_client_ends_the_family(
    town: Town, alice: Visitor, program: Program, other: Program
) -> None:
    first = program.tokens(alice.browser)
    assert other.refresh(first["refresh_token"])[1]["error"] == "invalid_grant"
    assert refused_token(town, first["access_token"])


def test_whoever_lost_everything_loses_their_tokens_too(town: Town, program: Program) -> None:
    """A reset is for accounts that somebody else may hold: what that person let in is out."""
    visitor = arrive(town, "robbed")
    lent = program.tokens(visitor.browser)
    assert not refused_token(town, lent["access_token"])
    town.client("admin").login.reset_credentials("user:robbed")
    assert refused_token(town, lent["access_token"])
    assert program.refresh(lent["refresh_token"])[1]["error"] == "invalid_grant"


# --- devices ---


def begun(town: Town, scope: str = "model.read") -> Waiting:
    return TokenCalls(town.carrier).begin(scope)


def test_a_link_with_a_code_lets_nobody_in_by_itself(town: Town, alice: Visitor) -> None:
    """Remote phishing, RFC 8628, section 5.4: the person sees who asks, from where, and is warned."""
    waiting = begun(town)
    page = alice.browser.get(f"/oauth/device?user_code={waiting.user_code}")
    assert "answer" not in page.forms["/oauth/device"]
    assert waiting.user_code in page.text
    asked = alice.browser.fill(page, "/oauth/device")
    for shown in ("Fastness command line", "the machine of this house", "alice", "wants in as you", waiting.user_code):
        assert shown in asked.text
    assert TokenCalls(town.carrier).poll(waiting) in {0.0, 5.0}


def test_user_codes_are_tried_a_few_times_at_most_and_each_try_is_recorded(town: Town) -> None:
    visitor = arrive(town, "guesser")
    before = len(town.events(EventKind.ACCESS_DENIED))
    page = visitor.browser.get("/oauth/device")
    found = [visitor.browser.fill(page, "/oauth/device", code=f"BCDF-GH{a}{b}") for a in "JKL" for b in "MNP"]
    assert {answer.status for answer in found[:5]} == {404}
    assert {answer.status for answer in found[5:]} == {429}
    assert int(found[-1].headers["retry-after"]) >= 1
    assert len(town.events(EventKind.ACCESS_DENIED)) == before + len(found)
    waiting = begun(town)
    assert visitor.browser.fill(page, "/oauth/device", code=waiting.user_code).status == 429
    assert visitor.browser.fill(page, "/oauth/device", code=waiting.user_code, answer="yes").status == 429


def test_a_device_that_was_answered_is_not_answered_again(town: Town) -> None:
    visitor, waiting = arrive(town, "once"), begun(town)
    page = visitor.browser.get("/oauth/device")
    assert "Sent away" in visitor.browser.fill(page, "/oauth/device", code=waiting.user_code, answer="no").text
    assert visitor.browser.fill(page, "/oauth/device", code=waiting.user_code, answer="yes").status == 404


def test_a_device_code_is_not_guessed_at_the_token_endpoint(town: Town) -> None:
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "client_id": "fastness-cli"}
    for guess in ("fsd_" + "0" * 43, "BCDFGHJK", "", "x" * 5000):
        status, body = post(town, "token", form | {"device_code": guess})
        assert (status, "access_token" in body) == (400, False)


@pytest.mark.parametrize("code", ['"><script>alert(1)</script>', "//evil.example", "x" * 9000, "%0d%0a"])
def test_a_typed_code_comes_back_as_text(town: Town, alice: Visitor, code: str) -> None:
    page = alice.browser.get(f"/oauth/device?{urlencode({'user_code': code})}")
    assert "<script" not in page.text
    assert len(page.forms["/oauth/device"]["code"]) <= 20
    stranger = Browser(town.house).get(f"/oauth/device?{urlencode({'user_code': code})}")
    assert stranger.to in {
        "/console/login?next=/console",
        f"/console/login?next={quote(f'/oauth/device?user_code={code}')}",
    }
    assert "\n" not in stranger.to
