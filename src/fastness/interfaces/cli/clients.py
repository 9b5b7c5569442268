"""`fastness access client|device …`: programs that ask for tokens, and devices that ask to be let in."""

from __future__ import annotations

from typing import Annotated

import typer

from fastness.interfaces.cli.context import Format, Options
from fastness.interfaces.cli.output import console, say, show

client = typer.Typer(help="OAuth 2 clients: programs that ask for tokens.", no_args_is_help=True)
device = typer.Typer(help="Devices that ask to be let in.", no_args_is_help=True)

_Client = Annotated[str, typer.Argument(help="Id of the client.")]
_Code = Annotated[str, typer.Argument(help="The code that the device shows.")]


@client.command("create")
def create(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Short name, such as batch.")],
    scopes: Annotated[list[str], typer.Option("--scope", help="An action, or model:NAME; may be repeated.")],
    grants: Annotated[
        list[str],
        typer.Option(
            "--grant",
            help="authorization_code, refresh_token, client_credentials, device_code or token-exchange; may be repeated.",
        ),
    ],
    redirects: Annotated[
        list[str] | None, typer.Option("--redirect", help="An address to redirect to; may be repeated.")
    ] = None,
    principal: Annotated[
        str, typer.Option("--acts-as", help="The service or agent that it is, such as service:batch.")
    ] = "",
    *,
    secret: Annotated[bool, typer.Option("--secret", help="Give it a secret, shown this once.")] = False,
    introspects: Annotated[bool, typer.Option("--introspects", help="Let it look at the tokens of others.")] = False,
) -> None:
    """Make a client.

    Example: fastness access client create batch --scope model.infer --grant client_credentials --acts-as service:batch --secret
    """
    from fastness.wire.oauth import ClientRequest

    options: Options = context.obj
    request = ClientRequest(
        name, " ".join(scopes), tuple(grants), tuple(redirects or ()), principal, secret, introspects
    )  # fmt: skip
    with options.control() as control:
        reply = control.clients.create(request)
    told = f"\n  {reply.secret}\n  [dim]it is not shown again[/dim]" if reply.secret else ""
    say(options, reply, f"[bold green]created[/bold green] client {reply.client}{told}")


@client.command("list")
def list_clients(context: typer.Context) -> None:
    """All clients, without their secrets."""
    options: Options = context.obj
    with options.control() as control:
        found = control.clients.list()
    rows = [(c.client, c.scope, ", ".join(c.grants), c.principal, "yes" if c.active else "ended") for c in found]
    show(options, found, ("client", "scope", "grants", "acts as", "active"), rows)


@client.command("renew")
def renew(context: typer.Context, name: _Client) -> None:
    """Another secret for a client, shown this once; the old one is void at once."""
    options: Options = context.obj
    with options.control() as control:
        reply = control.clients.renew(name)
    say(options, reply, f"[bold green]renewed[/bold green] {name}\n  {reply.secret}")


@client.command("disable")
def disable(context: typer.Context, name: _Client) -> None:
    """End a client: its secret and all its tokens count no more."""
    options: Options = context.obj
    with options.control() as control:
        control.clients.disable(name)
    say(options, {"client": name, "active": False}, f"[bold yellow]ended[/bold yellow] {name}")


@device.command("approve")
def approve(
    context: typer.Context,
    code: _Code,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Without asking again.")] = False,
) -> None:
    """Let in the device that shows this code, in your name. It takes a second factor.

    Example: fastness access device approve BCDF-GHJK --as alice
    """
    options: Options = context.obj
    with options.control() as control:
        asked = control.clients.ask_device(code)
        if options.form is Format.TABLE:
            models = ", ".join(asked.models) or "all models"
            console().print(
                f"{asked.name} asks for: {', '.join(asked.actions)} ({models})", soft_wrap=True, markup=False
            )
            granted = yes or typer.confirm("Let it in?")
        else:
            granted = True
        control.clients.answer_device(code, granted=granted)
    done = "[bold green]let in[/bold green]" if granted else "[bold yellow]sent away[/bold yellow]"
    say(options, {"client": asked.client, "granted": granted}, f"{done} {asked.client}")


@device.command("refuse")
def refuse(context: typer.Context, code: _Code) -> None:
    """Send away the device that shows this code."""
    options: Options = context.obj
    with options.control() as control:
        control.clients.answer_device(code, granted=False)
    say(options, {"granted": False}, "[bold yellow]sent away[/bold yellow]")
