"""`fastness login` and `logout`: a person lets this command line act for them, by a browser on whatever machine.

Source: RFC 8628, section 3.5 (how often to ask).
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastness.core.clock import SystemClock
from fastness.core.errors import Conflict, FastnessError, Invalid, NotFound, Unauthenticated, Unavailable
from fastness.interfaces.cli.context import Format, Options, running
from fastness.interfaces.cli.output import console, print_line, say

if TYPE_CHECKING:
    from fastness.client import TokenCalls, Tokens, Waiting

_UNSURE_S = 5.0
_PATIENCE_S = 20.0
_LATE = "nobody let you in in time"
_AGAIN = "Try again: fastness login."


def add_to(app: typer.Typer) -> None:
    """Add the commands to the line."""
    from fastness.interfaces.cli.sessions import whoami

    app.command()(login)
    app.command()(logout)
    app.command()(whoami)


def login(
    context: typer.Context,
    server: Annotated[
        str, typer.Option(help="Address of a house on another machine, such as https://fastness.example:8444.")
    ] = "",
    ca: Annotated[str, typer.Option("--ca", help="The house's tls/ca.pem [the authorities of this machine].")] = "",
    tenant: Annotated[str, typer.Option(help="Your tenant [default].")] = "",
    scopes: Annotated[
        list[str] | None, typer.Option("--scope", help="An action, or model:NAME; may be repeated [all you may].")
    ] = None,
) -> None:
    """Log in: shows a code, which you type into the console on whatever machine; nothing is opened by itself.

    Further commands with the same --as act in your name, until you log out or 30 days are over.

    Example: fastness login --server https://fastness.example:8444 --ca ca.pem --as alice
    """
    from fastness.client import ControlClient, TokenCalls
    from fastness.interfaces.cli.tokens import Login

    options: Options = context.obj
    options.require_no_identity()
    if ca and not server:
        raise Invalid("login-ca", "--ca is for a house on another machine", "Name it with --server, or leave --ca out.")
    if not server and not running(options.house.control_socket):
        raise Unavailable(
            "house-stopped", "nobody could let you in: the house is not running", "Start it with `fastness up`."
        )
    authority = str(Path(ca).expanduser().absolute()) if ca else ""
    kept, clock = options.kept_login, SystemClock()
    before = kept.read()
    with options.carried(server, authority) as transport:
        calls = TokenCalls(transport, tenant)
        waiting = calls.begin(" ".join(scopes or ()))
        _show(options, waiting)
        tokens = wait_for(calls, waiting)
        made = Login("", server, authority, tenant, "", "", 0).renewed(tokens, clock.now())
        me = ControlClient(transport, tokens.access_token).login.me()
        options.credentials.mkdir(mode=0o700, parents=True, exist_ok=True)
        with kept.locked():
            kept.write(
                Login(me.principal, server, authority, tenant, made.access_token, made.refresh_token, made.refresh_at)
            )
        options.elevation.unlink(missing_ok=True)
    if before is not None:
        with contextlib.suppress(FastnessError), options.carried(before.server, before.ca, _PATIENCE_S) as transport:
            TokenCalls(transport, before.tenant).revoke(before.refresh_token)
    done = {"principal": me.principal, "tenant": me.tenant, "scope": tokens.scope, "login": str(kept.path)}
    if options.form is Format.JSON:
        print_line(done)
    else:
        say(options, done, f"[bold green]logged in[/bold green] as {me.principal} of {me.tenant}")


def logout(context: typer.Context) -> None:
    """End the login: the house takes back its tokens, and they are deleted here, also where the house does not answer.

    Example: fastness logout --as alice
    """
    from fastness.client import TokenCalls

    options: Options = context.obj
    kept = options.kept_login
    login = kept.read()
    if login is None:
        raise NotFound("login-missing", f"nobody is logged in as {options.who} here", "Choose another with --as.")
    problem: FastnessError | None = None
    try:
        with options.carried(login.server, login.ca, _PATIENCE_S) as transport, kept.locked():
            login = kept.read() or login  # another process may have renewed it meanwhile
            TokenCalls(transport, login.tenant).revoke(login.refresh_token)
    except FastnessError as error:
        problem = error
    kept.forget()
    options.elevation.unlink(missing_ok=True)
    if problem is not None:
        raise Unavailable(
            "logout-unconfirmed",
            f"the tokens are deleted here, but the house did not take them back: {problem.message}",
            "They are good for up to seven days where somebody copied them: have an administrator reset your credentials.",
        ) from problem
    say(
        options,
        {"principal": login.principal, "revoked": True},
        f"[bold yellow]logged out[/bold yellow] {login.principal}",
    )


def _show(options: Options, waiting: Waiting) -> None:
    """The code and where it is typed; as a picture, too, for a phone."""
    code, address = _plain(waiting.user_code), _plain(waiting.verification_uri)
    whole = _plain(waiting.verification_uri_complete) or address
    if options.form is Format.JSON:
        shown = {
            "user_code": code,
            "verification_uri": address,
            "verification_uri_complete": whole,
            "expires_in": waiting.expires_in,
        }
        print_line(shown)
        sys.stdout.flush()
        return
    import segno

    segno.make(whole, error="m").terminal(out=sys.stdout, compact=True)
    out = console()
    out.print(f"Open {address}", markup=False, soft_wrap=True)
    out.print(f"and type {code}", markup=False, soft_wrap=True)
    out.print(f"Waiting, for {waiting.expires_in / 60:.0f} minutes. Ctrl-C gives up.", style="dim", soft_wrap=True)


def wait_for(calls: TokenCalls, waiting: Waiting, sleep: Callable[[float], None] = time.sleep) -> Tokens:
    """The tokens, once the person has said yes; asks no more often than the house wants to be asked."""
    pause = max(1.0, waiting.interval)
    left = waiting.expires_in
    while left > 0:
        sleep(pause)
        left -= pause
        try:
            found = calls.poll(waiting)
        except Unavailable:
            found = _UNSURE_S  # a break in the line is no answer
        except Unauthenticated as error:
            raise _not_let_in(error) from error
        if not isinstance(found, float):
            return found
        pause += found
    raise Unauthenticated("login-expired-token", _LATE, _AGAIN)


def _not_let_in(error: Unauthenticated) -> Unauthenticated:
    told = {"access_denied": "you were not let in", "expired_token": _LATE}
    return Unauthenticated(f"login-{error.code.replace('_', '-')}", told.get(error.code, error.message), _AGAIN)


def _plain(text: str) -> str:
    """What a house on another machine says, without what would steer the terminal."""
    if not text.isprintable() or len(text) > 512:
        raise Conflict("reply-malformed", "the house gave an address or a code that cannot be shown")
    return text
