"""`fastness access keyring …`: the keys that the house itself holds."""

from __future__ import annotations

from typing import Annotated

import typer

from fastness.interfaces.cli.context import Options
from fastness.interfaces.cli.output import say

app = typer.Typer(help="The keys that the house itself holds.", no_args_is_help=True)


@app.command()
def rotate(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="data (protects the models) or tokens (signs those of the whole house).")],
) -> None:
    """Make another version of a key; older ones still open. It takes a second factor and the approval of others.

    Example: fastness access keyring rotate data --ask "once a year" --as officer
    """
    options: Options = context.obj
    with options.control() as control:
        view = control.keyring.rotate(key)
    say(options, view, f"[bold green]rotated[/bold green] {view.key}: version {view.version} from now on")
