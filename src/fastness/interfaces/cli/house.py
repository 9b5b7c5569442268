"""`fastness init`, `up`, `doctor` and `demo`: the house as a whole."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from fastness.core.errors import Conflict
from fastness.interfaces.cli import factors
from fastness.interfaces.cli.context import Format, Identity, Options, running
from fastness.interfaces.cli.output import console, plain_table, print_json, say, show

UNHEALTHY = 1


def add_to(app: typer.Typer) -> None:
    """Add the commands to the line."""
    app.command()(init)
    app.command()(up)
    app.command()(doctor)
    app.command()(demo)
    app.command()(status)


def init(
    context: typer.Context,
    *,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Seal the keys with a passphrase instead of a key file.")
    ] = False,
) -> None:
    """Make a home: keys, records, log, certificate authority, and the first administrator.

    Example: fastness init --home ./house
    """
    from fastness.app import Home, create_home
    from fastness.foundation.crypto import SoftwareSigner
    from fastness.wire.control import AppView

    options: Options = context.obj
    home = Home(options.home)
    secret = _new_passphrase(options) if passphrase else None
    signer = SoftwareSigner.create(os.urandom)
    created = create_home(home, secret, options.who, signer.public_pem)
    path = options.keep(Identity(created.principal, created.api_key, signer.private_pem().decode()))
    app = AppView(created.app.factor, created.app.uri, created.app.secret)
    shown = {
        "home": str(home.root), "principal": created.principal, "credentials": str(path), "ca": str(home.ca), "app": app,
    }  # fmt: skip
    say(
        options,
        shown,
        f"[bold green]made[/bold green] {home.root}\n"
        f"  administrator {created.principal}, credentials in {path}\n"
        f"  keys sealed by {'your passphrase' if passphrase else str(home.unlock)}\n"
        "  [dim]next[/dim] fastness up",
    )
    if options.form is Format.TABLE:
        with options.control() as control:
            factors.set_up(options, app, control.login.confirm_totp)


def _new_passphrase(options: Options) -> str:
    if options.passphrase_file is not None:
        return options.read_passphrase(options.passphrase_file)
    return str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=True))


def up(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on [as the settings say].")] = "",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 as the settings say.", min=0, max=65535)] = 0,
    admin_port: Annotated[
        int, typer.Option(help="Port of the control plane and the console; 0 as the settings say.", min=0, max=65535)
    ] = 0,
    gateways: Annotated[
        int, typer.Option("--workers", help="Gateway workers; 0 as the settings say.", min=0, max=64)
    ] = 0,
) -> None:
    """Serve: control plane on a Unix socket, gateway over TLS 1.3, each model in a sandbox of its own. Ctrl-C stops it."""
    from fastness.app import listen, load_settings, python_argv, supervise

    options: Options = context.obj
    home = options.house
    typed = {
        "server.host": host,
        "server.port": str(port or ""),
        "server.admin_port": str(admin_port or ""),
        "server.gateways": str(gateways or ""),
    }
    flags = {name: value for name, value in typed.items() if value}
    settings = load_settings(home, flags)
    common = ["--home", str(home.root), *(f"--set={k}={v}" for k, v in flags.items())]
    secret = options.passphrase(home)
    secrets = (_sealed(secret),) if secret is not None else ()
    out = console(stderr=True)
    listener = listen(settings.server.host, settings.server.port)
    admin = listen(settings.server.admin_host, settings.server.admin_port)
    server = dataclasses.replace(settings.server, port=listener.getsockname()[1], admin_port=admin.getsockname()[1])
    url = server.local_url
    out.print(f"[bold]fastness[/bold] {url}  [dim]home {home.root}, certificate {home.ca}[/dim]", soft_wrap=True)
    origin = settings.login.at(server.console_origin).origin
    out.print(f"[dim]control plane[/dim] {server.admin_url}  [dim]console[/dim] {origin}/console", soft_wrap=True)
    opening = [f"--passphrase-fd={descriptor}" for descriptor in secrets]
    control = python_argv(
        "fastness.interfaces.api.process", *common, "--url", url, f"--admin-fd={admin.fileno()}", *opening
    )
    gateway = python_argv("fastness.app.gateway", *common, "--fd", "{fd}", "--worker", "{worker}")

    def log(line: str) -> None:
        out.print(line, soft_wrap=True)

    sys.exit(supervise(listener, control, gateway, settings.server.gateways, log, (*secrets, admin.fileno())))


def _sealed(secret: str) -> int:
    """A passphrase in memory that only an inheriting process can read, again after each of its starts."""
    descriptor = os.memfd_create("passphrase", os.MFD_CLOEXEC)
    os.write(descriptor, secret.encode())
    return descriptor


def doctor(
    context: typer.Context,
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
    accept_rows: Annotated[
        bool, typer.Option("--accept-rows", help="You have looked: the rows of access stand as they should.")
    ] = False,
) -> None:
    """Show which layers of the sandbox hold, by attempting the forbidden act in each; check records, blobs and log.

    Exit status 1 if a required layer is missing or something is damaged.
    """
    from fastness.app import Home, Settings, examine, load_settings, open_house

    options: Options = context.obj
    home = Home(options.home)
    settings = load_settings(home, {}) if home.exists() else Settings()
    if home.exists() and not running(home.control_socket):
        with home.locked(), open_house(home, settings, options.passphrase(home), mend=repair) as house:
            checks = examine(settings.sandbox, house, repair=repair, accept_rows=accept_rows)
    elif repair or accept_rows:
        raise Conflict(
            "home-unlocked", "there is no stopped house to repair", "Name it with --home, and stop `fastness up`."
        )
    else:
        checks = examine(settings.sandbox, None, repair=False)
    if options.form is Format.JSON:
        print_json(checks)
    else:
        from rich.markup import escape

        table = plain_table("check", "state", "what was seen", "what to do")
        style = {"ok": "green", "repaired": "yellow", "weak": "yellow", "failed": "bold red"}
        for check in checks:
            table.add_row(check.name, f"[{style[check.state]}]{check.state}[/]", escape(check.seen), escape(check.hint))
        console().print(table)
    if any(check.state == "failed" for check in checks):
        raise typer.Exit(UNHEALTHY)


def demo(
    context: typer.Context,
    home: Annotated[str, typer.Option("--in", help="Folder for the demo's home [a new temporary one].")] = "",
    *,
    keep: Annotated[bool, typer.Option("--keep/--no-keep", help="Leave the home to look at afterwards.")] = True,
) -> None:
    """Tell the whole story on a real model: train, push, refuse, approve, serve, attack. Exit status 1 if anything differs."""
    from fastness.interfaces.cli.demo import tell

    options: Options = context.obj
    sys.exit(tell(Path(home).absolute() if home else None, keep=keep, as_json=options.form is Format.JSON))


def status(context: typer.Context) -> None:
    """What is served, by which worker, and how long the log is."""
    options: Options = context.obj
    with options.control() as control:
        view = control.audit.system()
    out = f"[bold]fastness {view.version}[/bold] {view.url or 'not serving'}  [dim]{view.ledger_size} entries in the log[/dim]"
    say(options, view, out)
    if options.form is Format.TABLE:
        rows = [(m.key, m.state, m.pid or "", m.revision, m.detail) for m in view.models]
        show(options, view.models, ("model", "state", "worker", "revision", ""), rows)
