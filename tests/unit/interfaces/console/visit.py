"""People who visit the console of a town: invited, with a password, with second factors."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fastness.core.clock import SystemClock
from fastness.interfaces.cli.demo.authenticator import Authenticator
from fastness.wire import control
from tests.unit.interfaces.api.town import Town
from tests.unit.interfaces.console.browser import PASSWORD, Browser, Page


@dataclass
class Visitor:
    """A person with a browser.

    Attributes:
        app: their authenticator app, once they have one.
    """

    town: Town
    name: str
    browser: Browser
    app: Authenticator | None = None

    def code(self) -> str:
        assert self.app is not None
        return self.app.code(SystemClock().now())

    def set_up_app(self, label: str = "phone") -> Page:
        """Set up an authenticator app; the page with the recovery codes, or what came instead."""
        browser = self.browser
        page = browser.fill(browser.get("/console/security"), "/console/security/apps", label=label)
        secret = re.search(r"Or type <code>(\w+)</code>", page.text)
        assert secret, page.text
        self.app = Authenticator(f"otpauth://totp/x?secret={secret[1]}")
        done = browser.fill(page, "/console/security/apps/confirmation", code=self.code())
        self.app.recovery = re.findall(r"<li><code>(.*?)</code></li>", done.text)
        return done

    def log_in(self, browser: Browser | None = None, next_page: str = "/console") -> Page:
        """Log in by password, and by app where there is one."""
        used = browser or self.browser
        page = used.fill(
            used.get(f"/console/login?next={next_page}"), "/console/login", name=self.name, password=PASSWORD
        )
        if self.app is None:
            return page
        return used.fill(page, "/console/login/second", code=self.code())


def invite(town: Town, name: str, *roles: str) -> str:
    """The one-time code of a new person."""
    town.client("admin").access.create_principal(control.PrincipalRequest(name, roles or ("viewer",)))
    return town.client("admin").login.invite(f"user:{name}").code


def arrive(town: Town, name: str, *roles: str) -> Visitor:
    """A new person who has redeemed their code, and is logged in by their password."""
    browser = Browser(town.house)
    code = invite(town, name, *roles)
    page = browser.fill(browser.get("/console/invitation"), "/console/invitation", code=code, password=PASSWORD, again=PASSWORD)  # fmt: skip
    assert (page.status, page.to) == (303, "/console/security"), page.text
    return Visitor(town, name, browser)
