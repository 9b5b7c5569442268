"""Pages of logins by external providers: there, back again, and out.

Browsers hold `form-action` for where a form leads in the end, so one goes to a provider by a link, never by a form. What
comes back from there is another site's doing, and no cookie of a session comes with it: the page that is shown then leads
on by itself, as a page of this house.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from litestar import Controller, MediaType, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, RawBody
from litestar.response import Redirect

from fastness.access.login import flow
from fastness.app import House
from fastness.core.errors import Conflict, NotFound, Unauthenticated, Unavailable
from fastness.interfaces.api.arriving import Arriving
from fastness.interfaces.api.cookies import FEDERATED, read_cookie
from fastness.interfaces.api.doors import Caller
from fastness.interfaces.api.federation import unlink_own
from fastness.interfaces.api.routes import KNOCK, WRITE, entry, in_form, own
from fastness.interfaces.console.consent import onward
from fastness.interfaces.console.entrance import login_page, second_page
from fastness.interfaces.console.pages import HOME, LOGIN, SECURITY, go, parse_page, render
from fastness.interfaces.console.security import Answered, security_page
from fastness.wire.overview import Proof

Asking = Request[Any, Any, Any]
_GOES: Final = entry(Proof.STEP, KNOCK)
_COMES: Final = entry(Proof.BODY, KNOCK)
_LINKS: Final = in_form(own(WRITE, shown_once=True))
_FORM: Final = "application/x-www-form-urlencoded"


class SignOnPages(Controller):
    """The way to a provider and back."""

    path = "/login/oidc/{place:str}"

    @get("/", sync_to_thread=True, opt=_GOES)
    def begin(
        self,
        request: Asking,
        house: NamedDependency[House],
        arriving: NamedDependency[Arriving],
        place: FromPath[str],
    ) -> Response[str] | Redirect:
        """To the provider; only from a page of this house."""
        path = parse_page(request.query_params.get("next", HOME))
        if request.headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
            return go(LOGIN)
        try:
            return Redirect(arriving.begin(place, path), status_code=303)
        except (NotFound, Unavailable) as error:
            return login_page(house, path, error)

    @get("/callback", sync_to_thread=True, opt=_COMES)
    def come_back(
        self,
        request: Asking,
        house: NamedDependency[House],
        arriving: NamedDependency[Arriving],
        place: FromPath[str],
    ) -> Response[str]:
        """Back from the provider: logged in, linked, to the second factor, or refused."""
        text = request.scope["query_string"].decode("ascii", "replace")
        try:
            parameters = parse_qsl(text, keep_blank_values=True, max_num_fields=50)
        except ValueError:
            parameters = []
        try:
            arrived = arriving.come_back(place, read_cookie(request.scope, FEDERATED), parameters)
        except (Unauthenticated, Unavailable, Conflict) as error:
            return login_page(house, HOME, error)
        path, step = parse_page(arrived.return_to), arrived.step
        if step is not None and step.stage is flow.Stage.SECOND:
            return second_page(path, step.ticket, step.methods)
        return onward(path)

    @post("/logout", status_code=200, sync_to_thread=True, opt=_COMES)
    def ordered_out(
        self,
        request: Asking,
        arriving: NamedDependency[Arriving],
        place: FromPath[str],
        body: RawBody,
    ) -> Response[bytes]:
        """A provider says that somebody logged out there. Source: OpenID Connect Back-Channel Logout 1.0, section 2.5."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            fields = parse_qsl(body.decode("ascii"), max_num_fields=20) if kind == _FORM else []
        except (ValueError, UnicodeDecodeError):
            fields = []
        tokens = [value for name, value in fields if name == "logout_token"]
        try:
            arriving.ordered_out(place, tokens[0] if len(tokens) == 1 else "")
        except Unauthenticated:
            told = {"error": "invalid_request", "error_description": "this logout token is not taken"}
            return Response(msgspec.json.encode(told), status_code=400, media_type=MediaType.JSON)
        return Response(b"", status_code=200, media_type=MediaType.TEXT)


class IdentityPages(Controller):
    """Who one is at providers, on the page of security."""

    path = "/security/identities"

    @post("/", status_code=200, sync_to_thread=True, opt=_LINKS)
    def link(
        self,
        house: NamedDependency[House],
        arriving: NamedDependency[Arriving],
        caller: NamedDependency[Caller],
    ) -> Answered:
        """Begin to link an identity to oneself; it takes a second factor."""
        try:
            location = arriving.begin(caller.form.get("provider", ""), SECURITY, link=True)
        except (NotFound, Unavailable) as error:
            return security_page(house, caller, error)
        return render(
            "leaving",
            caller,
            here="security",
            heading="Link an identity",
            text="Log in there as yourself. Whoever has that identity comes in here as you from then on.",
            location=location,
            act="Go there",
            back=SECURITY,
            otherwise="Rather not",
        )

    @post("/removal", status_code=200, sync_to_thread=True, opt=_LINKS)
    def unlink(self, house: NamedDependency[House], caller: NamedDependency[Caller]) -> Answered:
        """Unlink an identity, and end the sessions that began by it; it takes a second factor."""
        try:
            unlink_own(house, caller, caller.form.get("provider", ""))
        except NotFound as error:
            return security_page(house, caller, error)
        return go(SECURITY)
