"""`fastness access approvals …`: what takes the word of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fastness.core.digests import parse_digest
from fastness.core.errors import Invalid
from fastness.interfaces.cli.context import Format, Options
from fastness.interfaces.cli.models import print_findings
from fastness.interfaces.cli.output import console, print_json, say, show
from fastness.wire import rules

if TYPE_CHECKING:
    from fastness.client import ControlClient
    from fastness.wire.rules import ApprovalRequestWhole

app = typer.Typer(help="What takes the word of several.", no_args_is_help=True)
POLICY_CHANGE = "policy.change"
OPERATION = "operation:"

Request = Annotated[str, typer.Argument(help="Id of the request.")]


@app.command("list")
def list_requests(
    context: typer.Context,
    status: Annotated[str, typer.Option(help="open, approved, rejected, expired or withdrawn [all].")] = "",
    *,
    mine: Annotated[bool, typer.Option("--waiting", help="Only those that wait for you.")] = False,
) -> None:
    """Approval requests: all, those of a status, or those that wait for you.

    Example: fastness access approvals list --waiting --as alice
    """
    options: Options = context.obj
    with options.control() as control:
        found = control.approvals.waiting() if mine else control.approvals.list(status)
    rows = [
        (
            each.asked.id,
            each.asked.purpose,
            "used" if each.used else each.state,
            each.asked.author,
            each.asked.details.get("reason", ""),
            each.deadline,
        )
        for each in found
    ]
    show(options, found, ("request", "for", "state", "asked by", "why", "until"), rows)


@app.command("show")
def show_request(context: typer.Context, request: Request) -> None:
    """A request, what it is about, and who has said what.

    Example: fastness access approvals show REQUEST --as alice
    """
    options: Options = context.obj
    with options.control() as control:
        whole = control.approvals.show(request)
    if options.form is Format.JSON:
        print_json(whole)
    else:
        _print_request(whole)


@app.command()
def answer(
    context: typer.Context,
    request: Request,
    *,
    reject: Annotated[bool, typer.Option("--reject", help="Say no instead; that cannot be outvoted.")] = False,
) -> None:
    """Say yes to a request, signed with your own key. Who asks does not answer. A no still counts when others have said yes.

    Look first at what it is about: `approvals show` names it, `policy show NUMBER` has the texts of a set.

    Example: fastness access approvals answer REQUEST --as alice
    """
    from fastness.foundation.crypto import SoftwareSigner, sign_statement

    options: Options = context.obj
    signer = SoftwareSigner.from_pem(options.identity().private_pem.encode())
    with options.control() as control:
        whole = control.approvals.show(request)
        _require_true(control, request, whole)
        signing = whole.signing
        predicate = {**signing.predicate, "decision": "reject" if reject else "approve"}
        subject = {signing.subject: parse_digest(signing.digest)}
        envelope = sign_statement(signer, subject, signing.predicate_type, predicate)
        after = control.approvals.answer(request, envelope.decode())
    word = "[bold yellow]rejected[/bold yellow]" if reject else "[bold green]signed[/bold green]"
    say(options, after, f"{word} {after.request.asked.purpose}: the request is {after.request.state}")


@app.command()
def withdraw(context: typer.Context, request: Request) -> None:
    """Take back your own request, also one that is approved and not used.

    Example: fastness access approvals withdraw REQUEST --as officer
    """
    options: Options = context.obj
    with options.control() as control:
        control.approvals.withdraw(request)
    say(options, {"request": request, "state": "withdrawn"}, f"[bold yellow]withdrawn[/bold yellow] {request}")


def _require_true(control: ControlClient, request: str, whole: ApprovalRequestWhole) -> None:
    """Return if what is to be signed is what is shown.

    Raises:
        Invalid: it is something else.
    """
    asked, signing = whole.request.asked, whole.signing
    true = (
        asked.id == request
        and signing.digest == asked.digest
        and signing.predicate.get("request") == asked.id
        and signing.predicate.get("purpose") == f"request:{asked.purpose}"
    )
    if true and asked.purpose == POLICY_CHANGE:
        number = asked.details.get("number")
        true = isinstance(number, int) and control.policies.show(number).document.digest == asked.subject
    if true and asked.purpose.startswith(OPERATION):
        said = asked.details
        shown = rules.Operation(*(str(said.get(name, "")) for name in ("method", "path", "query", "body")))
        true = shown.digest == asked.subject
    if not true:
        raise Invalid("approval-mismatch", "the house asked for a signature over something else than it shows")


def _print_request(whole: ApprovalRequestWhole) -> None:
    from rich.markup import escape

    out, asked = console(), whole.request.asked
    state = "used" if whole.request.used else whole.request.state
    out.print(f"[bold]{escape(asked.purpose)}[/bold] asked by {escape(asked.author)}: {state}", soft_wrap=True)
    for name, value in asked.details.items():
        out.print(f"  {escape(name)}: {escape(str(value))}", soft_wrap=True)
    out.print(f"  about {asked.subject}", soft_wrap=True)
    roles = ", ".join(sorted(asked.terms.roles))
    out.print(f"  takes {asked.terms.needed} of {roles}, until {whole.request.deadline}", soft_wrap=True)
    if asked.purpose == POLICY_CHANGE:
        out.print(f"  [dim]read it[/dim] fastness access policy show {asked.details.get('number', '')}")
    print_findings(whole.findings)
