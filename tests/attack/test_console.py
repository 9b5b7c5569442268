"""Attacks on the console and its sessions: by another site, by what is guessed or planted, and by what people call things."""

from __future__ import annotations

import html
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from fastness.core.events import EventKind
from fastness.interfaces.api.app import control_plane
from fastness.interfaces.api.cookies import DEVICE, SESSION
from fastness.interfaces.api.routes import control_routes
from fastness.wire import control, overview
from tests.unit.interfaces.api.town import Town, founded
from tests.unit.interfaces.console.browser import ORIGIN, OTHER_PASSWORD, PASSWORD, Browser, Page
from tests.unit.interfaces.console.visit import Visitor, arrive

FORM = "application/x-www-form-urlencoded"
EVIL = "https://evil.example"
PUBLIC = ("/console/login", "/console/invitation")
OWN = ("/console", "/console/security", "/console/step-up", "/oauth/device")
CHANGING = (
    "/console/logout", "/console/step-up", "/console/security/apps", "/console/security/apps/confirmation",
    "/console/security/passkeys", "/console/security/factors/removal", "/console/security/recovery-codes",
    "/console/security/sessions/revocation", "/console/security/password", "/console/security/identities",
    "/console/security/identities/removal", "/oauth/authorize", "/oauth/device",
)  # fmt: skip
ENTRIES = ("/console/login", "/console/login/second", "/console/login/passkey", "/console/invitation")


SIGN_ON = {
    ("GET", "/console/login/oidc/{place:str}"),
    ("GET", "/console/login/oidc/{place:str}/callback"),
    ("POST", "/console/login/oidc/{place:str}/logout"),
}
"""What other sites lead to, or send: `test_sign_on` attacks it."""


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with tempfile.TemporaryDirectory(prefix="fastness-console-") as folder, founded(Path(folder) / "home") as made:
        yield made


@pytest.fixture(scope="module")
def alice(town: Town) -> Visitor:
    """Logged in by password and app."""
    visitor = arrive(town, "alice")
    visitor.set_up_app()
    assert visitor.log_in().to == "/console"
    return visitor


@pytest.fixture(scope="module")
def plain(town: Town) -> Visitor:
    """Somebody else, logged in by password alone."""
    return arrive(town, "plain")


def csrf(visitor: Visitor) -> str:
    return visitor.browser.get("/console").forms["/console/logout"]["csrf"]


def denied(town: Town) -> str:
    return town.events(EventKind.ACCESS_DENIED)[-1].reason


def test_the_lists_above_are_all_there_is(town: Town) -> None:
    """A page that is added is attacked too."""
    consent = {"/oauth/authorize", "/oauth/device"}
    all_views = control_routes(control_plane(town.house))
    views = [view for view in all_views if view.path.startswith("/console") or view.path in consent]
    found = {(view.method, view.path) for view in views if not view.path.startswith("/console/static")}
    expected = {("GET", path) for path in (*PUBLIC, *OWN, "/oauth/authorize")} | {
        ("POST", path) for path in CHANGING + ENTRIES
    }
    assert found == expected | SIGN_ON
    for view in views:
        entered = view.path in PUBLIC + ENTRIES or view.path.startswith(("/console/static", "/console/login/oidc/"))
        assert (view.proof in {overview.Proof.STEP, overview.Proof.BODY}) == entered, view


@pytest.mark.parametrize("path", OWN)
def test_without_a_session_there_is_only_the_login(town: Town, path: str) -> None:
    page = Browser(town.house).get(path)
    assert (page.status, page.to) == (303, f"/console/login?next={path}")
    assert page.text == ""


# --- another site has the browser send something ---


@pytest.mark.parametrize("path", CHANGING)
@pytest.mark.parametrize("token", ["empty", "missing", "foreign", "invented"])
def test_a_form_without_this_sessions_token_changes_nothing(
    town: Town, alice: Visitor, plain: Visitor, path: str, token: str
) -> None:
    given = {"empty": {"csrf": ""}, "missing": {}, "foreign": {"csrf": csrf(plain)}, "invented": {"csrf": "0" * 64}}[
        token
    ]
    before = len(town.events())
    page = alice.browser.post(path, given)
    assert page.status == 403
    assert denied(town) == "csrf-refused"
    assert len(town.events()) == before + 1
    assert alice.browser.get("/console").status == 200


def test_a_token_of_before_the_session_got_its_new_id_is_void(town: Town) -> None:
    """It changes with login, step-up and roles: one that leaked is good no longer than its id."""
    visitor = arrive(town, "renewed")
    old, cookie = csrf(visitor), visitor.browser.jar[SESSION]
    town.client("admin").access.set_roles("user:renewed", ("developer",))
    home = visitor.browser.get("/console")
    assert "developer" in home.text
    assert visitor.browser.jar[SESSION] != cookie
    assert visitor.browser.post("/console/logout", {"csrf": old}).status == 403
    stale = Browser(town.house, jar={SESSION: cookie})
    assert stale.get("/console").to.startswith("/console/login")


@pytest.mark.parametrize("path", [*CHANGING, *ENTRIES])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": EVIL, "sec_fetch_site": "cross-site"},
        {"origin": "null", "sec_fetch_site": "cross-site"},
        {"origin": "", "sec_fetch_site": ""},
        {"origin": ORIGIN, "sec_fetch_site": "same-site"},
        {"origin": "https://localhost:8443", "sec_fetch_site": ""},
        {"origin": "http://localhost:8444", "sec_fetch_site": ""},
        {"origin": f"{ORIGIN}.evil.example", "sec_fetch_site": ""},
    ],
)
def test_a_form_of_another_site_is_refused_even_with_the_token(
    town: Town, alice: Visitor, path: str, headers: dict[str, str]
) -> None:
    form = {"csrf": csrf(alice), "name": "alice", "password": PASSWORD}
    browser = alice.browser if path in CHANGING else Browser(town.house)
    page = browser.post(path, form, **headers)
    assert page.status == 403
    assert denied(town) == "origin-foreign"
    assert SESSION not in dict(cookie.split("=", 1) for cookie in page.cookies)


def test_nobody_is_logged_in_as_somebody_else_by_another_site(town: Town, alice: Visitor) -> None:
    """Login CSRF: a victim who works in the attacker's account shows them everything."""
    victim = Browser(town.house)
    page = victim.post(
        "/console/login", {"name": "alice", "password": PASSWORD}, origin=EVIL, sec_fetch_site="cross-site"
    )
    assert page.status == 403
    body = control.LoginRequest("alice", PASSWORD)
    assert victim.api("POST", "/logins", body, origin=EVIL, sec_fetch_site="cross-site").status == 403
    assert not victim.jar


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/json", ""])
def test_what_is_no_form_is_refused(alice: Visitor, kind: str) -> None:
    page = alice.browser.post("/console/logout", {"csrf": csrf(alice)}, content_type=kind)
    assert page.status == 400


def test_a_field_that_comes_twice_is_refused(alice: Visitor) -> None:
    token = csrf(alice).encode()
    page = alice.browser.send(
        "POST", "/console/logout", b"csrf=&csrf=" + token, {"origin": ORIGIN, "content_type": FORM}
    )  # fmt: skip
    assert page.status == 400
    many = "&".join(f"f{n}=" for n in range(50)).encode()
    page = alice.browser.send("POST", "/console/logout", many, {"origin": ORIGIN, "content_type": FORM})
    assert page.status == 400


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "/logins"), ("PUT", "/password"), ("POST", "/step-ups"), ("POST", "/factors/totp")]
)
def test_the_api_takes_a_cookie_only_with_the_token_in_a_header(
    town: Town, alice: Visitor, method: str, path: str
) -> None:
    for headers in ({}, {"fastness_csrf": "0" * 64}, {"fastness_csrf": csrf(alice), "origin": EVIL}):
        page = alice.browser.api(method, path, {"csrf": csrf(alice)}, **headers)
        assert page.status == 403, headers
        assert denied(town) in {"csrf-refused", "origin-foreign"}


def test_reading_changes_nothing(town: Town, alice: Visitor) -> None:
    """SameSite=Strict aside, a GET that another site causes does nothing."""
    before = {event.kind for event in town.events()[-3:]}
    count = len(town.events())
    for path in OWN:
        alice.browser.get(path)
    assert len(town.events()) == count, before


# --- the cookie ---


def test_cookies_are_for_this_host_tls_and_the_browser_alone(town: Town) -> None:
    visitor = arrive(town, "careful")
    page = visitor.log_in(Browser(town.house))
    flags = {cookie.partition("=")[0]: set(cookie.split("; ")[1:]) for cookie in page.cookies}
    assert flags.keys() == {SESSION, DEVICE}
    for name, given in flags.items():
        assert name.startswith("__Host-")
        assert {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"} <= given
        assert not any(flag.startswith("Domain") for flag in given)
    assert not any(flag.startswith(("Max-Age", "Expires")) for flag in flags[SESSION])


def test_a_planted_id_is_never_taken_over(town: Town) -> None:
    """Session fixation: whoever knows the id from before the login has nothing after it."""
    visitor = arrive(town, "fixed")
    planted = visitor.browser.jar[SESSION]
    for value in (planted, "fss_" + "0" * 43, "anything"):
        browser = Browser(town.house, jar={SESSION: value})
        assert visitor.log_in(browser).to == "/console"
        assert browser.jar[SESSION] != value
        assert browser.get("/console").status == 200


def test_the_id_changes_with_a_step_up_and_the_old_one_is_void(town: Town) -> None:
    visitor = arrive(town, "stepper")
    visitor.set_up_app()
    old = visitor.browser.jar[SESSION]
    page = visitor.browser.fill(visitor.browser.get("/console/step-up"), "/console/step-up", code=visitor.code())
    assert page.to == "/console"
    assert visitor.browser.jar[SESSION] != old
    assert Browser(town.house, jar={SESSION: old}).get("/console").to.startswith("/console/login")


@pytest.mark.parametrize("name", [SESSION, DEVICE])
@pytest.mark.parametrize("order", ["first", "last"])
def test_a_tossed_cookie_does_not_choose_the_session(town: Town, alice: Visitor, name: str, order: str) -> None:
    """A second cookie of the same name, from wherever: which one counts is for nobody to choose."""
    mine = f"{SESSION}={alice.browser.jar[SESSION]}; {DEVICE}={alice.browser.jar[DEVICE]}"
    tossed = f"{name}=fss_{'0' * 43}"
    line = f"{tossed}; {mine}" if order == "first" else f"{mine}; {tossed}"
    page = Browser(town.house).get("/console", cookie=line)
    assert page.status == 401
    assert denied(town) == "cookie-twice"
    assert "alice" not in page.text


def test_a_cookie_without_the_prefix_is_nothing(town: Town, alice: Visitor) -> None:
    for name in ("fastness", "__host-fastness", "__Secure-fastness", f" {SESSION} "):
        page = Browser(town.house).get("/console", cookie=f"{name}x={alice.browser.jar[SESSION]}")
        assert page.status == 303


def test_a_key_and_a_cookie_together_are_no_credential(town: Town, alice: Visitor) -> None:
    page = alice.browser.api("GET", "/me", authorization=f"Bearer {town.keys['admin']}")
    assert page.status == 401
    assert denied(town) == "credentials-mixed"


def test_a_stolen_cookie_is_good_in_its_browser_alone(town: Town, alice: Visitor) -> None:
    thief = Browser(town.house, agent="curl/8", jar=dict(alice.browser.jar))
    page = thief.get("/console")
    assert page.to.startswith("/console/login")
    assert denied(town) == "session-agent"


def test_a_session_that_was_revoked_is_refused_with_the_next_request(town: Town) -> None:
    visitor = arrive(town, "revoked")
    (session,) = [s for s in town.client("auditor").login.sessions(everybody=True) if s.principal == "user:revoked"]
    town.client("security-officer").login.revoke_session(session.session)
    page = visitor.browser.get("/console")
    assert page.to.startswith("/console/login")
    assert SESSION not in visitor.browser.jar


def test_nobody_ends_the_session_of_another(town: Town, alice: Visitor) -> None:
    other = arrive(town, "other")
    mine = alice.browser.api("GET", "/sessions").text
    theirs = re.findall(r'"session":"([^"]+)"', other.browser.api("GET", "/sessions").text)
    assert theirs
    assert theirs[0] not in mine
    form = {"csrf": csrf(alice), "session": theirs[0]}
    assert alice.browser.post("/console/security/sessions/revocation", form).status == 403
    assert other.browser.get("/console").status == 200
    assert alice.browser.api("GET", "/sessions?everybody=true").status == 403


def test_a_person_who_was_deactivated_is_out(town: Town) -> None:
    visitor = arrive(town, "gone")
    town.client("admin").access.deactivate("user:gone")
    assert visitor.browser.get("/console").to.startswith("/console/login")


# --- where a login leads ---


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example", "//evil.example", "/\\evil.example", "/console//evil.example", "/console/../x", "javascript:alert(1)",
        "/console/login?next=https://evil.example", "/console\n//evil.example", "/console/%2f%2fevil.example", "/consolex",
        "/oauth/authorize", "/oauth/token", "/oauth/authorize?x=1\n//evil.example", "/oauth/authorize?x=//evil.example",
        "/oauth/device?user_code=//evil.example", "/oauth/device?next=https://evil.example", "/oauth/authorize.evil.example",
        "/api/v1/me", "/console/security#x", "\t//evil.example", "/console/security ", "/console/Security", "/" * 500,
    ],
)  # fmt: skip
def test_a_login_leads_to_a_page_of_the_console_alone(town: Town, plain: Visitor, target: str) -> None:
    """No open redirect, whatever `next` says, in the address and in the form."""
    browser = Browser(town.house)
    page = browser.get("/console/login")
    assert browser.fill(page, "/console/login", name=plain.name, password=PASSWORD, next=target).to == "/console"
    shown = browser.get(f"/console/step-up?next={quote(target)}")
    assert 'href="/console">Back' in shown.text
    assert "evil" not in shown.text


def test_a_login_leads_back_to_where_one_wanted(alice: Visitor) -> None:
    browser = Browser(alice.town.house)
    asked = browser.get("/console/security")
    page = browser.get(asked.to)
    assert page.forms["/console/login"]["next"] == "/console/security"


# --- what a browser does with the pages ---


@pytest.mark.parametrize(
    "path", [*PUBLIC, *OWN, "/console/nothing", "/api/v1/me", "/", "/healthz", "/console/static/console.css"]
)
def test_nothing_is_framed_cached_sniffed_or_sent_on(alice: Visitor, path: str) -> None:
    headers = alice.browser.get(path).headers
    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert "http" not in headers["content-security-policy"]
    assert "script-src" not in policy or policy["script-src"] in {"'self'", "'none'"}
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


def test_browsers_stay_with_tls_but_not_for_all_of_localhost(alice: Visitor) -> None:
    assert "strict-transport-security" not in alice.browser.get("/console/login").headers


def test_pages_hold_no_script_style_or_address_of_others(alice: Visitor) -> None:
    for path in PUBLIC + OWN:
        text = alice.browser.get(path).text
        assert not re.search(r"<script(?! src=\"/console/static/passkey\.js\" defer></script>)", text), path
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text), path
        assert not re.search(r"(?:src|href|action)=\"(?!/console|/oauth/device\")[^#]", text), path


@pytest.mark.parametrize(
    "name", ["..%2f..%2fpages.py", "../pages.py", "console.css.map", "", "templates", "__init__.py", "CONSOLE.CSS"]
)
def test_only_assets_are_served(alice: Visitor, name: str) -> None:
    assert alice.browser.get(f"/console/static/{name}").status == 404


# --- what people call things ---

NASTY = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7*7 }}{% for x in y %}", "'onfocus='alert(1)",
    "</title><svg onload=alert(1)>", "&lt;b&gt;",
]  # fmt: skip


@pytest.mark.parametrize("label", NASTY)
def test_a_label_is_text(town: Town, label: str) -> None:
    visitor = arrive(town, f"nasty{NASTY.index(label)}")
    page = visitor.set_up_app(label)
    assert page.status == 200
    shown = visitor.browser.get("/console/security").text
    assert html.escape(label, quote=True).replace("&quot;", "&#34;").replace("&#x27;", "&#39;") in shown
    for text in (page.text, shown):
        assert "<script>" not in text
        assert not re.search(r"<(img|svg)[^>]*on\w+=", text)


@pytest.mark.parametrize("name", NASTY)
def test_what_was_typed_comes_back_as_text(town: Town, name: str) -> None:
    browser = Browser(town.house)
    form = {"name": name, "password": name, "tenant": name, "next": name}
    pages = [
        browser.post("/console/login", form),
        browser.post("/console/invitation", {"code": name, "password": PASSWORD, "again": PASSWORD}),
        browser.post("/console/login/second", {"ticket": name, "code": name, "methods": name}),
        browser.post("/console/login/passkey", {"response": name, "tenant": name}),
    ]
    for page in pages:
        assert page.status in {400, 401}
        assert not re.search(r"<script>|<img(?! src=\"/console/static/mark)|<svg|onfocus='|onfocus=\"", page.text)


# --- what a login tells ---


def without_values(page: Page) -> str:
    """The page without what was typed."""
    return re.sub(r'value="[^"]*"', "", page.text)


def test_a_refusal_does_not_tell_whether_there_is_such_an_account(town: Town, alice: Visitor) -> None:
    seen = []
    town.client("admin").access.create_principal(control.PrincipalRequest("no-password", ("viewer",)))
    for name, password in (("alice", OTHER_PASSWORD), ("nobody-here", PASSWORD), ("no-password", PASSWORD), ("-", "")):
        browser = Browser(town.house, address=f"198.51.100.{len(seen)}")
        page = browser.post("/console/login", {"name": name, "password": password})
        headers = {key: value for key, value in page.headers.items() if key != "content-length"}
        seen.append((page.status, headers, page.cookies, re.sub(r"\s+", " ", without_values(page))))
        reply = browser.api("POST", "/logins", control.LoginRequest(name, password))
        assert (reply.status, reply.cookies) == (401, ())
        assert "login-refused" in reply.text
    assert all(one == seen[0] for one in seen)


def test_a_ticket_is_good_in_its_browser_alone(town: Town, alice: Visitor) -> None:
    browser = Browser(town.house)
    second = browser.fill(browser.get("/console/login"), "/console/login", name="alice", password=PASSWORD)
    ticket = second.forms["/console/login/second"]["ticket"]
    assert not set(browser.jar) - {DEVICE}
    thief = Browser(town.house, agent="curl/8", address="192.0.2.9")
    page = thief.post("/console/login/second", {"ticket": ticket, "code": alice.code()})
    assert page.status == 401
    assert not thief.jar
    assert "Log in" in page.text


def test_a_code_is_tried_five_times_at_most(town: Town) -> None:
    visitor = arrive(town, "guessed")
    visitor.set_up_app()
    browser = Browser(town.house, address="192.0.2.77")
    page = browser.fill(browser.get("/console/login"), "/console/login", name="guessed", password=PASSWORD)
    for _ in range(5):
        page = browser.fill(page, "/console/login/second", code="000000")
        assert page.status == 401
    form = {**page.forms["/console/login/second"], "code": visitor.code()}
    assert browser.post("/console/login/second", form).status == 401
    assert SESSION not in browser.jar


def test_no_secret_is_in_an_address_or_an_event(town: Town) -> None:
    visitor = arrive(town, "discreet")
    visitor.set_up_app()
    visitor.log_in()
    recorded = repr(town.events())
    secrets = [
        PASSWORD,
        visitor.browser.jar[SESSION],
        visitor.browser.jar[DEVICE],
        csrf(visitor),
        *visitor.app.recovery,
    ]
    assert not [secret for secret in secrets if secret in recorded]
    stored = b"".join(path.read_bytes() for path in town.house.home.root.rglob("records*") if path.is_file())
    assert not [secret for secret in secrets if secret.encode() in stored]
