"""Pages before there is a session: logging in, step by step, and redeeming a one-time code."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from fastness.access.federation import place_of
from fastness.access.login import Answer, Method, flow
from fastness.app import House
from fastness.core.errors import FastnessError, Invalid
from fastness.core.identity import TenantId
from fastness.interfaces.api.arriving import offered
from fastness.interfaces.api.doors import Caller
from fastness.interfaces.api.entering import Entering
from fastness.interfaces.api.routes import READ, entry, in_form
from fastness.interfaces.console.pages import HOME, LOGIN, SECURITY, go, parse_page, render
from fastness.wire.overview import Proof

_APP_CODE = re.compile(r"[0-9]{3} ?[0-9]{3}", re.ASCII)
_BEGIN = entry(Proof.STEP, READ)
_PROVE = in_form(entry())


class EntrancePages(Controller):
    """Where people come in."""

    @get("/login", sync_to_thread=False, opt=_BEGIN)
    def login(self, request: Request[Any, Any, Any], house: NamedDependency[House]) -> Response[str] | Redirect:
        """Name and password, or a passkey; at the address where passkeys work."""
        origin, path = house.desk.settings.origin, parse_page(request.query_params.get("next", HOME))
        if request.scope["scheme"] == "https" and request.headers.get("host", "") != urlsplit(origin).netloc:
            return go(f"{origin}{LOGIN}" + (f"?next={quote(path)}" if path != HOME else ""))
        return login_page(house, path, tenant=request.query_params.get("tenant", "default"))

    @post("/login", status_code=200, sync_to_thread=True, opt=_PROVE)
    def password(
        self, house: NamedDependency[House], entering: NamedDependency[Entering], caller: NamedDependency[Caller]
    ) -> Response[str] | Redirect:
        """The first step."""
        form = caller.form
        path, tenant, name = parse_page(form.get("next", "")), form.get("tenant", "default"), form.get("name", "")
        try:
            step = entering.by_password(tenant, name, form.get("password", ""))
        except FastnessError as error:
            return login_page(house, path, error, name, tenant)
        return go(path) if step.stage is flow.Stage.DONE else second_page(path, step.ticket, step.methods)

    @post("/login/second", status_code=200, sync_to_thread=True, opt=_PROVE)
    def second(
        self, house: NamedDependency[House], entering: NamedDependency[Entering], caller: NamedDependency[Caller]
    ) -> Response[str] | Redirect:
        """The second step."""
        form = caller.form
        path, ticket = parse_page(form.get("next", "")), form.get("ticket", "")
        try:
            entering.by_second(ticket, given_factor(form))
        except FastnessError as error:
            if error.code == "ticket-refused":
                return login_page(house, path, error)
            methods = tuple(method for method in Method if method.value in form.get("methods", "").split())
            return second_page(path, ticket, methods, error)
        return go(path)

    @post("/login/passkey", status_code=200, sync_to_thread=True, opt=_PROVE)
    def passkey(
        self, house: NamedDependency[House], entering: NamedDependency[Entering], caller: NamedDependency[Caller]
    ) -> Response[str] | Redirect:
        """Both factors at once."""
        form = caller.form
        path, tenant = parse_page(form.get("next", "")), form.get("tenant", "default")
        try:
            entering.by_passkey(tenant, read_response(form))
        except FastnessError as error:
            return login_page(house, path, error, tenant=tenant)
        return go(path)

    @get("/invitation", sync_to_thread=False, opt=_BEGIN)
    def invitation(self) -> Response[str]:
        """Where a one-time code is typed."""
        return render("invitation", code="")

    @post("/invitation", status_code=200, sync_to_thread=True, opt=_PROVE)
    def redeem(self, entering: NamedDependency[Entering], caller: NamedDependency[Caller]) -> Response[str] | Redirect:
        """Set a password by a one-time code; next comes a second factor."""
        form = caller.form
        code = form.get("code", "").strip()
        try:
            entering.by_code(code, new_password(form))
        except FastnessError as error:
            return render("invitation", status=error.status, problem=error, code=code)
        return go(SECURITY)


def given_factor(form: dict[str, str]) -> Answer:
    """The second factor in a form. Raises Invalid where it is none."""
    if form.get("response"):
        return Answer(Method.PASSKEY, response=read_response(form))
    code = form.get("code", "").strip()
    return Answer(Method.TOTP if _APP_CODE.fullmatch(code) else Method.RECOVERY, code)


def read_response(form: dict[str, str]) -> dict[str, Any]:
    """What the browser made of a passkey's options. Raises Invalid."""
    try:
        return msgspec.json.decode(form.get("response", ""), type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        hint = "Use a browser that knows passkeys, with scripts allowed for this page."
        raise Invalid("passkey-refused", "no passkey was given", hint) from error


def new_password(form: dict[str, str]) -> str:
    """The new password in a form. Raises Invalid, `password-differs`."""
    if form.get("password", "") != form.get("again", ""):
        raise Invalid("password-differs", "the two passwords differ", "Type the same one twice.")
    return form.get("password", "")


def login_page(
    house: House, path: str, error: FastnessError | None = None, name: str = "", tenant: str = "default"
) -> Response[str]:
    """Where one logs in to a tenant.

    Args:
        path: to go to afterwards.
        error: of what was tried.
    """
    return render(
        "login",
        status=error.status if error else 200,
        problem=error,
        passkeys=True,
        next=path,
        name=name[:80],
        tenant=tenant[:64],
        providers=shown_providers(house, tenant[:64]),
    )


def shown_providers(house: House, tenant: str) -> list[dict[str, str]]:
    """The providers by which people may come in to a tenant."""
    return [{"name": name, "place": place_of(TenantId(tenant), name)} for name in offered(house, tenant)]


def second_page(
    path: str, ticket: str, methods: tuple[Method, ...], error: FastnessError | None = None
) -> Response[str]:
    """Where the second factor is given."""
    status, shown = error.status if error else 200, [method.value for method in methods]
    return render("second", status=status, problem=error, passkeys=True, next=path, ticket=ticket, methods=shown)
