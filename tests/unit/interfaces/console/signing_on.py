"""A town into which people come by an OpenID provider, and how a browser walks there and back."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import msgspec

from fastness.access.federation import FederationSettings
from fastness.app import Home, create_home, open_house
from fastness.core.clock import system_entropy
from fastness.foundation.crypto import SoftwareSigner
from fastness.interfaces.api import create_api
from fastness.interfaces.cli.inprocess import InProcessTransport
from fastness.wire import federation
from tests.unit.interfaces.api import town as towns
from tests.unit.interfaces.api.town import Second, Town
from tests.unit.interfaces.console.browser import Browser, Page

SECRET = "a secret of 32 characters or more"
ACME = "/console/login/oidc/acme"
BACK = f"{ACME}/callback"


@contextlib.contextmanager
def founded(**settings: object) -> Iterator[Town]:
    """A town that may ask providers on this machine."""
    with tempfile.TemporaryDirectory(prefix="fastness-sso-") as folder:
        home, signer = Home(Path(folder) / "home"), SoftwareSigner.create(system_entropy)
        created = create_home(home, None, "admin", signer.public_pem)
        read = replace(towns.settings(home), federation=FederationSettings(loopback=True, timeout_s=20.0, **settings))  # type: ignore[arg-type]
        with home.locked(), open_house(home, read, None) as house, InProcessTransport(create_api(house)) as carrier:
            made = Town(house, carrier, {"admin": created.api_key}, {"admin": signer})
            made.seconds["admin"] = Second(made, "admin", created.app.uri)
            made.seconds["admin"].confirm(created.app.factor)
            yield made


def settled(town: Town, issuer: str, name: str = "acme", **changes: object) -> federation.ProviderView:
    """A provider that the administrator settled."""
    settings = msgspec.structs.replace(federation.ProviderSettings(issuer=issuer, client_id="fastness"), **changes)
    return town.client("admin").providers.add(name, settings, SECRET)


def sent(browser: Browser, path: str = ACME) -> tuple[str, dict[str, str]]:
    """Where the browser is sent, and what it takes along."""
    page = browser.get(path)
    assert page.status == 303, page.text
    return page.to, dict(parse_qsl(urlsplit(page.to).query))


def shows(page: Page) -> str:
    """Where a page leads on to by itself."""
    found = page.text.partition('http-equiv="refresh" content="0;url=')[2]
    return found.partition('"')[0]
