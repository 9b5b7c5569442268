"""`fastness access client|device …`: programs that ask for tokens, and devices that ask to be let in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastness.core.errors import Invalid
from fastness.interfaces.cli.context import Format, Options
from fastness.interfaces.cli.output import console, say, show

if TYPE_CHECKING:
    from fastness.wire.oauth import ClientView, Jwk

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
    jwks: Annotated[
        Path | None, typer.Option("--jwks", help="JWK set of its public keys, by which it proves itself.")
    ] = None,
) -> None:
    """Make a client.

    Example: fastness access client create batch --scope model.infer --grant client_credentials --acts-as service:batch --secret
    """
    from fastness.wire.oauth import ClientRequest

    options: Options = context.obj
    request = ClientRequest(
        name,
        " ".join(scopes),
        tuple(grants),
        tuple(redirects or ()),
        principal,
        secret,
        introspects,
        _public_keys(jwks) if jwks else (),
    )
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
    rows = [
        (c.client, c.scope, ", ".join(c.grants), c.principal, _proof(c), "yes" if c.active else "ended") for c in found
    ]
    show(options, found, ("client", "scope", "grants", "acts as", "proves itself by", "active"), rows)


@client.command("renew")
def renew(context: typer.Context, name: _Client) -> None:
    """Another secret for a client, shown this once; the old one is void at once."""
    options: Options = context.obj
    with options.control() as control:
        reply = control.clients.renew(name)
    say(options, reply, f"[bold green]renewed[/bold green] {name}\n  {reply.secret}")


@client.command("keys")
def put_keys(
    context: typer.Context,
    name: _Client,
    jwks: Annotated[Path, typer.Option("--jwks", help="JWK set of all its public keys from now on.")],
) -> None:
    """Other keys for a client that proves itself by keys; to change them over, first give both, then the new ones alone.

    Example: fastness access client keys CLIENT --jwks keys.json
    """
    from fastness.wire.oauth import ClientKeys

    options: Options = context.obj
    keys = _public_keys(jwks)
    with options.control() as control:
        control.clients.put_keys(name, ClientKeys(keys))
    names = [str(key.get("kid", "")) for key in keys]
    say(options, {"client": name, "keys": names}, f"[bold green]changed[/bold green] the keys of {name}")


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
            text = (
                f"{asked.name} asks for: {', '.join(asked.actions)} ({models})\nfrom {asked.network}, {asked.asked_at}"
            )
            console().print(text, soft_wrap=True, markup=False)
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


def _proof(view: ClientView) -> str:
    return f"keys {', '.join(view.keys)}" if view.keys else "secret" if view.confidential else "nothing (public)"


def _public_keys(file: Path) -> tuple[Jwk, ...]:
    """The keys of a JWK set (RFC 7517, section 5).

    Raises:
        Invalid: it is none, or holds a key that is not public: that would leave this machine.
    """
    import msgspec

    from fastness.wire.oauth import Jwk

    try:
        whole = msgspec.json.decode(file.read_bytes(), type=Jwk)
        found = msgspec.convert(whole.get("keys"), list[Jwk])
    except (OSError, msgspec.MsgspecError) as error:
        hint = 'Name a JSON file {"keys": [...]}, each key with kid and alg.'
        raise Invalid("client-keys", f"{file} holds no JWK set that can be read", hint) from error
    if any({"d", "p", "q", "k"} & key.keys() for key in found):
        raise Invalid("client-keys-private", f"{file} holds private keys", "Give the public halves alone.")
    return tuple(found)
