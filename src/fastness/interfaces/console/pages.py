"""How a page is made: templates that escape everything, and what a browser may load for it.

No inline script or style, nothing from elsewhere, no frames. Texts of people come in as values alone, never as markup.

Source: W3C Content Security Policy Level 3.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import MediaType, Response
from litestar.response import Redirect

from fastness.core.errors import FastnessError, Limited
from fastness.interfaces.api.doors import Caller

HOME: Final = "/console"
LOGIN: Final = "/console/login"
SECURITY: Final = "/console/security"
STEP_UP_PAGE: Final = "/console/step-up"

_PAGE = re.compile(
    r"/console(?:/[a-z][a-z-]{0,40}){0,4}|/oauth/device(?:\?user_code=[A-Za-z-]{1,20})?"
    r"|/oauth/authorize\?[A-Za-z0-9._~%+&=-]{1,8000}",
    re.ASCII,
)
_POLICY: Final = (
    "default-src 'none'; script-src {}; style-src 'self'; img-src 'self'; connect-src {}; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_NOTHING: Final[dict[str, Any]] = {
    "me": None,
    "csrf": "",
    "here": "",
    "problem": None,
    "done": "",
    "passkeys": False,
    "next": HOME,
    "ticket": "",
}


def _when(text: str) -> str:
    """A time of RFC 3339 as people read it."""
    return f"{text[:10]} {text[11:16]} UTC"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "!", "?")) else ".")


def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(when=_when, sentence=_sentence)
    return found


_ENVIRONMENT: Final = _environment()


def render(template: str, caller: Caller | None = None, status: int = 200, **values: Any) -> Response[str]:
    """A page.

    Args:
        caller: who is logged in; None or without a session for pages of nobody.
        values: of the template; `passkeys` lets the page run the one script.
    """
    known = dict(_NOTHING)
    if caller is not None and caller.session is not None:
        known |= {"me": caller.principal, "csrf": caller.session.csrf}
    known |= values
    own = "'self'" if known["passkeys"] else "'none'"
    body = _ENVIRONMENT.get_template(f"{template}.html").render(known)
    headers = {"content-security-policy": _POLICY.format(own, own)}
    if isinstance(known["problem"], Limited):
        headers["retry-after"] = str(max(1, round(known["problem"].retry_after_s)))
    return Response(body, status_code=status, media_type=MediaType.HTML, headers=headers)


def refused(error: FastnessError, caller: Caller | None) -> Response[str]:
    """The page of a refusal."""
    heading = "Not allowed" if error.status in {401, 403} else "That did not work"
    return render("refused", caller, error.status, problem=error, heading=heading)


def go(path: str) -> Redirect:
    """To another page of the console, whatever the method was."""
    return Redirect(path, status_code=303)


def parse_page(text: str) -> str:
    """The page of the console that `text` names; the first one for whatever else it is.

    What stands behind `?` at the pages of OAuth is judged there, like that of any other request.
    """
    return text if _PAGE.fullmatch(text) else HOME


def read_asset(name: str) -> tuple[bytes, str] | None:
    """An asset and its content type; None if there is none of that name."""
    return _ASSETS.get(name)


def _read_assets() -> dict[str, tuple[bytes, str]]:
    folder = resources.files("fastness.interfaces.console").joinpath("static")
    return {
        item.name: (item.read_bytes(), _TYPES[Path(item.name).suffix])
        for item in folder.iterdir()
        if Path(item.name).suffix in _TYPES
    }


_ASSETS: Final = _read_assets()
