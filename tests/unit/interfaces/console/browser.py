"""A browser as far as the console needs one: cookies as browsers keep them, forms as they stand on the page."""

from __future__ import annotations

import asyncio
import functools
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from fastness.app import House
from fastness.interfaces.api import AsgiApp, create_api

ORIGIN = "https://localhost:8444"
PASSWORD = "mauve-kettle-93-orbit"
OTHER_PASSWORD = "quartz:lantern 7 weevil"


@dataclass(frozen=True)
class Page:
    """One answer."""

    status: int
    headers: dict[str, str]
    cookies: tuple[str, ...]
    text: str

    @property
    def to(self) -> str:
        return self.headers.get("location", "")

    @property
    def forms(self) -> dict[str, dict[str, str]]:
        """The fields of each form, by where it goes; of several to one place the first."""
        reader = _Forms()
        reader.feed(self.text)
        return reader.forms

    @property
    def problem(self) -> str:
        found = re.search(r'role="alert"><strong>(.*?)</strong>', self.text)
        return found[1] if found else ""


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: dict[str, dict[str, str]] = {}
        self._form: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self._form = {}
            self.forms.setdefault(str(given["action"]), self._form)
        elif tag == "input" and given.get("name"):
            self._form.setdefault(str(given["name"]), given.get("value") or "")


_NETWORKS = (f"{high}.{low}" for high in itertools.count() for low in range(250))


@functools.lru_cache(maxsize=2)
def _app(house: House) -> AsgiApp:
    return create_api(house)


@dataclass
class Browser:
    """One browser of one person, in a network of its own.

    Attributes:
        jar: its cookies; one with `Max-Age=0` goes.
    """

    house: House
    agent: str = "Firefox"
    address: str = field(default_factory=lambda: f"10.{next(_NETWORKS)}.7")
    jar: dict[str, str] = field(default_factory=dict)

    @property
    def app(self) -> AsgiApp:
        return _app(self.house)

    def get(self, path: str, **headers: str) -> Page:
        return self.send("GET", path, b"", headers)

    def post(self, path: str, form: Mapping[str, str], **headers: str) -> Page:
        """Send a form as a page of the console does, but for the `headers` given otherwise."""
        sent = {"content_type": "application/x-www-form-urlencoded", "origin": ORIGIN, "sec_fetch_site": "same-origin"}
        return self.send("POST", path, urlencode(form).encode(), sent | headers)

    def api(self, method: str, path: str, body: object = None, **headers: str) -> Page:
        """Call the API as a script of the console does."""
        data = b"" if body is None else msgspec.json.encode(body)
        sent = {"content_type": "application/json", "origin": ORIGIN, "sec_fetch_site": "same-origin"}
        return self.send(method, f"/api/v1{path}", data, sent | headers)

    def fill(self, page: Page, action: str, **fields: str) -> Page:
        """Fill in the form of `page` that goes to `action`, and send it."""
        return self.post(action, page.forms[action] | fields)

    def send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Page:
        url = urlsplit(path)
        sent = {"host": "localhost:8444", "user_agent": self.agent}
        if self.jar:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        lines = [
            (name.replace("_", "-").encode(), value.encode()) for name, value in (sent | dict(headers)).items() if value
        ]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "https",
            "path": url.path, "raw_path": url.path.encode(), "query_string": url.query.encode(), "root_path": "",
            "headers": lines, "client": (self.address, 5000), "server": ("127.0.0.1", 8444), "state": {},
        }  # fmt: skip
        page = asyncio.run(_exchange(self.app, scope, body))
        for cookie in page.cookies:
            name, _, rest = cookie.partition("=")
            if "Max-Age=0" in rest:
                self.jar.pop(name, None)
            else:
                self.jar[name] = rest.partition(";")[0]
        return page


async def _exchange(app: Any, scope: dict[str, Any], body: bytes) -> Page:
    sent: list[dict[str, Any]] = []
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    pairs = [(bytes(name).decode().lower(), bytes(value).decode()) for name, value in sent[0]["headers"]]
    cookies = tuple(value for name, value in pairs if name == "set-cookie")
    text = b"".join(bytes(message.get("body", b"")) for message in sent[1:]).decode()
    return Page(sent[0]["status"], dict(pairs), cookies, text)
