"""`fastness access restrict`, `lift`, `restrictions` and `quota …`: what is held back, and how much may be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fastness.interfaces.cli.context import Options
from fastness.interfaces.cli.output import say, show

if TYPE_CHECKING:
    from fastness.wire.rules import QuotaView

quota = typer.Typer(help="How much may be used.", no_args_is_help=True)

Kind = Annotated[str, typer.Argument(help="key, principal, tenant or model.")]
Subject = Annotated[str, typer.Argument(help="Key id, principal or model; '*' is each that has none of its own.")]
Unit = Annotated[str, typer.Argument(help="requests, tokens, compute-ms or bytes.")]
Window = Annotated[str, typer.Argument(help="second, minute, hour, day or month.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to `fastness access`."""
    app.command()(restrict)
    app.command()(lift)
    app.command("restrictions")(list_restrictions)
    app.add_typer(quota, name="quota")


def restrict(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help="principal, key, address, model, action or tenant.")],
    target: Annotated[str, typer.Argument(help="Which, such as user:alice or 203.0.113.0/24.")],
    reason: Annotated[str, typer.Option(help="Why; it is recorded and shown.")],
    measure: Annotated[str, typer.Option(help="block, throttle or step-up.")] = "block",
    minutes: Annotated[float, typer.Option(help="Until it ends by itself.", min=0.001, max=43_200)] = 60.0,
    per_s: Annotated[float | None, typer.Option("--rate", help="Of a throttle: requests a second.")] = None,
    burst: Annotated[float | None, typer.Option(help="Of a throttle: requests at once [1].")] = None,
) -> None:
    """Block, throttle, or ask for a second factor, for a while. Every worker keeps to it when this returns.

    Example: fastness access restrict principal user:caller --measure throttle --rate 1 --minutes 30 --reason "too many"
    """
    from fastness.wire.rules import RestrictionRequest

    options: Options = context.obj
    at_once = 1.0 if per_s is not None and burst is None else burst
    with options.control() as control:
        view = control.restrictions.impose(RestrictionRequest(measure, kind, target, reason, minutes, per_s, at_once))
    text = f"[bold yellow]{view.measure}[/bold yellow] {view.kind} {view.target} until {view.expires_at}"
    say(options, view, f"{text}\n  [dim]end it with[/dim] fastness access lift {view.id} --reason WHY")


def lift(
    context: typer.Context,
    restriction: Annotated[str, typer.Argument(help="Id of the restriction.")],
    reason: Annotated[str, typer.Option(help="Why it ends before its time.")],
) -> None:
    """End a restriction before its time.

    Example: fastness access lift RESTRICTION --reason "it was a test" --as officer
    """
    options: Options = context.obj
    with options.control() as control:
        view = control.restrictions.lift(restriction, reason)
    say(options, view, f"[bold green]lifted[/bold green] {view.measure} of {view.kind} {view.target}")


def list_restrictions(
    context: typer.Context,
    *,
    ended: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
) -> None:
    """What is blocked or throttled, or asks for a second factor, until when and why.

    Example: fastness access restrictions --all --as auditor
    """
    options: Options = context.obj
    with options.control() as control:
        found = control.restrictions.list(ended=ended)
    rows = [
        (
            each.id,
            each.measure if each.per_s is None else f"{each.measure} {each.per_s:g}/s, {each.burst:g} at once",
            f"{each.kind} {each.target}",
            each.reason,
            each.author,
            f"until {each.expires_at}" if each.standing else f"lifted {each.lifted_at}" if each.lifted_at else "ended",
        )
        for each in found
    ]
    show(options, found, ("restriction", "measure", "on", "why", "by", "state"), rows)


@quota.command("set")
def set_quota(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    kind: Kind,
    subject: Subject,
    unit: Unit,
    window: Window,
    amount: Annotated[int, typer.Argument(help="How much.", min=0)],
    shape: Annotated[str, typer.Option(help="fixed, sliding, or even (a rate).")] = "fixed",
    burst: Annotated[int, typer.Option(help="Of an even one: how much at once [the amount].", min=0)] = 0,
    alerts: Annotated[list[int] | None, typer.Option("--alert", help="Tell at this percent; may be repeated.")] = None,
    *,
    tell: Annotated[bool, typer.Option("--tell", help="Only tell at the alerts, and refuse nothing.")] = False,
) -> None:
    """Set how much may be used in a window, in place of what holds there now.

    Example: fastness access quota set model digits requests day 100000 --alert 80
    """
    from fastness.wire.rules import QuotaRequest

    options: Options = context.obj
    request = QuotaRequest(amount, shape, burst, not tell, tuple(sorted(set(alerts or ()))))
    with options.control() as control:
        view = control.quotas.set(kind, subject, unit, window, request)
    say(options, view, f"[bold green]set[/bold green] {_place(view)}: {_amount(view)}")


@quota.command("list")
def list_quotas(context: typer.Context) -> None:
    """All quotas; where none is stored, the rates of the settings hold.

    Example: fastness access quota list --as auditor
    """
    options: Options = context.obj
    with options.control() as control:
        found = control.quotas.list()
    rows = [
        (each.kind, each.subject, _amount(each), ", ".join(f"{alert} %" for alert in each.alerts)) for each in found
    ]
    show(options, found, ("for", "which", "how much", "tells at"), rows)


@quota.command()
def remove(context: typer.Context, kind: Kind, subject: Subject, unit: Unit, window: Window) -> None:
    """Have a quota no more.

    Example: fastness access quota remove model digits requests day
    """
    options: Options = context.obj
    with options.control() as control:
        control.quotas.remove(kind, subject, unit, window)
    shown = {"kind": kind, "subject": subject, "unit": unit, "window": window, "removed": True}
    say(options, shown, f"[bold yellow]removed[/bold yellow] {kind} {subject}: {unit} per {window}")


@quota.command()
def use(context: typer.Context) -> None:
    """What was used of each quota in the present windows.

    Example: fastness access quota use --as auditor
    """
    options: Options = context.obj
    with options.control() as control:
        found = control.quotas.uses()
    rows = [
        (each.quota.kind, each.subject, f"{each.used} of {_amount(each.quota)}", f"{each.percent} %", each.ends_at)
        for each in found
    ]
    show(options, found, ("for", "which", "used", "share", "until"), rows)


def _place(view: QuotaView) -> str:
    return f"{view.kind} {view.subject}"


def _amount(view: QuotaView) -> str:
    even = f", {view.burst or view.amount} at once" if view.shape == "even" else ""
    stops = "" if view.stops else ", only told"
    return f"{view.amount} {view.unit} per {view.window} ({view.shape}{even}{stops})"
