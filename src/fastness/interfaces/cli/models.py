"""`fastness push` and `fastness models …`: from artifact to production."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastness.core.digests import parse_digest
from fastness.core.errors import Invalid
from fastness.interfaces.cli.context import Format, Options
from fastness.interfaces.cli.output import SEVERITY_STYLE, console, plain_table, print_json, say, show

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from fastness.client import ControlClient
    from fastness.wire.control import AdmissionReply, FindingView, StepView, VersionView

app = typer.Typer(
    help="Versions of models: list, show, verify, approve, deploy, roll back, quarantine.", no_args_is_help=True
)

REFUSED = 1
_STARTING = "model-starting"
_PATIENCE_S = 30.0
_LOOK_S = 0.1
Model = Annotated[str, typer.Argument(help="Name of the model.")]
Version = Annotated[int, typer.Argument(help="Number of the version.", min=1)]
Environment = Annotated[str, typer.Option("--environment", "-e", help="Which environment.")]
Reason = Annotated[str, typer.Option(help="Why; it stands in the record.")]


def push(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The artifact, such as model.onnx.", exists=True, dir_okay=False)],
    model: Model,
    ranges: Annotated[
        list[str] | None, typer.Option("--range", help="INPUT=LOW:HIGH, inclusive; may be repeated.")
    ] = None,
    probabilities: Annotated[str, typer.Option(help="Output that holds class probabilities.")] = "",
    min_confidence: Annotated[float, typer.Option(help="Refuse replies less confident than this.", min=0, max=1)] = 0.0,
) -> None:
    """Take an artifact in: hash and encrypt, scan, assess in the sandbox, attest, register.

    Example: fastness push model.onnx digits --range X=0:16 --probabilities probabilities
    """
    options: Options = context.obj
    declared = _declared(ranges or [], probabilities, min_confidence)
    with options.control() as control, _progress(options, file.stat().st_size) as (advance, step):
        reply = control.models.push(model, file.name, _pieces(file, advance), declared, step)
    _print_admission(options, reply)
    if reply.decision != "allow":
        raise typer.Exit(REFUSED)


def _declared(ranges: list[str], probabilities: str, min_confidence: float) -> dict[str, str]:
    declared: dict[str, str] = {}
    for text in ranges:
        name, separator, bounds = text.rpartition("=")
        if not separator or bounds.count(":") != 1:
            raise Invalid("range-malformed", f"{text!r} is not a range", "Write INPUT=LOW:HIGH, such as X=0:16.")
        declared[f"range.{name}"] = bounds
    if probabilities:
        declared["probabilities"] = probabilities
    if min_confidence:
        declared["min_confidence"] = str(min_confidence)
    return declared


def _pieces(file: Path, advance: Callable[[int], None]) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while piece := stream.read(1 << 20):
            yield piece
            advance(len(piece))


class _Shown:
    """A progress bar for the upload and one line a step; nothing for programs."""

    def __init__(self, options: Options, size: int) -> None:
        self._quiet = options.form is Format.JSON
        self._size = size
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> tuple[Callable[[int], None], Callable[[StepView], None]]:
        if not self._quiet:
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

            out = console(stderr=True)
            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
            self._progress = Progress(*columns, console=out, transient=True)
            self._task = self._progress.add_task("sending", total=self._size or None)
            self._progress.start()
        return self._advance, self._step

    def _advance(self, count: int) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, count)

    def _step(self, view: StepView) -> None:
        if self._progress is None or self._task is None:
            return
        if view.state == "begun":
            self._progress.update(self._task, description=view.step)
        else:
            mark = "[green]✓[/green]" if view.state == "done" else "[red]✗[/red]"
            self._progress.console.print(
                f"  {mark} {view.step:<12} [dim]{view.elapsed_ms:7.1f} ms[/dim]  {view.detail}"
            )

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()


_progress = _Shown


def _print_admission(options: Options, reply: AdmissionReply) -> None:
    if options.form is Format.JSON:
        print_json(reply)
        return
    out = console()
    print_findings(reply.findings)
    if reply.decision == "allow":
        out.print(
            f"[bold green]registered[/bold green] {reply.model} version {reply.version}  [dim]{reply.digest}[/dim]"
        )
        out.print(
            f"  [dim]next[/dim] two approvals by others: fastness models approve {reply.model} {reply.version} --as NAME"
        )
    else:
        out.print(f"[bold red]refused[/bold red] {reply.model}: nothing was stored or registered")


def print_findings(findings: tuple[FindingView, ...]) -> None:
    """Findings for people, the worst first."""
    from rich.markup import escape

    out = console()
    order = list(SEVERITY_STYLE)
    for finding in sorted(findings, key=lambda f: order.index(f.severity)):
        style = SEVERITY_STYLE[finding.severity]
        out.print(
            f"[{style}]{finding.severity:<8}[/{style}] {escape(finding.rule)}  {escape(finding.message)}",
            soft_wrap=True,
        )
        out.print(f"         [dim]at[/dim] {escape(finding.where)}", soft_wrap=True)
        if finding.fix:
            out.print(f"         [dim]what to do[/dim] {escape(finding.fix)}", soft_wrap=True)


@app.command("list")
def list_models(context: typer.Context) -> None:
    """All models, and which version each environment serves."""
    options: Options = context.obj
    with options.control() as control:
        models = control.models.list()
    rows = [
        (m.model, m.versions, m.latest_state, ", ".join(f"{alias} → {n}" for alias, n in m.aliases.items()))
        for m in models
    ]
    show(options, models, ("model", "versions", "newest is", "serves"), rows)


@app.command("show")
def show_model(
    context: typer.Context, model: Model, version: Annotated[int, typer.Argument(help="A version; 0 lists all.")] = 0
) -> None:
    """Everything that speaks for or against a version; without a number, all versions of a model."""
    options: Options = context.obj
    with options.control() as control:
        if version == 0:
            versions = control.models.versions(model)
            rows = [(v.version, v.state, v.format, v.author, v.created_at, ", ".join(v.aliases)) for v in versions]
            show(options, versions, ("version", "state", "format", "author", "created", "serves"), rows)
            return
        view = control.models.version(model, version)
    if options.form is Format.JSON:
        print_json(view)
    else:
        print_version(view)


def print_version(view: VersionView) -> None:
    """A version for people."""
    from rich.markup import escape

    out = console()

    def line(text: str) -> None:
        out.print(text, soft_wrap=True)

    line(f"[bold]{escape(view.model)}[/bold] version {view.version}: {view.state}  [dim]{view.digest}[/dim]")
    line(escape(f"  {view.format}, {view.size} bytes, by {view.author} at {view.created_at}"))
    line(f"  serves {', '.join(view.aliases) or 'nowhere'}")
    for environment, scores in view.scores.items():
        line(f"  scores in {environment}: " + ", ".join(f"{area} {score:.2f}" for area, score in scores.items()))
    print_findings(view.findings)
    table = plain_table("measure", "area", "state", "value", "what was seen", "allowance")
    for m in view.measures:
        value = "" if m.value is None else f"{m.value:.4g} {m.unit}".strip()
        table.add_row(*map(escape, (m.name, m.area, m.state, value, m.detail, m.allowance)))
    out.print(table)
    for approval in view.approvals:
        mark = "" if approval.valid else " [red](does not count)[/red]"
        text = f"  {approval.decision} by {approval.principal} for {approval.environment} at {approval.at}"
        line(escape(text) + mark)
    for one in view.attestations:
        line(f"  [dim]signed {one.at}[/dim] {escape(one.predicate_type)} [dim]key {one.key_id[:16]}[/dim]")


@app.command()
def history(context: typer.Context, model: Model) -> None:
    """How the aliases of a model moved: who, when, to which version, why."""
    options: Options = context.obj
    with options.control() as control:
        moves = control.models.history(model)
    rows = [(m.at, m.alias, m.version, m.principal, m.reason, m.revision) for m in moves]
    show(options, moves, ("at", "alias", "version", "by", "why", "revision"), rows)


@app.command()
def verify(context: typer.Context, model: Model, version: Version, environment: Environment = "development") -> None:
    """Verify a version again: signatures, approvals, policy, and every stored byte."""
    options: Options = context.obj
    with options.control() as control:
        view = control.models.verify(model, version, environment)
    say(
        options,
        view,
        f"[bold green]verified[/bold green] {model} version {version}: signed, approved for {environment}, unchanged",
    )


@app.command()
def approve(
    context: typer.Context,
    model: Model,
    version: Version,
    environment: Environment = "development",
    *,
    reject: Annotated[bool, typer.Option("--reject", help="Refuse the version instead.")] = False,
) -> None:
    """Approve a version for an environment, signed with your own key. Authors cannot approve their own.

    Example: fastness models approve digits 1 --as alice
    """
    from fastness.foundation.crypto import SoftwareSigner, sign_statement

    options: Options = context.obj
    signer = SoftwareSigner.from_pem(options.identity().private_pem.encode())
    with options.control() as control:
        view = control.models.version(model, version)
        subject = control.models.approval_subject(model, version, environment)
        if subject.digest != view.digest or subject.predicate.get("environment") != environment:
            raise Invalid("approval-mismatch", "the house asked for a signature over something else than you named")
        predicate = {**subject.predicate, "decision": "reject" if reject else "approve"}
        envelope = sign_statement(
            signer, {subject.subject: parse_digest(subject.digest)}, subject.predicate_type, predicate
        )
        from fastness.wire.control import ApprovalRequest

        after = control.models.approve(model, version, ApprovalRequest(environment, envelope.decode()))
    count = sum(a.valid and a.environment == environment and a.decision == "approve" for a in after.approvals)
    say(
        options,
        after,
        f"[bold green]signed[/bold green] {model} version {version} for {environment}: {count} approvals stand",
    )


@app.command()
def deploy(context: typer.Context, model: Model, version: Version, environment: Environment = "development") -> None:
    """Put a version into an environment, if its signature, findings, scores and approvals stand; it takes a second factor.

    Where the house runs and serves that environment, the command ends when the version answers.

    Example: fastness models deploy digits 1 --as olga
    """
    options: Options = context.obj
    with options.control() as control:
        revision = control.models.deploy(model, version, environment)
        _await_service(control, revision.revision)
    say(
        options,
        revision,
        f"[bold green]deployed[/bold green] {model} version {version} to {environment} as {revision.revision}",
    )


def _await_service(control: ControlClient, revision: str) -> None:
    """Return when the worker of a revision serves, or will not; at once where no house runs or it serves elsewhere."""
    for _ in range(round(_PATIENCE_S / _LOOK_S)):
        states = [status.state for status in control.audit.system().models if status.revision == revision]
        if _STARTING not in states:
            return
        time.sleep(_LOOK_S)


@app.command()
def rollback(context: typer.Context, model: Model, reason: Reason, environment: Environment = "development") -> None:
    """Move an environment back to the revision before."""
    options: Options = context.obj
    with options.control() as control:
        revision = control.models.rollback(model, environment, reason)
    say(
        options,
        revision,
        f"[bold green]rolled back[/bold green] {model} in {environment} to version {revision.version}",
    )


@app.command()
def quarantine(context: typer.Context, model: Model, version: Version, reason: Reason) -> None:
    """Take a version out of service for good."""
    options: Options = context.obj
    with options.control() as control:
        view = control.models.quarantine(model, version, reason)
    say(options, view, f"[bold yellow]quarantined[/bold yellow] {model} version {version}")
