"""A program that sends people to the consent page, and what it gets back, over HTTP as it happens."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from fastness.access.tokens import rotate_keys
from fastness.core.identity import SYSTEM_SCOPE
from fastness.wire import oauth
from tests.unit.interfaces.api.town import Town
from tests.unit.interfaces.console.browser import Browser, Page

CALLBACK = "http://127.0.0.1:51004/callback"
VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
_ONWARD = re.compile(r'<meta http-equiv="refresh" content="0;url=([^"]*)">')


def sign_tokens(town: Town) -> None:
    """What the upkeep of a running house does."""
    with town.house.records.begin(SYSTEM_SCOPE, town.house.clock.now()) as tx:
        if town.house.signers.changed_at(tx) is None:
            rotate_keys(tx, town.house.signers)


def onward(page: Page) -> str:
    """Where a page sends the browser; empty where it does not."""
    found = _ONWARD.search(page.text)
    return html.unescape(found[1]) if found else ""


def query(address: str) -> dict[str, str]:
    """The parameters of an address."""
    return dict(parse_qsl(urlsplit(address).query, keep_blank_values=True))


def post(town: Town, path: str, form: dict[str, str], **headers: str) -> tuple[int, dict[str, object]]:
    """What an endpoint answers to a form."""
    sent = {"content-type": "application/x-www-form-urlencoded", **headers}
    reply = town.carrier.send("POST", f"/oauth/{path}", sent, urlencode(form).encode())
    data = reply.read()
    return reply.status, msgspec.json.decode(data) if data else {}


@dataclass
class Program:
    """A registered client.

    Attributes:
        form: by which it proves itself at the token endpoint.
    """

    town: Town
    client_id: str
    redirect: str = CALLBACK
    form: dict[str, str] = field(default_factory=dict)

    def ask(self, **changes: str | None) -> str:
        """The address to which it sends browsers."""
        asked: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect,
            "scope": "model.read",
            "state": "xyz",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        asked |= changes
        return "/oauth/authorize?" + urlencode({name: value for name, value in asked.items() if value is not None})

    def sent_back(self, browser: Browser, answer: str = "yes", **changes: str | None) -> str:
        """Where the browser goes after the answer."""
        page = browser.get(self.ask(**changes))
        assert "/oauth/authorize" in page.forms, page.text
        return onward(browser.fill(page, "/oauth/authorize", answer=answer))

    def code(self, browser: Browser, **changes: str | None) -> str:
        return query(self.sent_back(browser, "yes", **changes))["code"]

    def redeem(self, code: str, **changes: str) -> tuple[int, dict[str, object]]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect,
            "code_verifier": VERIFIER,
        }
        return post(self.town, "token", form | {"client_id": self.client_id} | self.form | changes)

    def refresh(self, token: object, **changes: str) -> tuple[int, dict[str, object]]:
        form = {"grant_type": "refresh_token", "refresh_token": str(token), "client_id": self.client_id}
        return post(self.town, "token", form | self.form | changes)

    def tokens(self, browser: Browser, **changes: str | None) -> dict[str, object]:
        """What a person lets it have."""
        status, body = self.redeem(self.code(browser, **changes))
        assert status == 200, body
        return body


def register(
    town: Town, name: str = "notebook", redirect: str = "http://127.0.0.1/callback", **more: object
) -> Program:
    """A public client of the town, on a person's own machine unless said otherwise."""
    wanted = {
        "scope": "model.infer model.read token.delegate",
        "grants": ("authorization_code", "refresh_token"),
        "redirects": (redirect,),
    } | more
    made = town.client("admin").clients.create(oauth.ClientRequest(name, **wanted))  # type: ignore[arg-type]
    asked = CALLBACK if redirect == "http://127.0.0.1/callback" else redirect
    return Program(town, made.client, asked, {"client_secret": made.secret} if made.secret else {})
