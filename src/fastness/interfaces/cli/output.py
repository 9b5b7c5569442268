"""Printing: tables for people, JSON for programs, errors for both."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from fastness.core.errors import FastnessError
from fastness.interfaces.cli.context import Format, Options

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SEVERITY_STYLE = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan", "info": "dim"}


def console(*, stderr: bool = False) -> Console:
    """Where people read."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def show(options: Options, value: object, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """`value` as JSON for programs, `rows` under `columns` for people."""
    if options.form is Format.JSON:
        print_json(value)
        return
    from rich.markup import escape

    table = plain_table(*columns)
    count = 0
    for row in rows:
        table.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
        count += 1
    console().print(table if count else "[dim]nothing yet[/dim]")


def plain_table(*columns: str) -> Table:
    """An empty table that folds what is too wide, so that nothing is left out."""
    from rich.table import Column, Table

    return Table(*(Column(name, overflow="fold") for name in columns), box=None, header_style="bold", pad_edge=False)


def say(options: Options, value: object, text: str) -> None:
    """`value` as JSON for programs, `text` for people."""
    if options.form is Format.JSON:
        print_json(value)
    else:
        console().print(text, soft_wrap=True)


def fail(error: FastnessError, *, as_json: bool) -> int:
    """Show an error on standard error; the exit status that belongs to it."""
    if as_json:
        problem = {"code": error.code, "message": error.message, "hint": error.hint}
        sys.stderr.write(msgspec.json.encode(problem).decode() + "\n")
    else:
        out = console(stderr=True)
        out.print(
            f"[bold red]refused[/bold red] {_shown(error.message)} [dim]({_shown(error.code)})[/dim]", soft_wrap=True
        )
        if error.hint:
            out.print(f"  [bold]what to do[/bold] {_shown(error.hint)}", soft_wrap=True)
    return error.exit


def _shown(text: str) -> str:
    """Text that may quote others: its lines stay, but it sets no colours, titles or directions here."""
    from rich.markup import escape

    return escape(
        "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text)
    )


def print_line(value: object) -> None:
    """One JSON document on one line of standard output, for streams."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
