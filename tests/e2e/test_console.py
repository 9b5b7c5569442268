"""The console in a real browser: from the one-time code to a passkey, against a house that runs as users run it.

Chromium has an authenticator of its own for this, with a resident key and a verified user. What the content security
policy would have to stop, and any error of a script, fails the test.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import Browser, Page, sync_playwright

from fastness.core.clock import SystemClock
from fastness.interfaces.cli.demo.authenticator import Authenticator
from tests.attack.test_crash import free_port
from tests.needs import ROOT, need_tool

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]
PASSWORD = "mauve-kettle-93-orbit"
WATCH = """
addEventListener("securitypolicyviolation", (e) => broken(`${e.violatedDirective} ${e.blockedURI}`));
addEventListener("error", (e) => broken(String(e.message)));
"""
UNLABELLED = """
[...document.querySelectorAll("input:not([type=hidden]):not([hidden]), button")]
    .filter((e) => !(e.labels && e.labels.length) && !e.innerText && !e.ariaLabel).map((e) => e.outerHTML)
"""
CONTRAST = """
(() => {
  const part = (c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const ground = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
  return [...document.querySelectorAll("h1, p, label, a, button, summary, span")]
    .filter((e) => e.innerText && e.offsetParent)
    .map((e) => { const a = light(rgb(getComputedStyle(e).color)), b = light(ground(e));
      return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML.slice(0, 80)]; })
    .filter(([ratio]) => ratio < 4.5);
})()
"""
PASSKEYS = {
    "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
    "isUserVerified": True, "automaticPresenceSimulation": True,
}  # fmt: skip


@dataclass
class Running:
    """A house of one's own, that `fastness up` serves."""

    home: Path
    origin: str
    environment: dict[str, str]

    def fastness(self, *line: str) -> str:
        command = [sys.executable, "-m", "fastness", *line]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self.environment, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@dataclass
class Tab:
    """One tab, and what went wrong in it."""

    page: Page
    origin: str
    broken: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        self.page.goto(self.origin + path)

    def at(self, path: str) -> None:
        """Wait until the tab is there, and look whether all can read it."""
        self.page.wait_for_url(self.origin + path, timeout=20_000)
        assert self.page.evaluate(UNLABELLED) == []
        assert self.page.evaluate(CONTRAST) == []

    def fill(self, **fields: str) -> None:
        for name, value in fields.items():
            self.page.fill(f"#{name.replace('_', '-')}", value)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="fastness-browser-") as folder:
        home, port = Path(folder) / "home", free_port()
        environment = {
            "HOME": folder, "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "LANG": "C.UTF-8",
            "FASTNESS_HOME": str(home), "FASTNESS_SERVER__PORT": "0", "FASTNESS_SERVER__ADMIN_PORT": str(port),
        }  # fmt: skip
        made = Running(home, f"https://localhost:{port}", environment)
        made.fastness("init", "--home", str(home))
        command = [sys.executable, "-m", "fastness", "up", "--home", str(home)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as served:
            try:
                _await_listener(port)
                yield made
            finally:
                served.send_signal(signal.SIGTERM)
                served.wait(30)


@pytest.fixture(scope="module")
def browser(running: Running) -> Iterator[Browser]:
    chromium = need_tool("chromium")
    trusted = f"--ignore-certificate-errors-spki-list={_pinned(running)}"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", trusted])
        yield opened
        opened.close()


@pytest.fixture
def tab(browser: Browser, running: Running) -> Iterator[Tab]:
    context = browser.new_context()
    made = Tab(context.new_page(), running.origin)
    made.page.set_default_timeout(20_000)
    context.expose_binding("broken", lambda _, what: made.broken.append(what))
    context.add_init_script(WATCH)
    made.page.on("pageerror", lambda error: made.broken.append(str(error)))
    devtools = context.new_cdp_session(made.page)
    devtools.send("WebAuthn.enable")
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": PASSKEYS})
    yield made
    context.close()
    assert made.broken == []


def test_what_the_policy_stops_is_noticed_here(tab: Tab) -> None:
    """Or the other tests would show nothing."""
    tab.open("/console/login")
    tab.page.evaluate("document.body.setAttribute('style', 'color: red')")
    tab.page.evaluate("fetch('https://evil.example/').catch(() => 0)")
    tab.page.wait_for_timeout(500)
    assert sorted(what.partition(" ")[0] for what in tab.broken) == ["connect-src", "style-src-attr"]
    tab.broken.clear()


def test_a_person_comes_in_and_secures_the_account(running: Running, tab: Tab) -> None:
    running.fastness("access", "user", "create", "alice", "--role", "viewer", "--home", str(running.home))
    invited = running.fastness(
        "access", "user", "invite", "user:alice", "--home", str(running.home), "--format", "json"
    )

    tab.open("/console/invitation")
    tab.fill(one_time=json.loads(invited)["code"], new=PASSWORD, again=PASSWORD)
    tab.press("Set the password")
    tab.at("/console/security")

    tab.fill(app_label="phone")
    tab.press("Set it up")
    assert tab.page.locator(".qr svg path").count() >= 1
    app = Authenticator("otpauth://totp/x?secret=" + tab.page.inner_text("figcaption code"))
    tab.fill(code=app.code(SystemClock().now()))
    tab.press("Confirm")
    assert tab.page.locator(".codes li").count() == 10
    tab.page.get_by_role("link", name="I have them").click()
    tab.at("/console/security")

    tab.fill(passkey_label="laptop")
    tab.press("Add the passkey")
    tab.page.wait_for_url("**/console/step-up?**")  # a further factor takes one that is there
    tab.fill(code=app.code(SystemClock().now()))
    tab.press("Continue")
    tab.at("/console/security")
    tab.fill(passkey_label="laptop")
    tab.press("Add the passkey")
    tab.page.get_by_role("cell", name="laptop", exact=True).wait_for()

    tab.press("Log out")
    tab.at("/console/login")
    tab.press("Log in with a passkey")
    tab.at("/console")
    assert "two factors" in tab.page.inner_text("main")

    tab.open("/console/step-up?next=/console/security")
    tab.press("Use a passkey")
    tab.at("/console/security")
    tab.press("Remove phone")
    tab.page.get_by_role("cell", name="phone", exact=True).wait_for(state="detached")

    tab.press("Log out")
    tab.at("/console/login")
    tab.fill(name="alice", password=PASSWORD)
    tab.press("Log in")
    tab.page.get_by_role("heading", name="Second factor").wait_for()
    tab.press("Use a passkey")
    tab.at("/console")
    who = {cookie["name"]: cookie for cookie in tab.page.context.cookies()}
    assert who["__Host-fastness"]["httpOnly"]
    assert who["__Host-fastness"]["secure"]
    assert tab.page.evaluate("document.cookie") == ""


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 360)])
def test_pages_are_read_in_every_light_and_on_a_phone(tab: Tab, scheme: str, width: int) -> None:
    """Text stands out from its ground (WCAG 2.2, 1.4.3), and nothing makes the page wider than the screen."""
    tab.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    tab.page.set_viewport_size({"width": width, "height": 800})
    for path in ("/console/login", "/console/invitation"):
        tab.open(path)
        assert tab.page.evaluate(UNLABELLED) == []
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.page.evaluate(CONTRAST) == []


def _await_listener(port: int) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("nobody listens on the port of the console")


def _pinned(running: Running) -> str:
    """What names the key of the certificate, which the house's own authority has to have signed for `localhost`."""
    context = ssl.create_default_context(cafile=str(running.home / "tls" / "ca.pem"))
    port = int(running.origin.rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as line,
        context.wrap_socket(line, server_hostname="localhost") as secured,
    ):
        certificate = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(key).digest()).decode()
