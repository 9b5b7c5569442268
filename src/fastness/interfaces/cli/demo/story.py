"""A story of steps: each says what is expected, does it, and shows what was seen."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fastness.core.errors import FastnessError


class Differs(Exception):
    """What was seen is not what the story told."""


class Line(msgspec.Struct, frozen=True):
    """One step as it went."""

    step: str
    expected: str
    seen: str
    as_told: bool
    ms: float


@dataclass
class Story:
    """Tells steps one by one and remembers them.

    Args:
        out: where people read; quiet for programs.
    """

    out: Console

    def __post_init__(self) -> None:
        self.lines: list[Line] = []

    @property
    def as_told(self) -> bool:
        """Whether everything went as told."""
        return bool(self.lines) and all(line.as_told for line in self.lines)

    def chapter(self, title: str) -> None:
        """Begin a part of the story."""
        self.out.print(f"\n[bold]{escape(title)}[/bold]")

    def step(self, name: str, expected: str, act: Callable[[], str]) -> bool:
        """Do one step; `act` says what was seen, or raises Differs."""
        started = time.perf_counter()
        try:
            seen, as_told = act(), True
        except Differs as error:
            seen, as_told = str(error), False
        except (FastnessError, OSError, ValueError, KeyError) as error:
            seen, as_told = f"{type(error).__name__}: {error}", False
        line = Line(name, expected, seen, as_told, (time.perf_counter() - started) * 1e3)
        self.lines.append(line)
        mark = "[green]✓[/green]" if as_told else "[bold red]✗[/bold red]"
        self.out.print(f"  {mark} {escape(name)}  [dim]{line.ms:.0f} ms[/dim]  {escape(seen)}", soft_wrap=True)
        return as_told

    def table(self) -> Table:
        """Step, expected, seen."""
        table = Table("step", "expected", "seen", box=None, header_style="bold", pad_edge=False)
        for line in self.lines:
            table.add_row(
                escape(line.step),
                escape(line.expected),
                f"[{'green' if line.as_told else 'bold red'}]{escape(line.seen)}",
            )
        return table


def expect(seen: object, expected: object, what: str) -> None:
    """Check one value of a step.

    Raises:
        Differs: it is another.
    """
    if seen != expected:
        raise Differs(f"{what}: {seen!r} instead of {expected!r}")
