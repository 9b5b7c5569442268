"""Letting programs in by a real browser: a program on this machine with PKCE, and `fastness login` from another folder.

Everything runs as users run it: `fastness up`, Chromium, and a program that knows the address of the house and its
certificate, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.e2e.test_console import PASSWORD, Running, Tab, browser, running, tab
from tests.needs import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]
__all__ = ["browser", "running", "tab"]  # the house and the browser, as they stand there


class Listener(http.server.BaseHTTPRequestHandler):
    """Where the browser is sent back to."""

    def do_GET(self) -> None:
        if self.path.startswith("/callback?"):  # and not for the picture of a page
            self.server.answers.append(self.path)  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"done")

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class Program:
    """A public client on a person's own machine (RFC 8252): it listens on a port that was free."""

    def __init__(self, house: Running, client: str) -> None:
        self.house, self.client = house, client
        self.trust = ssl.create_default_context(cafile=str(house.home / "tls" / "ca.pem"))
        self.server = http.server.HTTPServer(("127.0.0.1", 0), Listener)
        self.server.answers = []  # type: ignore[attr-defined]
        self.redirect = f"http://127.0.0.1:{self.server.server_port}/callback"
        self.verifier = base64.urlsafe_b64encode(os.urandom(48)).decode()
        self.metadata = self.fetch("/.well-known/oauth-authorization-server")
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def fetch(self, path: str, form: dict[str, str] | None = None, **headers: str) -> dict[str, object]:
        address = path if "://" in path else self.house.origin + path
        data = urlencode(form).encode() if form is not None else None
        request = urllib.request.Request(address, data, headers)
        with urllib.request.urlopen(request, context=self.trust, timeout=30) as reply:
            found: dict[str, object] = json.loads(reply.read() or b"{}")
        return found

    def asking(self) -> str:
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code", "client_id": self.client, "redirect_uri": self.redirect, "state": "s-1",
            "scope": "model.read", "code_challenge": challenge, "code_challenge_method": "S256",
        }  # fmt: skip
        return f"{self.metadata['authorization_endpoint']}?{urlencode(asked)}"

    def answer(self) -> dict[str, str]:
        (path,) = self.server.answers  # type: ignore[attr-defined]
        return {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def carol(running: Running) -> str:
    """Her one-time code."""
    home = ("--home", str(running.home), "--format", "json")
    running.fastness("access", "user", "create", "carol", "--role", "viewer", *home)
    invited = running.fastness("access", "user", "invite", "user:carol", *home)
    return str(json.loads(invited)["code"])


@pytest.fixture
def program(running: Running) -> Iterator[Program]:
    made = running.fastness(
        "access", "client", "create", "notebook", "--scope", "model.read", "--grant", "authorization_code",
        "--grant", "refresh_token", "--redirect", "http://127.0.0.1/callback", "--home", str(running.home), "--format", "json",
    )  # fmt: skip
    found = Program(running, json.loads(made)["client"])
    yield found
    found.close()


def come_in(tab: Tab, code: str) -> None:
    """Set a password by the one-time code, or log in by it where it was set already."""
    if code:
        tab.open("/console/invitation")
        tab.fill(one_time=code, new=PASSWORD, again=PASSWORD)
        tab.press("Set the password")
        tab.at("/console/security")
        return
    tab.fill(name="carol", password=PASSWORD)
    tab.press("Log in")


def test_a_program_and_a_terminal_are_let_in(
    running: Running, tab: Tab, carol: str, program: Program, tmp_path: Path
) -> None:
    come_in(tab, carol)
    tab.press("Log out")
    tab.at("/console/login")

    # A page of another site sends the browser here; the login comes first, then the question.
    tab.page.goto(f"http://127.0.0.1:{program.server.server_port}/page")
    program.server.answers.clear()  # type: ignore[attr-defined]
    tab.page.evaluate("address => { location.href = address; }", program.asking())
    tab.page.wait_for_url(f"{running.origin}/console/login?**", timeout=20_000)
    come_in(tab, "")
    tab.page.get_by_role("heading", name="Let notebook act for you?").wait_for()
    tab.at(tab.page.url.removeprefix(running.origin))
    tab.press("Let it in")
    tab.page.wait_for_url("http://127.0.0.1:*/callback?**", timeout=20_000)
    answer = program.answer()
    assert (answer["state"], answer["iss"]) == ("s-1", program.metadata["issuer"])
    form = {
        "grant_type": "authorization_code", "code": answer["code"], "client_id": program.client,
        "redirect_uri": program.redirect, "code_verifier": program.verifier,
    }  # fmt: skip
    tokens = program.fetch("/oauth/token", form)
    assert tokens["scope"] == "model.read"
    me = program.fetch("/api/v1/me", authorization=f"Bearer {tokens['access_token']}")
    assert me["principal"] == "user:carol"

    # With a session, and from another site: no login again, although the cookie stays with our own pages.
    program.server.answers.clear()  # type: ignore[attr-defined]
    tab.page.evaluate("address => { location.href = address; }", program.asking())
    tab.page.get_by_role("heading", name="Let notebook act for you?").wait_for()
    tab.press("Refuse")
    tab.page.wait_for_url("http://127.0.0.1:*/callback?**", timeout=20_000)
    assert program.answer()["error"] == "access_denied"

    # From another machine, which has nothing but the address and the certificate.
    far = tmp_path / "far"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "fastness", "--home", str(far), "--as", "carol", "--format", "json"]
    line = ["login", "--server", running.origin, "--ca", str(running.home / "tls" / "ca.pem")]
    with subprocess.Popen([*command, *line], env=environment, stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout is not None
        shown = json.loads(waiting.stdout.readline())
        tab.page.goto(shown["verification_uri_complete"])
        tab.at(f"/oauth/device?user_code={shown['user_code']}")
        tab.press("Continue")
        tab.page.get_by_role("heading", name="Let this device act for you?").wait_for()
        assert "127.0.0." in tab.page.inner_text("main")
        tab.at("/oauth/device")
        tab.press("Let it in")
        tab.page.get_by_text("Let in.").wait_for()
        out, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert json.loads(out)["principal"] == "user:carol"

    def far_away(*rest: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *rest], env=environment, capture_output=True, text=True, check=False, timeout=120
        )

    assert json.loads(far_away("whoami").stdout)["principal"] == "user:carol"
    assert json.loads(far_away("models", "list").stdout) == []
    assert far_away("logout").returncode == 0
    assert far_away("whoami").returncode != 0
    with pytest.raises(urllib.error.HTTPError):
        program.fetch("/oauth/token", form)  # the code was used
