"""The pages as a part of the control plane, and what becomes of refusals on them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from litestar import Request, Response, Router, get
from litestar.params import FromPath
from litestar.response import Redirect

from fastness.core.errors import FastnessError, NotFound
from fastness.interfaces.api.cookies import FORGOTTEN
from fastness.interfaces.api.doors import STEP_UP, Caller
from fastness.interfaces.api.routes import READ, entry
from fastness.interfaces.console.consent import ConsentPages, consent_page, is_consent, onward
from fastness.interfaces.console.entrance import EntrancePages
from fastness.interfaces.console.own import OwnPages
from fastness.interfaces.console.pages import HOME, LOGIN, SECURITY, STEP_UP_PAGE, go, parse_page, read_asset, refused
from fastness.interfaces.console.security import SecurityPages
from fastness.interfaces.console.sign_on import IdentityPages, SignOnPages
from fastness.wire.overview import Proof

_NOBODY = frozenset({"key-missing", "session-refused"})


@get("/static/{name:str}", sync_to_thread=False, opt=entry(Proof.STEP, READ))
def asset(name: FromPath[str]) -> Response[bytes]:
    """Style, script and mark of the pages."""
    found = read_asset(name)
    if found is None:
        raise NotFound("route-unknown", "there is no such file")
    return Response(found[0], media_type=found[1])


@get("/", include_in_schema=False, sync_to_thread=False, opt=entry(Proof.STEP, READ))
def front() -> Redirect:
    """Whoever opens the bare address wants the console."""
    return go(HOME)


def on_refusal(request: Request[Any, Any, Any], error: FastnessError) -> Response[Any]:
    """To the login, to the second factor, or a page that says why not."""
    caller: Caller | None = getattr(request.state, "caller", None)
    asked = parse_page(_page_of(request, caller))
    then = f"?next={quote(asked)}"
    if error.code == "key-missing" and request.headers.get("sec-fetch-site") == "cross-site" and is_consent(asked):
        return onward(asked)  # a link from elsewhere comes without the cookie: our own page asks again, with it
    if error.code in _NOBODY:
        if caller is not None:
            caller.cookies[:] = [FORGOTTEN]
        return go(LOGIN + then)
    if error.code == STEP_UP:
        return go(STEP_UP_PAGE + then)
    return refused(error, caller)


def _page_of(request: Request[Any, Any, Any], caller: Caller | None) -> str:
    """The page that was asked for, or whose form was sent."""
    path = request.url.path
    if is_consent(path):
        return consent_page(path, request.scope["query_string"], caller.form if caller else {})
    if request.method == "GET":
        return path
    return SECURITY if path.startswith(SECURITY) else HOME


CONSOLE = Router(
    HOME,
    route_handlers=[EntrancePages, OwnPages, SecurityPages, SignOnPages, IdentityPages, asset],
    exception_handlers={FastnessError: on_refusal},
    include_in_schema=False,
)
CONSENT = Router(
    "/oauth", route_handlers=[ConsentPages], exception_handlers={FastnessError: on_refusal}, include_in_schema=False
)
