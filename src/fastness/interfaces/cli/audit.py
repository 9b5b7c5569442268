"""`fastness audit …`: what happened, and the proof of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastness.core.clock import Instant, rfc3339
from fastness.core.errors import Corrupt, FastnessError, Invalid, NotFound
from fastness.core.findings import Decision
from fastness.interfaces.cli.context import Format, Options
from fastness.interfaces.cli.output import console, print_json, say

if TYPE_CHECKING:
    from fastness.wire.control import EntryView

LARGEST_PAGE = 1000

app = typer.Typer(help="The log of every decision: follow it, verify it, prove an entry.", no_args_is_help=True)


@app.command()
def tail(
    context: typer.Context,
    after: Annotated[int, typer.Option(help="Only entries with a higher index; negative counts from the end.")] = -20,
    kind: Annotated[list[str] | None, typer.Option(help="Only events of this kind; may be repeated.")] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more.")] = False,
) -> None:
    """The newest events.

    Example: fastness audit tail --kind request.refused --follow
    """
    options: Options = context.obj
    with options.control() as control:
        at, last = max(-1, after), min(-after, LARGEST_PAGE) if after < 0 else 0
        while True:
            entries = control.audit.entries(at, 500, kind or (), last if at < 0 else 0)
            for entry in entries:
                _print_entry(options, entry)
            at = entries[-1].index if entries else at
            if not entries and not follow:
                return
            time.sleep(0.5 if not entries else 0)


def _print_entry(options: Options, entry: EntryView) -> None:
    if options.form is Format.JSON:
        from fastness.interfaces.cli.output import print_line

        print_line(entry)
        return
    from rich.markup import escape

    event = entry.event
    decision = event.get("decision")
    shown = "" if decision is None else Decision(int(str(decision))).name.lower()
    style = {"deny": "red", "review": "yellow", "allow": "green"}.get(shown, "dim")
    at = rfc3339(Instant(int(str(event["at"]))))
    words = " ".join(
        str(event.get(name, "")) for name in ("kind", "principal", "resource", "reason") if event.get(name)
    )
    console().print(f"[dim]{entry.index:>7} {at}[/dim] [{style}]{shown:<6}[/{style}] {escape(words)}", soft_wrap=True)


@app.command()
def verify(
    context: typer.Context,
    since: Annotated[
        Path | None, typer.Option(help="A checkpoint kept from earlier: nothing before it may have changed.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="A copy of the log [HOME/ledger].")] = None,
    key: Annotated[Path | None, typer.Option(help="The log's public key, kept from earlier [FOLDER/vkey].")] = None,
    *,
    record: Annotated[
        bool, typer.Option("--record", help="Have the house verify it as well, and record the outcome.")
    ] = False,
) -> None:
    """Verify the log from its files alone: signature, every entry, every hash, and growth since a kept checkpoint.

    Where the house's own log does not verify, the house is asked to look for itself, and what it finds is recorded.

    Example: fastness audit verify --since kept-checkpoint --key kept-vkey
    """
    from fastness.foundation.ledger import verify_log

    options: Options = context.obj
    if record and folder is not None:
        raise Invalid("record-copy", "only the house's own log is recorded", "Leave out --folder or --record.")
    path = folder or options.house.ledger
    kept = _read(since) if since else None
    try:
        report = verify_log(path, _read(key or path / "vkey").decode("utf-8", "replace").strip(), kept)
    except (Corrupt, NotFound) as error:
        if folder is not None:
            raise
        raise _recorded(options, kept, error) from error
    if record:
        with options.control() as control:
            control.audit.verify((kept or b"").decode())
    shown = {"size": report.size, "root": report.root.hex(), "origin": report.origin, "verified": True}
    say(
        options,
        shown,
        f"[bold green]verified[/bold green] {report.size} entries of {report.origin}, root {report.root.hex()[:16]}…",
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFound("file-unreadable", f"cannot read {path}: {error.strerror}", "Name another file.") from error


def _recorded(options: Options, since: bytes | None, seen: Corrupt | NotFound) -> FastnessError:
    """What was seen, with what the house says about its log; if it sees damage, it records that."""
    try:
        with options.control() as control:
            control.audit.verify((since or b"").decode("utf-8", "replace"))
    except Corrupt:
        told = "The house found it as well, and recorded it."
    except FastnessError as error:
        told = f"Not recorded: {error.message}"
    else:
        told = "Not recorded: the house finds its log whole."
    return type(seen)(seen.code, seen.message, f"{seen.hint} {told}".strip())


@app.command()
def prove(context: typer.Context, index: Annotated[int, typer.Argument(help="Index of an entry.", min=0)]) -> None:
    """Prove that an entry is in the log: the entry, the path of hashes, and the signed checkpoint."""
    options: Options = context.obj
    with options.control() as control:
        proof = control.audit.proof(index)
    if options.form is Format.JSON:
        print_json(proof)
        return
    out = console()
    out.print(f"entry {proof.index} of {proof.size}", soft_wrap=True)
    out.print(proof.entry, soft_wrap=True, markup=False)
    for text in proof.hashes:
        out.print(f"  {text}")
    out.print(proof.checkpoint, markup=False)
