"""`fastness access provider …` and `identity …`: external OpenID providers, and who of their people is who here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from fastness.core.errors import Invalid
from fastness.interfaces.cli.context import Format, Options
from fastness.interfaces.cli.output import console, print_json, say, show

if TYPE_CHECKING:
    from fastness.wire.federation import ProviderSettings, ProviderView

provider = typer.Typer(help="External OpenID providers, by which people log in.", no_args_is_help=True)
identity = typer.Typer(help="Who you are at external providers.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(help="What the provider is called here, such as acme.")]
_Person = Annotated[str, typer.Argument(help="Who is linked, such as user:alice.")]
_LONGEST = 1 << 20


@provider.command("add")
def add(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    name: _Name,
    issuer: Annotated[str, typer.Option(help="Its issuer, letter by letter as it stands in its documents.")] = "",
    client_id: Annotated[str, typer.Option("--client-id", help="Who this house is there.")] = "",
    secret_file: Annotated[
        str, typer.Option("--secret-file", help="File with the secret of that client; - is standard input.")
    ] = "",
    secret_ref: Annotated[
        str, typer.Option("--secret-ref", help="Where it is kept instead: secret://…, as federation.secrets names it.")
    ] = "",
    scopes: Annotated[
        list[str] | None, typer.Option("--scope", help="Asked for besides openid; may be repeated.")
    ] = None,
    hosts: Annotated[
        list[str] | None, typer.Option("--host", help="A further host of its endpoints; may be repeated.")
    ] = None,
    groups: Annotated[
        list[str] | None, typer.Option("--group", help="GROUP=ROLE,ROLE: roles that a group gives; may be repeated.")
    ] = None,
    groups_claim: Annotated[str, typer.Option("--groups-claim", help="The claim with a person's groups.")] = "",
    require: Annotated[
        list[str] | None, typer.Option("--require", help="CLAIM=VALUE that people must have; may be repeated.")
    ] = None,
    people: Annotated[
        list[str] | None, typer.Option("--person", help="SUBJECT=user:NAME, who that is here; may be repeated.")
    ] = None,
    strong: Annotated[
        list[str] | None,
        typer.Option("--strong-amr", help="A value of amr that counts as second factor; may be repeated."),
    ] = None,
    file: Annotated[str, typer.Option("--file", help="All settings as JSON, as `show --format json` gives them.")] = "",
    *,
    provision: Annotated[
        bool, typer.Option("--provision", help="Take in whoever the provider knows, without roles.")
    ] = False,
) -> None:
    """Add a provider, or settle anew what holds with one. It takes a second factor.

    Without --secret-file and --secret-ref the client is public; an existing secret is kept.

    Example: fastness access provider add acme --issuer https://login.example.org --client-id fastness --secret-file secret.txt
    Example: fastness access provider add acme --issuer https://login.example.org --client-id fastness --groups-claim groups --group ml=developer
    Example: fastness access provider add acme --file acme.json
    """
    options: Options = context.obj
    secret = _read(secret_file).strip() if secret_file else ""
    with options.control() as control:
        present = {one.name: one for one in control.providers.list()}.get(name)
        if file:
            settings = _decoded(_read(file))
        else:
            settings = _settled(
                present,
                {"issuer": issuer, "client_id": client_id, "secret_ref": secret_ref, "groups_claim": groups_claim},
                {"scopes": scopes, "hosts": hosts, "strong_amr": strong},
                {"groups": _roles(groups), "required": _pairs(require), "people": _pairs(people)},
            )
            settings = msgspec.structs.replace(settings, provision=provision or settings.provision)
            if not secret and not settings.secret_ref and present is None:
                settings = msgspec.structs.replace(settings, authentication="none")
        call = control.providers.add if present is None else control.providers.change
        view = call(name, settings, secret)
    _tell(options, view, "added" if present is None else "changed")


@provider.command("list")
def list_providers(context: typer.Context) -> None:
    """All providers, those out of use too.

    Example: fastness access provider list --format json
    """
    options: Options = context.obj
    with options.control() as control:
        found = control.providers.list()
    rows = [(one.name, one.settings.issuer, one.settings.client_id, "yes" if one.enabled else "no") for one in found]
    show(options, found, ("provider", "issuer", "client", "in use"), rows)


@provider.command("show")
def show_provider(context: typer.Context, name: _Name) -> None:
    """What is settled with a provider, and which addresses to register there. Its secret is shown to nobody.

    Example: fastness access provider show acme
    """
    options: Options = context.obj
    with options.control() as control:
        view = control.providers.show(name)
    if options.form is Format.JSON:
        print_json(view)
        return
    given = msgspec.to_builtins(view.settings)
    rows = [
        ("in use", "yes" if view.enabled else "no"),
        *((key, _line(value)) for key, value in given.items() if value),
    ]
    show(options, view, ("setting", "value"), [*rows, *_addresses(view)])


@provider.command("disable")
def disable(context: typer.Context, name: _Name) -> None:
    """Let nobody in by a provider any more, and end the sessions that began by it. It takes a second factor.

    Example: fastness access provider disable acme
    """
    options: Options = context.obj
    with options.control() as control:
        control.providers.disable(name)
    say(options, {"provider": name, "enabled": False}, f"[bold yellow]disabled[/bold yellow] {name}")


@provider.command("enable")
def enable(context: typer.Context, name: _Name) -> None:
    """Let people in by a provider again. It takes a second factor.

    Example: fastness access provider enable acme
    """
    options: Options = context.obj
    with options.control() as control:
        control.providers.enable(name)
    say(options, {"provider": name, "enabled": True}, f"[bold green]enabled[/bold green] {name}")


@provider.command("remove")
def remove(context: typer.Context, name: _Name) -> None:
    """Forget a provider and who its people are here, and end their sessions. It takes a second factor.

    Example: fastness access provider remove acme
    """
    options: Options = context.obj
    with options.control() as control:
        control.providers.remove(name)
    say(options, {"provider": name, "removed": True}, f"[bold yellow]removed[/bold yellow] {name}")


@provider.command("test")
def test(context: typer.Context, name: _Name) -> None:
    """Ask a provider for what it publishes, and tell what is not as it is settled. Exit status 1 where something is not.

    Example: fastness access provider test acme
    """
    options: Options = context.obj
    with options.control() as control:
        trial = control.providers.test(name)
    if options.form is Format.JSON:
        print_json(trial)
    else:
        rows = [(one.name, "yes" if one.passed else "NO", one.message, one.hint) for one in trial.checks]
        show(options, trial, ("what", "works", "how it is", "what to do"), rows)
        if trial.passed:
            console().print("Whether the client is registered there as here, only a login shows.", style="dim")
    if not trial.passed:
        raise typer.Exit(1)


@provider.command("people")
def people(context: typer.Context, name: _Name) -> None:
    """Who of a provider's people is who here.

    Example: fastness access provider people acme --as auditor
    """
    options: Options = context.obj
    with options.control() as control:
        found = control.providers.identities(name)
    show(options, found, ("principal", "subject", "since"), [(p.principal, p.subject, p.linked_at) for p in found])


@provider.command("unlink")
def unlink_person(context: typer.Context, name: _Name, principal: _Person) -> None:
    """Forget who somebody is at a provider, and end the sessions that began by it. It takes a second factor.

    Example: fastness access provider unlink acme user:alice
    """
    options: Options = context.obj
    with options.control() as control:
        control.providers.unlink(name, principal)
    done = {"provider": name, "principal": principal, "linked": False}
    say(options, done, f"[bold yellow]unlinked[/bold yellow] {principal} from {name}")


@identity.command("list")
def list_identities(context: typer.Context) -> None:
    """Who you are at external providers; identities are linked in the console, under Security.

    Example: fastness access identity list
    """
    options: Options = context.obj
    with options.control() as control:
        found = control.providers.own()
    rows = [(one.provider, one.issuer, one.subject, one.linked_at) for one in found]
    show(options, found, ("provider", "issuer", "subject", "since"), rows)


@identity.command("unlink")
def unlink(context: typer.Context, name: _Name) -> None:
    """Forget who you are at a provider, and end the sessions that began by it. It takes a second factor.

    Example: fastness access identity unlink acme
    """
    options: Options = context.obj
    with options.control() as control:
        control.providers.unlink_own(name)
    say(options, {"provider": name, "linked": False}, f"[bold yellow]unlinked[/bold yellow] {name}")


def _settled(
    present: ProviderView | None,
    texts: dict[str, str],
    lists: dict[str, list[str] | None],
    tables: dict[str, dict[str, object]],
) -> ProviderSettings:
    """What was settled before, with what was given now in its place. Raises Invalid where the least is missing."""
    from fastness.wire.federation import ProviderSettings

    given: dict[str, object] = {name: text for name, text in texts.items() if text}
    given |= {name: tuple(found) for name, found in lists.items() if found}
    given |= {name: found for name, found in tables.items() if found}
    if present is not None:
        return msgspec.convert(msgspec.to_builtins(present.settings) | given, ProviderSettings)
    if not {"issuer", "client_id"} <= given.keys():
        raise Invalid("provider-incomplete", "a new provider needs --issuer and --client-id, or --file")
    return msgspec.convert(given, ProviderSettings)


def _decoded(text: str) -> ProviderSettings:
    from fastness.wire.federation import ProviderSettings

    try:
        found = msgspec.json.decode(text, type=dict[str, object])
        settings = found.get("settings", found)
        return msgspec.convert(settings, ProviderSettings)
    except msgspec.MsgspecError as error:
        hint = "Begin with what `fastness access provider show NAME --format json` gives."
        raise Invalid("provider-file", f"these are no settings of a provider: {error}", hint) from error


def _read(name: str) -> str:
    try:
        return sys.stdin.read(_LONGEST) if name == "-" else Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("file-unreadable", f"cannot read {name}", "Name a readable text file.") from error


def _pairs(entries: list[str] | None) -> dict[str, object]:
    found: dict[str, object] = {}
    for entry in entries or ():
        name, equal, value = entry.partition("=")
        if not equal or not name or not value or name in found:
            raise Invalid("option-malformed", f"{entry[:80]!r} is not NAME=VALUE, or stands twice")
        found[name] = value
    return found


def _roles(entries: list[str] | None) -> dict[str, object]:
    return {name: tuple(str(roles).split(",")) for name, roles in _pairs(entries).items()}


def _line(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_line(part)}" for key, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _addresses(view: ProviderView) -> list[tuple[str, str]]:
    return [
        ("register as redirect URI", view.redirect_uri),
        ("as URI after logout", view.after_logout_uri),
        ("as back-channel logout URI", view.logout_uri),
    ]


def _tell(options: Options, view: ProviderView, done: str) -> None:
    addresses = "".join(f"\n  {what}: {address}" for what, address in _addresses(view))
    next_one = f"\n  then try it: fastness access provider test {view.name}"
    say(options, view, f"[bold green]{done}[/bold green] {view.name}{addresses}{next_one}")
