"""Single sign-on in a real browser, by a real provider, with a house that runs as users run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from fastness.core.clock import SystemClock
from fastness.interfaces.cli.demo.authenticator import Authenticator
from tests.attack.test_crash import free_port
from tests.e2e import test_console
from tests.e2e.test_console import PASSWORD, WATCH, Running, Tab, _await_listener
from tests.external.oidc_provider import SECRET, ProviderProcess
from tests.needs import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]
browser = test_console.browser


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="fastness-sign-on-") as folder:
        home, port = Path(folder) / "home", free_port()
        environment = {
            "HOME": folder, "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "LANG": "C.UTF-8",
            "FASTNESS_HOME": str(home), "FASTNESS_SERVER__PORT": "0", "FASTNESS_SERVER__ADMIN_PORT": str(port),
            "FASTNESS_FEDERATION__LOOPBACK": "true",
        }  # fmt: skip
        made = Running(home, f"https://localhost:{port}", environment)
        created = made.fastness("init", "--home", str(home), "--format", "json")
        (home.parent / "created.json").write_text(created)
        command = [sys.executable, "-m", "fastness", "up", "--home", str(home)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as served:
            try:
                _await_listener(port)
                yield made
            finally:
                served.send_signal(signal.SIGTERM)
                served.wait(30)


@pytest.fixture(scope="module")
def provider(running: Running) -> Iterator[ProviderProcess]:
    place = f"{running.origin}/console/login/oidc/acme"
    client = {"redirect_uris": [f"{place}/callback"], "post_logout_redirect_uris": [f"{running.origin}/console/login"]}
    made = ProviderProcess(client=client)
    yield made
    made.stop()


@pytest.fixture
def tab(browser: Browser, running: Running) -> Iterator[Tab]:
    context = browser.new_context()
    made = Tab(context.new_page(), running.origin)
    made.page.set_default_timeout(20_000)
    context.expose_binding("broken", lambda source, what: _ours(made, source, what))
    context.add_init_script(WATCH)
    yield made
    context.close()
    assert made.broken == []


def _ours(tab: Tab, source: dict[str, object], what: str) -> None:
    """The provider's own pages may do as they like."""
    if str(getattr(source["frame"], "url", "")).startswith(tab.origin):
        tab.broken.append(what)


def test_a_person_links_an_identity_comes_in_by_it_and_leaves(
    running: Running, provider: ProviderProcess, tab: Tab, tmp_path: Path
) -> None:
    app = enrolled(running)
    (tmp_path / "secret").write_text(SECRET)
    running.fastness(
        "access", "provider", "add", "acme", "--issuer", provider.issuer, "--client-id", "fastness", "--secret-file",
        str(tmp_path / "secret"), "--code", app.code(SystemClock().now()),
    )  # fmt: skip
    trial = running.fastness("access", "provider", "test", "acme", "--format", "json")
    assert json.loads(trial)["passed"], trial

    tab.open("/console/login")
    tab.page.get_by_role("link", name="Sign in with acme").click()
    tab.page.get_by_role("alert").wait_for()
    assert "nobody comes in" in tab.page.inner_text("[role=alert]")  # known there, and nobody here

    mine = arrives(running, tab)
    tab.press("Link acme")
    tab.page.wait_for_url("**/console/step-up?**")
    tab.fill(code=mine.code(SystemClock().now()))
    tab.press("Continue")
    tab.at("/console/security")
    tab.press("Link acme")
    tab.page.get_by_role("link", name="Go there").click()
    tab.at("/console/security")
    tab.page.get_by_role("cell", name="subject-of-alice", exact=True).wait_for()

    tab.press("Log out")
    tab.at("/console/login")
    tab.page.get_by_role("link", name="Sign in with acme").click()
    tab.page.get_by_role("heading", name="Second factor").wait_for()
    tab.fill(code=mine.code(SystemClock().now()))
    tab.press("Continue")
    tab.at("/console")
    assert "user:alice" in tab.page.inner_text("header")

    tab.press("Log out")
    tab.page.get_by_role("link", name="Log out there too").click()
    tab.page.get_by_role("button", name="Yes, sign me out").click()
    tab.page.wait_for_url(f"{running.origin}/console/login*")
    tab.open("/console")
    tab.at("/console/login?next=/console")


def enrolled(running: Running) -> Authenticator:
    """The administrator's app, confirmed."""
    started = json.loads((running.home.parent / "created.json").read_text())["app"]
    app = Authenticator(started["uri"])
    code = app.code(SystemClock().now())
    confirmed = running.fastness("access", "factor", "confirm", started["factor"], code, "--format", "json")
    app.recovery = list(json.loads(confirmed)["recovery_codes"])
    return app


def arrives(running: Running, tab: Tab) -> Authenticator:
    """Alice redeems a code, and sets up an app."""
    running.fastness("access", "user", "create", "alice", "--role", "viewer")
    code = json.loads(running.fastness("access", "user", "invite", "user:alice", "--format", "json"))["code"]
    tab.open("/console/invitation")
    tab.fill(one_time=code, new=PASSWORD, again=PASSWORD)
    tab.press("Set the password")
    tab.at("/console/security")
    tab.fill(app_label="phone")
    tab.press("Set it up")
    app = Authenticator("otpauth://totp/x?secret=" + tab.page.inner_text("figcaption code"))
    tab.fill(code=app.code(SystemClock().now()))
    tab.press("Confirm")
    app.recovery = tab.page.locator(".codes li").all_inner_texts()
    tab.page.get_by_role("link", name="I have them").click()
    tab.at("/console/security")
    return app
