"""`fastness access review …`: whether what gives rights is still needed."""

from __future__ import annotations

import csv
import sys
from typing import Annotated

import msgspec
import typer

from fastness.interfaces.cli.context import Format, Options
from fastness.interfaces.cli.output import say, show

review = typer.Typer(help="Reviews of everything that gives rights.", no_args_is_help=True)

_Review = Annotated[str, typer.Argument(help="Id of the review.")]


@review.command("start")
def start(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What the review is called.")],
    reviewers: Annotated[list[str], typer.Option("--reviewer", help="A person who decides; may be repeated.")],
    days: Annotated[float, typer.Option(help="Days until what is undecided is revoked.", min=0.05, max=90)] = 14.0,
) -> None:
    """Start a review: roles, groups, roles on models, keys and clients are each kept, revoked or given an end.

    Nobody decides about what is their own, so name two where reviewers hold rights. What is undecided at the end is revoked.

    Example: fastness access review start "fourth quarter" --reviewer user:officer --reviewer user:admin --as officer
    """
    from fastness.wire.directory import ReviewRequest

    options: Options = context.obj
    with options.control() as control:
        view = control.reviews.start(ReviewRequest(name, tuple(reviewers), days))
    say(
        options,
        view,
        f"[bold green]started[/bold green] {view.review}: {view.total} to decide until {view.deadline}\n"
        f"  [dim]reviewers see them by[/dim] fastness access review report {view.review}",
    )


@review.command("list")
def list_reviews(context: typer.Context) -> None:
    """All reviews and how far they are."""
    options: Options = context.obj
    with options.control() as control:
        found = control.reviews.list()
    rows = [(r.review, r.name, f"{r.decided} of {r.total}", r.deadline, r.closed_at or "open") for r in found]
    show(options, found, ("review", "name", "decided", "until", "closed"), rows)


@review.command("decide")
def decide(
    context: typer.Context,
    name: _Review,
    number: Annotated[int, typer.Argument(help="Which item, as in the report.", min=1)],
    decision: Annotated[str, typer.Argument(help="keep, revoke or expire.")],
    reason: Annotated[str, typer.Option(help="Why; it stands in the report.")],
    days: Annotated[float, typer.Option(help="With expire: days until it ends.", min=0, max=366)] = 0.0,
) -> None:
    """Decide about one item; what is revoked is gone at once.

    Example: fastness access review decide REVIEW 3 revoke --reason "left the project" --as officer
    """
    from fastness.wire.directory import DecisionRequest

    options: Options = context.obj
    with options.control() as control:
        item = control.reviews.decide(name, number, DecisionRequest(decision, reason, days))
    say(
        options,
        item,
        f"[bold green]{item.decision}[/bold green] {item.kind} {item.shown} of {item.principal or 'nobody'}",
    )


@review.command("report")
def show_report(
    context: typer.Context,
    name: _Review,
    *,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV, for export.")] = False,
) -> None:
    """All items of a review: what they are, when they were last used, what was decided, by whom and why.

    Example: fastness access review report REVIEW --csv > review.csv
    """
    from fastness.wire.directory import ItemView

    options: Options = context.obj
    with options.control() as control:
        items = control.reviews.items(name)
    if as_csv and options.form is Format.TABLE:
        writer = csv.writer(sys.stdout)
        writer.writerow(field.name for field in msgspec.structs.fields(ItemView))
        writer.writerows([_harmless(str(cell)) for cell in msgspec.structs.astuple(item)] for item in items)
        return
    rows = [
        (i.number, i.kind, i.principal, i.shown, i.last_used_at[:10] or "never", i.decision, i.decided_by, i.reason)
        for i in items
    ]
    show(options, items, ("#", "kind", "whose", "what", "last used", "decision", "by", "why"), rows)


def _harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else cell
