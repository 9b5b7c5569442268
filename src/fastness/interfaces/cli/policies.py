"""`fastness access policy …`: rules of one's own; and why somebody may or may not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastness.core.digests import parse_digest
from fastness.core.errors import Invalid
from fastness.interfaces.cli.context import Format, Options
from fastness.interfaces.cli.models import print_findings
from fastness.interfaces.cli.output import console, plain_table, print_json, say, show

if TYPE_CHECKING:
    from fastness.wire.control import FindingView
    from fastness.wire.rules import CaseView, ExplanationView, PolicyTestView, RightsView

app = typer.Typer(help="Rules of your own, beside the shipped ones.", no_args_is_help=True)

Rules = Annotated[Path, typer.Argument(help="A file of Cedar rules, or a folder of *.cedar files.")]
Number = Annotated[int, typer.Argument(help="Number of a set.", min=1)]


@app.command("list")
def list_sets(context: typer.Context) -> None:
    """All sets of rules there ever were, and which is in force.

    Example: fastness access policy list --as auditor
    """
    options: Options = context.obj
    with options.control() as control:
        found = control.policies.list()
    rows = [
        (
            each.number,
            "in force" if each.in_force else "was in force" if each.activated_at else "waits",
            each.reason,
            each.author,
            each.created_at,
            ", ".join(each.files) or "none",
        )
        for each in found
    ]
    show(options, found, ("number", "state", "why", "author", "proposed", "files"), rows)


@app.command("show")
def show_rules(
    context: typer.Context,
    number: Annotated[int, typer.Argument(help="Number of a set; 0 shows all rules in force.", min=0)] = 0,
) -> None:
    """All rules in force on one page, or the texts of a set.

    Example: fastness access policy show
    """
    options: Options = context.obj
    with options.control() as control:
        page = control.policies.page() if not number else None
        whole = control.policies.show(number) if number else None
    if options.form is Format.JSON:
        print_json(page or whole)
    elif page is not None:
        typer.echo(page.text)
    elif whole is not None:
        typer.echo(f"# set {number} by {whole.set.author}: {whole.set.reason}\n# {whole.document.digest}")
        for name, text in whole.document.texts.items():
            typer.echo(f"# file {name}\n{text}")


@app.command("test")
def test_rules(
    context: typer.Context,
    rules: Rules,
    cases: Annotated[Path, typer.Argument(help="A YAML file of cases: what is asked, and what is to be answered.")],
) -> None:
    """Try rules beside the shipped ones, by cases. Nothing is kept. Exit status 1 where one goes otherwise.

    Example: fastness access policy test night.cedar cases.yaml
    """
    options: Options = context.obj
    with options.control() as control:
        view = control.policies.test(_texts(rules), _read(cases))
    if options.form is Format.JSON:
        print_json(view)
    else:
        _print_cases(view)
    if not view.passed:
        raise typer.Exit(1)


@app.command()
def propose(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="Why; it is signed and shown to who approves.")],
    rules: Annotated[
        Path | None, typer.Argument(help="A file of Cedar rules, or a folder of *.cedar files: all that is to hold.")
    ] = None,
    *,
    shipped: Annotated[bool, typer.Option("--shipped", help="No rules of your own: back to the shipped ones.")] = False,
) -> None:
    """Sign rules with your own key and ask two others to approve them. It takes a second factor.

    Example: fastness access policy propose night.cedar --reason "nights are long" --as officer
    """
    from fastness.foundation.crypto import SoftwareSigner, sign_statement
    from fastness.wire.rules import to_signed

    if (rules is None) is not shipped:
        raise Invalid("policies-missing", "name a file or folder of rules, or --shipped, and not both")
    texts = {} if rules is None else _texts(rules)
    options: Options = context.obj
    signer = SoftwareSigner.from_pem(options.identity().private_pem.encode())
    with options.control() as control:
        draft = control.policies.draft(texts, reason)
        document = draft.document
        if document.texts != texts or document.reason != reason:
            raise Invalid("policies-mismatch", "the house asked for a signature over something else than you named")
        subject = {"policies": parse_digest(document.digest)}
        envelope = sign_statement(signer, subject, draft.predicate_type, to_signed(document))
        made = control.policies.propose(envelope.decode())
    if options.form is Format.TABLE:
        print_findings(made.findings)
    number = made.set.number
    say(
        options,
        made,
        f"[bold green]proposed[/bold green] set {number}  [dim]{made.set.digest}[/dim]\n"
        f"  [dim]two others run[/dim] fastness access approvals answer {made.request} --as NAME\n"
        f"  [dim]then[/dim] fastness access policy activate {number} {made.request}",
    )


@app.command()
def activate(
    context: typer.Context,
    number: Number,
    request: Annotated[str, typer.Argument(help="The approval request, which is used up.")],
) -> None:
    """Put an approved set into force; when this returns, every worker decides by it. It takes a second factor.

    Example: fastness access policy activate 3 REQUEST --as officer
    """
    options: Options = context.obj
    with options.control() as control:
        view = control.policies.activate(number, request)
    say(options, view, f"[bold green]in force[/bold green] set {number} since {view.activated_at}")


def explain(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    principal: Annotated[str, typer.Argument(help="Who asks, such as user:alice.")],
    action: Annotated[str, typer.Argument(help="What they ask for, such as model.deploy.")],
    resource: Annotated[str, typer.Argument(help="Of what, such as model:digits/3.")],
    author: Annotated[str, typer.Option(help="Who made it, where the house does not know.")] = "",
    owner: Annotated[str, typer.Option(help="Whose it is, where its name does not say.")] = "",
    *,
    stepped_up: Annotated[
        bool, typer.Option("--stepped-up", help="As if a second factor had just been given.")
    ] = False,
) -> None:
    """Why somebody may or may not: which rule decides, and what would have to change.

    Example: fastness access explain user:alice model.deploy model:digits/3
    """
    options: Options = context.obj
    with options.control() as control:
        view = control.policies.explain(principal, action, resource, author, owner, stepped_up=stepped_up)
    if options.form is Format.JSON:
        print_json(view)
    else:
        _print_explanation(view)


def conflicts(context: typer.Context) -> None:
    """Who holds roles that do not go together, and why not.

    Example: fastness access conflicts --as auditor
    """
    options: Options = context.obj
    with options.control() as control:
        found = control.policies.conflicts()
    _show_findings(options, found, "nobody holds roles that do not go together")


def findings(context: typer.Context) -> None:
    """What stands out: who and what is dormant, unused, too long-lived, ending, or in one hand too many.

    Example: fastness access findings --as auditor
    """
    options: Options = context.obj
    with options.control() as control:
        found = control.policies.findings()
    _show_findings(options, found, "nothing stands out")


def rights(
    context: typer.Context,
    action: Annotated[str, typer.Option(help="Only who may do this, such as model.deploy.")] = "",
) -> None:
    """Who can do what, by the rules in force.

    Example: fastness access rights --action model.deploy --as auditor
    """
    options: Options = context.obj
    with options.control() as control:
        found = [each for each in control.policies.rights() if not action or _may(each, action)]
    rows = [
        (
            each.principal,
            "yes" if each.active else "no",
            action or ", ".join(each.actions),
            "; ".join(f"{model}: {', '.join(more)}" for model, more in each.on_models.items()),
            each.last_seen_at or "never",
        )
        for each in found
    ]
    show(options, found, ("principal", "active", "may", "on single models", "last seen"), rows)


def _may(view: RightsView, action: str) -> bool:
    return action in view.actions or any(action in actions for actions in view.on_models.values())


def _show_findings(options: Options, found: list[FindingView], nothing: str) -> None:
    if options.form is Format.JSON:
        print_json(found)
    elif found:
        print_findings(tuple(found))
    else:
        console().print(f"[bold green]none[/bold green]: {nothing}")


def _texts(path: Path) -> dict[str, str]:
    files = sorted(path.glob("*.cedar")) if path.is_dir() else [path]
    if not files:
        raise Invalid("policies-missing", f"there is no *.cedar file in {path}")
    return {file.name: _read(file) for file in files}


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("file-unreadable", f"cannot read {path}: {error}", "Name a readable text file.") from error


def _print_cases(view: PolicyTestView) -> None:
    from rich.markup import escape

    out = console()
    print_findings(view.findings)
    for case in view.cases:
        mark = "[green]✓[/green]" if not case.wrong else "[red]✗[/red]"
        out.print(f"  {mark} {escape(case.name)}  [dim]{escape(_answer(case))}[/dim]", soft_wrap=True)
        if case.wrong:
            out.print(f"      {escape(case.wrong)}", soft_wrap=True)
    failed = sum(bool(case.wrong) for case in view.cases)
    word = "[bold green]passed[/bold green]" if view.passed else "[bold red]failed[/bold red]"
    out.print(f"{word} {len(view.cases) - failed} of {len(view.cases)} cases went as written")


def _answer(case: CaseView) -> str:
    return f"{'allow' if case.allow else 'deny'} by {', '.join(case.rules) or 'no rule'}"


def _print_explanation(view: ExplanationView) -> None:
    from rich.markup import escape

    out = console()
    word = "[bold green]allow[/bold green]" if view.allow else "[bold red]deny[/bold red]"
    out.print(f"{word} {escape(view.principal)} {escape(view.action)} {escape(view.resource)}", soft_wrap=True)
    by = ", ".join(view.rules) or "no rule"
    out.print(f"  [bold]by[/bold] {escape(by)} [dim]({view.reason})[/dim]: {escape(view.message)}", soft_wrap=True)
    for obligation in view.obligations:
        state = "not fulfilled" if obligation in view.open else "fulfilled"
        out.print(f"  [bold]asks for[/bold] {obligation} [dim]({state})[/dim]")
    facts = ", ".join(f"{name} = {value}" for name, value in view.context.items())
    roles = ", ".join(view.roles) or "none"
    out.print(f"  [bold]told[/bold] {escape(facts)}; roles: {escape(roles)}", soft_wrap=True)
    for stands in view.restrictions:
        out.print(
            f"  [bold red]{stands.measure}[/bold red] until {stands.expires_at}: {escape(stands.reason)} "
            f"[dim]({stands.id})[/dim]",
            soft_wrap=True,
        )
    for few in view.changes:
        changes = " and ".join(f"{change.attribute}: {change.to}" for change in few)
        out.print(f"  [bold]it would be allowed with[/bold] {escape(changes)}", soft_wrap=True)
    table = plain_table("rule", "effect", "holds", "says")
    for said in view.said:
        table.add_row(escape(said.rule), said.effect, "yes" if said.matched else "no", escape(said.error or said.says))
    out.print(table)
