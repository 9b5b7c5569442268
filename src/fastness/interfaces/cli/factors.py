"""`fastness access factor …`: one's own second factors."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from fastness.interfaces.cli.context import Format, Options
from fastness.interfaces.cli.output import console, say, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastness.wire.control import AppView, FactorReply

app = typer.Typer(help="Your second factors.", no_args_is_help=True)


@app.command("list")
def list_factors(context: typer.Context) -> None:
    """Your second factors, and how many recovery codes are left."""
    options: Options = context.obj
    with options.control() as control:
        found = control.login.factors()
    rows = [(f.factor, f.method, f.label, f.created_at) for f in found.factors]
    show(options, found, ("factor", "method", "name", "since"), rows)
    if options.form is Format.TABLE:
        console().print(f"[dim]{found.recovery_codes_left} recovery codes left[/dim]")


@app.command()
def add(
    context: typer.Context, label: Annotated[str, typer.Argument(help="What to call it.")] = "authenticator app"
) -> None:
    """Set up another authenticator app; it takes a second factor that you have.

    Example: fastness access factor add "work phone" --as alice
    """
    options: Options = context.obj
    with options.control() as control:
        made = control.login.start_totp(label)
        set_up(options, made, control.login.confirm_totp)


@app.command()
def confirm(
    context: typer.Context,
    factor: Annotated[str, typer.Argument(help="The app that waits for its first code.")],
    code: Annotated[str, typer.Argument(help="The code that it shows.")],
) -> None:
    """Complete an authenticator app by its first code. With your first factor come recovery codes: keep them apart.

    Example: fastness access factor confirm FACTOR 123456 --as alice
    """
    options: Options = context.obj
    with options.control() as control:
        reply = control.login.confirm_totp(factor, code)
    say(options, reply, _confirmed(reply))


@app.command()
def remove(context: typer.Context, factor: Annotated[str, typer.Argument(help="Which, as listed.")]) -> None:
    """Remove one of your second factors; it takes one."""
    options: Options = context.obj
    with options.control() as control:
        control.login.remove_factor(factor)
    say(options, {"factor": factor}, f"[bold yellow]removed[/bold yellow] {factor}")


@app.command("recovery-codes")
def recovery_codes(context: typer.Context) -> None:
    """Ten fresh recovery codes; all older ones are void. It takes a second factor."""
    options: Options = context.obj
    with options.control() as control:
        reply = control.login.new_recovery_codes()
    say(options, reply, _confirmed(reply))


def set_up(options: Options, made: AppView, confirming: Callable[[str, str], FactorReply]) -> None:
    """Show an app to set up, and where somebody sits at the terminal ask for its first code."""
    if options.form is not Format.TABLE or not sys.stdin.isatty():
        command = f"fastness access factor confirm {made.factor} CODE --as {options.who}"
        say(
            options,
            made,
            f"  [bold]authenticator app[/bold] {made.uri}\n  [dim]then, within 15 minutes[/dim] {command}",
        )
        return
    from fastness.interfaces.cli.second import show_app

    show_app(made.uri)
    console().print(f"  [dim]or type[/dim] {made.secret}", soft_wrap=True)
    code = typer.prompt("Code that the app shows")
    say(options, made, _confirmed(confirming(made.factor, code)))


def _confirmed(reply: FactorReply) -> str:
    shown = "".join(f"\n    {code}" for code in reply.recovery_codes)
    codes = f"\n  recovery codes, each good once; keep them apart from the app:{shown}" if shown else ""
    return f"[bold green]counts from now on[/bold green] {reply.factor}{codes}"
