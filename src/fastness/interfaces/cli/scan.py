"""`fastness scan` and `fastness rules`: look at artifacts without ever running them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastness.core.findings import Decision
from fastness.interfaces.cli.context import Format, Options
from fastness.interfaces.cli.output import SEVERITY_STYLE, console, print_json, show

if TYPE_CHECKING:
    from fastness.models.scan import Report

BAD, UNDECIDED = 1, 3


def add_to(app: typer.Typer) -> None:
    """Add the commands to the line."""
    app.command("scan")(scan)
    app.command("rules")(list_rules)


def scan(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="Files or folders.", exists=True)],
    fail_on: Annotated[str, typer.Option(help="What makes the exit status 1: review or block.")] = "review",
) -> None:
    """Scan model files. Exit status: 0 all pass, 1 something blocked or for review, 3 something undecided, 2 wrong usage.

    Example: fastness scan model.onnx weights/ --format sarif
    """
    from fastness.models.scan import scan_paths, to_json, to_sarif

    options: Options = context.obj
    if fail_on not in ("review", "block"):
        raise typer.BadParameter("is review or block", param_hint="--fail-on")
    reports = list(_watched(options, scan_paths(paths)))
    if options.form is Format.SARIF:
        print_json(to_sarif(reports))
    elif options.form is Format.JSON:
        print_json(to_json(reports))
    else:
        _print_reports(reports)
    sys.exit(_status(reports, Decision.REVIEW if fail_on == "review" else Decision.DENY))


def _watched(options: Options, reports: object) -> list[Report]:
    from rich.progress import track

    quiet = options.form is not Format.TABLE or not sys.stderr.isatty()
    return list(track(reports, "scanning", console=console(stderr=True), transient=True, disable=quiet))  # type: ignore[arg-type]


def _status(reports: list[Report], worst: Decision) -> int:
    from fastness.models.scan import Outcome

    undecided = [r.outcome is Outcome.INCOMPLETE for r in reports]
    bad = any(r.verdict.decision >= worst and not u for r, u in zip(reports, undecided, strict=True))
    return BAD if bad else UNDECIDED if any(undecided) else 0


def _print_reports(reports: list[Report]) -> None:
    from rich.markup import escape

    out = console()
    for report in reports:
        word = report.outcome.value
        style = {"pass": "green", "review": "yellow"}.get(word, "bold red")
        out.print(
            f"[{style}]{word:<10}[/{style}] {escape(report.name)}  [dim]{', '.join(report.formats) or 'unknown format'}[/dim]"
        )
        for row in report.table():
            name = row.severity.name.lower()
            style = SEVERITY_STYLE[name]
            out.print(f"  [{style}]{name:<8}[/{style}] {escape(row.rule)}: {escape(row.message)}", soft_wrap=True)
            out.print(f"           [dim]at[/dim] {escape(row.where)}", soft_wrap=True)
            out.print(f"           [dim]what to do[/dim] {escape(row.fix)}", soft_wrap=True)


def list_rules(context: typer.Context) -> None:
    """All rules: what is looked for, why it matters, how to mend it."""
    from fastness.guard import rules as guard_rules
    from fastness.models.release import views

    options: Options = context.obj
    found = sorted((*views.rules(), *guard_rules()), key=lambda r: r.id)
    rows = [(r.id, r.severity.name.lower(), r.title, r.fix) for r in found]
    show(options, found, ("rule", "severity", "what", "how to mend it"), rows)
