"""Pages on which a person lets a program act for them: one that sent their browser here, or a device that shows a code.

The browser goes on to a program from a page of its own, not from the form: the policy then need not let forms lead
anywhere but here, and nothing of the form is sent along.

Source: RFC 6749, section 4.1; RFC 8628, sections 3.3 and 5; RFC 9700, sections 2.1, 4.12 and 4.16.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency

from fastness.access.oauth import Asked, Reply, read_request
from fastness.access.oauth import doors as endpoints
from fastness.app import House
from fastness.core.clock import rfc3339
from fastness.core.errors import FastnessError, Invalid, Limited, NotFound
from fastness.core.identity import Action
from fastness.interfaces.api.doors import Caller, Doors
from fastness.interfaces.api.oauth import present
from fastness.interfaces.api.routes import WRITE, in_form, own
from fastness.interfaces.console.pages import HOME, render
from fastness.interfaces.console.words import WORDS

_Request = Request[Any, Any, Any]
AUTHORIZE: Final = "/oauth/authorize"
DEVICE: Final = "/oauth/device"
_GRANTED: Final = "Let in. You can go back to where the code was shown."
_DENIED: Final = "Sent away. Whoever showed you that code has nothing from you."


class ConsentPages(Controller):
    """Where people say yes or no to a program."""

    @get("/authorize", sync_to_thread=True, opt=own())
    def authorize(
        self, request: _Request, house: NamedDependency[House], caller: NamedDependency[Caller]
    ) -> Response[str]:
        """What a program asks for that sent the browser here."""
        asked = read_request("GET", request.scope["query_string"])
        who = present(house, caller)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            found = endpoints.ask(tx, house.oauth, asked, who)
        if isinstance(found, Reply):
            return _sent_back(found, caller)
        return _question(found, caller, "authorize", request=urlencode(asked.parameters))

    @post("/authorize", status_code=200, sync_to_thread=True, opt=in_form(own(WRITE)))
    def answer(self, house: NamedDependency[House], caller: NamedDependency[Caller]) -> Response[str]:
        """Send the browser back to the program, with a code or with a no."""
        asked = read_request("GET", caller.form.get("request", "").encode("utf-8", "replace"))
        granted = _granted(caller.form)
        who = present(house, caller)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            reply = endpoints.answer(tx, house.oauth, asked, who, granted=granted)
        return _sent_back(reply, caller)

    @get("/device", sync_to_thread=True, opt=own())
    def device(
        self, request: _Request, house: NamedDependency[House], caller: NamedDependency[Caller]
    ) -> Response[str]:
        """Where the code is typed that a device shows. One in the address is filled in, and not looked up yet."""
        present(house, caller)
        return _device(caller, request.query_params.get("user_code", ""))

    @post("/device", status_code=200, sync_to_thread=True, opt=in_form(own(WRITE)))
    def decide(
        self, house: NamedDependency[House], doors: NamedDependency[Doors], caller: NamedDependency[Caller]
    ) -> Response[str]:
        """What the device asks for; then let it in, or send it away."""
        form, who = caller.form, present(house, caller)
        code, granted = form.get("code", ""), _granted(form) if "answer" in form else None
        try:
            with doors.noting(caller), house.records.begin(caller.scope, house.clock.now()) as tx:
                if granted is None:
                    return _question(endpoints.ask_device(tx, house.oauth, who, code), caller, "device", code=code)
                endpoints.answer_device(tx, house.oauth, who, code, granted=granted)
        except (NotFound, Limited) as error:
            return _device(caller, code, error)
        return _device(caller, "", done=_GRANTED if granted else _DENIED)


def is_consent(page: str) -> bool:
    """Whether an address is one of these pages."""
    return page.partition("?")[0] in {AUTHORIZE, DEVICE}


def consent_page(path: str, query: bytes, form: Mapping[str, str]) -> str:
    """The page that was asked for, or whose form was sent, with what it was asked, spelt as `parse_page` takes it."""
    try:
        asked = read_request("GET", query or form.get("request", "").encode("utf-8", "replace")).parameters
    except Invalid:
        return HOME
    if path == DEVICE:
        code = asked.get("user_code") or form.get("code", "")
        return f"{DEVICE}?{urlencode({'user_code': code})}" if code else DEVICE
    return f"{AUTHORIZE}?{urlencode(asked)}"


def onward(to: str, caller: Caller | None = None) -> Response[str]:
    """A page from which the browser goes on, as if a link of this house had been followed."""
    return render("onward", caller, to=to, host=urlsplit(to).netloc)


def _question(found: Asked, caller: Caller, page: str, *, request: str = "", code: str = "") -> Response[str]:
    """The page that asks."""
    words = [] if len(found.actions) == len(Action) else [WORDS[action] for action in found.actions]
    asked_at = rfc3339(found.asked_at) if found.asked_at is not None else ""
    host = _host(found.redirect)
    return render(page, caller, asked=found, host=host, words=words, asked_at=asked_at, request=request, code=code)


def _device(caller: Caller, code: str, error: FastnessError | None = None, done: str = "") -> Response[str]:
    """The page that takes a code."""
    status = error.status if error else 200
    return render("device", caller, status, problem=error, done=done, code=code[:20], asked=None)


def _sent_back(reply: Reply, caller: Caller) -> Response[str]:
    """On to the program; or a page that says what is wrong, where it is not known who that is."""
    if reply.location:
        return onward(reply.location, caller)
    told = "the program that sent you here, or the address that it wants you sent back to, is not known here"
    hint = f"You are not sent on. Whoever looks after the program has to register it: {reply.body.get('error')}."
    problem = Invalid("consent-request", told, hint)
    return render("refused", caller, reply.status, problem=problem, heading="That did not work")


def _granted(form: Mapping[str, str]) -> bool:
    """Yes or no. Raises Invalid, `consent-answer`, where it is neither: what is not clear is no consent."""
    if form.get("answer") not in {"yes", "no"}:
        raise Invalid("consent-answer", "the form says neither yes nor no", "Load the page again.")
    return form["answer"] == "yes"


def _host(redirect: str) -> str:
    """Where the browser goes afterwards, in words; empty for a device."""
    parts = urlsplit(redirect)
    return "a program on this machine" if parts.scheme == "http" else parts.netloc
