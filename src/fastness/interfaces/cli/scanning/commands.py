"""`fastness scan`, `fastness scan waive` and `fastness rules`: look at artifacts without ever running them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from fastness.core.errors import Invalid
from fastness.interfaces.cli.context import Options
from fastness.interfaces.cli.output import say, show

_PATHS = "paths"


class _Scan(TyperGroup):
    """`fastness scan PATH …` scans; `fastness scan waive …` is a command of its own. A file of that name is ./waive."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # always one of Typer's
        """Put the command that scans in front, unless another one is named."""
        return super().parse_args(ctx, args if args and args[0] in self.commands else [_PATHS, *args])


app = typer.Typer(cls=_Scan, add_help_option=False)

_EPILOG = "Also: fastness scan waive FILE --rule ID --reason TEXT --days N."


@app.command(_PATHS, hidden=True, epilog=_EPILOG)
def scan_paths(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, buckets (s3://…); `store` is all of the house's models, - is standard input."
        ),
    ],
    fail_on: Annotated[str, typer.Option(help="What makes the exit status 1: review or block.")] = "review",
    *,
    explain: Annotated[bool, typer.Option("--explain", help="Say why, what would run, and what to do.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write there instead of standard output.")] = None,
    jobs: Annotated[
        int,
        typer.Option(envvar="FASTNESS_SCANNING__JOBS", help="Files at once; 0 is one a processor.", min=0, max=1024),
    ] = 0,
    timeout: Annotated[
        float,
        typer.Option(
            envvar="FASTNESS_SCANNING__TIMEOUT_S", help="Seconds for one file, and one more for each 10 MB.", min=0.1
        ),
    ] = 120.0,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps results, to take up a scan again.")] = None,
    waivers: Annotated[Path | None, typer.Option(help="File of signed waivers.")] = None,
    trust: Annotated[list[Path] | None, typer.Option(help="Public key whose waivers count; may be repeated.")] = None,
    imported: Annotated[
        list[Path] | None,
        typer.Option("--import", help="Report of ModelScan, picklescan, Fickling or Trivy; may be repeated."),
    ] = None,
    advisories: Annotated[
        Path | None, typer.Option(help="Snapshot of advisories in the OSV format, .jsonl, .json or .zip.")
    ] = None,
    advisories_days: Annotated[int, typer.Option(help="An older snapshot is refused.", min=1)] = 30,
    engine: Annotated[
        str, typer.Option(envvar="FASTNESS_SCANNING__ENGINE", help="pool: this machine; ray: a cluster.")
    ] = "pool",
    address: Annotated[str, typer.Option(envvar="FASTNESS_SCANNING__ADDRESS", help="Of the Ray cluster.")] = "",
) -> None:
    """Scan model files. Exit status: 0 all pass, 1 something blocked or for review, 3 something undecided, 2 wrong usage.

    Example: fastness scan model.onnx weights/ --format sarif
    """
    from fastness.interfaces.cli.scanning.running import Request, run
    from fastness.models.scan import RunSettings

    if fail_on not in ("review", "block"):
        raise typer.BadParameter("is review or block", param_hint="--fail-on")
    if waivers is not None and not trust:
        raise typer.BadParameter("name the keys whose waivers count", param_hint="--trust")
    options: Options = context.obj
    settings = RunSettings(jobs=jobs, timeout_s=timeout, engine=engine, address=address)
    request = Request(
        tuple(paths), settings, fail_on, explain, output, cache, waivers, tuple(trust or ()), tuple(imported or ()), advisories,
        advisories_days,
    )  # fmt: skip
    sys.exit(run(options, request))


@app.command("waive")
def waive(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The file, or the folder of a model.", exists=True)],
    rule: Annotated[str, typer.Option(help="The rule whose findings in it are waived.")],
    reason: Annotated[str, typer.Option(help="Why; it stands in the waiver.")],
    days: Annotated[int, typer.Option(help="How long it holds.", min=1, max=366)] = 30,
    waivers: Annotated[Path, typer.Option(help="File that the waiver is added to.")] = Path("waivers.jsonl"),
    public_key: Annotated[
        Path | None, typer.Option(help="Write your public key there, for --trust of those who scan.")
    ] = None,
) -> None:
    """Answer, with your signature, for what asks for a review in one file. What blocks cannot be waived.

    Example: fastness scan waive model.keras --rule code-in-model --reason "we wrote it" --days 30 --as erin
    """
    from fastness.core.clock import SystemClock
    from fastness.foundation.crypto import SoftwareSigner
    from fastness.interfaces.cli.scanning.running import digest_of
    from fastness.models.scan import waivers as scan_waivers

    options: Options = context.obj
    signer = SoftwareSigner.from_pem(options.identity().private_pem.encode())
    now = SystemClock().now()
    record = scan_waivers.record_for(rule, reason, options.who, now, days)
    line = scan_waivers.sign_waiver(signer, digest_of(file, rule), record)
    try:
        with waivers.open("ab") as stream:
            stream.write(line)
        if public_key is not None:
            public_key.write_bytes(signer.public_pem)
    except OSError as error:
        raise Invalid("waiver-unwritten", f"cannot write {error.filename}: {error.strerror}") from error
    text = f"[bold yellow]waived[/bold yellow] {rule} in {file} until {record.expires_at}"
    say(options, {"file": str(file), "rule": rule, "until": record.expires_at, "key": signer.keyid}, text)


def list_rules(context: typer.Context) -> None:
    """All rules: what is looked for, why it matters, how to mend it."""
    from fastness.interfaces.rulebook import all_rules

    options: Options = context.obj
    found = all_rules()
    rows = [(r.id, r.severity.name.lower(), r.title, r.fix) for r in found]
    show(options, found, ("rule", "severity", "what", "how to mend it"), rows)
