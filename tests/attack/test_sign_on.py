"""Attacks on logins by external providers, over HTTP: from the browser's side, from the provider's, and by the database.

The provider is a server on the loopback that says whatever the test wants. Success rate of the attacks below: 0.
Sources: OpenID Connect Core 1.0, section 16; OpenID Connect Back-Channel Logout 1.0, section 2.6; RFC 9700, section 4;
Fett, Küsters, Schmitz, "The Web SSO Standard OpenID Connect: In-Depth Formal Security Analysis", CSF 2017.
"""

from __future__ import annotations

import hashlib
import hmac
import http.server
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from sqlalchemy import update

from fastness.access.directory import groups
from fastness.access.federation.tables import (
    FEDERATION_IDENTITY,
    FEDERATION_LOGIN,
    FEDERATION_PROVIDER,
    FEDERATION_SESSION,
)
from fastness.access.integrity import findings
from fastness.access.tokens.jose import base64url, make_key, sign
from fastness.core.clock import SECOND
from fastness.core.events import EventKind
from fastness.core.identity import DEFAULT_TENANT, SYSTEM, SYSTEM_SCOPE, Scope, TenantId
from fastness.interfaces.api.cookies import FEDERATED, SESSION
from fastness.wire import control, directory
from tests.attack.test_access_federation import Liar
from tests.attack.test_control_tenants import STRANGER, stranger
from tests.unit.interfaces.api.town import Town, refused
from tests.unit.interfaces.console.browser import Browser, Page
from tests.unit.interfaces.console.signing_on import ACME, BACK, founded, sent, settled, shows
from tests.unit.interfaces.console.visit import Visitor, arrive

SUBJECT = "subject-of-alice"
EVENT = "http://schemas.openid.net/event/backchannel-logout"


@dataclass
class Visit:
    """One person who comes by the provider."""

    town: Town
    liar: Liar
    browser: Browser = field(init=False)
    asked: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.browser = Browser(self.town.house)

    def begin(self, path: str = ACME, **claims: object) -> None:
        """Be sent to the provider, which will say this."""
        _, self.asked = sent(self.browser, path)
        self.liar.claims = good(self.town, self.liar, nonce=self.asked["nonce"], **claims)

    def back(self, place: str = BACK, **parameters: str) -> Page:
        whole = {"code": "a-code", "state": self.asked["state"], "iss": self.liar.issuer} | parameters
        return self.browser.get(f"{place}?{urlencode({name: value for name, value in whole.items() if value})}")

    def comes(self, path: str = ACME, **claims: object) -> Page:
        self.begin(path, **claims)
        return self.back()


def good(town: Town, liar: Liar, **changes: object) -> dict[str, Any]:
    """The claims of a good id token, or others."""
    now_s = town.house.clock.now() // SECOND
    whole = {
        "iss": liar.issuer, "aud": "fastness", "sub": SUBJECT, "exp": now_s + 60, "iat": now_s, "auth_time": now_s,
    } | changes  # fmt: skip
    return {name: value for name, value in whole.items() if value is not None}


@pytest.fixture
def liar() -> Iterator[Liar]:
    made = Liar()
    yield made
    made.close()


@pytest.fixture(scope="module")
def house() -> Iterator[Town]:
    with founded() as made:
        arrive(made, "alice")
        stranger(made)
        yield made


@pytest.fixture
def town(house: Town, liar: Liar) -> Iterator[Town]:
    """With `acme`, whose subject is alice."""
    settled(house, liar.issuer, people={SUBJECT: "user:alice"})
    yield house
    for provider in house.client("admin").providers.list():
        house.client("admin").providers.remove(provider.name)


@pytest.fixture
def visit(town: Town, liar: Liar) -> Visit:
    return Visit(town, liar)


def stays_out(visit: Visit, page: Page, reason: str) -> None:
    """The login page, no session, no cookie of the login any more, and why stands in the record alone."""
    assert page.status in {401, 409, 503}, page.text
    assert "<h1>Log in</h1>" in page.text
    assert SESSION not in visit.browser.jar
    assert FEDERATED not in visit.browser.jar
    failed = visit.town.events(EventKind.AUTHENTICATION_FAILED)[-1]
    assert failed.reason == reason
    assert reason not in page.text
    assert SUBJECT not in page.text


def test_the_good_login_passes_so_the_others_are_not_refused_for_another_reason(visit: Visit) -> None:
    page = visit.comes()
    assert (page.status, shows(page)) == (200, "/console")
    assert FEDERATED not in visit.browser.jar
    assert "user:alice" in visit.browser.get("/console").text
    assert visit.asked["code_challenge_method"] == "S256"
    assert visit.asked["redirect_uri"] == f"https://localhost:8444{BACK}"


# --- the browser's side ---


@pytest.mark.parametrize("state", ["", "x", "a" * 43, "' OR 1=1 --", "%00", "é" * 43])
def test_a_state_that_began_nothing(visit: Visit, state: str) -> None:
    visit.begin()
    stays_out(visit, visit.back(state=state), "state-unknown")


def test_a_login_that_somebody_elses_browser_began(visit: Visit, town: Town, liar: Liar) -> None:
    """Login CSRF: the attacker's code and state in the victim's browser would log the victim in as the attacker."""
    victim = Visit(town, liar)
    visit.begin()
    victim.asked = visit.asked
    stays_out(victim, victim.back(), "browser-other")
    other = Visit(town, liar)
    other.begin()
    other.asked = visit.asked
    stays_out(other, other.back(), "state-unknown")  # used up by the attempt before


def test_what_came_back_once_does_not_come_back_again(visit: Visit) -> None:
    visit.begin()
    kept = dict(visit.browser.jar)
    assert visit.back().status == 200
    again = Visit(visit.town, visit.liar)
    again.browser.jar, again.asked = kept, visit.asked
    stays_out(again, again.back(), "state-unknown")


def test_the_cookie_of_a_login_alone_opens_nothing(visit: Visit) -> None:
    visit.begin()
    assert visit.browser.get("/console").to.startswith("/console/login")
    (cookie,) = [one for one in visit.browser.get(ACME).cookies if one.startswith(FEDERATED)]
    assert cookie.endswith("; Path=/; Max-Age=600; Secure; HttpOnly; SameSite=Lax")


@pytest.mark.parametrize("extra", ["state", "code", "iss"])
def test_a_parameter_that_comes_twice(visit: Visit, extra: str) -> None:
    visit.begin()
    query = urlencode({"code": "a", "state": visit.asked["state"], "iss": visit.liar.issuer})
    stays_out(visit, visit.browser.get(f"{BACK}?{query}&{extra}=x"), "state-unknown")


def test_two_cookies_of_one_name(visit: Visit) -> None:
    visit.begin()
    visit.browser.jar[f"x=1; {FEDERATED}"] = "planted"
    assert visit.back().status == 401
    assert SESSION not in visit.browser.jar


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_begins_no_login(visit: Visit, site: str) -> None:
    before = len(visit.town.events())
    page = visit.browser.get(ACME, sec_fetch_site=site)
    assert (page.to, page.cookies) == ("/console/login", ())
    assert len(visit.town.events()) == before


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example", "//evil.example", "/\\evil.example", "/console/../evil", "javascript:alert(1)",
        "/console//evil.example", "/console/security?x=1", "/console/\r\nLocation: x", "%2f%2fevil.example", "/api/v1/me",
    ],
)  # fmt: skip
def test_one_comes_back_to_this_house_alone(visit: Visit, path: str) -> None:
    assert shows(visit.comes(f"{ACME}?next={quote(path)}")) == "/console"


def test_a_session_id_that_was_there_before_is_not_taken_over(visit: Visit, town: Town) -> None:
    planted = "fss_" + "a" * 43
    visit.browser.jar[SESSION] = planted
    visit.comes()
    assert visit.browser.jar[SESSION] != planted
    assert Browser(town.house, jar={SESSION: planted}).get("/console").to.startswith("/console/login")
    first = visit.browser.jar[SESSION]
    visit.comes()
    assert visit.browser.jar[SESSION] != first


def test_a_code_and_a_state_of_two_logins(visit: Visit, town: Town, liar: Liar) -> None:
    """The verifier and the nonce are those of the state: what the provider made for another login does not fit."""
    other = Visit(town, liar)
    visit.begin()
    other.begin()
    stays_out(visit, visit.back(), "nonce-other")  # the id token is the one of the other login
    assert len({form["code_verifier"] for form in liar.forms}) == len(liar.forms)


@pytest.mark.parametrize("error", ["access_denied", "<script>alert(1)</script>", "login_required"])
def test_what_a_provider_says_went_wrong_is_not_shown(visit: Visit, error: str) -> None:
    visit.begin()
    page = visit.back(error=error, error_description=f"please call evil.example {error}", code="")
    assert error not in page.text
    assert "evil.example" not in page.text
    stays_out(visit, page, "provider-refused")


# --- the provider's side ---

CLAIMS: dict[str, tuple[dict[str, object], str]] = {
    "a nonce of another login": ({"nonce": "other"}, "nonce-other"),
    "no nonce": ({"nonce": None}, "nonce-other"),
    "another audience": ({"aud": "other"}, "audience-other"),
    "several audiences": ({"aud": ["fastness", "other"]}, "audience-other"),
    "no audience": ({"aud": None}, "audience-other"),
    "another party": ({"azp": "other"}, "party-other"),
    "another issuer": ({"iss": "https://evil.example"}, "issuer-other"),
    "no subject": ({"sub": None}, "id-token-claims"),
    "a subject that is a number": ({"sub": 1}, "id-token-claims"),
    "no time of login": ({"auth_time": None}, "id-token-claims"),
}


@pytest.mark.parametrize(("claims", "reason"), CLAIMS.values(), ids=CLAIMS)
def test_claims_of_another_login(visit: Visit, claims: dict[str, object], reason: str) -> None:
    visit.begin()
    visit.liar.claims = good(visit.town, visit.liar, **{"nonce": visit.asked["nonce"], **claims})
    stays_out(visit, visit.back(), reason)


@pytest.mark.parametrize(
    ("shift_s", "reason"), [({"exp": -3600}, "id-token-expired"), ({"iat": -3600}, "id-token-expired"),
    ({"iat": 3600}, "id-token-early"), ({"nbf": 3600}, "id-token-early"), ({"auth_time": -90_000}, "login-old"),
    ({"auth_time": 3600}, "login-old")],
)  # fmt: skip
def test_a_token_of_another_time(visit: Visit, shift_s: dict[str, int], reason: str) -> None:
    now_s = visit.town.house.clock.now() // SECOND
    stays_out(visit, visit.comes(**{name: now_s + shift for name, shift in shift_s.items()}), reason)


def unsigned(liar: Liar, claims: dict[str, Any]) -> str:
    head = {"alg": "none", "kid": liar.key.kid}
    return f"{coded(head)}.{coded(claims)}."


def by_public_key(liar: Liar, claims: dict[str, Any]) -> str:
    """HMAC under the public key, which everybody has."""
    pem = liar.key.key.as_bytes(encoding="PEM", private=False)
    assert serialization.load_pem_public_key(pem)
    data = f"{coded({'alg': 'HS256', 'kid': liar.key.kid, 'typ': 'JWT'})}.{coded(claims)}"
    return f"{data}.{base64url(hmac.digest(pem, data.encode(), hashlib.sha256) * 3).decode()[:86]}"


def headed(**changes: object) -> Callable[[Liar, dict[str, Any]], str]:
    def make(liar: Liar, claims: dict[str, Any]) -> str:
        good_one = sign(liar.key, "JWT", claims).split(".")
        return ".".join([coded({"alg": "ES256", "kid": liar.key.kid, "typ": "JWT"} | changes), *good_one[1:]])

    return make


def coded(value: object) -> str:
    return base64url(json.dumps(value).encode()).decode()


def by_another_key(_: Liar, claims: dict[str, Any]) -> str:
    return sign(make_key("ES256"), "JWT", claims)


SIGNED: dict[str, Callable[[Liar, dict[str, Any]], str]] = {
    "none": unsigned,
    "HS256 with the public key": by_public_key,
    "another algorithm in the header": headed(alg="RS256"),
    "a key in the header": headed(jwk={"kty": "EC"}),
    "an address of keys in the header": headed(jku="https://evil.example/jwks"),
    "a certificate in the header": headed(x5c=["x"]),
    "a path as the name of the key": headed(kid="../../../../dev/null"),
    "SQL as the name of the key": headed(kid="x' UNION SELECT 'key"),
    "a list as the name of the key": headed(kid=["a"]),
    "another key": by_another_key,
    "an access token's type": lambda liar, claims: sign(liar.key, "at+jwt", claims),
    "a logout token's type": lambda liar, claims: sign(liar.key, "logout+jwt", claims),
    "nothing": lambda *_: "",
    "dots": lambda *_: "..",
}


@pytest.mark.parametrize("forge", SIGNED.values(), ids=SIGNED)
def test_a_token_that_the_provider_did_not_sign_so(visit: Visit, forge: Callable[..., str]) -> None:
    visit.begin()
    visit.liar.signing = lambda claims: forge(visit.liar, claims)
    page = visit.back()
    failed = visit.town.events(EventKind.AUTHENTICATION_FAILED)[-1].reason
    assert failed.startswith("token-")
    stays_out(visit, page, failed)
    assert "/inside" not in visit.liar.asked


@pytest.mark.parametrize("said", ["https://evil.example", ""])
def test_the_reply_of_another_provider(town: Town, visit: Visit, said: str) -> None:
    """Mix-up (RFC 9207): who names itself in replies has to, and is the one that was asked."""
    visit.liar.document = {"authorization_response_iss_parameter_supported": True}
    settled(town, visit.liar.issuer, "named", people={SUBJECT: "user:alice"})
    visit.begin("/console/login/oidc/named")
    stays_out(visit, visit.back("/console/login/oidc/named/callback", iss=said), "issuer-other")
    assert visit.liar.forms == []  # the code went nowhere


def test_one_comes_back_to_the_provider_that_one_went_to(town: Town, visit: Visit) -> None:
    settled(town, visit.liar.issuer, "second", people={SUBJECT: "user:alice"})
    visit.begin()
    stays_out(visit, visit.back("/console/login/oidc/second/callback"), "provider-other")
    assert visit.liar.forms == []


def test_keys_by_way_of_a_redirection_inside(visit: Visit) -> None:
    def elsewhere(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "http://169.254.169.254/latest/meta-data")
        handler.end_headers()

    visit.begin()
    visit.liar.raw["/jwks"] = elsewhere
    page = visit.back()
    stays_out(visit, page, "provider-answer")
    assert "169.254" not in page.text


@pytest.mark.parametrize(
    "inside", ["http://169.254.169.254/jwks", "https://10.0.0.1/jwks", "https://evil.example/jwks"]
)
def test_keys_at_an_address_that_is_not_the_providers(visit: Visit, inside: str) -> None:
    visit.liar.document = {"jwks_uri": inside}
    page = visit.browser.get(ACME)
    stays_out(visit, page, "provider-document")
    assert page.status == 503


def test_a_key_that_changes_and_keeps_its_name(visit: Visit) -> None:
    visit.comes()
    fresh = make_key("ES256")
    visit.liar.keys = {"keys": [visit.liar.jwk(fresh, kid=visit.liar.key.kid)]}
    visit.liar.signing = lambda claims: sign(fresh, "JWT", claims)
    other = Visit(visit.town, visit.liar)
    stays_out(other, other.comes(), "token-key-unknown")


def test_a_provider_of_an_inner_network_is_not_asked(town: Town, visit: Visit) -> None:
    settled(town, "https://10.0.0.1", "inner")
    stays_out(visit, visit.browser.get("/console/login/oidc/inner"), "address-refused")


# --- who that is here ---


@pytest.mark.parametrize("verified", [True, False])
def test_an_address_of_mail_or_a_name_links_nobody(town: Town, liar: Liar, *, verified: bool) -> None:
    claims = {"email": "alice@example.org", "email_verified": verified, "preferred_username": "alice", "name": "alice"}
    for name, changes in {
        "known-mail": {"people": {"alice@example.org": "user:alice"}},
        "known-name": {"people": {"alice": "user:alice"}},
        "nobody": {},
    }.items():
        settled(town, liar.issuer, name, **changes)
        visit = Visit(town, liar)
        visit.begin(f"/console/login/oidc/{name}", sub="somebody-else", **claims)
        page = visit.back(f"/console/login/oidc/{name}/callback")
        stays_out(visit, page, "identity-unknown")
    assert refused(lambda: settled(town, liar.issuer, "mail", claim="email")).code == "provider-claim"


def test_who_is_made_at_the_first_login_takes_over_nobody(town: Town, liar: Liar) -> None:
    settled(town, liar.issuer, "open", provision=True)
    back = "/console/login/oidc/open/callback"
    visit = Visit(town, liar)
    visit.begin("/console/login/oidc/open", sub="new", preferred_username="alice")
    stays_out(visit, visit.back(back), "identity-taken")
    visit.begin("/console/login/oidc/open", sub="new", preferred_username="../admin")
    stays_out(visit, visit.back(back), "identity-unknown")
    visit.begin("/console/login/oidc/open", sub="new", preferred_username="newcomer")
    assert shows(visit.back(back)) == "/console"
    (made,) = [one for one in town.client("admin").access.principals() if one.principal == "user:newcomer"]
    assert made.roles == ()


def test_the_subject_of_another_issuer_is_somebody_else(town: Town, visit: Visit) -> None:
    assert visit.comes().status == 200
    other = Liar()
    try:
        settled(town, other.issuer, "other-issuer")
        stranger_here = Visit(town, other)
        stranger_here.begin("/console/login/oidc/other-issuer")
        stays_out(stranger_here, stranger_here.back("/console/login/oidc/other-issuer/callback"), "identity-unknown")
    finally:
        other.close()


def test_a_provider_of_another_tenant(town: Town, liar: Liar) -> None:
    """The stranger's provider has the same name and issuer, and says that its subject is alice."""
    client = town.client(STRANGER)
    settings = town.client("admin").providers.show("acme").settings
    made = client.providers.add("acme", settings, "a secret of 32 characters or more")
    assert made.redirect_uri.endswith("/console/login/oidc/other:acme/callback")
    visit = Visit(town, liar)
    visit.begin("/console/login/oidc/other:acme")
    theirs = visit.asked
    stays_out(visit, visit.back(), "provider-other")  # their login does not end at ours
    visit.begin("/console/login/oidc/other:acme")
    stays_out(visit, visit.back("/console/login/oidc/other:acme/callback"), "identity-unknown")  # no alice there
    visit.begin()
    visit.asked = visit.asked | {"redirect_uri": theirs["redirect_uri"]}
    stays_out(visit, visit.back("/console/login/oidc/other:acme/callback"), "provider-other")
    assert "Sign in with acme" not in Browser(town.house).get("/console/login?tenant=nobody").text
    assert "other:acme" in Browser(town.house).get("/console/login?tenant=other").text
    assert "other:acme" not in Browser(town.house).get("/console/login").text
    client.providers.remove("acme")


@pytest.mark.parametrize(
    "place", ["nobody", "other:acme", ":acme", "acme:acme", "..", "acme%00", "' OR 1=1 --", "a" * 300]
)
def test_providers_that_are_none(visit: Visit, place: str) -> None:
    page = visit.browser.get(f"/console/login/oidc/{quote(place, safe=':')}")
    assert page.status == 404, page.text
    assert FEDERATED not in visit.browser.jar


# --- second factors and rights ---


@pytest.mark.parametrize(
    ("changes", "strong"), [({}, False), ({"strong_amr": ("otp",)}, True), ({"strong_acr": ("high",)}, True)]
)
def test_a_second_factor_there_counts_only_where_that_is_settled(
    town: Town, liar: Liar, changes: dict[str, object], *, strong: bool
) -> None:
    settled(town, liar.issuer, "strong", people={"strong": "user:alice"}, **changes)
    visit = Visit(town, liar)
    visit.begin("/console/login/oidc/strong", sub="strong", amr=["pwd", "otp", "mfa"], acr="high")
    assert visit.back("/console/login/oidc/strong/callback").status == 200
    me = control_me(visit.browser)
    assert me.strength == ("mfa" if strong else "password")
    assert bool(me.stepped_up_until) == strong


def test_a_second_factor_that_was_given_there_long_ago_is_no_step_up(town: Town, liar: Liar) -> None:
    settled(town, liar.issuer, "strong", people={"strong": "user:alice"}, strong_amr=("otp",))
    now_s = town.house.clock.now() // SECOND
    visit = Visit(town, liar)
    visit.begin("/console/login/oidc/strong", sub="strong", amr=["otp"], auth_time=now_s - 3000)
    assert visit.back("/console/login/oidc/strong/callback").status == 200
    assert control_me(visit.browser).stepped_up_until == ""


def control_me(browser: Browser) -> control.MeView:
    return msgspec.json.decode(browser.api("GET", "/me").text, type=control.MeView)


def test_who_has_a_second_factor_here_gives_it(town: Town, liar: Liar) -> None:
    """Who has the account at the provider alone does not come in."""
    guarded = arrive(town, "guarded")
    guarded.set_up_app()
    settled(town, liar.issuer, "half", people={"half": "user:guarded"})
    visit = Visit(town, liar)
    visit.begin("/console/login/oidc/half?next=/console/security", sub="half")
    page = visit.back("/console/login/oidc/half/callback")
    assert SESSION not in visit.browser.jar
    wrong = visit.browser.fill(page, "/console/login/second", code="000000")
    assert wrong.status == 401
    done = visit.browser.fill(page, "/console/login/second", code=guarded.code())
    assert (done.status, done.to) == (303, "/console/security")
    ordered = logout_token(town, liar, sub="half")
    assert ordered_out(visit.browser, ordered, "half").status == 200
    assert visit.browser.get("/console").to.startswith("/console/login")


def test_who_settles_a_provider_gains_nothing_by_it(town: Town, liar: Liar) -> None:
    mapping = {"all": ("security-officer", "approver")}
    settled(town, liar.issuer, "mine", people={"root": "user:admin"}, groups_claim="groups", groups=mapping)
    visit = Visit(town, liar)
    visit.begin("/console/login/oidc/mine", sub="root", groups=["all"])
    visit.back("/console/login/oidc/mine/callback")
    (admin,) = [one for one in town.client("admin").access.principals() if one.principal == "user:admin"]
    assert admin.roles == ("administrator",)
    assert town.events(EventKind.DIRECTORY_CHANGED)[-1].reason == "rights-kept"


def test_roles_of_groups_of_the_house_do_not_become_ones_own(town: Town, liar: Liar) -> None:
    """What a group of the house gives ends with it, whatever a provider says in between."""
    person = arrive(town, "grouped")
    admin = town.client("admin").directory
    group = admin.create_group(directory.GroupRequest("operators", ("operator",))).group
    admin.add_member(group, "user:grouped")
    settled(
        town, liar.issuer, "grouping", people={"grouped": "user:grouped"}, groups_claim="groups",
        groups={"ml": ("developer",)},
    )  # fmt: skip
    visit = Visit(town, liar)
    visit.begin("/console/login/oidc/grouping", sub="grouped", groups=["ml"])
    visit.back("/console/login/oidc/grouping/callback")
    assert roles(town, "user:grouped") == {"viewer", "developer", "operator"}
    admin.delete_group(group)
    assert roles(town, "user:grouped") == {"viewer", "developer"}
    visit.begin("/console/login/oidc/grouping", sub="grouped", groups=[])
    visit.back("/console/login/oidc/grouping/callback")
    assert roles(town, "user:grouped") == {"viewer"}
    assert person.name == "grouped"


def roles(town: Town, principal: str) -> set[str]:
    return {
        role for one in town.client("admin").access.principals() if one.principal == principal for role in one.roles
    }


def test_groups_of_a_provider_are_groups_of_the_house_where_that_is_settled(town: Town, liar: Liar) -> None:
    arrive(town, "member")
    admin = town.client("admin").directory
    group = admin.create_group(directory.GroupRequest("readers", ("auditor",))).group
    settled(
        town, liar.issuer, "joining", people={"member": "user:member"}, groups_claim="groups",
        memberships={"audit": (group,)},
    )  # fmt: skip
    visit = Visit(town, liar)
    for held, expected in ((["audit"], {"viewer", "auditor"}), ([], {"viewer"})):
        visit.begin("/console/login/oidc/joining", sub="member", groups=held)
        visit.back("/console/login/oidc/joining/callback")
        assert roles(town, "user:member") == expected
    assert refused(
        lambda: settled(town, liar.issuer, "x", groups_claim="g", memberships={"a": ("no-such-group",)})
    ).code == "group-unknown"  # fmt: skip
    admin.delete_group(group)


# --- linking ---


@pytest.fixture
def linking(town: Town) -> Visitor:
    """Somebody who has stepped up, and is linked to nobody."""
    visitor = arrive(town, f"linking-{len(town.events())}")
    visitor.set_up_app()
    visitor.log_in()
    return visitor


def begin_link(visitor: Visitor, liar: Liar) -> dict[str, str]:
    page = visitor.browser.fill(
        visitor.browser.get("/console/security"), "/console/security/identities", provider="acme"
    )
    assert page.status == 200, page.text
    address = page.text.partition('class="button" href="')[2].partition('"')[0].replace("&amp;", "&")
    asked = dict(pair.split("=", 1) for pair in address.partition("?")[2].split("&"))
    liar.claims = good(visitor.town, liar, nonce=asked["nonce"], sub="somebody-new")
    return asked


def test_an_identity_is_linked_by_a_person_who_stepped_up(town: Town, liar: Liar, linking: Visitor) -> None:
    asked = begin_link(linking, liar)
    session = linking.browser.jar.pop(SESSION)  # it does not come along from another site
    page = linking.browser.get(f"{BACK}?code=x&state={asked['state']}")
    assert shows(page) == "/console/security"
    linking.browser.jar[SESSION] = session
    assert "somebody-new" in linking.browser.get("/console/security").text
    visit = Visit(town, liar)
    page = visit.comes(sub="somebody-new")
    assert page.forms["/console/login/second"]  # they have a second factor


def test_without_a_second_factor_nothing_is_linked_or_unlinked(town: Town, visit: Visit) -> None:
    plain = arrive(town, f"plain-{len(town.events())}")
    page = plain.browser.get("/console/security")
    for action, provider in (("identities", "acme"), ("identities/removal", "acme")):
        form = page.forms["/console/security/identities"] | {"provider": provider}
        answer = plain.browser.post(f"/console/security/{action}", form)
        assert answer.to == "/console/step-up?next=/console/security"
    assert FEDERATED not in plain.browser.jar


def test_a_link_is_finished_in_the_browser_that_began_it(town: Town, liar: Liar, linking: Visitor) -> None:
    """Or an attacker's link would take the victim's identity: the victim would only have to follow an address."""
    asked = begin_link(linking, liar)
    victim = Visit(town, liar)
    victim.asked = asked
    stays_out(victim, victim.back(), "browser-other")
    assert "somebody-new" not in linking.browser.get("/console/security").text


def test_a_link_ends_with_the_session_that_began_it(town: Town, liar: Liar, linking: Visitor) -> None:
    asked = begin_link(linking, liar)
    (mine,) = [s for s in town.client("admin").login.sessions(everybody=True) if s.principal == f"user:{linking.name}"][
        -1:
    ]
    for session in town.client("admin").login.sessions(everybody=True):
        if session.principal == mine.principal:
            town.client("admin").login.revoke_session(session.session)
    page = linking.browser.get(f"{BACK}?code=x&state={asked['state']}")
    assert page.status == 401
    assert town.events(EventKind.AUTHENTICATION_FAILED)[-1].reason == "session-over"


def test_somebody_elses_identity_is_not_linked(town: Town, liar: Liar, linking: Visitor, visit: Visit) -> None:
    assert visit.comes().status == 200  # alice's
    asked = begin_link(linking, liar)
    liar.claims |= {"sub": SUBJECT}
    page = linking.browser.get(f"{BACK}?code=x&state={asked['state']}")
    assert page.status == 409
    assert "alice" not in page.text
    assert town.client("admin").providers.identities("acme")[0].principal == "user:alice"


def test_what_is_unlinked_opens_nothing_and_ends_its_sessions(town: Town, liar: Liar, visit: Visit) -> None:
    assert visit.comes().status == 200
    settings = town.client("admin").providers.show("acme").settings
    town.client("admin").providers.change("acme", msgspec.structs.replace(settings, people={}))
    assert visit.browser.get("/console").status == 200
    town.client("admin").providers.unlink("acme", "user:alice")
    assert visit.browser.get("/console").to.startswith("/console/login")
    again = Visit(town, liar)
    stays_out(again, again.comes(), "identity-unknown")


@pytest.mark.parametrize("act", ["disable", "remove"])
def test_a_provider_that_goes_takes_its_sessions_along(town: Town, visit: Visit, act: str) -> None:
    assert visit.comes().status == 200
    getattr(town.client("admin").providers, act)("acme")
    assert visit.browser.get("/console").to.startswith("/console/login")
    assert visit.browser.get(ACME).status == 404


# --- logging out ---


def logout_token(town: Town, liar: Liar, **changes: object) -> str:
    now_s = town.house.clock.now() // SECOND
    whole = {
        "iss": liar.issuer, "aud": "fastness", "iat": now_s, "exp": now_s + 120, "jti": f"jti-{len(town.events())}",
        "events": {EVENT: {}}, "sub": SUBJECT,
    } | changes  # fmt: skip
    return sign(liar.key, "logout+jwt", {name: value for name, value in whole.items() if value is not None})


def ordered_out(browser: Browser, token: str, place: str = "acme", **headers: str) -> Page:
    form = "application/x-www-form-urlencoded"
    body = urlencode({"logout_token": token}).encode()
    return browser.send("POST", f"/console/login/oidc/{place}/logout", body, {"content_type": form} | headers)


def test_a_provider_ends_the_sessions_that_began_by_it(visit: Visit, town: Town, liar: Liar) -> None:
    visit.comes(sid="one")
    other = Visit(town, liar)
    other.comes(sid="two")
    assert ordered_out(Browser(town.house), logout_token(town, liar, sub=None, sid="one")).status == 200
    assert visit.browser.get("/console").to.startswith("/console/login")
    assert other.browser.get("/console").status == 200
    assert ordered_out(Browser(town.house), logout_token(town, liar)).status == 200
    assert other.browser.get("/console").to.startswith("/console/login")


ORDERS: dict[str, dict[str, object]] = {
    "another issuer": {"iss": "https://evil.example"},
    "another audience": {"aud": "other"},
    "expired": {"exp": 1},
    "no end": {"exp": None},
    "old": {"iat": 1},
    "of tomorrow": {"iat": 1 << 33},
    "no event": {"events": None},
    "another event": {"events": {"http://schemas.openid.net/event/other": {}}},
    "an event that is a text": {"events": {EVENT: "yes"}},
    "events that are a list": {"events": [EVENT]},
    "a nonce": {"nonce": "x"},
    "nobody": {"sub": None},
    "nobody, said": {"sub": ""},
    "a subject that is a list": {"sub": [SUBJECT]},
    "no name of its own": {"jti": None},
}


@pytest.mark.parametrize("changes", ORDERS.values(), ids=ORDERS)
def test_an_order_that_is_none_ends_nothing(visit: Visit, town: Town, liar: Liar, changes: dict[str, object]) -> None:
    visit.comes()
    page = ordered_out(Browser(town.house), logout_token(town, liar, **changes))
    assert (page.status, json.loads(page.text)["error"]) == (400, "invalid_request")
    assert visit.browser.get("/console").status == 200


@pytest.mark.parametrize("forge", SIGNED.values(), ids=SIGNED)
def test_an_order_that_the_provider_did_not_sign(
    visit: Visit, town: Town, liar: Liar, forge: Callable[..., str]
) -> None:
    if forge is SIGNED["a logout token's type"]:
        return  # that is what it should be
    visit.comes()
    now_s = town.house.clock.now() // SECOND
    claims = {
        "iss": liar.issuer, "aud": "fastness", "iat": now_s, "exp": now_s + 120, "jti": "forged",
        "events": {EVENT: {}}, "sub": SUBJECT,
    }  # fmt: skip
    assert ordered_out(Browser(town.house), forge(liar, claims)).status == 400
    assert visit.browser.get("/console").status == 200


def test_an_order_is_obeyed_once_and_at_its_own_provider(visit: Visit, town: Town, liar: Liar) -> None:
    settled(town, liar.issuer, "twin", people={})
    visit.comes()
    token = logout_token(town, liar)
    assert ordered_out(Browser(town.house), token, "nobody").status == 400
    assert ordered_out(Browser(town.house), token).status == 200
    visit.comes()
    assert ordered_out(Browser(town.house), token).status == 400
    assert ordered_out(Browser(town.house), token, "twin").status == 400
    assert visit.browser.get("/console").status == 200


def test_an_id_token_orders_nothing_and_an_order_logs_nobody_in(visit: Visit, town: Town, liar: Liar) -> None:
    visit.comes()
    assert ordered_out(Browser(town.house), sign(liar.key, "JWT", liar.claims)).status == 400
    assert visit.browser.get("/console").status == 200
    other = Visit(town, liar)
    other.begin()
    liar.answer = {"id_token": logout_token(town, liar, nonce=other.asked["nonce"])}
    stays_out(other, other.back(), "token-type")


def test_orders_come_from_no_browser(visit: Visit, town: Town, liar: Liar) -> None:
    visit.comes()
    token = logout_token(town, liar)
    page = ordered_out(Browser(town.house), token, origin="https://evil.example", sec_fetch_site="cross-site")
    assert page.status == 403
    assert visit.browser.get("/console").status == 200


def test_the_way_out_leads_to_the_provider_alone(visit: Visit, town: Town, liar: Liar) -> None:
    liar.document = {"end_session_endpoint": f"{liar.issuer}/end"}
    settled(town, liar.issuer, "leaving", people={"leaving": "user:alice"})
    visit.begin("/console/login/oidc/leaving", sub="leaving")
    visit.back("/console/login/oidc/leaving/callback")
    page = visit.browser.fill(visit.browser.get("/console"), "/console/logout")
    assert f'href="{liar.issuer}/end?client_id=fastness' in page.text
    assert "post_logout_redirect_uri=https%3A%2F%2Flocalhost%3A8444%2Fconsole%2Flogin" in page.text
    assert SESSION not in visit.browser.jar
    liar.document = {"end_session_endpoint": "https://evil.example/end"}
    settled(town, liar.issuer, "lying", people={"lying": "user:alice"})
    stays_out(visit, visit.browser.get("/console/login/oidc/lying"), "provider-document")


# --- who can write the database ---


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (FEDERATION_PROVIDER, {"document": '{"name":"acme","issuer":"https://evil.example","client_id":"x"}'}),
        (FEDERATION_PROVIDER, {"seal": None}),
        (FEDERATION_IDENTITY, {"principal": "user:admin"}),
        (FEDERATION_LOGIN, {"return_to": "//evil.example"}),
        (FEDERATION_LOGIN, {"principal": "user:admin", "session": "x"}),
        (FEDERATION_SESSION, {"subject": "somebody"}),
    ],
)
def test_a_row_that_somebody_else_wrote_logs_nobody_in(liar: Liar, table: Any, values: dict[str, object]) -> None:
    with founded() as town:
        arrive(town, "alice")
        settled(town, liar.issuer, people={SUBJECT: "user:alice"})
        visit, other = Visit(town, liar), Visit(town, liar)
        assert other.comes().status == 200
        visit.begin()
        with town.house.records.begin(SYSTEM_SCOPE, town.house.clock.now()) as tx:
            assert tx.execute(update(table).values(**values)).count
            tx.emit(tx.events.make(EventKind.ACCESS_ALLOWED, "test:forged"))
        with town.house.records.read(SYSTEM_SCOPE) as reading:
            found = findings(reading)
        assert f"table:{table.name}" in {finding.where for finding in found}
        page = visit.back()
        if table is not FEDERATION_SESSION:  # gives no way in, only out
            assert page.status >= 500, page.text
            assert SESSION not in visit.browser.jar
        assert town.house.records
        login = Browser(town.house).get("/console/login")
        assert login.status == 200
        assert ("Sign in with acme" in login.text) == (table is not FEDERATION_PROVIDER)


def test_rows_are_written_in_no_other_tenant(town: Town, visit: Visit) -> None:
    """Whoever comes in, what is written of it is the tenant's own."""
    assert visit.comes().status == 200
    scope = Scope(TenantId("other"), SYSTEM)
    with town.house.records.read(scope) as reading:
        assert groups.groups(reading) == []
        rows = [row.tenant for row in reading.execute(FEDERATION_IDENTITY.select())]
    assert set(rows) == {DEFAULT_TENANT}
