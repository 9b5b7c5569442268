"""`fastness access whoami`, `password` and `session …`: how people come into the console."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from fastness.core.errors import Invalid
from fastness.interfaces.cli.context import Options
from fastness.interfaces.cli.output import say, show

if TYPE_CHECKING:
    from fastness.wire.control import InvitationReply

app = typer.Typer(help="Who is logged in to the console.", no_args_is_help=True)


@app.command("list")
def list_sessions(
    context: typer.Context,
    everybody: Annotated[bool, typer.Option("--everybody", help="Of the whole tenant, instead of your own.")] = False,
) -> None:
    """Open sessions: where from, since when, and until when at the latest.

    Example: fastness access session list --everybody --as auditor
    """
    options: Options = context.obj
    with options.control() as control:
        found = control.login.sessions(everybody=everybody)
    rows = [(s.session, s.principal, s.strength, s.network, s.started_at, s.expires_at) for s in found]
    show(options, found, ("session", "principal", "by", "from", "since", "until"), rows)


@app.command()
def revoke(context: typer.Context, session: Annotated[str, typer.Argument(help="Which, as listed.")]) -> None:
    """End a session: one of yours, or where you may revoke sessions anybody's. Its next request is refused."""
    options: Options = context.obj
    with options.control() as control:
        control.login.revoke_session(session)
    say(options, {"session": session, "revoked": True}, f"[bold yellow]revoked[/bold yellow] {session}")


def whoami(context: typer.Context) -> None:
    """Who you are to the house: roles, credential, and whether a second factor counts right now."""
    options: Options = context.obj
    with options.control() as control:
        me = control.login.me()
    until = f"\n  second factor counts until {me.stepped_up_until}" if me.stepped_up_until else ""
    say(
        options,
        me,
        f"[bold]{me.principal}[/bold] of {me.tenant}: {', '.join(me.roles) or 'no roles'}\n"
        f"  by {me.credential} ({me.strength}){until}",
    )


def password(context: typer.Context) -> None:
    """Set your first password, to log in to the console; it takes a second factor. Standard input, or typed twice.

    Example: fastness access password --as alice
    """
    options: Options = context.obj
    with options.control() as control:
        control.login.set_password(_new_password())
        me = control.login.me()
    say(options, {"principal": me.principal}, f"[bold green]set[/bold green] the password of {me.principal}")


def invite(
    context: typer.Context,
    principal: Annotated[str, typer.Argument(help="A person without password and second factor, such as user:alice.")],
) -> None:
    """A one-time code by which a person sets a password in the console; only its owner should redeem it.

    Example: fastness access user invite user:alice
    """
    options: Options = context.obj
    with options.control() as control:
        reply = control.login.invite(principal)
    _say_code(options, reply, "invited")


def reset(
    context: typer.Context,
    principal: Annotated[str, typer.Argument(help="Who lost their factors, such as user:alice.")],
) -> None:
    """Take away somebody's password and all their second factors, and end their sessions; it takes a second factor.

    Example: fastness access user reset user:alice
    """
    options: Options = context.obj
    with options.control() as control:
        reply = control.login.reset_credentials(principal)
    _say_code(options, reply, "reset")


def _say_code(options: Options, reply: InvitationReply, done: str) -> None:
    say(
        options,
        reply,
        f"[bold green]{done}[/bold green] {reply.principal}\n"
        f"  one-time code, until {reply.expires_at}: [bold]{reply.code}[/bold]\n"
        f"  [dim]its owner types it at[/dim] {reply.url}",
    )


def _new_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    import getpass

    first = getpass.getpass("New password: ")
    if getpass.getpass("Once more: ") != first:
        raise Invalid("password-differs", "the two passwords differ", "Type the same one twice.")
    return first
