"""The provider of `oidc/provider.mjs` as a process, and a browser that walks through it."""

from __future__ import annotations

import http.client
import json
import queue
import re
import socket
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from joserfc.jwk import ECKey, RSAKey

from tests.needs import need_file, need_tool

FOLDER = Path(__file__).parent / "oidc"
CLIENT = "fastness"
SECRET = "a secret of 32 characters or more"
REDIRECT = "https://fastness.example/console/login/oidc"
PEOPLE: dict[str, dict[str, Any]] = {
    "subject-of-alice": {
        "preferred_username": "alice",
        "email": "alice@example.org",
        "email_verified": True,
        "groups": ["staff", "ml-developers"],
        "acr": "urn:strong",
        "amr": ["pwd", "otp"],
    },
    "subject-of-mallory": {
        "preferred_username": "root",
        "email": "alice@example.org",
        "email_verified": False,
        "groups": ["staff"],
        "amr": ["pwd"],
    },
}


def rsa_key(kid: str = "rsa-1") -> dict[str, Any]:
    return {**RSAKey.generate_key(2048).as_dict(private=True), "kid": kid, "alg": "RS256", "use": "sig"}


def ec_key(kid: str = "ec-1") -> dict[str, Any]:
    return {**ECKey.generate_key("P-256").as_dict(private=True), "kid": kid, "alg": "ES256", "use": "sig"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass
class ProviderProcess:
    """One run of it; `restart` keeps the address."""

    keys: list[dict[str, Any]] = field(default_factory=lambda: [ec_key(), rsa_key()])
    algorithm: str = "ES256"
    names: tuple[str, ...] = ("acme",)
    port: int = field(default_factory=free_port)
    client: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._start()

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def restart(self, **changes: Any) -> None:
        self.stop()
        for name, value in changes.items():
            setattr(self, name, value)
        self._start()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._reader.join(10)
        if self._process.stdout:
            self._process.stdout.close()

    def _start(self) -> None:
        node = need_tool("node")
        need_file(FOLDER / "node_modules" / "oidc-provider", "its modules are not installed (.ci/system-packages)")
        client = {
            "client_id": CLIENT,
            "client_secret": SECRET,
            "redirect_uris": [f"{REDIRECT}/{name}/callback" for name in self.names],
            "grant_types": ["authorization_code"],
            "response_types": ["code"],
            "id_token_signed_response_alg": self.algorithm,
            "require_auth_time": True,
        }
        settings = {
            "port": self.port,
            "keys": self.keys,
            "people": PEOPLE,
            "login": "subject-of-alice",
            "clients": [client | self.client],
        }
        self._process = subprocess.Popen(
            [node, "provider.mjs", json.dumps(settings)],
            cwd=FOLDER,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(lines,), daemon=True)
        self._reader.start()
        said: list[str] = []
        while "listening" not in said:
            said.append(lines.get(timeout=60).strip())
            assert said[-1] or self._process.poll() is None, said

    def _read(self, lines: queue.Queue[str]) -> None:
        for line in self._process.stdout or ():
            lines.put(line)
        lines.put("")


@dataclass
class Browser:
    """Follows redirections within the provider, with cookies, until it is sent elsewhere."""

    cookies: dict[str, str] = field(default_factory=dict)

    def walk(self, address: str, hint: str = "") -> dict[str, str]:
        """The parameters that it brings back to the house."""
        if hint:
            address += f"&login_hint={hint}"
        for _ in range(10):
            if address.startswith(REDIRECT):
                return dict(parse_qsl(urlsplit(address).query))
            address = self._step(address)
        raise AssertionError("the provider sends the browser round and round")

    def _step(self, address: str) -> str:
        parts = urlsplit(address)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection.request("GET", f"{parts.path}?{parts.query}", headers={"Cookie": cookie} if cookie else {})
        answer = connection.getresponse()
        body = answer.read().decode()
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie" and (match := re.match(r"([^=]+)=([^;]*)", value)):
                self.cookies[match[1]] = match[2]
        connection.close()
        location = answer.getheader("Location")
        assert location, body[:2000]
        return location if "://" in location else f"{parts.scheme}://{parts.netloc}{location}"
