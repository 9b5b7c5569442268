"""`fastness convert`: a pickle of a known estimator, or of weights, into a format that holds no code."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastness.core.clock import system_entropy
from fastness.core.errors import Conflict, Invalid
from fastness.interfaces.cli.context import Format, Options
from fastness.interfaces.cli.output import console, plain_table, print_json

if TYPE_CHECKING:
    from fastness.models.convert import Converted, Target

DIFFERS = 1


def add_to(app: typer.Typer) -> None:
    """Add the command to the line."""
    app.command()(convert)


def convert(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A pickle, joblib file, or torch archive of weights.", exists=True)],
    to: Annotated[str, typer.Option(help="onnx, skops or safetensors.")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="Where to write [FILE with the new suffix].")] = None,
    rows: Annotated[
        Path | None, typer.Option(help="Inputs to compare on: .npy, or .json with a list of rows [256 made up].")
    ] = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Convert a model in the sandbox, and show that both predict the same. Exit status 1, and no file, if they do not.

    onnx and skops take estimators of scikit-learn that are made of reviewed parts only; safetensors takes arrays by name
    and torch's state_dict.

    Example: fastness convert model.joblib --to onnx --rows held-out.npy
    """
    from fastness.app import Home, Settings, load_settings
    from fastness.core.sources import FileSource
    from fastness.foundation.sandbox import Sandbox
    from fastness.models.convert import convert as converted_by

    options: Options = context.obj
    target = _target(to)
    place = out or file.with_suffix(f".{target}")
    if place.resolve() == file.resolve():
        raise Invalid("file-itself", f"{place} is the file that is converted", "Name another with --out.")
    if os.path.lexists(place) and not force:
        raise _exists(place)
    home = Home(options.home)
    settings = load_settings(home, {}) if home.exists() else Settings()
    given = _rows(rows) if rows is not None else None
    with FileSource(file, str(file)) as source, console(stderr=True).status(f"converting {file.name} in the sandbox"):
        made = converted_by(source, target, Sandbox.detect(settings.sandbox), given)
    if made.agrees:
        _write(place, made.data, force=force)
    _tell(options, made, place)
    sys.exit(0 if made.agrees else DIFFERS)


def _target(text: str) -> Target:
    from fastness.models.convert import Target

    try:
        return Target(text)
    except ValueError as error:
        raise typer.BadParameter(f"is one of {', '.join(Target)}", param_hint="--to") from error


def _rows(path: Path) -> list[list[float]]:
    import msgspec
    import numpy as np

    wrong = Invalid(
        "rows-malformed", f"{path} holds no rows of numbers", "Give a 2-D array: .npy, or JSON [[1, 2], …]."
    )
    try:
        if path.suffix == ".json":
            array: object = np.array(msgspec.json.decode(path.read_bytes(), type=list[list[float]]), float)
        else:
            array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:  # MsgspecError is a ValueError
        raise wrong from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "iufb" or not array.size:
        raise wrong
    return [[float(value) for value in row] for row in array]


def _write(place: Path, data: bytes, *, force: bool) -> None:
    """The whole file or none of it; without `force` nothing is replaced, not even what came there meanwhile."""
    waiting = place.with_name(f".{place.name[:200]}.{system_entropy(8).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(waiting, flags, 0o666), "wb") as file:
            file.write(data)
        if force:
            waiting.replace(place)
        else:
            os.link(waiting, place)
    except FileExistsError as error:
        raise _exists(place) from error
    except OSError as error:
        raise Invalid("output-unwritten", f"cannot write {place}: {error.strerror}") from error
    finally:
        waiting.unlink(missing_ok=True)


def _exists(place: Path) -> Conflict:
    return Conflict("file-exists", f"{place} exists already", "Name another with --out, or give --force.")


def _tell(options: Options, made: Converted, place: Path) -> None:
    if options.form is Format.JSON:
        print_json(
            {
                "file": str(place) if made.agrees else "",
                "estimator": made.estimator,
                "agrees": made.agrees,
                "rows": made.rows,
                "generated_rows": made.generated,
                "compared": made.compared,
                "left_out": made.left_out,
                "verdict": made.report.outcome.value,
            }
        )
        return
    from rich.markup import escape

    table = plain_table("output", "equal", "of", "largest difference")
    for one in made.compared:
        table.add_row(escape(one.output), str(one.equal), str(one.count), f"{one.largest_difference:.1e}")
    out = console()
    word = "[bold green]converted[/bold green]" if made.agrees else "[bold red]differs[/bold red]"
    out.print(f"{word} {escape(made.estimator)}", soft_wrap=True)
    out.print(table)
    if made.generated:
        out.print("[dim]compared on rows that were made up; --rows compares on your own[/dim]")
    if made.left_out:
        out.print(f"[yellow]left out[/yellow] {escape(', '.join(made.left_out))}", soft_wrap=True)
    if made.agrees:
        out.print(f"wrote {escape(str(place))}, scan: {made.report.outcome.value}", soft_wrap=True)
        out.print(f"  [dim]next[/dim] fastness push {escape(str(place))} NAME", soft_wrap=True)
    else:
        out.print("nothing was written: convert it where it was trained, and compare there", soft_wrap=True)
